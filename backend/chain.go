// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
)

// chain is a sequence of rotating refresh tokens, each of which is spent to get
// the next. It starts with the refresh token that the operator wrote, and is only
// ever sent to the origin that it was written for. Another first token or another
// origin is another chain, stored beside this one; it never overwrites it.
type chain struct {
	config, first, origin string
}

// chain returns the chain that the entry names, even if its grant does not use
// it.
func (e configEntry) chain(config string) chain {
	first, _ := e.Fields["refresh_token"].(string)
	return chain{config: config, first: first, origin: e.Origin}
}

// key returns the storage key of the chain. It is a hash keyed by the first
// refresh token, which cannot be guessed (RFC 6749 section 10.10), so the key
// reveals nothing.
func (c chain) key() string {
	mac := hmac.New(sha256.New, []byte(c.first))
	mac.Write([]byte(c.origin))
	return grantPrefix + c.config + "/" + hex.EncodeToString(mac.Sum(nil))
}

// oldKey returns the storage key that earlier versions used, for the only chain
// of a config.
func (c chain) oldKey() string { return grantPrefix + c.config }

// grantEntry stores the current refresh token of a chain.
type grantEntry struct {
	header
	First   string `json:"first"`
	Origin  string `json:"origin"`
	Current string `json:"current"`
	// Renewed is when the provider issued Current, or when it last accepted it, if
	// it is used more than once.
	Renewed time.Time `json:"renewed,omitzero"`
}

func (*grantEntry) schema() int { return 1 }

// load returns the stored state of the chain, nil if it has not been used yet.
func (c chain) load(ctx context.Context, s logical.Storage) (*grantEntry, error) {
	for _, key := range []string{c.key(), c.oldKey()} {
		entry, err := load[grantEntry](ctx, s, key)
		if err != nil {
			return nil, err
		}
		if entry != nil && entry.First == c.first && entry.Origin == c.origin {
			return entry, nil
		}
	}
	return nil, nil
}

// store stores the current refresh token of the chain.
func (c chain) store(ctx context.Context, s logical.Storage, current string, now time.Time) error {
	return store(ctx, s, c.key(), &grantEntry{First: c.first, Origin: c.origin, Current: current, Renewed: now})
}

// remove removes the chain from storage.
func (c chain) remove(ctx context.Context, s logical.Storage) error {
	keys := []string{c.key()}
	old, err := load[grantEntry](ctx, s, c.oldKey())
	if err != nil {
		return err
	}
	if old != nil && old.First == c.first && old.Origin == c.origin {
		keys = append(keys, c.oldKey())
	}
	for _, key := range keys {
		if err := s.Delete(ctx, key); err != nil {
			return fmt.Errorf("deleting %s from storage: %w", key, err)
		}
	}
	return nil
}

// clearChains removes all chains of a config from storage.
func clearChains(ctx context.Context, s logical.Storage, config string) error {
	keys, err := listStorage(grantPrefix+config+"/")(ctx, s)
	if err != nil {
		return err
	}
	for i, key := range keys {
		keys[i] = grantPrefix + config + "/" + key
	}
	for _, key := range append(keys, chain{config: config}.oldKey()) {
		if err := s.Delete(ctx, key); err != nil {
			return fmt.Errorf("deleting %s from storage: %w", key, err)
		}
	}
	return nil
}

// dropChain removes a chain that its config no longer names.
func (b *backend) dropChain(ctx context.Context, s logical.Storage, c chain) {
	entry, err := load[configEntry](ctx, s, configPrefix+c.config)
	if err == nil && (entry == nil || entry.chain(c.config) != c) {
		err = c.remove(ctx, s)
	}
	if err != nil {
		b.log().Warn("the refresh tokens of a config as it was could not be deleted; they are tidied later", "config", c.config, "error", err)
	}
}

// tidyChains removes chains that their config no longer names, or whose config
// is gone. It keeps them for a while first, so that a write that failed after its
// new chain was verified can be repeated.
func (b *backend) tidyChains(ctx context.Context, s logical.Storage, config string) error {
	keys, err := listStorage(grantPrefix+config+"/")(ctx, s)
	if err != nil {
		return err
	}
	entry, err := load[configEntry](ctx, s, configPrefix+config)
	if err != nil {
		return nil //nolint:nilerr // what cannot be read may name any of them
	}
	for _, key := range keys {
		key = grantPrefix + config + "/" + key
		if entry != nil && entry.chain(config).key() == key {
			continue
		}
		old, err := load[grantEntry](ctx, s, key)
		if err != nil || old == nil || b.now().Before(old.Renewed.Add(refreshTokenStays)) {
			continue
		}
		if err := s.Delete(ctx, key); err != nil {
			return fmt.Errorf("deleting %s from storage: %w", key, err)
		}
	}
	if entry == nil {
		if err := s.Delete(ctx, chain{config: config}.oldKey()); err != nil {
			return fmt.Errorf("deleting %s%s from storage: %w", grantPrefix, config, err)
		}
	}
	return nil
}

// nextInChain spends the current refresh token of a chain. It stores the next
// one before any reader gets the access token.
func (b *backend) nextInChain(ctx context.Context, s logical.Storage, c *config) (*minted, error) {
	line := c.entry.chain(c.config)
	release, err := b.chains.enter(ctx, line.key())
	if err != nil {
		return nil, err
	}
	defer release()
	current := line.first
	state, err := line.load(ctx, s)
	if err != nil {
		return nil, err
	}
	if state != nil {
		current = state.Current
	}
	m, err := b.ask(ctx, c, func(e *provider.Effective) (grant.Request, error) {
		return e.RefreshRequest(current, e.Dialect.Scopes...)
	})
	var failed *grant.Error
	if errors.As(err, &failed) && failed.NextRefreshToken() != "" {
		// The answer cannot be used, but the refresh token that was sent is spent.
		return nil, errors.Join(err, b.goOn(ctx, s, c, line, current, failed.NextRefreshToken(), b.now()))
	}
	if err != nil {
		return nil, err
	}
	if err := b.goOn(ctx, s, c, line, current, cmp.Or(m.Token.RefreshToken, current), m.Token.IssuedAt); err != nil {
		return nil, err
	}
	m.Token.RefreshToken, m.chain = "", &line // the chain keeps it
	return m, nil
}

// goOn stores the next refresh token of a chain.
func (b *backend) goOn(ctx context.Context, s logical.Storage, c *config, line chain, current, next string, now time.Time) error {
	if next == current && c.KeepAlive == 0 {
		return nil // the token is the same, and its age is not needed
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
	defer cancel()
	err := insist(ctx, func() error { return line.store(ctx, s, next, now) })
	if err == nil || next == current {
		return nil
	}
	b.log().Error("the next refresh token could not be stored: the chain is broken unless the provider takes the last one again", "config", c.config, "error", err)
	return fmt.Errorf("%s: %w", c.target, err)
}

// insist tries a write three times, because what it cannot write is lost.
func insist(ctx context.Context, write func() error) error {
	for try := 1; ; try++ {
		err := write()
		if err == nil || try == 3 {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}
