// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// rowsOf returns the rows of the status of all configs, by config, and the order of the
// configs.
func rowsOf(t *testing.T, r result) (rows map[string]fields, order []string) {
	t.Helper()
	list, ok := r.data(t)["configs"].([]any)
	if !ok {
		t.Fatalf("configs is %T: %s", r.resp.Data["configs"], r.text())
	}
	rows = map[string]fields{}
	for _, item := range list {
		row, _ := item.(map[string]any)
		name, _ := row["config"].(string)
		rows[name] = row
		order = append(order, name)
	}
	return rows, order
}

// variety returns an engine with a config in each state.
func variety(t *testing.T) (*engine, *providertest.Server) {
	t.Helper()
	e := mount(t, secretOne)
	s := e.server(t, providertest.RFC6749, providertest.Options{ClientSecret: secretOne})
	refuses := e.server(t, providertest.RFC6749, providertest.Options{ClientSecret: secretOne})
	refuses.Behave(providertest.Behavior{Times: -1, Status: 401, Body: `{"error":"invalid_client"}`})
	down := e.server(t, providertest.RFC6749, providertest.Options{ClientSecret: secretOne})
	e.must(t, "provider/p", fields{"token_url": s.TokenURL()})

	e.must(t, "config/never", standard(s))
	e.must(t, "config/old", with(standard(down), fields{"client_secret_expires_at": e.clock.Now().Add(300 * day).Format(time.RFC3339)}))
	e.must(t, "config/refused", standard(refuses))
	e.must(t, "config/moved", fields{"provider": "p", "client_id": "c", "client_secret": secretOne})
	e.must(t, "provider/p", fields{"token_url": "https://elsewhere.example/token"})
	succeeded(t, e.read(t, "token/old"))
	e.clock.advance(50 * time.Minute)
	down.Behave(providertest.Behavior{Times: -1, Status: 500})
	e.must(t, "config/ends", with(standard(s), fields{"client_secret_expires_at": e.clock.Now().Add(20*day + time.Hour).Format(time.RFC3339)}))
	e.must(t, "config/ok", standard(s))
	for _, name := range []string{"ok", "ends", "old"} {
		succeeded(t, e.read(t, "token/"+name))
	}
	refused(t, e.read(t, "token/refused"), http.StatusBadRequest)
	return e, s
}

func TestStatusOfAllTellsTheWorstFirst(t *testing.T) {
	e, _ := variety(t)
	r := e.read(t, "status")
	rows, order := rowsOf(t, r)
	if want := []string{"refused", "moved", "old", "ends", "never", "ok"}; !slices.Equal(order, want) {
		t.Errorf("the order is %q, want %q", order, want)
	}
	wantMembers(t, r.data(t), fields{
		"total": float64(6), "ends_soon": float64(1),
		"states": fields{"failing": float64(2), "old token": float64(1), "never minted": float64(1), "ok": float64(2)},
	})
	at := func(after time.Duration) string { return e.clock.Now().Add(after).Format(time.RFC3339) }
	now, none := at(0), []any{}
	for name, want := range map[string]fields{
		"refused": {"state": "failing", "last_failure": now, "last_error": "client refused (HTTP 401, invalid_client): check client_id, client_secret (or the key and its key_id) and token_endpoint_auth_method of the config", "token_expires_at": nil, "next_refresh": nil, "mints_last_hour": float64(0), "ends": none},
		"moved":   {"state": "failing", "last_failure": nil, "last_error": `misconfigured: config "moved": its provider "p" now sends credentials to another place than when they were written: write the config's secrets again to confirm that`, "next_attempt": nil},
		"old":     {"state": "old token", "last_failure": now, "last_error": "provider down (HTTP 500): the provider is out of order: come back later, and see what it says of its service", "token_expires_at": at(10 * time.Minute), "next_refresh": nil, "mints_last_hour": float64(1)},
		"ends":    {"state": "ok", "token_expires_at": at(time.Hour), "next_refresh": at(42 * time.Minute), "next_attempt": nil, "last_failure": nil, "mints_last_hour": float64(1), "ends": []any{fields{"what": "client_secret", "ends_at": at(20*day + time.Hour), "days_left": float64(20)}}},
		"never":   {"state": "never minted", "token_expires_at": nil, "next_refresh": nil, "next_attempt": nil, "last_failure": nil, "last_error": nil, "mints_last_hour": float64(0)},
		"ok":      {"state": "ok", "ends": none},
	} {
		wantMembers(t, rows[name], want)
	}
	for _, name := range []string{"refused", "old"} {
		if next, _ := rows[name]["next_attempt"].(string); next < now {
			t.Errorf("%s: the next attempt is at %q", name, next)
		}
	}
	withoutSecrets(t, "the status", r.text(), secretOne)

	r = e.restart(t).read(t, "status")
	rows, _ = rowsOf(t, r)
	for name, want := range map[string]string{"refused": "never minted", "moved": "failing", "old": "ok", "ends": "ok", "never": "never minted", "ok": "ok"} {
		wantMembers(t, rows[name], fields{"state": want})
	}
	wantMembers(t, rows["ok"], fields{"token_expires_at": at(time.Hour), "next_refresh": at(42 * time.Minute), "mints_last_hour": float64(0)})
}

