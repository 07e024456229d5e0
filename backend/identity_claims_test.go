// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

// actingFor writes config/dwd, whose service account may act for the users of its
// provider. It returns a function that returns the claims of each assertion that the
// provider got.
func actingFor(t *testing.T, e *engine, more fields) func() []fields {
	t.Helper()
	var (
		mu     sync.Mutex
		claims []fields
	)
	s := invented(t, func(_ *http.Request, body string) string {
		form, _ := url.ParseQuery(body)
		var said fields
		if jwt, err := jose.ParseSigned(form.Get("assertion"), []jose.SignatureAlgorithm{jose.ES256}); err == nil {
			_ = json.Unmarshal(jwt.UnsafePayloadWithoutVerification(), &said) // if this fails, said stays nil
		}
		mu.Lock()
		defer mu.Unlock()
		claims = append(claims, said)
		return fmt.Sprintf(`{"access_token":"token-%d","expires_in":3600}`, len(claims))
	})
	e.must(t, "config/dwd", with(fields{
		"token_url": s.TokenURL(), "client_id": "service@account", "grant_type": grant.GrantJWTBearer, "private_key": ownKey().key,
		"token_endpoint_auth_method": "none", "default_token_type": "Bearer", "scopes": "mail calendar",
	}, more))
	return func() []fields {
		mu.Lock()
		defer mu.Unlock()
		return append([]fields(nil), claims...)
	}
}

// The service account acts for the user who reads, and for nobody else.
func TestARolesAssertionIsAboutItsCaller(t *testing.T) {
	e, _ := among(t)
	sent := actingFor(t, e, nil)
	e.must(t, "role/dwd/me", fields{"assertion_claims": fields{"sub": "{{identity.entity.name}}", "team": "t-{{identity.entity.metadata.team}}", "via": "{client_id}"}})
	e.must(t, "role/dwd/plain", fields{"scopes": "mail"})

	alice, mallory := e.as(t, "e-1", "token/dwd/me").token(t), e.as(t, "e-2", "token/dwd/me").token(t)
	if alice == mallory || e.as(t, "e-1", "token/dwd/me").token(t) != alice || e.as(t, "e-2", "token/dwd/me").token(t) != mallory {
		t.Errorf("%s and %s", alice, mallory)
	}
	e.as(t, "e-1", "token/dwd/plain").token(t)
	got := sent()
	if len(got) != 3 {
		t.Fatalf("asked %d times", len(got))
	}
	for i, want := range []fields{
		{"iss": "service@account", "sub": "alice", "team": "t-red", "via": "service@account"},
		{"iss": "service@account", "sub": "mal{lo}ry{{x}}", "team": `t-"},&a=b {client_secret}`, "via": "service@account"},
		{"iss": "service@account", "sub": "service@account", "team": nil},
	} {
		wantMembers(t, got[i], want)
	}
	refused(t, e.as(t, "", "token/dwd/me"), http.StatusBadRequest, "the role names the caller's identity, and this Vault token has none")
	refused(t, e.as(t, "e-3", "token/dwd/me"), http.StatusBadRequest, "the role names {{identity.entity.metadata.team}}, which the caller's identity lacks")
}

// Someone who writes a role cannot choose another user for the service account to act
// for.
func TestARoleAddsClaimsAndNoMore(t *testing.T) {
	e, _ := among(t)
	actingFor(t, e, fields{"assertion_claims": fields{"tenant": "acme", "nothing": nil, "maybe": "x"}, "secret_variables": fields{"key": secretOne}, "parameters": fields{"k": "{key}"}})
	for name, tc := range map[string]struct {
		claims any
		says   string
	}{
		"another subject":           {fields{"sub": "admin@example.com"}, "assertion_claims holds sub, which a role can set to the caller only"},
		"a subject made up":         {fields{"sub": "admin-{{identity.entity.name}}"}, "with nothing around it"},
		"two of them":               {fields{"sub": "{{identity.entity.name}}{{identity.entity.id}}"}, "with nothing around it"},
		"a subject of a variable":   {fields{"sub": "{client_id}"}, "with nothing around it"},
		"a subject that is a list":  {fields{"sub": []any{"{{identity.entity.name}}"}}, "with nothing around it"},
		"no subject":                {fields{"sub": nil}, "with nothing around it"},
		"the subject, spelled":      {fields{"SUB": "admin"}, `which some servers read as "sub", and that one says whom the assertion is about`},
		"another issuer":            {fields{"iss": "x"}, `assertion_claims holds "iss", which the engine sends itself: a role can add claims, not change or remove one`},
		"another audience":          {fields{"aud": "x"}, "which the engine sends itself"},
		"another audience, spelled": {fields{"Aud": "x"}, `which some servers read as "aud", and that one the engine sends itself: a role can add claims, not repeat one`},
		"a longer life":             {fields{"exp": float64(9999999999)}, "which the engine sends itself"},
		"wider scopes":              {fields{"scope": "everything"}, `holds "scope", which scopes decides`},
		"what the config says":      {fields{"tenant": "evil"}, "which the config or its provider decides"},
		"what the config leaves":    {fields{"nothing": "x"}, "which the config or its provider decides"},
		"to undo what it says":      {fields{"maybe": nil}, "which the config or its provider decides"},
		"a secret":                  {fields{"more": fields{"deep": "{key}"}}, "names the secret {key}: a role cannot name a secret"},
		"nobody that Vault knows":   {fields{"more": "{{identity.nobody}}"}, "assertion_claims names the caller's identity in a way that Vault does not know"},
		"what is no placeholder":    {fields{"more": "{"}, "assertion_claims"},
		"something more":            {fields{"more": []any{"x", float64(1)}, "who": "{{identity.entity.id}}"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := e.write(t, "role/dwd/r", fields{"assertion_claims": tc.claims})
			if tc.says == "" {
				succeeded(t, r)
				return
			}
			refused(t, r, http.StatusBadRequest, tc.says)
		})
	}
	// If the config sets the subject, a role cannot.
	e.must(t, "config/dwd", fields{"assertion_claims": fields{"sub": "boss@example.com"}})
	refused(t, e.write(t, "role/dwd/me", fields{"assertion_claims": fields{"sub": "{{identity.entity.name}}"}}), http.StatusBadRequest, `holds "sub", which the config or its provider decides`)
}
