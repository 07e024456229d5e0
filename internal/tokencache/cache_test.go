// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// source mints numbered tokens in the bubble's time.
type source struct {
	life  time.Duration
	delay time.Duration
	err   error

	mu    sync.Mutex // guards changes after the first mint
	mints atomic.Int64
}

func (p *source) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *source) mint(ctx context.Context) (Held[int], error) {
	n := int(p.mints.Add(1))
	p.mu.Lock()
	life, delay, err := p.life, p.delay, p.err
	p.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return Held[int]{}, ctx.Err()
	}
	if err != nil {
		return Held[int]{}, err
	}
	now := time.Now()
	return Held[int]{Value: n, Born: now, Expires: now.Add(life)}, nil
}

func (p *source) ask() Ask[int] {
	return Ask[int]{Key: "c/k", Group: "c", Timeout: 10 * time.Second, Mint: p.mint}
}

func get(t *testing.T, c *Cache[int], a Ask[int]) Answer[int] {
	t.Helper()
	got, err := c.Get(t.Context(), a)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	return got
}

var errProvider = errors.New("provider is down")

func TestLifeOfAToken(t *testing.T) {
	for _, tt := range []struct {
		rule        string
		age         time.Duration // the age of a 100 s token when it is read again
		minLeft     time.Duration
		down        bool
		want        int   // the token's number
		mints       int64 // the number of mints after a while
		wantFailure bool
	}{
		{rule: "fresh: from memory", age: 69 * time.Second, want: 1, mints: 1},
		{rule: "at 70 %: the old one, while one refresh runs behind it", age: 70 * time.Second, want: 1, mints: 2},
		{rule: "at 79 %: likewise", age: 79 * time.Second, want: 1, mints: 2},
		{rule: "at 80 %: the new one", age: 80 * time.Second, want: 2, mints: 2},
		{rule: "usable no longer: the new one", age: 96 * time.Second, want: 2, mints: 2},
		{rule: "less than min_ttl left: the new one", age: 20 * time.Second, minLeft: 80 * time.Second, want: 2, mints: 2},
		{rule: "just min_ttl left: the old one", age: 20 * time.Second, minLeft: 75 * time.Second, want: 1, mints: 1},
		{rule: "failed at 75 %: the old one", age: 75 * time.Second, down: true, want: 1, mints: 2},
		{rule: "failed at 85 %: the old one, and why", age: 85 * time.Second, down: true, want: 1, mints: 2, wantFailure: true},
		{rule: "failed with less than min_ttl left: the old one, and why", age: 20 * time.Second, minLeft: 80 * time.Second, down: true, want: 1, mints: 2, wantFailure: true},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p := New[int](Options[int]{}), &source{life: 100 * time.Second}
				defer c.Close(time.Second)
				if got := get(t, c, p.ask()); got.Value != 1 {
					t.Fatalf("the first token is %d", got.Value)
				}
				time.Sleep(tt.age)
				if tt.down {
					p.set(func() { p.err, p.delay = errProvider, time.Millisecond }) // no refresh fails before its reader is served
				}
				a := p.ask()
				a.MinLeft = tt.minLeft
				got := get(t, c, a)
				synctest.Wait()
				if got.Value != tt.want || p.mints.Load() != tt.mints {
					t.Errorf("got token %d after %d mints, want %d after %d", got.Value, p.mints.Load(), tt.want, tt.mints)
				}
				if (got.Failure != nil) != tt.wantFailure || got.Slow {
					t.Errorf("failure %v, slow %v; want a failure: %v", got.Failure, got.Slow, tt.wantFailure)
				}
			})
		})
	}
}

func TestNeverADeadToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := New[int](Options[int]{}), &source{life: 30 * time.Second}
		defer c.Close(time.Second)
		born := time.Now()
		get(t, c, p.ask())
		p.set(func() { p.err = errProvider })
		usableUntil := born.Add(30*time.Second - 1500*time.Millisecond)
		refused := false
		for time.Since(born) < 60*time.Second {
			time.Sleep(100 * time.Millisecond)
			got, err := c.Get(t.Context(), p.ask())
			switch {
			case time.Now().Before(usableUntil) && err != nil:
				t.Fatalf("at %s: %v", time.Since(born), err)
			case !time.Now().Before(usableUntil) && err == nil:
				t.Fatalf("at %s: a dead token", time.Since(born))
			case err == nil && got.Failure != nil:
				refused = true
			case err == nil && refused:
				t.Fatalf("at %s: the warning is gone", time.Since(born))
			}
		}
		if !refused {
			t.Error("no read told of the failed refresh")
		}
		p.set(func() { p.err = nil })
		time.Sleep(maxBackoff)
		get(t, c, p.ask())
	})
}

func TestOneMintForEverybody(t *testing.T) {
	for _, tt := range []struct {
		rule string
		err  error
	}{{rule: "success"}, {rule: "failure", err: errProvider}} {
		t.Run(tt.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p := New[int](Options[int]{}), &source{life: time.Hour, delay: time.Second, err: tt.err}
				defer c.Close(time.Second)
				start := time.Now()
				var wg sync.WaitGroup
				for range 1000 {
					wg.Go(func() {
						got, err := c.Get(t.Context(), p.ask())
						if !errors.Is(err, tt.err) || err == nil && got.Value != 1 {
							t.Errorf("got %d, %v", got.Value, err)
						}
					})
				}
				wg.Wait()
				if p.mints.Load() != 1 || time.Since(start) != time.Second {
					t.Errorf("%d mints in %s", p.mints.Load(), time.Since(start))
				}
			})
		})
	}
}

func TestAReaderLeavesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := New[int](Options[int]{}), &source{life: time.Hour, delay: 2 * time.Second}
		defer c.Close(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		left := make(chan error)
		go func() {
			_, err := c.Get(ctx, p.ask())
			left <- err
		}()
		synctest.Wait()
		stayed := make(chan Answer[int])
		go func() { stayed <- get(t, c, p.ask()) }()
		if err := <-left; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who left got %v", err)
		}
		if got := <-stayed; got.Value != 1 || p.mints.Load() != 1 {
			t.Errorf("who stayed got %d after %d mints", got.Value, p.mints.Load())
		}
	})
}

func TestNobodyWaitsLongerThanTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New[int](Options[int]{})
		defer c.Close(time.Second)
		stuck := Ask[int]{Key: "c/k", Group: "c", Timeout: 3 * time.Second, Mint: func(context.Context) (Held[int], error) {
			time.Sleep(time.Minute) // ignores its context
			return Held[int]{}, errProvider
		}}
		start := time.Now()
		if _, err := c.Get(t.Context(), stuck); !errors.Is(err, ErrTimeout) || time.Since(start) > 4*time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		time.Sleep(time.Minute)
	})
}

func TestAHangingRefreshSlowsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := New[int](Options[int]{}), &source{life: 60 * time.Second}
		defer c.Close(time.Minute)
		born := time.Now()
		get(t, c, p.ask())
		p.set(func() { p.delay = 8 * time.Second })
		time.Sleep(43 * time.Second) // 72 %: the refresh starts, and lasts beyond 80 %
		for time.Since(born) < 51*time.Second {
			before := time.Now()
			got := get(t, c, p.ask())
			if waited := time.Since(before); got.Value != 1 || waited > 0 {
				t.Fatalf("at %s: token %d after a wait of %s", time.Since(born), got.Value, waited)
			}
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		time.Sleep(time.Second)
		if got := get(t, c, p.ask()); got.Value != 2 || p.mints.Load() != 2 {
			t.Errorf("then token %d after %d mints", got.Value, p.mints.Load())
		}
	})
}

// TestHit checks when a read can be answered by a look at memory alone: whenever the
// read would start no mint.
func TestHit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := New[int](Options[int]{}), &source{life: 100 * time.Second}
		defer c.Close(time.Minute)
		hit := func(want bool, when string) Answer[int] {
			t.Helper()
			got, ok := c.Hit(p.ask().Key, 0)
			if ok != want {
				t.Errorf("%s: a hit is %v", when, ok)
			}
			return got
		}
		hit(false, "with nothing there")
		get(t, c, p.ask())
		hit(true, "when fresh")
		time.Sleep(71 * time.Second)
		hit(false, "when a refresh is due")
		p.set(func() { p.delay, p.err = 20*time.Second, errProvider })
		a := p.ask()
		a.Timeout = 15 * time.Second
		get(t, c, a)
		hit(true, "while a refresh is under way")
		time.Sleep(10 * time.Second)
		if got := hit(true, "at 81 %, while it hangs"); !got.Slow {
			t.Error("that it hangs is not said")
		}
		time.Sleep(6 * time.Second)
		if got := hit(true, "after it failed, until the next is due"); got.Failure == nil {
			t.Error("that it failed is not said")
		}
		time.Sleep(2 * time.Second)
		hit(false, "when the next is due")
		time.Sleep(7 * time.Second)
		hit(false, "when it is no longer usable")
	})
}

func TestWhoFindsTheRefreshStartingAt80PercentWaitsBriefly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := New[int](Options[int]{}), &source{life: 100 * time.Second}
		defer c.Close(time.Minute)
		get(t, c, p.ask())
		p.set(func() { p.delay = 8 * time.Second })
		time.Sleep(85 * time.Second)
		start := time.Now()
		got := get(t, c, p.ask())
		if got.Value != 1 || !got.Slow || time.Since(start) != patience {
			t.Errorf("token %d (slow: %v) after %s", got.Value, got.Slow, time.Since(start))
		}
		time.Sleep(8500 * time.Millisecond) // 94.5 % of the token's life
		p.set(func() { p.delay = 2 * time.Second })
		if got := get(t, c, p.ask()); got.Value != 2 {
			t.Errorf("then token %d", got.Value)
		}
	})
}

func TestWhoWaitsPastTheOldTokensEndGetsTheNewOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := New[int](Options[int]{}), &source{life: 100 * time.Second}
		defer c.Close(time.Minute)
		get(t, c, p.ask())
		p.set(func() { p.delay = 3 * time.Second })
		time.Sleep(94500 * time.Millisecond)
		if got := get(t, c, p.ask()); got.Value != 2 {
			t.Errorf("token %d", got.Value)
		}
	})
}

// BenchmarkHit measures a read that is answered from memory.
func BenchmarkHit(b *testing.B) {
	c, p := New[int](Options[int]{}), &source{life: 24 * time.Hour}
	defer c.Close(time.Second)
	if _, err := c.Get(b.Context(), p.ask()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, ok := c.Hit("c/k", time.Second); !ok {
				b.Error("no hit")
			}
		}
	})
}
