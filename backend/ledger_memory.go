// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// ledger is what memory knows of the stored entries: those that this process
// still has to deal with.
type ledger struct {
	mu      sync.Mutex
	waiting map[string]*holder   // entries of tokens that no registered lease holds, by name
	shared  map[string]time.Time // entries of those who share a token, with when it expires
	sweeps  map[string]*sweep    // configs whose closed ledgers hold something
	closed  bool                 // the process ends
}

// holder is an entry that waits until its lease is registered or its token is
// revoked.
type holder struct {
	storage logical.Storage
	entry   ledgerEntry
	as      *config // which the token was minted as, unless a reader has it
	given   bool    // to a reader: its lease is being registered
	backoff
}

// sweep is the state of revoking the tokens of a config's closed ledgers.
type sweep struct {
	running bool
	backoff
}

// backoff decides when something is tried again.
type backoff struct {
	next time.Time
	wait time.Duration
}

const (
	firstWait = time.Minute
	maxWait   = time.Hour
)

// due reports whether it is time to try, and if so postpones the next attempt.
func (r *backoff) due(now time.Time) bool {
	if now.Before(r.next) {
		return false
	}
	r.wait = min(max(2*r.wait, firstWait), maxWait)
	r.next = now.Add(r.wait)
	return true
}

func (l *ledger) add(s logical.Storage, ref string, entry ledgerEntry, as *config, next time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting == nil {
		l.waiting = map[string]*holder{}
	}
	if l.waiting[ref] == nil {
		l.waiting[ref] = &holder{storage: s, entry: entry, as: as, backoff: backoff{next: next}}
	}
}

func (l *ledger) remove(ref string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiting, ref)
	delete(l.shared, ref)
}

// share records the entry of a shared token, to be deleted when the token expires.
// It reports false if the entry is known already.
func (l *ledger) share(ref string, until time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shared == nil {
		l.shared = map[string]time.Time{}
	}
	if !until.After(l.shared[ref]) {
		return false
	}
	l.shared[ref] = until
	return true
}

// removeBelow forgets all holders of a token.
func (l *ledger) removeBelow(dir string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.shared, dir+"/"+sharedHolder)
	for ref := range l.waiting {
		if strings.HasPrefix(ref, dir+"/") {
			delete(l.waiting, ref)
		}
	}
}

// removeGiven forgets the tokens of a config that readers have got.
func (l *ledger) removeGiven(config string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ref, h := range l.waiting {
		if h.given && configOf(ref) == config {
			delete(l.waiting, ref)
		}
	}
	for ref := range l.shared {
		if configOf(ref) == config {
			delete(l.shared, ref)
		}
	}
}

// find returns a copy of the waiting entry of that name, nil if there is none.
func (l *ledger) find(ref string) *holder {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.waiting[ref]
	if h == nil {
		return nil
	}
	out := *h
	return &out
}

// give records that a reader gets the token. It reports whether the process is
// ending, in which case the caller must hand over the token itself.
func (l *ledger) give(ref string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.waiting[ref]; h != nil {
		h.given, h.as = true, nil
		h.next = now.Add(firstWait) // if it still waits by then
	}
	return l.closed
}

// close returns the entries whose tokens readers have got. After it, give leaves
// the handing over to its callers.
func (l *ledger) close() map[string]logical.Storage {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	given := map[string]logical.Storage{}
	for ref, h := range l.waiting {
		if h.given {
			given[ref] = h.storage
		}
	}
	return given
}

// due returns the entries and the configs that must be dealt with now.
func (l *ledger) due(now time.Time) (given, orphans, expired, sweeps []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ref, h := range l.waiting {
		switch {
		case !h.due(now):
		case h.given:
			given = append(given, ref)
		default:
			orphans = append(orphans, ref)
		}
	}
	for ref, until := range l.shared {
		if !now.Before(until) {
			expired = append(expired, ref)
		}
	}
	for config, r := range l.sweeps {
		if !r.running && r.due(now) {
			sweeps = append(sweeps, config)
		}
	}
	return given, orphans, expired, sweeps
}

// sweepAt sets when a config's closed ledgers are swept.
func (l *ledger) sweepAt(config string, next time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sweeps == nil {
		l.sweeps = map[string]*sweep{}
	}
	if l.sweeps[config] == nil {
		l.sweeps[config] = &sweep{}
	}
	l.sweeps[config].backoff = backoff{next: next}
}

// sweeping records that a sweep of a config's closed ledgers begins. It reports
// false if one is under way.
func (l *ledger) sweeping(config string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.sweeps[config]
	if r == nil || r.running {
		return false
	}
	r.running = true
	return true
}

// swept records that the sweep has ended, and whether nothing is left.
func (l *ledger) swept(config string, done bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if done {
		delete(l.sweeps, config)
	} else if r := l.sweeps[config]; r != nil {
		r.running = false
	}
}
