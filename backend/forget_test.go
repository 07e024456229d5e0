// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// ofAProvider returns an engine whose config/c takes its endpoints from provider/p. The
// provider has a revocation endpoint.
func ofAProvider(t *testing.T) (*engine, *providertest.Server) {
	t.Helper()
	e := mount(t)
	return e, e.ofAProvider(t)
}

func (e *engine) ofAProvider(t *testing.T) *providertest.Server {
	t.Helper()
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "provider/p", fields{"token_url": s.TokenURL(), "revocation_url": s.RevocationURL()})
	config := with(standard(s), fields{"provider": "p"})
	delete(config, "token_url")
	e.must(t, "config/c", config)
	return s
}

// A write that changes a config's request for tokens forgets the tokens that it has.
// Their readers may go on to use them. The kill switch revokes these tokens as well.
func TestTokensThatAWriteForgotLiveUntilTheKillSwitch(t *testing.T) {
	writes := map[string]func(t *testing.T, e *engine, s *providertest.Server){
		"other scopes": func(t *testing.T, e *engine, _ *providertest.Server) { e.must(t, "config/c", fields{"scopes": "read"}) },
		"a patch": func(t *testing.T, e *engine, _ *providertest.Server) {
			succeeded(t, e.patch(t, "config/c", fields{"scopes": []any{"read"}}))
		},
		"another provider's words": func(t *testing.T, e *engine, _ *providertest.Server) {
			e.must(t, "provider/p", fields{"scopes": "read"})
		},
		"a new secret": func(t *testing.T, e *engine, s *providertest.Server) {
			s.SetCredentials(providertest.Credentials{ClientSecret: "the next one"})
			e.must(t, "config/c", fields{"client_secret": "the next one"})
		},
		"one of many": func(t *testing.T, e *engine, _ *providertest.Server) {
			for _, scope := range []string{"read", "write", "read,write"} {
				e.must(t, "config/c", fields{"scopes": scope})
				succeeded(t, e.read(t, "token/c"))
			}
		},
	}
	ends := map[string]func(t *testing.T, e *engine) result{
		"the kill switch":            func(t *testing.T, e *engine) result { return update(t, e, "revoke/c", nil) },
		"the next process's":         func(t *testing.T, e *engine) result { return update(t, e.restart(t), "revoke/c", nil) },
		"the deletion of the config": func(t *testing.T, e *engine) result { return e.delete(t, "config/c") },
	}
	for writeName, write := range writes {
		for endName, end := range ends {
			t.Run(writeName+", "+endName, func(t *testing.T) {
				e, s := ofAProvider(t)
				old := e.read(t, "token/c").token(t)
				write(t, e, s)
				succeeded(t, e.read(t, "token/c"))
				for range 2 { // a process that looks for tokens to revoke does not revoke it either
					e.aMinuteLater(t)
					e.backend.Cleanup(t.Context())
					e = e.restart(t)
				}
				if !s.Valid(old) || s.RevocationRequests() != 0 {
					t.Fatal("those who have it have lost it")
				}
				r := end(t, e)
				succeeded(t, r)
				revoked, issued := s.Revoked(), s.Issued()
				slices.Sort(revoked)
				slices.Sort(issued)
				if r.resp != nil || !slices.Equal(revoked, issued) {
					t.Errorf("%d of %d tokens are revoked: %s", len(revoked), len(issued), r.text())
				}
				if left := e.below(t, "lease/"); len(left) != 0 {
					t.Errorf("left behind: %v", left)
				}
				withoutSecrets(t, "the log", e.log.String(), issued...)
			})
		}
	}
}

// If storage failed to take a token, only memory knows that token.
func TestTokenThatAWriteForgotAndOnlyMemoryHeldIsRevokedByTheKillSwitch(t *testing.T) {
	e, s := ofAProvider(t)
	e.storage.onUse(failingOn(opPut, "token/"))
	old := e.read(t, "token/c").token(t)
	e.storage.onUse(nil)
	e.must(t, "config/c", fields{"scopes": "read"})
	succeeded(t, update(t, e, "revoke/c", nil))
	if s.Valid(old) {
		t.Error("the token outlived the kill switch")
	}
}

// If the ledger cannot take a forgotten token, the token stays where it is. Nobody gets
// it, and the kill switch finds it.
func TestTokenThatAWriteForgotWhenStorageFailed(t *testing.T) {
	for _, fails := range []struct{ op, prefix string }{{opPut, "lease/"}, {opList, "token/"}, {opGet, "token/"}} {
		t.Run(fails.op+" "+fails.prefix, func(t *testing.T) {
			e, s := ofAProvider(t)
			old := e.read(t, "token/c").token(t)
			e.storage.onUse(failingOn(fails.op, fails.prefix))
			e.must(t, "config/c", fields{"scopes": "read"})
			e.storage.onUse(nil)
			for range 2 {
				if e.read(t, "token/c").token(t) == old {
					t.Error("the forgotten token is handed out")
				}
				e = e.restart(t)
			}
			succeeded(t, update(t, e, "revoke/c", nil))
			if s.Valid(old) {
				t.Error("the token outlived the kill switch")
			}
		})
	}
}

