// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
)

// maxAttempts bounds how often one change is started again. A server must be asked
// before the change is stored, and other writes may change the config meanwhile.
const maxAttempts = 5

// writeConfig stores what a request makes of a config. A request that brings all of
// the config's secrets confirms where they go, and so the endpoints found there.
func (b *backend) writeConfig(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := targetOf(d).config
	c, err := b.changeConfig(ctx, req.Storage, name, requested(name, req), answered{confirming: true})
	if err != nil {
		return nil, err
	}
	return c.warnings(req.Data, append(c.discoveryWarnings(), b.brokenRoles(ctx, req.Storage, c))...), nil
}

// configChange returns the new fields of a config; fields is nil for a new config.
// It also names the fields whose whole value the change brings: secrets that it only
// keeps must not be sent to another place afterwards. It does not change fields, and
// may be called more than once.
type configChange func(fields provider.Layer) (changed provider.Layer, brought []string, err error)

// requested returns the change that a write or a patch asks for.
func requested(name string, req *logical.Request) configChange {
	return func(fields provider.Layer) (provider.Layer, []string, error) {
		if fields == nil && req.Operation == logical.PatchOperation {
			return nil, nil, fmt.Errorf("no config %q to patch: %w", name, errNotFound)
		}
		changed, err := merged(fields, req)
		if err != nil {
			return nil, nil, err
		}
		var brought []string
		for field := range req.Data {
			if brings(req, field, changed[field]) {
				brought = append(brought, field)
			}
		}
		return changed, brought, nil
	}
}

// updateConfig changes a config and returns the result. Every change of its fields
// comes this way, whether an operator or the engine asks for it. The change takes its
// turn among the writers, is checked as a whole, sends no secret to a new place, and
// forgets the tokens of the previous request.
//
// A server that must be asked first is asked outside of the writers' turn: for the
// endpoints if they must be found, and for a token with verify_connection. Its answer
// counts only if the change still results in the same request.
// the endpoints, where they are to be found, and for a token, with
// verify_connection. Its answer counts if the change still comes to the same then.
func (b *backend) updateConfig(ctx context.Context, s logical.Storage, name string, change configChange) (*config, error) {
	return b.changeConfig(ctx, s, name, change, answered{})
}

