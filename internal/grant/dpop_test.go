// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

func boundKey(t *testing.T) signing.Key {
	t.Helper()
	k, err := signing.Generate(signing.ES256)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// boundRequest returns a standard request for a token that is bound to a key.
func boundRequest(t *testing.T, url string) Request {
	t.Helper()
	r := standardRequest(url)
	r.DPoP = &DPoP{Key: boundKey(t)}
	return r
}

// proofParts returns the header and the claims of a proof. It checks the
// signature with the key in the header.
func proofParts(t *testing.T, text string) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		t.Fatalf("no JWT: %q", text)
	}
	for i, into := range []*map[string]any{&header, &claims} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(raw, into) != nil {
			t.Fatalf("part %d is no JSON: %q", i, raw)
		}
	}
	raw, err := json.Marshal(header["jwk"])
	if err != nil {
		t.Fatal(err)
	}
	var jwk jose.JSONWebKey
	if err := json.Unmarshal(raw, &jwk); err != nil || !jwk.IsPublic() {
		t.Fatalf("the jwk is none, or not public: %v", err)
	}
	parsed, err := jose.ParseSigned(text, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parsed.Verify(jwk); err != nil {
		t.Fatal(err)
	}
	return header, claims
}

// A proof holds exactly what figures 2 (section 4.2) and 12 (section 7.1) of
// RFC 9449 show.
func TestAProofHasTheShapeOfTheRFC(t *testing.T) {
	t.Parallel()
	k := boundKey(t)
	hash := TokenHash("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU")
	if want := "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"; hash != want {
		t.Errorf("ath %s, want the RFC's %s", hash, want)
	}
	for name, test := range map[string]struct {
		proof Proof
		more  map[string]any
	}{
		"to the token endpoint": {Proof{Method: "POST", URL: "https://server.example.com/token"}, nil},
		"to a resource": {
			Proof{Method: "GET", URL: "https://resource.example.org/protectedresource", TokenHash: hash, Nonce: "eyJ7S_zG.eyJH0-Z.HX4w-7v"},
			map[string]any{"ath": hash, "nonce": "eyJ7S_zG.eyJH0-Z.HX4w-7v"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := test.proof.Sign(k, clock())
			if err != nil {
				t.Fatal(err)
			}
			header, claims := proofParts(t, text)
			jwk, _ := header["jwk"].(map[string]any)
			if header["typ"] != "dpop+jwt" || header["alg"] != "ES256" || len(header) != 3 {
				t.Errorf("header %v", header)
			}
			if jwk["kty"] != "EC" || jwk["crv"] != "P-256" || jwk["x"] == nil || jwk["y"] == nil || len(jwk) != 4 {
				t.Errorf("jwk %v", jwk)
			}
			if jti, _ := claims["jti"].(string); len(jti) < 16 { // 96 bits, section 4.2
				t.Errorf("jti %q", jti)
			}
			delete(claims, "jti")
			want := map[string]any{"htm": test.proof.Method, "htu": test.proof.URL, "iat": float64(clock().Unix())}
			for name, v := range test.more {
				want[name] = v
			}
			if !reflect.DeepEqual(claims, want) {
				t.Errorf("claims %v, want %v", claims, want)
			}
		})
	}
}

// noncing runs a token endpoint that requires its current nonce. Each nonce is
// current for `lasts` requests.
func noncing(t *testing.T, lasts int, refusal func(w http.ResponseWriter)) *providertest.Server {
	t.Helper()
	requests := 0
	return providertest.StartFunc(t, "/", func(w http.ResponseWriter, r *http.Request, _ []byte) {
		current := fmt.Sprintf("nonce-%d", requests/lasts)
		requests++
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("DPoP-Nonce", fmt.Sprintf("nonce-%d", requests/lasts)) // the next one
		_, claims := proofParts(t, r.Header.Get("DPoP"))
		if claims["nonce"] != current {
			refusal(w)
			return
		}
		_, _ = w.Write([]byte(`{"access_token":"granted","token_type":"DPoP","expires_in":60}`))
	})
}

