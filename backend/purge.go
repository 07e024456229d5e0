// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/sync/errgroup"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

// purgeTime is for how long a request waits for the provider to revoke what it
// is to revoke: a request that hangs holds up a reload of the mount.
const purgeTime = 10 * time.Second

// purge has a provider revoke all that a config's closed ledgers hold, and
// tells what became of it.
type purge struct {
	b       *backend
	storage logical.Storage
	config  string
	as      *config // the client that asks
	broken  error   // why there is none

	seen map[string]bool // shared tokens that no ledger holds, by their place in one

	mu     sync.Mutex // guards what follows
	tokens int        // to be revoked
	left   int        // not revoked yet
	lost   int        // never to be revoked
	until  time.Time  // the last of those two ends
	failed error      // why, of the first of those left
	final  error      // likewise, of those lost
	inARow int        // failures since the last success
}

func (b *backend) newPurge(ctx context.Context, s logical.Storage, name string, entry *configEntry) *purge {
	p := &purge{b: b, storage: s, config: name, seen: map[string]bool{}}
	p.as, p.broken = b.settled(ctx, s, target{config: name}, inputs{}, entry, nil)
	return p
}

// revocable says whether the provider might revoke anything.
func (p *purge) revocable() bool {
	return p.as == nil || p.as.revocable()
}

// collect moves tokens that readers shared to the ledgers that they were minted
// under, but for the tokens of the ledger spared. What fails may be repeated.
func (p *purge) collect(ctx context.Context, held []held, spared string) error {
	return p.b.moveShared(ctx, p.storage, p.config, held, p.enter, func(_ string, m *minted) bool { return mark(m.Ledger) == spared })
}

// enter puts a shared token into its ledger, unless it is there.
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
		p.b.ledger.remove(ref) // the sweep has it revoked
	}
	return err
}

// sweep revokes what the ledgers hold, but for the one spared, until ctx ends.
// When the provider does nothing but fail it is left alone; what is left is
// still counted, if that is wanted.
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

// hopeless says that the provider has failed so often in a row that it is to be
// left alone for a while.
func (p *purge) hopeless() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inARow >= maxRevocations
}

// kill revokes one token, whoever holds it. The error is storage's.
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
			return nil // it is counted
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
		return p.b.revoke(ctx, p.as, entry)
	}
}

// count notes what became of a token that ends then.
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

// ofThisToken says that the provider refused to revoke one token, which says
// nothing of the others.
func ofThisToken(err error) bool {
	var failed *grant.Error
	return errors.As(err, &failed) && failed.Kind == grant.Refused && !failed.ClientRefused()
}

// end is when the last of what lives on ends.
func (p *purge) end() string {
	if p.until.IsZero() {
		return "they expire"
	}
	return stamp(p.until)
}

// warnings tells what lives on.
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
