// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

// observer is told what happens to the tokens of a mount: one method for each
// kind of event, each of them called from one place. What is counted, logged and
// reported of tokens comes from here, and from nowhere else.
type observer struct {
	now func() time.Time
	log func() hclog.Logger

	mu       sync.Mutex
	byConfig map[string]*history
	rest     history // of what belongs to none of them
}

// history is what has happened to a config's tokens since this process started.
// It is updated without a lock, since every read of a token does so.
type history struct {
	reads       [readResults]atomic.Int64
	mints       atomic.Int64
	failures    atomic.Int64 // mints that failed
	retries     atomic.Int64 // requests for a token that were sent again
	checks      atomic.Int64
	revoked     atomic.Int64 // tokens that the provider has revoked
	notRevoked  atomic.Int64 // attempts at that which failed
	lastMint    atomic.Pointer[time.Time]
	lastFailure atomic.Pointer[failure]
}

// failure is a mint that failed.
type failure struct {
	at   time.Time
	text string
}

// readResult is what became of a read of a token.
type readResult int

const (
	readHit    readResult = iota // a token that was in memory
	readWaited                   // a token that had to be minted, or loaded from storage
	readOld                      // the old token, since there is no new one (yet)
	readFailed                   // an error
	readResults
)

// of gives the history of a config that exists, and begins it where there is
// none.
func (o *observer) of(config string) *history {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.byConfig == nil {
		o.byConfig = map[string]*history{}
	}
	h := o.byConfig[config]
	if h == nil {
		h = &history{}
		o.byConfig[config] = h
	}
	return h
}

// about gives the history of a config that may have been deleted by now, whose
// history must not begin again.
func (o *observer) about(config string) *history {
	o.mu.Lock()
	defer o.mu.Unlock()
	if h := o.byConfig[config]; h != nil {
		return h
	}
	return &o.rest
}

// deleted ends the history of a config. Another one of its name begins anew.
func (o *observer) deleted(config string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.byConfig, config)
}

// handedOut is called with each token that a reader gets. It takes no lock.
func (o *observer) handedOut(h *history, got answer, fromMemory bool) {
	result := readWaited
	switch {
	case got.Failure != nil, got.Slow:
		result = readOld
	case fromMemory:
		result = readHit
	}
	h.reads[result].Add(1)
}

// notHandedOut is called with each read of a token that ends in an error.
func (o *observer) notHandedOut(h *history) { h.reads[readFailed].Add(1) }

// served is how many tokens were handed out.
func (h *history) served() int64 {
	return h.reads[readHit].Load() + h.reads[readWaited].Load() + h.reads[readOld].Load()
}

// asked is called with each exchange with a provider about a token.
func (o *observer) asked(config string, x grant.Exchange) {
	if again := x.Attempts - 1; again > 0 {
		o.about(config).retries.Add(int64(again))
		o.log().Debug("a request for a token was sent again", "config", config, "attempts", x.Attempts, "status", x.Status)
	}
}

// minted is called with each token that was minted.
func (o *observer) minted(t target, m *minted) {
	o.log().Debug("minted a token", "token", t.path(), "expires_at", m.Token.ExpiresAt, "fallback", m.Fallback)
	h := o.about(t.config)
	h.mints.Add(1)
	h.lastMint.Store(&m.Token.IssuedAt)
}

// mintFailed is called with each mint that failed.
func (o *observer) mintFailed(t target, err error) {
	o.log().Warn("no token", "token", t.path(), "error", err)
	h := o.about(t.config)
	h.failures.Add(1)
	h.lastFailure.Store(&failure{at: o.now(), text: explained(err)})
}

// checked is called with each check of a config that its provider answered with
// a token.
func (o *observer) checked(config string) { o.about(config).checks.Add(1) }

// revoked is called with each token that a provider was to revoke, and what came
// of it.
func (o *observer) revoked(config string, err error) {
	h := o.about(config)
	if err != nil {
		h.notRevoked.Add(1)
		o.log().Debug("a token was not revoked at its provider", "config", config, "error", err)
		return
	}
	h.revoked.Add(1)
	o.log().Debug("revoked a token at its provider", "config", config)
}

// livesOn is called with each token of a lease that has ended which nobody can
// revoke any more.
func (o *observer) livesOn(config string, reason error, until time.Time) {
	o.log().Warn("a token cannot be revoked at its provider, and lives on until it expires",
		"config", config, "reason", reason, "until", stamp(until))
}
