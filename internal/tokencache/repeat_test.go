// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// repeater is a provider that returns the same token until it ends.
type repeater struct {
	life     time.Duration
	constant bool // it states the whole life each time; otherwise it states what is left, in whole seconds
	extends  bool // each request lengthens the life
	down     bool
	token    int
	ends     time.Time
	asked    int
	stored   *Held[int]
}

type hasEnded struct{}

func (hasEnded) Error() string { return "the token has already expired" }
func (hasEnded) Ended() bool   { return true }

func (p *repeater) mint(context.Context) (Held[int], error) {
	now := time.Now()
	p.asked++
	switch {
	case p.down:
		return Held[int]{}, errProvider
	case !now.Before(p.ends):
		p.token++
		p.ends = now.Add(p.life)
	case p.extends:
		p.ends = now.Add(p.life)
	}
	left := p.ends.Sub(now).Truncate(time.Second)
	switch {
	case p.constant:
		left = p.life
	case left == 0:
		return Held[int]{}, hasEnded{}
	}
	return Held[int]{Value: p.token, Born: now, Expires: now.Add(left)}, nil
}

func (p *repeater) ask() Ask[int] {
	return Ask[int]{
		Key: "c/k", Group: "c", Timeout: 10 * time.Second, Mint: p.mint,
		Load:  func(context.Context) (*Held[int], error) { return p.stored, nil },
		Store: func(_ context.Context, h Held[int]) { h.Repeated = time.Time{}; p.stored = &h },
	}
}

// repeating returns a cache that recognizes a token that it gets again.
func repeating() *Cache[int] {
	return New[int](Options[int]{Again: func(first, minted Held[int]) (Held[int], bool) {
		first.Repeated = time.Time{}
		return first, first.Value == minted.Value
	}})
}

func TestTokenThatIsRepeatedUntilItEnds(t *testing.T) {
	for name, p := range map[string]*repeater{
		"stating its whole life":           {life: 60 * time.Second, constant: true},
		"stating what is left":             {life: 60 * time.Second},
		"a long one, its whole life":       {life: time.Hour, constant: true},
		"a long one, what is left":         {life: time.Hour},
		"with parts of a second":           {life: 61700 * time.Millisecond},
		"a short one, what is left":        {life: 7 * time.Second},
		"lengthened by each request":       {life: 60 * time.Second, constant: true, extends: true},
		"lengthened, stating what is left": {life: 60 * time.Second, extends: true},
	} {
		for _, restarts := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s (restarts: %v)", name, restarts), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := *p
					c := repeating()
					start := time.Now()
					for reads := 0; time.Since(start) < 10*p.life; reads++ {
						if restarts && reads%97 == 96 {
							c.Close(time.Second)
							c = repeating()
						}
						before := time.Now()
						got, err := c.Get(t.Context(), p.ask())
						synctest.Wait() // for a refresh in the background
						switch {
						case err != nil:
							t.Fatalf("at %s: %v", before.Sub(start), err)
						case got.Value != p.token || !time.Now().Before(p.ends):
							t.Fatalf("at %s: a dead token", before.Sub(start))
						case time.Until(got.Until) < time.Second:
							t.Fatalf("at %s: less than a second is left: %s", before.Sub(start), time.Until(got.Until))
						case got.Same != (!got.Repeated.IsZero() && !time.Now().Before(got.UsableUntil())):
							t.Fatalf("at %s: it is said %v that there is no other", before.Sub(start), got.Same)
						case time.Since(before) > 3*time.Second:
							t.Fatalf("at %s: waited for %s", before.Sub(start), time.Since(before))
						}
						time.Sleep(p.life / 241)
					}
					c.Close(time.Second)
					// In ten lives, the limit is 24 requests for each life, while there
					// are 241 reads.
					if limit := 10 * 24; !restarts && p.asked > limit {
						t.Errorf("%d requests at the provider, want %d at most", p.asked, limit)
					}
				})
			})
		}
	}
}

func TestRepeatMovesNoEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := repeating(), &repeater{life: 100 * time.Second, constant: true}
		defer c.Close(time.Second)
		born := time.Now()
		expect := func(when string, same bool, asked int) {
			t.Helper()
			got := get(t, c, p.ask())
			synctest.Wait()
			if !got.Born.Equal(born) || !got.Expires.Equal(born.Add(100*time.Second)) || got.Same != same || got.Slow || got.Failure != nil {
				t.Errorf("%s: %+v", when, got)
			}
			if p.asked != asked || !p.stored.Expires.Equal(got.Expires) {
				t.Errorf("%s: asked %d times; stored until %s", when, p.asked, p.stored.Expires)
			}
		}
		expect("at first", false, 1)
		time.Sleep(72 * time.Second)
		expect("when it is due", false, 2)
		time.Sleep(10 * time.Second)
		expect("at 82 %, before half of what was left is over", false, 2)
		time.Sleep(8 * time.Second)
		expect("at 90 %, after that", false, 3)
		time.Sleep(6 * time.Second)
		expect("in its last seconds", true, 4)
		p.down = true
		time.Sleep(2500 * time.Millisecond)
		if got := get(t, c, p.ask()); got.Value != 1 || got.Failure == nil || time.Until(got.Until) != 1500*time.Millisecond {
			t.Errorf("the provider is down just then: %+v", got)
		}
		time.Sleep(time.Second)
		_ = fails(t, c, p.ask())
	})
}

// A reader asks for a fresh token because the old one was rejected. The provider may
// have another one, or may return the same one again.
func TestFreshOneThatIsTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := repeating(), &repeater{life: time.Hour, constant: true}
		defer c.Close(time.Second)
		get(t, c, p.ask())
		fresh, long := p.ask(), p.ask()
		fresh.Fresh, long.MinLeft = true, 3590*time.Second-time.Millisecond
		for range 60 {
			time.Sleep(time.Second)
			for _, a := range []Ask[int]{fresh, long} {
				if got := get(t, c, a); got.Value != 1 || !got.Same && !got.Young {
					t.Errorf("%+v", got)
				}
			}
		}
		if p.asked > 7 {
			t.Errorf("asked %d times in a minute", p.asked)
		}
		if got := get(t, c, p.ask()); got.Same {
			t.Error("a reader who asked for nothing is told")
		}
	})
}

func TestLateTokenIsReplacedWhenItIsNoLongerUsable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := New[int](Options[int]{}), &source{life: 100 * time.Second}
		defer c.Close(time.Second)
		a := p.ask()
		a.Mint = func(ctx context.Context) (Held[int], error) {
			h, err := p.mint(ctx)
			h.Late = true
			return h, err
		}
		born := time.Now()
		for time.Since(born) < 95*time.Second {
			if got := get(t, c, a); got.Value != 1 || got.Slow {
				t.Fatalf("at %s: token %d (slow: %v)", time.Since(born), got.Value, got.Slow)
			}
			time.Sleep(500 * time.Millisecond)
		}
		if got := get(t, c, a); got.Value != 2 {
			t.Errorf("at its usable end: token %d", got.Value)
		}
		time.Sleep(20 * time.Second)
		long, fresh := a, a
		long.MinLeft, fresh.Fresh = 90*time.Second, true
		if got := get(t, c, long); got.Value != 2 || !got.Kept {
			t.Errorf("with a min_ttl that it has not left: token %d (said: %v)", got.Value, got.Kept)
		}
		if got := get(t, c, fresh); got.Value != 3 {
			t.Errorf("with fresh: token %d", got.Value)
		}
	})
}
