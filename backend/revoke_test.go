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

// ownTokens returns an engine whose config/c mints for each read, at a provider with a
// revocation endpoint.
func ownTokens(t *testing.T, more fields) (*engine, *providertest.Server) {
	t.Helper()
	e := mount(t)
	return e, e.ownTokens(t, more)
}

func (e *engine) ownTokens(t *testing.T, more fields) *providertest.Server {
	t.Helper()
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", with(standard(s), with(fields{"reuse": false, "revocation_url": s.RevocationURL()}, more)))
	return s
}

func TestLeaseOfItsOwnTokenRevokesItAtTheProviderOnce(t *testing.T) {
	for name, config := range map[string]fields{
		"with Basic":                        {},
		"with the credentials in the body":  {"token_endpoint_auth_method": "client_secret_post"},
		"with parameters of the grant only": {"scopes": "read", "secret_parameters": fields{}, "parameters": fields{}},
	} {
		t.Run(name, func(t *testing.T) {
			e, s := ownTokens(t, config)
			first, second := e.read(t, "token/c"), e.read(t, "token/c")
			succeeded(t, e.revokeLease(t, first.resp.Secret))
			got := s.Last()
			form := got.Form()
			if got.Method != http.MethodPost || got.Path != "/oauth2/revoke" || form.Get("token") != first.token(t) || form.Get("token_type_hint") != "access_token" {
				t.Errorf("%s %s %s", got.Method, got.Path, got.Body)
			}
			for _, name := range []string{"grant_type", "scope"} {
				if form.Has(name) {
					t.Errorf("sends %s to the revocation endpoint", name)
				}
			}
			if (got.Header.Get("Authorization") != "") == (form.Has("client_secret")) {
				t.Errorf("authenticates in two ways or none: %v", got)
			}
			if s.RevocationRequests() != 1 || s.Valid(first.token(t)) || !s.Valid(second.token(t)) {
				t.Errorf("%d requests, first valid %t, second valid %t", s.RevocationRequests(), s.Valid(first.token(t)), s.Valid(second.token(t)))
			}
		})
	}
}

func TestLeaseOfARoleRevokesItsOwnToken(t *testing.T) {
	e, s := ownTokens(t, fields{"reuse": true})
	e.must(t, "role/c/own", fields{"reuse": false})
	shared, own := e.read(t, "token/c"), e.read(t, "token/c/own")
	succeeded(t, e.delete(t, "role/c/own"))
	succeeded(t, e.revokeLease(t, shared.resp.Secret))
	if s.RevocationRequests() != 0 {
		t.Error("a shared token was revoked")
	}
	succeeded(t, e.revokeLease(t, own.resp.Secret))
	if !slices.Equal(s.Revoked(), []string{own.token(t)}) {
		t.Errorf("revoked %v", s.Revoked())
	}
}

// A token that can never be revoked counts as revoked, because Vault would keep the
// lease forever otherwise. If the token can be revoked later, the result is an error,
// so that Vault tries again.
func TestRevocationOfALease(t *testing.T) {
	for name, test := range map[string]struct {
		do     func(t *testing.T, e *engine, s *providertest.Server)
		status int // 0 is success
		asked  int
	}{
		"of a token that is gone there already": {func(_ *testing.T, _ *engine, s *providertest.Server) {
			s.Behave(providertest.Behavior{Revocation: true, Status: 400, Body: `{"error":"invalid_token"}`})
		}, 0, 1},
		"of a token that was never there": {func(_ *testing.T, _ *engine, s *providertest.Server) {
			s.Behave(providertest.Behavior{Revocation: true, Status: 400, Body: `{"error":"invalid_grant"}`})
		}, 0, 1},
		"with any success": {func(_ *testing.T, _ *engine, s *providertest.Server) {
			s.Behave(providertest.Behavior{Revocation: true, Status: 204})
		}, 0, 1},
		"of a token that has expired":                     {func(_ *testing.T, e *engine, _ *providertest.Server) { e.clock.advance(2 * time.Hour) }, 0, 0},
		"a second before it expires":                      {func(_ *testing.T, e *engine, _ *providertest.Server) { e.clock.advance(time.Hour - time.Second) }, 0, 1},
		"of a config that is gone, and with it the token": {func(t *testing.T, e *engine, _ *providertest.Server) { succeeded(t, e.delete(t, "config/c")) }, 0, 1},
		"of a config that no longer can": {func(t *testing.T, e *engine, s *providertest.Server) {
			e.must(t, "config/c", with(standard(s), fields{"revocation_url": ""}))
		}, 0, 0},
		"of a config that shares now": {func(t *testing.T, e *engine, _ *providertest.Server) { e.must(t, "config/c", fields{"reuse": true}) }, 0, 1},
		"at a provider that fails": {func(_ *testing.T, _ *engine, s *providertest.Server) {
			s.Behave(providertest.Behavior{Revocation: true, Status: 503})
		}, 502, 1},
		"at one that refuses the client": {func(_ *testing.T, _ *engine, s *providertest.Server) {
			s.SetCredentials(providertest.Credentials{ClientSecret: "another"})
		}, 400, 1},
		"at one that limits the rate": {func(_ *testing.T, _ *engine, s *providertest.Server) {
			s.Behave(providertest.Behavior{Revocation: true, Status: 429})
		}, 429, 1},
		"at one that is gone": {func(_ *testing.T, _ *engine, s *providertest.Server) { s.Close() }, 502, 0},
		"at one that hangs": {func(_ *testing.T, _ *engine, s *providertest.Server) {
			s.Behave(providertest.Behavior{Revocation: true, Hang: true})
		}, 504, 1},
		"at one that redirects": {func(_ *testing.T, _ *engine, s *providertest.Server) {
			s.Behave(providertest.Behavior{Revocation: true, Redirect: "https://evil.example.com/"})
		}, 502, 1},
		"at one that echoes": {func(_ *testing.T, _ *engine, s *providertest.Server) {
			s.Behave(providertest.Behavior{Revocation: true, Echo: true, Status: 500})
		}, 502, 1},
		"of a config that cannot be read": {func(_ *testing.T, e *engine, _ *providertest.Server) { e.storage.onUse(failingOn(opGet, "config/")) }, 500, 0},
	} {
		t.Run(name, func(t *testing.T) {
			overAWire(t, func(t *testing.T, e *engine) {
				s := e.ownTokens(t, fields{"request_timeout": 1})
				r := e.read(t, "token/c")
				token := r.token(t)
				test.do(t, e, s)
				got := e.revokeLease(t, r.resp.Secret)
				e.storage.onUse(nil)
				if test.status == 0 {
					succeeded(t, got)
				} else {
					refused(t, got, test.status)
				}
				if s.RevocationRequests() != test.asked {
					t.Errorf("%d requests, want %d", s.RevocationRequests(), test.asked)
				}
				withoutSecrets(t, "the answer and the log", got.text()+e.log.String(), token, s.Credentials().ClientSecret)
				if test.status >= 429 && test.status != 500 && name != "at one that is gone" {
					succeeded(t, e.revokeLease(t, r.resp.Secret)) // Vault's next attempt
					if s.Valid(token) {
						t.Error("the token lives on")
					}
				}
			})
		})
	}
}

