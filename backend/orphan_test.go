// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// crashed returns an engine after a crash: the earlier process ended before anybody got
// its answer. It also returns the server and the token.
func crashed(t *testing.T) (*engine, *providertest.Server, string) {
	t.Helper()
	e, s := ownTokens(t, nil)
	var changes atomic.Int32
	e.storage.onUse(func(op, key string) error {
		if strings.HasPrefix(key, "lease/") && op == opPut && changes.Add(1) > 1 {
			return errors.New("the process is gone")
		}
		return nil
	})
	token := e.read(t, "token/c").token(t)
	e.backend.Cleanup(t.Context()) // so that the old process does nothing more
	e.storage.onUse(nil)
	if leased(t, e) {
		t.Fatal("the entry is left to a lease")
	}
	return e.restart(t), s, token
}

func TestTokenOfAProcessThatEndedBeforeTheAnswerIsRevoked(t *testing.T) {
	e, s, token := crashed(t)
	e.clock.advance(29 * time.Second)
	e.periodic(t)
	if !s.Valid(token) || len(e.below(t, "lease/")) != 1 {
		t.Error("an answer that may be on its way is not waited for")
	}
	e.clock.advance(time.Second)
	e.periodic(t)
	eventually(t, "the token is revoked and forgotten", func() bool { return !s.Valid(token) && len(e.below(t, "lease/")) == 0 })
	e.aMinuteLater(t)
	e.backend.Cleanup(t.Context())
	if s.RevocationRequests() != 1 {
		t.Error("revoked again")
	}
	withoutSecrets(t, "the log", e.log.String(), token)
}

func TestTokenThatAnEarlierProcessLeft(t *testing.T) {
	for name, test := range map[string]struct {
		do    func(t *testing.T, e *engine, s *providertest.Server)
		stays bool
	}{
		"has expired": {func(_ *testing.T, e *engine, _ *providertest.Server) { e.clock.advance(2 * time.Hour) }, false},
		"is gone there": {func(_ *testing.T, _ *engine, s *providertest.Server) {
			s.Behave(providertest.Behavior{Revocation: true, Status: 400, Body: `{"error":"invalid_token"}`})
		}, false},
		"has a provider that fails": {func(_ *testing.T, _ *engine, s *providertest.Server) {
			s.Behave(providertest.Behavior{Revocation: true, Echo: true, Status: 500})
		}, true},
		"has a config that cannot be read": {func(_ *testing.T, e *engine, _ *providertest.Server) { e.storage.onUse(failingOn(opGet, "config/")) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			e, s, token := crashed(t)
			test.do(t, e, s)
			e.aMinuteLater(t)
			eventually(t, "the attempt has succeeded or failed", func() bool {
				return len(e.below(t, "lease/")) == 0 ||
					strings.Contains(e.log.String(), "is not revoked yet") || strings.Contains(e.log.String(), "could not be looked for")
			})
			e.storage.onUse(nil)
			withoutSecrets(t, "the log", e.log.String(), token, s.Credentials().ClientSecret)
			if got := len(e.below(t, "lease/")) == 1; got != test.stays {
				t.Fatalf("the entry stays: %t, want %t: %s", got, test.stays, e.log.String())
			}
			for range 6 {
				e.aMinuteLater(t)
			}
			eventually(t, "the token is revoked in the end", func() bool { return len(e.below(t, "lease/")) == 0 })
			if s.Valid(token) && !strings.Contains(name, "gone") && !strings.Contains(name, "expired") {
				t.Error("the token lives on")
			}
		})
	}
}

// A token may be minted for nobody, because its reader leaves or the token is forgotten
// during the mint. Such a token is revoked when the mint ends. If the config has become
// another client or is gone, the token is revoked with the credentials that it was
// minted with.
func TestTokenThatNobodyGetsIsRevoked(t *testing.T) {
	for name, meanwhile := range map[string]func(t *testing.T, e *engine, leave func()){
		"the reader left":          func(_ *testing.T, _ *engine, leave func()) { leave() },
		"the kill switch was used": func(t *testing.T, e *engine, _ func()) { succeeded(t, update(t, e, "revoke/c", nil)) },
		"its config was changed":   func(t *testing.T, e *engine, _ func()) { e.must(t, "config/c", fields{"scopes": "read"}) },
		"its config was deleted":   func(t *testing.T, e *engine, _ func()) { succeeded(t, e.delete(t, "config/c")) },
		"its config became another client": func(t *testing.T, e *engine, _ func()) {
			e.must(t, "config/c", fields{"client_id": "another", "client_secret": "its own"})
		},
		"its config was deleted, and another client has its name": func(t *testing.T, e *engine, _ func()) {
			config := e.read(t, "config/c").data(t)
			succeeded(t, e.delete(t, "config/c"))
			e.must(t, "config/c", fields{
				"token_url": config["token_url"], "revocation_url": config["revocation_url"], "client_id": "another", "client_secret": "its own",
			})
		},
	} {
		for kind, reuse := range map[string]bool{"of its own": false, "to be shared": true} {
			if reuse && name == "the reader left" {
				continue // a shared token is kept for other readers
			}
			t.Run(kind+", "+name, func(t *testing.T) {
				e, s := ownTokens(t, fields{"reuse": reuse})
				answer := make(chan struct{})
				s.Behave(providertest.Behavior{Until: answer})
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				reader := soon(t, func() result { return e.readAs(ctx, t, logical.ReadOperation, "token/c") })
				eventually(t, "the provider is asked", func() bool { return s.Requests() == 1 })
				meanwhile(t, e, leave)
				close(answer)
				r := wait(t, reader)
				eventually(t, "the token is revoked", func() bool { return len(s.Issued()) > 0 && !s.Valid(s.Issued()[0]) })
				if r.err == nil && !s.Valid(r.token(t)) {
					t.Error("the token that was handed out is revoked")
				}
				if s.IssuedCount() == 1 {
					eventually(t, "no entry is left", func() bool { return len(e.below(t, "lease/")) == 0 })
				}
				withoutSecrets(t, "the answer and the log", r.text()+e.log.String(), s.Issued()[0], s.Credentials().ClientSecret)
			})
		}
	}
}

// When the config is deleted, the credentials of the mint are gone from storage. Memory
// keeps them until the provider has revoked the token.
func TestTokenThatNobodyGetsIsRevokedInTheEndThoughItsConfigIsGone(t *testing.T) {
	e, s := ownTokens(t, nil)
	answer := make(chan struct{})
	s.Behave(providertest.Behavior{Until: answer}, revokesNothing)
	reader := soon(t, func() result { return e.read(t, "token/c") })
	eventually(t, "the provider is asked", func() bool { return s.Requests() == 1 })
	succeeded(t, e.delete(t, "config/c"))
	close(answer)
	refused(t, wait(t, reader), http.StatusBadRequest, `no config "c"`)
	eventually(t, "it is tried", func() bool { return s.RevocationRequests() == 1 })
	s.Behave(providertest.Behavior{})
	eventually(t, "it is tried again, and nothing is left", func() bool {
		e.aMinuteLater(t)
		return !s.Valid(s.Issued()[0]) && len(e.below(t, "lease/")) == 0
	})
}
