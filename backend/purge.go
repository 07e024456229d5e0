// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/sync/errgroup"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

// purgeTime is how long a request waits for the provider to revoke tokens. A
// longer wait would delay a reload of the mount.
const purgeTime = 10 * time.Second

// purge revokes all tokens that a config's closed ledgers hold at the provider,
// and reports the result.
type purge struct {
	b       *backend
	storage logical.Storage
	config  string
	as      *config // the client that asks
	broken  error   // why there is none

	seen map[string]bool // shared tokens that no ledger holds, by their place in one

	mu     sync.Mutex // guards the fields below
	tokens int        // to be revoked
	left   int        // not revoked yet
	lost   int        // never to be revoked
	until  time.Time  // when the last of the left and the lost expires
	failed error      // why the first of the left is not revoked yet
	final  error      // why the first of the lost cannot be revoked
	inARow int        // failures since the last success
}

func (b *backend) newPurge(ctx context.Context, s logical.Storage, name string, entry *configEntry) *purge {
	p := &purge{b: b, storage: s, config: name, seen: map[string]bool{}}
	p.as, p.broken = b.settled(ctx, s, target{config: name}, inputs{}, entry, nil)
	return p
}

// revocable reports whether the provider may be able to revoke a token.
func (p *purge) revocable() bool {
	return p.as == nil || p.as.revocable()
}

// collect enters shared tokens into the ledgers that they were minted under,
// except those of the spared ledger. After a failure it may be repeated.
func (p *purge) collect(ctx context.Context, inMemory []held, spared string) error {
	stays := func(m *minted) bool { return mark(m.Ledger) == spared }
	inMemory = slices.DeleteFunc(inMemory, func(h held) bool { return stays(h.Value) })
	return p.b.moveShared(ctx, p.storage, p.config, inMemory, p.enter, func(_ string, m *minted) bool { return stays(m) })
}

// enter puts a shared token into its ledger, unless it is there already.
func (p *purge) enter(ctx context.Context, m *minted) error {
	if !p.b.now().Before(m.Token.ExpiresAt) {
		return nil
	}
	dir := m.tokenDir(p.config)
	if !p.revocable() {
		if !p.seen[dir] {
			p.seen[dir] = true
			p.count(m.Token.ExpiresAt, &livesOn{"the config has no revocation_url"})
		}
		return nil
	}
	ids, err := listStorage(ledgerPrefix+dir+"/")(ctx, p.storage)
	if err != nil || len(ids) > 0 {
		return err
	}
	ref, err := p.b.remember(ctx, p.storage, p.config, p.as, m)
	if err == nil {
		p.b.ledger.remove(ref) // the sweep revokes it
	}
	return err
}

// sweep revokes the tokens of all ledgers except the spared one, until ctx ends.
// It stops asking a provider that keeps failing, and then only counts what is
// left, if the count is wanted.
func (p *purge) sweep(ctx context.Context, spared string, counted bool) error {
	var group errgroup.Group
	group.SetLimit(maxRevocations)
	storing := context.WithoutCancel(ctx)
	ledgers, err := listStorage(ledgerPrefix+p.config+"/")(storing, p.storage)
	if err != nil {
		return err
	}
	for _, ledger := range ledgers {
		if strings.TrimSuffix(ledger, "/") == spared {
			continue
		}
		tokens, err := listStorage(ledgerPrefix+p.config+"/"+ledger)(storing, p.storage)
		if err != nil {
			return errors.Join(err, group.Wait())
		}
		for _, token := range tokens {
			if !counted && (ctx.Err() != nil || p.hopeless()) {
				return errors.Join(ctx.Err(), group.Wait())
			}
			group.Go(func() (err error) {
				defer func() {
					if value := recover(); value != nil {
						err = p.b.panicked("a revocation", value)
					}
				}()
				return p.kill(ctx, p.config+"/"+ledger+strings.TrimSuffix(token, "/"))
			})
		}
	}
	return group.Wait()
}

// hopeless reports whether the provider has failed so often in a row that it is
// not asked again for a while.
func (p *purge) hopeless() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inARow >= maxRevocations
}

// kill revokes one token, regardless of who holds it. An error is storage's.
func (p *purge) kill(ctx context.Context, dir string) error {
	storing := context.WithoutCancel(ctx)
	leave, err := p.b.holders.enter(ctx, dir)
	if err == nil {
		defer leave()
	}
	ids, err := listStorage(ledgerPrefix+dir+"/")(storing, p.storage)
	if err != nil || len(ids) == 0 {
		return err
	}
	entry, err := load[ledgerEntry](storing, p.storage, ledgerPrefix+dir+"/"+ids[0])
	if err != nil {
		p.count(time.Time{}, err)
		return nil
	}
	if entry == nil {
		return nil
	}
	if p.b.now().Before(entry.Until) {
		err := p.revoke(ctx, entry)
		p.count(entry.Until, err)
		if err != nil {
			return nil // count has recorded the failure
		}
	}
	for _, id := range ids {
		if err := p.storage.Delete(storing, ledgerPrefix+dir+"/"+id); err != nil {
			return fmt.Errorf("deleting %s%s from storage: %w", ledgerPrefix, dir, err)
		}
	}
	p.b.ledger.removeBelow(dir)
	return nil
}

func (p *purge) revoke(ctx context.Context, entry *ledgerEntry) error {
	switch {
	case p.broken != nil:
		return p.broken
	case ctx.Err() != nil:
		return errors.New("the provider takes long")
	case p.hopeless():
		return errors.New("the provider fails")
	default:
		return p.b.revoke(ctx, p.storage, p.as, entry)
	}
}

// count records the result for a token that expires at the given time.
func (p *purge) count(until time.Time, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tokens++
	var final *livesOn
	switch {
	case err == nil:
		p.inARow = 0
		return
	case errors.As(err, &final):
		p.lost++
		p.final = cmp.Or(p.final, err)
	default:
		p.left++
		if !ofThisToken(err) {
			p.inARow++
		}
		p.failed = cmp.Or(p.failed, err)
	}
	if until.After(p.until) {
		p.until = until
	}
}

// ofThisToken reports whether the provider refused to revoke this one token,
// which means nothing for the others.
func ofThisToken(err error) bool {
	var failed *grant.Error
	return errors.As(err, &failed) && failed.Kind == grant.Refused && !failed.ClientRefused()
}

// end returns when the last token that lives on expires.
func (p *purge) end() string {
	if p.until.IsZero() {
		return "they expire"
	}
	return stamp(p.until)
}

// warnings returns a warning about the tokens that live on.
func (p *purge) warnings(rest string) []string {
	var out []string
	if p.left > 0 {
		out = append(out, fmt.Sprintf("%d of %d tokens are not revoked at the provider, and may live on there until %s: %s%s",
			p.left, p.tokens, p.end(), p.failed, rest))
	}
	if p.lost > 0 {
		out = append(out, fmt.Sprintf("%d of %d tokens cannot be revoked at the provider, and live on there until %s: %s",
			p.lost, p.tokens, p.end(), p.final))
	}
	return out
}
