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
	byName map[string]chan struct{}
}

// enter waits for a place, and gives the function that leaves it.
func (t *turns) enter(ctx context.Context, name string) (leave func(), err error) {
	t.mu.Lock()
	if t.byName == nil {
		t.byName = map[string]chan struct{}{}
	}
	taken, ok := t.byName[name]
	if !ok {
		taken = make(chan struct{}, t.places)
		t.byName[name] = taken
	}
	t.mu.Unlock()
	select {
	case taken <- struct{}{}:
		return func() { <-taken }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