// A token is sent only to the provider that issued it, whatever the config has become.
// If a token cannot be revoked, a warning says that it lives on.
func TestTokensThatAWriteForgotAreNotSentToAnotherProvider(t *testing.T) {
	e, old := ofAProvider(t)
	succeeded(t, e.read(t, "token/c"))
	moved := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", with(standard(moved), fields{"revocation_url": moved.RevocationURL()}))
	succeeded(t, e.read(t, "token/c"))
	warned(t, update(t, e, "revoke/c", nil), "1 of 2 tokens cannot be revoked at the provider, and live on there until 2026-01-02T04:04:05Z: its config now sends credentials to another place")
	if old.RevocationRequests() != 0 || !slices.Equal(moved.Revoked(), moved.Issued()) {
		t.Errorf("%d requests at the old provider, %v revoked at the new one", old.RevocationRequests(), moved.Revoked())
	}
	e.must(t, "config/c", with(standard(old), fields{"revocation_url": old.RevocationURL()})) // the config moves back
	succeeded(t, update(t, e, "revoke/c", nil))
	if !slices.Equal(old.Revoked(), old.Issued()) {
		t.Error("back at the old provider, its token is not revoked")
	}
}

// A config that is written all day leaves behind only tokens that are still valid.
func TestForgottenTokensGoWhenTheyExpire(t *testing.T) {
	e, s := ofAProvider(t)
	living := func() int {
		n := 0
		for _, token := range s.Issued() {
			if s.Valid(token) {
				n++
			}
		}
		return n
	}
	for range 4 {
		for i := range 15 {
			e.must(t, "config/c", fields{"scopes": []string{"read", "write"}[i%2]})
			succeeded(t, e.read(t, "token/c"))
			e.clock.advance(10 * time.Minute)
			e.periodic(t)
		}
		if got := len(e.below(t, "lease/")); got < living()-1 || got < 4 {
			t.Fatalf("%d forgotten tokens are known, of %d that live", got, living())
		}
		eventually(t, "those that have expired are gone", func() bool {
			e.periodic(t)
			return len(e.below(t, "lease/"))+len(e.below(t, "token/")) <= living()
		})
		e.backend.Cleanup(t.Context())
		e = e.restart(t) // the next process finds them as well
		e.clock.advance(time.Minute)
		e.periodic(t)
	}
	e.clock.advance(time.Hour)
	eventually(t, "all are gone", func() bool {
		e.aMinuteLater(t)
		return len(e.below(t, "lease/")) == 0
	})
	if s.RevocationRequests() != 0 {
		t.Error("something was revoked")
	}
}

// A forgotten token is not kept if it cannot be revoked.
func TestForgottenTokensThatCannotBeRevokedAreDropped(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	succeeded(t, e.read(t, "token/c"))
	e.must(t, "config/c", fields{"scopes": "read"})
	if left := len(e.below(t, "token/")) + len(e.below(t, "lease/")); left != 0 {
		t.Errorf("%d entries", left)
	}
}

// The kill switch does not need the refresh token that came with a forgotten token, so
// the refresh token is not kept.
func TestForgottenTokensAreKeptWithoutWhatCameAlong(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	c := s.Credentials()
	e.must(t, "config/c", with(standard(s), fields{
		"revocation_url": s.RevocationURL(), "grant_type": "password", "username": c.Username, "password": c.Password,
	}))
	succeeded(t, e.read(t, "token/c"))
	if !strings.Contains(fmt.Sprint(e.below(t, "token/")), "refresh_token") {
		t.Fatal("no refresh token came along")
	}
	e.must(t, "config/c", fields{"scopes": "read"})
	if left := e.below(t, "lease/"); len(left) != 1 || strings.Contains(fmt.Sprint(left), "refresh") || len(e.below(t, "token/")) != 0 {
		t.Errorf("kept: %v", left)
	}
}

// A provider may return the same token again. Then the end of one reader's lease does
// not revoke it, because other readers hold it too.
func TestEndOfALeaseSparesATokenThatReadersSharedBeforeAWrite(t *testing.T) {
	e, p := repeating(t, fields{"reuse": true})
	e.must(t, "role/c/own", fields{"reuse": false})
	succeeded(t, e.read(t, "token/c"))
	e.must(t, "config/c", fields{"scopes": "read"})
	succeeded(t, e.revokeLease(t, e.read(t, "token/c/own").resp.Secret))
	if len(p.revocations()) != 0 {
		t.Error("the token of other readers is revoked")
	}
	succeeded(t, update(t, e, "revoke/c", nil))
	if len(p.revocations()) != 1 {
		t.Error("the kill switch revoked nothing")
	}
}
