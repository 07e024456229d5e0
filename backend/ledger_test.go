// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"context"
	"net/http"
	"path"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// leased reports whether the only entry in the ledgers belongs to a lease.
func leased(t *testing.T, e *engine) bool {
	t.Helper()
	entries := e.below(t, "lease/")
	if len(entries) != 1 {
		t.Fatalf("%d entries, want 1", len(entries))
	}
	for _, value := range entries {
		return strings.Contains(value, `"leased":true`)
	}
	return false
}

// An answer may never arrive. So until the answer is given, the entry says that nobody
// holds the token. A restart must not lose a lease, so soon afterwards the entry says
// that a lease holds the token.
func TestLedgerEntryFromTheMintToTheEndOfTheLease(t *testing.T) {
	e, s := ownTokens(t, nil)
	given := make(chan struct{})
	var changes atomic.Int32
	e.storage.onUse(func(op, key string) error {
		if !strings.HasPrefix(key, "lease/") || op != opPut && op != opDelete {
			return nil
		}
		if changes.Add(1) == 1 {
			asked(t, s, 1) // the entry is written after the token is minted
			return nil
		}
		select {
		case <-given:
		case <-time.After(patience):
			t.Errorf("a %s of the entry before the answer was given", op)
		}
		return nil
	})
	r := e.read(t, "token/c")
	if leased(t, e) {
		t.Error("the entry says before the answer that a lease holds the token")
	}
	close(given)
	eventually(t, "the entry is left to the lease", func() bool { return leased(t, e) })
	if n := changes.Load(); n != 2 {
		t.Errorf("%d changes of storage, want 2", n)
	}
	e.storage.onUse(nil)
	e = e.restart(t)
	searched(t, e)
	if !s.Valid(r.token(t)) {
		t.Fatal("a restart ended the token of a lease")
	}
	succeeded(t, e.revokeLease(t, r.resp.Secret))
	if s.Valid(r.token(t)) || s.RevocationRequests() != 1 || len(e.below(t, "lease/")) != 0 {
		t.Errorf("%d requests, entries %v", s.RevocationRequests(), e.below(t, "lease/"))
	}
}

// searched lets the engine look for tokens that an earlier process left, and then ends
// the engine.
func searched(t *testing.T, e *engine) {
	t.Helper()
	var reads atomic.Int32
	e.storage.onUse(func(op, key string) error {
		if op == opGet && strings.HasPrefix(key, "lease/") {
			reads.Add(1)
		}
		return nil
	})
	e.aMinuteLater(t)
	eventually(t, "the entries are read", func() bool { return int(reads.Load()) >= len(e.below(t, "lease/")) })
	e.storage.onUse(nil)
	e.backend.Cleanup(t.Context())
}

func TestLedgerEntryOfALaterVersionStays(t *testing.T) {
	e, s := ownTokens(t, nil)
	secret := e.read(t, "token/c").resp.Secret
	eventually(t, "the entry is left to the lease", func() bool { return leased(t, e) })
	for key := range e.below(t, "lease/") {
		e.storage.put(t, key, `{"version":99,"token":"of-a-later-version"}`)
	}
	e = e.restart(t)
	searched(t, e)
	e = e.restart(t)
	refused(t, e.revokeLease(t, secret), http.StatusInternalServerError, "newer")
	warned(t, update(t, e, "revoke/c", nil), "1 of 1 tokens are not revoked")
	if len(e.below(t, "lease/")) != 1 || s.RevocationRequests() != 0 {
		t.Error("the entry is gone, or the provider was asked")
	}
	withoutSecrets(t, "the log", e.log.String(), "of-a-later-version")
}

// If the entry of a token cannot be written, nobody gets the token, and it is revoked.
func TestLedgerEntryThatCannotBeWritten(t *testing.T) {
	e, s := ownTokens(t, nil)
	e.storage.onUse(failingOn(opPut, "lease/"))
	r := e.read(t, "token/c")
	e.storage.onUse(nil)
	refused(t, r, http.StatusInternalServerError, "the disk is on fire")
	withoutSecrets(t, "the error", r.text(), s.Issued()...)
	eventually(t, "the token is revoked", func() bool { return !s.Valid(s.Issued()[0]) })
	e.clock.advance(time.Minute)
	succeeded(t, e.read(t, "token/c"))
}

func TestLedgersHoldOnlyTokensThatMayHaveToBeRevoked(t *testing.T) {
	for name, config := range map[string]fields{
		"shared, and nobody to ask":                  {"reuse": true, "revocation_url": ""},
		"of a reader's own, and nobody to ask":       {"revocation_url": ""},
		"shared and handed out":                      {"reuse": true},
		"shared and handed out without leases":       {"reuse": true, "leased": false},
		"shared and handed out, with renewable=true": {"reuse": true, "renewable": true},
	} {
		t.Run(name, func(t *testing.T) {
			e, _ := ownTokens(t, config)
			e.storage.onUse(func(_, key string) error {
				if strings.HasPrefix(key, "lease/") {
					t.Errorf("%s is used", key)
				}
				return nil
			})
			succeeded(t, e.read(t, "token/c"))
			e.clock.advance(30 * time.Minute)
			succeeded(t, e.read(t, "token/c"))
			if config["revocation_url"] == "" {
				e.clock.advance(20 * time.Minute)
				succeeded(t, e.read(t, "token/c"))
			}
		})
	}
}

