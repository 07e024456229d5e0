// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// The remedy in an error fits the grant that failed.
func TestRemediesFitTheGrant(t *testing.T) {
	const page = "<!DOCTYPE html><html><body>Request blocked. your password is safe</body></html>"
	byPassword := fields{"grant_type": "password", "username": "x", "password": "correct horse battery"}
	byProof := fields{"dpop": true}
	byRefresh := fields{"grant_type": "refresh_token", "refresh_token": "the-first-refresh-token"}
	const checkPassword, newRefreshToken = "check username and password", "write a new refresh_token"
	for name, test := range map[string]struct {
		config fields
		does   providertest.Behavior
		says   string
		never  []string
	}{
		"a firewall's page":                  {nil, providertest.Behavior{Status: 403, Body: page}, "a firewall or gateway", []string{"password", "Request blocked"}},
		"a firewall's page to a password":    {byPassword, providertest.Behavior{Status: 403, Body: page}, "a firewall or gateway", []string{checkPassword}},
		"a page at another path":             {nil, providertest.Behavior{Status: 404, Body: page}, "check token_url", []string{"password"}},
		"a bare 403":                         {nil, providertest.Behavior{Status: 403}, "check what the client is allowed", []string{"password"}},
		"a bare 403 to a password":           {byPassword, providertest.Behavior{Status: 403}, checkPassword, nil},
		"a refused password":                 {byPassword, providertest.Behavior{Status: 400, Body: `{"error":"invalid_grant"}`}, checkPassword, []string{newRefreshToken}},
		"a spent refresh token":              {byRefresh, providertest.Behavior{Status: 400, Body: `{"error":"invalid_grant"}`}, newRefreshToken, []string{"password"}},
		"a spent refresh token, by GitHub":   {byRefresh, providertest.Behavior{Status: 200, Body: `{"error":"bad_refresh_token"}`}, newRefreshToken, []string{"password"}},
		"invalid_grant without either":       {nil, providertest.Behavior{Status: 400, Body: `{"error":"invalid_grant"}`}, "check the config against the provider's documentation", []string{"password", newRefreshToken}},
		"a proof that the provider misses":   {nil, providertest.Behavior{Status: 400, Body: `{"error":"invalid_dpop_proof","error_description":"The DPoP proof JWT header is missing."}`}, "write dpop=true", []string{"documentation"}},
		"a nonce of one that misses a proof": {nil, providertest.Behavior{Status: 400, Body: `{"error":"use_dpop_nonce"}`}, "write dpop=true", []string{"documentation"}},
		"a proof missed in other words":      {nil, providertest.Behavior{Status: 400, Body: `{"error":"invalid_grant","error_description":"DPoP proof JWT not provided"}`}, "write dpop=true", []string{"documentation"}},
		"a proof that is refused":            {byProof, providertest.Behavior{Status: 400, Body: `{"error":"invalid_dpop_proof"}`}, "token_url is the address by which the provider knows itself", []string{"write dpop=true"}},
		"a nonce that comes too late":        {byProof, providertest.Behavior{Status: 400, Body: `{"error":"use_dpop_nonce"}`, Header: http.Header{"DPoP-Nonce": {"n"}}}, "its servers take each other's nonces", []string{"write dpop=true"}},
		"a nonce that does not come":         {byProof, providertest.Behavior{Status: 401, Body: `{"error":"use_dpop_nonce"}`}, "lets the DPoP-Nonce header through", []string{"write dpop=true", "check client_id"}},
		"a refused client":                   {byPassword, providertest.Behavior{Status: 401, Body: `{"error":"unauthorized_client"}`}, "check client_id, client_secret", []string{checkPassword}},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t, "correct horse battery", "the-first-refresh-token")
			s := e.server(t, providertest.RFC6749, providertest.Options{})
			test.does.Times = -1
			s.Behave(test.does)
			e.must(t, "config/c", with(standard(s), test.config))
			r := e.read(t, "token/c")
			refused(t, r, http.StatusBadRequest, test.says)
			if got, _ := e.read(t, "status/c").data(t)["last_error"].(string); !strings.Contains(got, test.says) {
				t.Errorf("the status says %q, not %q", got, test.says)
			}
			for _, never := range test.never {
				if strings.Contains(r.text(), never) {
					t.Errorf("says %q: %s", never, r.text())
				}
			}
			if n := strings.Count(r.text(), test.says); n != 1 {
				t.Errorf("says it %d times: %s", n, r.text())
			}
		})
	}
}

func TestTimesAreSaidAsPeopleSayThem(t *testing.T) {
	for value, want := range map[string]string{
		"59.2":                          "alone for 1m;",
		"3600":                          "alone for 1h;",
		"5430":                          "alone for 1h30m30s;",
		"36000":                         "alone for 10h;",
		"7":                             "alone for 7s;",
		"1767323405":                    "alone for 5m59s;", // 2026-01-02T03:10:05Z
		"Fri, 02 Jan 2026 03:10:04 GMT": "alone for 5m58s;",
	} {
		e := mount(t)
		e.clock.advance(time.Second + 138_691_694*time.Nanosecond)
		s := e.server(t, providertest.RFC6749, providertest.Options{})
		s.Behave(providertest.Behavior{Times: -1, Status: 429, Header: http.Header{"Retry-After": {value}}})
		e.must(t, "config/c", standard(s))
		if got := e.read(t, "token/c").err.Error() + ";"; !strings.Contains(got, want) {
			t.Errorf("%s: %s\nwant %q", value, got, want)
		}
	}
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", with(standard(s), fields{"ttl": 300}))
	warned(t, e.read(t, "token/c"), "the lease is capped at 5m by the config's ttl; the token is usable for 59m50s")
}

func TestMountThatIsClosedSaysSo(t *testing.T) {
	for name, config := range map[string]fields{"shared tokens": {}, "tokens of their own": {"reuse": false}} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{})
			e.must(t, "config/c", with(standard(s), config))
			e.backend.Cleanup(context.Background())
			r := e.read(t, "token/c")
			refused(t, r, http.StatusServiceUnavailable, `"c"`, "reloaded or removed", "try again")
			if strings.Contains(r.text(), "faster") {
				t.Errorf("speaks of changes: %s", r.text())
			}
		})
	}
}
