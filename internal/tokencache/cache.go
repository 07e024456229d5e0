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

	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	defaultCapacity = 20_000

	// patience is for how long a reader who could have the old token waits for
	// a mint, from its start: one that takes longer hangs.
	patience = time.Second

	// grace lets a mint that runs into its timeout say so itself: its context
	// ends half of it later, and the wait for it all of it.
	grace = 500 * time.Millisecond

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
type Options struct {
	Now      func() time.Time // nil is time.Now
	Capacity int              // tokens held in memory at most; 0 is 20,000

	// Panicked makes an error of a panic in Load or Mint, which run where
	// nobody else could outlive it. nil makes one that tells its type.
	Panicked func(value any) error
}

// Cache holds tokens of type T. It is safe for concurrent use.
type Cache[T any] struct {
	now      func() time.Time
	panicked func(any) error

	slots *lru.Cache[string, *slot[T]]
	new   sync.Mutex // makes a slot once

	mu     sync.Mutex                       // guards what follows
	flying map[*slot[T]]int                 // mints under way, also of slots that memory has no room for
	stops  map[*context.CancelFunc]struct{} // what ends them
	idle   chan struct{}                    // set by Close; closed when none is under way any more
}

// slot is one token's place. Hit reads it without a lock.
type slot[T any] struct {
	key     string
	group   string
	held    atomic.Pointer[Held[T]]
	failure atomic.Pointer[Failure]
	touched atomic.Int64 // when, in nanoseconds since the epoch
	minting atomic.Int64 // since when, likewise; 0 when nothing is under way

	mu   sync.Mutex // guards what follows
	call *call[T]
	dead bool // forgotten
}

// call is a mint under way.
type call[T any] struct {
	started time.Time
	done    chan struct{}
	held    Held[T]
	err     error
}

// Ask is what a reader wants.
type Ask[T any] struct {
	Key     string        // of the token: equal keys get the same one
	Group   string        // what Forget and Forgive go by
	MinLeft time.Duration // of usable life
	Timeout time.Duration // of a mint, and so of the reader's wait
	Fresh   bool          // replace the token, unless it is very young
	Single  bool          // mint one for this reader alone and keep nothing
	Spends  bool          // a mint spends something, so that it always runs to its end

	// Load gives what was stored, nil without. It is called when the token is
	// not in memory, before Mint.
	Load func(context.Context) (*Held[T], error)

	// Mint makes a new token. Its context ends soon after Timeout, and not
	// with the reader's.
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
	Failure *Failure // the last refresh failed: the token is the old one
	Slow    bool     // the refresh is taking long: the token is the old one
	Young   bool     // Fresh was asked for, and refused as too early
	Short   bool     // no token of this provider lasts MinLeft
}

// New returns an empty Cache.
func New[T any](o Options) *Cache[T] {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Capacity <= 0 {
		o.Capacity = defaultCapacity
	}
	if o.Panicked == nil {
		o.Panicked = func(value any) error { return fmt.Errorf("a bug was caught while minting (%T)", value) }
	}
	slots, err := lru.New[string, *slot[T]](o.Capacity)
	if err != nil { // only a capacity below one is an error
		panic(err)
	}
	return &Cache[T]{now: o.Now, panicked: o.Panicked, slots: slots, flying: map[*slot[T]]int{}, stops: map[*context.CancelFunc]struct{}{}}
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
	if !now.Before(h.at(refreshAt)) {
		minting := s.minting.Load()
		hangs := minting != 0 && now.UnixNano()-minting >= int64(patience)
		f := s.failure.Load()
		waits := f != nil && now.Before(f.Next)
		if !hangs && !waits && (minting == 0 || !now.Before(h.RenewsAt())) {
			return Answer[T]{}, false
		}
	}
	c.touch(key, s, now)
	return c.answer(s, h, Ask[T]{MinLeft: minLeft}), true
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
// *Failure, ErrForgotten, ErrClosed, ErrTimeout or the context's.
func (c *Cache[T]) Get(ctx context.Context, a Ask[T]) (Answer[T], error) {
	s := c.slot(a)
	if a.Single {
		return c.single(ctx, s, a)
	}
	now := c.now()
	h := s.held.Load()
	switch {
	case h == nil, !h.usable(now):
		h = nil
	case a.Fresh && now.Sub(h.Born) < youth:
		return Answer[T]{Held: *h, Young: true}, nil
	case a.Fresh:
	case now.Before(h.at(refreshAt)) && h.lasts(a.MinLeft, now):
		c.touch(a.Key, s, now)
		return c.answer(s, h, a), nil
	case now.Before(h.RenewsAt()) && h.lasts(a.MinLeft, now):
		_, _ = c.join(ctx, s, a, now) // what it comes to is another reader's to learn
		return c.answer(s, h, a), nil
	}

	call, err := c.join(ctx, s, a, now)
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
		out := c.answer(s, &call.held, a)
		out.Young = a.Fresh && call.held.Born.Before(now) // it was found, not minted
		return out, nil
	}
	h = s.held.Load() // by now perhaps one from the store
	if h == nil || !h.usable(c.now()) || errors.Is(err, ErrForgotten) || ctx.Err() != nil {
		return Answer[T]{}, err
	}
	return c.answer(s, h, a), nil
}

// answer is h as a reader gets it, with what there is to say about it.
func (c *Cache[T]) answer(s *slot[T], h *Held[T], a Ask[T]) Answer[T] {
	out := Answer[T]{Held: *h, Short: !h.canLast(a.MinLeft)}
	if f := s.failure.Load(); f != nil && f.At.After(h.Born) {
		out.Failure = f
	} else {
		out.Slow = !c.now().Before(h.RenewsAt())
	}
	return out
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
	s := &slot[T]{key: a.Key, group: a.Group}
	c.slots.Add(a.Key, s)
	return s
}

