// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func outliving() *background { return newBackground(func(string) { _ = recover() }) }

// idle reports whether w has no jobs left, and keeps no lane that nobody uses.
func idle(w *background) bool {
	return w.places.TryAcquire(maxJobs) && len(w.lanes.byName) == 0
}

// hang is a job that runs until its context ends.
func hang(ctx context.Context) { <-ctx.Done() }

func TestBackgroundRunsEightJobsOfALaneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := outliving()
		var running atomic.Int32
		var other atomic.Bool
		release := make(chan struct{})
		for range 20 {
			if !w.run(t.Context(), "slow", func(context.Context) { running.Add(1); <-release }) {
				t.Fatal("a job is refused")
			}
			synctest.Wait()
		}
		w.run(t.Context(), "other", func(context.Context) { other.Store(true) })
		synctest.Wait()
		if running.Load() != 8 || !other.Load() {
			t.Errorf("%d of the slow lane run, want 8; the other lane waits for them: %t", running.Load(), !other.Load())
		}
		close(release)
		synctest.Wait()
		if running.Load() != 20 || !idle(w) {
			t.Errorf("%d of 20 ran; or something is left", running.Load())
		}
	})
}

func TestBackgroundRefusesTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := outliving()
		for range maxJobs {
			if !w.run(t.Context(), "c", hang) {
				t.Fatal("a job is refused")
			}
		}
		if w.run(t.Context(), "d", hang) {
			t.Error("there is no bound")
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		w.close(ended)
	})
}

func TestBackgroundIsClosedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := outliving()
		var begun atomic.Int32
		for range 20 {
			w.run(t.Context(), "c", func(ctx context.Context) { begun.Add(1); hang(ctx) })
			synctest.Wait()
		}
		ctx, cancel := context.WithTimeout(t.Context(), drainTime)
		defer cancel()
		start := time.Now()
		w.close(ctx)
		if took := time.Since(start); took != drainTime {
			t.Errorf("it took %s", took)
		}
		synctest.Wait()      // all jobs end, or this would never return
		w.close(t.Context()) // a second time, right after the first
		if begun.Load() != 8 || w.run(t.Context(), "c", hang) || !idle(w) {
			t.Errorf("%d jobs began, want the 8 that ran; or something is left, or starts", begun.Load())
		}
	})
}

func TestBackgroundOutlivesAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := outliving()
		var ran atomic.Int32
		for range 20 {
			w.run(t.Context(), "c", func(context.Context) { ran.Add(1); panic("a bug") })
			synctest.Wait()
		}
		if ran.Load() != 20 || !idle(w) {
			t.Errorf("%d of 20 ran; or something is left", ran.Load())
		}
	})
}
