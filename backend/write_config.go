// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
)

// maxVerifications bounds how often verify_connection asks the provider for one
// write, when others keep changing what it comes to.
const maxVerifications = 5

// writeConfig stores what the write comes to in the writers' turn. A provider
// that it has to ask first it asks outside of it, and the answer counts if the
// write still comes to the same request afterwards.
func (b *backend) writeConfig(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := targetOf(d).config
	seed, err := newEpoch() // the same one for the request that is verified and the one that is stored
	if err != nil {
		return nil, err
	}
	done := verification{seed: seed}
	for range maxVerifications {
		resp, unverified, err := b.commitConfig(ctx, req, name, done)
		if err != nil || unverified == nil {
			return resp, err
		}
		if done.minted, err = b.tryOut(ctx, req.Storage, unverified); err != nil {
			return nil, fmt.Errorf("not written, since verify_connection is set: %w", err)
		}
		if done.request, err = unverified.effective.Identity(); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("config %q: not written, since others write it, or its provider, at the same time: %w", name, errOvertaken)
}

// verification is the request that the provider was asked, and what came of it.
type verification struct {
	request []byte
	minted  *minted
	seed    []byte // of a config that has none yet
}

// commitConfig stores a write, or gives the config that it comes to when that
// has to be verified first.
func (b *backend) commitConfig(ctx context.Context, req *logical.Request, name string, done verification) (_ *logical.Response, unverified *config, _ error) {
	leave, err := b.writers.enter(ctx, configPrefix+name)
	if err != nil {
		return nil, nil, err
	}
	defer leave()
	old, err := load[configEntry](ctx, req.Storage, configPrefix+name)
	if err != nil {
		return nil, nil, err
	}
	if old == nil && req.Operation == logical.PatchOperation {
		return nil, nil, fmt.Errorf("no config %q to patch: %w", name, errNotFound)
	}
	entry := &configEntry{Fields: provider.Layer{}}
	if old != nil {
		entry.Epoch, entry.Ledger, entry.Seed, entry.Fields = old.Epoch, old.Ledger, old.Seed, old.Fields
	}
	if len(entry.Seed) == 0 {
		entry.Seed = done.seed
	}
	if entry.Fields, err = merged(entry.Fields, req); err != nil {
		return nil, nil, err
	}
	for _, key := range entry.reliesOn() { // nobody deletes or changes it meanwhile
		leave, err := b.writers.enter(ctx, key)
		if err != nil {
			return nil, nil, err
		}
		defer leave()
	}
	c, err := b.resolve(ctx, req.Storage, target{config: name}, entry, nil)
	if err != nil {
		return nil, nil, err
	}
	entry.Origin = c.origin
	if err := confirmed(old, entry, req); err != nil {
		return nil, nil, err
	}
	if err := c.checkKeepAlive(); err != nil {
		return nil, nil, err
	}
	if c.VerifyConnection {
		identity, err := c.effective.Identity()
		if err != nil {
			return nil, nil, err
		}
		if !bytes.Equal(identity, done.request) {
			return nil, c, nil
		}
	}
	if !c.VerifyConnection {
		done.minted = nil
	}
	if err := b.storeConfig(ctx, req.Storage, old, c, done.minted); err != nil {
		return nil, nil, err
	}
	return c.warnings(req.Data, b.brokenRoles(ctx, req.Storage, c)), nil, nil
}

// reliesOn gives the storage keys of what the entry names, in the order in
// which writers take their turns.
func (e configEntry) reliesOn() []string {
	var keys []string
	for field, prefix := range map[string]string{"provider": providerPrefix, "signing_key": keyPrefix, "tls_key": keyPrefix} {
		if name, _ := e.Fields[field].(string); name != "" && (prefix != providerPrefix || !provider.IsBuiltin(name)) {
			keys = append(keys, prefix+name)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// storeConfig stores c's entry over the old one, forgets what the config has
// minted if it is another request now, and keeps the token it was verified by.
func (b *backend) storeConfig(ctx context.Context, s logical.Storage, old *configEntry, c *config, verified *minted) error {
	changed, err := b.changes(ctx, s, old, c)
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
	if err := b.write(ctx, s, configPrefix+c.config, c.entry); err != nil {
		return err
	}
	b.tokens.Forgive(c.config)
	key, err := c.key()
	if err != nil {
		return err
	}
	if changed {
		b.forget(ctx, s, c.config, key)
	}
	if verified != nil {
		b.adopt(ctx, s, c, key, verified)
	}
	if old != nil {
		b.dropChain(ctx, s, old.chain(c.config))
	}
	return nil
}

// changes says whether c is another request than the one that old came to.
func (b *backend) changes(ctx context.Context, s logical.Storage, old *configEntry, c *config) (bool, error) {
	if old == nil {
		return true, nil
	}
	key, err := c.key()
	if err != nil {
		return false, err
	}
	before, err := b.resolve(ctx, s, c.target, old, nil)
	if err != nil {
		return true, nil //nolint:nilerr // what cannot be resolved has minted nothing of late
	}
	was, err := before.key()
	return was != key, err
}
