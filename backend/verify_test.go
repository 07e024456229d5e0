// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// While a write verifies its connection at the provider, other writes need not wait.
// The verified write keeps what they have written.
func TestVerifiedWriteHoldsNobodyUp(t *testing.T) {
	for name, do := range map[string]func(t *testing.T, e *engine) result{
		"another write":   func(t *testing.T, e *engine) result { return update(t, e, "config/c", fields{"description": "mine"}) },
		"a patch":         func(t *testing.T, e *engine) result { return e.patch(t, "config/c", fields{"description": "mine"}) },
		"a role's write":  func(t *testing.T, e *engine) result { return e.write(t, "role/c/r", fields{"ttl": 60}) },
		"a revoke":        func(t *testing.T, e *engine) result { return update(t, e, "revoke/c", nil) },
		"a role's delete": func(t *testing.T, e *engine) result { return e.delete(t, "role/c/r") },
	} {
		t.Run(name, func(t *testing.T) {
			e, d := mount(t, secretOne), newDesk(t)
			e.must(t, "config/c", with(d.config(), fields{"description": "first"}))
			writer := soon(t, func() result { return update(t, e, "config/c", fields{"scopes": "x", "verify_connection": true}) })
			visit := d.next(t)
			succeeded(t, wait(t, soon(t, func() result { return do(t, e) })))
			visit.token("t")
			succeeded(t, wait(t, writer))
			asked(t, d.Server, 1) // the verified request is the one that is stored
			wantMembers(t, e.read(t, "config/c").data(t), fields{"scopes": []any{"x"}})
			if strings.Contains(name, "write") && name != "a role's write" || name == "a patch" {
				wantMembers(t, e.read(t, "config/c").data(t), fields{"description": "mine"})
			}
		})
	}
}

// Only a verified request is stored. If another write changes the request meanwhile,
// the request is verified again.
func TestVerifiedWriteThatIsOvertakenIsVerifiedAgain(t *testing.T) {
	e, d := mount(t, secretOne), newDesk(t)
	e.must(t, "config/c", d.config())
	writer := soon(t, func() result { return update(t, e, "config/c", fields{"verify_connection": true}) })
	visit := d.next(t)
	e.must(t, "config/c", fields{"scopes": "x"})
	visit.token("t")
	visit = d.next(t)
	if got := visit.form.Get("scope"); got != "x" {
		t.Errorf("verified with the scope %q", got)
	}
	visit.reply <- `{"error":"invalid_scope"}`
	refused(t, wait(t, writer), http.StatusBadRequest, "not written", "invalid_scope")
	if e.read(t, "config/c").data(t)["verify_connection"] != nil {
		t.Error("stored all the same")
	}
}

func TestVerifiedWriteThatIsAlwaysOvertakenGivesUp(t *testing.T) {
	e := mount(t, secretOne)
	n := 0
	s := invented(t, func(*http.Request, string) string {
		n++
		if r := update(t, e, "config/c", fields{"scopes": fmt.Sprintf("s%d", n)}); r.err != nil {
			t.Errorf("the other write: %v", r.err)
		}
		return `{"access_token":"t","expires_in":3600}`
	})
	e.must(t, "config/c", fields{"token_url": s.TokenURL(), "client_id": "c", "client_secret": secretOne})
	refused(t, update(t, e, "config/c", fields{"verify_connection": true}), http.StatusConflict, `"c"`, "not written", "write it again")
	asked(t, s, 5)
}

// moved returns an engine whose chain has gone on, its server, and a verified write
// that starts another chain.
func moved(t *testing.T) (*engine, *providertest.Server, fields) {
	t.Helper()
	e, s := chained(t, nil)
	for range 2 {
		succeeded(t, e.read(t, "token/c"))
		e.clock.advance(50 * time.Minute)
	}
	return e, s, fields{"refresh_token": firstOf(t, s), "verify_connection": true}
}

// A new chain is stored beside the old one until the config names the new one. So a
// write that fails harms neither chain, and can be repeated.
func TestVerifiedChainThatCannotBeStored(t *testing.T) {
	for name, fail := range map[string]func(op, key string) error{
		"the config":               failingOn(opPut, "config/c"),
		"the new chain":            failingOn(opPut, "grant/"),
		"the old chain's deletion": failingOn(opDelete, "grant/"),
	} {
		t.Run(name, func(t *testing.T) {
			e, s, write := moved(t)
			e.storage.onUse(fail)
			r := update(t, e, "config/c", write)
			e.storage.onUse(nil)
			if failed := r.err != nil; failed != (name != "the old chain's deletion") {
				t.Fatalf("status %d: %s", r.status(), r.text())
			}
			succeeded(t, e.read(t, "token/c"))
			if name == "the config" {
				e = e.restart(t)
				e.clock.advance(50 * time.Minute)
				succeeded(t, e.read(t, "token/c"))
				succeeded(t, update(t, e, "config/c", write))
			}
			for range 2 {
				e.clock.advance(50 * time.Minute)
				e = e.restart(t)
				succeeded(t, e.read(t, "token/c"))
			}
			withoutSecrets(t, "the log", e.log.String(), s.Issued()...)
		})
	}
}

func TestVerifiedChainSurvivesAnAccidentBetweenAnyTwoSteps(t *testing.T) {
	for name, accident := range accidents() {
		for n := int64(1); ; n++ {
			reached := true
			t.Run(fmt.Sprintf("%s at step %d", name, n), func(t *testing.T) {
				e, _, write := moved(t)
				var uses atomic.Int64
				e.storage.onUse(func(op, _ string) error { return accident.at(n, uses.Add(1), op) })
				_ = update(t, e, "config/c", write) // it may fail
				e.storage.onUse(nil)
				reached = uses.Load() >= n
				if !accident.goes {
					e = e.restart(t)
				}
				for range 3 {
					succeeded(t, e.read(t, "token/c"))
					e.clock.advance(51 * time.Minute)
				}
			})
			if !reached || n > 50 {
				break
			}
		}
	}
}

// Chains that earlier versions stored go on, and are deleted when nothing needs them
// any more.
func TestChainOfTheOldLayout(t *testing.T) {
	e, s := chained(t, nil)
	for range 2 {
		succeeded(t, e.read(t, "token/c"))
		e.clock.advance(time.Hour) // a reader waits for the next token
	}
	for key, value := range e.below(t, "grant/") {
		if err := e.storage.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		e.storage.put(t, "grant/c", value)
	}
	e = e.restart(t)
	for range 2 {
		succeeded(t, e.read(t, "token/c"))
		e.clock.advance(time.Hour) // a reader waits for the next token
	}
	_, shown := grants(s)
	slices.Sort(shown)
	if len(slices.Compact(shown)) != 4 {
		t.Errorf("a refresh token was used twice: %d different ones of 4", len(slices.Compact(shown)))
	}
	next := firstOf(t, s)
	e.must(t, "config/c", fields{"refresh_token": next})
	if left := e.below(t, "grant/"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	succeeded(t, e.read(t, "token/c"))
	succeeded(t, e.delete(t, "config/c"))
	if left := e.below(t, "grant/"); len(left) != 0 {
		t.Errorf("left behind by a delete: %v", left)
	}
}