// The status of one config has the same state as its row in the status of all.
func TestStatusOfOneConfigTellsItsState(t *testing.T) {
	e, _ := variety(t)
	rows, _ := rowsOf(t, e.read(t, "status"))
	for name, row := range rows {
		wantMembers(t, e.read(t, "status/"+name).data(t), fields{"state": row["state"], "ends": row["ends"], "mints_last_hour": row["mints_last_hour"]})
	}
	warned(t, e.read(t, "status/moved"), "this config gives no token as it stands")
}

func TestStatusOfAllComesInParts(t *testing.T) {
	e := mount(t)
	for i := range 105 {
		e.must(t, fmt.Sprintf("config/c%03d", i), acme())
	}
	for name, test := range map[string]struct {
		query       fields
		first, last string // "" if there is none
	}{
		"a hundred by default":       {nil, "c000", "c099"},
		"as many as are asked for":   {fields{"limit": 2}, "c000", "c001"},
		"the next ones":              {fields{"limit": 2, "offset": "2"}, "c002", "c003"},
		"the rest":                   {fields{"offset": 100}, "c100", "c104"},
		"all of them":                {fields{"limit": 1000}, "c000", "c104"},
		"none when all are skipped":  {fields{"offset": 105}, "", ""},
		"none of those that are not": {fields{"offset": int64(1) << 50}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := e.readWith(t, "status", test.query)
			_, order := rowsOf(t, r)
			order = append(order, "")
			if order[0] != test.first || order[max(len(order)-2, 0)] != test.last {
				t.Errorf("got %q", order)
			}
			wantMembers(t, r.data(t), fields{"total": float64(105)})
		})
	}
	for _, limit := range []any{0, 1001, "many", -1} {
		refused(t, e.readWith(t, "status", fields{"limit": limit}), http.StatusBadRequest, "limit must be")
	}
	wantMembers(t, mount(t).read(t, "status").data(t), fields{"configs": []any{}, "total": float64(0)})
}

