// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grouped"
)

// view holds what handing out a token needs to know of its target and inputs. It
// is small, and kept in memory for every target that is read.
type view struct {
	target
	inputs
	key   string   // of the token, in memory and in storage below tokenPrefix
	names []string // the parts of the caller's identity that its parameters name; none if the caller makes no difference

	takes   *taken  // what readers may bring; nil without anything
	brought brought // what the reader brings; nil in a view that is kept

	terms     unique.Handle[terms] // most configs have the same ones, which are kept once
	spends    bool                 // its grant uses up a refresh token
	outlives  bool                 // its mints may continue when their readers have left
	late      bool                 // its tokens are replaced as late as possible
	revocable bool                 // its provider revokes tokens
	epoch     string               // the mark of the config's epoch: a lease is not renewed under another one
	history   *history
	proofs    *proofs // what its readers sign with; nil without dpop
}

// owned reports whether each lease has its own token, which ends with the lease.
func (v *view) owned() bool { return v.revocable && !v.terms.Value().Reuse }

// minLeft returns the minimum usable life to hand out.
func (v *view) minLeft() time.Duration { return v.terms.Value().minLeft() }

// stored returns the stored token of v, nil without one.
func (v *view) stored(ctx context.Context, s logical.Storage) (*held, error) {
	h, err := loadToken(ctx, s, v.key)
	if h != nil {
		h.Late = v.late
	}
	return h, err
}

// view returns the view of that target and those inputs. If the parameters of a
// role name the caller's identity, there is one view for each identity. Vault is
// asked for the identity each time, because it may change.
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

// viewFor returns a view from memory, or makes one of a config in memory. If neither
// is there, the view is loaded once for all requests that ask for it at the same time.
func (b *backend) viewFor(ctx context.Context, s logical.Storage, t target, in inputs) (*view, error) {
	if v := b.views.find(nameOf(t, in)); v != nil {
		return v, nil
	}
	generation := b.views.generation.Load()
	if k := b.resolved(t, in); k != nil {
		return b.makeView(k, generation)
	}
	return b.loadOnce(ctx, s, t, in)
}

