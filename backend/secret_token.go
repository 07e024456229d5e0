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
)

// tokenSecretType names the kind of secret in every lease. It must not change.
const tokenSecretType = "oauth_token"

// What a lease stores beside its type, so that it can be renewed or its token
// revoked.
const (
	leaseHolder = "holder" // the entry in the ledger; leases of shared tokens have none

	// Of a renewable lease:
	leaseConfig = "config"
	leaseEpoch  = "epoch" // the mark of the config's
	leaseUntil  = "usable_until"
	leaseTTL    = "ttl"     // in seconds, for the next renewal
	leaseMaxTTL = "max_ttl" // likewise, from its issue
)

func (b *backend) tokenSecret() *framework.Secret {
	return &framework.Secret{
		Type: tokenSecretType,
		Fields: map[string]*framework.FieldSchema{
			"access_token": {Type: framework.TypeString, Description: "The access token."},
		},
		Renew:  b.renewToken,
		Revoke: b.revokeToken,
	}
}

// tokenResponse returns the answer to a reader: the token, with a lease for as long as it
// is usable, or without one. fromMemory says that it had to wait for nothing.
func (b *backend) tokenResponse(v *view, got answer, fromMemory bool) (*logical.Response, error) {
	now := b.now()
	usable, err := v.usable(got, now)
	if err != nil {
		return nil, err
	}
	data := tokenData(&got.Value.Token, now)
	resp := &logical.Response{Data: data, Warnings: v.warnings(got)}
	if v.terms.Value().Leased {
		b.lease(v, got, usable, resp)
	} else {
		// The same members as Vault's static roles. Agent reads again ttl + 1 s
		// later, just after the token is replaced. It accepts only integers.
		data["ttl"] = max(int64(got.RenewsAt().Sub(now)/time.Second), 0)
		data["rotation_period"] = int64(got.RenewsAt().Sub(got.Born) / time.Second)
	}
	b.observer.handedOut(v.history, got, fromMemory)
	return resp, nil
}

// usable returns how long a token can be used, at least one second.
func (v *view) usable(got answer, now time.Time) (time.Duration, error) {
	usable := got.Until.Sub(now).Truncate(time.Second)
	if usable < time.Second && got.Failure != nil {
		return 0, got.Failure
	}
	if usable < time.Second {
		return 0, fmt.Errorf("%s: %w", v.target, &grant.Error{
			Kind: grant.Unintelligible, Detail: "the provider's tokens live too short to be handed out: less than a second is left of this one",
		})
	}
	return usable, nil
}

// lease adds a lease to resp. TTL and MaxTTL are always set and positive,
// because 0 would become the mount's default.
func (b *backend) lease(v *view, got answer, usable time.Duration, resp *logical.Response) {
	on := v.terms.Value()
	shorter := on.leaseLimit
	if on.maxLeaseLimit.cap(shorter.cap(usable)) < shorter.cap(usable) {
		shorter = on.maxLeaseLimit
	}
	ttl := shorter.cap(usable)
	if ttl < usable {
		resp.AddWarning(fmt.Sprintf("the lease is capped at %s by the %s; the token is usable for %s", grant.InWords(ttl), shorter.by, grant.InWords(usable)))
	}
	// Vault stores this with every lease, so it holds no more than is needed.
	internal := map[string]any{"secret_type": tokenSecretType}
	if ref := got.Value.ref; ref != "" {
		internal[leaseHolder] = ref
	}
	resp.Secret = &logical.Secret{
		LeaseOptions: logical.LeaseOptions{TTL: ttl, MaxTTL: ttl},
		InternalData: internal,
	}
	if on.Renewable {
		resp.Secret.Renewable, resp.Secret.MaxTTL = true, on.maxLeaseLimit.cap(usable)
		internal[leaseConfig], internal[leaseEpoch] = v.config, v.epoch
		internal[leaseUntil] = got.Until.Format(time.RFC3339Nano)
		internal[leaseTTL] = int64(ttl / time.Second)
		internal[leaseMaxTTL] = int64(resp.Secret.MaxTTL / time.Second)
	}
}

func tokenData(t *grant.Token, now time.Time) map[string]any {
	data := make(map[string]any, 8+len(t.Extra))
	data["access_token"] = t.AccessToken
	data["token_type"] = t.TokenType
	data["expires_at"] = t.ExpiresAt.Format(time.RFC3339)
	data["expires_in"] = int64(t.ExpiresAt.Sub(now) / time.Second)
	if t.Scope != "" {
		data["scope"] = t.Scope
	}
	maps.Copy(data, t.Extra)
	return data
}

// warnings returns what a reader should know about its token.
func (v *view) warnings(got answer) []string {
	var out []string
	if got.Failure != nil {
		out = append(out, "the token could not be refreshed, so this is the old one: "+explained(got.Failure))
	}
	if got.Slow {
		out = append(out, "the token is being refreshed, which takes long, so this is the old one")
	}
	if got.Young {
		out = append(out, "the token was not replaced, since it is younger than ten seconds")
	}
	if got.Short {
		out = append(out, "no token of this provider is usable for as long as min_ttl")
	}
	if got.Kept {
		out = append(out, "less than min_ttl is left of the token; with refresh=late it is kept for as long as it is usable")
	}
	if got.Same {
		out = append(out, "the provider was asked for another token and handed out the same one again")
	}
	if got.Value.Token.Lifetime == grant.LifetimeDefault {
		out = append(out, "the provider did not say how long the token lives; default_token_lifetime was assumed")
	}
	if got.Value.Fallback {
		out = append(out, "the provider refused client_secret; the token was minted with fallback_client_secret")
	}
	return out
}

// renewToken extends a lease, but never beyond the token's end, and not if the
// token has been forgotten.
func (b *backend) renewToken(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	if seconds(req.Secret, leaseTTL) == 0 {
		return nil, refuse("the lease cannot be renewed: read again for the next token (or set renewable=true on the config)")
	}
	left := usableUntil(req.Secret).Sub(b.now()).Truncate(time.Second)
	if left < time.Second {
		return nil, refuse("the lease cannot be renewed: its token is no longer usable; read again for the next one")
	}
	name, _ := req.Secret.InternalData[leaseConfig].(string)
	entry, err := load[configEntry](ctx, req.Storage, configPrefix+name)
	if err != nil {
		return nil, err
	}
	if entry == nil || mark(entry.Epoch) != req.Secret.InternalData[leaseEpoch] {
		return nil, refuse("the lease cannot be renewed: config %q has been changed, revoked or deleted since; read again for the next token", name)
	}
	resp := &logical.Response{Secret: req.Secret}
	resp.Secret.TTL = min(left, seconds(req.Secret, leaseTTL))
	resp.Secret.MaxTTL = seconds(req.Secret, leaseMaxTTL)
	return resp, nil
}

// seconds reads a duration from a lease, where it is a number from JSON.
func seconds(s *logical.Secret, name string) time.Duration {
	n, _ := s.InternalData[name].(float64)
	return time.Duration(n) * time.Second
}

func usableUntil(s *logical.Secret) time.Time {
	text, _ := s.InternalData[leaseUntil].(string)
	until, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return until
}
