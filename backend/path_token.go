// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/tokencache"
)

const tokenHelp = `
Hands out an access token, with a lease that lasts for as long as the token is
usable:

    vault read oauthcc/token/antsomi
    vault read oauthcc/token/antsomi/readers

All readers of one request share one token, and one request to the provider. A
lease cannot be renewed unless the config says renewable=true: read again for
the next token. Revoking one lease of a shared token leaves the token valid for
the others who hold it.

A reader may ask for fewer of the scopes, or for more usable life:

    vault read oauthcc/token/antsomi scopes=item min_ttl=10m

Where the config exchanges a token of its reader's (reader_inputs), a write
brings it, and readers who bring the same share what comes of it:

    vault write oauthcc/token/backend subject_token=@token.txt

A write takes the same as a read, and fresh=true: the token is replaced now, for an
application whose token the provider has rejected. Neither this nor min_ttl
replaces a token that is younger than ten seconds. With refresh=late, min_ttl
replaces none, and fresh=true ends the token for its other readers.
`

func (b *backend) tokenPaths() []*framework.Path {
	narrowing := []provider.Field{
		{Name: "scopes", Type: provider.Texts, Description: "Some of the scopes that the config or role names; all of them when left out."},
		{Name: "min_ttl", Type: provider.Seconds, Description: "The least usable life that the token must have; one with less is replaced first."},
	}
	fresh := provider.Field{Name: "fresh", Type: provider.Flag, Description: "Replace the token now, unless it is younger than ten seconds."}
	responses := answers("The token", map[string]*framework.FieldSchema{
		"access_token":      {Type: framework.TypeString, Required: true, Description: "The access token (RFC 6749 section 1.4)."},
		"issued_token_type": {Type: framework.TypeString, Description: "Of a token exchange: what the access token is (RFC 8693 section 2.2.1)."},
		"token_type":        {Type: framework.TypeString, Required: true, Description: "How it is used, such as Bearer (RFC 6749 section 7.1)."},
		"expires_at":        {Type: framework.TypeTime, Required: true, Description: "When it expires (RFC 3339, UTC)."},
		"expires_in":        {Type: framework.TypeInt64, Required: true, Description: "Whole seconds until then."},
		"scope":             {Type: framework.TypeString, Description: "The granted scopes, separated by spaces, when known."},
		"ttl":               {Type: framework.TypeInt64, Description: "With leased=false: whole seconds until the next token is due."},
		"rotation_period":   {Type: framework.TypeInt64, Description: "With leased=false: whole seconds between one token and the next."},
	})
	path := func(pattern, suffix string, names map[string]*framework.FieldSchema) *framework.Path {
		return b.queryable(b.declare(&framework.Path{
			Pattern:      pattern,
			DisplayAttrs: display(suffix),
			Fields:       names,
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: &framework.PathOperation{
					Callback:  b.readToken,
					Summary:   "Get an access token.",
					Responses: responses,
				},
				logical.UpdateOperation: &framework.PathOperation{
					Callback:  b.readToken,
					Summary:   "Get an access token, with the choices in the body, or a fresh one.",
					Responses: responses,
				},
			},
			HelpSynopsis:    "An access token, with a lease.",
			HelpDescription: strings.TrimSpace(tokenHelp),
		}, slices.Concat(narrowing, []provider.Field{fresh}, provider.ReaderInputs())), narrowing)
	}
	return []*framework.Path{
		path("token/"+framework.GenericNameRegex("config"), "token",
			map[string]*framework.FieldSchema{"config": nameField("The config's name.")}),
		path("token/"+framework.GenericNameRegex("config")+"/"+framework.GenericNameRegex("role"), "role-token",
			map[string]*framework.FieldSchema{"config": nameField("The config's name."), "role": nameField("The role's name.")}),
	}
}

func (b *backend) readToken(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	w, err := b.wanted(ctx, req, d)
	if err != nil {
		return nil, b.turnAway(b.observer.about(targetOf(d).config), err)
	}
	return b.serve(ctx, req.Storage, w)
}

// turnAway answers a reader by an error.
func (b *backend) turnAway(h *history, err error) error {
	if !errors.Is(err, logical.ErrReadOnly) { // which has another node answer
		b.observer.notHandedOut(h)
	}
	return err
}

