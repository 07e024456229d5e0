// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

const revokeHelp = `
The kill switch of a config: every token that the engine holds for it is
forgotten, for its roles as well, one that is being minted included, and the
next read mints anew. Each forgotten token is revoked at the provider, where
there is a revocation_url; otherwise it stays valid there until it expires.

Tokens of leases of their own (reuse=false) are revoked with their leases:

    vault lease revoke -prefix oauthcc/token/antsomi
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
		HelpSynopsis:    "Forget every token of a config.",
		HelpDescription: strings.TrimSpace(revokeHelp),
	}, nil)}
}

// writeRevoke starts a new epoch, so that no token of the old one is found
// again, on any node; what was held is then revoked at the provider.
func (b *backend) writeRevoke(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := targetOf(d).config
	leave, err := b.writers.enter(ctx, configPrefix+name)
	if err != nil {
		return nil, err
	}
	defer leave()
	entry, err := load[configEntry](ctx, req.Storage, configPrefix+name)
	if err != nil {
		return nil, err
	}
	if entry == nil {
		return nil, noConfig(name)
	}
	held, err := b.heldTokens(ctx, req.Storage, name)
	if err != nil {
		return nil, err
	}
	if entry.Epoch, err = newEpoch(); err != nil {
		return nil, err
	}
	if err := store(ctx, req.Storage, configPrefix+name, entry); err != nil {
		return nil, err
	}
	b.views.drop(name)
	b.tokens.Forgive(name)
	b.forget(ctx, req.Storage, name, "")
	return b.revokeAll(ctx, req.Storage, name, held), nil
}

// revokeAll revokes tokens at their provider. One that cannot be is told in a
// warning: the engine has forgotten it all the same.
func (b *backend) revokeAll(ctx context.Context, s logical.Storage, name string, tokens map[string]*minted) *logical.Response {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		first error
		count int
	)
	for _, m := range tokens {
		wg.Go(func() {
			if err := b.revoke(ctx, s, name, m.Token.AccessToken, m.Token.ExpiresAt); err != nil {
				mu.Lock()
				defer mu.Unlock()
				first = cmp.Or(first, err)
				count++
			}
		})
	}
	wg.Wait()
	if first == nil {
		return nil
	}
	resp := &logical.Response{}
	resp.AddWarning(fmt.Sprintf("all %d tokens are forgotten, but %d of them may live on at the provider until they expire: %s", len(tokens), count, first))
	return resp
}
