// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// budgeted returns an engine whose config/c may mint limit tokens an hour. Each token
// lives for ten minutes.
func budgeted(t *testing.T, limit int, more fields) (*engine, *providertest.Server) {
	t.Helper()
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{Lifetime: 10 * time.Minute})
	e.must(t, "config/c", with(with(standard(s), fields{"mints_per_hour": limit, "scopes": "read,write"}), more))
	return e, s
}

func TestPastItsBudgetAConfigKeepsItsTokenAndThenRefuses(t *testing.T) {
	e, s := budgeted(t, 2, nil)
	e.must(t, "role/c/r", fields{"scopes": "read"})
	first := e.read(t, "token/c").token(t)
	e.clock.advance(8 * time.Minute) // 03:12:05
	second := e.read(t, "token/c").token(t)
	if first == second {
		t.Fatal("one token twice")
	}
	e.clock.advance(8 * time.Minute) // 03:20:05
	r := e.read(t, "token/c")
	warned(t, r, "this is the old one: config \"c\": no token is minted: its mints_per_hour of 2 is used up; one more can be minted in 44m55s: wait, or raise mints_per_hour")
	if r.token(t) != second {
		t.Error("another token")
	}
	rows, _ := rowsOf(t, e.read(t, "status"))
	wantMembers(t, rows["c"], fields{"state": "old token", "last_error": "budget: wait, or raise mints_per_hour", "mints_last_hour": float64(2), "mints_per_hour": float64(2), "next_attempt": "2026-01-02T04:05:00Z"})

	e.clock.advance(2 * time.Minute) // the token is no longer usable
	for _, path := range []string{"token/c", "token/c/r"} {
		r = e.read(t, path)
		refused(t, r, http.StatusTooManyRequests, "mints_per_hour", "next attempt from 2026-01-02T04:05:00Z on")
		if got := r.resp.Headers["Retry-After"]; len(got) != 1 || got[0] != "2575" {
			t.Errorf("%s: Retry-After is %q", path, got)
		}
	}
	r = update(t, e, "check/c", nil)
	refused(t, r, http.StatusTooManyRequests, "one more can be minted in 42m55s")
	asked(t, s, 2)
	wantMembers(t, e.read(t, "status/c").data(t), fields{"state": "failing", "failure_causes": fields{"budget": float64(2)}, "mints_last_hour": float64(2), "mints_per_hour": float64(2)})

	e.clock.advance(42*time.Minute + 55*time.Second) // 04:05:00: the first mint no longer counts
	succeeded(t, e.read(t, "token/c"))
	refused(t, e.read(t, "token/c/r"), http.StatusTooManyRequests, "mints_per_hour")
	asked(t, s, 3)
}

func TestAHigherBudgetCountsAtOnce(t *testing.T) {
	for name, more := range map[string]fields{"a higher one": {"mints_per_hour": 2}, "none": {"mints_per_hour": 0}} {
		t.Run(name, func(t *testing.T) {
			e, s := budgeted(t, 1, nil)
			succeeded(t, e.read(t, "token/c"))
			e.clock.advance(10 * time.Minute)
			refused(t, e.read(t, "token/c"), http.StatusTooManyRequests)
			e.must(t, "config/c", more)
			succeeded(t, e.read(t, "token/c"))
			asked(t, s, 2)
		})
	}
}

func TestABudgetOutlivesTheProcess(t *testing.T) {
	e, s := budgeted(t, 2, nil)
	succeeded(t, e.read(t, "token/c"))
	e.clock.advance(10 * time.Minute)
	succeeded(t, e.read(t, "token/c"))
	e = e.restart(t)
	wantMembers(t, e.read(t, "status/c").data(t), fields{"mints": float64(0), "mints_last_hour": float64(2)})
	e.clock.advance(10 * time.Minute)
	refused(t, e.read(t, "token/c"), http.StatusTooManyRequests)
	e = e.restart(t) // the restarted engine keeps to the budget although nobody asked for the status
	refused(t, e.read(t, "token/c"), http.StatusTooManyRequests)
	e.clock.advance(45 * time.Minute)
	succeeded(t, e.read(t, "token/c"))
	e = e.restart(t)
	wantMembers(t, e.read(t, "status/c").data(t), fields{"mints_last_hour": float64(2)})
	asked(t, s, 3)

	succeeded(t, e.delete(t, "config/c"))
	if got := e.below(t, "budget/"); len(got) != 0 {
		t.Errorf("%d entries are left of a deleted config", len(got))
	}
}

