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

// tokensOf returns the tokens of a status.
func tokensOf(t *testing.T, r result) []fields {
	t.Helper()
	list, ok := r.data(t)["tokens"].([]any)
	if !ok {
		t.Fatalf("tokens is %T: %s", r.resp.Data["tokens"], r.text())
	}
	out := make([]fields, len(list))
	for i, item := range list {
		if out[i], ok = item.(map[string]any); !ok {
			t.Fatalf("a token is %T", item)
		}
	}
	return out
}

func TestStatusOfAConfigThatNobodyRead(t *testing.T) {
	e := mount(t)
	e.must(t, "config/c", acme())
	want := fields{
		"tokens": []any{}, "ends": []any{}, "minting": false, "fallback_secret_used": false, "state": "never minted",
		"mints": float64(0), "mints_last_hour": float64(0), "failures": float64(0), "failure_causes": fields{}, "retries": float64(0),
		"reads": fields{"hit": float64(0), "waited": float64(0), "old": float64(0), "failed": float64(0)}, "served": float64(0),
		"checks": float64(0), "revoked": float64(0), "not_revoked": float64(0),
	}
	if got := e.read(t, "status/c").data(t); !same(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	refused(t, e.read(t, "status/none"), http.StatusBadRequest, `no config "none"`)
}

func TestStatusTellsOfMintsAndTokens(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", with(standard(s), fields{"scopes": "read,write"}))
	e.must(t, "role/c/r", fields{"scopes": "read"})
	succeeded(t, e.read(t, "token/c"))
	e.clock.advance(10 * time.Minute)
	succeeded(t, e.read(t, "token/c/r"))
	succeeded(t, e.read(t, "token/c"))

	narrow := fields{
		"scope": "read", "token_type": "Bearer", "lifetime": "expires_in", "fallback": false,
		"issued_at": "2026-01-02T03:14:05Z", "expires_at": "2026-01-02T04:14:05Z", "usable_until": "2026-01-02T04:13:55Z",
	}
	wide := with(narrow, fields{
		"scope": "read write", "issued_at": "2026-01-02T03:04:05Z", "expires_at": "2026-01-02T04:04:05Z", "usable_until": "2026-01-02T04:03:55Z",
	})
	r := e.read(t, "status/c")
	wantMembers(t, r.data(t), fields{
		"mints": float64(2), "failures": float64(0), "served": float64(3), "minting": false,
		"last_mint": "2026-01-02T03:14:05Z", "last_failure": nil, "last_error": nil, "next_attempt": nil,
	})
	if got := tokensOf(t, r); !same(got, []fields{narrow, wide}) {
		t.Errorf("tokens: %v", got)
	}

	e = e.restart(t)
	r = e.read(t, "status/c")
	wantMembers(t, r.data(t), fields{"mints": float64(0), "served": float64(0)})
	if got := tokensOf(t, r); !same(got, []fields{narrow, wide}) {
		t.Errorf("tokens after a restart: %v", got)
	}
	e.clock.advance(50*time.Minute - 10*time.Second) // the usable end of the token with all scopes
	if got := tokensOf(t, e.read(t, "status/c")); !same(got, []fields{narrow}) {
		t.Errorf("tokens after an hour: %v", got)
	}
	asked(t, s, 2)
}

func TestStatusTellsOfFailures(t *testing.T) {
	e := mount(t, secretOne)
	s := e.server(t, providertest.RFC6749, providertest.Options{ClientSecret: secretOne})
	e.must(t, "config/c", standard(s))
	s.Behave(providertest.Behavior{Times: -1, Echo: true, Status: 429, Header: http.Header{"Retry-After": {"60"}}})
	for range 3 {
		refused(t, e.read(t, "token/c"), http.StatusTooManyRequests)
	}
	r := e.read(t, "status/c")
	wantMembers(t, r.data(t), fields{
		"failures": float64(1), "mints": float64(0), "served": float64(0), "last_mint": nil,
		"last_failure": "2026-01-02T03:04:05Z", "next_attempt": "2026-01-02T03:05:05Z",
	})
	if text, _ := r.data(t)["last_error"].(string); !strings.Contains(text, "HTTP 429") || !strings.Contains(text, `config "c"`) {
		t.Errorf("last_error: %q", text)
	}
	withoutSecrets(t, "the status", r.text(), secretOne)

	s.Behave(providertest.Behavior{Times: 1})
	e.clock.advance(2 * time.Minute)
	succeeded(t, e.read(t, "token/c"))
	wantMembers(t, e.read(t, "status/c").data(t), fields{
		"failures": float64(1), "mints": float64(1), "served": float64(1),
		"last_mint": "2026-01-02T03:06:05Z", "last_failure": "2026-01-02T03:04:05Z", "next_attempt": nil,
	})
}

func TestStatusHoldsNoTokenAndNoSecret(t *testing.T) {
	e := mount(t, secretOne, secretTwo)
	s := e.server(t, providertest.RFC6749, providertest.Options{ClientSecret: secretOne, Password: secretTwo, RotateRefreshTokens: true})
	e.must(t, "config/c", byPassword(s))
	e.must(t, "config/own", with(standard(s), fields{"reuse": false, "revocation_url": s.RevocationURL()}))
	e.must(t, "config/chain", chainAt(t, s))
	var secrets []string
	for range 2 {
		for _, name := range []string{"c", "own", "chain"} {
			secrets = append(secrets, e.read(t, "token/"+name).token(t))
		}
		e.clock.advance(50 * time.Minute)
		s.Behave(providertest.Behavior{Times: 1, Echo: true})
	}
	_, shown := grants(s)
	secrets = append(append(secrets, shown...), secretOne, secretTwo)
	for range 2 {
		for _, name := range []string{"c", "own", "chain"} {
			withoutSecrets(t, "the status", e.read(t, "status/"+name).text(), secrets...)
		}
		withoutSecrets(t, "the log", e.log.String(), secrets...)
		e = e.restart(t)
	}
}

func TestStatusSaysThatAMintIsUnderWay(t *testing.T) {
	for name, config := range map[string]fields{"shared": {}, "of a reader's own": {"reuse": false}} {
		t.Run(name, func(t *testing.T) {
			e, d := mount(t, secretOne), newDesk(t)
			e.must(t, "config/c", with(d.config(), config))
			reader := soon(t, func() result { return e.read(t, "token/c") })
			visit := d.next(t)
			wantMembers(t, e.read(t, "status/c").data(t), fields{"minting": true})
			visit.token("t")
			succeeded(t, wait(t, reader))
			wantMembers(t, e.read(t, "status/c").data(t), fields{"minting": false, "mints": float64(1)})
		})
	}
}

func TestStatusStartsAnewWithANewConfigOfTheName(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	succeeded(t, e.read(t, "token/c"))
	succeeded(t, e.delete(t, "config/c"))
	refused(t, e.read(t, "status/c"), http.StatusBadRequest, `no config "c"`)
	e.must(t, "config/c", standard(s))
	r := e.read(t, "status/c")
	wantMembers(t, r.data(t), fields{"mints": float64(0), "served": float64(0), "last_mint": nil})
	if got := tokensOf(t, r); len(got) != 0 {
		t.Errorf("tokens: %v", got)
	}
	succeeded(t, e.read(t, "token/c"))
	wantMembers(t, e.read(t, "status/c").data(t), fields{"mints": float64(1), "served": float64(1)})
}

func TestStatusOfStorageThatFails(t *testing.T) {
	for _, test := range []struct{ op, prefix string }{{opGet, "config/"}, {opList, "token/"}, {opGet, "token/"}} {
		e := mount(t)
		s := e.server(t, providertest.RFC6749, providertest.Options{})
		e.must(t, "config/c", standard(s))
		succeeded(t, e.read(t, "token/c"))
		e = e.restart(t)
		e.storage.onUse(failingOn(test.op, test.prefix))
		r := e.read(t, "status/c")
		e.storage.onUse(nil)
		refused(t, r, http.StatusInternalServerError, "the disk is on fire")
	}
}

func TestCheckTellsWhatCameOfIt(t *testing.T) {
	e := mount(t)
	e.extras = []string{"kind"}
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", with(standard(s), fields{"scopes": "read,write", "extra_fields": "kind=/token_type"}))
	e.must(t, "role/c/r", fields{"scopes": "read"})
	want := fields{
		"status": "ok", "token_type": "Bearer", "scope": "read write", "expires_in": float64(3600), "expires_at": "2026-01-02T04:04:05Z",
		"lifetime": "expires_in", "refresh_token": false, "extra_fields": []any{"kind"}, "fallback_secret_used": false, "duration_ms": float64(0),
	}
	r := update(t, e, "check/c", nil)
	if got := r.data(t); !same(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	wantMembers(t, update(t, e, "check/c/r", nil).data(t), fields{"scope": "read"})
	asked(t, s, 2)
	if r.resp.Secret != nil {
		t.Error("a check gave a lease")
	}
	withoutSecrets(t, "the check and the log", r.text()+e.log.String(), s.Issued()...)
	wantMembers(t, e.read(t, "status/c").data(t), fields{"mints": float64(2), "served": float64(0)})
}

// At some providers each new token ends the one before. So readers must get the token
// of a check.
func TestTokenOfACheckIsWhatReadersGet(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	succeeded(t, e.read(t, "token/c"))
	for want := 2; want < 4; want++ { // a check mints even if the last token is very young
		succeeded(t, update(t, e, "check/c", nil))
		if got := e.read(t, "token/c").token(t); got != s.Issued()[want-1] {
			t.Error("readers keep the token before")
		}
		e = e.restart(t)
		if got := e.read(t, "token/c").token(t); got != s.Issued()[want-1] {
			t.Error("after a restart they have the token before")
		}
		asked(t, s, want)
	}
}

func TestTokenOfACheckThatNobodySharesIsRevoked(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", with(standard(s), fields{"reuse": false, "revocation_url": s.RevocationURL()}))
	succeeded(t, update(t, e, "check/c", nil))
	eventually(t, "the token is revoked", func() bool { return !s.Valid(s.Issued()[0]) })
}

// The error of a failed check is the one that a read of the token would have.
func TestCheckFailsAsTheTokenPathDoes(t *testing.T) {
	for name, behavior := range map[string]providertest.Behavior{
		"the client is refused": {Times: -1, Status: 401, Body: `{"error":"invalid_client"}`},
		"a bad scope":           {Times: -1, Status: 400, Body: `{"error":"invalid_scope"}`},
		"a rate limit":          {Times: -1, Status: 429, Header: http.Header{"Retry-After": {"7"}}},
		"a failure":             {Times: -1, Status: 500},
		"no token":              {Times: -1, Body: `{"token":1}`},
		"a hang":                {Times: -1, Hang: true},
	} {
		t.Run(name, func(t *testing.T) {
			overAWire(t, func(t *testing.T, e *engine) {
				s := e.server(t, providertest.RFC6749, providertest.Options{})
				s.Behave(behavior)
				e.must(t, "config/c", with(standard(s), fields{"request_timeout": 1}))
				check, read := update(t, e, "check/c", nil), e.read(t, "token/c")
				if check.status() != read.status() || check.err == nil {
					t.Fatalf("status %d, of a read %d: %s", check.status(), read.status(), check.text())
				}
				cause, _, _ := strings.Cut(read.err.Error(), " (at ")
				if !strings.Contains(check.err.Error(), cause) {
					t.Errorf("%s\nof a read:\n%s", check.err, read.err)
				}
				if (read.resp == nil) != (check.resp == nil) {
					t.Errorf("headers %v, of a read %v", check.resp, read.resp)
				}
			})
		})
	}
}

func TestCheckOfWhatIsMissingOrWrong(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	e.must(t, "role/c/r", fields{"renewable": true})
	refused(t, update(t, e, "check/none", nil), http.StatusBadRequest, `no config "none"`)
	refused(t, update(t, e, "check/c/none", nil), http.StatusBadRequest, `no role "none" of config "c"`)
	e.must(t, "config/c", fields{"leased": false}) // now the role contradicts the config
	refused(t, e.read(t, "token/c/r"), http.StatusBadRequest, "renewable", "leased")
	refused(t, update(t, e, "check/c/r", nil), http.StatusBadRequest, "renewable", "leased")
	asked(t, s, 0)
}
