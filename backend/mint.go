// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unique"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/tokencache"
)

// minted is a token together with how it was minted.
type minted struct {
	Token    grant.Token
	Fallback bool   // with fallback_client_secret
	Origin   string // the mark of the origin that issued it
	Ledger   []byte // the config's ledger at the time
	ref      string // its entry in the ledger, if it has a lease of its own
	chain    *chain // the chain that it came from, if any
}

type (
	held   = tokencache.Held[*minted]
	answer = tokencache.Answer[*minted]
)

// held returns m for the cache. What many tokens have in common is kept once.
func (m *minted) held() held {
	for _, text := range []*string{&m.Token.TokenType, &m.Token.Scope, &m.Origin} {
		*text = unique.Make(*text).Value()
	}
	return held{Value: m, Born: m.Token.IssuedAt, Expires: m.Token.ExpiresAt}
}

// heldAs returns m for the cache; late means that it is replaced as late as possible.
func (m *minted) heldAs(late bool) held {
	h := m.held()
	h.Late = late
	return h
}

// again reports whether a provider returned the same token as before, and returns it
// with the lifetime that was stated first.
func again(first, m held) (held, bool) {
	if m.Value.Token.AccessToken != first.Value.Token.AccessToken {
		return m, false
	}
	same := *m.Value
	same.Token.IssuedAt, same.Token.ExpiresAt = first.Born, first.Expires
	return same.heldAs(m.Late), true
}

// storeTime is how long storing the result of a mint may take, even if the provider
// used up most of request_timeout.
const storeTime = 5 * time.Second

// mintFor mints v's token, and returns the config that it used. It mints nothing if the
// config's request has changed since v was made. With anew, it runs the grant itself
// even if the refresh token of the last answer could be used.
func (b *backend) mintFor(ctx context.Context, s logical.Storage, v *view, anew bool) (held, *config, error) {
	c, err := b.unchanged(ctx, s, v)
	if err != nil {
		return held{}, nil, err
	}
	if v.brought != nil {
		c = c.with(v.brought)
	}
	renews := v.key
	if anew {
		renews = ""
	}
	m, err := b.mintWithin(ctx, s, c, renews)
	if err != nil {
		b.observer.mintFailed(v.target, err)
		return held{}, nil, err
	}
	if v.owned() {
		if m.ref, err = b.remember(ctx, s, v.config, c, m); err != nil {
			return held{}, nil, err
		}
	}
	return m.heldAs(v.late), c, nil
}

// unchanged returns the config that v was made of. The error is ErrForgotten if the
// config's request has changed since then.
func (b *backend) unchanged(ctx context.Context, s logical.Storage, v *view) (*config, error) {
	k, err := b.current(ctx, s, v.target, v.inputs)
	if err != nil {
		return nil, err
	}
	key, err := v.brought.key(k.entry.Epoch, k.config.config, k.key)
	if err != nil {
		return nil, err
	}
	if key != v.key {
		return nil, tokencache.ErrForgotten
	}
	return k.config, nil
}

// mintWithin mints like mint, within c's budget.
func (b *backend) mintWithin(ctx context.Context, s logical.Storage, c *config, key string) (*minted, error) {
	done, err := b.afford(ctx, s, c)
	if err != nil {
		return nil, err
	}
	defer done()
	m, err := b.mint(ctx, s, c, key)
	if err == nil {
		b.count(ctx, s, c, m)
	}
	return m, err
}

// count counts a mint, and stores the count if there is a budget.
func (b *backend) count(ctx context.Context, s logical.Storage, c *config, m *minted) {
	b.observer.minted(c.target, m)
	b.noteMint(ctx, s, c)
}

// mint gets a token for c, as run does, unless c's credentials are held. A token that
// should be bound to a key but is not is an error; a refresh token that came with it is
// kept all the same.
func (b *backend) mint(ctx context.Context, s logical.Storage, c *config, key string) (*minted, error) {
	b.discoverBehind(ctx, c, c.held != nil)
	if c.held != nil {
		return nil, fmt.Errorf("%s: %w", c.target, c.held)
	}
	m, err := b.runSourced(ctx, s, c, key)
	if err != nil || !c.effective.Dialect.DPoP {
		return m, err
	}
	if !strings.EqualFold(m.Token.TokenType, grant.TypeDPoP) {
		b.undo(ctx, s, c, m)
		return nil, fmt.Errorf("%s: %w", c.target, errUnbound())
	}
	m.Token.TokenType = grant.TypeDPoP
	return m, nil
}

