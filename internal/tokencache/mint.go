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
	// SpendTime is how long a mint that spends something waits for the answer. Without
	// the answer, what was spent is lost.
	SpendTime = 5 * time.Minute

	// grace lets a mint that exceeds its timeout report that itself: its context ends
	// after half of grace, and readers stop waiting after all of it.
	grace = 500 * time.Millisecond

	// repeatPause is the first pause before a provider is asked again that returned an
	// expired token. Each further pause is twice as long.
	repeatPause = 250 * time.Millisecond
)

// call is a mint under way.
type call[T any] struct {
	started time.Time
	done    chan struct{}
	held    Held[T]
	err     error
	claimed atomic.Bool // for a mint for one reader: set when its reader leaves or when it ends, whichever is first
}

// errRepeats is the error for an expired token that the provider returned again.
type errRepeats struct{}

func (errRepeats) Error() string {
	return "the provider hands out the same token again, though its end has come"
}
func (errRepeats) OfRequest() bool { return true }

// ErrRepeats is the cause of a failure if the provider returns the same token even
// after it has expired.
var ErrRepeats error = errRepeats{}

// join returns the mint that is under way, or starts one, and reports whether it
// did. While the next attempt is not due, it returns the remembered failure.
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
		// Another reader minted since this reader looked.
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

// run loads or mints for all readers that wait. It updates the cache before it
// wakes them.
func (c *Cache[T]) run(ctx context.Context, s *slot[T], a Ask[T], call *call[T]) {
	stretch(0)
	defer close(call.done)
	defer c.leave(s) // before the readers wake: for them, no mint must be under way any more
	limited, cancel := c.limit(ctx, a)
	defer cancel()
	held, err := c.obtain(limited, s, a)
	var failure *Failure
	switch {
	case err == nil, errors.Is(err, ErrForgotten), errors.As(err, &failure):
	case errors.Is(err, context.Canceled): // only Close cancels a mint's context
		err = ErrClosed
	default: // an error that is not the provider's
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

// limit returns a mint's context, which ends soon after the timeout, or when Close
// has waited long enough.
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

// settle enters the result of a mint into the slot, and returns what the waiting
// readers get. If the slot was forgotten before this, nobody gets the token. If it
// is forgotten later, Forget finds the token in the slot.
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

// obtain returns the stored token if it is fresh enough, or mints.
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

// found enters the stored token into the slot, as a fallback and to compare with
// what the provider returns next.
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

// attempt asks the provider when it is the client's turn. It remembers a failure
// for the client, or for the token alone if the error concerns only this request.
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

// mint asks the provider. If the provider returns the first token again although
// that has expired, mint asks again for as long as a reader may wait, because the
// next token is about to come.
func (c *Cache[T]) mint(ctx context.Context, first *Held[T], a Ask[T]) (Held[T], error) {
	if first == nil || a.Single {
		return c.guarded(ctx, a)
	}
	limit := time.NewTimer(a.Timeout)
	defer limit.Stop()
	for pause := repeatPause; ; pause *= 2 {
		held, err := c.guarded(ctx, a)
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

// compared compares the result of a mint with the token that was there first. If
// both are the same token, the expiry that was stated first counts, because a
// provider that states the same lifetime each time means the token's whole life. If
// the provider still returns the token after that expiry, it has extended its life.
// compared reports whether the result is an expired token.
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

// recovered turns a panic into an error.
func (c *Cache[T]) recovered(err *error) {
	if p := recover(); p != nil {
		*err = c.panicked(p)
	}
}

// wait waits for call, but no longer than limit.
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

// single mints for one reader alone when there is a place. It honours and updates
// the memory of failures. The mint runs to its end even if the reader leaves, because
// the provider may issue the token all the same; a token without a reader goes to
// Discard.
func (c *Cache[T]) single(ctx context.Context, s *slot[T], a Ask[T]) (Answer[T], error) {
	if f := s.waits(c.now()); f != nil && !a.Now {
		return Answer[T]{}, f
	}
	start := time.Now()
	leave, err := s.client.enter(ctx, a.Timeout)
	if err != nil {
		return Answer[T]{}, err
	}
	if !c.begin(s) {
		leave()
		return Answer[T]{}, ErrClosed
	}
	a.Timeout = max(a.Timeout-time.Since(start), 0) // minus the wait for the place
	call := &call[T]{started: c.now(), done: make(chan struct{})}
	mint := func() {
		defer leave()
		c.run(context.WithoutCancel(ctx), s, a, call)
	}
	if a.Spends { // the mint may take much longer than the reader waits
		go mint()
		err = wait(ctx, call, a.Timeout+grace)
	} else {
		mint() // a goroutine for it would take longer, and nobody else waits for it
	}
	if err != nil && call.claimed.CompareAndSwap(false, true) {
		return Answer[T]{}, err // and the mint's token is discarded
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

// Apart mints for a caller that keeps the token elsewhere. It neither honours nor
// updates the memory of failures. Its errors are those of Get.
func (c *Cache[T]) Apart(ctx context.Context, a Ask[T]) (Held[T], error) {
	got, err := c.single(ctx, &slot[T]{client: &client{}}, Ask[T]{Single: true, Timeout: a.Timeout, Spends: a.Spends, Mint: a.Mint, Discard: a.Discard})
	return got.Held, err
}
