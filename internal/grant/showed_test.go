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
	s := answering(t, http.StatusUnauthorized, "application/json", `{"error":"invalid_client"}`)
	k := generated(t, signing.ES256)
	certificates := func(ends time.Duration) signing.Certificates {
		t.Helper()
		out, err := k.SelfSigned("the-client", clock().Add(-time.Hour), clock().Add(ends))
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
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
	for name, test := range map[string]struct {
		change func(*Request)
		want   string
	}{
		"nothing of a secret": {func(*Request) {}, ""},
		"an assertion": {
			assertion(func(*Assertion) {}),
			`an assertion signed with ES256, kid "k-1", typ "JWT", aud "https://a.example"`,
		},
		"an assertion without what is left out": {
			assertion(func(a *Assertion) { a.KeyID, a.Headers = "", map[string]any{"typ": nil} }),
			`an assertion signed with ES256, no kid, no typ, aud "https://a.example"`,
		},
		"what the operator has it say, but for the values": {
			assertion(func(a *Assertion) {
				a.Headers = map[string]any{"kid": "k-2"}
				a.Claims = map[string]any{"aud": "https://b.example", "jti": "the-value", "exp": 1}
			}),
			`an assertion signed with ES256, kid "k-2", typ "JWT", aud "https://b.example", and as assertion_claims has them exp, jti`,
		},
		"no secret in it": {
			assertion(func(a *Assertion) { a.Audience = "https://a.example/the-secret-of-the-client" }),
			`an assertion signed with ES256, kid "k-1", typ "JWT", aud ` + withheld,
		},
		"a certificate, by the methods that rest on it": {present(AuthTLS, time.Hour), `the certificate of "CN=the-client", which ends on 2026-01-02T04:04:05Z`},
		"no certificate, by the others":                 {present(AuthPost, time.Hour), ""},
		"one that has ended, by any":                    {present(AuthPost, -time.Minute), `the certificate of "CN=the-client", which ended on 2026-01-02T03:03:05Z`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := standardRequest(s.TokenURL())
			test.change(&r)
			if e := refusal(t, r); e.Showed != test.want {
				t.Errorf("\n got %s\nwant %s", e.Showed, test.want)
			}
		})
	}
}

// What a server does not like about a certificate it may say by a TLS alert.
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
	if e := refusal(t, r); !strings.Contains(e.Detail, "none is presented") {
		t.Errorf("without a certificate: %s", e)
	}
	r.Certificates, r.Key = certificates, k
	e := refusal(t, r)
	for _, text := range []string{`does not accept the certificate of "CN=the-client", which ended on 2026-01-02T03:03:05Z`, "(expired certificate)"} {
		if e.Kind != Unavailable || !strings.Contains(e.Detail, text) {
			t.Errorf("with one: %s: does not say %q", e, text)
		}
	}
}