// The status reads each config once. It reads a config again when something that the
// config depends on was written.
func TestStatusOfAllLooksUpWhatHasChanged(t *testing.T) {
	overAWire(t, func(t *testing.T, e *engine) {
		e.must(t, "provider/p", fields{"token_url": "https://login.example/token"})
		e.must(t, "key/k", fields{"algorithm": "ES256"})
		for i := range 10 {
			e.must(t, fmt.Sprintf("config/c%d", i), with(acme(), fields{"tls_key": "k"}))
		}
		e.must(t, "config/p", fields{"provider": "p", "client_id": "c", "client_secret": secretOne})
		succeeded(t, e.read(t, "status"))
		reads := func(then func()) (got []string) {
			t.Helper()
			then()
			synctest.Wait() // for the background jobs of a write
			var mu sync.Mutex
			e.storage.onUse(func(op, key string) error {
				mu.Lock()
				defer mu.Unlock()
				if op == opGet && strings.HasPrefix(key, "config/") {
					got = append(got, key)
				}
				return nil
			})
			defer e.storage.onUse(nil)
			succeeded(t, e.readWith(t, "status", fields{"limit": 1}))
			return got
		}
		for name, test := range map[string]struct {
			then func()
			want int
		}{
			"nothing":             {func() {}, 0},
			"a config":            {func() { e.must(t, "config/c3", fields{"description": "x"}) }, 1},
			"a config's deletion": {func() { succeeded(t, e.delete(t, "config/c9")) }, 0},
			"a new config":        {func() { e.must(t, "config/new", acme()) }, 1},
		} {
			if got := reads(test.then); len(got) != test.want {
				t.Errorf("%s: read %q", name, got)
			}
		}
		for name, then := range map[string]func(){
			"a provider": func() { e.must(t, "provider/p", fields{"description": "x"}) },
			"a key":      func() { e.must(t, "key/k", fields{"retain": "1h"}) },
			"a day":      func() { e.clock.advance(day) },
		} {
			if got := reads(then); len(got) < 10 {
				t.Errorf("%s: read %q", name, got)
			}
		}
		e.storage.onUse(failingOn(opList, "config/"))
		refused(t, e.read(t, "status"), http.StatusInternalServerError, "the disk is on fire")
		e.storage.onUse(failingOn(opGet, "config/c1"))
		e.clock.advance(day)
		refused(t, e.read(t, "status"), http.StatusInternalServerError, "the disk is on fire")
	})
}

// When a config's request for tokens changes, its state is "never minted" until a mint
// succeeds.
func TestStatusOfAChangedConfig(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	state := func(want string) {
		t.Helper()
		rows, _ := rowsOf(t, e.read(t, "status"))
		wantMembers(t, rows["c"], fields{"state": want})
	}
	state("never minted")
	succeeded(t, e.read(t, "token/c"))
	state("ok")
	e.clock.advance(2 * time.Hour) // nobody reads for two hours
	state("ok")
	e.must(t, "config/c", fields{"description": "the same request"})
	state("ok")
	e.must(t, "config/c", fields{"scopes": "read"})
	state("never minted")
	succeeded(t, e.read(t, "token/c"))
	state("ok")
	s.Behave(providertest.Behavior{Times: -1, Status: 401})
	e.clock.advance(time.Second)
	refused(t, update(t, e, "check/c", nil), http.StatusBadRequest)
	state("old token")
	e.clock.advance(2 * time.Hour)
	state("failing")
	s.Behave(providertest.Behavior{})
	succeeded(t, update(t, e, "check/c", nil))
	state("ok")
}

