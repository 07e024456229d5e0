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

// A token of an hour is usable for 3590 s, so after ten minutes it is usable for
// another 2990 s.
func TestMinTTL(t *testing.T) {
	for name, test := range map[string]struct {
		config, role, query fields
		age                 time.Duration
		asked               int
		warns               []string
	}{
		"none is needed":                        {age: 10 * time.Minute, asked: 1},
		"of the config, and enough is left":     {config: fields{"min_ttl": 2990}, age: 10 * time.Minute, asked: 1},
		"of the config, and too little is left": {config: fields{"min_ttl": 2991}, age: 10 * time.Minute, asked: 2},
		"of the role, and enough is left":       {role: fields{"min_ttl": 2990}, age: 10 * time.Minute, asked: 1},
		"of the role, and too little is left":   {role: fields{"min_ttl": 2991}, age: 10 * time.Minute, asked: 2},
		"of the reader, and enough is left":     {query: fields{"min_ttl": "2990"}, age: 10 * time.Minute, asked: 1},
		"of the reader, and too little is left": {query: fields{"min_ttl": "2991s"}, age: 10 * time.Minute, asked: 2},
		"the role's in place of the config's":   {config: fields{"min_ttl": 2991}, role: fields{"min_ttl": 60}, age: 10 * time.Minute, asked: 1},
		"none, by the role":                     {config: fields{"min_ttl": 2991}, role: fields{"min_ttl": 0}, age: 10 * time.Minute, asked: 1},
		"the reader's over the role's":          {role: fields{"min_ttl": 60}, query: fields{"min_ttl": 2991}, age: 10 * time.Minute, asked: 2},
		"a reader cannot ask for less":          {role: fields{"min_ttl": 2991}, query: fields{"min_ttl": 1}, age: 10 * time.Minute, asked: 2},
		"as much as there ever is":              {query: fields{"min_ttl": 3590}, age: 10 * time.Minute, asked: 1, warns: []string{"min_ttl"}},
		"more than there ever is":               {query: fields{"min_ttl": "2h"}, age: 10 * time.Minute, asked: 1, warns: []string{"min_ttl"}},
		"more than there ever is, by the role":  {role: fields{"min_ttl": "2h"}, age: 10 * time.Minute, asked: 1, warns: []string{"min_ttl"}},
		"the longest that there can be":         {query: fields{"min_ttl": 3580}, age: 10 * time.Second, asked: 1},
		"one second too much of that":           {query: fields{"min_ttl": 3581}, age: 10 * time.Second, asked: 2},
		"too much of a very young one":          {query: fields{"min_ttl": 3589}, age: 9 * time.Second, asked: 1, warns: []string{"younger than ten seconds"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{})
			e.must(t, "config/c", with(standard(s), test.config))
			e.must(t, "role/c/r", with(fields{"description": "x"}, test.role))
			old := e.read(t, "token/c/r").token(t)
			e.clock.advance(test.age)
			r := e.readWith(t, "token/c/r", test.query)
			warned(t, r, test.warns...)
			asked(t, s, test.asked)
			if (r.token(t) == old) != (test.asked == 1) {
				t.Error("the wrong token")
			}
			// A write of the token path accepts the same field.
			r = update(t, e, "token/c/r", test.query)
			warned(t, r, test.warns...)
			asked(t, s, test.asked)
		})
	}
}

func TestMinTTLThatFailsGivesWhatThereIs(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	old := e.read(t, "token/c").token(t)
	s.Behave(providertest.Behavior{Times: -1, Status: http.StatusInternalServerError})
	e.clock.advance(10 * time.Minute)
	r := e.readWith(t, "token/c", fields{"min_ttl": "55m"})
	if r.token(t) != old {
		t.Error("another token")
	}
	warned(t, r, "could not be refreshed")
}

