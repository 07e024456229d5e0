// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grouped"
)

// view is what handing out a token needs to know of its target and inputs. It
// is small, and kept in memory for all that are read.
type view struct {
	target
	inputs
	key   string   // of the token, in memory and below tokenPrefix
	names []string // of the caller's identity, in its parameters; none where the caller makes no difference
	settings
	spends    bool   // its grant uses up a refresh token
	outlives  bool   // its mints may go on when their readers have gone
	late      bool   // its tokens are replaced no earlier than they must be
	revocable bool   // its provider revokes tokens
	epoch     string // the mark of the config's: a lease is not renewed in another
	history   *history
	proofs    *proofs // what its readers sign by, nil without dpop
}

// owned says that each lease has a token of its own, which ends with it.
func (v *view) owned() bool { return v.revocable && !v.reused() }

// stored gives the stored token of v, nil when there is none.
func (v *view) stored(ctx context.Context, s logical.Storage) (*held, error) {
	h, err := loadToken(ctx, s, v.key)
	if h != nil {
		h.Late = v.late
	}
	return h, err
}

// view gives the view of that target and those inputs. Where the parameters of
// a role name the caller's identity, which Vault is asked for each time, since
// it may change, there is one for each identity.
func (b *backend) view(ctx context.Context, s logical.Storage, t target, in inputs) (*view, error) {
	v, err := b.viewFor(ctx, s, t, in)
	if err != nil || len(v.names) == 0 {
		return v, err
	}
	if in.identity, err = b.identify(in.caller, v.names); err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	return b.viewFor(ctx, s, t, in)
}

// viewFor gives a view from memory if it is there; else it is loaded once for
// all who ask for it at a time.
func (b *backend) viewFor(ctx context.Context, s logical.Storage, t target, in inputs) (*view, error) {
	if v := b.views.find(nameOf(t, in)); v != nil {
		return v, nil
	}
	return b.loadOnce(ctx, s, t, in)
}

// loadOnce loads a view once for all who ask for it at a time. Whoever cannot
// wait for it leaves the others to it.
func (b *backend) loadOnce(ctx context.Context, s logical.Storage, t target, in inputs) (*view, error) {
	generation := b.views.generation.Load()
	// With the generation, so that nobody joins a load that began before a
	// write that it knows of.
	name := fmt.Sprintf("%q %d", []string{t.path(), in.name()}, generation)
	loading := b.loading.DoChan(name, func() (v any, err error) {
		defer func() { // nobody else could outlive it
			if p := recover(); p != nil {
				err = b.panicked(tokenPrefix+t.path(), p)
			}
		}()
		if kept := b.views.find(nameOf(t, in)); kept != nil {
			return kept, nil // by a load that ended since the reader looked
		}
		return b.loadView(context.WithoutCancel(ctx), s, t, in, generation)
	})
	select {
	case got := <-loading:
		if got.Err != nil {
			return nil, got.Err
		}
		return got.Val.(*view), nil //nolint:forcetypeassert // what loadView gives
	case <-ctx.Done():
		return nil, fmt.Errorf("reading %s: %w", t, ctx.Err())
	}
}

// loadView loads a view and keeps it. Of a role that names its callers, the view
// of nobody in particular says no more than that.
func (b *backend) loadView(ctx context.Context, s logical.Storage, t target, in inputs, generation uint64) (*view, error) {
	k, err := b.current(ctx, s, t, in)
	if err != nil {
		return nil, err
	}
	c := k.config
	v := &view{
		target: t, inputs: c.inputs, key: k.key, names: c.names, settings: c.settings, history: b.observer.of(t.config),
		spends: c.spends(), outlives: c.outlives(), late: c.late(), revocable: c.revocable(), epoch: mark(c.entry.Epoch),
	}
	if v.proofs, err = c.proofs(); err != nil {
		return nil, err
	}
	b.views.keep(v, generation)
	return v, nil
}