func (b *backend) changeConfig(ctx context.Context, s logical.Storage, name string, change configChange, done answered) (_ *config, err error) {
	if done.seed, err = newEpoch(); err != nil { // one seed for the request that is verified and the one that is stored
		return nil, err
	}
	defer func() { b.undo(ctx, s, done.as, done.minted) }()
	for range maxAttempts {
		c, question, err := b.commitConfig(ctx, s, name, change, &done)
		if err != nil || question == nil {
			return c, err
		}
		if err := question(ctx, s, c, &done); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("config %q: not written, because others are writing it or its provider at the same time: %w", name, errOvertaken)
}

// answered holds what servers answered before a change, and the errors.
type answered struct {
	confirming   bool                 // whether the change may confirm the endpoints that were found
	found        *provider.Discovered // the endpoints' metadata, nil before
	undiscovered error                // why there is no newer metadata, nil if there is

	request []byte // the request that was verified
	as      *config
	minted  *minted // nil once the config has it
	seed    []byte  // for a config that has none yet
}

// question asks a server for what must be known before a config is stored.
type question func(context.Context, logical.Storage, *config, *answered) error

// commitConfig returns the config that a change results in. It stores it, unless
// there is a question to ask first.
func (b *backend) commitConfig(ctx context.Context, s logical.Storage, name string, change configChange, done *answered) (*config, question, error) {
	leave, err := b.writers.enter(ctx, configPrefix+name)
	if err != nil {
		return nil, nil, err
	}
	defer leave()
	old, err := load[configEntry](ctx, s, configPrefix+name)
	if err != nil {
		return nil, nil, err
	}
	entry := &configEntry{}
	if old != nil {
		*entry = *old
	}
	if len(entry.Seed) == 0 {
		entry.Seed = done.seed
	}
	if done.found != nil {
		entry.Discovered = done.found
	}
	var brought []string
	if entry.Fields, brought, err = change(entry.Fields); err != nil {
		return nil, nil, err
	}
	for _, key := range entry.reliesOn() { // so that nobody deletes or changes it meanwhile
		leave, err := b.writers.enter(ctx, key)
		if err != nil {
			return nil, nil, err
		}
		defer leave()
	}
	generation := b.views.generation.Load()
	c, err := b.resolve(ctx, s, target{config: name}, inputs{}, entry, nil)
	if err != nil {
		return nil, nil, err
	}
	if c.mustDiscover(old, brought, *done) {
		return c, b.findEndpoints, nil
	}
	c.undiscovered = done.undiscovered
	entry.Origin, entry.Discovered = c.origin, c.effective.Discovered()
	if err := confirmed(old, entry, brought); err != nil {
		return nil, nil, err
	}
	if err := errors.Join(c.checkKeepAlive(), c.checkBudget(), c.checkBrought()); err != nil {
		return nil, nil, err
	}
	var verified *minted
	if c.VerifyConnection {
		identity, err := c.effective.Identity()
		if err != nil || !bytes.Equal(identity, done.request) {
			return c, b.verify, err
		}
		verified = done.minted
	}
	if err := b.storeConfig(ctx, s, old, c, generation, verified); err != nil {
		return nil, nil, err
	}
	if verified != nil {
		done.minted = nil
	}
	return c, nil, nil
}

// verify mints a token of c. It replaces the one of an earlier attempt of the change.
func (b *backend) verify(ctx context.Context, s logical.Storage, c *config, done *answered) (err error) {
	b.undo(ctx, s, done.as, done.minted)
	done.as = c
	if done.minted, err = b.tryOut(ctx, s, c); err != nil {
		return fmt.Errorf("not written, because verify_connection is set and the grant failed: %w", err)
	}
	done.request, err = c.effective.Identity()
	return err
}

// reliesOn returns the storage keys of what the entry names, in the order in which
// writers take their turns.
func (e configEntry) reliesOn() []string {
	var keys []string
	for field, prefix := range map[string]string{"provider": providerPrefix, "signing_key": keyPrefix, "tls_key": keyPrefix} {
		if name, _ := e.Fields[field].(string); name != "" && (prefix != providerPrefix || !provider.IsBuiltin(name)) {
			keys = append(keys, prefix+name)
		}
	}
	if len(sourcesOf(e.Fields)) > 0 {
		keys = append(keys, sourcePrefix) // one writer at a time, so that no two close a circle
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// storeConfig stores c's entry over the old one. It forgets what the config has
// minted if the request has changed, and keeps the token of a verified write. It
// keeps c in memory for the next mint, unless something else was written since c was
// resolved, in the given generation.
func (b *backend) storeConfig(ctx context.Context, s logical.Storage, old *configEntry, c *config, generation uint64, verified *minted) error {
	changed, revocable, err := b.changes(ctx, s, old, c)
	if err != nil {
		return err
	}
	if changed {
		if c.entry.Epoch, err = newEpoch(); err != nil {
			return err
		}
	}
	if old == nil {
		if c.entry.Ledger, err = newEpoch(); err != nil {
			return err
		}
	}
	if err := link(ctx, s, c.config, sourcesOf(c.entry.Fields)); err != nil {
		return err
	}
	key, err := c.key()
	if err != nil {
		return err
	}
	err = b.write(ctx, s, configPrefix+c.config, c.entry)
	if c.entry.keepsAlive() {
		b.keeper.wait(c.config, time.Time{}) // after an error as well: the entry may be stored all the same
	}
	if err != nil {
		return err
	}
	_, _ = b.views.keepConfig(c, generation, 1) // that write; or c is read again
	b.unlink(ctx, s, c.config, old, c.entry)
	b.tokens.Forgive(c.config)
	if changed {
		b.unused.Store(c.config, mark(c.entry.Epoch))
		b.forget(ctx, s, c.config, revocable, key)
	}
	if changed && old != nil {
		b.forgetDependants(ctx, s, c.config)
	}
	if verified != nil {
		b.adopt(ctx, s, c, key, verified)
	}
	if old != nil {
		b.dropChain(ctx, s, old.chain(c.config))
	}
	return nil
}

// changes reports whether c makes another request than old did, and whether the
// tokens of old can be revoked.
func (b *backend) changes(ctx context.Context, s logical.Storage, old *configEntry, c *config) (changed, revocable bool, _ error) {
	if old == nil {
		return true, false, nil
	}
	key, err := c.key()
	if err != nil {
		return false, false, err
	}
	before, err := b.resolve(ctx, s, c.target, inputs{}, old, nil)
	if err != nil {
		return true, true, nil //nolint:nilerr // what cannot be resolved now may have minted before
	}
	was, err := before.key()
	return was != key, before.revocable(), err
}
