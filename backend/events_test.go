// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// sent waits until there are at least want events of a type, and returns them.
func sent(t *testing.T, e *engine, kind logical.EventType, want int) []fields {
	t.Helper()
	var out []fields
	eventually(t, string(kind)+" is sent", func() bool {
		e.events.Lock()
		defer e.events.Unlock()
		out = nil
		for _, event := range e.events.Events {
			if event.Type == kind {
				out = append(out, event.Event.GetMetadata().AsMap())
			}
		}
		return len(out) >= want
	})
	if len(out) != want {
		t.Errorf("%d events of type %s, want %d", len(out), kind, want)
	}
	return out
}

func TestEventsTellWhatHappens(t *testing.T) {
	e := mount(t, secretOne, secretTwo)
	s := e.server(t, providertest.RFC6749, providertest.Options{ClientSecret: secretTwo})
	e.must(t, "config/c", with(standard(s), fields{
		"client_secret": secretOne, "fallback_client_secret": secretTwo, "reuse": false, "revocation_url": s.RevocationURL(),
	}))
	e.must(t, "role/c/r", fields{"scopes": "read"})
	r := e.read(t, "token/c/r")
	r.token(t)
	succeeded(t, e.revokeLease(t, r.resp.Secret))
	e.clock.advance(time.Minute)
	s.Behave(providertest.Behavior{Times: -1, Status: 429, Echo: true})
	refused(t, e.read(t, "token/c"), http.StatusTooManyRequests)
	e.must(t, "config/ends", ending(e, 20*day))
	e.periodic(t)

	const of = "token/c/r"
	page, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[logical.EventType]fields{
		"oauthcc/token-minted":     {"path": of, "data_path": of, "modified": "true", "operation": "mint", "config": "c", "role": "r", "expires_at": "2026-01-02T04:04:05Z"},
		"oauthcc/fallback-used":    {"path": of, "config": "c", "role": "r", "expires_at": "2026-01-02T04:04:05Z"},
		"oauthcc/token-revoked":    {"path": "token/c", "config": "c"},
		"oauthcc/mint-failed":      {"path": "token/c", "config": "c", "role": "", "cause": "rate_limited", "error": "rate limited (HTTP 429, (withheld: it repeats a credential)): come back later; if it happens often, have the provider raise the limit, and see who else uses this client"},
		"oauthcc/secret-ends-soon": {"path": "config/ends", "config": "ends", "what": "client_secret", "ends_at": "2026-01-22T03:05:05Z", "days_left": "20"},
	} {
		got := sent(t, e, kind, 1)
		if !same(got[0], want) {
			t.Errorf("%s says %v, want %v", kind, got[0], want)
		}
		if !strings.Contains(string(page), "| `"+string(kind)+"` |") {
			t.Errorf("docs/api.md does not name %s", kind)
		}
	}
	withoutSecrets(t, "the events", e.sent(t), append(s.Issued(), secretOne, secretTwo)...)
}

func TestEventsAreBounded(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", with(standard(s), fields{"reuse": false}))
	for range 130 {
		succeeded(t, e.read(t, "token/c"))
	}
	sent(t, e, "oauthcc/token-minted", 100)
	e.clock.advance(time.Second)
	for range 30 {
		succeeded(t, e.read(t, "token/c"))
	}
	sent(t, e, "oauthcc/token-minted", 120)
}

// An event system that hangs does not delay readers. Neither does a missing one.
func TestEventsThatCannotBeSent(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", with(standard(s), fields{"reuse": false, "revocation_url": s.RevocationURL()}))
	e.events.Lock() // senders wait for this lock
	for range 110 {
		succeeded(t, e.read(t, "token/c"))
	}
	r := e.read(t, "token/c")
	succeeded(t, e.revokeLease(t, r.resp.Secret))
	e.events.Unlock()
	sent(t, e, "oauthcc/token-minted", 100)
	if err := e.backend.Setup(context.Background(), &logical.BackendConfig{System: e.system, StorageView: e.storage}); err != nil {
		t.Fatal(err)
	}
	e.clock.advance(time.Minute)
	succeeded(t, e.read(t, "token/c"))
}