// serve answers a reader.
func (b *backend) serve(ctx context.Context, s logical.Storage, w wanted) (*logical.Response, error) {
	resp, err := b.answer(ctx, s, w)
	if err != nil {
		return nil, b.turnAway(w.history, err)
	}
	return resp, nil
}

// answer hands out the wanted token.
func (b *backend) answer(ctx context.Context, s logical.Storage, w wanted) (*logical.Response, error) {
	if resp := b.cached(w); resp != nil {
		return resp, nil
	}
	got, v, err := b.token(ctx, s, w)
	if err != nil {
		return nil, err
	}
	resp, err := b.tokenResponse(v, got, false)
	if ref := got.Value.ref; ref != "" {
		b.answered(ctx, s, ref, err == nil && ctx.Err() == nil)
	}
	return resp, err
}

// wanted is what a reader wants: a view, and its own choices.
type wanted struct {
	*view
	by      string // the entity that asks, even if the view does not depend on it
	minLeft time.Duration
	fresh   bool
	now     bool // mint in any case
}

// choice names the inputs that a reader brings, or the scopes that it chose. The name is
// empty if the reader wants the same token as all others. A role's token for a caller's
// identity does not count as a choice.
func (w wanted) choice() tokencache.Choice {
	switch {
	case w.brought != nil:
		return tokencache.Choice{Name: w.key, Brought: true}
	case w.scopes != nil:
		return tokencache.Choice{Name: w.path() + " " + strings.Join(w.scopes, " ")}
	}
	return tokencache.Choice{}
}

func (b *backend) wanted(ctx context.Context, req *logical.Request, d *framework.FieldData) (wanted, error) {
	in := inputs{caller: req.EntityID}
	if scopes, sent := d.Raw["scopes"]; sent {
		if in.scopes = slices.Compact(slices.Sorted(slices.Values(textList(scopes)))); len(in.scopes) == 0 {
			return wanted{}, refuse("scopes is empty: leave it out to get all scopes")
		}
	}
	g, err := broughtBy(d)
	if err != nil {
		return wanted{}, err
	}
	v, err := b.view(ctx, req.Storage, targetOf(d), in)
	if err == nil {
		v, err = b.bring(v, g)
	}
	if err != nil {
		return wanted{}, err
	}
	w := wanted{view: v, by: req.EntityID, minLeft: v.minLeft()}
	if seconds, sent := d.Raw["min_ttl"].(int64); sent {
		w.minLeft = max(w.minLeft, time.Duration(seconds)*time.Second)
	}
	w.fresh, _ = d.Raw["fresh"].(bool)
	return w, nil
}

// tokenPath matches what follows token/, the way the framework takes it apart.
var tokenPath = regexp.MustCompile(`^` + framework.GenericNameRegex("config") + `(?:/` + framework.GenericNameRegex("role") + `)?$`)

// plainRead answers a read of a token without choices, and reports false for any
// other request. It runs before the framework, which would ask Vault for its
// replication state with each request.
func (b *backend) plainRead(ctx context.Context, req *logical.Request) (_ *logical.Response, plain bool, _ error) {
	path, isToken := strings.CutPrefix(req.Path, tokenPrefix)
	if !isToken || req.Operation != logical.ReadOperation || len(req.Data) > 0 {
		return nil, false, nil
	}
	v := b.views.get(viewName{path: path})
	if v == nil {
		names := tokenPath.FindStringSubmatch(path)
		if names == nil {
			return nil, false, nil
		}
		t := target{config: names[tokenPath.SubexpIndex("config")], role: names[tokenPath.SubexpIndex("role")]}
		var err error
		if v, err = b.view(ctx, req.Storage, t, inputs{caller: req.EntityID}); err != nil {
			return nil, true, b.turnAway(b.observer.about(t.config), err)
		}
	}
	resp, err := b.serve(ctx, req.Storage, wanted{view: v, by: req.EntityID, minLeft: v.minLeft()})
	return resp, true, err
}

// cached answers with a token from memory, nil if more must be done. It touches no
// storage and takes no exclusive lock.
func (b *backend) cached(w wanted) *logical.Response {
	on := w.terms.Value()
	if !on.Reuse || w.fresh || on.Leased && b.node().standby() {
		return nil
	}
	got, ok := b.tokens.Hit(w.key, w.minLeft)
	if !ok {
		return nil
	}
	resp, err := b.tokenResponse(w.view, got, true)
	if err != nil {
		return nil // the slow path returns the error
	}
	return resp
}

