// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

const statusHelp = `
Tells what the engine holds and knows of a config: its tokens by scope and
expiry (never their values), the last mint, the last failure with its cause,
when the next attempt is due, and counters since the plugin process started.
`

func (b *backend) statusPaths() []*framework.Path {
	return []*framework.Path{b.declare(&framework.Path{
		Pattern:      "status/" + framework.GenericNameRegex("config"),
		DisplayAttrs: display("status"),
		Fields:       map[string]*framework.FieldSchema{"config": nameField("The config's name.")},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: &framework.PathOperation{
				Callback:                  b.readStatus,
				ForwardPerformanceStandby: true, // the active node is the one that mints
				Summary:                   "Read what is known of a config's tokens, without the tokens.",
				Responses: answers("The status", map[string]*framework.FieldSchema{
					"tokens":               {Type: framework.TypeSlice, Required: true, Description: "The usable tokens held: scope, token_type, issued_at, expires_at, usable_until, lifetime (where the expiry comes from) and fallback (minted with fallback_client_secret)."},
					"minting":              {Type: framework.TypeBool, Required: true, Description: "Whether the provider is being asked right now."},
					"last_mint":            {Type: framework.TypeTime, Description: "When a token was last minted (RFC 3339, UTC)."},
					"last_failure":         {Type: framework.TypeTime, Description: "When minting last failed (RFC 3339, UTC)."},
					"last_error":           {Type: framework.TypeString, Description: "Why it did."},
					"next_attempt":         {Type: framework.TypeTime, Description: "Before then the provider is not asked again (RFC 3339, UTC)."},
					"fallback_secret_used": {Type: framework.TypeBool, Required: true, Description: "Whether a token held was minted with fallback_client_secret, since the provider refused client_secret."},
					"ends":                 {Type: framework.TypeSlice, Required: true, Description: "What ends of the config, the first to end first: what, ends_at (RFC 3339, UTC) and days_left (negative when it has ended)."},
					"discovered":           discoveredField(),
					"discovery_error":      {Type: framework.TypeString, Description: "Why the endpoints were not found when they were last looked for. Those that were found before are used."},
					"mints":                {Type: framework.TypeInt64, Required: true, Description: "Tokens minted since the process started."},
					"failures":             {Type: framework.TypeInt64, Required: true, Description: "Mints that failed since the process started."},
					"served":               {Type: framework.TypeInt64, Required: true, Description: "Tokens handed out since the process started."},
				}),
			},
		},
		HelpSynopsis:    "What is known of a config's tokens.",
		HelpDescription: strings.TrimSpace(statusHelp),
	}, nil)}
}

func (b *backend) readStatus(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := targetOf(d).config
	entry, err := load[configEntry](ctx, req.Storage, configPrefix+name)
	if err != nil {
		return nil, err
	}
	if entry == nil {
		return nil, noConfig(name)
	}
	h := b.observer.of(name)
	data := map[string]any{
		"mints": h.mints.Load(), "failures": h.failures.Load(), "served": h.served(),
		"minting": false,
	}
	if at := h.lastMint.Load(); at != nil {
		data["last_mint"] = stamp(*at)
	}
	if f := h.lastFailure.Load(); f != nil {
		data["last_failure"], data["last_error"] = stamp(f.at), f.text
	}

	for _, s := range b.tokens.Status(name) {
		if s.Minting {
			data["minting"] = true
		}
		if s.Failure != nil {
			data["next_attempt"] = stamp(s.Failure.Next)
		}
	}
	held, err := b.heldTokens(ctx, req.Storage, name)
	if err != nil {
		return nil, err
	}
	tokens := []map[string]any{}
	fallback := false
	for _, m := range held {
		until := m.held().UsableUntil()
		if !b.now().Before(until) {
			continue
		}
		fallback = fallback || m.Fallback
		tokens = append(tokens, map[string]any{
			"scope": m.Token.Scope, "token_type": m.Token.TokenType, "lifetime": string(m.Token.Lifetime),
			"issued_at": stamp(m.Token.IssuedAt), "expires_at": stamp(m.Token.ExpiresAt), "usable_until": stamp(until),
			"fallback": m.Fallback,
		})
	}
	slices.SortFunc(tokens, func(a, b map[string]any) int {
		return cmp.Or(
			strings.Compare(fmt.Sprint(a["scope"]), fmt.Sprint(b["scope"])),
			strings.Compare(fmt.Sprint(a["expires_at"]), fmt.Sprint(b["expires_at"])),
		)
	})
	data["tokens"], data["fallback_secret_used"] = tokens, fallback
	resp := &logical.Response{Data: data}
	c, err := b.load(ctx, req.Storage, target{config: name}, inputs{})
	if err != nil { // which its read tells
		resp.Data["ends"] = []map[string]any{}
		return resp, nil //nolint:nilerr // what is known of its tokens is the answer
	}
	b.tellEnds(c, resp)
	b.tellDiscovered(c, resp)
	if _, failed := b.latest(c.effective); failed != nil {
		resp.Data["discovery_error"] = explained(failed)
	}
	return resp, nil
}

// heldTokens gives the tokens of a config by key: those in memory, and those
// that are only stored.
func (b *backend) heldTokens(ctx context.Context, s logical.Storage, name string) (map[string]*minted, error) {
	held := map[string]*minted{}
	for _, token := range b.tokens.Status(name) {
		if token.Held != nil {
			held[token.Key] = token.Held.Value
		}
	}
	keys, err := listStorage(tokenPrefix+name+"/")(ctx, s)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		key = name + "/" + key
		if held[key] != nil {
			continue
		}
		h, err := loadToken(ctx, s, key)
		if err != nil {
			return nil, err
		}
		if h != nil {
			held[key] = h.Value
		}
	}
	return held, nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