func TestReuseFalseMintsForEachRead(t *testing.T) {
	for name, test := range map[string]struct {
		config, role fields
		path         string
		want         int
	}{
		"by the config":                 {fields{"reuse": false}, fields{}, "token/c", 3},
		"by the role":                   {fields{}, fields{"reuse": false}, "token/c/r", 3},
		"by the config and for a role":  {fields{"reuse": false}, fields{"ttl": 60}, "token/c/r", 3},
		"not where the role says so":    {fields{"reuse": false}, fields{"reuse": true}, "token/c/r", 1},
		"not of the role's config then": {fields{}, fields{"reuse": false}, "token/c", 1},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{})
			e.must(t, "config/c", with(standard(s), test.config))
			e.must(t, "role/c/r", test.role)
			tokens := map[string]bool{}
			for range 3 {
				tokens[e.read(t, test.path).token(t)] = true
			}
			if len(tokens) != test.want {
				t.Errorf("%d tokens, want %d", len(tokens), test.want)
			}
			asked(t, s, test.want)
			if stored := e.below(t, "token/"); test.want == 3 && len(stored) != 0 {
				t.Errorf("tokens that nobody shares are stored: %v", stored)
			}
			if test.want == 3 {
				e.storage.onUse(nil)
				e = e.restart(t)
				succeeded(t, e.read(t, test.path))
				asked(t, s, 4)
			}
		})
	}
}

func TestReuseFalseMindsAndMakesTheMemoryOfFailure(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", with(standard(s), fields{"reuse": false}))
	s.Behave(providertest.Behavior{Status: http.StatusInternalServerError})
	for range 3 {
		refused(t, e.read(t, "token/c"), http.StatusBadGateway, `"c"`, "HTTP 500", "next attempt")
	}
	asked(t, s, 1)
	e.clock.advance(time.Second)
	succeeded(t, e.read(t, "token/c"))
	succeeded(t, e.read(t, "token/c"))
	asked(t, s, 3)
}

func TestStaleTokenUntilItsUsableEnd(t *testing.T) {
	for name, test := range map[string]struct {
		config fields
		says   string
	}{
		"leased":        {fields{}, "could not be refreshed"},
		"without lease": {fields{"leased": false}, "could not be refreshed"},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{Lifetime: 30 * time.Second})
			e.must(t, "config/c", with(standard(s), test.config))
			old := e.read(t, "token/c").token(t)
			s.Behave(providertest.Behavior{Times: -1, Status: http.StatusInternalServerError})
			// The token is usable for 28.5 s. It is refreshed from 21 s on, and renewed
			// from 24 s on.
			e.clock.advance(20 * time.Second)
			warned(t, e.read(t, "token/c"))
			asked(t, s, 1)
			e.clock.advance(2 * time.Second)
			succeeded(t, e.read(t, "token/c"))
			eventually(t, "the refresh failed", func() bool { return e.read(t, "status/c").data(t)["state"] == "old token" })
			for e.clock.Now().Before(newClock().Now().Add(27 * time.Second)) {
				r := e.read(t, "token/c")
				if r.token(t) != old || !s.Valid(old) {
					t.Fatalf("not the old token, or a dead one: %s", r.text())
				}
				warned(t, r, test.says)
				withoutSecrets(t, "the warning", strings.Join(r.resp.Warnings, " "), old)
				e.clock.advance(500 * time.Millisecond)
			}
			e.clock.advance(1500 * time.Millisecond) // 28.5 s: the token's usable end
			refused(t, e.read(t, "token/c"), http.StatusBadGateway, `"c"`, "HTTP 500")
			s.Behave(providertest.Behavior{Status: http.StatusInternalServerError})
			e.clock.advance(31 * time.Second) // the longest backoff
			refused(t, e.read(t, "token/c"), http.StatusBadGateway)
			e.clock.advance(31 * time.Second)
			r := e.read(t, "token/c")
			if r.token(t) == old {
				t.Error("the dead token")
			}
			warned(t, r)
		})
	}
}

func TestRememberedFailureSaysWhenItHappenedAndWhenTheNextAttemptIsDue(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	s.Behave(providertest.Behavior{Times: -1, Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"60"}}})
	e.must(t, "config/c", standard(s))
	first := e.read(t, "token/c")
	e.clock.advance(30 * time.Second)
	again := e.read(t, "token/c")
	for _, r := range []result{first, again} {
		refused(t, r, http.StatusTooManyRequests, "2026-01-02T03:04:05Z", "2026-01-02T03:05:05Z")
	}
	asked(t, s, 1)
}

