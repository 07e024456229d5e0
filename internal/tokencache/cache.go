// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

// Package tokencache decides who waits, who mints and what is fresh. However
// many readers ask for one token, one of them mints it; while it is fresh they
// all get it from memory; when minting fails they get the old one for as long
// as it is usable, and the error is remembered for a while.
//
// It knows nothing of Vault or HTTP: a token is any value with a lifetime.
package tokencache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grouped"
)

const (
	defaultCapacity = 20_000

	// patience is for how long a reader who could have the old token waits for
	// a mint, from its start: one that takes longer hangs.
	patience = time.Second

	// youth is the age under which a token is not replaced on demand.
	youth = 10 * time.Second

	touchEvery = 10 * time.Second
)

// ErrForgotten is given to whoever waited for a token that was forgotten
// meanwhile: the request may be made again from the start.
var ErrForgotten = errors.New("the token was forgotten while it was minted")

// ErrClosed is given to whoever would need a mint after Close, or whose mint it
// ended.
var ErrClosed = errors.New("no token is minted any more")

// ErrTimeout is given to a reader who waited for as long as it may.
var ErrTimeout = errors.New("no token in time")

// Options configures a Cache. The zero value is usable.
type Options[T any] struct {
	Now      func() time.Time // nil is time.Now
	Capacity int              // tokens held in memory at most; 0 is 20,000

	// Panicked makes an error of a panic in Load or Mint, which run where
	// nobody else could outlive it. nil makes one that tells its type.
	Panicked func(value any) error

	// Again says whether a mint brought the very token that was there before,
	// and gives it with the life that was stated first. nil is never.
	Again func(first, minted Held[T]) (Held[T], bool)
}

// Cache holds tokens of type T. It is safe for concurrent use.
type Cache[T any] struct {
	now      func() time.Time
	panicked func(any) error
	again    func(first, minted Held[T]) (Held[T], bool)

	slots *grouped.Cache[string, *slot[T]]
	new   sync.Mutex // makes a slot once

	mu      sync.Mutex                       // guards what follows
	clients map[string]*client               // by group
	flying  map[*slot[T]]int                 // mints under way, also of slots that memory has no room for
	stops   map[*context.CancelFunc]struct{} // what ends them
	idle    chan struct{}                    // set by Close; closed when none is under way any more
}

// slot is one token's place. Hit reads it without a lock.
type slot[T any] struct {
	key     string
	group   string
	client  *client
	held    atomic.Pointer[Held[T]]
	failure atomic.Pointer[Failure] // of this request, and not of its client
	touched atomic.Int64            // when, in nanoseconds since the epoch
	minting atomic.Int64            // since when, likewise; 0 when nothing is under way

	mu     sync.Mutex // guards what follows
	call   *call[T]
	looked bool // for what was stored
	dead   bool // forgotten
}

// Ask is what a reader wants.
type Ask[T any] struct {
	Key     string        // of the token: equal keys get the same one
	Group   string        // the client: what Forget and Forgive go by, and failures are remembered of
	Choice  string        // the reader's own, of which a group has MaxChoices; "" without
	MinLeft time.Duration // of usable life
	Timeout time.Duration // of the reader's wait, and of a mint that spends nothing
	Fresh   bool          // replace the token, unless it is very young
	Now     bool          // mint, however young the token is and whatever failed before
	Single  bool          // mint one for this reader alone and keep nothing
	Spends  bool          // a mint spends something, so that it always runs to its end, for SpendTime at most

	// Load gives what was stored, nil without. It is called when the token is
	// not in memory, before Mint.
	Load func(context.Context) (*Held[T], error)

	// Mint makes a new token. Its context ends soon after Timeout, or SpendTime,
	// and not with the reader's.
	Mint func(context.Context) (Held[T], error)

	// Store stores what Mint made, before anybody gets it.
	Store func(context.Context, Held[T])

	// Discard undoes what Mint and Store did. It is called when nobody gets the
	// token: it was forgotten while it was minted, or its only reader has left.
	Discard func(context.Context, Held[T])
}

