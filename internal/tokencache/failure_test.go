// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// of returns an ask of p for another token of the same client.
func (p *source) of(name string) Ask[int] {
	a := p.ask()
	a.Key = "c/" + name
	return a
}

// fails expects that a read fails, and returns the failure.
func fails(t *testing.T, c *Cache[int], a Ask[int]) *Failure {
	t.Helper()
	_, err := c.Get(t.Context(), a)
	var f *Failure
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want a failure", err)
	}
	return f
}

func (p *source) asked(t *testing.T, want int64) {
	t.Helper()
	if got := p.mints.Load(); got != want {
		t.Errorf("%d requests at the provider, want %d", got, want)
	}
}

type hinted struct{ wait time.Duration }

func (hinted) Error() string              { return "slow down" }
func (h hinted) RetryHint() time.Duration { return h.wait }

func TestMemoryOfFailure(t *testing.T) {
	t.Run("attempts grow apart, up to the longest wait", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, p := New[int](Options[int]{}), &source{life: time.Hour, err: errProvider}
			defer c.Close(time.Second)
			for range 600 {
				_, err := c.Get(t.Context(), p.ask())
				var f *Failure
				if !errors.As(err, &f) || !errors.Is(err, errProvider) {
					t.Fatalf("got %v", err)
				}
				time.Sleep(500 * time.Millisecond)
			}
			// 300 s are 1+2+4+8+16 s and then 30 s each. Jitter makes each up to a
			// quarter shorter.
			if n := p.mints.Load(); n < 13 || n > 19 {
				t.Errorf("%d attempts in five minutes", n)
			}
		})
	})
	t.Run("the provider's wish counts when it is longer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, p := New[int](Options[int]{}), &source{life: time.Hour, err: hinted{90 * time.Second}}
			defer c.Close(time.Second)
			for range 89 {
				_, err := c.Get(t.Context(), p.ask())
				var f *Failure
				if !errors.As(err, &f) || f.Next.Sub(f.At) != 90*time.Second {
					t.Fatalf("got %v", err)
				}
				time.Sleep(time.Second)
			}
			if p.mints.Load() != 1 {
				t.Errorf("%d attempts before Retry-After", p.mints.Load())
			}
		})
	})
	t.Run("Forgive clears it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, p := New[int](Options[int]{}), &source{life: time.Hour, err: errProvider}
			defer c.Close(time.Second)
			if _, err := c.Get(t.Context(), p.ask()); err == nil {
				t.Fatal("no error")
			}
			p.set(func() { p.err = nil })
			c.Forgive("c")
			get(t, c, p.ask())
		})
	})
}

type saying struct{ holds, ofRequest bool }

func (saying) Error() string     { return "no" }
func (e saying) Holds() bool     { return e.holds }
func (e saying) OfRequest() bool { return e.ofRequest }

func TestFailureIsOfTheClient(t *testing.T) {
	for _, tt := range []struct {
		rule string
		err  error
		want int64 // requests for four tokens, each of which is read many times
	}{
		{rule: "all its tokens wait", err: errProvider, want: 1},
		{rule: "also for what the provider wishes", err: hinted{time.Minute}, want: 1},
		{rule: "also for credentials that are refused", err: saying{holds: true}, want: 1},
		{rule: "but not for an error of one request alone", err: saying{ofRequest: true}, want: 4},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p := New[int](Options[int]{}), &source{life: time.Hour, err: tt.err}
				defer c.Close(time.Second)
				for range 8 {
					for _, name := range []string{"k", "r1", "r2", "r3"} {
						_ = fails(t, c, p.of(name))
					}
					time.Sleep(50 * time.Millisecond)
				}
				p.asked(t, tt.want)
				q := &source{life: time.Hour}
				other := q.ask()
				other.Key, other.Group = "d/k", "d"
				get(t, c, other) // the failure does not affect another client
			})
		})
	}
}

func TestOneAttemptAtATimeWhileTheClientFails(t *testing.T) {
	for _, recovers := range []bool{false, true} {
		t.Run(fmt.Sprintf("recovers: %v", recovers), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p := New[int](Options[int]{}), &source{life: time.Hour, err: hinted{time.Minute}, delay: time.Second}
				defer c.Close(time.Second)
				_ = fails(t, c, p.ask())
				time.Sleep(time.Minute)
				if recovers {
					p.set(func() { p.err = nil })
				}
				var wg sync.WaitGroup
				for _, name := range []string{"k", "r1", "r2", "r3"} {
					wg.Go(func() {
						if _, err := c.Get(t.Context(), p.of(name)); (err == nil) != recovers {
							t.Errorf("%s: %v", name, err)
						}
					})
				}
				wg.Wait()
				want := int64(2)
				if recovers {
					want = 5
				}
				p.asked(t, want)
			})
		})
	}
}

