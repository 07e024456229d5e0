// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

const revokeHelp = `
The kill switch of a config. The engine forgets all tokens of the config and its
roles, including one that is being minted; the next read mints a new one. If there is
a revocation_url, all tokens are revoked at the provider, also those that are no
longer handed out: tokens with a lease of their own (reuse=false), tokens that a newer
one replaced, and tokens from before a change of the config. Renewable leases can no
longer be renewed. With dpop=true no more proofs are given for these tokens, unless
the grant_type is refresh_token.

The same happens to the configs that use this one as their source (subject_config,
source_config).

A warning says how many tokens were not revoked, why, and until when they are valid.
If a later attempt may succeed, they are tried again in the background until they
expire. Another write tries all of them at once.
`

func (b *backend) revokePaths() []*framework.Path {
	return []*framework.Path{b.declare(&framework.Path{
		Pattern:      "revoke/" + framework.GenericNameRegex("config"),
		DisplayAttrs: display("tokens"),
		Fields:       map[string]*framework.FieldSchema{"config": nameField("The config's name.")},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: forwarded(&framework.PathOperation{
				Callback:     b.writeRevoke,
				DisplayAttrs: &framework.DisplayAttributes{OperationVerb: "revoke"},
				Summary:      "Forget every token of a config.",
				Responses:    mayWarn("Forgotten"),
			}),
		},
		HelpSynopsis:    "Forget every token of a config, and revoke each at the provider.",
		HelpDescription: strings.TrimSpace(revokeHelp),
	}, nil)}
}

// writeRevoke gives the config, and each config that depends on it, a new epoch and
// a new ledger. With the new epoch, no node finds a token of the old one any more.
// Then the tokens that were in memory, in storage and in the old ledger are revoked
// at the provider. Other writers of the config need not wait for that.
func (b *backend) writeRevoke(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	names := []string{targetOf(d).config}
	dependants, err := b.dependants(ctx, req.Storage, names[0])
	if err != nil {
		return nil, err
	}
	var all []forgotten
	for _, name := range append(names, dependants...) {
		f, err := b.forgetAll(ctx, req.Storage, name)
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	ctx = context.WithoutCancel(ctx) // it continues even if the caller leaves
	asking, cancel := context.WithTimeout(ctx, purgeTime)
	defer cancel()
	resp := &logical.Response{}
	for _, f := range all {
		warnings, failed := f.end(ctx, asking)
		err = errors.Join(err, failed)
		for _, text := range warnings {
			if f.config != names[0] {
				text = fmt.Sprintf("config %q, which depends on this one: %s", f.config, text)
			}
			resp.AddWarning(text)
		}
	}
	if err != nil {
		return nil, err
	}
	if len(resp.Warnings) == 0 {
		return nil, nil
	}
	return resp, nil
}

// forgotten holds the tokens that a config has forgotten, and the purge that revokes
// them.
type forgotten struct {
	*purge
	ledger string // the mark of the config's new ledger, which is kept
	held   []held // the tokens that were in memory
}

// end revokes the forgotten tokens at the provider until the context asking ends. It
// returns warnings about the tokens that live on.
func (f forgotten) end(ctx, asking context.Context) ([]string, error) {
	err := f.collect(ctx, f.held, f.ledger)
	err = errors.Join(err, f.sweep(asking, f.ledger, true))
	if err != nil || f.left+f.lost > 0 {
		f.b.ledger.sweepAt(f.config, f.b.now().Add(firstWait))
	}
	if err != nil {
		return nil, fmt.Errorf("config %q: all tokens are forgotten, but not all could be revoked; write to revoke/%s again: %w", f.config, f.config, err)
	}
	if f.left > 0 && asking.Err() != nil {
		f.b.sweepSoon(ctx, f.storage, f.config)
	}
	warnings := f.warnings(fmt.Sprintf("; the engine goes on trying, and another write to revoke/%s tries at once", f.config))
	if !f.revocable() && f.tokens == 0 {
		warnings = append(warnings, "the config has no revocation_url: what it has handed out lives on at the provider until it expires")
	}
	return warnings, nil
}

// forgetAll gives a config a new epoch and a new ledger. It returns the tokens that
// were in memory, and the purge that revokes them.
func (b *backend) forgetAll(ctx context.Context, s logical.Storage, name string) (forgotten, error) {
	leave, err := b.writers.enter(ctx, configPrefix+name)
	if err != nil {
		return forgotten{}, err
	}
	defer leave()
	entry, err := load[configEntry](ctx, s, configPrefix+name)
	if err != nil {
		return forgotten{}, err
	}
	if entry == nil {
		return forgotten{}, noConfig(name)
	}
	if entry.Epoch, err = newEpoch(); err != nil {
		return forgotten{}, err
	}
	if entry.Ledger, err = newEpoch(); err != nil {
		return forgotten{}, err
	}
	if empty(entry.Fields["refresh_token"]) { // otherwise the refresh token may be bound to the old key
		if entry.Seed, err = newEpoch(); err != nil {
			return forgotten{}, err
		}
	}
	if err := b.write(ctx, s, configPrefix+name, entry); err != nil {
		return forgotten{}, err
	}
	b.unused.Store(name, mark(entry.Epoch))
	b.tokens.Forgive(name)
	held := b.tokens.Forget(name, "")
	generation := b.views.generation.Load()
	p := b.newPurge(context.WithoutCancel(ctx), s, name, entry)
	if p.as != nil {
		_, _ = b.views.keepConfig(p.as, generation, 0) // if it is not kept, it is read again
	}
	return forgotten{purge: p, ledger: mark(entry.Ledger), held: held}, nil
}