// Answer is what a reader gets.
type Answer[T any] struct {
	Held[T]
	Until   time.Time // how far a lease may reach
	Failure *Failure  // the last refresh failed: the token is the old one
	Slow    bool      // the refresh is taking long: the token is the old one
	Young   bool      // another token was asked for, and refused as too early
	Short   bool      // no token of this provider lasts MinLeft
	Kept    bool      // it has not MinLeft, but is replaced no earlier than it must be
	Same    bool      // another token would be due, but the provider hands out this one again
}

// New returns an empty Cache.
func New[T any](o Options[T]) *Cache[T] {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Capacity <= 0 {
		o.Capacity = defaultCapacity
	}
	if o.Panicked == nil {
		o.Panicked = func(value any) error { return fmt.Errorf("a bug was caught while minting (%T)", value) }
	}
	if o.Again == nil {
		o.Again = func(_, minted Held[T]) (Held[T], bool) { return minted, false }
	}
	return &Cache[T]{
		now: o.Now, panicked: o.Panicked, again: o.Again,
		slots:   grouped.New(o.Capacity, func(_ string, s *slot[T]) string { return s.group }),
		clients: map[string]*client{}, flying: map[*slot[T]]int{}, stops: map[*context.CancelFunc]struct{}{},
	}
}

// Hit gives the token of that key if a reader may have it right away and
// nothing needs to be done about it: it is fresh, or its refresh is under way
// or not due yet after a failure. It takes no exclusive lock and calls nothing.
func (c *Cache[T]) Hit(key string, minLeft time.Duration) (Answer[T], bool) {
	s, ok := c.slots.Peek(key)
	if !ok {
		return Answer[T]{}, false
	}
	h := s.held.Load()
	now := c.now()
	if h == nil || !h.usable(now) || !h.lasts(minLeft, now) || !h.canLast(minLeft) {
		return Answer[T]{}, false
	}
	if !now.Before(h.RefreshesAt()) {
		minting := s.minting.Load()
		hangs := minting != 0 && now.UnixNano()-minting >= int64(patience)
		if !hangs && s.waits(now) == nil && (minting == 0 || !now.Before(h.RenewsAt())) {
			return Answer[T]{}, false
		}
	}
	c.touch(key, s, now)
	return s.answer(h, Ask[T]{MinLeft: minLeft}, now), true
}

// touch keeps recently used slots in memory; now and then is enough, and saves
// the exclusive lock.
func (c *Cache[T]) touch(key string, s *slot[T], now time.Time) {
	last := s.touched.Load()
	if now.UnixNano()-last > int64(touchEvery) && s.touched.CompareAndSwap(last, now.UnixNano()) {
		c.slots.Get(key)
	}
}

// Get gives the token that a asks for, minting it if need be. Its errors are
// *Failure, ErrForgotten, ErrClosed, ErrTimeout, ErrBusy, ErrTooManyChoices or the
// context's.
func (c *Cache[T]) Get(ctx context.Context, a Ask[T]) (Answer[T], error) {
	switch {
	case a.Single:
		return c.single(ctx, c.slot(a), a)
	case a.Choice == "":
		return c.get(ctx, a)
	}
	if !c.client(a.Group).admit(a.Choice, c.now(), a.Timeout) {
		return Answer[T]{}, ErrTooManyChoices
	}
	got, err := c.get(ctx, a)
	if err == nil {
		c.client(a.Group).hold(a.Choice, got.Until)
	}
	return got, err
}

