// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

func TestWriteAheadEntryFromTheMintToTheAnswer(t *testing.T) {
	e, s := ownTokens(t, nil)
	written := 0
	e.storage.onUse(func(op, key string) error {
		if op == opPut && strings.HasPrefix(key, "wal/") {
			written++
			asked(t, s, 1)
		}
		return nil
	})
	r := e.read(t, "token/c")
	e.storage.onUse(nil)
	if written != 1 {
		t.Fatalf("%d entries were written", written)
	}
	eventually(t, "the entry is gone", func() bool { return len(e.below(t, "wal/")) == 0 })
	succeeded(t, e.rollBack(t))
	if !s.Valid(r.token(t)) || s.RevocationRequests() != 0 {
		t.Error("a token with a lease was revoked")
	}
}

// An answer may never arrive: until Vault has surely registered its lease, the
// entry is there.
func TestWriteAheadEntryOutlivesTheAnswer(t *testing.T) {
	e, _ := ownTokens(t, nil)
	e.storage.onUse(func(op, key string) error {
		if op == opDelete && strings.HasPrefix(key, "wal/") {
			return errors.New("the process is gone")
		}
		return nil
	})
	succeeded(t, e.read(t, "token/c"))
	if got := len(e.below(t, "wal/")); got != 1 {
		t.Errorf("%d entries right after the answer, want 1", got)
	}
}

func TestWriteAheadEntriesAreOnlyOfTokensThatAreRevoked(t *testing.T) {
	for name, config := range map[string]fields{
		"shared":                     {"reuse": true},
		"shared and without leases":  {"reuse": true, "leased": false},
		"shared and renewable":       {"reuse": true, "renewable": true},
		"own, but nobody to ask for": {"revocation_url": ""},
	} {
		t.Run(name, func(t *testing.T) {
			e, _ := ownTokens(t, config)
			e.storage.onUse(func(_, key string) error {
				if strings.HasPrefix(key, "wal/") {
					t.Errorf("%s is used", key)
				}
				return nil
			})
			succeeded(t, e.read(t, "token/c"))
			e.clock.advance(50 * time.Minute)
			succeeded(t, e.read(t, "token/c"))
		})
	}
}

// crashed is an engine that minted a token and ended before anybody got it.
func crashed(t *testing.T) (*engine, *providertest.Server, string) {
	t.Helper()
	e, s := ownTokens(t, nil)
	e.storage.onUse(func(op, key string) error {
		if op == opDelete && strings.HasPrefix(key, "wal/") {
			return errors.New("the process is gone")
		}
		return nil
	})
	token := e.read(t, "token/c").token(t)
	e.backend.Cleanup(t.Context()) // so that nothing of it goes on
	e.storage.onUse(nil)
	if len(e.below(t, "wal/")) != 1 {
		t.Fatal("no entry")
	}
	return e.restart(t), s, token
}

func TestRollbackRevokesAnOrphan(t *testing.T) {
	e, s, token := crashed(t)
	e.periodic(t) // not as young as this
	if !s.Valid(token) || len(e.below(t, "wal/")) != 1 {
		t.Error("an answer that may be on its way is not waited for")
	}
	succeeded(t, e.rollBack(t))
	if s.Valid(token) || s.RevocationRequests() != 1 || len(e.below(t, "wal/")) != 0 {
		t.Errorf("valid %t, %d requests, entries %v", s.Valid(token), s.RevocationRequests(), e.below(t, "wal/"))
	}
	succeeded(t, e.rollBack(t))
	if s.RevocationRequests() != 1 {
		t.Error("revoked again")
	}
	withoutSecrets(t, "the log", e.log.String(), token)
}

