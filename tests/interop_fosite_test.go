// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// TestInteropFosite uses a second server from another project. This server
// states why it refuses a request, fetches a JWK set again if a key is missing,
// and has clients with an audience.
func TestInteropFosite(t *testing.T) {
	t.Parallel()
	const (
		secret   = "p a+s%s:w&o=r?d/ for fosite"
		audience = "https://ledger.example/api"
	)
	v := harness.Start(t, harness.Options{TLS: true})
	uri := func(key string) string { return v.Addr() + "/v1/oauthcc/jwks/" + key }
	for key, algorithm := range map[string]string{"rs": "RS256", "ps": "PS384", "es": "ES256", "load": "ES384"} {
		write(t, v, "oauthcc/key/"+key, fields{"algorithm": algorithm})
	}
	own := newKey(t, "P-256")
	registered := with(jwk(t, own.Public(), "k-1"), fields{"use": "sig"}) // it requires use
	clients := map[string]map[string]any{
		"svc:basic":  {"token_endpoint_auth_method": "client_secret_basic", "secret": secret, "audience": []string{audience, "https://stock.example"}},
		"post":       {"token_endpoint_auth_method": "client_secret_post", "secret": secret},
		"own":        {"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "ES256", "jwks": fields{"keys": []fields{registered}}},
		"rs":         {"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "RS256", "jwks_uri": uri("rs")},
		"ps":         {"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "PS384", "jwks_uri": uri("ps")},
		"es":         {"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "ES256", "jwks_uri": uri("es")},
		"load":       {"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "ES384", "jwks_uri": uri("load")},
		"person":     {"token_endpoint_auth_method": "client_secret_basic", "secret": secret, "grant_types": []string{"password", "refresh_token"}, "scopes": []string{"read", "offline"}},
		"introspect": {"token_endpoint_auth_method": "client_secret_basic", "secret": secret},
	}
	for _, metadata := range clients {
		for name, value := range map[string]any{"grant_types": []string{"client_credentials"}, "scopes": []string{"read", "write"}} {
			if metadata[name] == nil {
				metadata[name] = value
			}
		}
	}
	bearer := newKey(t, "RSA")
	s := harness.StartFosite(t, harness.FositeOptions{
		Clients: clients, Users: map[string]string{"ada": "her password"},
		Bearers: map[string]map[string]any{"robot@example": with(jwk(t, bearer.Public(), "r-1"), fields{"use": "sig"})},
	}, v.CACert())

	config := func(t *testing.T, name, client string, more fields) {
		t.Helper()
		metadata := clients[client]
		body := fields{
			"token_url": s.Issuer() + "/token", "revocation_url": s.Issuer() + "/revoke", "tls_ca_certificate": s.For(t).Authority(),
			"client_id": client, "token_endpoint_auth_method": metadata["token_endpoint_auth_method"], "scopes": "read",
		}
		if metadata["secret"] != nil {
			body["client_secret"] = metadata["secret"]
		}
		write(t, v.For(t), "oauthcc/config/"+name, with(body, more))
	}
	mints := func(t *testing.T, name, client string) (answer reply, known fields) {
		t.Helper()
		answer = read(t, v.For(t), "oauthcc/token/"+name)
		known = s.For(t).Introspect("introspect", secret, answer.text(t, "access_token"))
		if known["active"] != true || known["client_id"] != client || known["scope"] != answer.Data["scope"] {
			t.Fatalf("the server says of the token of %s (%v): %v", name, answer.Data, known)
		}
		return answer, known
	}

	for client, more := range map[string]fields{
		"svc:basic": nil, "post": nil, "rs": {"signing_key": "rs"}, "ps": {"signing_key": "ps"}, "es": {"signing_key": "es"},
		"own": {"private_key": pkcs8(t, own), "key_id": "k-1"},
	} {
		t.Run(fmt.Sprintf("%s mints (%s), and its lease's end revokes", client, clients[client]["token_endpoint_auth_method"]), func(t *testing.T) {
			name := "mints-" + client[len(client)-2:]
			config(t, name, client, with(fields{"reuse": false}, more))
			answer, _ := mints(t, name, client)
			v.For(t).MustCLI("lease", "revoke", "-sync", answer.LeaseID)
			if known := s.For(t).Introspect("introspect", secret, answer.text(t, "access_token")); known["active"] != false {
				t.Errorf("the server says of the revoked token: %v", known)
			}
		})
	}
	t.Run("audiences are what the token is for", func(t *testing.T) {
		config(t, "audience", "svc:basic", fields{"parameters": fields{"audience": []string{audience, "https://stock.example"}}})
		if _, known := mints(t, "audience", "svc:basic"); !same(known["aud"], []string{audience, "https://stock.example"}) {
			t.Errorf("the token is for %v", known["aud"])
		}
		config(t, "stranger", "svc:basic", fields{"parameters": fields{"audience": "https://nowhere.example"}})
		ask(t, v.For(t), http.MethodGet, "oauthcc/token/stranger", nil).wants(t, http.StatusBadRequest, "invalid_request", "https://nowhere.example")
	})
	t.Run("a person's password, and then refresh tokens that are good for one use", func(t *testing.T) {
		config(t, "person", "person", fields{
			"grant_type": "password", "username": "ada", "password": "her password", "scopes": "read,offline", "reuse": false,
		})
		seen := map[string]bool{}
		var last reply
		for range 4 {
			last, _ = mints(t, "person", "person")
			seen[last.text(t, "access_token")] = true
		}
		// For a revoked token, this server also revokes the refresh token that
		// was issued with it.
		v.For(t).MustCLI("lease", "revoke", "-sync", last.LeaseID)
		last, _ = mints(t, "person", "person")
		seen[last.text(t, "access_token")] = true
		if len(seen) != 5 {
			t.Errorf("%d tokens of 5 mints", len(seen))
		}
	})
	t.Run("a signed JWT is a grant of its own", func(t *testing.T) {
		signs := fields{
			"token_url": s.Issuer() + "/token", "tls_ca_certificate": s.For(t).Authority(), "token_endpoint_auth_method": "none",
			"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "client_id": "robot@example", "scopes": "read",
			"private_key": pkcs8(t, bearer), "key_id": "r-1",
		}
		write(t, v.For(t), "oauthcc/config/bearer", signs)
		answer := read(t, v.For(t), "oauthcc/token/bearer")
		known := s.For(t).Introspect("introspect", secret, answer.text(t, "access_token"))
		if known["active"] != true || known["sub"] != "robot@example" || known["scope"] != "read" {
			t.Errorf("the server says of the token: %v", known)
		}
		write(t, v.For(t), "oauthcc/config/stranger-bearer", with(signs, fields{"client_id": "stranger@example"}))
		ask(t, v.For(t), http.MethodGet, "oauthcc/token/stranger-bearer", nil).
			wants(t, http.StatusBadRequest, "HTTP 400", "invalid_grant")
	})
	for name, test := range map[string]struct {
		client string
		more   fields
		says   []string
	}{
		"wrong-secret":   {"svc:basic", fields{"client_secret": "wrong"}, []string{"HTTP 401", "invalid_client", "check client_id, client_secret"}},
		"wrong-scope":    {"svc:basic", fields{"scopes": "admin"}, []string{"invalid_scope", "'admin'", "check the scopes"}},
		"wrong-kid":      {"own", fields{"private_key": pkcs8(t, own), "key_id": "k-2"}, []string{"'k-2'"}},
		"wrong-key":      {"own", fields{"private_key": pkcs8(t, newKey(t, "P-256")), "key_id": "k-1"}, []string{"HTTP 401", "Unable to verify the integrity of the 'client_assertion' value", `kid "k-1"`}},
		"wrong-audience": {"own", fields{"private_key": pkcs8(t, own), "key_id": "k-1", "assertion_audience": "https://elsewhere.example"}, []string{"Claim 'audience' from 'client_assertion' must match", `aud "https://elsewhere.example"`}},
		"no-jti":         {"own", fields{"private_key": pkcs8(t, own), "key_id": "k-1", "assertion_claims": fields{"jti": nil}}, []string{"Claim 'jti' from 'client_assertion' must be set"}},
		"wrong-method":   {"post", fields{"token_endpoint_auth_method": "client_secret_basic"}, []string{"The OAuth 2.0 Client supports client authentication method 'client_secret"}},
	} {
		t.Run(name+" is refused, in words that reach the reader", func(t *testing.T) {
			config(t, name, test.client, test.more)
			ask(t, v.For(t), http.MethodGet, "oauthcc/token/"+name, nil).wants(t, http.StatusBadRequest, test.says...)
		})
	}
	t.Run("a repeated jti is refused, in words that reach the reader", func(t *testing.T) {
		config(t, "jti", "own", fields{"private_key": pkcs8(t, own), "key_id": "k-1", "assertion_claims": fields{"jti": "fixed"}, "reuse": false})
		mints(t, "jti", "own")
		ask(t, v.For(t), http.MethodGet, "oauthcc/token/jti", nil).wants(t, http.StatusBadRequest, "jti_known", "MUST only be used once")
	})
	t.Run("no request is refused while a key rotates at once: it looks again for a key that it lacks", func(t *testing.T) {
		v := v.For(t)
		config(t, "load", "load", fields{"signing_key": "load", "reuse": false})
		l := underLoad(t, v, "load")
		kids := map[string]bool{}
		for range 3 {
			l.more(t, 20)
			write(t, v, "oauthcc/key/load/rotate", fields{"now": true})
			kid, _ := signingNow(t, v, "load")
			kids[kid] = true
		}
		l.more(t, 20)
		l.stop()
		if len(kids) != 3 {
			t.Errorf("the key had the versions %v", slices.Sorted(maps.Keys(kids)))
		}
	})
}