func (c *Cache[T]) get(ctx context.Context, a Ask[T]) (Answer[T], error) {
	s := c.slot(a)
	if a.Now {
		return c.renew(ctx, s, a)
	}
	now := c.now()
	h := s.held.Load()
	switch {
	case h == nil, !h.usable(now):
		h = nil
	case h.young(now) && (a.Fresh || !h.lasts(a.MinLeft, now)):
		out := s.answer(h, a, now)
		out.Young = true
		return out, nil
	case a.Fresh:
	case now.Before(h.RefreshesAt()) && h.lasts(a.MinLeft, now):
		c.touch(a.Key, s, now)
		return s.answer(h, a, now), nil
	case now.Before(h.RenewsAt()) && h.lasts(a.MinLeft, now):
		_, _, _ = c.join(ctx, s, a, now) // what it comes to is another reader's to learn
		return s.answer(h, a, now), nil
	}

	call, _, err := c.join(ctx, s, a, now)
	if err == nil && h != nil && !a.Fresh && h.lasts(a.MinLeft, now) {
		// Who could have the old token waits only for a mint that makes haste.
		err = wait(ctx, call, patience-now.Sub(call.started))
		if errors.Is(err, ErrTimeout) && !h.usable(c.now()) {
			err = nil
		}
	}
	if err == nil {
		err = wait(ctx, call, a.Timeout+grace)
	}
	if err == nil {
		err = call.err
	}
	if err == nil {
		out := s.answer(&call.held, a, c.now())
		out.Young = a.Fresh && later(call.held.Born, call.held.Repeated).Before(now) // it was found, not minted
		return out, nil
	}
	h = s.held.Load() // by now perhaps one from the store
	if h == nil || !h.usable(c.now()) || errors.Is(err, ErrForgotten) || ctx.Err() != nil {
		return Answer[T]{}, err
	}
	return s.answer(h, a, c.now()), nil
}

// renew mints whatever there is, for somebody who wants to see it done.
func (c *Cache[T]) renew(ctx context.Context, s *slot[T], a Ask[T]) (Answer[T], error) {
	ctx, cancel := context.WithTimeoutCause(ctx, a.Timeout+grace, ErrTimeout)
	defer cancel()
	for {
		call, mine, err := c.join(ctx, s, a, c.now())
		if err != nil {
			return Answer[T]{}, err
		}
		select {
		case <-call.done:
		case <-ctx.Done():
			return Answer[T]{}, context.Cause(ctx)
		}
		switch {
		case !mine: // it began before this was asked for
		case call.err != nil:
			return Answer[T]{}, call.err
		default:
			return s.answer(&call.held, a, c.now()), nil
		}
	}
}

// answer is h as a reader gets it, with what there is to say about it.
func (s *slot[T]) answer(h *Held[T], a Ask[T], now time.Time) Answer[T] {
	lacks := h.UsableUntil().Sub(now) < a.MinLeft
	out := Answer[T]{Held: *h, Until: h.until(now), Short: !h.canLast(a.MinLeft)}
	out.Kept = h.Late && lacks && !out.Short
	out.Same = !h.Repeated.IsZero() && (a.Fresh || lacks && !out.Short && !out.Kept || !now.Before(h.UsableUntil()))
	if !a.Fresh && h.lasts(a.MinLeft, now) && now.Before(h.RefreshesAt()) {
		return out // no other was wanted
	}
	if f := s.lastFailure(); f != nil && (f.waits(now) || f.At.After(later(h.Born, h.Repeated))) {
		out.Failure = f
	} else {
		out.Slow = !now.Before(h.RenewsAt())
	}
	return out
}

// lastFailure is the later one of the request's own and its client's.
func (s *slot[T]) lastFailure() *Failure {
	own, shared := s.failure.Load(), s.client.failure.Load()
	if own == nil || shared != nil && own.At.Before(shared.At) {
		return shared
	}
	return own
}

// waits gives the failure because of which the provider is not asked now, nil
// without: of two, the one that does so for longer.
func (s *slot[T]) waits(now time.Time) *Failure {
	own, shared := s.failure.Load(), s.client.failure.Load()
	if own == nil || shared != nil && own.Next.Before(shared.Next) {
		own = shared
	}
	if own.waits(now) {
		return own
	}
	return nil
}

// slot finds the slot for a, or makes it.
func (c *Cache[T]) slot(a Ask[T]) *slot[T] {
	if s, ok := c.slots.Peek(a.Key); ok {
		return s
	}
	c.new.Lock()
	defer c.new.Unlock()
	if s, ok := c.slots.Peek(a.Key); ok {
		return s
	}
	s := &slot[T]{key: a.Key, group: a.Group, client: c.client(a.Group)}
	c.slots.Add(a.Key, s)
	return s
}
