// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
)

const (
	// maxRevocations is how many revocations one provider gets at the same time.
	// Vault itself runs up to 200.
	maxRevocations = 8

	// turnTime is how long a revocation waits for its turn. To fail instead would
	// cost more: Vault tries again after ten seconds at the earliest, and gives up
	// after six attempts.
	turnTime = time.Minute
)

// livesOn is the error for a token that cannot be revoked, now or later. It says why.
type livesOn struct{ reason string }

func (e *livesOn) Error() string { return e.reason }

// revokeToken ends a lease. A shared token stays valid for its other readers. A
// token with leases of its own (reuse=false) is revoked with its last lease.
func (b *backend) revokeToken(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	ref, _ := req.Secret.InternalData[leaseHolder].(string)
	if ref == "" {
		return nil, nil
	}
	if err := b.end(ctx, req.Storage, ref); err != nil {
		return nil, fmt.Errorf("config %q: the token was not revoked: %w", configOf(ref), err)
	}
	return nil, nil
}

// revoker returns the config as whose client tokens are revoked. Usually that is the
// config as it is now, because its secret may be newer. If the config is gone, has
// become another client, or cannot be used, it is the config by which the token was
// minted, if that is known.
func (b *backend) revoker(ctx context.Context, s logical.Storage, name string, minted *config) (*config, error) {
	entry, err := load[configEntry](ctx, s, configPrefix+name)
	switch {
	case err != nil:
		return nil, err
	case minted != nil && (entry == nil || !entry.sameClient(minted.entry)):
		return minted, nil
	case entry == nil:
		return nil, &livesOn{"its config is gone"}
	}
	c, err := b.settled(ctx, s, target{config: name}, inputs{}, entry, nil)
	if err != nil && minted != nil {
		return minted, nil
	}
	return c, err
}

// sameClient reports whether both are the same client at the same origin.
func (e *configEntry) sameClient(other *configEntry) bool {
	return e.Origin == other.Origin && sameJSON(e.Fields["client_id"], other.Fields["client_id"])
}

// revoke asks the provider that issued a token to revoke it (RFC 7009). If the
// config has moved to another provider since, that provider is not asked.
func (b *backend) revoke(ctx context.Context, s logical.Storage, c *config, entry *ledgerEntry) error {
	if mark([]byte(c.entry.Origin)) != entry.Origin {
		return &livesOn{"its config now sends credentials to another place than when the token was minted"}
	}
	c, err := b.asClient(ctx, s, c)
	if err != nil {
		return err
	}
	_, err = withFallback(c.effective, func(e *provider.Effective) error { return b.askToRevoke(ctx, e, entry.Token) })
	b.observer.revoked(c.config, err)
	return err
}

// askToRevoke waits for its turn and then asks the provider.
func (b *backend) askToRevoke(ctx context.Context, e *provider.Effective, token string) error {
	request, ok, err := e.RevocationRequest(token)
	if err != nil {
		return err
	}
	if !ok {
		return &livesOn{"its config has no revocation_url"}
	}
	u, err := url.Parse(request.URL)
	if err != nil {
		return errors.New("the revocation_url cannot be parsed")
	}
	turn, cancel := context.WithTimeout(ctx, turnTime)
	defer cancel()
	leave, err := b.revokers.enter(turn, u.Host)
	if err != nil {
		return fmt.Errorf("waiting for others to finish: %w", err)
	}
	defer leave()
	return b.client.Revoke(ctx, request)
}