// With reuse=false each reader gets a token of its own. Readers who ask at the same
// time share what is left of the budget.
func TestReadersAtATimeKeepToTheBudget(t *testing.T) {
	e, s := budgeted(t, 5, fields{"reuse": false})
	s.Behave(providertest.Behavior{Times: -1, Delay: 50 * time.Millisecond, Body: `{"access_token":"t","expires_in":600}`})
	answers := later(t, 12, func() result { return e.read(t, "token/c") })
	served := 0
	for range 12 {
		switch r := wait(t, answers); r.status() {
		case http.StatusOK:
			served++
		case http.StatusTooManyRequests:
		default:
			t.Errorf("status %d: %s", r.status(), r.text())
		}
	}
	if served != 5 || s.Requests() != 5 {
		t.Errorf("%d were served by %d requests, want 5", served, s.Requests())
	}
}

func TestWhatABudgetCounts(t *testing.T) {
	e, s := budgeted(t, 10, fields{"verify_connection": true})
	counted := func(what string, want float64) {
		t.Helper()
		if got := e.read(t, "status/c").data(t)["mints_last_hour"]; got != want {
			t.Errorf("%s: %v mints, want %v", what, got, want)
		}
	}
	counted("a verification", 1)
	succeeded(t, e.read(t, "token/c"))
	counted("a read of the token that it brought", 1)
	succeeded(t, update(t, e, "check/c", nil))
	counted("a check", 2)
	s.Behave(providertest.Behavior{Times: 1, Status: 400})
	refused(t, update(t, e, "check/c", nil), http.StatusBadRequest)
	counted("a request that is refused", 2)
	s.Behave(providertest.Behavior{Times: 1, Status: 503})
	succeeded(t, update(t, e, "check/c", nil))
	counted("a request that is sent twice", 3)
}

func TestABudgetThatCannotBe(t *testing.T) {
	for name, test := range map[string]struct {
		value any
		says  string
	}{
		"less than none":     {-1, "mints_per_hour must be a whole number"},
		"a part of a mint":   {0.5, "mints_per_hour must be a whole number"},
		"no number":          {"many", "mints_per_hour must be a whole number"},
		"less than is spent": {2, "mints_per_hour allows fewer mints than keep_alive needs"},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{RotateRefreshTokens: true})
			config := with(chainAt(t, s), fields{"keep_alive": "20m"})
			refused(t, e.write(t, "config/c", with(config, fields{"mints_per_hour": test.value})), http.StatusBadRequest, test.says)
			e.must(t, "config/c", with(config, fields{"mints_per_hour": 5}))
		})
	}
}

func TestABudgetAndStorageThatFails(t *testing.T) {
	e, s := budgeted(t, 2, nil)
	e = e.restart(t)
	e.storage.onUse(failingOn(opGet, "budget/"))
	refused(t, e.read(t, "token/c"), http.StatusInternalServerError, "the disk is on fire")
	asked(t, s, 0)
	e.clock.advance(time.Minute)
	e.storage.onUse(failingOn(opPut, "budget/"))
	succeeded(t, e.read(t, "token/c"))
	if !strings.Contains(e.log.String(), "could not be noted down") {
		t.Errorf("the log tells nothing: %s", e.log)
	}
	e.storage.onUse(nil)
	e.storage.put(t, "budget/c", "not JSON")
	e = e.restart(t)
	e.clock.advance(10 * time.Minute)
	succeeded(t, e.read(t, "token/c")) // an entry that cannot be read counts as none
}
