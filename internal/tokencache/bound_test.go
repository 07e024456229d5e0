// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestVeryYoungTokenIsNotReplacedForMinLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := New[int](Options[int]{}), &source{life: time.Hour}
		defer c.Close(time.Second)
		a := p.ask()
		a.MinLeft = 3590*time.Second - time.Millisecond
		get(t, c, p.ask())
		for range 26 {
			time.Sleep(500 * time.Millisecond)
			if got := get(t, c, a); got.Young != (time.Since(got.Born) > 0) {
				t.Errorf("at %s: it is said: %v", time.Since(got.Born), got.Young)
			}
		}
		p.asked(t, 2) // two mints in 13 s
	})
}

func TestWhatReadersChooseAndBringIsBounded(t *testing.T) {
	for name, test := range map[string]struct {
		brought bool
		most    int
	}{"chosen": {false, MaxChoices}, "brought": {true, MaxBrought}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { choicesAreBounded(t, test.brought, test.most) })
		})
	}
}

func choicesAreBounded(t *testing.T, brought bool, most int) {
	t.Helper()
	c, p := New[int](Options[int]{}), &source{life: time.Hour}
	defer c.Close(time.Second)
	const more = 100_000
	chosen := func(n int) Ask[int] {
		a := p.of(fmt.Sprint(n))
		a.Choice = Choice{Name: fmt.Sprint(n), Brought: brought}
		return a
	}
	for n := range most {
		get(t, c, chosen(n))
	}
	for n := range MaxChoices {
		if _, err := c.Get(t.Context(), chosen(more+n)); !errors.Is(err, ErrTooManyChoices) {
			t.Fatalf("one more: %v", err)
		}
	}
	p.asked(t, int64(most))
	get(t, c, chosen(3))
	get(t, c, p.of("no choice"))
	other := chosen(more)
	other.Choice.Brought = !brought // these choices are counted separately
	get(t, c, other)
	byAnother := chosen(3) // another caller's, with a token of its own
	byAnother.Key = "c/another"
	get(t, c, byAnother)
	time.Sleep(50 * time.Minute)
	get(t, c, chosen(3)) // renews the token
	time.Sleep(10 * time.Minute)
	for n := range most - 1 { // the other tokens have expired
		get(t, c, chosen(more+n))
	}
	if _, err := c.Get(t.Context(), chosen(2*more)); !errors.Is(err, ErrTooManyChoices) {
		t.Errorf("one more, later: %v", err)
	}
	c.Forget("c", "")
	get(t, c, chosen(2*more))
}

func TestTokensForOneReaderAloneAreMintedSoManyAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New[int](Options[int]{})
		defer c.Close(time.Second)
		var now, most, done atomic.Int64
		a := Ask[int]{Key: "c/k", Group: "c", Timeout: 10 * time.Second, Single: true, Mint: func(ctx context.Context) (Held[int], error) {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			select {
			case <-time.After(3 * time.Second):
			case <-ctx.Done():
				return Held[int]{}, ErrTimeout
			}
			return Held[int]{Born: time.Now(), Expires: time.Now().Add(time.Hour)}, nil
		}}
		var wg sync.WaitGroup
		start := time.Now()
		for i := range 200 {
			ask := a
			ask.Key += fmt.Sprint(i % 3) // three roles of the same client
			wg.Go(func() {
				switch _, err := c.Get(t.Context(), ask); {
				case err == nil:
					done.Add(1)
				case !errors.Is(err, ErrBusy) && !errors.Is(err, ErrTimeout):
					t.Errorf("got %v", err)
				}
				if time.Since(start) > 10*time.Second+grace {
					t.Errorf("a reader waited for %s", time.Since(start))
				}
			})
		}
		wg.Wait()
		if most.Load() != maxSingles || done.Load() != 3*maxSingles {
			t.Errorf("%d at a time; %d served in 10 s", most.Load(), done.Load())
		}
		time.Sleep(3 * time.Second)
		get(t, c, a)
	})
}

func TestMintThatSpendsOutlivesItsReaders(t *testing.T) {
	for _, single := range []bool{false, true} {
		t.Run(fmt.Sprintf("single: %v", single), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p := New[int](Options[int]{}), &source{life: time.Hour, delay: 4 * time.Minute}
				defer c.Close(time.Second)
				a := p.ask()
				a.Timeout, a.Spends, a.Single = 2*time.Second, true, single
				for range 20 {
					start := time.Now()
					if _, err := c.Get(t.Context(), a); !errors.Is(err, ErrTimeout) || time.Since(start) != a.Timeout+grace {
						t.Fatalf("%v after %s", err, time.Since(start))
					}
					if single {
						break
					}
				}
				p.asked(t, 1)
				time.Sleep(4 * time.Minute)
				if single {
					return
				}
				if got := get(t, c, a); got.Value != 1 {
					t.Errorf("token %d", got.Value)
				}
			})
		})
	}
	t.Run("but not for ever", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, p := New[int](Options[int]{}), &source{life: time.Hour, delay: time.Hour}
			a := p.ask()
			a.Timeout, a.Spends = 2*time.Second, true
			start := time.Now()
			if _, err := c.Get(t.Context(), a); !errors.Is(err, ErrTimeout) {
				t.Errorf("got %v", err)
			}
			c.Close(time.Hour)
			if took := time.Since(start); took > SpendTime+time.Second {
				t.Errorf("it went on for %s", took)
			}
		})
	})
}

func TestMintOnDemand(t *testing.T) {
	t.Run("whatever there is, and for all readers", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, p := New[int](Options[int]{}), &source{life: time.Hour}
			defer c.Close(time.Second)
			a := p.ask()
			a.Now = true
			for want := 1; want < 4; want++ {
				if got := get(t, c, a); got.Value != want {
					t.Errorf("token %d, want %d", got.Value, want)
				}
				if got := get(t, c, p.ask()); got.Value != want {
					t.Errorf("a reader has token %d, want %d", got.Value, want)
				}
			}
		})
	})
	t.Run("a failure is told, though there is a token", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, p := New[int](Options[int]{}), &source{life: time.Hour}
			defer c.Close(time.Second)
			get(t, c, p.ask())
			p.set(func() { p.err = errProvider })
			a := p.ask()
			a.Now = true
			_ = fails(t, c, a)
			_ = fails(t, c, a)
			p.asked(t, 3)
			if got := get(t, c, p.ask()); got.Value != 1 || got.Failure != nil {
				t.Errorf("a reader has %+v", got)
			}
		})
	})
	t.Run("one that is under way is waited for, and does not count", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, p := New[int](Options[int]{}), &source{life: time.Hour, delay: 3 * time.Second}
			defer c.Close(time.Second)
			reader := make(chan int)
			go func() { reader <- get(t, c, p.ask()).Value }()
			synctest.Wait()
			a := p.ask()
			a.Now = true
			if got := get(t, c, a); got.Value != 2 || <-reader != 1 {
				t.Errorf("token %d", got.Value)
			}
		})
	})
}