// run runs c's grant. The password grant first tries the refresh token that came with
// the last token of that key.
func (b *backend) run(ctx context.Context, s logical.Storage, c *config, key string) (*minted, error) {
	if d := c.effective.Dialect; d.ScopesRequired && len(d.Scopes) == 0 {
		return nil, refuse("%s: provider %q grants nothing without a scope: write scopes to the config", c.target, c.Provider)
	}
	if c.effective.Dialect.GrantType == grant.GrantRefreshToken {
		return b.nextInChain(ctx, s, c)
	}
	if c.effective.Dialect.GrantType == grant.GrantPassword {
		m, err := b.refreshed(ctx, s, c, key)
		if m != nil || err != nil {
			return m, err
		}
	}
	return b.ask(ctx, c, c.request)
}

// ask sends one request for a token.
func (b *backend) ask(ctx context.Context, c *config, request func(*provider.Effective) (grant.Request, error)) (*minted, error) {
	m := &minted{Origin: mark([]byte(c.entry.Origin)), Ledger: c.entry.Ledger}
	var err error
	m.Fallback, err = withFallback(c.effective, func(e *provider.Effective) error {
		r, err := request(e)
		if err != nil {
			return err
		}
		if r.Spends { // the answer holds what the next request needs
			r.Timeout = tokencache.SpendTime
		}
		var x grant.Exchange
		r.Observed = func(seen grant.Exchange) { x = seen }
		t, err := b.client.Mint(ctx, r)
		b.observer.asked(c.config, x, err)
		if err != nil {
			return fmt.Errorf("no token from provider %q: %w", c.Provider, err)
		}
		m.Token = *t
		return nil
	})
	var failed *grant.Error
	if said := c.effective.Mismatches(); len(said) > 0 && errors.As(err, &failed) && failed.Kind == grant.Refused {
		err = fmt.Errorf("%w (%s)", err, strings.Join(said, "; "))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.target, err)
	}
	return m, nil
}

// withFallback calls do as the client of e, and once more with the fallback secret
// if the provider refuses the client, or the assertion that the secret signed. It
// reports whether the fallback secret was what worked.
func withFallback(e *provider.Effective, do func(*provider.Effective) error) (bool, error) {
	err := do(e)
	var failed *grant.Error
	if !errors.As(err, &failed) {
		return false, err
	}
	if refused := failed.ClientRefused() || e.SecretSignsGrant() && failed.GrantRefused(); !refused {
		return false, err
	}
	fallback, ok, resolveErr := e.WithFallback()
	if resolveErr != nil || !ok {
		return false, err
	}
	if do(fallback) != nil {
		return false, fmt.Errorf("%w (fallback_client_secret was tried as well)", err)
	}
	return true, nil
}

