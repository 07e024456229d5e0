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

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/tokencache"
)

const tokenHelp = `
Hands out an access token of the config, with a lease that lasts for as long as
the token is usable:

    vault read oauthcc/token/antsomi

All readers of a config share one token, and one request to the provider. The
lease cannot be renewed: read again for the next token. Revoking one lease of a
shared token leaves the token valid for the others who hold it.
`

func (b *backend) tokenPaths() []*framework.Path {
	responses := answers("The token", map[string]*framework.FieldSchema{
		"access_token": {Type: framework.TypeString, Required: true, Description: "The access token (RFC 6749 section 1.4)."},
		"token_type":   {Type: framework.TypeString, Required: true, Description: "How it is used, such as Bearer (RFC 6749 section 7.1)."},
		"expires_at":   {Type: framework.TypeTime, Required: true, Description: "When it expires (RFC 3339, UTC)."},
		"expires_in":   {Type: framework.TypeInt64, Required: true, Description: "Whole seconds until then."},
		"scope":        {Type: framework.TypeString, Description: "The granted scopes, separated by spaces, when known."},
	})
	return []*framework.Path{b.declare(&framework.Path{
		Pattern:      "token/" + framework.GenericNameRegex("config"),
		DisplayAttrs: display("token"),
		Fields:       map[string]*framework.FieldSchema{"config": nameField("The config's name.")},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: &framework.PathOperation{
				Callback:  b.readToken,
				Summary:   "Get an access token.",
				Responses: responses,
			},
			logical.UpdateOperation: &framework.PathOperation{
				Callback:  b.readToken,
				Summary:   "Get an access token.",
				Responses: responses,
			},
		},
		HelpSynopsis:    "An access token, with a lease.",
		HelpDescription: strings.TrimSpace(tokenHelp),
	})}
}

func (b *backend) readToken(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, _ := d.Get("config").(string)
	c, err := b.loadConfig(ctx, req.Storage, name)
	if err != nil {
		return nil, err
	}
	got, err := b.token(ctx, req.Storage, c)
	if err != nil {
		return nil, err
	}
	return b.lease(c, got)
}

// held is a token as the cache holds it.
type held = tokencache.Held[*grant.Token]

// token gets c's token: from memory, or minted once for all who wait.
func (b *backend) token(ctx context.Context, s logical.Storage, c *config) (tokencache.Answer[*grant.Token], error) {
	for range 3 {
		key, err := c.key()
		if err != nil {
			return tokencache.Answer[*grant.Token]{}, err
		}
		got, err := b.tokens.Get(ctx, tokencache.Ask[*grant.Token]{
			Key: key, Group: c.name, Timeout: c.timeout(),
			Mint: func(ctx context.Context) (held, error) { return b.mintHeld(ctx, s, c.name, key) },
		})
		if !errors.Is(err, tokencache.ErrForgotten) {
			return got, err
		}
		// The config was changed meanwhile: what it is now decides.
		if c, err = b.loadConfig(ctx, s, c.name); err != nil {
			return tokencache.Answer[*grant.Token]{}, err
		}
	}
	return tokencache.Answer[*grant.Token]{}, fmt.Errorf("config %q changes faster than tokens can be minted", c.name)
}

// mintHeld mints the token of that key, unless the config has come to another.
func (b *backend) mintHeld(ctx context.Context, s logical.Storage, name, key string) (held, error) {
	c, err := b.loadConfig(ctx, s, name)
	if err != nil {
		return held{}, err
	}
	now, err := c.key()
	if err != nil {
		return held{}, err
	}
	if now != key {
		return held{}, tokencache.ErrForgotten
	}
	t, err := b.mint(ctx, c)
	if err != nil {
		return held{}, err
	}
	return held{Value: t, Born: t.IssuedAt, Expires: t.ExpiresAt}, nil
}
