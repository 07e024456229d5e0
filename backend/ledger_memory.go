// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// ledger is what memory knows of the entries in storage: those that this
// process has something to do about.
type ledger struct {
	mu      sync.Mutex
	waiting map[string]*holder   // entries of tokens that no registered lease holds, by name
	shared  map[string]time.Time // entries of those who share a token, with when it expires
	sweeps  map[string]*sweep    // configs whose closed ledgers hold something
	closed  bool                 // the process ends
}

// holder is an entry that waits for its lease to be registered, or for its
// token to be revoked.
type holder struct {
	storage logical.Storage
	entry   ledgerEntry
	as      *config // which the token was minted as, unless a reader has it
	given   bool    // to a reader: its lease is being registered
	backoff
}

// sweep is the revoking of what a config's closed ledgers hold.
type sweep struct {
	running bool
	backoff
}

// backoff says when something is tried again.
type backoff struct {
	next time.Time
	wait time.Duration
}

const (
	firstWait = time.Minute
	maxWait   = time.Hour
)

// due says whether it is time to try, and puts the next time off.
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

// share notes the entry of those who share a token, to be deleted when it
// expires. It says no if that is known already.
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

// removeBelow lets go of all who hold a token.
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

// removeGiven lets go of the tokens of a config that readers were given.
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

// find gives a copy of what waits under that name, nil without.
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

// give notes that a reader is given the token. It says whether the process
// ends, so that the caller must hand it over itself.
func (l *ledger) give(ref string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.waiting[ref]; h != nil {
		h.given, h.as = true, nil
		h.next = now.Add(firstWait) // if it still waits by then
	}
	return l.closed
}

// close gives the entries whose tokens were given to readers. From now on give
// leaves the others to its callers.
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

// due gives the entries, and the configs, that something is to be done about.
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

// sweepAt has a config's closed ledgers swept then.
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

// sweeping notes that a config's closed ledgers are being swept, unless they
// are already.
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

// swept notes that they have been, and whether nothing is left.
func (l *ledger) swept(config string, done bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if done {
		delete(l.sweeps, config)
	} else if r := l.sweeps[config]; r != nil {
		r.running = false
	}
}
