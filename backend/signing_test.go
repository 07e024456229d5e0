// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// verifying runs a token endpoint that verifies clients with the JWK set of key/k. It
// accepts each assertion once.
func verifying(t *testing.T, e *engine) *providertest.Server {
	t.Helper()
	seen := map[string]bool{}
	return invented(t, func(_ *http.Request, body string) string {
		sent, err := url.ParseQuery(body)
		if err != nil {
			return `{"error":"invalid_request"}`
		}
		var set jose.JSONWebKeySet
		encoded, _ := e.read(t, "jwks/k").data(t)[logical.HTTPRawBody].(string) // bytes are base64 in JSON
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || json.Unmarshal(raw, &set) != nil {
			return `{"error":"server_error"}`
		}
		parsed, err := jose.ParseSigned(sent.Get("client_assertion"), []jose.SignatureAlgorithm{jose.ES256})
		if err != nil || len(set.Key(parsed.Signatures[0].Header.KeyID)) != 1 {
			return `{"error":"invalid_client","error_description":"unknown kid"}`
		}
		payload, err := parsed.Verify(set.Key(parsed.Signatures[0].Header.KeyID)[0])
		var claims struct{ Jti string }
		if err != nil || json.Unmarshal(payload, &claims) != nil || seen[claims.Jti] {
			return `{"error":"invalid_client"}`
		}
		seen[claims.Jti] = true
		return `{"access_token":"token-` + claims.Jti + `","expires_in":3600}`
	})
}

// signed returns a config whose client signs with key/k.
func signed(s *providertest.Server) fields {
	return fields{"token_url": s.TokenURL(), "client_id": "me", "token_endpoint_auth_method": "private_key_jwt", "signing_key": "k"}
}

func TestAKeyOfTheEngineSignsForItsConfigsThroughARotation(t *testing.T) {
	e := mount(t)
	e.must(t, "key/k", fields{"algorithm": "ES256", "rotation_period": "30d", "publish_ahead": "1d", "retain": "1h"})
	s := verifying(t, e)
	e.must(t, "config/c", signed(s))
	wantMembers(t, e.read(t, "key/k").data(t), fields{"used_by": []any{"c"}})
	kids := map[string]bool{}
	token := e.read(t, "token/c").token(t)
	for range 90 { // 90 days
		e.clock.advance(day)
		e.everyMinute(t)
		next := e.read(t, "token/c").token(t)
		if next == token {
			t.Fatal("the same token a day later")
		}
		token = next
		parsed, err := jose.ParseSigned(s.Last().Form().Get("client_assertion"), []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatal(err)
		}
		kids[parsed.Signatures[0].Header.KeyID] = true
	}
	if len(kids) != 4 {
		t.Errorf("%d versions signed in 90 days of a period of 30", len(kids))
	}
}

func TestARotationKeepsTheTokens(t *testing.T) {
	e := mount(t)
	e.must(t, "key/k", fields{"algorithm": "ES256"})
	e.must(t, "config/c", signed(verifying(t, e)))
	token := e.read(t, "token/c").token(t)
	e.must(t, "key/k/rotate", fields{"now": true})
	if e.read(t, "token/c").token(t) != token {
		t.Error("the token was forgotten")
	}
}

// The key's own algorithm signs. If the provider refuses the client, the error tells
// the operator the algorithm and the kid.
func TestAKeyOfTheEngineSignsWithItsOwnAlgorithm(t *testing.T) {
	for _, algorithm := range []string{"RS512", "PS256"} {
		e := mount(t)
		s := invented(t, func(*http.Request, string) string { return `{"error":"invalid_client"}` })
		e.must(t, "key/k", fields{"algorithm": algorithm})
		e.must(t, "config/c", signed(s))
		kid, _ := e.versions(t, "k")[0]["kid"].(string)
		refused(t, e.read(t, "token/c"), http.StatusBadRequest, "invalid_client",
			"the client showed an assertion signed with "+algorithm+", kid \""+kid+"\"", "aud \""+s.TokenURL()+"\"")
		refused(t, e.patch(t, "config/c", fields{"signing_algorithm": "RS256"}), http.StatusBadRequest, "signing_algorithm", "("+algorithm+")")
	}
}

func TestAKeyInUseStays(t *testing.T) {
	e := mount(t)
	e.must(t, "key/k", fields{"algorithm": "ES256"})
	e.must(t, "config/c", signed(verifying(t, e)))
	refused(t, e.delete(t, "key/k"), http.StatusBadRequest, `key "k" is used by the configs c`)
	succeeded(t, e.delete(t, "config/c"))
	succeeded(t, e.delete(t, "key/k"))
	if r := e.read(t, "key/k"); r.status() != http.StatusNotFound {
		t.Errorf("status %d", r.status())
	}
}

func TestAConfigNamesAKeyThatThereIs(t *testing.T) {
	e := mount(t)
	refused(t, e.write(t, "config/c", fields{
		"token_url": "https://a.example/t", "client_id": "me", "token_endpoint_auth_method": "private_key_jwt", "signing_key": "k",
	}), http.StatusBadRequest, "signing_key names a key that does not exist: write key/<name> first")
}

// A key's private half appears in nothing that the engine returns or logs, also if a
// write has a wrong type.
func TestNoKeyMaterialComesOut(t *testing.T) {
	block, _ := pem.Decode([]byte(ownKey().key))
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := json.Marshal(jose.JSONWebKey{Key: parsed})
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(jwk, &members); err != nil {
		t.Fatal(err)
	}
	private, _ := members["d"].(string)
	lines := strings.Split(strings.TrimSpace(ownKey().key), "\n")
	hidden := append(slices.Clone(lines[1:len(lines)-1]), private, string(block.Bytes))

	e := mount(t, hidden...)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	for name, data := range map[string]fields{
		"PEM":                {"private_key": ownKey().key},
		"a JWK as text":      {"private_key": string(jwk)},
		"a JWK as an object": {"private_key": members},
		"a list":             {"private_key": []any{ownKey().key}},
		"the wrong field":    {"signing_certificate": ownKey().key, "private_key": ownKey().key},
		"the wrong name":     {"private_kee": ownKey().key},
		"an algorithm":       {"private_key": ownKey().key, "token_endpoint_auth_method": "private_key_jwt", "signing_algorithm": "RS256"},
		"as a parameter":     {"parameters": ownKey().key},
		"damaged":            {"private_key": strings.Replace(ownKey().key, lines[1], lines[1][1:], 1)},
		"TLS":                {"tls_client_key": ownKey().key},
	} {
		t.Run(name, func(t *testing.T) {
			r := e.write(t, "config/c", with(standard(s), data))
			withoutSecrets(t, "the answer", r.text(), hidden...)
			withoutSecrets(t, "a read", e.read(t, "config/c").text(), hidden...)
		})
	}
}

func TestACertificateOfAnEngineKeyIsShownToTheProvider(t *testing.T) {
	e := mount(t)
	e.must(t, "key/k", fields{"algorithm": "ES256"})
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", with(standard(s), fields{"tls_key": "k"}))
	e.read(t, "token/c").token(t) // a server that asks for no certificate does not notice
	refused(t, e.delete(t, "key/k"), http.StatusBadRequest, "is used by the configs c")
}