func TestLeaseWithoutARevocationURLIsForgottenSilently(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", with(standard(s), fields{"reuse": false}))
	r := e.read(t, "token/c")
	if strings.Contains(fmt.Sprint(r.resp.Secret.InternalData), r.token(t)) {
		t.Error("the lease keeps a token that nothing can be done with")
	}
	succeeded(t, e.revokeLease(t, r.resp.Secret))
	if len(e.below(t, "lease/")) != 0 || s.RevocationRequests() != 0 {
		t.Error("something was done")
	}
}

// Vault ends up to 200 leases at a time: a provider gets eight at most.
func TestRevocationsAreEightAtATimeForOneProvider(t *testing.T) {
	const leases = 30
	e := mount(t)
	var now, most, issued atomic.Int32
	release := make(chan struct{})
	s := providertest.StartFunc(t, "/", func(w http.ResponseWriter, r *http.Request, _ []byte) {
		if r.URL.Path == "/token" {
			_, _ = fmt.Fprintf(w, `{"access_token":"t%d","expires_in":3600}`, issued.Add(1)) // the client may be gone
			return
		}
		defer now.Add(-1)
		for n := now.Add(1); ; {
			if old := most.Load(); n <= old || most.CompareAndSwap(old, n) {
				break
			}
		}
		<-release
	})
	config := fields{"token_url": s.URL() + "/token", "revocation_url": s.URL() + "/revoke", "client_id": "c", "client_secret": "s", "reuse": false}
	for _, name := range []string{"c", "d"} { // two configs of one provider share the limit
		e.must(t, "config/"+name, config)
	}
	answers := make(chan result, leases)
	for i := range leases {
		secret := e.read(t, "token/"+[]string{"c", "d"}[i%2]).resp.Secret
		go func() { answers <- e.revokeLease(t, secret) }()
	}
	eventually(t, "eight are under way", func() bool { return now.Load() == 8 })
	other, elsewhere := ownTokens(t, nil) // revocations at another provider do not wait
	r := other.read(t, "token/c")
	succeeded(t, other.revokeLease(t, r.resp.Secret))
	if elsewhere.RevocationRequests() != 1 || now.Load() != 8 {
		t.Error("a provider's trouble is not its own")
	}
	close(release)
	for range leases {
		succeeded(t, wait(t, answers))
	}
	if most.Load() != 8 {
		t.Errorf("%d at a time, want 8", most.Load())
	}
}

// How tokens are revoked is not a part of the request for them. If a config's
// revocation is described later, the config keeps its token, and revokes it as
// described.
func TestATokenIsRevokedAsItsProviderWantsIt(t *testing.T) {
	e := mount(t)
	s := providertest.StartFunc(t, "/", func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"access_token":"granted","expires_in":3600}`))
	})
	at := strings.TrimSuffix(s.TokenURL(), "/")
	config := fields{"token_url": at + "/token", "client_id": "c", "client_secret": secretOne, "revocation_url": at + "/installation/token"}
	e.must(t, "config/c", config)
	e.read(t, "token/c").token(t)
	e.must(t, "config/c", fields{"revocation_method": "DELETE", "revocation_headers": fields{"Authorization": "Bearer {access_token}"}})
	e.read(t, "token/c").token(t)
	asked(t, s, 1)
	succeeded(t, update(t, e, "revoke/c", nil))
	if got := s.Last(); got.Method != http.MethodDelete || got.Path != "/installation/token" || got.Header.Get("Authorization") != "Bearer granted" || got.Body != "" {
		t.Errorf("got %s %s %v %q", got.Method, got.Path, got.Header, got.Body)
	}
}
