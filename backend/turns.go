// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// turns lets a bounded number of callers at a time work on one name. Unlike with
// a mutex, a caller stops waiting when its context ends.
type turns struct {
	places int64 // for each name

	mu     sync.Mutex
	byName map[string]*queue
}

// queue holds the places of one name. It is removed with its last user, because
// names come and go.
type queue struct {
	*semaphore.Weighted
	users int
}

// enter waits for a place and returns the function that leaves it.
func (t *turns) enter(ctx context.Context, name string) (leave func(), err error) {
	q := t.join(name)
	if err := q.Acquire(ctx, 1); err != nil {
		t.part(name, q)
		return nil, err
	}
	return func() {
		q.Release(1)
		t.part(name, q)
	}, nil
}

func (t *turns) join(name string) *queue {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byName == nil {
		t.byName = map[string]*queue{}
	}
	q := t.byName[name]
	if q == nil {
		q = &queue{Weighted: semaphore.NewWeighted(t.places)}
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
