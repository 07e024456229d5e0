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
	// maxSingles is how many tokens for one reader alone are minted at the same time.
	maxSingles = 16

	// MaxChoices is for how many choices of its readers a group may hold tokens at the
	// same time.
	MaxChoices = 64

	// MaxBrought is how many tokens a group may hold at the same time that are made of
	// what readers bring.
	MaxBrought = 10_000
)

// ErrBusy is returned to a reader that wants a token for itself alone, if there are
// too many such readers during all the time that it may wait.
var ErrBusy = errors.New("too many tokens are minted at a time")

// ErrTooManyChoices is returned to a reader whose choice would be one more than
// MaxChoices, or MaxBrought.
var ErrTooManyChoices = errors.New("too many choices of scopes have usable tokens")

// client is the state that the tokens of a group share, because they are asked for
// with the same credentials. There may be very many groups, so a field that most of
// them do not need is nil until it is used.
type client struct {
	failure atomic.Pointer[Failure]

	mu      sync.Mutex
	probe   chan struct{} // closed when the attempt after a failure has ended; nil without one
	singles chan struct{} // holds one element for each mint under way; nil before the first
	choices choices       // nil before the first
	brought choices       // nil before the first
}

// choices holds, for each choice, when its token ends.
type choices map[string]time.Time

// of returns the choices that c is counted among, and how many there may be. It is
// called with mu held.
func (cl *client) of(c Choice) (choices, int) {
	all, most := &cl.choices, MaxChoices
	if c.Brought {
		all, most = &cl.brought, MaxBrought
	}
	if *all == nil {
		*all = choices{}
	}
	return *all, most
}

// client returns the client of a group, and makes it if necessary.
func (c *Cache[T]) client(group string) *client {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := c.clients[group]
	if found == nil {
		found = &client{}
		c.clients[group] = found
	}
	return found
}

// turn waits until the provider may be asked, and returns a function to call after
// that. While a failure is remembered, one request at a time is tried, no matter
// how many tokens are wanted. Until the next attempt is due, turn returns the
// failure itself, unless the attempt is forced.
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

// note records a failure at place, and returns it.
func (cl *client) note(place *atomic.Pointer[Failure], err error, started, now time.Time) *Failure {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	f := place.Load().after(err, started, now)
	place.Store(f)
	return f
}

// succeeded clears the failure, unless it is from after the attempt's start.
func (cl *client) succeeded(started time.Time) {
	if f := cl.failure.Load(); f != nil && started.After(f.At) {
		cl.failure.CompareAndSwap(f, nil)
	}
}

// enter waits for a place among the mints for one reader alone, and returns the
// function that frees it.
func (cl *client) enter(ctx context.Context, limit time.Duration) (leave func(), err error) {
	cl.mu.Lock()
	if cl.singles == nil {
		cl.singles = make(chan struct{}, maxSingles)
	}
	places := cl.singles
	cl.mu.Unlock()
	leave = func() { <-places }
	select {
	case places <- struct{}{}: // most find a place at once, and need no timer
		return leave, nil
	default:
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case places <- struct{}{}:
		return leave, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
		return nil, ErrBusy
	}
}

// admit reports whether there is room for a token of that choice, and reserves it
// for as long as a mint may take.
func (cl *client) admit(choice Choice, now time.Time, limit time.Duration) bool {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	all, most := cl.of(choice)
	if _, there := all[choice.Name]; !there && len(all) >= most {
		for other, until := range all {
			if !now.Before(until) {
				delete(all, other)
			}
		}
		if len(all) >= most {
			return false
		}
	}
	all[choice.Name] = later(all[choice.Name], now.Add(limit))
	return true
}

// hold counts a choice for as long as its token is usable.
func (cl *client) hold(choice Choice, until time.Time) {
	if choice.Name == "" {
		return
	}
	cl.mu.Lock()
	defer cl.mu.Unlock()
	all, _ := cl.of(choice)
	all[choice.Name] = later(all[choice.Name], until)
}

// forgetChoices frees the choices, because their tokens are gone.
func (cl *client) forgetChoices() {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	clear(cl.choices)
	clear(cl.brought)
}