func TestStatusTellsOfTheExchangesWithTheProvider(t *testing.T) {
	overAWire(t, func(t *testing.T, e *engine) {
		s := e.server(t, providertest.RFC6749, providertest.Options{})
		e.must(t, "config/c", with(standard(s), fields{"reuse": false, "revocation_url": s.RevocationURL()}))
		status := func(want fields) {
			t.Helper()
			wantMembers(t, e.read(t, "status/c").data(t), want)
		}
		status(fields{"last_answer": nil, "durations_ms": nil, "quota": nil, "failure_causes": fields{}})
		s.Behave(providertest.Behavior{Times: 1, Status: 503}, providertest.Behavior{
			Times: 1, Body: `{"access_token":"t","expires_in":3600}`, Header: http.Header{"RateLimit-Limit": {"100"}, "RateLimit-Remaining": {"7"}, "RateLimit-Reset": {"30"}},
		})
		first := e.read(t, "token/c")
		first.token(t)
		status(fields{
			"last_answer": fields{"at": "2026-01-02T03:04:05Z", "http_status": float64(200), "duration_ms": float64(0), "attempts": float64(2)},
			"quota":       fields{"limit": float64(100), "remaining": float64(7), "reset": "2026-01-02T03:04:35Z", "at": "2026-01-02T03:04:05Z"}, "retries": float64(1),
			"durations_ms": fields{"count": float64(1), "p50": float64(0), "p90": float64(0), "p99": float64(0), "max": float64(0)},
		})
		e.clock.advance(time.Minute)
		s.Behave(providertest.Behavior{Times: 1, Status: 400, Body: `{"error":"invalid_scope"}`})
		refused(t, e.read(t, "token/c"), http.StatusBadRequest)
		status(fields{
			"last_answer":    fields{"at": "2026-01-02T03:05:05Z", "http_status": float64(400), "duration_ms": float64(0), "attempts": float64(1), "cause": "scope_refused", "code": "invalid_scope"},
			"failure_causes": fields{"scope_refused": float64(1)}, "failures": float64(1),
			"quota": fields{"limit": float64(100), "remaining": float64(7), "reset": "2026-01-02T03:04:35Z", "at": "2026-01-02T03:04:05Z"},
		})
		e.clock.advance(time.Minute)
		s.Close()
		if r := e.read(t, "token/c"); r.status() != http.StatusBadGateway {
			t.Errorf("status %d: %s", r.status(), r.text())
		}
		status(fields{
			"last_answer":    fields{"at": "2026-01-02T03:06:05Z", "duration_ms": float64(0), "attempts": float64(3), "cause": "connection"},
			"failure_causes": fields{"scope_refused": float64(1), "connection": float64(1)}, "retries": float64(3),
		})
		if r := e.revokeLease(t, first.resp.Secret); r.err == nil {
			t.Error("a server that is gone revoked a token")
		}
		status(fields{"revoked": float64(0), "not_revoked": float64(1)})
	})
}

func TestStatusCountsReadsByTheirResult(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", with(standard(s), fields{"revocation_url": s.RevocationURL()}))
	for range 3 {
		succeeded(t, e.read(t, "token/c"))
	}
	s.Behave(providertest.Behavior{Times: -1, Status: 401})
	e.clock.advance(50 * time.Minute)
	for range 2 {
		succeeded(t, e.read(t, "token/c")) // the old token: the first read tries to mint, the second uses memory only
	}
	e.clock.advance(time.Hour)
	for range 4 {
		refused(t, e.read(t, "token/c"), http.StatusBadRequest)
	}
	wantMembers(t, e.read(t, "status/c").data(t), fields{
		"reads": fields{"waited": float64(1), "hit": float64(2), "old": float64(2), "failed": float64(4)}, "served": float64(5),
	})
	s.Behave(providertest.Behavior{})
	succeeded(t, update(t, e, "check/c", nil))
	succeeded(t, update(t, e, "revoke/c", nil))
	wantMembers(t, e.read(t, "status/c").data(t), fields{"checks": float64(1), "revoked": float64(1), "not_revoked": float64(0)})
}

// If a config is deleted during a read, the read is not counted for a config that gets
// the same name later.
func TestStatusOfAConfigThatWasDeletedMeanwhile(t *testing.T) {
	e, d := mount(t, secretOne), newDesk(t)
	e.must(t, "config/c", d.config())
	reader := soon(t, func() result { return e.request(t, logical.ReadOperation, "token/c", nil) })
	visit := d.next(t)
	succeeded(t, e.delete(t, "config/c"))
	visit.token("t")
	refused(t, wait(t, reader), http.StatusBadRequest, `no config "c"`)
	e.must(t, "config/c", d.config())
	wantMembers(t, e.read(t, "status/c").data(t), fields{"mints": float64(0), "state": "never minted", "reads": fields{"hit": float64(0), "waited": float64(0), "old": float64(0), "failed": float64(0)}})
}
