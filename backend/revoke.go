// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
)

const (
	// maxRevocations is how many revocations one provider is asked for at a
	// time: Vault itself runs up to 200.
	maxRevocations = 8

	// turnTime is for how long a revocation waits for its turn. To fail is
	// dearer: Vault comes back ten seconds later at the earliest, and gives up
	// after six times.
	turnTime = time.Minute

	// orphanKind is the write-ahead entry of a token that is to be revoked
	// with its lease, from its mint until its lease is surely registered.
	orphanKind = "token"

	// orphanAge is how old such an entry is when its token counts as an
	// orphan: nobody waits that long for an answer.
	orphanAge = 30 * time.Second

	// handingOut is how long after the answer a lease is surely registered.
	handingOut = 250 * time.Millisecond
)

// orphan is a write-ahead entry's data.
type orphan struct {
	Config string `json:"config"`
	Token  string `json:"token"`
	Until  string `json:"until"` // RFC 3339
}

// revokeToken ends a lease. A shared token stays valid for the others who hold
// it; one of the lease's own is revoked at the provider. What can no longer be
// revoked counts as revoked, or the lease would stay forever.
func (b *backend) revokeToken(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	token, _ := req.Secret.InternalData[leaseToken].(string)
	name, _ := req.Secret.InternalData[leaseConfig].(string)
	if token == "" {
		return nil, nil
	}
	return nil, b.revoke(ctx, req.Storage, name, token, usableUntil(req.Secret).Add(maxLeeway))
}

// maxLeeway is how long a token may live on after it is no longer handed out.
const maxLeeway = 10 * time.Second

// revoke has the provider end a token (RFC 7009).
func (b *backend) revoke(ctx context.Context, s logical.Storage, name, token string, until time.Time) error {
	if b.now().After(until) {
		return nil
	}
	entry, err := load[configEntry](ctx, s, configPrefix+name)
	if err != nil {
		return err
	}
	if entry == nil {
		b.log().Warn("a token cannot be revoked at its provider, since its config is gone; it lives until it expires", "config", name)
		return nil
	}
	c, err := b.load(ctx, s, target{config: name})
	if err != nil {
		return err
	}
	if _, err := withFallback(c.effective, func(e *provider.Effective) error { return b.askToRevoke(ctx, e, token) }); err != nil {
		return fmt.Errorf("%s: the token was not revoked: %w", c.target, err)
	}
	return nil
}

// revokeLater revokes a token that nobody got, as far as that can be.
func (b *backend) revokeLater(ctx context.Context, s logical.Storage, name string, m *minted) {
	ctx = context.WithoutCancel(ctx)
	b.handedOut.after(0, func() {
		if err := b.revoke(ctx, s, name, m.Token.AccessToken, m.Token.ExpiresAt); err != nil {
			b.log().Warn("a token that nobody got lives on at its provider until it expires", "config", name, "error", err)
		}
	})
}

// askToRevoke waits for its turn at the provider, and asks.
func (b *backend) askToRevoke(ctx context.Context, e *provider.Effective, token string) error {
	request, ok, err := e.RevocationRequest(token)
	if err != nil || !ok {
		return err
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

// remember writes a write-ahead entry for a token that nobody has a lease for
// yet, so that a crash leaves none behind.
func (b *backend) remember(ctx context.Context, s logical.Storage, name string, m *minted) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
	defer cancel()
	id, err := framework.PutWAL(ctx, s, orphanKind, orphan{
		Config: name, Token: m.Token.AccessToken, Until: m.Token.ExpiresAt.Format(time.RFC3339),
	})
	if err != nil {
		return fmt.Errorf("writing ahead of the lease: %w", err)
	}
	m.orphan = id
	return nil
}

// handedOver ends the write-ahead entry of a token whose answer is on its way.
// It is not ended before: the answer may never arrive.
func (b *backend) handedOver(ctx context.Context, s logical.Storage, m *minted) {
	if m.orphan == "" {
		return
	}
	ctx = context.WithoutCancel(ctx)
	b.handedOut.after(handingOut, func() {
		ctx, cancel := context.WithTimeout(ctx, storeTime)
		defer cancel()
		if err := framework.DeleteWAL(ctx, s, m.orphan); err != nil {
			b.log().Warn("a write-ahead entry could not be deleted: a token that is leased will be revoked early", "error", err)
		}
	})
}

// rollBack revokes a token that was minted and never leased.
func (b *backend) rollBack(ctx context.Context, req *logical.Request, kind string, data any) error {
	fields, _ := data.(map[string]any)
	name, _ := fields["config"].(string)
	token, _ := fields["token"].(string)
	text, _ := fields["until"].(string)
	until, err := time.Parse(time.RFC3339, text)
	if kind != orphanKind || token == "" || err != nil {
		return fmt.Errorf("the write-ahead entry of kind %q is not known to this version", kind)
	}
	return b.revoke(ctx, req.Storage, name, token, until)
}

// deferred runs functions a little later, or at once when it is closed, and
// waits for them then.
type deferred struct {
	mu      sync.Mutex
	closed  chan struct{}
	running sync.WaitGroup
}

func (d *deferred) after(wait time.Duration, f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed == nil {
		d.closed = make(chan struct{})
	}
	closed := d.closed
	d.running.Go(func() {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-closed:
		}
		f()
	})
}

func (d *deferred) close() {
	d.mu.Lock()
	if d.closed == nil {
		d.closed = make(chan struct{})
	}
	select {
	case <-d.closed:
	default:
		close(d.closed)
	}
	d.mu.Unlock()
	d.running.Wait()
}