func TestRollbackOf(t *testing.T) {
	for name, test := range map[string]struct {
		do    func(t *testing.T, e *engine, s *providertest.Server)
		stays bool
	}{
		"a token that has expired": {func(_ *testing.T, e *engine, _ *providertest.Server) { e.clock.advance(2 * time.Hour) }, false},
		"a config that is gone":    {func(t *testing.T, e *engine, _ *providertest.Server) { succeeded(t, e.delete(t, "config/c")) }, false},
		"a token that is gone": {func(_ *testing.T, _ *engine, s *providertest.Server) {
			s.Behave(providertest.Behavior{Revocation: true, Status: 400, Body: `{"error":"invalid_token"}`})
		}, false},
		"a provider that fails": {func(_ *testing.T, _ *engine, s *providertest.Server) {
			s.Behave(providertest.Behavior{Revocation: true, Echo: true, Status: 500})
		}, true},
		"a config that cannot be read": {func(_ *testing.T, e *engine, _ *providertest.Server) { e.storage.onUse(failingOn(opGet, "config/")) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			e, s, token := crashed(t)
			test.do(t, e, s)
			r := e.rollBack(t)
			e.storage.onUse(nil)
			withoutSecrets(t, "the answer and the log", r.text()+e.log.String(), token, s.Credentials().ClientSecret)
			if got := len(e.below(t, "wal/")) == 1; got != test.stays {
				t.Errorf("the entry stays: %t, want %t: %s", got, test.stays, r.text())
			}
			if failed := r.err != nil || r.resp.IsError(); failed != test.stays {
				t.Errorf("failed: %t, want %t: %s", failed, test.stays, r.text())
			}
			if !test.stays {
				return
			}
			succeeded(t, e.rollBack(t))
			if s.Valid(token) || len(e.below(t, "wal/")) != 0 {
				t.Error("the token lives on")
			}
		})
	}
}

func TestRollbackOfAnEntryOfALaterVersionKeepsIt(t *testing.T) {
	e, s := ownTokens(t, nil)
	for _, entry := range []string{
		`{"type":"something","data":{"config":"c","token":"t","until":"2026-01-02T04:04:05Z"},"created_at":1}`,
		`{"type":"token","data":{"config":"c","until":"2026-01-02T04:04:05Z"},"created_at":1}`,
		`{"type":"token","data":["` + secretOne + `"],"created_at":1}`,
		`{"type":"token","data":{"config":"c","token":"t","until":"soon"},"created_at":1}`,
	} {
		e.storage.put(t, "wal/1", entry)
		r := e.rollBack(t)
		if !r.resp.IsError() || len(e.below(t, "wal/")) != 1 {
			t.Errorf("%s: %s", entry, r.text())
		}
		withoutSecrets(t, "the answer and the log", r.text()+e.log.String(), secretOne)
	}
	if s.RevocationRequests() != 0 {
		t.Error("the provider was asked")
	}
}

// A token whose entry cannot be written is handed to nobody.
func TestWriteAheadEntryThatCannotBeWritten(t *testing.T) {
	e, s := ownTokens(t, nil)
	e.storage.onUse(failingOn(opPut, "wal/"))
	r := e.read(t, "token/c")
	e.storage.onUse(nil)
	refused(t, r, http.StatusInternalServerError, "the disk is on fire")
	withoutSecrets(t, "the error", r.text(), s.Issued()...)
	e.clock.advance(time.Minute)
	succeeded(t, e.read(t, "token/c"))
}

// What was minted for credentials that are replaced is an orphan as well.
func TestRollbackOfATokenThatWasForgottenUnderItsMint(t *testing.T) {
	e, s := ownTokens(t, nil)
	s.Behave(providertest.Behavior{Delay: 200 * time.Millisecond})
	reader := soon(t, func() result { return e.read(t, "token/c") })
	eventually(t, "the provider is asked", func() bool { return s.Requests() == 1 })
	succeeded(t, update(t, e, "revoke/c", nil))
	kept := wait(t, reader).token(t)
	asked(t, s, 2)
	eventually(t, "the entry of the token that was handed out is gone", func() bool { return len(e.below(t, "wal/")) == 1 })
	succeeded(t, e.rollBack(t))
	if s.Valid(s.Issued()[0]) || !s.Valid(kept) || len(e.below(t, "wal/")) != 0 {
		t.Errorf("first valid %t, second valid %t", s.Valid(s.Issued()[0]), s.Valid(kept))
	}
}

func TestCleanEndsTheEntriesOfTokensThatWereHandedOut(t *testing.T) {
	e, _ := ownTokens(t, nil)
	for range 5 {
		succeeded(t, e.read(t, "token/c"))
	}
	start := time.Now()
	e.backend.Cleanup(t.Context())
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
	if got := e.below(t, "wal/"); len(got) != 0 {
		t.Errorf("%d entries left: a restart would revoke tokens with leases", len(got))
	}
}
