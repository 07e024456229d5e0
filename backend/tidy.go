// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

const (
	// tidyEvery keeps the reading of all tokens rare. An expired token is never
	// handed out; it only takes up storage.
	tidyEvery = 15 * time.Minute

	// refreshTokenStays is how long a refresh token is kept after its access token
	// has expired. Without it, the next token costs a grant by password.
	refreshTokenStays = 7 * 24 * time.Hour
)

// periodic does what is due. Vault calls it every minute.
func (b *backend) periodic(ctx context.Context, req *logical.Request) error {
	if b.node().standby() {
		return nil
	}
	b.audit(ctx, req.Storage)
	b.survey(ctx, req.Storage)
	return errors.Join(b.rotateKeys(ctx, req.Storage), b.keepAlive(ctx, req.Storage), b.tidy(ctx, req))
}

// tidy removes stored tokens that have expired, or whose config is gone, and
// chains that no config names.
func (b *backend) tidy(ctx context.Context, req *logical.Request) error {
	now := b.now()
	last := b.tidied.Load()
	if now.UnixNano()-last < int64(tidyEvery) || !b.tidied.CompareAndSwap(last, now.UnixNano()) {
		return nil
	}
	configs, err := listStorage(configPrefix)(ctx, req.Storage)
	if err != nil {
		return err
	}
	slices.Sort(configs)
	holders, err := listStorage(tokenPrefix)(ctx, req.Storage)
	if err != nil {
		return err
	}
	for _, config := range holders {
		config = strings.TrimSuffix(config, "/")
		if _, listed := slices.BinarySearch(configs, config); !listed {
			entry, err := req.Storage.Get(ctx, configPrefix+config) // it may be new
			if err != nil {
				return err
			}
			if entry == nil {
				if err := clearTokens(ctx, req.Storage, config, ""); err != nil {
					return err
				}
				continue
			}
		}
		if err := b.tidyConfig(ctx, req.Storage, config, now); err != nil {
			return err
		}
	}
	chains, err := listStorage(grantPrefix)(ctx, req.Storage)
	if err != nil {
		return err
	}
	for i, config := range chains {
		chains[i] = strings.TrimSuffix(config, "/")
	}
	slices.Sort(chains)
	for _, config := range slices.Compact(chains) {
		if err := b.tidyChains(ctx, req.Storage, config); err != nil {
			return err
		}
	}
	return nil
}

func (b *backend) tidyConfig(ctx context.Context, s logical.Storage, config string, now time.Time) error {
	keys, err := listStorage(tokenPrefix+config+"/")(ctx, s)
	if err != nil {
		return err
	}
	for _, name := range keys {
		name = config + "/" + name
		if b.tokens.Held(name) != nil {
			continue // it is usable, and need not be read to know that
		}
		entry, err := load[tokenEntry](ctx, s, tokenPrefix+name)
		switch {
		case unreadable(err): // nobody will ever get it
		case err != nil:
			b.log().Warn("a stored token cannot be read and stays", "key", name, "error", err)
			continue
		case entry == nil || !now.After(entry.stays()):
			continue
		}
		if err := s.Delete(ctx, tokenPrefix+name); err != nil {
			return err
		}
		if h := b.tokens.Held(name); h != nil { // minted meanwhile
			b.keep(ctx, s, name, h.Value)
		}
	}
	return nil
}

// stays returns until when the entry is useful.
func (e tokenEntry) stays() time.Time {
	if e.Token.RefreshToken != "" {
		return e.Token.ExpiresAt.Add(refreshTokenStays)
	}
	return e.Token.ExpiresAt
}

// invalidate drops from memory what another node has changed in storage.
func (b *backend) invalidate(_ context.Context, key string) {
	b.dropViews(key)
	if name, ok := strings.CutPrefix(key, configPrefix); ok {
		b.tokens.Forget(name, "") // what is still right is found in storage
	}
	if strings.HasPrefix(key, providerPrefix) {
		b.tokens.Forget("", "")
	}
	if token, ok := strings.CutPrefix(key, tokenPrefix); ok {
		b.tokens.Drop(token)
		b.unused.Delete(configOf(token))
	}
}