// A lease may end before its entry is marked as leased. The mark must not bring the
// deleted entry back.
func TestLeaseThatEndsAtOnceLeavesNothingBehind(t *testing.T) {
	e, s := ownTokens(t, nil)
	for range 20 {
		succeeded(t, e.revokeLease(t, e.read(t, "token/c").resp.Secret))
	}
	e.backend.Cleanup(t.Context()) // marks all entries that are still to be marked
	if got := e.below(t, "lease/"); len(got) != 0 || len(s.Revoked()) != 20 {
		t.Errorf("%d entries are left, %d tokens revoked", len(got), len(s.Revoked()))
	}
}

func TestCleanLeavesTokensToTheLeasesThatHoldThem(t *testing.T) {
	overAWire(t, func(t *testing.T, e *engine) {
		e.ownTokens(t, nil)
		for range 5 {
			succeeded(t, e.read(t, "token/c"))
		}
		start := time.Now()
		e.backend.Cleanup(t.Context())
		if took := time.Since(start); took != 0 {
			t.Errorf("it took %s", took)
		}
		for key, value := range e.below(t, "lease/") {
			if !strings.Contains(value, `"leased":true`) {
				t.Errorf("%s: a restart would revoke a token with a lease", key)
			}
		}
	})
}

// A reload must not wait for a provider that hangs. Tokens that are not revoked yet are
// in storage, and the next process revokes them.
func TestCleanWaitsFiveSecondsForMintsAndRevocationsTogether(t *testing.T) {
	overAWire(t, func(t *testing.T, e *engine) {
		s := e.ownTokens(t, fields{"request_timeout": 60, "reuse": true})
		e.must(t, "role/c/own", fields{"reuse": false})
		s.Behave(providertest.Behavior{Revocation: true, Hang: true, Times: -1}, providertest.Behavior{Delay: 200 * time.Millisecond, Times: 16})
		var readers []<-chan result
		ctx, leave := context.WithCancel(t.Context())
		for range 16 {
			readers = append(readers, soon(t, func() result { return e.readAs(ctx, t, logical.ReadOperation, "token/c/own") }))
		}
		eventually(t, "they are minted", func() bool { return s.Requests() == 16 })
		leave()
		for _, reader := range readers {
			wait(t, reader)
		}
		eventually(t, "revocations hang", func() bool { return s.RevocationRequests() >= 8 })
		s.Behave(providertest.Behavior{Hang: true})
		hanging := soon(t, func() result { return e.read(t, "token/c") })
		eventually(t, "a mint hangs", func() bool { return s.Requests() == 17 })
		start := time.Now()
		e.backend.Cleanup(t.Context())
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("Clean took %s", took)
		}
		s.Behave(providertest.Behavior{})
		wait(t, hanging)
		if len(e.below(t, "lease/")) != 16 {
			t.Fatalf("%d entries, want all", len(e.below(t, "lease/")))
		}
		e.restart(t).aMinuteLater(t)
		eventually(t, "the next process has them revoked", func() bool { return len(s.Revoked()) == 16 && len(e.below(t, "lease/")) == 0 })
	})
}

// One process serves all mounts, so a bug in a background job must not end it.
func TestPanicInTheBackground(t *testing.T) {
	e, s := ownTokens(t, nil)
	var changes atomic.Int32
	e.storage.onUse(func(op, key string) error {
		if op == opPut && strings.HasPrefix(key, "lease/") && changes.Add(1) > 1 {
			panic("a bug")
		}
		return nil
	})
	r := e.read(t, "token/c")
	eventually(t, "the panic is told", func() bool { return strings.Contains(e.log.String(), "a bug was caught") })
	e.storage.onUse(nil)
	e.aMinuteLater(t) // tries again
	eventually(t, "the entry is left to the lease", func() bool { return leased(t, e) })
	if !s.Valid(r.token(t)) {
		t.Error("the token was revoked")
	}

	answer := make(chan struct{})
	s.Behave(providertest.Behavior{Until: answer})
	ctx, leave := context.WithCancel(t.Context())
	left := soon(t, func() result { return e.readAs(ctx, t, logical.ReadOperation, "token/c") })
	eventually(t, "the provider is asked", func() bool { return s.Requests() == 2 })
	e.storage.onUse(func(op, key string) error {
		if op == opGet && key == "config/c" && s.IssuedCount() == 2 {
			panic("a bug in a revocation")
		}
		return nil
	})
	leave()
	close(answer)
	wait(t, left)
	eventually(t, "the panic is told", func() bool { return strings.Contains(e.log.String(), "path=\"background work\"") })
	e.storage.onUse(nil)

	answer = make(chan struct{})
	s.Behave(providertest.Behavior{Until: answer})
	reader := soon(t, func() result { return e.read(t, "token/c") })
	eventually(t, "the provider is asked", func() bool { return s.Requests() == 3 })
	succeeded(t, update(t, e, "revoke/c", nil))
	e.storage.onUse(func(op, key string) error {
		if op == opGet && strings.HasPrefix(key, "token/") {
			panic("a bug in a discard")
		}
		return nil
	})
	close(answer)
	wait(t, reader)
	e.storage.onUse(nil)
	succeeded(t, e.read(t, "token/c"))
}

// All entries of one token are in one directory. The directory's name does not reveal
// the token.
func TestTokensOfOneConfigThatAreTheSameShareADirectory(t *testing.T) {
	e, _ := repeating(t, nil)
	for range 3 {
		succeeded(t, e.read(t, "token/c"))
	}
	dirs := map[string]bool{}
	for key := range e.below(t, "lease/") {
		dirs[path.Dir(key)] = true
	}
	if len(dirs) != 1 || len(e.below(t, "lease/")) != 3 {
		t.Errorf("%d directories", len(dirs))
	}
}
