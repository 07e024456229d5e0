// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// rotating returns an engine whose config/c has a new secret. The provider does not
// know the new secret yet, but it knows the old one, which the config has as a
// fallback.
func rotating(t *testing.T, more fields) (*engine, *providertest.Server) {
	t.Helper()
	e := mount(t, secretOne, secretTwo)
	s := e.server(t, providertest.RFC6749, providertest.Options{ClientSecret: secretTwo, RotateRefreshTokens: true})
	e.must(t, "config/c", with(standard(s), with(fields{"client_secret": secretOne, "fallback_client_secret": secretTwo}, more)))
	return e, s
}

func TestFallbackSecretIsTriedOnceAndSaid(t *testing.T) {
	e, s := rotating(t, nil)
	r := e.read(t, "token/c")
	token := r.token(t)
	warned(t, r, "fallback_client_secret")
	asked(t, s, 2)
	withoutSecrets(t, "the answer", r.text(), secretOne, secretTwo)

	for range 2 { // in this process, and in the next
		r = e.read(t, "token/c")
		if r.token(t) != token {
			t.Error("another token")
		}
		warned(t, r, "fallback_client_secret")
		status := e.read(t, "status/c")
		wantMembers(t, status.data(t), fields{"fallback_secret_used": true})
		withoutSecrets(t, "the status", status.text(), secretOne, secretTwo, token)
		e = e.restart(t, secretOne, secretTwo)
	}
	asked(t, s, 2)

	r = update(t, e, "check/c", nil)
	wantMembers(t, r.data(t), fields{"status": "ok", "fallback_secret_used": true})
	withoutSecrets(t, "the check", r.text(), secretOne, secretTwo)
	asked(t, s, 4)

	s.SetCredentials(providertest.Credentials{ClientSecret: secretOne}) // the provider now knows the new secret
	e.clock.advance(50 * time.Minute)
	r = e.read(t, "token/c")
	if r.token(t) == token {
		t.Error("the old token")
	}
	warned(t, r)
	wantMembers(t, e.read(t, "status/c").data(t), fields{"fallback_secret_used": false})
	wantMembers(t, update(t, e, "check/c", nil).data(t), fields{"fallback_secret_used": false})
	asked(t, s, 6)
}

func TestFallbackSecretIsTriedOnlyWhenTheClientIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		answer providertest.Behavior
		status int // the status that the reader gets
		asked  int
	}{
		"invalid_client":                 {providertest.Behavior{Status: 400, Body: `{"error":"invalid_client"}`}, 200, 2},
		"invalid_client with a 401":      {providertest.Behavior{Status: 401, Body: `{"error":"invalid_client"}`}, 200, 2},
		"invalid_client with a 200":      {providertest.Behavior{Status: 200, Body: `{"error":"invalid_client"}`}, 200, 2},
		"a bare 401":                     {providertest.Behavior{Status: 401}, 200, 2},
		"invalid_scope":                  {providertest.Behavior{Status: 400, Body: `{"error":"invalid_scope"}`}, 400, 1},
		"invalid_grant":                  {providertest.Behavior{Status: 400, Body: `{"error":"invalid_grant"}`}, 400, 1},
		"invalid_grant with a 401":       {providertest.Behavior{Status: 401, Body: `{"error":"invalid_grant"}`}, 400, 1},
		"unauthorized_client":            {providertest.Behavior{Status: 400, Body: `{"error":"unauthorized_client"}`}, 400, 1},
		"unauthorized_client with a 401": {providertest.Behavior{Status: 401, Body: `{"error":"unauthorized_client"}`}, 200, 2},
		"access_denied with a 401":       {providertest.Behavior{Status: 401, Body: `{"error":"access_denied"}`}, 200, 2},
		"access_denied with a 403":       {providertest.Behavior{Status: 403, Body: `{"error":"access_denied"}`}, 400, 1},
		"GitHub's words, in a 200":       {providertest.Behavior{Status: 200, Body: `{"error":"incorrect_client_credentials"}`}, 200, 2},
		"GitHub's words, as a form":      {providertest.Behavior{Status: 200, Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, Body: "error=incorrect_client_credentials&error_description=The+client_id+is+incorrect."}, 200, 2},
		"a bare 403":                     {providertest.Behavior{Status: 403}, 400, 1},
		"a rate limit":                   {providertest.Behavior{Status: 429}, 429, 1},
		"a failure":                      {providertest.Behavior{Status: 500}, 502, 1},
		"an answer that makes no sense":  {providertest.Behavior{Body: `{}`}, 502, 1},
		"invalid_client but out of work": {providertest.Behavior{Status: 500, Body: `{"error":"server_error"}`}, 502, 1},
	} {
		t.Run(name, func(t *testing.T) {
			e, s := rotating(t, nil)
			s.Behave(test.answer)
			r := e.read(t, "token/c")
			if r.status() != test.status {
				t.Errorf("status %d, want %d: %s", r.status(), test.status, r.text())
			}
			asked(t, s, test.asked)
			withoutSecrets(t, "the answer", r.text(), secretOne, secretTwo)
		})
	}
}

