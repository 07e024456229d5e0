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

// writeConfig stores what a request makes of a config.
func (b *backend) writeConfig(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := targetOf(d).config
	c, err := b.updateConfig(ctx, req.Storage, name, requested(name, req))
	if err != nil {
		return nil, err
	}
	return c.warnings(req.Data, b.brokenRoles(ctx, req.Storage, c)), nil
}

// configChange gives what the fields of a config become; fields is nil when
// there is no such config yet. It names the fields that it brings anew, whole:
// a secret that it merely keeps is not sent to another place afterwards. It
// changes nothing of fields itself, and may be asked more than once.
type configChange func(fields provider.Layer) (changed provider.Layer, brought []string, err error)

// requested is the change of a config that a write or a patch asks for.
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

// updateConfig changes a config, and gives what it has become. Every change of
// its fields comes this way, whether an operator asks for it or the engine does:
// it takes its turn among the writers, is checked as a whole, sends no secret to
// a new place, and forgets the tokens of what the config was before.
//
// With verify_connection the provider is asked first, outside of the writers'
// turn. Its answer counts if the change still comes to the same request then.
func (b *backend) updateConfig(ctx context.Context, s logical.Storage, name string, change configChange) (*config, error) {
	seed, err := newEpoch() // the same one for the request that is verified and the one that is stored
	if err != nil {
		return nil, err
	}
	done := verification{seed: seed}
	for range maxVerifications {
		c, stored, err := b.commitConfig(ctx, s, name, change, done)
		if err != nil || stored {
			return c, err
		}
		if done.minted, err = b.tryOut(ctx, s, c); err != nil {
			return nil, fmt.Errorf("not written, since verify_connection is set: %w", err)
		}
		if done.request, err = c.effective.Identity(); err != nil {
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

// commitConfig gives the config that a change comes to, and stores it unless it
// has to be verified first.
func (b *backend) commitConfig(ctx context.Context, s logical.Storage, name string, change configChange, done verification) (_ *config, stored bool, _ error) {
	leave, err := b.writers.enter(ctx, configPrefix+name)
	if err != nil {
		return nil, false, err
	}
	defer leave()
	old, err := load[configEntry](ctx, s, configPrefix+name)
	if err != nil {
		return nil, false, err
	}
	entry := &configEntry{}
	if old != nil {
		*entry = *old
	}
	if len(entry.Seed) == 0 {
		entry.Seed = done.seed
	}
	var brought []string
	if entry.Fields, brought, err = change(entry.Fields); err != nil {
		return nil, false, err
	}
	for _, key := range entry.reliesOn() { // nobody deletes or changes it meanwhile
		leave, err := b.writers.enter(ctx, key)
		if err != nil {
			return nil, false, err
		}
		defer leave()
	}
	c, err := b.resolve(ctx, s, target{config: name}, entry, nil)
	if err != nil {
		return nil, false, err
	}
	entry.Origin = c.origin
	if err := confirmed(old, entry, brought); err != nil {
		return nil, false, err
	}
	if err := c.checkKeepAlive(); err != nil {
		return nil, false, err
	}
	if c.VerifyConnection {
		identity, err := c.effective.Identity()
		if err != nil || !bytes.Equal(identity, done.request) {
			return c, false, err
		}
	} else {
		done.minted = nil
	}
	return c, true, b.storeConfig(ctx, s, old, c, done.minted)
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
