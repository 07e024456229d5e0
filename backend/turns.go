// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"sync"
)

// turns lets so many at a time do something with one thing of each name. It is
// no lock, since whoever waits may have to leave.
type turns struct {
	places int

	mu     sync.Mutex
	byName map[string]*queue
}

// queue is who does something with one thing, or waits to. It goes with the
// last of them: names come and go, and memory is not for those that are gone.
type queue struct {
	taken chan struct{}
	users int
}

// enter waits for a place, and gives the function that leaves it.
func (t *turns) enter(ctx context.Context, name string) (leave func(), err error) {
	q := t.join(name)
	select {
	case q.taken <- struct{}{}:
		return func() {
			<-q.taken
			t.part(name, q)
		}, nil
	case <-ctx.Done():
		t.part(name, q)
		return nil, ctx.Err()
	}
}

func (t *turns) join(name string) *queue {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byName == nil {
		t.byName = map[string]*queue{}
	}
	q := t.byName[name]
	if q == nil {
		q = &queue{taken: make(chan struct{}, t.places)}
		t.byName[name] = q
	}
	q.users++
	return q
}

func (t *turns) part(name string, q *queue) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if q.users--; q.users == 0 {
		delete(t.byName, name)
	}
}
