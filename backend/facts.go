// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/sync/errgroup"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

const (
	// factsLast is how long facts are used if no change is noticed.
	factsLast = 24 * time.Hour

	// factsAtATime limits how many configs are read at the same time.
	factsAtATime = 8
)

// facts holds what status and the calendar need to know of a config from storage.
// They need it of all configs at once, so it is kept in memory.
type facts struct {
	at      int64 // when they were read, in nanoseconds since the epoch
	problem error // why the config cannot be used as it is; nil if it can
	ends    []ending
	budget  int64 // mints_per_hour
	stored  life  // of the stored token that was minted last
}

// life holds when a token was minted and when it expires, in nanoseconds since the
// epoch.
type life struct{ born, expires int64 }

func lifeOf(h *held) life { return life{h.Born.UnixNano(), h.Expires.UnixNano()} }

// held returns a token with that life and no value.
func (l life) held() held { return held{Born: time.Unix(0, l.born), Expires: time.Unix(0, l.expires)} }

// factsOf returns the facts of a config, from memory if they are there. It returns
// nil if there is no such config.
func (b *backend) factsOf(ctx context.Context, s logical.Storage, name string) (*facts, error) {
	h := b.observer.of(name)
	known, changes := h.knownFacts(b.now())
	if known != nil {
		return known, nil
	}
	found, c, err := b.lookUp(ctx, s, name)
	if err != nil || found == nil {
		return nil, err
	}
	if c != nil && c.held == nil || causeOf(found.problem) == string(grant.CauseConfig) { // another problem may pass by itself
		h.keepFacts(found, changes)
	}
	return found, nil
}

// lookUp reads the facts of a config from storage. It returns nil if there is no such
// config. It also returns the config, unless the config cannot be used as it is.
func (b *backend) lookUp(ctx context.Context, s logical.Storage, name string) (*facts, *config, error) {
	entry, err := load[configEntry](ctx, s, configPrefix+name)
	if err != nil && !unreadable(err) || err == nil && entry == nil {
		return nil, nil, err
	}
	b.observer.of(name)
	found := &facts{at: b.now().UnixNano(), problem: err}
	var c *config
	if err == nil {
		if c, err = b.settled(ctx, s, target{config: name}, inputs{}, entry, nil); err == nil {
			found.ends, found.budget, err = c.endings(), c.MintsPerHour, c.held
		}
		found.problem = err
	}
	if found.budget > 0 {
		if err := b.recallMints(ctx, s, name); err != nil {
			return nil, nil, err
		}
	}
	if found.stored, err = b.lastStored(ctx, s, name); err != nil {
		return nil, nil, err
	}
	return found, c, nil
}

// lastStored returns the life of the last minted token among the stored tokens of a
// config.
func (b *backend) lastStored(ctx context.Context, s logical.Storage, name string) (life, error) {
	keys, err := listStorage(tokenPrefix+name+"/")(ctx, s)
	if err != nil {
		return life{}, err
	}
	var last life
	for _, key := range keys {
		h := b.tokens.Held(name + "/" + key)
		if h == nil {
			if h, err = loadToken(ctx, s, name+"/"+key); err != nil {
				return life{}, err
			}
		}
		if h != nil && h.Born.UnixNano() > last.born {
			last = lifeOf(h)
		}
	}
	return last, nil
}

// allFacts returns the facts of the configs, by name.
func (b *backend) allFacts(ctx context.Context, s logical.Storage, configs []string) (map[string]*facts, error) {
	found := make([]*facts, len(configs))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(factsAtATime)
	for i, name := range configs {
		group.Go(func() (err error) {
			defer func() {
				if p := recover(); p != nil {
					err = b.panicked("looking up configs", p)
				}
			}()
			found[i], err = b.factsOf(ctx, s, name)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	out := make(map[string]*facts, len(configs))
	for i, f := range found {
		if f != nil { // otherwise it was deleted in the meantime
			out[configs[i]] = f
		}
	}
	return out, nil
}

// knownFacts returns the facts in memory, or nil if they have to be read from
// storage. It also returns how often they have changed, for keepFacts.
func (h *history) knownFacts(now time.Time) (*facts, uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.facts != nil && now.UnixNano()-h.facts.at < int64(factsLast) {
		return h.facts, h.changes
	}
	return nil, h.changes
}

// keepFacts keeps the facts that were read, unless they have changed since
// knownFacts returned that number of changes.
func (h *history) keepFacts(f *facts, changes uint32) {
	h.change(func(p *past) {
		if p.changes == changes {
			p.facts = f
		}
	})
}

// changed is called when a config is written, or something that it depends on. ""
// stands for all configs.
func (o *observer) changed(config string) {
	forget := func(p *past) { p.facts, p.changes = nil, p.changes+1 }
	if config != "" {
		o.about(config).change(forget)
		return
	}
	o.mu.Lock()
	all := slices.Collect(maps.Values(o.byConfig))
	o.mu.Unlock()
	for _, h := range all {
		h.change(forget)
	}
}