func refuseWith(status int, body string, headers ...string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func TestANonceThatIsAskedForIsGivenAtOnce(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		refusal func(http.ResponseWriter)
		change  func(*Request)
	}{
		"after a 400":                      {refuseWith(400, `{"error":"use_dpop_nonce"}`), func(*Request) {}},
		"after a 401":                      {refuseWith(401, `{"error":"use_dpop_nonce"}`), func(*Request) {}},
		"after a challenge":                {refuseWith(401, "", "WWW-Authenticate", `DPoP error="use_dpop_nonce"`), func(*Request) {}},
		"also for a grant that spends":     {refuseWith(400, `{"error":"use_dpop_nonce"}`), func(r *Request) { r.Spends = true }},
		"whatever the dialect calls error": {refuseWith(400, `{"error":"use_dpop_nonce"}`), func(r *Request) { r.Answer.Error = []Pointer{"/fault"} }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := noncing(t, 1000, test.refusal)
			r := boundRequest(t, s.URL()+"/token?a=b")
			test.change(&r)
			c := NewClient(Options{Now: clock})
			defer c.Close()
			token, err := c.Mint(t.Context(), r)
			if err != nil || token.AccessToken != "granted" {
				t.Fatalf("%v, %v", token, err)
			}
			if _, err := c.Mint(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			jtis := map[any]bool{}
			for _, sent := range s.All() {
				_, claims := proofParts(t, sent.Header.Get("DPoP"))
				if claims["htm"] != "POST" || claims["htu"] != s.URL()+"/token" {
					t.Errorf("the proof is for %v %v", claims["htm"], claims["htu"])
				}
				jtis[claims["jti"]] = true
			}
			if s.Requests() != 3 || len(jtis) != 3 {
				t.Errorf("%d requests with %d values of jti; want one that is refused, one for each token, and a new jti with each", s.Requests(), len(jtis))
			}
		})
	}
}

func TestANonceIsAskedForOnce(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		refusal  func(http.ResponseWriter)
		requests int
	}{
		"a server that always asks":          {refuseWith(400, `{"error":"use_dpop_nonce","error_description":"again"}`), 2},
		"another error that brings a nonce":  {refuseWith(400, `{"error":"invalid_grant","error_description":"again"}`), 1},
		"a nonce that cannot be one":         {refuseWith(400, `{"error":"use_dpop_nonce","error_description":"again"}`, "DPoP-Nonce", `a "b"`), 1},
		"another status":                     {refuseWith(403, `{"error":"use_dpop_nonce","error_description":"again"}`), 1},
		"a page as long as an answer can be": {refuseWith(400, `{"error":"x","error_description":"again","pad":"`+strings.Repeat("x", maxBody-100)+`"}`), 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := 0
			s := providertest.StartFunc(t, "/", func(w http.ResponseWriter, _ *http.Request, _ []byte) {
				n++
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("DPoP-Nonce", fmt.Sprint("nonce-", n))
				test.refusal(w)
			})
			r := boundRequest(t, s.URL())
			r.Spends = true
			e := refusal(t, r)
			if e.Kind != Refused || e.Description != "again" { // so the whole answer was read
				t.Errorf("%v: %v", e.Kind, e)
			}
			if s.Requests() != test.requests {
				t.Errorf("%d requests, want %d", s.Requests(), test.requests)
			}
		})
	}
}

func TestTheLastNonceOfAnyAnswerCounts(t *testing.T) {
	t.Parallel()
	s := noncing(t, 1, refuseWith(400, `{"error":"use_dpop_nonce"}`))
	c := NewClient(Options{Now: clock})
	defer c.Close()
	r := boundRequest(t, s.URL())
	for range 5 {
		if _, err := c.Mint(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if s.Requests() != 6 {
		t.Errorf("%d requests for five tokens, want one more than that", s.Requests())
	}
}

func TestNoncesAreTheirServers(t *testing.T) {
	t.Parallel()
	one, other := noncing(t, 1000, refuseWith(400, `{"error":"use_dpop_nonce"}`)), granting(t)
	c := NewClient(Options{Now: clock})
	defer c.Close()
	for _, url := range []string{one.URL(), other.URL()} {
		if _, err := c.Mint(t.Context(), boundRequest(t, url)); err != nil {
			t.Fatal(err)
		}
	}
	if _, claims := proofParts(t, other.Last().Header.Get("DPoP")); claims["nonce"] != nil {
		t.Error("a server is told the nonce of another")
	}
	n := newNonces()
	for i := range 2 * maxNonces {
		u := &url.URL{Scheme: "https", Host: fmt.Sprintf("h%d.example", i)}
		n.take(u, http.Header{"Dpop-Nonce": {"n"}})
	}
	if n.byOrigin.Len() != maxNonces {
		t.Errorf("%d nonces are kept", n.byOrigin.Len())
	}
}

// A proof is valid for a moment, and usable by anyone who also has the client's
// secret.
func TestAProofThatIsEchoedIsWithheld(t *testing.T) {
	t.Parallel()
	s := providertest.StartFunc(t, "/", func(w http.ResponseWriter, r *http.Request, _ []byte) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, `{"error":"invalid_dpop_proof","error_description":"bad proof: %s"}`, r.Header.Get("DPoP")[40:80])
	})
	e := refusal(t, boundRequest(t, s.URL()))
	if strings.Contains(e.Error(), s.Last().Header.Get("DPoP")[44:60]) {
		t.Errorf("the error quotes the proof: %v", e)
	}
}

func TestWithoutDPoPThereIsNoProof(t *testing.T) {
	t.Parallel()
	s := granting(t)
	if _, err := mint(t, standardRequest(s.URL())); err != nil {
		t.Fatal(err)
	}
	if got := s.Last().Header.Values("DPoP"); len(got) > 0 {
		t.Error("a proof was sent")
	}
}
