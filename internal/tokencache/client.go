// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxSingles is how many tokens for one reader alone are minted at a time.
	maxSingles = 16

	// MaxChoices is how many choices of their own the readers of a group may
	// have tokens of at a time.
	MaxChoices = 64
)

// ErrBusy is given to a reader who wants a token for itself alone while too
// many others do, for as long as it may wait.
var ErrBusy = errors.New("too many tokens are minted at a time")

// ErrTooManyChoices is given to a reader whose own choice would be one more
// than MaxChoices.
var ErrTooManyChoices = errors.New("too many choices have usable tokens")

// client is what the tokens of a group have in common: they are asked for with
// the same credentials.
type client struct {
	failure atomic.Pointer[Failure]
	singles chan struct{} // holds one for each that is under way

	mu      sync.Mutex
	probe   chan struct{}        // closed when the attempt that follows a failure is over; nil without
	choices map[string]time.Time // until when each of them has a token
}

func newClient() *client {
	return &client{singles: make(chan struct{}, maxSingles), choices: map[string]time.Time{}}
}

// client finds the client of a group, or makes it.
func (c *Cache[T]) client(group string) *client {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := c.clients[group]
	if found == nil {
		found = newClient()
		c.clients[group] = found
	}
	return found
}

// turn waits until the provider may be asked, and gives the function that says
// that it was. As long as a failure is remembered one request at a time is
// tried, however many tokens are wanted. Before the next attempt is due the
// failure itself is the answer, unless it is forced.
func (cl *client) turn(ctx context.Context, now func() time.Time, forced bool) (leave func(), err error) {
	for {
		f := cl.failure.Load()
		if f == nil {
			return func() {}, nil
		}
		if f.waits(now()) && !forced {
			return nil, f
		}
		cl.mu.Lock()
		ahead := cl.probe
		if ahead == nil {
			mine := make(chan struct{})
			cl.probe = mine
			cl.mu.Unlock()
			return func() {
				cl.mu.Lock()
				defer cl.mu.Unlock()
				cl.probe = nil
				close(mine)
			}, nil
		}
		cl.mu.Unlock()
		select {
		case <-ahead:
		case <-ctx.Done():
			return nil, f
		}
	}
}

// note remembers a failure at place, and gives it as its own reader gets it.
func (cl *client) note(place *atomic.Pointer[Failure], err error, started, now time.Time) *Failure {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	f := place.Load().after(err, started, now)
	place.Store(f)
	return f
}

// succeeded forgets the failure, unless it came only after that attempt began.
func (cl *client) succeeded(started time.Time) {
	if f := cl.failure.Load(); f != nil && started.After(f.At) {
		cl.failure.CompareAndSwap(f, nil)
	}
}

// enter waits for a place among the tokens for one reader alone.
func (cl *client) enter(ctx context.Context, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case cl.singles <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return ErrBusy
	}
}

// admit says whether there is room for a token of that choice, and keeps it for
// as long as a mint may take.
func (cl *client) admit(choice string, now time.Time, limit time.Duration) bool {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if _, there := cl.choices[choice]; !there && len(cl.choices) >= MaxChoices {
		for other, until := range cl.choices {
			if !now.Before(until) {
				delete(cl.choices, other)
			}
		}
		if len(cl.choices) >= MaxChoices {
			return false
		}
	}
	cl.choices[choice] = later(cl.choices[choice], now.Add(limit))
	return true
}

// hold counts a choice for as long as its token is usable.
func (cl *client) hold(choice string, until time.Time) {
	if choice == "" {
		return
	}
	cl.mu.Lock()
	defer cl.mu.Unlock()
	cl.choices[choice] = later(cl.choices[choice], until)
}

// forgetChoices makes room again: the tokens are gone.
func (cl *client) forgetChoices() {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	clear(cl.choices)
}