// join gives the mint that is under way, or starts one. It gives the
// remembered failure instead while the next attempt is not due.
func (c *Cache[T]) join(ctx context.Context, s *slot[T], a Ask[T], now time.Time) (*call[T], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.dead:
		return nil, ErrForgotten
	case s.call != nil:
		return s.call, nil
	}
	if f := s.failure.Load(); f != nil && now.Before(f.Next) {
		return nil, f
	}
	if h := s.held.Load(); h != nil && !a.Fresh && now.Before(h.at(refreshAt)) && h.lasts(a.MinLeft, now) {
		// Somebody minted since this reader looked.
		done := &call[T]{started: now, done: make(chan struct{}), held: *h}
		close(done.done)
		return done, nil
	}
	if !c.begin(s) {
		return nil, ErrClosed
	}
	started := &call[T]{started: now, done: make(chan struct{})}
	s.call = started
	s.minting.Store(now.UnixNano())
	go c.run(context.WithoutCancel(ctx), s, a, started)
	return started, nil
}

// run loads or mints for everybody who waits. The cache is updated before they
// are woken.
func (c *Cache[T]) run(ctx context.Context, s *slot[T], a Ask[T], call *call[T]) {
	defer close(call.done)
	defer c.leave(s) // first: whoever was woken would find it under way
	limited, cancel := c.limit(ctx, a)
	defer cancel()
	held, err := c.guarded(limited, func(ctx context.Context) (Held[T], error) { return c.obtain(ctx, s, a) })
	call.held, call.err = c.settle(s, held, err, true)
	if err == nil && call.err != nil && a.Discard != nil {
		a.Discard(ctx, held)
	}
}

// limit is a mint's context: it ends soon after its timeout, or when Close has
// waited for long enough.
func (c *Cache[T]) limit(ctx context.Context, a Ask[T]) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, a.Timeout+grace/2)
	if a.Spends {
		return ctx, cancel
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stops[&cancel] = struct{}{}
	return ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.stops, &cancel)
		cancel()
	}
}

// settle enters the outcome of a mint into the slot, and gives what those who
// waited for it get. Whoever forgot the slot before this wins; whoever does
// after it finds the token where it is kept.
func (c *Cache[T]) settle(s *slot[T], held Held[T], err error, keep bool) (Held[T], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if keep {
		s.call = nil
		s.minting.Store(0)
	}
	switch {
	case s.dead, errors.Is(err, ErrForgotten):
		return Held[T]{}, ErrForgotten
	case errors.Is(err, context.Canceled): // a mint's context is cancelled by Close alone
		return Held[T]{}, ErrClosed
	case err != nil:
		f := s.failure.Load().after(err, c.now())
		s.failure.Store(f)
		return Held[T]{}, f
	}
	if keep {
		s.held.Store(&held)
	}
	s.failure.Store(nil)
	return held, nil
}

// obtain loads what was stored, if that is fresh enough, or mints.
func (c *Cache[T]) obtain(ctx context.Context, s *slot[T], a Ask[T]) (Held[T], error) {
	if a.Load != nil && s.held.Load() == nil {
		stored, err := a.Load(ctx)
		if err != nil {
			return Held[T]{}, err
		}
		now := c.now()
		if stored != nil && stored.usable(now) {
			young := now.Sub(stored.Born) < youth
			if (!a.Fresh || young) && now.Before(stored.RenewsAt()) && stored.lasts(a.MinLeft, now) {
				return *stored, nil
			}
			s.mu.Lock()
			if !s.dead {
				s.held.Store(stored) // to fall back upon
			}
			s.mu.Unlock()
		}
	}
	held, err := a.Mint(ctx)
	if err == nil && a.Store != nil && !s.forgotten() {
		a.Store(context.WithoutCancel(ctx), held)
	}
	return held, err
}

func (s *slot[T]) forgotten() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dead
}

// guarded makes an error of a panic.
func (c *Cache[T]) guarded(ctx context.Context, mint func(context.Context) (Held[T], error)) (held Held[T], err error) {
	defer func() {
		if p := recover(); p != nil {
			err = c.panicked(p)
		}
	}()
	return mint(ctx)
}

// wait waits for call for at most that long.
func wait[T any](ctx context.Context, call *call[T], limit time.Duration) error {
	timer := time.NewTimer(max(limit, 0))
	defer timer.Stop()
	select {
	case <-call.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return ErrTimeout
	}
}

// single mints for one reader alone, but minds and makes the memory of failure.
// It goes on to its end when the reader leaves, since a mint may spend
// something; what nobody is there to take is not handed out.
func (c *Cache[T]) single(ctx context.Context, s *slot[T], a Ask[T]) (Answer[T], error) {
	if f := s.failure.Load(); f != nil && c.now().Before(f.Next) {
		return Answer[T]{}, f
	}
	if !c.begin(s) {
		return Answer[T]{}, ErrClosed
	}
	defer c.leave(s)
	detached := context.WithoutCancel(ctx)
	limited, cancel := c.limit(detached, a)
	defer cancel()
	held, err := c.guarded(limited, a.Mint)
	if _, lost := c.settle(s, held, err, false); lost != nil {
		if err == nil && a.Discard != nil {
			a.Discard(detached, held)
		}
		return Answer[T]{}, lost
	}
	if ctx.Err() != nil {
		if a.Discard != nil {
			a.Discard(detached, held)
		}
		return Answer[T]{}, ctx.Err()
	}
	return Answer[T]{Held: held, Short: !held.canLast(a.MinLeft)}, nil
}