// These requests end a remembered failure, or do not, before its next attempt is due.
func TestRememberedFailureIsClearedBy(t *testing.T) {
	for name, test := range map[string]struct {
		do      func(t *testing.T, e *engine) result
		forgets bool
	}{
		"a config write":              {func(t *testing.T, e *engine) result { return e.write(t, "config/c", fields{}) }, true},
		"a config patch":              {func(t *testing.T, e *engine) result { return e.patch(t, "config/c", fields{"description": "x"}) }, true},
		"a role write":                {func(t *testing.T, e *engine) result { return e.write(t, "role/c/r", fields{"ttl": 60}) }, true},
		"a provider write":            {func(t *testing.T, e *engine) result { return e.write(t, "provider/p", fields{"description": "x"}) }, true},
		"a check":                     {func(t *testing.T, e *engine) result { return update(t, e, "check/c", nil) }, true},
		"a check of the role":         {func(t *testing.T, e *engine) result { return update(t, e, "check/c/r", nil) }, true},
		"a revoke":                    {func(t *testing.T, e *engine) result { return update(t, e, "revoke/c", nil) }, true},
		"not by another config":       {func(t *testing.T, e *engine) result { return e.write(t, "config/other", acme()) }, false},
		"not by a read of the status": {func(t *testing.T, e *engine) result { return e.read(t, "status/c") }, false},
		"not by fresh=true": {func(t *testing.T, e *engine) result {
			_ = update(t, e, "token/c/r", fields{"fresh": true})
			return result{op: "update"}
		}, false},
		"not by a narrower read": {func(t *testing.T, e *engine) result {
			_ = e.readWith(t, "token/c", fields{"scopes": "write"})
			return result{op: "update"}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{})
			e.must(t, "provider/p", fields{"token_url": s.TokenURL()})
			config := with(standard(s), fields{"provider": "p", "scopes": "read,write"})
			delete(config, "token_url")
			e.must(t, "config/c", config)
			e.must(t, "role/c/r", fields{"description": "x"})
			s.Behave(providertest.Behavior{Status: http.StatusInternalServerError})
			refused(t, e.read(t, "token/c/r"), http.StatusBadGateway)
			refused(t, e.read(t, "token/c/r"), http.StatusBadGateway)
			asked(t, s, 1)
			succeeded(t, test.do(t, e))
			r := e.read(t, "token/c/r")
			if !test.forgets {
				refused(t, r, http.StatusBadGateway)
				asked(t, s, 1)
				return
			}
			succeeded(t, r)
			asked(t, s, 2) // after a check, the read gets the check's token
		})
	}
}

func TestCheckThatFailsClearsNothing(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	s.Behave(providertest.Behavior{Times: 2, Status: http.StatusInternalServerError})
	e.must(t, "config/c", standard(s))
	refused(t, e.read(t, "token/c"), http.StatusBadGateway)
	refused(t, update(t, e, "check/c", nil), http.StatusBadGateway)
	refused(t, e.read(t, "token/c"), http.StatusBadGateway)
	asked(t, s, 2)
}

func TestRetryAfterInEitherForm(t *testing.T) {
	start := newClock().Now()
	for name, test := range map[string]struct {
		value  string
		status int
		wait   time.Duration
	}{
		"in seconds":              {"90", http.StatusTooManyRequests, 90 * time.Second},
		"as a date":               {start.Add(90 * time.Second).Format(http.TimeFormat), http.StatusTooManyRequests, 90 * time.Second},
		"of a 503":                {"90", http.StatusServiceUnavailable, 90 * time.Second},
		"a date in the past":      {start.Add(-time.Hour).Format(http.TimeFormat), http.StatusTooManyRequests, time.Second},
		"nonsense":                {"soon", http.StatusTooManyRequests, time.Second},
		"no more than a day":      {"99999999999999999999", http.StatusTooManyRequests, 24 * time.Hour},
		"shorter than the jitter": {"0", http.StatusTooManyRequests, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{})
			s.Behave(providertest.Behavior{Status: test.status, Header: http.Header{"Retry-After": {test.value}}})
			e.must(t, "config/c", standard(s))
			status := map[int]int{http.StatusTooManyRequests: 429, http.StatusServiceUnavailable: 502}[test.status]
			refused(t, e.read(t, "token/c"), status)
			if test.wait > time.Second {
				e.clock.advance(test.wait - time.Second)
				refused(t, e.read(t, "token/c"), status)
				asked(t, s, 1)
			}
			e.clock.advance(time.Second)
			succeeded(t, e.read(t, "token/c"))
			asked(t, s, 2)
		})
	}
}