// token returns the wanted token: from memory, from storage, or from one mint for all
// that wait. It also returns the view that it used, which is a later one if the
// config changed meanwhile.
func (b *backend) token(ctx context.Context, s logical.Storage, w wanted) (answer, *view, error) {
	if err := w.lacks(); err != nil {
		return answer{}, nil, err
	}
	if n := b.node(); n.standby() || n.secondary() && w.spends {
		got, err := b.elsewhere(ctx, s, w)
		return got, w.view, err
	}
	for range 3 {
		v := w.view   // the closures of a mint may outlive this iteration
		var c *config // the config that the mint used
		got, err := b.tokens.Get(ctx, tokencache.Ask[*minted]{
			Key: v.key, Group: v.config, Choice: w.choice(), Timeout: v.terms.Value().timeout(), MinLeft: w.minLeft,
			Fresh: w.fresh, Now: w.now, Single: !v.terms.Value().Reuse, Spends: v.outlives,
			Load: func(ctx context.Context) (*held, error) {
				if epoch, unused := b.unused.Load(v.config); unused && epoch == v.epoch {
					return nil, nil
				}
				return v.stored(ctx, s)
			},
			Mint: func(ctx context.Context) (h held, err error) {
				h, c, err = b.mintFor(ctx, s, v, w.now)
				return h, err
			},
			Store: func(ctx context.Context, h held) { b.replace(ctx, s, v.key, v.revocable, h.Value) },
			Discard: func(ctx context.Context, h held) {
				if c != nil { // a token that was found in storage has other readers
					b.discard(ctx, s, v, c, h.Value)
				}
			},
		})
		switch {
		case errors.Is(err, tokencache.ErrTimeout):
			err = fmt.Errorf("%s: %w", v.target, err)
		case errors.Is(err, tokencache.ErrClosed):
			err = fmt.Errorf("%s: the mount is being reloaded or removed: try again: %w", v.target, err)
		case errors.Is(err, tokencache.ErrBusy):
			err = &busyError{target: v.target, wait: v.terms.Value().timeout()}
		case errors.Is(err, tokencache.ErrTooManyChoices) && v.brought != nil:
			err = refuse("readers of config %q have brought %d subjects whose tokens are still usable, which is the limit: try again when some of these have expired, or shorten the life of the config's tokens",
				v.config, tokencache.MaxBrought)
		case errors.Is(err, tokencache.ErrTooManyChoices):
			err = refuse("scopes: readers of config %q have chosen %d sets whose tokens are still usable, which is the limit: ask for one of those (see status/%s), for all scopes, or for a role with this set",
				v.config, tokencache.MaxChoices, v.config)
		}
		if !errors.Is(err, tokencache.ErrForgotten) {
			return got, v, err
		}
		// The config was changed meanwhile. What is stored now decides, so the view in
		// memory is dropped.
		b.views.drop(w.config)
		next, err := b.view(ctx, s, w.target, inputs{scopes: w.scopes, caller: w.by})
		if err == nil {
			next, err = b.bring(next, w.brought)
		}
		if err == nil {
			err = next.lacks()
		}
		if err != nil {
			return answer{}, nil, err
		}
		w.view = next
	}
	return answer{}, nil, fmt.Errorf("%s changes faster than tokens can be minted: %w", w.target, tokencache.ErrTimeout)
}

// elsewhere serves what a node that may not mint can serve: a fresh token without a
// lease, as another node stored it. Everything else is for that other node; the bare
// ErrReadOnly makes Vault forward the request.
func (b *backend) elsewhere(ctx context.Context, s logical.Storage, w wanted) (answer, error) {
	if w.terms.Value().Leased || w.fresh || w.now {
		return answer{}, logical.ErrReadOnly
	}
	if got, ok := b.tokens.Hit(w.key, w.minLeft); ok {
		return got, nil
	}
	h, err := w.stored(ctx, s)
	if err != nil {
		return answer{}, err
	}
	if h == nil || !b.tokens.Seed(w.key, w.config, *h, w.minLeft) {
		return answer{}, logical.ErrReadOnly
	}
	return answer{Held: *h, Until: h.UsableUntil()}, nil
}