func TestFallbackSecretThatIsRefusedAsWell(t *testing.T) {
	e, s := rotating(t, nil)
	s.SetCredentials(providertest.Credentials{ClientSecret: "neither"})
	s.Behave(providertest.Behavior{Times: 2, Echo: true, Status: 401})
	for range 2 {
		r := e.read(t, "token/c")
		refused(t, r, http.StatusBadRequest, `"c"`, "fallback_client_secret was tried as well", "check client_id")
		withoutSecrets(t, "the error", r.text(), secretOne, secretTwo)
	}
	asked(t, s, 2)
	status := e.read(t, "status/c")
	wantMembers(t, status.data(t), fields{"failures": float64(1), "mints": float64(0), "fallback_secret_used": false})
	withoutSecrets(t, "the status", status.text(), secretOne, secretTwo)
	r := update(t, e, "check/c", nil)
	refused(t, r, http.StatusBadRequest, "fallback_client_secret was tried as well")
	withoutSecrets(t, "the check", r.text(), secretOne, secretTwo)
	asked(t, s, 4)
}

func TestFallbackSecretServesEveryGrant(t *testing.T) {
	t.Run("password, and the refresh token that comes with it", func(t *testing.T) {
		e, s := rotating(t, fields{"grant_type": "password", "username": "sample user+rfc6749", "password": providertest.DefaultCredentials(providertest.RFC6749).Password})
		warned(t, e.read(t, "token/c"), "fallback_client_secret")
		asked(t, s, 2)
		e.clock.advance(50 * time.Minute)
		warned(t, e.read(t, "token/c"), "fallback_client_secret")
		asked(t, s, 4)
		if got := s.Last().Form().Get("grant_type"); got != "refresh_token" {
			t.Errorf("the last request is by %s", got)
		}
	})
	t.Run("refresh_token", func(t *testing.T) {
		e := mount(t, secretOne, secretTwo)
		s := e.server(t, providertest.RFC6749, providertest.Options{ClientSecret: secretTwo, RotateRefreshTokens: true})
		e.must(t, "config/c", with(chainAt(t, s), fields{"client_secret": secretOne, "fallback_client_secret": secretTwo}))
		for n := range 3 {
			warned(t, e.read(t, "token/c"), "fallback_client_secret")
			asked(t, s, 2*(n+1))
			e.clock.advance(50 * time.Minute)
		}
	})
	t.Run("an assertion that the secret signs", func(t *testing.T) {
		old, current := strings.Repeat("o", 32), strings.Repeat("c", 32)
		e := mount(t, old, current)
		s := providertest.StartFunc(t, "/token", func(w http.ResponseWriter, r *http.Request, _ []byte) {
			w.Header().Set("Content-Type", "application/json")
			jws, err := jose.ParseSigned(r.FormValue("assertion"), []jose.SignatureAlgorithm{jose.HS256})
			if err == nil {
				_, err = jws.Verify([]byte(old))
			}
			if err != nil {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
				return
			}
			_, _ = w.Write([]byte(`{"access_token":"granted","expires_in":3600}`))
		})
		e.must(t, "config/c", fields{
			"token_url": s.TokenURL(), "client_id": "c", "client_secret": current, "fallback_client_secret": old, "signing_algorithm": "HS256",
			"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "token_endpoint_auth_method": "none",
		})
		warned(t, e.read(t, "token/c"), "fallback_client_secret")
		asked(t, s, 2)
	})
	t.Run("the revocation of a lease's own token", func(t *testing.T) {
		e, s := rotating(t, nil)
		e.must(t, "config/own", with(standard(s), fields{
			"client_secret": secretOne, "fallback_client_secret": secretTwo, "reuse": false, "revocation_url": s.RevocationURL(),
		}))
		r := e.read(t, "token/own")
		token := r.token(t)
		succeeded(t, e.revokeLease(t, r.resp.Secret))
		if s.Valid(token) {
			t.Error("the token lives on")
		}
	})
}

func TestFallbackSecretIsOfNoUseWithoutAnOldOne(t *testing.T) {
	e, s := rotating(t, fields{"fallback_client_secret": ""})
	r := e.read(t, "token/c")
	refused(t, r, http.StatusBadRequest, "invalid_client")
	if strings.Contains(r.text(), "fallback") {
		t.Errorf("names what is not set: %s", r.text())
	}
	asked(t, s, 1)
	e.must(t, "config/c", fields{"fallback_client_secret": secretTwo})
	warned(t, e.read(t, "token/c"), "fallback_client_secret")
}
