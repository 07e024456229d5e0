// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

const (
	// SpendTime is for how long the answer to a mint that spends something is
	// waited for. Without it, what was spent is lost.
	SpendTime = 5 * time.Minute

	// grace lets a mint that runs into its timeout say so itself: its context
	// ends half of it later, and the wait for it all of it.
	grace = 500 * time.Millisecond

	// repeatPause is the first pause before a provider is asked again that hands
	// out a token whose end has come; the following ones are twice as long.
	repeatPause = 250 * time.Millisecond
)

// call is a mint under way.
type call[T any] struct {
	started time.Time
	done    chan struct{}
	held    Held[T]
	err     error
	claimed atomic.Bool // of a single one: by who is first, its reader's leaving or its end
}

// errRepeats is a token that is of no use any more, and handed out again.
type errRepeats struct{}

func (errRepeats) Error() string {
	return "the provider hands out the same token again, though its end has come"
}
func (errRepeats) OfRequest() bool { return true }

// ErrRepeats is the cause of a failure when the provider hands out a token until
// it has ended, and longer.
var ErrRepeats error = errRepeats{}

// join gives the mint that is under way, or starts one, and says whether it did.
// It gives the remembered failure instead while the next attempt is not due.
func (c *Cache[T]) join(ctx context.Context, s *slot[T], a Ask[T], now time.Time) (joined *call[T], mine bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.dead:
		return nil, false, ErrForgotten
	case s.call != nil:
		return s.call, false, nil
	}
	if f := s.waits(now); f != nil && !a.Now && (s.looked || a.Load == nil) {
		return nil, false, f
	}
	if h := s.held.Load(); h != nil && !a.Now && now.Before(h.RefreshesAt()) && h.serves(a.Fresh, a.MinLeft, now) {
		// Somebody minted since this reader looked.
		done := &call[T]{started: now, done: make(chan struct{}), held: *h}
		close(done.done)
		return done, false, nil
	}
	if !c.begin(s) {
		return nil, false, ErrClosed
	}
	started := &call[T]{started: now, done: make(chan struct{})}
	s.call = started
	s.minting.Store(now.UnixNano())
	go c.run(context.WithoutCancel(ctx), s, a, started)
	return started, true, nil
}

// run loads or mints for everybody who waits. The cache is updated before they
// are woken.
func (c *Cache[T]) run(ctx context.Context, s *slot[T], a Ask[T], call *call[T]) {
	defer close(call.done)
	defer c.leave(s) // first: whoever was woken would find it under way
	limited, cancel := c.limit(ctx, a)
	defer cancel()
	held, err := c.obtain(limited, s, a)
	var failure *Failure
	switch {
	case err == nil, errors.Is(err, ErrForgotten), errors.As(err, &failure):
	case errors.Is(err, context.Canceled): // a mint's context is cancelled by Close alone
		err = ErrClosed
	default: // not the provider's
		err = s.client.note(&s.failure, err, call.started, c.now())
	}
	call.held, call.err = s.settle(held, err, !a.Single)
	switch {
	case call.err == nil && !a.Single:
		s.client.hold(a.Choice, held.Expires)
	case err == nil && (call.err != nil || !call.claimed.CompareAndSwap(false, true)):
		c.discard(ctx, a, held)
	}
}

// limit is a mint's context: it ends soon after its timeout, or when Close has
// waited for long enough.
func (c *Cache[T]) limit(ctx context.Context, a Ask[T]) (context.Context, context.CancelFunc) {
	if a.Spends {
		return context.WithTimeout(ctx, max(SpendTime, a.Timeout)+grace/2)
	}
	ctx, cancel := context.WithTimeout(ctx, a.Timeout+grace/2)
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
func (s *slot[T]) settle(held Held[T], err error, keep bool) (Held[T], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if keep {
		s.call = nil
		s.minting.Store(0)
	}
	switch {
	case s.dead:
		return Held[T]{}, ErrForgotten
	case err != nil:
		return Held[T]{}, err
	}
	if keep {
		s.held.Store(&held)
	}
	return held, nil
}

// obtain loads what was stored, if that is fresh enough, or mints.
func (c *Cache[T]) obtain(ctx context.Context, s *slot[T], a Ask[T]) (held Held[T], err error) {
	defer c.recovered(&err)
	if a.Single {
		return c.attempt(ctx, s, a)
	}
	if a.Load != nil && s.held.Load() == nil {
		stored, err := a.Load(ctx)
		if err != nil {
			return Held[T]{}, err
		}
		s.found(stored)
		if stored != nil && !a.Now && stored.serves(a.Fresh, a.MinLeft, c.now()) {
			return *stored, nil
		}
	}
	held, err = c.attempt(ctx, s, a)
	if err == nil && a.Store != nil && !s.forgotten() {
		a.Store(context.WithoutCancel(ctx), held)
	}
	return held, err
}

// found enters what was stored, to fall back upon, and to compare with what
// the provider hands out next.
func (s *slot[T]) found(stored *Held[T]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looked = true
	if stored != nil && !s.dead {
		s.held.Store(stored)
	}
}

func (s *slot[T]) forgotten() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dead
}

