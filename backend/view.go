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

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/hashicorp/vault/sdk/logical"
)

// view is what handing out a token needs to know of its target and inputs. It
// is small, and kept in memory for all that are read.
type view struct {
	target
	inputs
	key       string // of the token, in memory and below tokenPrefix
	perCaller bool   // its parameters name the caller's identity
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

// view gives the view of that target and those inputs, from memory if it is
// there; else it is loaded once for all who ask for it at a time. Where the
// parameters of a role name the caller, each caller has a view of its own.
func (b *backend) view(ctx context.Context, s logical.Storage, t target, in inputs) (*view, error) {
	v := b.views.find(nameOf(t, in.by("")))
	if v == nil {
		var err error
		if v, err = b.loadOnce(ctx, s, t, in.by(anyCaller)); err != nil {
			return nil, err
		}
	}
	if !v.perCaller {
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
		if kept := b.views.find(nameOf(t, in.by(""))); kept != nil && in.caller == anyCaller {
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

// loadView loads the view of one caller, or of all. What is kept is that of all,
// if only to know that it depends on the caller, whose identity may change.
func (b *backend) loadView(ctx context.Context, s logical.Storage, t target, in inputs, generation uint64) (*view, error) {
	c, err := b.load(ctx, s, t, in)
	if err != nil {
		return nil, err
	}
	key, err := c.key()
	if err != nil {
		return nil, err
	}
	forAll := in.caller == anyCaller
	if forAll {
		in = in.by("")
	}
	v := &view{
		target: t, inputs: in, key: key, perCaller: c.perCaller, settings: c.settings, history: b.observer.of(t.config),
		spends: c.spends(), outlives: c.outlives(), late: c.late(), revocable: c.effective.Dialect.RevocationURL != "", epoch: mark(c.entry.Epoch),
	}
	if v.proofs, err = c.proofs(); err != nil {
		return nil, err
	}
	if forAll {
		b.views.keep(v, generation)
	}
	return v, nil
}

// dropViews drops the views that were made of what is stored at key.
func (b *backend) dropViews(key string) {
	if name, ok := strings.CutPrefix(key, configPrefix); ok {
		b.views.drop(name)
		b.keeper.wait(name, time.Time{})
	}
	if path, ok := strings.CutPrefix(key, rolePrefix); ok {
		config, _, _ := strings.Cut(path, "/")
		b.views.drop(config)
	}
	if strings.HasPrefix(key, providerPrefix) {
		b.views.dropAll()
	}
}

// viewName names a view. It is no text, so that no path of a request can name
// a view of other inputs.
type viewName struct{ path, inputs string }

func nameOf(t target, in inputs) viewName { return viewName{path: t.path(), inputs: in.name()} }

// maxViews bounds the memory for views, at about 400 bytes each.
const maxViews = 50_000

// views holds the views of what is read. A view is dropped as soon as anything
// that it was made of is written.
type views struct {
	byName     *lru.Cache[viewName, *view]
	mu         sync.Mutex    // one writer at a time
	generation atomic.Uint64 // counts drops, so that no view is kept that was read before one
}

func newViews() *views {
	byName, err := lru.New[viewName, *view](maxViews)
	if err != nil { // only a size below one is an error
		panic(err)
	}
	return &views{byName: byName}
}

// get gives the view that all callers share, nil without.
func (v *views) get(name viewName) *view {
	found := v.find(name)
	if found != nil && found.perCaller {
		return nil
	}
	return found
}

// find gives what is kept, which may be no more than that each caller has a
// view of its own.
func (v *views) find(name viewName) *view {
	found, _ := v.byName.Peek(name) // no exclusive lock: what is kept longest goes first
	return found
}

func (v *views) keep(found *view, generation uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.generation.Load() == generation {
		v.byName.Add(nameOf(found.target, found.inputs), found)
	}
}

// drop drops every view of a config.
func (v *views) drop(config string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.generation.Add(1)
	for _, name := range v.byName.Keys() {
		if found, ok := v.byName.Peek(name); ok && found.config == config {
			v.byName.Remove(name)
		}
	}
}

func (v *views) dropAll() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.generation.Add(1)
	v.byName.Purge()
}
