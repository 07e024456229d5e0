// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"

	"github.com/hashicorp/vault/sdk/logical"
)

// forget drops every token of the config, in memory, in storage, and those
// being minted, but for that of the key that it has come to. Readers may hold
// leases of them: those that the provider may revoke are left to them in the
// ledger. What remains in storage, if it cannot be deleted, nobody finds but the
// kill switch: the request that it is for has gone.
func (b *backend) forget(ctx context.Context, s logical.Storage, name string, revocable bool, but string) {
	b.observer.outdated(name)
	forgotten := b.tokens.Forget(name, but)
	var err error
	if revocable {
		err = b.moveShared(ctx, s, name, forgotten,
			func(ctx context.Context, m *minted) error { return b.retire(ctx, s, name, m) },
			func(key string, _ *minted) bool { return key == but })
	} else {
		err = clearTokens(ctx, s, name, but)
	}
	if err != nil {
		b.log().Warn("forgotten tokens could not be deleted; they are tidied when they expire", "config", name, "error", err)
	}
}

// moveShared has enter take over the tokens of a config that readers share: those
// that memory held, and those in storage, which go from there, but for those that
// stay. What fails may be repeated.
func (b *backend) moveShared(ctx context.Context, s logical.Storage, config string, held []held,
	enter func(context.Context, *minted) error, stays func(key string, m *minted) bool,
) error {
	var errs error
	for _, h := range held {
		errs = errors.Join(errs, enter(ctx, h.Value))
	}
	keys, err := listStorage(tokenPrefix+config+"/")(ctx, s)
	if err != nil {
		return errors.Join(errs, err)
	}
	for _, key := range keys {
		key = config + "/" + key
		h, err := loadToken(ctx, s, key)
		switch {
		case h != nil && stays(key, h.Value):
			continue
		case h != nil:
			err = enter(ctx, h.Value)
		}
		if err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		if err := s.Delete(ctx, tokenPrefix+key); err != nil {
			b.log().Warn("a forgotten token could not be deleted; nothing will hand it out, and it is tidied when it expires", "key", key, "error", err)
		}
	}
	return errs
}
