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

func TestForget(t *testing.T) {
	t.Run("a held token is gone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, p := New[int](Options[int]{}), &source{life: time.Hour}
			defer c.Close(time.Second)
			get(t, c, p.ask())
			c.Forget("c", "")
			if got := get(t, c, p.ask()); got.Value != 2 {
				t.Errorf("token %d", got.Value)
			}
		})
	})
	for _, single := range []bool{false, true} {
		t.Run(fmt.Sprintf("a token that is being minted reaches nobody, and its store is cleared (single: %v)", single), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p := New[int](Options[int]{Capacity: 1}), &source{life: time.Hour, delay: time.Second}
				defer c.Close(time.Second)
				a := p.ask()
				a.Single = single
				discarded := 0
				a.Discard = func(_ context.Context, h Held[int]) { discarded = h.Value }
				done := make(chan error)
				go func() {
					_, err := c.Get(t.Context(), a)
					done <- err
				}()
				synctest.Wait()
				other := (&source{life: time.Hour}).ask() // pushes the slot out of memory
				other.Key, other.Group = "d/k", "d"
				get(t, c, other)
				c.Forget("c", "")
				if err := <-done; !errors.Is(err, ErrForgotten) || discarded != 1 {
					t.Errorf("got %v; discarded %d", err, discarded)
				}
			})
		})
	}
	t.Run("other groups keep theirs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, p := New[int](Options[int]{}), &source{life: time.Hour}
			defer c.Close(time.Second)
			get(t, c, p.ask())
			c.Forget("other", "")
			if got := get(t, c, p.ask()); got.Value != 1 {
				t.Errorf("token %d", got.Value)
			}
		})
	})
}

func TestFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := New[int](Options[int]{}), &source{life: time.Hour, delay: time.Second}
		defer c.Close(time.Second)
		get(t, c, p.ask())
		fresh := p.ask()
		fresh.Fresh = true
		if got := get(t, c, fresh); got.Value != 1 || !got.Young {
			t.Errorf("a very young token is kept, and that is said: got %d, %v", got.Value, got.Young)
		}
		time.Sleep(youth)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if got := get(t, c, fresh); got.Value != 2 || got.Young {
					t.Errorf("an older one is replaced once for all: got %d, %v", got.Value, got.Young)
				}
			})
		}
		wg.Wait()
	})
}

func TestStore(t *testing.T) {
	held := func(age, life time.Duration) func(context.Context) (*Held[int], error) {
		return func(context.Context) (*Held[int], error) {
			born := time.Now().Add(-age)
			return &Held[int]{Value: 77, Born: born, Expires: born.Add(life)}, nil
		}
	}
	for _, tt := range []struct {
		rule string
		load func(context.Context) (*Held[int], error)
		down bool
		want int
	}{
		{rule: "what was stored is used without a mint", load: held(time.Minute, time.Hour), want: 77},
		{rule: "also when it will be refreshed soon", load: held(47*time.Minute, time.Hour), want: 77},
		{rule: "what is to be renewed is renewed", load: held(50*time.Minute, time.Hour), want: 1},
		{rule: "or used when that fails", load: held(50*time.Minute, time.Hour), down: true, want: 77},
		{rule: "what is dead is not used", load: held(2*time.Hour, time.Hour), want: 1},
		{rule: "nothing stored: minted", load: func(context.Context) (*Held[int], error) { return nil, nil }, want: 1},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p := New[int](Options[int]{}), &source{life: time.Hour}
				defer c.Close(time.Second)
				if tt.down {
					p.set(func() { p.err = errProvider })
				}
				a := p.ask()
				a.Load = tt.load
				got := get(t, c, a)
				if got.Value != tt.want || (got.Failure != nil) != tt.down {
					t.Errorf("token %d, failure %v", got.Value, got.Failure)
				}
			})
		})
	}
}

func TestSingle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := New[int](Options[int]{}), &source{life: time.Hour}
		defer c.Close(time.Second)
		a := p.ask()
		a.Single = true
		for want := 1; want < 4; want++ {
			if got := get(t, c, a); got.Value != want {
				t.Errorf("token %d, want %d", got.Value, want)
			}
		}
		p.set(func() { p.err = errProvider })
		for range 5 {
			if _, err := c.Get(t.Context(), a); !errors.Is(err, errProvider) {
				t.Errorf("got %v", err)
			}
		}
		if p.mints.Load() != 4 {
			t.Errorf("%d attempts: a failure is remembered here too", p.mints.Load())
		}
	})
}

func TestShortLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := New[int](Options[int]{}), &source{life: 3 * time.Second}
		defer c.Close(time.Second)
		for range 100 {
			got := get(t, c, p.ask())
			if left := time.Until(got.Expires); left <= 0 {
				t.Fatalf("a token with %s left", left)
			}
			time.Sleep(130 * time.Millisecond)
		}
		if n := p.mints.Load(); n < 4 || n > 7 {
			t.Errorf("%d mints in 13 s", n)
		}
		long := p.ask()
		long.MinLeft = time.Minute
		before := p.mints.Load()
		get(t, c, long)
		if got := get(t, c, long); !got.Short || p.mints.Load() > before+1 {
			t.Errorf("a min_ttl that no token meets is said (%v), and mints no storm (%d)", got.Short, p.mints.Load()-before)
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := New[int](Options[int]{}), &source{life: time.Hour, delay: 3 * time.Second}
		done := make(chan Answer[int])
		go func() { done <- get(t, c, p.ask()) }()
		synctest.Wait()
		start := time.Now()
		closed := make(chan struct{})
		go func() {
			c.Close(5 * time.Second)
			close(closed)
		}()
		if got := <-done; got.Value != 1 {
			t.Errorf("token %d", got.Value)
		}
		<-closed
		if time.Since(start) != 3*time.Second {
			t.Errorf("Close took %s", time.Since(start))
		}
		other := p.ask()
		other.Key = "c/other"
		if _, err := c.Get(t.Context(), other); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestCloseEndsWhatHangs(t *testing.T) {
	for _, spends := range []bool{false, true} {
		t.Run(fmt.Sprintf("but not what spends something (%v)", spends), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p := New[int](Options[int]{}), &source{life: time.Hour, delay: 50 * time.Second}
				a := p.ask()
				a.Timeout, a.Spends = time.Minute, spends
				done := make(chan error)
				start := time.Now()
				go func() {
					_, err := c.Get(t.Context(), a)
					done <- err
				}()
				synctest.Wait()
				c.Close(5 * time.Second)
				err := <-done
				if took := time.Since(start); spends && (err != nil || took != 50*time.Second) ||
					!spends && (!errors.Is(err, ErrClosed) || took != 5*time.Second) {
					t.Errorf("%v after %s", err, took)
				}
			})
		})
	}
}
