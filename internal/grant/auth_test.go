// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

func generated(t *testing.T, a signing.Algorithm) signing.Key {
	t.Helper()
	k, err := signing.Generate(a)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// verified reads an assertion and verifies it with the given key.
func verified(t *testing.T, text string, a signing.Algorithm, key any) (header jose.Header, claims map[string]any) {
	t.Helper()
	parsed, err := jose.ParseSigned(text, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(a)})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := parsed.Verify(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return parsed.Signatures[0].Header, claims
}

func publicOf(t *testing.T, k signing.Key, a signing.Algorithm) jose.JSONWebKey {
	t.Helper()
	raw, err := signing.PublicJWK(k.Signer().Public(), k.Thumbprint(), a, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out jose.JSONWebKey
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestEachMethodSendsWhatItShowsAndNothingElse(t *testing.T) {
	t.Parallel()
	k := generated(t, signing.ES256)
	for _, tc := range []struct {
		method AuthMethod
		names  []string // the names of the parameters
		basic  bool
	}{
		{AuthBasic, []string{"grant_type"}, true},
		{AuthPost, []string{"client_id", "client_secret", "grant_type"}, false},
		{AuthSecretJWT, []string{"client_assertion", "client_assertion_type", "client_id", "grant_type"}, false},
		{AuthPrivateKeyJWT, []string{"client_assertion", "client_assertion_type", "client_id", "grant_type"}, false},
		{AuthTLS, []string{"client_id", "grant_type"}, false},
		{AuthSelfSignedTLS, []string{"client_id", "grant_type"}, false},
		{AuthNone, []string{"client_id", "grant_type"}, false},
	} {
		t.Run(string(tc.method), func(t *testing.T) {
			t.Parallel()
			s := granting(t)
			r := standardRequest(s.URL() + "/")
			r.Auth = tc.method
			r.ClientAssertion = &Assertion{Key: k, Algorithm: signing.ES256, Issuer: "the-client", Subject: "the-client", Audience: "aud", Lifetime: time.Minute}
			if tc.method == AuthSecretJWT {
				r.ClientSecret = strings.Repeat("s", 32)
				r.ClientAssertion.Key, r.ClientAssertion.Secret, r.ClientAssertion.Algorithm = signing.Key{}, r.ClientSecret, signing.HS256
			}
			if _, err := mint(t, r); err != nil {
				t.Fatal(err)
			}
			sent, err := url.ParseQuery(s.Last().Body)
			if err != nil {
				t.Fatal(err)
			}
			names := []string{}
			for name := range sent {
				names = append(names, name)
			}
			slices.Sort(names)
			if _, _, basic := basicOf(s.Last()); !slices.Equal(names, tc.names) || basic != tc.basic {
				t.Errorf("sends %q (Basic: %t), want %q (%t)", names, basic, tc.names, tc.basic)
			}
			if text := sent.Get("client_assertion"); text != "" {
				if sent.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
					t.Errorf("type %q", sent.Get("client_assertion_type"))
				}
				key := any([]byte(r.ClientSecret))
				if tc.method == AuthPrivateKeyJWT {
					key = publicOf(t, k, signing.ES256)
				}
				verified(t, text, r.ClientAssertion.Algorithm, key)
			}
		})
	}
	if names := AuthMethods(); len(names) != 7 {
		t.Errorf("there are %q", names)
	}
}

func basicOf(r providertest.Request) (user, password string, ok bool) {
	return (&http.Request{Header: r.Header}).BasicAuth()
}

func TestAnAssertionSaysWhatIsExpectedOfIt(t *testing.T) {
	t.Parallel()
	k := generated(t, signing.RS256)
	certificates, err := k.SelfSigned("c", clock(), clock().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	now := float64(clock().Unix())
	base := Assertion{Key: k, Algorithm: signing.PS256, KeyID: "k-1", Issuer: "i", Subject: "s", Audience: "a", Lifetime: 2 * time.Minute}
	for name, tc := range map[string]struct {
		change  func(*Assertion)
		headers map[string]any // all but alg
		claims  map[string]any // all but jti
	}{
		"the standard claims, a little in the past": {
			func(*Assertion) {},
			map[string]any{"typ": "JWT", "kid": "k-1"},
			map[string]any{"iss": "i", "sub": "s", "aud": "a", "iat": now - 5, "nbf": now - 5, "exp": now + 115},
		},
		"further ones, others in place of standard ones, and none": {
			func(a *Assertion) {
				a.Claims = map[string]any{"scope": "x y", "iss": "other", "sub": nil, "nbf": nil}
				a.Headers = map[string]any{"typ": nil, "kid": "mine"}
			},
			map[string]any{"kid": "mine"},
			map[string]any{"iss": "other", "scope": "x y", "aud": "a", "iat": now - 5, "exp": now + 115},
		},
		"a list of audiences, and a type": {
			func(a *Assertion) { a.Audience, a.Type = []string{"a", "b"}, "client-authentication+jwt" },
			map[string]any{"typ": "client-authentication+jwt", "kid": "k-1"},
			map[string]any{"iss": "i", "sub": "s", "aud": []any{"a", "b"}, "iat": now - 5, "nbf": now - 5, "exp": now + 115},
		},
		"what the certificate is known by": {
			func(a *Assertion) { a.Certificates, a.Headers = certificates, map[string]any{"x5t": true} },
			map[string]any{"typ": "JWT", "kid": "k-1", "x5t": certificates.ThumbprintSHA1(), "x5t#S256": certificates.ThumbprintSHA256()},
			map[string]any{"iss": "i", "sub": "s", "aud": "a", "iat": now - 5, "nbf": now - 5, "exp": now + 115},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := base
			tc.change(&a)
			text, err := a.Sign(clock())
			if err != nil {
				t.Fatal(err)
			}
			_, claims := verified(t, text, signing.PS256, publicOf(t, k, signing.PS256))
			if jti, _ := claims["jti"].(string); len(jti) < 20 {
				t.Errorf("jti %q", jti)
			}
			delete(claims, "jti")
			if !sameJSON(t, claims, tc.claims) {
				t.Errorf("claims\n got %v\nwant %v", claims, tc.claims)
			}
			raw, _, _ := strings.Cut(text, ".")
			tc.headers["alg"] = "PS256"
			if got := decodeJSON(t, raw); !sameJSON(t, got, tc.headers) {
				t.Errorf("headers\n got %v\nwant %v", got, tc.headers)
			}
		})
	}
}

func decodeJSON(t *testing.T, segment string) (out map[string]any) {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(segment)
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sameJSON(t *testing.T, a, b any) bool {
	t.Helper()
	left, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	right, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(left) == string(right)
}

// A server refuses a jti that it has seen, so a retry needs a new one.
func TestEachAttemptHasAnAssertionOfItsOwn(t *testing.T) {
	t.Parallel()
	k := generated(t, signing.ES256)
	s := granting(t)
	s.Behave(providertest.Behavior{Times: 2, Status: http.StatusServiceUnavailable})
	r := standardRequest(s.URL() + "/")
	r.Auth = AuthPrivateKeyJWT
	r.ClientAssertion = &Assertion{Key: k, Algorithm: signing.ES256, Issuer: "i", Subject: "i", Audience: "a", Lifetime: time.Minute}
	c := NewClient(Options{Now: clock})
	c.retryWait = time.Millisecond
	defer c.Close()
	if _, err := c.Mint(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	seen := map[any]bool{}
	for _, sent := range s.All() {
		_, claims := verified(t, sent.Form().Get("client_assertion"), signing.ES256, publicOf(t, k, signing.ES256))
		seen[claims["jti"]] = true
	}
	if len(seen) != 3 {
		t.Errorf("%d attempts had %d identifiers", s.Requests(), len(seen))
	}
}

// An assertion is a credential until it expires.
func TestAnEchoedAssertionIsWithheld(t *testing.T) {
	t.Parallel()
	s := providertest.StartFunc(t, "/", func(w http.ResponseWriter, r *http.Request, _ []byte) {
		w.WriteHeader(http.StatusBadRequest)
		body, _ := json.Marshal(map[string]string{"error": "invalid_client", "error_description": "bad: " + r.FormValue("client_assertion")})
		_, _ = w.Write(body) // the client may not look at this answer
	})
	r := standardRequest(s.URL() + "/")
	r.Auth = AuthPrivateKeyJWT
	r.ClientAssertion = &Assertion{Key: generated(t, signing.ES256), Algorithm: signing.ES256, Issuer: "i", Subject: "i", Audience: "a", Lifetime: time.Minute}
	e := refusal(t, r)
	text := s.Last().Form().Get("client_assertion")
	for _, part := range strings.Split(text, ".") {
		if strings.Contains(e.Error(), part[:12]) {
			t.Errorf("the error holds a part of the assertion: %s", e)
		}
	}
}

func TestAClientCertificateIsShownWithEachMethod(t *testing.T) {
	t.Parallel()
	k := generated(t, signing.ES256)
	certificates, err := k.SelfSigned("the-client", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	var connections atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"of-`+r.TLS.PeerCertificates[0].Subject.CommonName+`","expires_in":60}`)
	}))
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert}
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.StartTLS()
	defer s.Close()
	c := NewClient(Options{Now: clock})
	defer c.Close()
	for _, method := range []AuthMethod{AuthTLS, AuthBasic, AuthNone} {
		r := standardRequest(s.URL)
		r.Auth, r.CACertificate, r.Certificates, r.Key = method, signing.Certificates{s.Certificate()}.PEM(), certificates, k
		token, err := c.Mint(t.Context(), r)
		if err != nil || token.AccessToken != "of-the-client" {
			t.Errorf("%s: %+v, %v", method, token, err)
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections for three requests of one client", n)
	}
}

func TestARefusalForItsTimesComparesTheClocks(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		says   string
		ahead  time.Duration
		detail string
	}{
		"a provider that is ahead":           {"JWT has expired", 7 * time.Minute, "the provider's clock is 7m ahead of this one"},
		"a provider that is behind":          {"assertion is not yet valid", -90 * time.Second, "the provider's clock is 1m30s behind this one"},
		"clocks that agree":                  {"exp is too far in the future", 0, "the clocks agree"},
		"RFC 6749's sentence of many causes": {"The provided authorization grant is invalid, expired, revoked, or issued to another client", 7 * time.Minute, ""},
		"a refusal for something else":       {"unknown kid", 7 * time.Minute, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := json.Marshal(map[string]string{"error": "invalid_client", "error_description": tc.says})
			if err != nil {
				t.Fatal(err)
			}
			s := granting(t)
			s.Behave(providertest.Behavior{Times: -1, Status: http.StatusUnauthorized, Body: string(body), Header: http.Header{
				"Content-Type": {"application/json"}, "Date": {clock().Add(tc.ahead).Format(http.TimeFormat)},
			}})
			r := standardRequest(s.URL() + "/")
			r.Auth = AuthPrivateKeyJWT
			r.ClientAssertion = &Assertion{Key: generated(t, signing.ES256), Algorithm: signing.ES256, Issuer: "i", Subject: "i", Audience: "a", Lifetime: time.Minute}
			e := refusal(t, r)
			if !strings.Contains(e.Detail, tc.detail) || tc.detail == "" && e.Detail != "" {
				t.Errorf("got %q", e.Detail)
			}
			if differ := tc.ahead != 0 && tc.detail != ""; differ != (e.Cause() == CauseClock) {
				t.Errorf("the cause is %s", e.Cause())
			}
		})
	}
}

// A proof has a time as well (RFC 9449 section 4.3), but no lifetime.
func TestARefusedProofComparesTheClocks(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		ahead  time.Duration
		detail string
	}{
		"a provider that is ahead": {7 * time.Minute, "the provider's clock is 7m ahead of this one"},
		"clocks that agree":        {0, "the clocks agree"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := granting(t)
			s.Behave(providertest.Behavior{
				Times: -1, Status: http.StatusBadRequest, Body: `{"error":"invalid_dpop_proof","error_description":"the iat is not recent enough"}`,
				Header: http.Header{"Content-Type": {"application/json"}, "Date": {clock().Add(tc.ahead).Format(http.TimeFormat)}},
			})
			r := boundRequest(t, s.URL()+"/")
			r.Auth = AuthPrivateKeyJWT
			r.ClientAssertion = &Assertion{Key: generated(t, signing.ES256), Algorithm: signing.ES256, Issuer: "i", Subject: "i", Audience: "a", Lifetime: time.Minute}
			if e := refusal(t, r); e.Detail != tc.detail || !e.Proved {
				t.Errorf("got %q, with a proof: %t", e.Detail, e.Proved)
			}
		})
	}
}

func TestAssertionGrantsSendTheirAssertion(t *testing.T) {
	t.Parallel()
	k := generated(t, signing.RS256)
	for grantType, made := range map[string]*Assertion{
		GrantJWTBearer:   {Key: k, Algorithm: signing.RS256, Issuer: "i", Subject: "i", Audience: "a", Lifetime: time.Minute},
		GrantSAML2Bearer: nil,
	} {
		s := granting(t)
		r := standardRequest(s.URL() + "/")
		r.Auth, r.GrantType, r.GrantAssertion, r.Assertion = AuthNone, grantType, made, "made-elsewhere"
		if _, err := mint(t, r); err != nil {
			t.Fatal(err)
		}
		sent := s.Last().Form()
		if sent.Get("grant_type") != grantType || len(sent) != 3 { // the third is client_id
			t.Errorf("%s sends %v", grantType, sent)
		}
		if made == nil && sent.Get("assertion") != "made-elsewhere" {
			t.Errorf("%s sends %q", grantType, sent.Get("assertion"))
		}
		if made != nil {
			verified(t, sent.Get("assertion"), signing.RS256, publicOf(t, k, signing.RS256))
		}
	}
}
