// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// shows returns the fields of a config for a TLS client certificate and its
// key.
func shows(t *testing.T, certificate *x509.Certificate, key any) fields {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return fields{"tls_client_certificate": inPEM("CERTIFICATE", certificate.Raw), "tls_client_key": inPEM("PRIVATE KEY", der)}
}

// boundTo checks that a token is bound to that certificate (RFC 8705 section 3).
func boundTo(t *testing.T, known fields, certificate *x509.Certificate) {
	t.Helper()
	sum := sha256.Sum256(certificate.Raw)
	if got := member(known, "cnf", "x5t#S256"); got != base64.RawURLEncoding.EncodeToString(sum[:]) {
		t.Errorf("the token is bound to %v, not to the certificate", got)
	}
}

// TestInteropTLS tests the methods that use a TLS client certificate (RFC
// 8705).
func TestInteropTLS(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{TLS: true})
	a := newAuthority(t)
	p := harness.StartOIDCProvider(t, a.pem(), v.CACert())
	c := certified{v: v, p: p, observer: p.Register(fields{"token_endpoint_auth_method": "client_secret_basic"})}
	soon := time.Now().Add(time.Hour)
	subject := pkix.Name{Organization: []string{"Example"}, CommonName: "service"}
	bound := fields{"tls_client_certificate_bound_access_tokens": true}
	named := with(bound, fields{"tls_client_auth_subject_dn": "CN=service,O=Example"})

	for _, kind := range []string{"RSA", "P-256", "Ed25519"} {
		t.Run("tls_client_auth mints, with a key of "+kind, func(t *testing.T) {
			c := c.For(t)
			key := newKey(t, kind)
			certificate := a.certifies(t, subject, key.Public(), soon)
			client := c.register(t, "authority-"+kind, "tls_client_auth", named, shows(t, certificate, key))
			_, known := c.mints(t, "authority-"+kind, client)
			boundTo(t, known, certificate)
		})
	}
	t.Run("tls_client_auth mints with a key born in the engine, whose CSR an authority signed", func(t *testing.T) {
		c := c.For(t)
		write(t, c.v, "oauthcc/key/signed", fields{"algorithm": "ES256"})
		csr := write(t, c.v, "oauthcc/key/signed/csr", fields{"common_name": "service", "organization": "Example"})
		block, _ := pem.Decode([]byte(csr.text(t, "csr")))
		request, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		certificate := a.certifies(t, request.Subject, request.PublicKey, soon)
		write(t, c.v, "oauthcc/key/signed/certificate", fields{"certificate": inPEM("CERTIFICATE", certificate.Raw)})
		client := c.register(t, "born", "tls_client_auth", named, fields{"tls_key": "signed"})
		_, known := c.mints(t, "born", client)
		boundTo(t, known, certificate)
	})
	t.Run("self_signed_tls_client_auth mints", func(t *testing.T) {
		c := c.For(t)
		key := newKey(t, "P-256")
		certificate := selfSigned(t, subject, key, soon)
		registered := with(bound, jwks(jwk(t, key.Public(), "k-1", certificate)))
		client := c.register(t, "selfsigned", "self_signed_tls_client_auth", registered, shows(t, certificate, key))
		_, known := c.mints(t, "selfsigned", client)
		boundTo(t, known, certificate)
	})
	t.Run("self_signed_tls_client_auth mints by jwks_uri with a key born in the engine", func(t *testing.T) {
		c := c.For(t)
		write(t, c.v, "oauthcc/key/self", fields{"algorithm": "RS256"})
		client := c.register(t, "self", "self_signed_tls_client_auth", with(bound, fields{"jwks_uri": c.jwksURI("self")}), fields{"tls_key": "self"})
		c.mints(t, "self", client)
	})
	for _, method := range []string{"client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none"} {
		t.Run("a certificate binds the tokens of "+method, func(t *testing.T) {
			c := c.For(t)
			key := newKey(t, "P-256")
			certificate := selfSigned(t, subject, key, soon)
			more, registered := shows(t, certificate, key), bound
			if method == "private_key_jwt" {
				more = with(more, fields{"private_key": pkcs8(t, key), "key_id": "k-1"})
				registered = with(bound, jwks(jwk(t, key.Public(), "k-1")))
			}
			client := c.register(t, "bound-"+method, method, registered, more)
			_, known := c.mints(t, "bound-"+method, client)
			boundTo(t, known, certificate)
		})
	}
	for _, method := range []string{"tls_client_auth", "self_signed_tls_client_auth"} {
		t.Run(method+" mints tokens that are bound to a key of the engine's", func(t *testing.T) {
			c := c.For(t)
			key := newKey(t, "P-256")
			certificate, registered := a.certifies(t, subject, key.Public(), soon), named
			if method == "self_signed_tls_client_auth" {
				certificate = selfSigned(t, subject, key, soon)
				registered = jwks(jwk(t, key.Public(), "k-1", certificate))
			}
			registered = with(registered, fields{"tls_client_certificate_bound_access_tokens": nil, "dpop_bound_access_tokens": true})
			client := c.register(t, "dpop-"+method, method, registered, with(shows(t, certificate, key), fields{"dpop": true, "dpop_resources": ledger}))
			answer, known := c.mints(t, "dpop-"+method, client)
			proof := write(t, c.v, "oauthcc/proof/dpop-"+method, fields{"htm": "GET", "htu": ledger + "/books"}).text(t, "proof")
			if answer.text(t, "token_type") != "DPoP" || signer(t, proof) != member(known, "cnf", "jkt") {
				t.Errorf("the token is of type %v, bound to %v, and the proof signed with %s", answer.Data["token_type"], known["cnf"], signer(t, proof))
			}
		})
	}
	t.Run("a bound client without a certificate is refused", func(t *testing.T) {
		c := c.For(t)
		client := c.register(t, "unbound", "client_secret_basic", bound, nil)
		c.refused(t, "unbound", client, "mutual TLS client certificate not provided", "HTTP 400", "invalid_grant")
	})

	key := newKey(t, "P-256")
	for name, test := range map[string]struct {
		config, method string
		metadata       fields
		certificate    *x509.Certificate
		reason         string
		subject        string
	}{
		"of another authority": {"stranger", "tls_client_auth", named, newAuthority(t).certifies(t, subject, key.Public(), soon), "client certificate was not verified", `"CN=service,O=Example"`},
		"of another subject":   {"misnamed", "tls_client_auth", named, a.certifies(t, pkix.Name{CommonName: "other"}, key.Public(), soon), "certificate subject value does not match", `"CN=other"`},
		"that is unregistered": {"unregistered", "self_signed_tls_client_auth", jwks(jwk(t, key.Public(), "k-1", selfSigned(t, subject, key, soon))), selfSigned(t, subject, key, soon), "unregistered client certificate provided", `"CN=service,O=Example"`},
	} {
		t.Run("a certificate "+name+" is refused", func(t *testing.T) {
			c := c.For(t)
			client := c.register(t, test.config, test.method, test.metadata, shows(t, test.certificate, key))
			c.refused(t, test.config, client, test.reason, "HTTP 401", "invalid_client", "the certificate of "+test.subject+", which ends on ")
		})
	}
	t.Run("a certificate that ends later is the error's cause from then on", func(t *testing.T) {
		c := c.For(t)
		client := c.register(t, "ends", "tls_client_auth", named, with(shows(t, a.certifies(t, subject, key.Public(), soon), key), fields{"reuse": false}))
		var (
			ends   time.Time
			minted reply
		)
		// On a busy machine a certificate may end before its mint does. The next
		// one lasts twice as long.
		for life := 3 * time.Second; minted.status != http.StatusOK && life < time.Minute; life *= 2 {
			ends = time.Now().Add(life)
			write(t, c.v, "oauthcc/config/ends", shows(t, a.certifies(t, subject, key.Public(), ends), key))
			minted = ask(t, c.v, http.MethodGet, "oauthcc/token/ends", nil)
		}
		minted.wants(t, http.StatusOK)
		wait(t, ends.Add(time.Second))
		c.refused(t, "ends", client, "client certificate was not verified", "HTTP 401", "invalid_client", `the certificate of "CN=service,O=Example", which ended on `+ends.UTC().Format(time.RFC3339))
	})
}
