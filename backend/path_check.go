// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
)

const checkHelp = `
Runs the grant of a config now, even if the next attempt after a failure is not
due yet, and reports the result, but never the token. It is meant for setting up
a config:

    vault write -force oauthcc/check/antsomi

If the endpoints are found through issuer or resource_url, the check looks for
them again first. If the provider has a check_url, the check then requests that
resource once with the new token, and reports the status as check_status.

Readers get the new token from then on, because at some providers it ends the
previous one. With reuse=false the token is revoked instead, if there is a
revocation_url. If reader_inputs says that readers bring something, the check
must bring it too.

A failed check returns the same error as a read of the token, and delays the next
attempt in the same way. After a successful check, readers can cause mints again
at once.
`

func (b *backend) checkPaths() []*framework.Path {
	path := func(pattern, suffix string, names map[string]*framework.FieldSchema) *framework.Path {
		return b.declare(&framework.Path{
			Pattern:      pattern,
			DisplayAttrs: display(suffix),
			Fields:       names,
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.UpdateOperation: &framework.PathOperation{
					Callback:                  b.writeCheck,
					ForwardPerformanceStandby: true,
					Summary:                   "Run a config's grant now and report the result.",
					Responses: answers("What came of it", map[string]*framework.FieldSchema{
						"status":               {Type: framework.TypeString, Required: true, Description: "ok: the provider issued a token, and the answer was understood."},
						"duration_ms":          {Type: framework.TypeInt64, Required: true, Description: "How long it took, in milliseconds."},
						"token_type":           {Type: framework.TypeString, Required: true, Description: "The token type that was understood."},
						"scope":                {Type: framework.TypeString, Description: "The granted scopes, when known."},
						"expires_in":           {Type: framework.TypeInt64, Required: true, Description: "The lifetime in seconds."},
						"expires_at":           {Type: framework.TypeTime, Required: true, Description: "The expiry (RFC 3339, UTC)."},
						"lifetime":             {Type: framework.TypeString, Required: true, Description: "Where the expiry comes from: expires_in, expires_at, jwt or default_token_lifetime."},
						"refresh_token":        {Type: framework.TypeBool, Required: true, Description: "Whether a refresh token came along."},
						"extra_fields":         {Type: framework.TypeStringSlice, Required: true, Description: "The names of the extra_fields that the answer holds."},
						"check_status":         {Type: framework.TypeInt, Description: "The HTTP status of check_url's answer to the new token, if the provider has a check_url."},
						"fallback_secret_used": {Type: framework.TypeBool, Required: true, Description: "Whether client_secret was refused and fallback_client_secret accepted."},
						"discovered":           discoveredField(),
					}),
				},
			},
			HelpSynopsis:    "Try a config out: run its grant now.",
			HelpDescription: strings.TrimSpace(checkHelp),
		}, provider.ReaderInputs())
	}
	return []*framework.Path{
		path("check/"+framework.GenericNameRegex("config"), "check",
			map[string]*framework.FieldSchema{"config": nameField("The config's name.")}),
		path("check/"+framework.GenericNameRegex("config")+"/"+framework.GenericNameRegex("role"), "role-check",
			map[string]*framework.FieldSchema{"config": nameField("The config's name."), "role": nameField("The role's name.")}),
	}
}

func (b *backend) writeCheck(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	w, err := b.wanted(ctx, req, d)
	if err != nil {
		return nil, err
	}
	w.now, w.minLeft = true, 0
	undiscovered, err := b.rediscover(ctx, req.Storage, targetOf(d))
	if err != nil {
		return nil, err
	}
	start := b.now()
	got, v, err := b.token(ctx, req.Storage, w)
	if err != nil {
		return nil, cause(err)
	}
	m := got.Value
	b.observer.checked(v.config)
	b.tokens.Forgive(v.config)
	if m.ref != "" { // no reader gets it
		defer b.endSoon(ctx, req.Storage, m.ref)
	}
	extra := []string{}
	for field := range m.Token.Extra {
		extra = append(extra, field)
	}
	slices.Sort(extra)
	data := map[string]any{
		"status": "ok", "duration_ms": b.now().Sub(start).Milliseconds(),
		"token_type": m.Token.TokenType,
		"expires_in": int64(m.Token.ExpiresAt.Sub(m.Token.IssuedAt) / time.Second), "expires_at": stamp(m.Token.ExpiresAt),
		"lifetime": string(m.Token.Lifetime), "refresh_token": m.Token.RefreshToken != "" || v.spends,
		"extra_fields": extra, "fallback_secret_used": m.Fallback,
	}
	if m.Token.Scope != "" {
		data["scope"] = m.Token.Scope
	}
	c, err := b.load(ctx, req.Storage, v.target, v.inputs)
	if err != nil {
		return nil, err
	}
	resp := &logical.Response{Data: data}
	c.undiscovered = undiscovered
	b.tellDiscovered(c, resp)
	key, err := c.key()
	if err == nil {
		key, err = v.brought.key(c.entry.Epoch, c.config, key)
	}
	if err != nil || key != v.key { // changed meanwhile: the token may be another place's
		return resp, err
	}
	return resp, b.probe(ctx, c, m.Token.AccessToken, resp)
}

// probe uses the token once if the provider has a check_url, and adds the API's
// status to resp. A token that the API refuses is only a warning, because the grant
// itself has succeeded.
func (b *backend) probe(ctx context.Context, c *config, token string, resp *logical.Response) error {
	request, ok, err := c.effective.ProbeRequest(token)
	if err != nil || !ok {
		return err
	}
	status, err := b.client.Probe(ctx, request)
	switch {
	case err != nil:
		resp.AddWarning(fmt.Sprintf("the provider issued a token, but check_url gave no answer to it: %s", err))
		return nil
	case status >= 300:
		resp.AddWarning(fmt.Sprintf("the provider issued a token, but check_url answered HTTP %d to it: see what the client, its scopes and its audience allow", status))
	}
	resp.Data["check_status"] = status
	return nil
}
