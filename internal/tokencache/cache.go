// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

// Package tokencache decides who waits, who mints and which token is fresh. No
// matter how many readers ask for a token, one mint serves them all. While the
// token is fresh, readers get it from memory. If a mint fails, readers get the old
// token for as long as it is usable, and the error is remembered for a while.
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

	// patience is how long, from the start of a mint, a reader waits for it if the
	// reader could have the old token instead. A mint that takes longer hangs.
	patience = time.Second

	// youth is the age below which a token is not replaced on demand.
	youth = 10 * time.Second

	touchEvery = 10 * time.Second
)

// ErrForgotten is returned to a reader whose token was forgotten while it waited.
// The reader may make the request again from the start.
var ErrForgotten = errors.New("the token was forgotten while it was minted")

// ErrClosed is returned to a reader that needs a mint after Close, or whose mint
// Close ended.
var ErrClosed = errors.New("no token is minted any more")

// ErrTimeout is returned to a reader that has waited for as long as it may.
var ErrTimeout = errors.New("no token in time")

// Options configures a Cache. The zero value is usable.
type Options[T any] struct {
	Now      func() time.Time // nil is time.Now
	Capacity int              // tokens held in memory at most; 0 is 20,000

	// Panicked turns a panic in Load or Mint into an error. They run in goroutines
	// where a panic would end the process. nil makes an error with the panic's type.
	Panicked func(value any) error

	// Again reports whether a mint returned the same token as before, and returns it
	// with the lifetime that was stated first. nil means never.
	Again func(first, minted Held[T]) (Held[T], bool)
}

// Cache holds tokens of type T. It is safe for concurrent use.
type Cache[T any] struct {
	now      func() time.Time
	panicked func(any) error
	again    func(first, minted Held[T]) (Held[T], bool)

	slots *grouped.Cache[string, *slot[T]]
	new   sync.Mutex // held while a slot is made, so that there is one per key

	mu      sync.Mutex                       // guards the fields below
	clients map[string]*client               // by group
	flying  map[*slot[T]]int                 // mints under way, also of slots that have been evicted
	stops   map[*context.CancelFunc]struct{} // functions that end these mints
	idle    chan struct{}                    // set by Close; closed when no mint is under way any more
}

// slot is the place of one token. Hit reads it without a lock.
type slot[T any] struct {
	key     string
	group   string
	client  *client
	held    atomic.Pointer[Held[T]]
	failure atomic.Pointer[Failure] // of this token alone, not of its client
	touched atomic.Int64            // when it was last used, in nanoseconds since the epoch
	minting atomic.Int64            // when the mint under way began, in the same unit; 0 without one

	mu     sync.Mutex // guards the fields below
	call   *call[T]
	looked bool // whether storage has been read
	dead   bool // forgotten
}

// Ask is what a reader asks for.
type Ask[T any] struct {
	Key     string        // of the token: equal keys share a token
	Group   string        // the client: Forget and Forgive work by group, and failures are remembered per group
	Choice  Choice        // the reader's own choice, if it made one
	MinLeft time.Duration // minimum usable life
	Timeout time.Duration // of the reader's wait, and of a mint that spends nothing
	Fresh   bool          // replace the token, unless it is very young
	Now     bool          // mint, however young the token is and whatever failed before
	Single  bool          // mint a token for this reader alone, and keep nothing
	Spends  bool          // a mint spends something, so that it always runs to its end, for SpendTime at most

	// Load returns the stored token, nil without one. It is called before Mint if the
	// token is not in memory.
	Load func(context.Context) (*Held[T], error)

	// Mint makes a new token, and ends when its context does: soon after Timeout, or
	// SpendTime. That context does not end with the reader's. If the mint is for one
	// reader alone and spends nothing, the reader waits for its end.
	Mint func(context.Context) (Held[T], error)

	// Store stores what Mint made, before any reader gets it.
	Store func(context.Context, Held[T])

	// Discard undoes Mint and Store. It is called if no reader gets the token, because
	// it was forgotten during the mint or its only reader has left.
	Discard func(context.Context, Held[T])
}

