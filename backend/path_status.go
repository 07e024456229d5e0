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
Tells what the engine holds and knows of a config: its tokens by scope and
expiry (never their values), the last mint, the last failure with its cause and
remedy, when the next attempt is due, what the provider answered last and how
long it takes, what its headers say of a quota, and counters since the plugin
process started.
`

const allStatusHelp = `
Tells how each config of the mount stands, the worst first:

    vault read -format=json oauthcc/status

The states are "failing" (readers get errors), "old token" (the token cannot be
refreshed, and readers have the one from before), "never minted" (no token is
known of what the config is now) and "ok". A config of which something ends
within 30 days, or has ended, comes before those that have never been used.

There are rows of 100 configs in an answer unless limit says otherwise; offset
skips those that have been seen.
`

const (
	rowsByDefault = 100
	mostRows      = 1000
)

// endsField describes the list of what expires.
func endsField() *framework.FieldSchema {
	return &framework.FieldSchema{Type: framework.TypeSlice, Required: true, Description: "What ends of the config, the first to end first: what, ends_at (RFC 3339, UTC) and days_left (negative when it has ended)."}
}

func (b *backend) statusPaths() []*framework.Path {
	window := []provider.Field{
		{Name: "limit", Type: provider.Count, Description: fmt.Sprintf("How many configs to tell of, %d at most (%d).", mostRows, rowsByDefault)},
		{Name: "offset", Type: provider.Count, Description: "How many to skip (0)."},
	}
	return []*framework.Path{
		b.queryable(b.declare(&framework.Path{
			Pattern:      "status/?$",
			DisplayAttrs: display("status-of-all"),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: &framework.PathOperation{
					Callback:                  b.readAllStatus,
					ForwardPerformanceStandby: true, // only the active node mints
					Summary:                   "Read how all configs stand, the worst first.",
					Responses: answers("The status of all", map[string]*framework.FieldSchema{
						"configs":   {Type: framework.TypeSlice, Required: true, Description: "A row per config: config, state (failing, old token, never minted, ok), token_expires_at, next_refresh (when readers have the token replaced), next_attempt (after a failure), last_failure and last_error (the cause in a few words, and what to do), ends (as status/<config> tells them), mints_last_hour and mints_per_hour (what is allowed)."},
						"total":     {Type: framework.TypeInt64, Required: true, Description: "How many configs there are."},
						"states":    {Type: framework.TypeMap, Required: true, Description: "How many configs are in each state."},
						"ends_soon": {Type: framework.TypeInt64, Required: true, Description: "Of how many configs a secret or certificate has ended, or ends within 30 days."},
					}),
				},
			},
			HelpSynopsis:    "How all configs stand, the worst first.",
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
		"tokens":               {Type: framework.TypeSlice, Required: true, Description: "The usable tokens held: scope, token_type, issued_at, expires_at, usable_until, lifetime (where the expiry comes from) and fallback (minted with fallback_client_secret)."},
		"minting":              {Type: framework.TypeBool, Required: true, Description: "Whether the provider is being asked right now."},
		"last_mint":            {Type: framework.TypeTime, Description: "When a token was last minted (RFC 3339, UTC)."},
		"last_failure":         {Type: framework.TypeTime, Description: "When minting last failed (RFC 3339, UTC)."},
		"last_error":           {Type: framework.TypeString, Description: "Why it did, with what to do."},
		"next_refresh":         {Type: framework.TypeTime, Description: "From then on a reader has the token of last_mint replaced (RFC 3339, UTC)."},
		"next_attempt":         {Type: framework.TypeTime, Description: "Before then the provider is not asked again (RFC 3339, UTC)."},
		"fallback_secret_used": {Type: framework.TypeBool, Required: true, Description: "Whether a token held was minted with fallback_client_secret, since the provider refused client_secret."},
		"ends":                 endsField(),
		"discovered":           discoveredField(),
		"discovery_error":      {Type: framework.TypeString, Description: "Why the endpoints were not found when they were last looked for. Those that were found before are used."},
		"last_answer":          {Type: framework.TypeMap, Description: "The last exchange with the provider about a token: at (RFC 3339, UTC), duration_ms, attempts, http_status (of the last answer, if there was one), and of a failure cause and code (the provider's)."},
		"durations_ms":         {Type: framework.TypeMap, Description: "How long the last exchanges took, 64 at most, in milliseconds: count, p50, p90, p99 and max."},
		"quota":                {Type: framework.TypeMap, Description: "What the provider's headers last said of a quota (RateLimit-Remaining and the like): limit, remaining, reset (when the window ends) and at, when they said so (RFC 3339, UTC)."},
		"mints":                {Type: framework.TypeInt64, Required: true, Description: "Tokens minted since the process started."},
		"mints_last_hour":      {Type: framework.TypeInt64, Required: true, Description: "Tokens minted in the last hour, by this process; where there is a mints_per_hour, by an earlier one as well."},
		"mints_per_hour":       {Type: framework.TypeInt64, Description: "How many may be, where there is a bound."},
		"failures":             {Type: framework.TypeInt64, Required: true, Description: "Mints that failed since the process started."},
		"failure_causes":       {Type: framework.TypeMap, Required: true, Description: "How many of them failed for which cause."},
		"retries":              {Type: framework.TypeInt64, Required: true, Description: "Requests for a token that were sent again since the process started, after a broken connection or a 502, 503 or 504."},
		"checks":               {Type: framework.TypeInt64, Required: true, Description: "Checks since the process started that ended with a token."},
		"served":               {Type: framework.TypeInt64, Required: true, Description: "Tokens handed out since the process started."},
		"reads":                {Type: framework.TypeMap, Required: true, Description: "What became of the reads of tokens since the process started: hit (a token from memory), waited (for a mint, or for storage), old (the token from before, since it cannot be refreshed or that takes long) and failed."},
		"revoked":              {Type: framework.TypeInt64, Required: true, Description: "Tokens that the provider has revoked since the process started."},
		"not_revoked":          {Type: framework.TypeInt64, Required: true, Description: "Attempts to have it revoke one that failed since then."},
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