// loadOnce loads a view once for all requests that ask for it at the same time. A
// request whose context ends leaves; the load goes on for the others.
func (b *backend) loadOnce(ctx context.Context, s logical.Storage, t target, in inputs) (*view, error) {
	generation := b.views.generation.Load()
	// The name holds the generation, so that no request joins a load that began before
	// a write that the request must see.
	name := fmt.Sprintf("%q %d", []string{t.path(), in.name()}, generation)
	loading := b.loading.DoChan(name, func() (v any, err error) {
		defer func() { // a panic here would end the process
			if p := recover(); p != nil {
				err = b.panicked(tokenPrefix+t.path(), p)
			}
		}()
		if kept := b.views.find(nameOf(t, in)); kept != nil {
			return kept, nil // a load has ended since this request looked
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

// loadView loads a view and keeps it.
func (b *backend) loadView(ctx context.Context, s logical.Storage, t target, in inputs, generation uint64) (*view, error) {
	k, err := b.current(ctx, s, t, in)
	if err != nil {
		return nil, err
	}
	return b.makeView(k, generation)
}

// makeView makes the view of a config and keeps it, unless the config was dropped
// since that generation. For a role that names the caller's identity, the view without
// a caller only says that.
func (b *backend) makeView(k *keyed, generation uint64) (_ *view, err error) {
	c := k.config
	v := &view{
		target: c.target, inputs: c.inputs, key: k.key, names: c.names, terms: unique.Make(c.terms), history: b.observer.of(c.config),
		spends: c.spends() || c.sourceSpends, outlives: c.outlives(), late: c.late(), revocable: c.revocable(), epoch: mark(c.entry.Epoch),
	}
	if names := c.effective.ReaderInputs(); len(names) > 0 {
		v.takes = &taken{names: names, needed: c.effective.RequiredInputs(), key: c.entry.Epoch}
	}
	if v.proofs, err = c.proofs(); err != nil {
		return nil, err
	}
	b.views.keep(v, c.behind, generation)
	return v, nil
}

// current returns the config that a target and inputs resolve to, from memory if it
// was resolved recently. Callers must not change it.
func (b *backend) current(ctx context.Context, s logical.Storage, t target, in inputs) (*keyed, error) {
	generation := b.views.generation.Load()
	if k := b.resolved(t, in); k != nil {
		return k, nil
	}
	c, err := b.load(ctx, s, t, in)
	if err != nil {
		return nil, err
	}
	if c.perCaller() && c.identity == nil {
		return &keyed{config: c}, nil // it has no token
	}
	return b.views.keepConfig(c, generation, 0)
}

// resolved returns the config that a target and inputs resolve to, nil if it was not
// resolved recently.
func (b *backend) resolved(t target, in inputs) *keyed {
	if k, ok := b.views.configs.Get(nameOf(t, in)); ok && b.now().Before(k.until) {
		return k
	}
	return nil
}

// dropViews drops what memory has made of the entry at key: views, and what is
// remembered of configs.
func (b *backend) dropViews(key string) {
	if name, ok := strings.CutPrefix(key, configPrefix); ok {
		b.views.drop(name)
		b.unused.Delete(name)
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

// viewName names a view. It is a struct, not a string, so that no path of a request
// can name a view of other inputs.
type viewName struct{ path, inputs string }

func nameOf(t target, in inputs) viewName { return viewName{path: t.path(), inputs: in.name()} }

// keyed is a config with the key of its token.
type keyed struct {
	*config
	key string
}

const (
	// maxViews bounds the memory for views, at about 200 bytes each.
	maxViews = 50_000

	// maxConfigs bounds the memory for resolved configs, at about 20 KB each.
	maxConfigs = 256

	// rememberedDrops bounds how many drops may come while something is loaded that is
	// kept all the same, because they were of other configs.
	rememberedDrops = 256

	// configLifetime is how long a resolved config is used before it is read again. A
	// write on this node, or one that Vault reports, drops it at once; the lifetime is
	// for changes that nobody reports, such as a write past the engine.
	configLifetime = time.Minute
)

// views holds the views of all targets that are read, and some of the configs that
// they were made of. A write of anything that they were made of drops them.
type views struct {
	byName     *grouped.Cache[viewName, *view] // by config, like configs
	configs    *grouped.Cache[viewName, *keyed]
	dependants map[string]map[string]bool // by config, the configs whose views are made of it as well
	mu         sync.Mutex                 // one writer at a time
	generation atomic.Uint64              // counts drops, so that nothing read before a drop is kept after it
	dropped    [rememberedDrops]string    // the configs of the last drops, "" for all: that of generation g is at g modulo the length
}

func newViews() *views {
	return &views{
		dependants: map[string]map[string]bool{},
		byName:     grouped.New(maxViews, func(_ viewName, v *view) string { return v.config }),
		configs:    grouped.New(maxConfigs, func(_ viewName, k *keyed) string { return k.config.config }),
	}
}

// get returns the view that all callers share, nil without one.
func (v *views) get(name viewName) *view {
	found := v.find(name)
	if found != nil && len(found.names) > 0 {
		return nil
	}
	return found
}

// find returns what is kept, which may only say that each caller has its own view.
func (v *views) find(name viewName) *view {
	found, _ := v.byName.Peek(name) // Peek takes no exclusive lock, so the oldest view is evicted first, not the least used
	return found
}

// keep keeps a view that depends on the configs behind it, unless one of them was
// dropped since that generation.
func (v *views) keep(found *view, behind []string, generation uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.drops(generation, found.config, behind) == 0 {
		v.byName.Add(nameOf(found.target, found.inputs), found)
		v.note(found.config, behind)
	}
}

// keepConfig keeps c, unless it, or a config that it depends on, was dropped since
// that generation other than by the caller's own writes of c.
func (v *views) keepConfig(c *config, generation uint64, writes int) (*keyed, error) {
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
	if v.drops(generation, k.config.config, k.behind) == writes {
		v.configs.Add(nameOf(k.target, k.inputs), k)
		v.note(k.config.config, k.behind)
	}
	return k, nil
}

// drops counts how often one of these configs was dropped since that generation. If
// that is too long ago to tell, it is taken to have been often. It is called with mu
// held.
func (v *views) drops(since uint64, config string, behind []string) int {
	now := v.generation.Load()
	if now-since > rememberedDrops {
		return math.MaxInt
	}
	n := 0
	for g := since; g < now; g++ {
		if name := v.dropped[g%rememberedDrops]; name == "" || name == config || slices.Contains(behind, name) {
			n++
		}
	}
	return n
}

// next begins the next generation, in which a config is dropped, or all for "". It is
// called with mu held, when what is dropped is gone: whoever sees the new generation
// and then looks must find nothing of before, because it would be kept as new.
func (v *views) next(config string) {
	v.dropped[v.generation.Load()%rememberedDrops] = config
	v.generation.Add(1)
}

// note remembers that views of config are made of the configs behind it as well.
func (v *views) note(config string, behind []string) {
	for _, source := range behind {
		if v.dependants[source] == nil {
			v.dependants[source] = map[string]bool{}
		}
		v.dependants[source][config] = true
	}
}

// drop drops everything that was made of a config.
func (v *views) drop(config string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	defer v.next(config)
	for dependant := range v.dependants[config] {
		v.byName.RemoveGroup(dependant)
		v.configs.RemoveGroup(dependant)
	}
	delete(v.dependants, config)
	v.byName.RemoveGroup(config)
	v.configs.RemoveGroup(config)
}

// dropConfigs drops the resolved configs. The views, and so the tokens, stay until a
// mint resolves to something else.
func (v *views) dropConfigs() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.configs.Purge()
	v.next("")
}

func (v *views) dropAll() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.byName.Purge()
	v.configs.Purge()
	v.next("")
}
