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
The kill switch of a config: every token that the engine holds for it is
forgotten, for its roles as well, one that is being minted included, and the
next read mints anew. Each is revoked at the provider, where there is a
revocation_url, and so is each that lives on though it is no longer handed out:
in a lease of its own (reuse=false), replaced by a newer one, or from before a
change of the config. A renewable lease can no longer be renewed. With dpop=true
there are no more proofs for any of them, unless the grant is by refresh_token.

A warning says how many tokens are not revoked, why, and until when they live.
Those that may be revoked yet are tried again in the background until they
expire; another write tries all of them at once.
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

// writeRevoke starts a new epoch, so that no token of the old one is found
// again, on any node, and a new ledger. What memory then forgets, what is stored
// and what the old ledger holds is revoked at the provider, when the next
// writer has its turn already.
func (b *backend) writeRevoke(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := targetOf(d).config
	entry, p, forgotten, err := b.forgetAll(ctx, req.Storage, name)
	if err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx) // who has begun this wants it done
	current := mark(entry.Ledger)
	err = p.collect(ctx, forgotten, current)
	asking, cancel := context.WithTimeout(ctx, purgeTime)
	defer cancel()
	err = errors.Join(err, p.sweep(asking, current, true))
	if err != nil || p.left+p.lost > 0 {
		b.ledger.sweepAt(name, b.now().Add(firstWait))
	}
	if err != nil {
		return nil, fmt.Errorf("config %q: all tokens are forgotten, but not all could be revoked; write to revoke/%s again: %w", name, name, err)
	}
	if p.left > 0 && asking.Err() != nil {
		b.sweepSoon(ctx, req.Storage, name)
	}
	resp := &logical.Response{Warnings: p.warnings(fmt.Sprintf("; the engine goes on trying, and another write to revoke/%s tries at once", name))}
	if !p.revocable() && p.tokens == 0 {
		resp.AddWarning("the config has no revocation_url: what it has handed out lives on at the provider until it expires")
	}
	if len(resp.Warnings) == 0 {
		return nil, nil
	}
	return resp, nil
}

// forgetAll starts a new epoch and a new ledger, and gives what memory held, and
// who has it revoked.
func (b *backend) forgetAll(ctx context.Context, s logical.Storage, name string) (*configEntry, *purge, []held, error) {
	leave, err := b.writers.enter(ctx, configPrefix+name)
	if err != nil {
		return nil, nil, nil, err
	}
	defer leave()
	entry, err := load[configEntry](ctx, s, configPrefix+name)
	if err != nil {
		return nil, nil, nil, err
	}
	if entry == nil {
		return nil, nil, nil, noConfig(name)
	}
	if entry.Epoch, err = newEpoch(); err != nil {
		return nil, nil, nil, err
	}
	if entry.Ledger, err = newEpoch(); err != nil {
		return nil, nil, nil, err
	}
	if empty(entry.Fields["refresh_token"]) { // else that may be bound to its key
		if entry.Seed, err = newEpoch(); err != nil {
			return nil, nil, nil, err
		}
	}
	if err := b.write(ctx, s, configPrefix+name, entry); err != nil {
		return nil, nil, nil, err
	}
	b.unused.Store(name, mark(entry.Epoch))
	b.tokens.Forgive(name)
	forgotten := b.tokens.Forget(name, "")
	generation := b.views.generation.Load()
	p := b.newPurge(context.WithoutCancel(ctx), s, name, entry)
	if p.as != nil {
		_, _ = b.views.keepConfig(p.as, generation) // or it is read again
	}
	return entry, p, forgotten, nil
}
