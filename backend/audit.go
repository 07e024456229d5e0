// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"cmp"
	"context"
	"errors"
	"path"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// auditEvery is how often all entries of the ledgers are read. A process knows
// its own entries; this finds those of earlier processes.
const auditEvery = 24 * time.Hour

// searchAgain is how soon they are read again after a failure.
const searchAgain = 5 * time.Minute

// audit starts the ledger's due jobs in the background. It is called every
// minute. It looks for entries of an earlier process only after this process has
// run for longer than any reader waits for an answer.
func (b *backend) audit(ctx context.Context, s logical.Storage) {
	now := b.now()
	given, orphans, expired, sweeps := b.ledger.due(now)
	for _, ref := range given {
		b.handOverSoon(ctx, s, ref)
	}
	for _, ref := range orphans {
		b.endSoon(ctx, s, ref)
	}
	for _, config := range sweeps {
		b.sweepSoon(ctx, s, config)
	}
	if len(expired) > 0 {
		b.work.run(ctx, handOverLane, func(ctx context.Context) { b.strike(ctx, s, expired) })
	}
	last := b.audited.Load()
	if now.Sub(b.started) < orphanAge || last != 0 && now.UnixNano()-last < int64(auditEvery) || !b.audited.CompareAndSwap(last, now.UnixNano()) {
		return
	}
	b.work.run(ctx, handOverLane, func(ctx context.Context) {
		if err := b.search(ctx, s); err != nil {
			b.audited.Store(now.Add(searchAgain - auditEvery).UnixNano())
			b.log().Warn("what an earlier process left to be revoked could not be looked for", "error", err)
		}
	})
}

// search looks for tokens that an earlier process left behind: tokens that no
// reader got, tokens that were still to be revoked, and expired tokens.
func (b *backend) search(ctx context.Context, s logical.Storage) error {
	configs, err := listStorage(ledgerPrefix)(ctx, s)
	for _, config := range configs {
		err = cmp.Or(err, b.searchConfig(ctx, s, strings.TrimSuffix(config, "/")))
	}
	return err
}

func (b *backend) searchConfig(ctx context.Context, s logical.Storage, config string) error {
	entry, err := load[configEntry](ctx, s, configPrefix+config)
	if err != nil {
		return err
	}
	ledgers, err := listStorage(ledgerPrefix+config+"/")(ctx, s)
	if err != nil {
		return err
	}
	for _, name := range ledgers {
		dir := config + "/" + strings.TrimSuffix(name, "/")
		if entry != nil && path.Base(dir) != mark(entry.Ledger) {
			b.ledger.sweepAt(config, b.now())
		}
		tokens, err := listStorage(ledgerPrefix+dir+"/")(ctx, s)
		if err != nil {
			return err
		}
		for _, token := range tokens {
			if err := b.searchToken(ctx, s, dir+"/"+strings.TrimSuffix(token, "/")); err != nil {
				return err
			}
		}
	}
	b.sweepSoon(ctx, s, config)
	return nil
}

func (b *backend) searchToken(ctx context.Context, s logical.Storage, dir string) error {
	ids, err := listStorage(ledgerPrefix+dir+"/")(ctx, s)
	if err != nil {
		return err
	}
	for _, id := range ids {
		ref := dir + "/" + id
		if b.ledger.find(ref) != nil {
			continue
		}
		entry, err := load[ledgerEntry](ctx, s, ledgerPrefix+ref)
		switch {
		case err != nil:
			b.log().Warn("an entry of a ledger cannot be read and stays", "config", configOf(ref), "error", err)
		case entry == nil:
		case !b.now().Before(entry.Until):
			if err := s.Delete(ctx, ledgerPrefix+ref); err != nil {
				return err
			}
		case id == sharedHolder:
			b.ledger.share(ref, entry.Until)
		case !entry.Leased:
			b.ledger.add(s, ref, *entry, nil, b.now().Add(orphanAge))
			b.endSoon(ctx, s, ref)
		}
	}
	return nil
}

// strike deletes the entries of expired tokens.
func (b *backend) strike(ctx context.Context, s logical.Storage, refs []string) {
	for _, ref := range refs {
		if err := s.Delete(ctx, ledgerPrefix+ref); err != nil {
			b.log().Warn("an entry of an expired token could not be deleted; it is tried again", "config", configOf(ref), "error", err)
			return
		}
		b.ledger.remove(ref)
	}
}

// sweepSoon continues in the background to revoke the tokens that a config's
// closed ledgers hold, if there are any.
func (b *backend) sweepSoon(ctx context.Context, s logical.Storage, config string) {
	if !b.ledger.sweeping(config) {
		return
	}
	if !b.work.run(ctx, config, func(ctx context.Context) {
		done := false
		defer func() { b.ledger.swept(config, done) }()
		var err error
		if done, err = b.sweepUp(ctx, s, config); err != nil {
			b.log().Warn("not all tokens that were to be revoked are, yet", "config", config, "error", err)
		}
	}) {
		b.ledger.swept(config, false)
	}
}

// sweepUp reports whether nothing is left to revoke.
func (b *backend) sweepUp(ctx context.Context, s logical.Storage, config string) (bool, error) {
	entry, err := load[configEntry](ctx, s, configPrefix+config)
	if err != nil || entry == nil {
		return err == nil, err
	}
	p := b.newPurge(ctx, s, config, entry)
	err = p.sweep(ctx, mark(entry.Ledger), false)
	if revoked := p.tokens - p.left - p.lost; revoked > 0 {
		b.log().Info("revoked tokens that the kill switch had left", "config", config, "tokens", revoked)
	}
	return err == nil && p.left+p.lost == 0 && !p.hopeless(), errors.Join(err, p.failed)
}
