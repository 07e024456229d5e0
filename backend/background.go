// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"sync"
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
	guard func(where string) // deferred around each job, recovers from its panic

	mu    sync.Mutex // guards what follows
	lanes map[string]*lane
	jobs  int                              // running or waiting
	stops map[*context.CancelFunc]struct{} // what ends those that run
	idle  chan struct{}                    // set by close; closed when none runs any more
	ended bool                             // close has waited for long enough
}

type lane struct {
	running int
	waiting []func()
}

// run has do run soon, and says false when it will not: there is too much to
// do, or the process ends. The context of do outlives that of the caller.
func (w *background) run(ctx context.Context, name string, do func(context.Context)) bool {
	job := func() { w.do(context.WithoutCancel(ctx), do) }
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.idle != nil || w.jobs >= maxJobs {
		return false
	}
	if w.lanes == nil {
		w.lanes, w.stops = map[string]*lane{}, map[*context.CancelFunc]struct{}{}
	}
	l := w.lanes[name]
	if l == nil {
		l = &lane{}
		w.lanes[name] = l
	}
	w.jobs++
	if l.running == atATime {
		l.waiting = append(l.waiting, job)
		return true
	}
	l.running++
	go func() {
		for ; job != nil; job = w.next(name, l) {
			job()
		}
	}()
	return true
}

func (w *background) do(ctx context.Context, do func(context.Context)) {
	defer w.guard("background work")
	ctx, cancel := context.WithCancel(ctx)
	w.mu.Lock()
	w.stops[&cancel] = struct{}{}
	if w.ended {
		cancel()
	}
	w.mu.Unlock()
	defer func() {
		cancel()
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.stops, &cancel)
	}()
	do(ctx)
}

// next ends a job, and gives the one that its goroutine runs next, nil when
// there is none.
func (w *background) next(name string, l *lane) func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.jobs--
	if len(l.waiting) > 0 {
		job := l.waiting[0]
		l.waiting = l.waiting[1:]
		return job
	}
	if l.running--; l.running == 0 {
		delete(w.lanes, name)
	}
	if w.idle != nil && w.jobs == 0 {
		close(w.idle)
	}
	return nil
}

// close drops the jobs that wait, and gives those that run the time that ctx
// has. None starts afterwards.
func (w *background) close(ctx context.Context) {
	w.mu.Lock()
	if w.idle == nil {
		w.idle = make(chan struct{})
		for _, l := range w.lanes {
			w.jobs -= len(l.waiting)
			l.waiting = nil
		}
		if w.jobs == 0 {
			close(w.idle)
		}
	}
	idle := w.idle
	w.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	for stop := range w.stops {
		(*stop)()
	}
}
