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
	// orphanAge is how old a token is that nobody was given when it counts as
	// an orphan: nobody waits that long for an answer.
	orphanAge = 30 * time.Second

	// handingOut is how long after the answer a lease is surely registered.
	handingOut = 250 * time.Millisecond

	// sharedHolder is the name of the entry that stands for all who share a token.
	sharedHolder = "shared"

	// handingLane is the background's lane for handing over. No config has
	// this name.
	handingLane = ""
)

// ledgerEntry is one holder of a token that is to be revoked at its provider:
// with the lease that holds it, or as soon as can be when there is none. The
// readers who share one are one holder, which holds it until it expires.
type ledgerEntry struct {
	header
	Token  string    `json:"token"`
	Until  time.Time `json:"until"`  // when the token expires
	Origin string    `json:"origin"` // the mark of where it came from: nothing is sent elsewhere
	Leased bool      `json:"leased"` // its lease is registered, and will end it; or it is left to expire
}

func (*ledgerEntry) schema() int { return 1 }

// mark is a short text that stands for b and does not tell it.
func mark(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// tokenDir names the place of a token in the ledger that it was minted under.
// All who hold the same token are below it: some providers repeat one.
func (m *minted) tokenDir(config string) string {
	mac := hmac.New(sha256.New, m.Ledger)
	mac.Write([]byte(m.Token.AccessToken))
	return config + "/" + mark(m.Ledger) + "/" + hex.EncodeToString(mac.Sum(nil)[:16])
}

// configOf gives the config's name in the name of an entry or of what it is below.
func configOf(ref string) string {
	config, _, _ := strings.Cut(ref, "/")
	return config
}

// remember enters a token that nobody has a lease for yet, so that a crash
// leaves none behind, and gives the entry's name. What cannot be entered is
// revoked. Memory keeps as, which the token was minted as: its config may be
// gone when it is revoked.
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

// retire enters a token that readers share and no other reader gets. It is left to
// those who have it until it expires, and the kill switch finds it.
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

// answered is called with a token of a lease's own when the answer is on its
// way, or when there will be none. Its entry waits for the lease to be
// registered: the answer may never arrive.
func (b *backend) answered(ctx context.Context, s logical.Storage, ref string, given bool) {
	if !given {
		b.endSoon(ctx, s, ref)
		return
	}
	if b.ledger.give(ref, b.now()) {
		b.handOver(context.WithoutCancel(ctx), s, ref)
		return
	}
	time.AfterFunc(handingOut, func() { b.handOverSoon(ctx, s, ref) })
}

func (b *backend) handOverSoon(ctx context.Context, s logical.Storage, ref string) {
	b.work.run(ctx, handingLane, func(ctx context.Context) { b.handOver(ctx, s, ref) })
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

// endSoon takes a holder off the ledger that has no lease.
func (b *backend) endSoon(ctx context.Context, s logical.Storage, ref string) {
	b.work.run(ctx, configOf(ref), func(ctx context.Context) {
		if err := b.end(ctx, s, ref); err != nil {
			b.log().Warn("a token that nobody got is not revoked yet", "config", configOf(ref), "error", err)
		}
	})
}

// end takes a holder off the ledger. With the last one, the token is revoked at
// its provider. What can no longer be revoked counts as revoked, or a lease
// would stay forever.
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

// release revokes a token that nobody else holds.
func (b *backend) release(ctx context.Context, s logical.Storage, ref string, h *holder) error {
	c, err := b.revoker(ctx, s, configOf(ref), h.as)
	if err != nil {
		return err
	}
	held, err := b.heldByOthers(ctx, s, c, ref, h.entry.Token)
	if err != nil || held {
		return err
	}
	return b.revoke(ctx, c, &h.entry)
}

// heldByOthers says whether another lease holds the token, or readers share it.
// What a closed ledger holds is to be revoked whoever holds it.
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
