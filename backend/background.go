// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

const (
	// atATime is how many jobs of one lane run at the same time.
	atATime = 8

	// maxJobs bounds the jobs that run or wait, of all lanes together.
	maxJobs = 1000
)

// background runs jobs that no request waits for. Each lane runs a few jobs at a
// time, so that a provider that hangs delays only its own jobs. A job may be
// lost when the process ends: what must still be done is in storage, and the next
// process finds it there.
type background struct {
	guard  func(where string)  // deferred around each job, recovers from its panic
	places *semaphore.Weighted // one for each job that runs or waits
	lanes  turns
	closed atomic.Bool // jobs that have not begun are dropped

	lasting func(context.Context) (context.Context, context.CancelFunc) // gives a job's context
	end     context.CancelFunc                                          // ends all of them
}

func newBackground(guard func(where string)) *background {
	ended, end := context.WithCancel(context.Background())
	return &background{
		guard: guard, places: semaphore.NewWeighted(maxJobs), lanes: turns{places: atATime}, end: end,
		lasting: func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
			stop := context.AfterFunc(ended, cancel)
			return ctx, func() { stop(); cancel() }
		},
	}
}

// run starts do soon. It reports false if do will not run, because there are too
// many jobs or the process is ending. The context of do outlives the caller's.
func (w *background) run(ctx context.Context, lane string, do func(context.Context)) bool {
	if w.closed.Load() || !w.places.TryAcquire(1) {
		return false
	}
	go func() {
		defer w.places.Release(1)
		ctx, cancel := w.lasting(ctx)
		defer cancel()
		leave, err := w.lanes.enter(ctx, lane)
		if err != nil {
			return
		}
		defer leave()
		if !w.closed.Load() {
			defer w.guard("background work")
			do(ctx)
		}
	}()
	return true
}

// close drops the jobs that wait, and waits for the running jobs until ctx ends.
// No job starts afterwards.
func (w *background) close(ctx context.Context) {
	w.closed.Store(true)
	if w.places.Acquire(ctx, maxJobs) == nil { // the last job has ended
		w.places.Release(maxJobs)
	}
	w.end()
}
