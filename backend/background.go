// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

const (
	// atATime is how many jobs of one lane run at a time.
	atATime = 8

	// maxJobs bounds the jobs that run or wait, of all lanes together.
	maxJobs = 1000
)

// background does what nobody waits for: a few jobs at a time in each lane, so
// that one provider's trouble holds up no other's jobs. A job must be of the
// kind that can be lost: what has to be done after all stands in storage, and
// is found there.
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

// run has do run soon, and says false when it will not: there is too much to
// do, or the process ends. The context of do outlives that of the caller.
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

// close drops the jobs that wait, and gives those that run the time that ctx
// has. None starts afterwards.
func (w *background) close(ctx context.Context) {
	w.closed.Store(true)
	if w.places.Acquire(ctx, maxJobs) == nil { // the last job has ended
		w.places.Release(maxJobs)
	}
	w.end()
}