// current gives what a target and inputs have come to, from memory if it was
// resolved a moment ago. Nobody may change what it gives.
func (b *backend) current(ctx context.Context, s logical.Storage, t target, in inputs) (*keyed, error) {
	generation := b.views.generation.Load()
	if kept, ok := b.views.configs.Get(nameOf(t, in)); ok && b.now().Before(kept.until) {
		return kept, nil
	}
	c, err := b.load(ctx, s, t, in)
	if err != nil {
		return nil, err
	}
	if c.perCaller() && c.identity == nil {
		return &keyed{config: c}, nil // nobody's token
	}
	return b.views.keepConfig(c, generation)
}

// dropViews drops what memory has made of the entry at key: views, and the facts
// of configs.
func (b *backend) dropViews(key string) {
	if name, ok := strings.CutPrefix(key, configPrefix); ok {
		b.views.drop(name)
		b.unused.Delete(name)
		b.keeper.wait(name, time.Time{})
		b.observer.changed(name)
	}
	if path, ok := strings.CutPrefix(key, rolePrefix); ok {
		config, _, _ := strings.Cut(path, "/")
		b.views.drop(config)
	}
	if strings.HasPrefix(key, providerPrefix) || strings.HasPrefix(key, keyPrefix) {
		b.views.dropAll()
		b.observer.changed("")
	}
}

// viewName names a view. It is no text, so that no path of a request can name
// a view of other inputs.
type viewName struct{ path, inputs string }

func nameOf(t target, in inputs) viewName { return viewName{path: t.path(), inputs: in.name()} }

// keyed is a config with the key of the token that it comes to.
type keyed struct {
	*config
	key string
}

const (
	// maxViews bounds the memory for views, at about 400 bytes each.
	maxViews = 50_000

	// maxConfigs bounds that for what mints are made of, at about 20 KB each.
	maxConfigs = 256

	// configLifetime is for how long a config is taken to be what it was when it
	// was read. What this node writes, and what Vault tells it of, it knows at
	// once; the rest is what nobody tells, such as a write past the engine.
	configLifetime = time.Minute
)

// views holds the views of what is read, and some of the configs that they were
// made of. Both are dropped as soon as anything that they were made of is
// written.
type views struct {
	byName     *grouped.Cache[viewName, *view] // by config, like those
	configs    *grouped.Cache[viewName, *keyed]
	mu         sync.Mutex    // one writer at a time
	generation atomic.Uint64 // counts drops, so that nothing is kept that was read before one
}

func newViews() *views {
	return &views{
		byName:  grouped.New(maxViews, func(_ viewName, v *view) string { return v.config }),
		configs: grouped.New(maxConfigs, func(_ viewName, k *keyed) string { return k.config.config }),
	}
}

// get gives the view that all callers share, nil without.
func (v *views) get(name viewName) *view {
	found := v.find(name)
	if found != nil && len(found.names) > 0 {
		return nil
	}
	return found
}

// find gives what is kept, which may be no more than that each caller has a
// view of its own.
func (v *views) find(name viewName) *view {
	found, _ := v.byName.Peek(name) // no exclusive lock: what was kept first goes first
	return found
}

func (v *views) keep(found *view, generation uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.generation.Load() == generation {
		v.byName.Add(nameOf(found.target, found.inputs), found)
	}
}

// keepConfig keeps c, unless anything was dropped since that generation.
func (v *views) keepConfig(c *config, generation uint64) (*keyed, error) {
	key, err := c.key()
	if err == nil {
		err = c.fix()
	}
	if err != nil {
		return nil, err
	}
	k := &keyed{config: c, key: key}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.generation.Load() == generation {
		v.configs.Add(nameOf(k.target, k.inputs), k)
	}
	return k, nil
}

// drop drops all that was made of a config.
func (v *views) drop(config string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.generation.Add(1)
	v.byName.RemoveGroup(config)
	v.configs.RemoveGroup(config)
}

// dropConfigs drops what mints are made of. The views, and with them the tokens,
// stay until a mint comes to something else.
func (v *views) dropConfigs() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.generation.Add(1)
	v.configs.Purge()
}

func (v *views) dropAll() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.generation.Add(1)
	v.byName.Purge()
	v.configs.Purge()
}
