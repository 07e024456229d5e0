// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/tokencache"
)

const (
	// leastKeepAlive is the shortest keep_alive. It leaves time for a few attempts,
	// because Vault calls the engine once a minute.
	leastKeepAlive = 10 * time.Minute

	// keepEarliest is the part of keep_alive during which a refresh token is not
	// replaced.
	keepEarliest = 0.6

	// keepsAMinute bounds how many chains are kept alive per minute, and
	// looksAMinute how many configs are read to find them.
	keepsAMinute = 20
	looksAMinute = 1000

	// lookAgain is the time until a config that needs nothing now is looked at
	// again. After a write of the config, that happens sooner.
	lookAgain = 6 * time.Hour

	firstKeepRetry = time.Minute
	lastKeepRetry  = time.Hour
)

// checkKeepAlive refuses a keep_alive that is too short, or has no effect.
func (c *config) checkKeepAlive() error {
	switch length := time.Duration(c.KeepAlive) * time.Second; {
	case length == 0:
		return nil
	case !c.spends():
		return refuse("keep_alive needs grant_type=refresh_token, and this config has another: leave it out (or write 0)")
	case length < leastKeepAlive:
		return refuse("keep_alive must be at least %s, to leave time for a few attempts", grant.InWords(leastKeepAlive))
	}
	return nil
}

// keeper remembers when to look at configs for keep_alive: at each config that has
// it, one by one, and at all others in rounds, to find out.
type keeper struct {
	mu    sync.Mutex
	next  map[string]look // of the configs that have keep_alive, and those that may have it
	last  string          // the config that the round has come to; "" before the first
	round time.Time       // when the next round begins
}

type look struct {
	at       time.Time
	failures int // in a row
}

// due returns some of the configs that must be looked at now, and forgets those
// that are gone. It sorts configs.
func (k *keeper) due(configs []string, now time.Time) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	slices.Sort(configs)
	next := map[string]look{}
	var out []string
	for config, l := range k.next {
		if _, there := slices.BinarySearch(configs, config); !there {
			continue
		}
		next[config] = l
		if !now.Before(l.at) && len(out) < looksAMinute {
			out = append(out, config)
		}
	}
	k.next = next
	if now.Before(k.round) {
		return out
	}
	begin, found := slices.BinarySearch(configs, k.last)
	if found {
		begin++
	}
	for _, config := range configs[begin:] {
		if len(out) == looksAMinute {
			return out
		}
		k.last = config
		if _, known := next[config]; !known {
			next[config] = look{}
			out = append(out, config)
		}
	}
	k.last, k.round = "", now.Add(lookAgain)
	return out
}

// forget has the config wait for the next round.
func (k *keeper) forget(config string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.next, config)
}

// wait sets when the config is looked at next.
func (k *keeper) wait(config string, until time.Time) {
	k.set(config, func(l look) look { return look{at: until, failures: l.failures} })
}

// succeeded sets the config to be looked at soon; its chain is young then.
func (k *keeper) succeeded(config string) {
	k.set(config, func(look) look { return look{} })
}

// failed sets when the config is looked at next, later after each failure, and
// never before then.
func (k *keeper) failed(config string, now, then time.Time) {
	k.set(config, func(l look) look {
		at := now.Add(min(firstKeepRetry<<min(l.failures, 10), lastKeepRetry))
		if then.After(at) {
			at = then
		}
		return look{at: at, failures: l.failures + 1}
	})
}

func (k *keeper) set(config string, to func(look) look) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.next == nil {
		k.next = map[string]look{}
	}
	k.next[config] = to(k.next[config])
}

// keepAlive replaces refresh tokens that no reader uses, before they are as old
// as the keep_alive of their config. Vault calls it every minute.
func (b *backend) keepAlive(ctx context.Context, s logical.Storage) error {
	if n := b.node(); n.standby() || n.secondary() {
		return nil // it may spend nothing
	}
	configs, err := listStorage(configPrefix)(ctx, s)
	if err != nil {
		return err
	}
	started := 0
	for _, config := range b.keeper.due(configs, b.now()) {
		if started == keepsAMinute {
			return nil
		}
		has, due, err := b.keepDue(ctx, s, config)
		if err != nil {
			b.log().Warn("a config could not be read to see whether its refresh token must be kept alive", "config", config, "error", err)
			due = b.now().Add(lastKeepRetry)
		} else if !has {
			b.keeper.forget(config)
			continue
		}
		b.keeper.wait(config, due)
		if b.now().Before(due) {
			continue
		}
		started++
		b.keeper.wait(config, b.now().Add(lookAgain)) // until it is known what came of it
		if !b.work.run(ctx, "keep_alive", func(ctx context.Context) { b.keepOne(ctx, s, config) }) {
			b.keeper.wait(config, b.now())
			return nil
		}
	}
	return nil
}

// keepDue reports whether the config has keep_alive, and returns when its chain must
// be kept alive or looked at again. The age of a refresh token that the engine has
// never used is unknown, so that one is due at once.
func (b *backend) keepDue(ctx context.Context, s logical.Storage, config string) (has bool, due time.Time, _ error) {
	entry, err := load[configEntry](ctx, s, configPrefix+config)
	if err != nil || entry == nil || !entry.keepsAlive() {
		return false, time.Time{}, err
	}
	c, err := b.load(ctx, s, target{config: config}, inputs{})
	if err != nil || c.KeepAlive == 0 || !c.spends() {
		return true, b.now().Add(lookAgain), nil //nolint:nilerr // readers are told
	}
	line := entry.chain(config)
	state, err := line.load(ctx, s)
	if err != nil || state == nil {
		return true, time.Time{}, err
	}
	hash := fnv.New32a()
	hash.Write([]byte(line.key()))
	spread := keepEarliest + 0.2*float64(hash.Sum32())/(1<<32) // chains of one age are not due together
	age := time.Duration(float64(c.KeepAlive) * spread * float64(time.Second))
	return true, state.Renewed.Add(age), nil
}

// keepsAlive reports whether the config has keep_alive.
func (e *configEntry) keepsAlive() bool { return e.Fields["keep_alive"] != nil }

// keepOne replaces the config's token the same way as a reader with fresh=true,
// so that a failure is remembered and reported as that of a reader.
func (b *backend) keepOne(ctx context.Context, s logical.Storage, config string) {
	v, err := b.view(ctx, s, target{config: config}, inputs{})
	if err == nil {
		var got answer
		got, _, err = b.token(ctx, s, wanted{view: v, minLeft: v.minLeft(), fresh: true})
		if err == nil && got.Failure != nil {
			err = got.Failure
		}
		if err == nil && got.Value.ref != "" {
			b.endSoon(ctx, s, got.Value.ref) // nobody has it
		}
	}
	if err == nil {
		b.keeper.succeeded(config)
		return
	}
	var then time.Time
	var failure *tokencache.Failure
	if errors.As(err, &failure) {
		then = failure.Next // readers may not try again before
	}
	b.keeper.failed(config, b.now(), then)
}
