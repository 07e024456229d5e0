// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"testing"
)

// kindOf returns the kind of key that an algorithm needs.
func kindOf(algorithm string) string {
	switch algorithm {
	case "ES256":
		return "P-256"
	case "ES384":
		return "P-384"
	case "ES512":
		return "P-521"
	case "EdDSA":
		return "Ed25519"
	default:
		return "RSA"
	}
}

// TestInteropAssertions tests the methods that sign. Each algorithm is used for
// a client that is registered for that algorithm only.
func TestInteropAssertions(t *testing.T) {
	t.Parallel()
	c := startCertified(t)
	for _, algorithm := range []string{"HS256", "HS384", "HS512"} {
		t.Run("client_secret_jwt with "+algorithm+" mints", func(t *testing.T) {
			c := c.For(t)
			client := c.register(t, algorithm, "client_secret_jwt", fields{"token_endpoint_auth_signing_alg": algorithm}, fields{"signing_algorithm": algorithm})
			c.mints(t, algorithm, client)
		})
	}
	t.Run("client_secret_jwt signs with HS256 by default", func(t *testing.T) {
		c := c.For(t)
		client := c.register(t, "default", "client_secret_jwt", fields{"token_endpoint_auth_signing_alg": "HS256"}, nil)
		c.mints(t, "default", client)
	})
	for _, algorithm := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"} {
		t.Run("private_key_jwt with "+algorithm+" mints", func(t *testing.T) {
			c := c.For(t)
			key := newKey(t, kindOf(algorithm))
			registered := with(jwks(jwk(t, key.Public(), "k-1")), fields{"token_endpoint_auth_signing_alg": algorithm})
			client := c.register(t, algorithm, "private_key_jwt", registered, fields{
				"private_key": pkcs8(t, key), "key_id": "k-1", "signing_algorithm": algorithm,
			})
			c.mints(t, algorithm, client)
		})
		t.Run("private_key_jwt by jwks_uri with "+algorithm+" mints", func(t *testing.T) {
			c := c.For(t)
			write(t, c.v, "oauthcc/key/"+algorithm, fields{"algorithm": algorithm})
			registered := fields{"jwks_uri": c.jwksURI(algorithm), "token_endpoint_auth_signing_alg": algorithm}
			client := c.register(t, "uri-"+algorithm, "private_key_jwt", registered, fields{"signing_key": algorithm})
			c.mints(t, "uri-"+algorithm, client)
		})
	}
	for name, test := range map[string]struct {
		config, kind string
		format       func(*testing.T, any) string
	}{
		"PKCS#1": {"pkcs1", "RSA", func(t *testing.T, key any) string {
			t.Helper()
			private, _ := key.(*rsa.PrivateKey)
			return inPEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(private))
		}},
		"SEC1": {"sec1", "P-256", func(t *testing.T, key any) string {
			t.Helper()
			private, _ := key.(*ecdsa.PrivateKey)
			der, err := x509.MarshalECPrivateKey(private)
			if err != nil {
				t.Fatal(err)
			}
			return inPEM("EC PRIVATE KEY", der)
		}},
		"a JWK with its own kid": {"jwk", "P-384", func(t *testing.T, key any) string {
			t.Helper()
			raw, err := json.Marshal(jwk(t, key, "k-1"))
			if err != nil {
				t.Fatal(err)
			}
			return string(raw)
		}},
	} {
		t.Run("a key as "+name+" signs", func(t *testing.T) {
			c := c.For(t)
			key := newKey(t, test.kind)
			client := c.register(t, test.config, "private_key_jwt", jwks(jwk(t, key.Public(), "k-1")), fields{"private_key": test.format(t, key)})
			c.mints(t, test.config, client)
		})
	}
	// RFC 10070 section 2: the audience is just the issuer, and the JWT has its
	// own type.
	for _, method := range []string{"client_secret_jwt", "private_key_jwt"} {
		t.Run(method+" with an issuer is what a server wants that goes by the update", func(t *testing.T) {
			c := c.For(t)
			key := newKey(t, "P-256")
			registered := fields{"rfc10070": true}
			more := fields{"issuer": c.p.Issuer()}
			if method == "private_key_jwt" {
				registered = with(registered, jwks(jwk(t, key.Public(), "k-1")))
				more = with(more, fields{"private_key": pkcs8(t, key), "key_id": "k-1"})
			}
			client := c.register(t, "updated-"+method, method, registered, more)
			c.mints(t, "updated-"+method, client)
		})
	}
	t.Run("a lease's end revokes by an assertion as well", func(t *testing.T) {
		c := c.For(t)
		key := newKey(t, "P-256")
		client := c.register(t, "revoked", "private_key_jwt", jwks(jwk(t, key.Public(), "k-1")), fields{"private_key": pkcs8(t, key), "key_id": "k-1", "reuse": false})
		answer, _ := c.mints(t, "revoked", client)
		c.v.MustCLI("lease", "revoke", "-sync", answer.LeaseID)
		if known := c.p.Introspect(c.observer, answer.text(t, "access_token")); known["active"] != false {
			t.Errorf("the server says of the revoked token: %v", known)
		}
	})
}