// refreshed renews by the stored refresh token. It returns neither a token nor an
// error if there is none, or if the provider refuses it: then the password is used.
func (b *backend) refreshed(ctx context.Context, s logical.Storage, c *config, key string) (*minted, error) {
	if key == "" {
		return nil, nil
	}
	entry, err := loadTokenEntry(ctx, s, key)
	if err != nil || entry == nil || entry.Token.RefreshToken == "" {
		return nil, err
	}
	m, err := b.ask(ctx, c, func(e *provider.Effective) (grant.Request, error) {
		return e.RefreshRequest(entry.Token.RefreshToken)
	})
	var failed *grant.Error
	if errors.As(err, &failed) && failed.Kind == grant.Refused && !failed.ClientRefused() {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if m.Token.RefreshToken == "" {
		m.Token.RefreshToken = entry.Token.RefreshToken // RFC 6749 section 6: not replaced, so still good
	}
	if m.Token.Scope == "" {
		m.Token.Scope = entry.Token.Scope // the same holds for the scope
	}
	return m, nil
}

// tryOut runs the grant of a config that is not written yet. The caller keeps the
// result; only the next refresh token of a chain is stored.
func (b *backend) tryOut(ctx context.Context, s logical.Storage, c *config) (*minted, error) {
	got, err := b.tokens.Apart(ctx, tokencache.Ask[*minted]{
		Timeout: c.timeout(), Spends: c.outlives(),
		Mint: func(ctx context.Context) (held, error) {
			m, err := b.mint(ctx, s, c, "")
			if err != nil {
				return held{}, err
			}
			return m.held(), nil
		},
		Discard: func(ctx context.Context, h held) { b.undo(ctx, s, c, h.Value) },
	})
	return got.Value, cause(err)
}

// cause returns why a mint failed, for the caller that made the attempt: without the
// time of the next one.
func cause(err error) error {
	var failure *tokencache.Failure
	if errors.As(err, &failure) {
		return failure.Err
	}
	return err
}

// adopt makes the token of a verified write the current token of the config's
// readers, because some providers allow one token per client. If each reader has its
// own token (reuse=false), the token is revoked.
func (b *backend) adopt(ctx context.Context, s logical.Storage, c *config, key string, m *minted) {
	m.Ledger = c.entry.Ledger // a new config had none yet
	b.observer.of(c.config)   // begins its history
	b.count(ctx, s, c, m)
	if !c.Reuse {
		b.dismiss(ctx, s, c, m)
		return
	}
	b.replace(ctx, s, key, c.revocable(), m)
	b.tokens.Put(key, c.config, m.heldAs(c.late()))
}

// dismiss revokes a token that no reader gets, if that is possible. It does so as
// the client c that minted it, if necessary, because the config may be gone.
func (b *backend) dismiss(ctx context.Context, s logical.Storage, c *config, m *minted) {
	if !c.revocable() {
		return
	}
	if ref, err := b.remember(ctx, s, c.config, c, m); err == nil { // otherwise remember revokes it
		b.endSoon(ctx, s, ref)
	}
}

// undo dismisses a token that a failed operation minted; the operation can be
// repeated. A token of a chain is left to expire, because a provider may end the
// refresh token together with it (RFC 7009 section 2.1).
func (b *backend) undo(ctx context.Context, s logical.Storage, c *config, m *minted) {
	if m != nil && m.chain == nil {
		b.dismiss(ctx, s, c, m)
	}
}

// replace stores a token over the previous one, which its readers continue to use.
// If the previous one can be revoked, the ledger keeps it for the kill switch.
func (b *backend) replace(ctx context.Context, s logical.Storage, key string, revocable bool, m *minted) {
	if revocable {
		before, err := b.heldOrStored(ctx, s, key)
		if err == nil && before != nil && before.Value.Token.AccessToken != m.Token.AccessToken {
			err = b.retire(ctx, s, configOf(key), before.Value)
		}
		if err != nil {
			b.log().Warn("a token that was replaced is out of reach of the kill switch until it expires", "key", key, "error", err)
		}
	}
	b.keep(ctx, s, key, m)
}

// keep stores a token. If that fails, the token is handed out all the same: the only
// cost is another mint after a restart.
func (b *backend) keep(ctx context.Context, s logical.Storage, key string, m *minted) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
	defer cancel()
	b.unused.Delete(configOf(key))
	if err := store(ctx, s, tokenPrefix+key, &tokenEntry{Token: m.Token, Fallback: m.Fallback, Origin: m.Origin, Ledger: m.Ledger}); err != nil {
		b.log().Warn("a token could not be stored; a restart will cost a mint", "key", key, "error", err)
	}
}

// discard removes what a mint stored if none of its readers gets the token: the token,
// and the chain if its config no longer names it. It also revokes the token, if that is
// possible. A stored token of a request that has not changed stays, because other
// readers may have found it in storage: a mint that begins while its config is being
// written may read the new config already, and is forgotten all the same.
func (b *backend) discard(ctx context.Context, s logical.Storage, v *view, c *config, m *minted) {
	defer b.guard("a discard")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
	defer cancel()
	stored, err := loadTokenEntry(ctx, s, v.key)
	found := stored != nil && stored.Token.AccessToken == m.Token.AccessToken // otherwise it may be a later one
	if found {
		if _, changed := b.unchanged(ctx, s, v); changed == nil {
			return
		}
	}
	if m.ref != "" {
		b.endSoon(ctx, s, m.ref)
	} else {
		b.dismiss(ctx, s, c, m)
	}
	if found {
		err = s.Delete(ctx, tokenPrefix+v.key)
	}
	if m.chain != nil {
		b.dropChain(ctx, s, *m.chain)
	}
	if err != nil {
		b.log().Warn("a forgotten token could not be cleared away; nothing will hand it out, and it is tidied when it expires", "key", v.key, "error", err)
	}
}

// heldOrStored returns the token of that key, nil without one.
func (b *backend) heldOrStored(ctx context.Context, s logical.Storage, key string) (*held, error) {
	if h := b.tokens.Held(key); h != nil {
		return h, nil
	}
	return loadToken(ctx, s, key)
}

// loadToken returns the stored token of that key, nil without one.
func loadToken(ctx context.Context, s logical.Storage, key string) (*held, error) {
	entry, err := loadTokenEntry(ctx, s, key)
	if err != nil || entry == nil {
		return nil, err
	}
	h := (&minted{Token: entry.Token, Fallback: entry.Fallback, Origin: entry.Origin, Ledger: entry.Ledger}).held()
	return &h, nil
}