// Choice names what makes a reader's token differ from the token of all others: what
// the reader chose, such as fewer scopes, or what it brought. A group has tokens for
// at most MaxChoices, or MaxBrought, of them. The name is empty if the reader wants
// the same token as all others.
type Choice struct {
	Name    string
	Brought bool
}

// Answer is what a reader gets.
type Answer[T any] struct {
	Held[T]
	Until   time.Time // how long a lease may last
	Failure *Failure  // the last refresh failed: the token is the old one
	Slow    bool      // the refresh is taking long: the token is the old one
	Young   bool      // a new token was asked for, but this one is too young to be replaced
	Short   bool      // no token of this provider has a usable life of MinLeft
	Kept    bool      // it has less than MinLeft left, but a new token would end it for other readers
	Same    bool      // a new token is due, but the provider returns this one again
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

// Hit returns the token of that key if a reader may have it at once and nothing
// needs to be done: it is fresh, or its refresh is under way, or not due yet after
// a failure. It takes no exclusive lock and calls nothing.
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

// touch keeps recently used slots in memory. It does so only now and then, which is
// enough and saves the exclusive lock.
func (c *Cache[T]) touch(key string, s *slot[T], now time.Time) {
	last := s.touched.Load()
	if now.UnixNano()-last > int64(touchEvery) && s.touched.CompareAndSwap(last, now.UnixNano()) {
		c.slots.Get(key)
	}
}

// Get returns the token that a asks for, and mints it if necessary. Its errors are
// *Failure, ErrForgotten, ErrClosed, ErrTimeout, ErrBusy, ErrTooManyChoices, or the
// error of the context.
func (c *Cache[T]) Get(ctx context.Context, a Ask[T]) (Answer[T], error) {
	switch {
	case a.Single:
		return c.single(ctx, c.slot(a), a)
	case a.Choice.Name == "":
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
		_, _, _ = c.join(ctx, s, a, now) // the next reader gets the result
		return s.answer(h, a, now), nil
	}

	call, _, err := c.join(ctx, s, a, now)
	if err == nil && h != nil && !a.Fresh && h.lasts(a.MinLeft, now) {
		// A reader that could have the old token waits only for a quick mint.
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
		out.Young = a.Fresh && later(call.held.Born, call.held.Repeated).Before(now) // it was found in storage, not minted
		return out, nil
	}
	h = s.held.Load() // by now it may have been read from storage
	if h == nil || !h.usable(c.now()) || errors.Is(err, ErrForgotten) || ctx.Err() != nil {
		return Answer[T]{}, err
	}
	return s.answer(h, a, c.now()), nil
}

// renew mints in any case, for a caller that wants to see the result.
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
		case !mine: // it began before this call
		case call.err != nil:
			return Answer[T]{}, call.err
		default:
			return s.answer(&call.held, a, c.now()), nil
		}
	}
}

// answer returns h as the reader's answer, with what there is to say about it.
func (s *slot[T]) answer(h *Held[T], a Ask[T], now time.Time) Answer[T] {
	lacks := h.UsableUntil().Sub(now) < a.MinLeft
	out := Answer[T]{Held: *h, Until: h.until(now), Short: !h.canLast(a.MinLeft)}
	out.Kept = h.Late && lacks && !out.Short
	out.Same = !h.Repeated.IsZero() && (a.Fresh || lacks && !out.Short && !out.Kept || !now.Before(h.UsableUntil()))
	if !a.Fresh && h.lasts(a.MinLeft, now) && now.Before(h.RefreshesAt()) {
		return out // no other token was wanted
	}
	if f := s.lastFailure(); f != nil && (f.waits(now) || f.At.After(later(h.Born, h.Repeated))) {
		out.Failure = f
	} else {
		out.Slow = !now.Before(h.RenewsAt())
	}
	return out
}

// lastFailure returns the later of the token's own failure and its client's.
func (s *slot[T]) lastFailure() *Failure {
	own, shared := s.failure.Load(), s.client.failure.Load()
	if own == nil || shared != nil && own.At.Before(shared.At) {
		return shared
	}
	return own
}

// waits returns the failure that keeps the provider from being asked now, nil
// without one. If there are two, it returns the one that lasts longer.
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

// slot returns the slot for a, and makes it if necessary.
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
