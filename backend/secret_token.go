// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/tokencache"
)

// tokenSecretType names the kind of secret in every lease. It must not change.
const tokenSecretType = "oauth_token"

func (b *backend) tokenSecret() *framework.Secret {
	return &framework.Secret{
		Type: tokenSecretType,
		Fields: map[string]*framework.FieldSchema{
			"access_token": {Type: framework.TypeString, Description: "The access token."},
		},
		Revoke: b.revokeToken,
	}
}

// lease is the answer to a reader: the token, and a lease for as long as it is
// usable. Its TTL is always positive: none would become the mount's default.
func (b *backend) lease(c *config, got tokencache.Answer[*grant.Token]) (*logical.Response, error) {
	now := b.now()
	usable := got.UsableUntil().Sub(now).Truncate(time.Second)
	if usable < time.Second {
		return nil, fmt.Errorf("config %q: %w", c.name, &grant.Error{
			Kind: grant.Unintelligible, Detail: "the provider's tokens live too short to be handed out: less than a second is left of this one",
		})
	}
	resp := b.tokenSecret().Response(tokenData(got.Value, now), map[string]any{"config": c.name})
	ttl := usable
	for _, limit := range []struct {
		field   string
		seconds int64
	}{{"ttl", c.TTL}, {"max_ttl", c.MaxTTL}} {
		if d := time.Duration(limit.seconds) * time.Second; d > 0 && d < ttl {
			resp.AddWarning(fmt.Sprintf("the lease is capped at %s by the config's %s; the token is usable for %s", d, limit.field, usable))
			ttl = d
		}
	}
	resp.Secret.TTL, resp.Secret.MaxTTL = ttl, ttl
	for _, w := range warnings(got) {
		resp.AddWarning(w)
	}
	return resp, nil
}

func tokenData(t *grant.Token, now time.Time) map[string]any {
	data := map[string]any{
		"access_token": t.AccessToken,
		"token_type":   t.TokenType,
		"expires_at":   t.ExpiresAt.Format(time.RFC3339),
		"expires_in":   int64(t.ExpiresAt.Sub(now) / time.Second),
	}
	if t.Scope != "" {
		data["scope"] = t.Scope
	}
	maps.Copy(data, t.Extra)
	return data
}

// warnings is what a reader should know about its token.
func warnings(got tokencache.Answer[*grant.Token]) []string {
	var out []string
	if got.Failure != nil {
		out = append(out, "the token could not be refreshed, so this is the old one: "+got.Failure.Error())
	}
	if got.Slow {
		out = append(out, "the token is being refreshed, which takes long, so this is the old one")
	}
	if got.Value.Lifetime == grant.LifetimeDefault {
		out = append(out, "the provider did not say how long the token lives; default_token_lifetime was assumed")
	}
	return out
}

// revokeToken ends a lease. The token is shared, so it stays valid for the
// others who hold it.
func (b *backend) revokeToken(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
	return nil, nil
}
