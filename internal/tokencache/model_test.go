// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// world is the model: a config with a role, a provider, a store that outlives
// processes, and what may be handed out when. The config's epoch names its requests.
type world struct {
	t *testing.T

	mu      sync.Mutex
	epoch   int // the config's current epoch
	store   map[string]Held[token]
	down    bool
	delay   time.Duration
	life    time.Duration
	repeats bool           // the provider returns the same token until it ends, each time as if it were new
	asking  map[string]int // requests at the provider, by key
	process *Cache[token]

	ends    map[token]time.Time // when each token ends at the provider
	current map[string]token    // the provider's current token, by key

	wished, leave time.Time // when the provider last wished to be left alone, and until when
}

type token struct {
	epoch, number int
}

// issue returns the provider's answer.
func (w *world) issue(epoch int, key string, now time.Time, life time.Duration) Held[token] {
	issued := w.current[key]
	if !w.repeats || !now.Before(w.ends[issued]) {
		issued = token{epoch: epoch, number: rand.Int()}
		w.current[key], w.ends[issued] = issued, now.Add(life)
	}
	return Held[token]{Value: issued, Born: now, Expires: now.Add(life)}
}

func knows(first, minted Held[token]) (Held[token], bool) {
	return Held[token]{Value: first.Value, Born: first.Born, Expires: first.Expires}, first.Value == minted.Value
}

func (w *world) locked(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func keyOf(epoch int) string { return fmt.Sprintf("c/%d", epoch) }

func roleKeyOf(epoch int) string { return fmt.Sprintf("c/%d of the role", epoch) }

// ask returns what the backend asks for: the key of the config at the time when the
// reader looked, and a mint that looks again.
func (w *world) ask(epoch int, key string) Ask[token] {
	return Ask[token]{
		Key: key, Group: "c", Timeout: 10 * time.Second,
		Load: func(context.Context) (*Held[token], error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if h, ok := w.store[key]; ok {
				return &h, nil
			}
			return nil, nil
		},
		Mint: func(ctx context.Context) (Held[token], error) {
			var (
				now, n int
				down   bool
				delay  time.Duration
				life   time.Duration
			)
			w.locked(func() {
				now, down, delay, life = w.epoch, w.down, w.delay, w.life
				if now == epoch {
					w.asking[key]++
					if at := time.Now(); at.After(w.wished) && at.Before(w.leave) {
						w.t.Errorf("a request %s before the provider's wish has run out", w.leave.Sub(at))
					}
				}
				n = w.asking[key]
			})
			if now != epoch {
				return Held[token]{}, ErrForgotten
			}
			defer w.locked(func() { w.asking[key]-- })
			if n > 1 && key == keyOf(epoch) { // the role's token may be forgotten during a mint that already knows of the write
				w.t.Errorf("%d requests at once for %s", n, key)
			}
			select {
			case <-time.After(delay):
			case <-ctx.Done():
				return Held[token]{}, ctx.Err()
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			switch at := time.Now(); {
			case down && rand.IntN(2) == 0:
				if key == keyOf(w.epoch) { // the write that led to this epoch leaves the failure of this key alone
					w.wished, w.leave = at, at.Add(20*time.Second)
				}
				return Held[token]{}, hinted{20 * time.Second}
			case down:
				return Held[token]{}, errProvider
			default:
				return w.issue(epoch, key, at, life), nil
			}
		},
		Store: func(_ context.Context, h Held[token]) {
			h.Repeated = time.Time{}
			w.locked(func() { w.store[key] = h })
			time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond) // time between storing and entering the cache
		},
		Discard: func(context.Context, Held[token]) { w.locked(func() { delete(w.store, key); delete(w.current, key) }) },
	}
}

// write changes the config, as a config write, a revoke or a delete does.
func (w *world) write() {
	now := ""
	w.locked(func() {
		w.epoch++
		w.wished, w.leave, now = time.Time{}, time.Time{}, keyOf(w.epoch)
		w.process.Forgive("c") // before a mint of the new epoch can fail
	})
	if rand.IntN(2) == 0 {
		time.Sleep(time.Millisecond) // time for a reader to ask for the new token
	}
	w.process.Forget("c", now)
	time.Sleep(time.Millisecond)
	w.locked(func() {
		for key := range w.store {
			if key != keyOf(w.epoch) && key != roleKeyOf(w.epoch) {
				delete(w.store, key)
			}
		}
	})
}

// read reads as the backend does, and compares what it gets with the model.
func (w *world) read(process *Cache[token], keyOf func(int) string) {
	var before int
	w.locked(func() { before = w.epoch })
	for range 4 {
		var epoch int
		w.locked(func() { epoch = w.epoch })
		got, err := process.Get(w.t.Context(), w.ask(epoch, keyOf(epoch)))
		if errors.Is(err, ErrForgotten) {
			continue
		}
		if err != nil {
			var wish hinted
			if !errors.Is(err, errProvider) && !errors.As(err, &wish) && !errors.Is(err, ErrRepeats) && !errors.Is(err, ErrTimeout) && !errors.Is(err, context.DeadlineExceeded) &&
				!errors.Is(err, ErrClosed) { // because a reload did not wait any longer
				w.t.Errorf("a read failed with %v", err)
			}
			return
		}
		if got.Value.epoch < before {
			w.t.Errorf("a read that began in epoch %d got a token of epoch %d", before, got.Value.epoch)
		}
		w.locked(func() {
			if now := time.Now(); !now.Before(got.Until) || !now.Before(w.ends[got.Value]) {
				w.t.Errorf("a dead token: usable until %s, at the provider until %s, now %s", got.Until, w.ends[got.Value], now)
			}
		})
		return
	}
}

// TestAgainstModel interleaves reads, config writes, provider failures, slow
// providers, restarts and clock steps at random.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 4))
				w := &world{
					t: t, store: map[string]Held[token]{}, life: 30 * time.Second, asking: map[string]int{},
					ends: map[token]time.Time{}, current: map[string]token{}, repeats: seed%2 == 1,
					process: New[token](Options[token]{Capacity: 8 + rnd.IntN(3), Again: knows}),
				}
				var readers sync.WaitGroup
				for range 400 {
					switch n := rnd.IntN(100); {
					case n < 60:
						process := w.process
						key := keyOf
						if rnd.IntN(3) == 0 {
							key = roleKeyOf
						}
						readers.Go(func() { w.read(process, key) })
					case n < 68:
						w.write()
					case n < 74:
						w.locked(func() { w.down = !w.down })
					case n < 80:
						w.locked(func() { w.delay = time.Duration(rnd.IntN(12_000)) * time.Millisecond })
					case n < 82:
						w.locked(func() { w.life = time.Duration(2+rnd.IntN(60)) * time.Second })
					case n < 85: // a reload, which waits for mints under way, but not for long
						w.process.Close(5 * time.Second)
						readers.Wait()
						synctest.Wait() // for the mints that the reload has ended
						w.process = New[token](Options[token]{Again: knows})
						w.locked(func() { w.wished, w.leave = time.Time{}, time.Time{} })
					case n < 95:
						time.Sleep(time.Duration(rnd.IntN(3_000)) * time.Millisecond)
					default:
						time.Sleep(time.Duration(rnd.IntN(60_000)) * time.Millisecond)
					}
				}
				readers.Wait()
				w.process.Close(time.Minute)

				// At rest, only tokens of the current epoch are stored.
				for key, h := range w.store {
					if h.Value.epoch != w.epoch {
						t.Errorf("%s holds a token of epoch %d in epoch %d", key, h.Value.epoch, w.epoch)
					}
				}
			})
		})
	}
}
