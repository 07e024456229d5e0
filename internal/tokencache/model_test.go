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

// world is the model: one config whose epochs name its requests, a provider, a
// store that outlives processes, and what may be handed out when.
type world struct {
	t *testing.T

	mu      sync.Mutex
	epoch   int // of the config as it is now
	store   map[string]Held[token]
	down    bool
	delay   time.Duration
	life    time.Duration
	asking  map[string]int // requests at the provider, by key
	process *Cache[token]
}

type token struct {
	epoch, number int
}

func (w *world) locked(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func keyOf(epoch int) string { return fmt.Sprintf("c/%d", epoch) }

// ask is what the backend asks for: the key of the config as it was when the
// reader looked, and a mint that looks again.
func (w *world) ask(epoch int) Ask[token] {
	key := keyOf(epoch)
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
				}
				n = w.asking[key]
			})
			if now != epoch {
				return Held[token]{}, ErrForgotten
			}
			defer w.locked(func() { w.asking[key]-- })
			if n > 1 {
				w.t.Errorf("%d requests at once for %s", n, key)
			}
			select {
			case <-time.After(delay):
			case <-ctx.Done():
				return Held[token]{}, ctx.Err()
			}
			if down {
				return Held[token]{}, errProvider
			}
			born := time.Now()
			h := Held[token]{Value: token{epoch: epoch, number: rand.Int()}, Born: born, Expires: born.Add(life)}
			return h, nil
		},
		Store: func(_ context.Context, h Held[token]) {
			w.locked(func() { w.store[key] = h })
			time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond) // between storing and entering the cache
		},
		Discard: func(context.Context, Held[token]) { w.locked(func() { delete(w.store, key) }) },
	}
}

// write changes the config, as a config write, a revoke or a delete does.
func (w *world) write() {
	now := ""
	w.locked(func() { w.epoch++; now = keyOf(w.epoch) })
	if rand.IntN(2) == 0 {
		time.Sleep(time.Millisecond) // while a reader may come for the new one
	}
	w.process.Forget("c", now)
	time.Sleep(time.Millisecond)
	w.locked(func() {
		for key := range w.store {
			if key != keyOf(w.epoch) {
				delete(w.store, key)
			}
		}
	})
}

// read reads as the backend does, and holds what it gets against the model.
func (w *world) read(process *Cache[token]) {
	var before int
	w.locked(func() { before = w.epoch })
	for range 4 {
		var epoch int
		w.locked(func() { epoch = w.epoch })
		got, err := process.Get(w.t.Context(), w.ask(epoch))
		if errors.Is(err, ErrForgotten) {
			continue
		}
		if err != nil {
			if !errors.Is(err, errProvider) && !errors.Is(err, ErrTimeout) && !errors.Is(err, context.DeadlineExceeded) &&
				!errors.Is(err, ErrClosed) { // by a reload that waited for long enough
				w.t.Errorf("a read failed with %v", err)
			}
			return
		}
		if got.Value.epoch < before {
			w.t.Errorf("a read that began in epoch %d got a token of epoch %d", before, got.Value.epoch)
		}
		if !time.Now().Before(got.UsableUntil()) {
			w.t.Errorf("a dead token: usable until %s, now %s", got.UsableUntil(), time.Now())
		}
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
					process: New[token](Options{Capacity: 1 + rnd.IntN(3)}),
				}
				var readers sync.WaitGroup
				for range 400 {
					switch n := rnd.IntN(100); {
					case n < 60:
						process := w.process
						readers.Go(func() { w.read(process) })
					case n < 68:
						w.write()
					case n < 74:
						w.locked(func() { w.down = !w.down })
					case n < 80:
						w.locked(func() { w.delay = time.Duration(rnd.IntN(12_000)) * time.Millisecond })
					case n < 82:
						w.locked(func() { w.life = time.Duration(2+rnd.IntN(60)) * time.Second })
					case n < 85: // a reload: mints under way are waited for, for a while
						w.process.Close(5 * time.Second)
						readers.Wait()
						w.process = New[token](Options{})
					case n < 95:
						time.Sleep(time.Duration(rnd.IntN(3_000)) * time.Millisecond)
					default:
						time.Sleep(time.Duration(rnd.IntN(60_000)) * time.Millisecond)
					}
				}
				readers.Wait()
				w.process.Close(time.Minute)

				// At rest, nothing is stored that the config has not come to.
				for key, h := range w.store {
					if h.Value.epoch != w.epoch {
						t.Errorf("%s holds a token of epoch %d in epoch %d", key, h.Value.epoch, w.epoch)
					}
				}
			})
		})
	}
}
