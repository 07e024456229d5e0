// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

const (
	// orphanAge is the age at which a token that no reader got counts as an
	// orphan. No reader waits that long for an answer.
	orphanAge = 30 * time.Second

	// leaseRegistered is the time after an answer by which Vault has registered the
	// lease.
	leaseRegistered = 250 * time.Millisecond

	// sharedHolder is the name of the entry for all readers that share a token.
	sharedHolder = "shared"

	// handOverLane is the lane in the background for handing over. No config has
	// this name.
	handOverLane = ""
)

// ledgerEntry is one holder of a token that must be revoked at its provider: when
// the holder's lease ends, or as soon as possible if it has no lease. All readers
// that share a token are one holder, which holds it until it expires.
type ledgerEntry struct {
	header
	Token  string    `json:"token"`
	Until  time.Time `json:"until"`  // when the token expires
	Origin string    `json:"origin"` // the mark of where it came from: nothing is sent elsewhere
	Leased bool      `json:"leased"` // its lease is registered, and will end it; or it is left to expire
}

func (*ledgerEntry) schema() int { return 1 }

// mark returns a short hash of b, which does not reveal b.
func mark(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// tokenDir returns the storage prefix of a token in the ledger that it was minted
// under. All holders of the same token are below it; some providers hand out the
// same token more than once.
func (m *minted) tokenDir(config string) string {
	mac := hmac.New(sha256.New, m.Ledger)
	mac.Write([]byte(m.Token.AccessToken))
	return config + "/" + mark(m.Ledger) + "/" + hex.EncodeToString(mac.Sum(nil)[:16])
}

// configOf returns the config's name from the name of an entry or of a prefix.
func configOf(ref string) string {
	config, _, _ := strings.Cut(ref, "/")
	return config
}

// remember enters a token that has no lease yet into the ledger, so that a crash
// leaves no living token behind, and returns the entry's name. A token that cannot
// be entered is revoked. Memory keeps as, the client that minted the token, because
// the config may be gone when it is revoked.
func (b *backend) remember(ctx context.Context, s logical.Storage, config string, as *config, m *minted) (string, error) {
	ref := m.tokenDir(config) + "/" + strings.ToLower(rand.Text())
	entry := ledgerEntry{Token: m.Token.AccessToken, Until: m.Token.ExpiresAt, Origin: m.Origin}
	b.ledger.add(s, ref, entry, as, b.now().Add(orphanAge))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
	defer cancel()
	if err := store(ctx, s, ledgerPrefix+ref, &entry); err != nil {
		b.endSoon(ctx, s, ref)
		return "", fmt.Errorf("noting down a token that is to be revoked: %w", err)
	}
	return ref, nil
}

// retire enters a shared token that no further reader gets. Its readers keep it
// until it expires, and the kill switch finds it here.
func (b *backend) retire(ctx context.Context, s logical.Storage, config string, m *minted) error {
	ref := m.tokenDir(config) + "/" + sharedHolder
	if !b.now().Before(m.Token.ExpiresAt) || !b.ledger.share(ref, m.Token.ExpiresAt) {
		return nil
	}
	entry := ledgerEntry{Token: m.Token.AccessToken, Until: m.Token.ExpiresAt, Origin: m.Origin, Leased: true}
	if err := store(ctx, s, ledgerPrefix+ref, &entry); err != nil {
		b.ledger.remove(ref)
		return fmt.Errorf("noting down a token that readers may still have: %w", err)
	}
	return nil
}

// answered is called for a token with a lease of its own when its reader is being
// answered, or will not be. The entry waits for Vault to register the lease,
// because the answer may never arrive.
func (b *backend) answered(ctx context.Context, s logical.Storage, ref string, given bool) {
	if !given {
		b.endSoon(ctx, s, ref)
		return
	}
	if b.ledger.give(ref, b.now()) {
		b.handOver(context.WithoutCancel(ctx), s, ref)
		return
	}
	time.AfterFunc(leaseRegistered, func() { b.handOverSoon(ctx, s, ref) })
}

func (b *backend) handOverSoon(ctx context.Context, s logical.Storage, ref string) {
	b.work.run(ctx, handOverLane, func(ctx context.Context) { b.handOver(ctx, s, ref) })
}

// handOver leaves a token to its lease, unless that has ended already.
func (b *backend) handOver(ctx context.Context, s logical.Storage, ref string) {
	defer b.guard("handing over")
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	leave, err := b.holders.enter(ctx, path.Dir(ref))
	if err != nil {
		return // the token is being revoked
	}
	defer leave()
	h := b.ledger.find(ref)
	if h == nil || !h.given {
		return
	}
	h.entry.Leased = true
	if err := store(ctx, s, ledgerPrefix+ref, &h.entry); err != nil {
		b.log().Warn("a token could not be left to its lease: after a restart it will be revoked early", "config", configOf(ref), "error", err)
		return
	}
	b.ledger.remove(ref)
}

// endSoon removes a holder without a lease from the ledger, in the background.
func (b *backend) endSoon(ctx context.Context, s logical.Storage, ref string) {
	b.work.run(ctx, configOf(ref), func(ctx context.Context) {
		if err := b.end(ctx, s, ref); err != nil {
			b.log().Warn("a token that nobody got is not revoked yet", "config", configOf(ref), "error", err)
		}
	})
}

// end removes a holder from the ledger. With the last holder, the token is revoked
// at its provider. A token that can no longer be revoked counts as revoked;
// otherwise its lease would stay forever.
func (b *backend) end(ctx context.Context, s logical.Storage, ref string) error {
	leave, err := b.holders.enter(ctx, path.Dir(ref))
	if err != nil {
		return fmt.Errorf("waiting for another holder of the token: %w", err)
	}
	defer leave()
	h := b.ledger.find(ref)
	if h == nil {
		entry, err := load[ledgerEntry](ctx, s, ledgerPrefix+ref)
		if err != nil || entry == nil {
			return err // nil: the token is revoked, or its config was deleted
		}
		h = &holder{entry: *entry}
	}
	if b.now().Before(h.entry.Until) {
		err := b.release(ctx, s, ref, h)
		var final *livesOn
		if errors.As(err, &final) {
			b.observer.livesOn(configOf(ref), final, h.entry.Until)
		} else if err != nil {
			return err
		}
	}
	if err := s.Delete(ctx, ledgerPrefix+ref); err != nil {
		return fmt.Errorf("deleting %s%s from storage: %w", ledgerPrefix, ref, err)
	}
	b.ledger.remove(ref)
	return nil
}

// release revokes a token that has no other holder.
func (b *backend) release(ctx context.Context, s logical.Storage, ref string, h *holder) error {
	c, err := b.revoker(ctx, s, configOf(ref), h.as)
	if err != nil {
		return err
	}
	held, err := b.heldByOthers(ctx, s, c, ref, h.entry.Token)
	if err != nil || held {
		return err
	}
	return b.revoke(ctx, s, c, &h.entry)
}

// heldByOthers reports whether another lease holds the token or readers share it.
// The tokens of a closed ledger are revoked regardless of their holders.
func (b *backend) heldByOthers(ctx context.Context, s logical.Storage, c *config, ref, token string) (bool, error) {
	dir, id := path.Split(ref)
	if !strings.HasPrefix(dir, c.config+"/"+mark(c.entry.Ledger)+"/") {
		return false, nil
	}
	ids, err := listStorage(ledgerPrefix+dir)(ctx, s)
	if err != nil {
		return false, err
	}
	for _, other := range ids {
		if other != id {
			return true, nil
		}
	}
	keys, err := listStorage(tokenPrefix+c.config+"/")(ctx, s)
	if err != nil {
		return false, err
	}
	for _, key := range keys {
		h, err := b.heldOrStored(ctx, s, c.config+"/"+key)
		if err != nil {
			return false, err
		}
		if h != nil && h.Value.Token.AccessToken == token {
			return true, nil
		}
	}
	return false, nil
}