// attempt asks the provider when it is the client's turn, and remembers when it
// fails: of the client, unless the error is one of this request alone.
func (c *Cache[T]) attempt(ctx context.Context, s *slot[T], a Ask[T]) (Held[T], error) {
	leave, err := s.client.turn(ctx, c.now, a.Now)
	if err != nil {
		return Held[T]{}, err
	}
	defer leave()
	started := c.now()
	held, err := c.mint(ctx, s.held.Load(), a)
	switch {
	case err == nil:
		s.failure.Store(nil)
		s.client.succeeded(started)
		return held, nil
	case errors.Is(err, ErrForgotten), s.forgotten():
		return Held[T]{}, ErrForgotten
	case errors.Is(err, context.Canceled):
		return Held[T]{}, err
	case says(err, ofRequest.OfRequest):
		return Held[T]{}, s.client.note(&s.failure, err, started, c.now())
	}
	return Held[T]{}, s.client.note(&s.client.failure, err, started, c.now())
}

// mint asks the provider, and again, for as long as a reader may wait, when it
// hands out the token that was there first though that has ended: the next one
// is then about to come.
func (c *Cache[T]) mint(ctx context.Context, first *Held[T], a Ask[T]) (Held[T], error) {
	limit := time.NewTimer(a.Timeout)
	defer limit.Stop()
	for pause := repeatPause; ; pause *= 2 {
		held, err := c.guarded(ctx, a)
		if first == nil || a.Single {
			return held, err
		}
		held, dead, err := c.compared(*first, held, err)
		if !dead {
			return held, err
		}
		next := time.NewTimer(max(pause, first.Expires.Sub(c.now())))
		defer next.Stop()
		select {
		case <-next.C:
		case <-limit.C:
			return Held[T]{}, err
		case <-ctx.Done():
			return Held[T]{}, err
		}
	}
}

// compared is the outcome of a mint beside the token that was there first. If it
// is the same one, the end that was first stated holds: a provider that keeps
// stating the same lifetime for it means its whole life. If it is handed out
// beyond that end as well, the provider has lengthened its life. It says whether
// what came is a token whose end has come.
func (c *Cache[T]) compared(first, minted Held[T], err error) (_ Held[T], dead bool, _ error) {
	now := c.now()
	if err != nil {
		near := now.Before(first.Expires.Add(maxLeeway)) && !now.Before(first.Expires.Add(-maxLeeway))
		return minted, near && says(err, ended.Ended), err
	}
	again, same := c.again(first, minted)
	switch {
	case !same:
		return minted, false, nil
	case now.Before(first.Expires):
		again.Repeated = now
	default:
		again = minted
	}
	if !again.usable(now) || !again.leases(now) {
		return Held[T]{}, true, ErrRepeats
	}
	return again, false, nil
}

func (c *Cache[T]) discard(ctx context.Context, a Ask[T], held Held[T]) {
	if a.Discard != nil {
		a.Discard(ctx, held)
	}
}

func (c *Cache[T]) guarded(ctx context.Context, a Ask[T]) (held Held[T], err error) {
	defer c.recovered(&err)
	return a.Mint(ctx)
}

// recovered makes an error of a panic.
func (c *Cache[T]) recovered(err *error) {
	if p := recover(); p != nil {
		*err = c.panicked(p)
	}
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

// single mints for one reader alone, when there is a place, but minds and makes
// the memory of failure. It goes on to its end when the reader leaves, since a
// mint may spend something; what nobody is there to take goes to Discard.
func (c *Cache[T]) single(ctx context.Context, s *slot[T], a Ask[T]) (Answer[T], error) {
	if f := s.waits(c.now()); f != nil && !a.Now {
		return Answer[T]{}, f
	}
	start := time.Now()
	if err := s.client.enter(ctx, a.Timeout); err != nil {
		return Answer[T]{}, err
	}
	if !c.begin(s) {
		<-s.client.singles
		return Answer[T]{}, ErrClosed
	}
	a.Timeout = max(a.Timeout-time.Since(start), 0) // what the place took is gone
	call := &call[T]{started: c.now(), done: make(chan struct{})}
	go func() {
		defer func() { <-s.client.singles }()
		c.run(context.WithoutCancel(ctx), s, a, call)
	}()
	err := wait(ctx, call, a.Timeout+grace)
	if err != nil && call.claimed.CompareAndSwap(false, true) {
		return Answer[T]{}, err // and what comes is discarded
	}
	<-call.done
	switch {
	case call.err != nil:
		return Answer[T]{}, call.err
	case ctx.Err() != nil:
		c.discard(context.WithoutCancel(ctx), a, call.held)
		return Answer[T]{}, ctx.Err()
	}
	return s.answer(&call.held, Ask[T]{MinLeft: a.MinLeft}, c.now()), nil
}

// Apart mints for somebody who keeps the token elsewhere. Nothing is remembered
// of it, and nothing minded. Its errors are those of Get.
func (c *Cache[T]) Apart(ctx context.Context, a Ask[T]) (Held[T], error) {
	got, err := c.single(ctx, &slot[T]{client: newClient()}, Ask[T]{Single: true, Timeout: a.Timeout, Spends: a.Spends, Mint: a.Mint, Discard: a.Discard})
	return got.Held, err
}
