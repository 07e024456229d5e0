// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

func TestARefusalNamesWhatTheClientShowed(t *testing.T) {
	t.Parallel()
	const refusedClient, refusedGrant = `{"error":"invalid_client"}`, `{"error":"invalid_grant","error_description":"Invalid JWT Signature."}`
	const noCertificate = `{"error":"invalid_request","error_description":"proper client ssl certificate was not presented"}`
	k := generated(t, signing.ES256)
	certificates := func(ends time.Duration) signing.Certificates {
		t.Helper()
		out, err := k.SelfSigned("the-client", clock().Add(-time.Hour), clock().Add(ends))
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	registered := certificates(time.Hour)
	assertion := func(change func(*Assertion)) func(*Request) {
		return func(r *Request) {
			r.Auth = AuthPrivateKeyJWT
			r.ClientAssertion = &Assertion{Key: k, Algorithm: signing.ES256, KeyID: "k-1", Audience: "https://a.example", Lifetime: time.Minute}
			change(r.ClientAssertion)
		}
	}
	present := func(method AuthMethod, ends time.Duration) func(*Request) {
		return func(r *Request) { r.Auth, r.Certificates, r.Key = method, certificates(ends), k }
	}
	bearer := func(r *Request) {
		r.GrantType, r.GrantAssertion = GrantJWTBearer, &Assertion{
			Key: k, Algorithm: signing.ES256, KeyID: "k-1", Issuer: "robot", Subject: "robot", Audience: "https://a.example",
			Claims: map[string]any{"sub": "ada", "scope": "read"}, Lifetime: time.Minute,
		}
	}
	for name, test := range map[string]struct {
		refusal string
		change  func(*Request)
		want    string
	}{
		"nothing of a secret": {refusedClient, func(*Request) {}, ""},
		"an assertion": {
			refusedClient, assertion(func(*Assertion) {}),
			`an assertion signed with ES256, kid "k-1", typ "JWT", aud "https://a.example"`,
		},
		"an assertion with a certificate": {
			refusedClient, assertion(func(a *Assertion) { a.Certificates = registered }),
			`an assertion signed with ES256, kid "k-1", typ "JWT", x5t#S256 "` + registered.ThumbprintSHA256() + `", aud "https://a.example"`,
		},
		"an assertion without what is left out": {
			refusedClient, assertion(func(a *Assertion) { a.KeyID, a.Headers = "", map[string]any{"typ": nil} }),
			`an assertion signed with ES256, no kid, no typ, aud "https://a.example"`,
		},
		"what the operator has it say, but for the values": {
			refusedClient, assertion(func(a *Assertion) {
				a.Headers = map[string]any{"kid": "k-2"}
				a.Claims = map[string]any{"aud": "https://b.example", "jti": "the-value", "exp": 1}
			}),
			`an assertion signed with ES256, kid "k-2", typ "JWT", aud "https://b.example", and as assertion_claims has them exp, jti`,
		},
		"no secret in it": {
			refusedClient, assertion(func(a *Assertion) { a.Audience = "https://a.example/the-secret-of-the-client" }),
			`an assertion signed with ES256, kid "k-1", typ "JWT", aud ` + withheld,
		},
		"a certificate, by the methods that rest on it": {refusedClient, present(AuthTLS, time.Hour), `the certificate of "CN=the-client", which ends on 2026-01-02T04:04:05Z`},
		"no certificate, by the others":                 {refusedClient, present(AuthPost, time.Hour), ""},
		"one that has ended, by any":                    {refusedClient, present(AuthPost, -time.Minute), `the certificate of "CN=the-client", which ended on 2026-01-02T03:03:05Z`},
		"the assertion of a refused grant, whose subject counts": {
			refusedGrant, bearer,
			`an assertion signed with ES256, kid "k-1", typ "JWT", aud "https://a.example", iss "robot", sub "ada", and as assertion_claims has them scope`,
		},
		"nothing of another refused grant":               {refusedGrant, func(*Request) {}, ""},
		"a certificate, where the provider speaks of it": {noCertificate, present(AuthBasic, time.Hour), `the certificate of "CN=the-client", which ends on 2026-01-02T04:04:05Z`},
		"none, where the provider speaks of one":         {noCertificate, func(*Request) {}, "no TLS client certificate"},
		"no TLS certificate where an assertion has one": {
			`{"error":"invalid_client","error_description":"The certificate used to sign the client assertion is not registered"}`, assertion(func(*Assertion) {}),
			`an assertion signed with ES256, kid "k-1", typ "JWT", aud "https://a.example"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := answering(t, http.StatusUnauthorized, "application/json", test.refusal)
			r := standardRequest(s.TokenURL())
			test.change(&r)
			if e := refusal(t, r); e.Showed != test.want {
				t.Errorf("\n got %s\nwant %s", e.Showed, test.want)
			}
		})
	}
}

// A server may use a TLS alert to say what is wrong with a certificate.
func TestAnAlertNamesTheCertificate(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAndVerifyClientCert}
	s.StartTLS()
	defer s.Close()
	k := generated(t, signing.ES256)
	certificates, err := k.SelfSigned("the-client", time.Now().Add(-time.Hour), clock().Add(-time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	r := standardRequest(s.URL)
	r.CACertificate = signing.Certificates{s.Certificate()}.PEM()
	if e := refusal(t, r); !strings.Contains(e.Error(), "none is presented") {
		t.Errorf("without a certificate: %s", e)
	}
	r.Certificates, r.Key = certificates, k
	e := refusal(t, r)
	for _, text := range []string{`does not accept the certificate of "CN=the-client", which ended on 2026-01-02T03:03:05Z`, "(expired certificate)"} {
		if e.Kind != Unavailable || !strings.Contains(e.Error(), text) {
			t.Errorf("with one: %s: does not say %q", e, text)
		}
	}
}
