// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/tokencache"
)

const statusHelp = `
Shows what the engine knows of a config: its tokens by scope and expiry (never
their values), the last mint, the last failure with its cause and remedy, when
the next attempt is due, the provider's last answer, how long its answers take,
the quota that their headers state, and counters since the plugin process
started.
`

const allStatusHelp = `
Shows the state of each config of the mount, the worst first:

    vault read -format=json oauthcc/status

The states are "failing" (readers get errors), "old token" (the token cannot be
refreshed, so readers get the old one), "never minted" (no token was minted since
the config's request last changed) and "ok". A config with a secret or certificate
that expires within 30 days, or has expired, comes before configs that were never
used.

An answer has 100 configs unless limit says otherwise. offset skips the configs
that earlier answers have shown.
`

const (
	rowsByDefault = 100
	mostRows      = 1000
)

// endsField describes the list of what expires.
func endsField() *framework.FieldSchema {
	return &framework.FieldSchema{Type: framework.TypeSlice, Required: true, Description: "The config's secrets and certificates that expire, the earliest first: what, ends_at (RFC 3339, UTC) and days_left (negative when it has expired)."}
}

func (b *backend) statusPaths() []*framework.Path {
	window := []provider.Field{
		{Name: "limit", Type: provider.Count, Description: fmt.Sprintf("How many configs to show, %d at most (%d).", mostRows, rowsByDefault)},
		{Name: "offset", Type: provider.Count, Description: "How many configs to skip (0)."},
	}
	return []*framework.Path{
		b.queryable(b.declare(&framework.Path{
			Pattern:      "status/?$",
			DisplayAttrs: display("status-of-all"),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: &framework.PathOperation{
					Callback:                  b.readAllStatus,
					ForwardPerformanceStandby: true, // only the active node mints
					Summary:                   "Read the state of all configs, the worst first.",
					Responses: answers("The status of all", map[string]*framework.FieldSchema{
						"configs":   {Type: framework.TypeSlice, Required: true, Description: "One row per config: config, state (failing, old token, never minted, ok), token_expires_at, next_refresh (from when a read replaces the token), next_attempt (after a failure), last_failure, last_error (a short cause and the remedy), ends (as in status/<config>), mints_last_hour, and mints_per_hour (the limit)."},
						"total":     {Type: framework.TypeInt64, Required: true, Description: "How many configs there are."},
						"states":    {Type: framework.TypeMap, Required: true, Description: "How many configs are in each state."},
						"ends_soon": {Type: framework.TypeInt64, Required: true, Description: "How many configs have a secret or certificate that has expired, or will within 30 days."},
					}),
				},
			},
			HelpSynopsis:    "The state of all configs, the worst first.",
			HelpDescription: strings.TrimSpace(allStatusHelp),
		}, nil), window),
		b.declare(&framework.Path{
			Pattern:      "status/" + framework.GenericNameRegex("config"),
			DisplayAttrs: display("status"),
			Fields:       map[string]*framework.FieldSchema{"config": nameField("The config's name.")},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: &framework.PathOperation{
					Callback:                  b.readStatus,
					ForwardPerformanceStandby: true,
					Summary:                   "Read what is known of a config's tokens, without the tokens.",
					Responses:                 answers("The status", statusFields()),
				},
			},
			HelpSynopsis:    "What is known of a config's tokens.",
			HelpDescription: strings.TrimSpace(statusHelp),
		}, nil),
	}
}

func statusFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		"state":                {Type: framework.TypeString, Required: true, Description: "failing, old token, never minted or ok."},
		"tokens":               {Type: framework.TypeSlice, Required: true, Description: "The usable tokens: scope, token_type, issued_at, expires_at, usable_until, lifetime (where the expiry comes from) and fallback (minted with fallback_client_secret)."},
		"minting":              {Type: framework.TypeBool, Required: true, Description: "Whether the provider is being asked right now."},
		"last_mint":            {Type: framework.TypeTime, Description: "When a token was last minted (RFC 3339, UTC)."},
		"last_failure":         {Type: framework.TypeTime, Description: "When minting last failed (RFC 3339, UTC)."},
		"last_error":           {Type: framework.TypeString, Description: "Why it failed, with the remedy."},
		"next_refresh":         {Type: framework.TypeTime, Description: "From when a read replaces the token of last_mint (RFC 3339, UTC)."},
		"next_attempt":         {Type: framework.TypeTime, Description: "The provider is not asked again before this time (RFC 3339, UTC)."},
		"fallback_secret_used": {Type: framework.TypeBool, Required: true, Description: "Whether a usable token was minted with fallback_client_secret, because the provider refused client_secret."},
		"ends":                 endsField(),
		"discovered":           discoveredField(),
		"discovery_error":      {Type: framework.TypeString, Description: "Why the last discovery did not find the endpoints. The endpoints of an earlier discovery are used."},
		"last_answer":          {Type: framework.TypeMap, Description: "The last exchange with the provider about a token: at (RFC 3339, UTC), duration_ms, attempts, http_status (of the last answer, if there was one), and after a failure its cause and the provider's code."},
		"durations_ms":         {Type: framework.TypeMap, Description: "How long the last exchanges took, 64 at most, in milliseconds: count, p50, p90, p99 and max."},
		"quota":                {Type: framework.TypeMap, Description: "The quota that the provider's headers (such as RateLimit-Remaining) last stated: limit, remaining, reset (when the window ends), and at (when they were received; RFC 3339, UTC)."},
		"mints":                {Type: framework.TypeInt64, Required: true, Description: "Tokens minted since the process started."},
		"mints_last_hour":      {Type: framework.TypeInt64, Required: true, Description: "Tokens minted in the last hour by this process and, if mints_per_hour is set, by earlier ones."},
		"mints_per_hour":       {Type: framework.TypeInt64, Description: "How many tokens may be minted in an hour, if that is limited."},
		"failures":             {Type: framework.TypeInt64, Required: true, Description: "Mints that failed since the process started."},
		"failure_causes":       {Type: framework.TypeMap, Required: true, Description: "Failed mints by cause."},
		"retries":              {Type: framework.TypeInt64, Required: true, Description: "Requests for a token that were sent again since the process started, after a broken connection or a 502, 503 or 504."},
		"checks":               {Type: framework.TypeInt64, Required: true, Description: "Checks since the process started that ended with a token."},
		"served":               {Type: framework.TypeInt64, Required: true, Description: "Tokens handed out since the process started."},
		"reads":                {Type: framework.TypeMap, Required: true, Description: "Reads of tokens since the process started, by result: hit (a token from memory), waited (for a mint or for storage), old (the old token, because refreshing it fails or takes long) and failed."},
		"revoked":              {Type: framework.TypeInt64, Required: true, Description: "Tokens that the provider has revoked since the process started."},
		"not_revoked":          {Type: framework.TypeInt64, Required: true, Description: "Attempts to revoke a token at the provider that failed since the process started."},
	}
}

func (b *backend) readAllStatus(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	limit := int64(rowsByDefault)
	if n, sent := d.Raw["limit"].(int64); sent {
		limit = n
	}
	offset, _ := d.Raw["offset"].(int64)
	if limit < 1 || limit > mostRows {
		return nil, refuse("limit must be between 1 and %d", mostRows)
	}
	all, err := b.standings(ctx, req.Storage)
	if err != nil {
		return nil, err
	}
	now, soon, counts, rows := b.now(), int64(0), map[string]any{}, []map[string]any{}
	for _, state := range states {
		counts[state] = int64(0)
	}
	for i, one := range all {
		counts[one.state] = counts[one.state].(int64) + 1 //nolint:forcetypeassert // as above
		if one.endsSoon(now) {
			soon++
		}
		if int64(i) >= offset && int64(i) < offset+limit {
			rows = append(rows, one.tell(now))
		}
	}
	return &logical.Response{Data: map[string]any{
		"configs": rows, "total": int64(len(all)), "states": counts, "ends_soon": soon,
	}}, nil
}

func (b *backend) readStatus(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := targetOf(d).config
	known, c, err := b.lookUp(ctx, req.Storage, name)
	if err != nil {
		return nil, err
	}
	if known == nil {
		return nil, noConfig(name)
	}
	inMemory, now := b.tokens.Status(name), b.now()
	data := b.standing(name, known, inMemory).tell(now)
	maps.Copy(data, b.observer.of(name).tell(now))
	delete(data, "config")
	delete(data, "token_expires_at") // tokens holds it already
	data["minting"] = slices.ContainsFunc(inMemory, func(t tokencache.Status[*minted]) bool { return t.Minting })
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
	resp := &logical.Response{Data: data, Warnings: endWarnings(known.ends, now)}
	if c == nil {
		resp.AddWarning("this config gives no token as it stands: " + known.problem.Error())
		return resp, nil
	}
	b.tellDiscovered(c, resp)
	if _, failed := b.latest(c.effective); failed != nil {
		resp.Data["discovery_error"] = explained(failed)
	}
	return resp, nil
}

// heldTokens returns the tokens of a config by key, both those in memory and those
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