func TestClientThatFailsHarmsNoTokenThatIsUsable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := New[int](Options[int]{}), &source{life: 100 * time.Second}
		defer c.Close(time.Second)
		stored := p.of("stored")
		stored.Load = func(context.Context) (*Held[int], error) {
			return &Held[int]{Value: 77, Born: time.Now(), Expires: time.Now().Add(time.Minute)}, nil
		}
		get(t, c, p.ask())
		p.set(func() { p.err = hinted{time.Hour} })
		_ = fails(t, c, p.of("r"))
		if got := get(t, c, p.ask()); got.Value != 1 || got.Failure != nil {
			t.Errorf("a fresh token of the same client: %d, %v", got.Value, got.Failure)
		}
		if got := get(t, c, stored); got.Value != 77 {
			t.Errorf("one that is stored: %d", got.Value)
		}
		time.Sleep(94 * time.Second)
		if got := get(t, c, p.ask()); got.Value != 1 || got.Failure == nil {
			t.Errorf("one that is due: %d, %v", got.Value, got.Failure)
		}
		if _, ok := c.Hit("c/k", 0); !ok {
			t.Error("it takes more than a look")
		}
		time.Sleep(2 * time.Second)
		_ = fails(t, c, p.ask())
		p.asked(t, 2)
	})
}

func TestRefusedCredentialsHold(t *testing.T) {
	refusing := func(t *testing.T) (*Cache[int], *source) {
		t.Helper()
		c, p := New[int](Options[int]{}), &source{life: time.Hour, err: saying{holds: true}}
		t.Cleanup(func() { c.Close(time.Second) })
		return c, p
	}
	t.Run("longer each time, up to an hour", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, p := refusing(t)
			var last time.Duration
			for range 24 * 60 {
				f := fails(t, c, p.ask())
				last = f.Next.Sub(f.At)
				time.Sleep(time.Minute)
			}
			// The waits are 0.5+1+2+4+8+16+32 min, and then an hour each. Jitter makes
			// each up to a quarter shorter.
			if n := p.mints.Load(); n < 28 || n > 40 || last < 45*time.Minute || last > time.Hour {
				t.Errorf("%d attempts in a day; the last wait is %s", n, last)
			}
		})
	})
	t.Run("a failure of another sort between does not start it anew", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, p := refusing(t)
			for range 4 {
				f := fails(t, c, p.ask())
				time.Sleep(time.Until(f.Next))
			}
			p.set(func() { p.err = errProvider })
			f := fails(t, c, p.ask())
			if wait := f.Next.Sub(f.At); wait > time.Second {
				t.Errorf("the provider is down, for the first time: %s", wait)
			}
			time.Sleep(time.Until(f.Next))
			p.set(func() { p.err = saying{holds: true} })
			f = fails(t, c, p.ask())
			if wait := f.Next.Sub(f.At); wait < 6*time.Minute {
				t.Errorf("refused for the fifth time: %s", wait)
			}
		})
	})
	for rule, end := range map[string]func(*testing.T, *Cache[int], Ask[int]){
		"until it is forgiven": func(_ *testing.T, c *Cache[int], _ Ask[int]) { c.Forgive("c") },
		"until an attempt on demand succeeds": func(t *testing.T, c *Cache[int], a Ask[int]) {
			a.Now = true
			get(t, c, a)
		},
	} {
		t.Run(rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p := refusing(t)
				_ = fails(t, c, p.ask())
				p.set(func() { p.err = nil })
				time.Sleep(20 * time.Second)
				fresh := p.ask()
				fresh.Fresh = true
				_ = fails(t, c, fresh)
				end(t, c, p.of("checked"))
				get(t, c, p.ask())
			})
		})
	}
}

// A success of a mint that began before a failure does not end that failure.
func TestSuccessThatBeganBeforeAFailureDoesNotEndIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p, slow := New[int](Options[int]{}), &source{err: hinted{time.Minute}}, &source{life: time.Hour, delay: 3 * time.Second}
		defer c.Close(time.Second)
		done := make(chan struct{})
		go func() {
			defer close(done)
			get(t, c, slow.of("slow"))
		}()
		synctest.Wait()
		time.Sleep(time.Second)
		_ = fails(t, c, p.ask())
		<-done
		_ = fails(t, c, p.ask())
		p.asked(t, 1)
	})
}