// jwksURI returns the URL at which a provider finds the public part of a key.
func (c certified) jwksURI(key string) string { return c.v.Addr() + "/v1/oauthcc/jwks/" + key }

// TestInteropAssertionsRefused shows that the engine's error helps to find what
// is wrong with an assertion, although this server tells its clients only that
// they are refused.
func TestInteropAssertionsRefused(t *testing.T) {
	t.Parallel()
	c := startCertified(t)
	key := newKey(t, "P-256")
	public := jwks(jwk(t, key.Public(), "k-1"))
	good := fields{"private_key": pkcs8(t, key), "key_id": "k-1"}
	for name, test := range map[string]struct {
		config string
		more   fields
		reason string // the server's reason, which it does not tell the client
		says   []string
	}{
		"a wrong key":      {"refused1", fields{"private_key": pkcs8(t, newKey(t, "P-256"))}, "signature verification failed", []string{`kid "k-1"`}},
		"an unknown kid":   {"refused2", fields{"key_id": "k-2"}, "no applicable key found", []string{`kid "k-2"`}},
		"a wrong audience": {"refused3", fields{"assertion_audience": "https://elsewhere.example"}, "audience (aud) must equal", []string{`aud "https://elsewhere.example"`}},
		"an ended one":     {"refused4", fields{"assertion_claims": fields{"exp": 1}}, "jwt expired", []string{"as assertion_claims has them exp"}},
		"one without jti":  {"refused5", fields{"assertion_claims": fields{"jti": nil}}, "unique jti", []string{"as assertion_claims has them jti"}},
	} {
		t.Run(name+" is refused", func(t *testing.T) {
			c := c.For(t)
			client := c.register(t, test.config, "private_key_jwt", public, with(good, test.more))
			c.refused(t, test.config, client, test.reason, append(test.says, "HTTP 401", "invalid_client")...)
		})
	}
	t.Run("without an issuer it is refused by a server that goes by RFC 10070", func(t *testing.T) {
		c := c.For(t)
		client := c.register(t, "dated", "private_key_jwt", with(public, fields{"rfc10070": true}), good)
		c.refused(t, "dated", client, "aud must be the issuer", "HTTP 401", "invalid_client", `typ "JWT", aud "`+c.p.Issuer()+`/token"`)
	})
	t.Run("a repeated jti is refused", func(t *testing.T) {
		c := c.For(t)
		client := c.register(t, "repeated", "private_key_jwt", public, with(good, fields{"assertion_claims": fields{"jti": "fixed"}, "reuse": false}))
		c.mints(t, "repeated", client)
		c.refused(t, "repeated", client, "must only be used once", "HTTP 401", "invalid_client", "as assertion_claims has them jti")
	})
	t.Run("another algorithm than the registered one is refused", func(t *testing.T) {
		c := c.For(t)
		key := newKey(t, "RSA")
		registered := with(jwks(jwk(t, key.Public(), "k-1")), fields{"token_endpoint_auth_signing_alg": "PS256"})
		client := c.register(t, "other", "private_key_jwt", registered, fields{"private_key": pkcs8(t, key), "key_id": "k-1", "signing_algorithm": "RS256"})
		c.refused(t, "other", client, "alg mismatch", "HTTP 401", "invalid_client", "signed with RS256")
	})
	t.Run("a secret too short for the algorithm is refused when written", func(t *testing.T) {
		c := c.For(t)
		client := c.register(t, "short", "client_secret_jwt", nil, nil)
		ask(t, c.v, http.MethodPost, "oauthcc/config/short", fields{"client_id": client["client_id"], "client_secret": "short"}).
			wants(t, http.StatusBadRequest, "client_secret", "HS256")
	})
}
