// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

func TestClientsWithKeysAreServedAsDocumented(t *testing.T) {
	for _, d := range KeyDialects() {
		for _, host := range []string{"", "login.sample.example"} {
			s := Start(t, d, Options{Host: host})
			key := newRSA(t)
			got := shows(t, s, d, key).ask(t, s)
			token := got.member(t, "access_token")
			if got.status != http.StatusOK || !s.Valid(token) {
				t.Fatalf("%s at %q: %d %s", d, host, got.status, got.body)
			}
			wantType := "Bearer"
			if d == Okta {
				wantType = "DPoP"
			}
			if got.member(t, "token_type") != wantType || strings.Contains(got.body, "expires_in") == (d == Salesforce) {
				t.Errorf("%s: %s", d, got.body)
			}
		}
	}
}

func TestClientsWithKeysAreRefusedAsDocumented(t *testing.T) {
	none := func(*testing.T, *Server, *showing) {}
	for name, test := range map[string]struct {
		dialect Dialect
		change  func(*testing.T, *Server, *showing)
		status  int // 0 if the request succeeds
		says    string
	}{
		"okta: a wrong key":                      {Okta, otherKey, 401, "signature is invalid"},
		"okta: an unknown kid":                   {Okta, setHeader("kid", "k-2"), 401, "kid is invalid"},
		"okta: no kid":                           {Okta, setHeader("kid", nil), 401, "kid is invalid"},
		"okta: PS256":                            {Okta, otherAlg(jose.PS256), 401, "alg is not supported"},
		"okta: RS512":                            {Okta, otherAlg(jose.RS512), 0, ""},
		"okta: the issuer as the audience":       {Okta, set("aud", "https://acme.okta.com"), 401, "audience"},
		"okta: another issuer":                   {Okta, set("iss", "someone"), 401, "iss and sub"},
		"okta: another subject":                  {Okta, set("sub", "someone"), 401, "iss and sub"},
		"okta: another client_id":                {Okta, setForm("client_id", "someone"), 401, "iss and sub"},
		"okta: more than an hour":                {Okta, setTime("exp", time.Hour+time.Minute), 401, "too far into the future"},
		"okta: an ended one":                     {Okta, setTime("exp", -time.Second), 401, "expired"},
		"okta: one without end":                  {Okta, set("exp", nil), 401, "expired"},
		"okta: one from the future":              {Okta, setTime("iat", time.Minute), 401, "issued in the future"},
		"okta: one without iat and jti":          {Okta, func(_ *testing.T, _ *Server, w *showing) { change(w.claims, "iat", nil); change(w.claims, "jti", nil) }, 0, ""},
		"okta: a used one":                       {Okta, twice, 401, "already been used"},
		"okta: another type of assertion":        {Okta, setForm("client_assertion_type", "jwt"), 401, "client_assertion_type"},
		"okta: no scope":                         {Okta, setForm("scope", ""), 400, "invalid_scope"},
		"okta: another scope":                    {Okta, setForm("scope", "openid"), 400, "invalid_scope"},
		"okta: another grant":                    {Okta, setForm("grant_type", "password"), 400, "unsupported_grant_type"},
		"okta: no proof":                         {Okta, func(_ *testing.T, _ *Server, w *showing) { w.proof = nil }, 400, "The DPoP proof JWT header is missing."},
		"okta: a proof without the nonce":        {Okta, setProof("nonce", nil), 400, "use_dpop_nonce"},
		"okta: a proof with another nonce":       {Okta, setProof("nonce", "x"), 400, "use_dpop_nonce"},
		"okta: a proof of another method":        {Okta, setProof("htm", "GET"), 400, "htm"},
		"okta: a proof of another URL":           {Okta, setProof("htu", "https://acme.okta.com/"), 400, "htu"},
		"okta: an old proof":                     {Okta, setProofTime(-2 * time.Minute), 400, "iat"},
		"okta: a proof of tomorrow":              {Okta, setProofTime(time.Minute), 400, "iat"},
		"okta: a proof for a token":              {Okta, setProof("ath", "x"), 400, "ath"},
		"okta: a proof without jti":              {Okta, setProof("jti", nil), 400, "jti"},
		"okta: a proof of another key":           {Okta, func(t *testing.T, _ *Server, w *showing) { w.proof.key = newEC(t) }, 400, "signature"},
		"okta: a proof with its private key":     {Okta, func(_ *testing.T, _ *Server, w *showing) { w.proof.header["jwk"] = jose.JSONWebKey{Key: w.proof.key} }, 400, "jwk"},
		"okta: a proof of another type":          {Okta, func(_ *testing.T, _ *Server, w *showing) { w.proof.header["typ"] = "JWT" }, 400, "typ"},
		"entra: RS256":                           {Entra, otherAlg(jose.RS256), 401, "AADSTS5002738"},
		"entra: no typ":                          {Entra, setHeader("typ", nil), 401, "AADSTS50027"},
		"entra: a kid":                           {Entra, setHeader("kid", "k-1"), 401, "AADSTS50027"},
		"entra: another certificate":             {Entra, setHeader("x5t#S256", "x"), 401, "AADSTS700027"},
		"entra: a SHA-1 thumbprint":              {Entra, sha1Thumbprint, 401, "AADSTS50027"},
		"entra: a wrong key":                     {Entra, otherKey, 401, "AADSTS700027"},
		"entra: another audience":                {Entra, set("aud", "https://login.microsoftonline.com/common/oauth2/v2.0/token"), 401, "AADSTS700023"},
		"entra: another issuer":                  {Entra, set("iss", "someone"), 401, "AADSTS700021"},
		"entra: another subject":                 {Entra, set("sub", "someone"), 401, "AADSTS700021"},
		"entra: another client_id":               {Entra, setForm("client_id", "someone"), 400, "AADSTS700016"},
		"entra: more than ten minutes":           {Entra, setTime("exp", 11*time.Minute), 401, "AADSTS700024"},
		"entra: an ended one":                    {Entra, setTime("exp", -time.Second), 401, "AADSTS700024"},
		"entra: one of tomorrow":                 {Entra, setTime("nbf", time.Minute), 401, "AADSTS700024"},
		"entra: one without nbf":                 {Entra, set("nbf", nil), 401, "AADSTS700024"},
		"entra: one without jti":                 {Entra, set("jti", nil), 401, "AADSTS50027"},
		"entra: a used one":                      {Entra, twice, 401, "AADSTS50027"},
		"entra: two scopes":                      {Entra, setForm("scope", "https://graph.microsoft.com/.default openid"), 400, "AADSTS70011"},
		"entra: a secret as well":                {Entra, setForm("client_secret", "x"), 400, "client_secret"},
		"google: PS256":                          {Google, otherAlg(jose.PS256), 400, "alg must be RS256"},
		"google: no typ":                         {Google, setHeader("typ", nil), 400, "typ JWT"},
		"google: an unknown kid":                 {Google, setHeader("kid", "k-1"), 400, "Invalid JWT Signature."},
		"google: no kid":                         {Google, setHeader("kid", nil), 0, ""},
		"google: a wrong key":                    {Google, otherKey, 400, "Invalid JWT Signature."},
		"google: a wrong key without a kid":      {Google, func(t *testing.T, s *Server, w *showing) { otherKey(t, s, w); change(w.header, "kid", nil) }, 400, "Invalid JWT Signature."},
		"google: another account":                {Google, set("iss", "someone"), 400, "account not found"},
		"google: the host as the audience":       {Google, set("aud", "https://oauth2.googleapis.com"), 400, "audience"},
		"google: more than an hour":              {Google, setTime("exp", time.Hour+time.Minute), 400, "short-lived"},
		"google: an ended one":                   {Google, setTime("exp", -time.Second), 400, "short-lived"},
		"google: one without iat":                {Google, set("iat", nil), 400, "short-lived"},
		"google: a subject":                      {Google, set("sub", "ada@acme.example"), 401, "unauthorized_client"},
		"google: itself as the subject":          {Google, set("sub", DefaultCredentials(Google).ClientID), 401, "unauthorized_client"},
		"google: no scope":                       {Google, set("scope", nil), 400, "invalid_scope"},
		"google: scopes with commas":             {Google, set("scope", "https://www.googleapis.com/auth/pubsub,https://www.googleapis.com/auth/pubsub"), 400, "invalid_scope"},
		"google: the scope in the form":          {Google, setForm("scope", "https://www.googleapis.com/auth/pubsub"), 400, "scope"},
		"google: the client in the form":         {Google, setForm("client_id", "robot"), 400, "client_id"},
		"salesforce: PS256":                      {Salesforce, otherAlg(jose.PS256), 400, "invalid assertion"},
		"salesforce: a wrong key":                {Salesforce, otherKey, 400, "invalid assertion"},
		"salesforce: another consumer":           {Salesforce, set("iss", "someone"), 400, "invalid_client_id"},
		"salesforce: the endpoint as audience":   {Salesforce, set("aud", "https://login.salesforce.com/services/oauth2/token"), 400, "audience is invalid"},
		"salesforce: another user":               {Salesforce, set("sub", "someone"), 400, "user hasn't approved this consumer"},
		"salesforce: no user":                    {Salesforce, set("sub", nil), 400, "user hasn't approved this consumer"},
		"salesforce: five minutes":               {Salesforce, setTime("exp", 5*time.Minute), 400, "expired authorization code"},
		"salesforce: an ended one":               {Salesforce, setTime("exp", -time.Second), 400, "expired authorization code"},
		"salesforce: the client in the form":     {Salesforce, setForm("client_id", "x"), 400, "client_id"},
		"adp: no certificate":                    {ADP, func(_ *testing.T, _ *Server, w *showing) { w.tls = nil }, 401, "proper client ssl certificate was not presented"},
		"adp: a certificate of another company":  {ADP, func(t *testing.T, s *Server, w *showing) { w.tls = signedByADP(t, s, "Other Corp") }, 401, "proper client ssl certificate was not presented"},
		"adp: a certificate of nobody's":         {ADP, func(t *testing.T, _ *Server, w *showing) { w.tls = unsigned(t) }, 401, "proper client ssl certificate was not presented"},
		"adp: a wrong secret":                    {ADP, func(_ *testing.T, _ *Server, w *showing) { w.basic[1] = "wrong" }, 401, "the given client credentials were not valid"},
		"adp: no header":                         {ADP, func(_ *testing.T, _ *Server, w *showing) { w.basic[0] = "" }, 401, "the given client credentials were not valid"},
		"adp: the client in the form":            {ADP, setForm("client_id", "x"), 400, "client_id"},
		"adp: another grant":                     {ADP, setForm("grant_type", "password"), 400, "unsupported_grant_type"},
		"another host":                           {Okta, func(_ *testing.T, _ *Server, w *showing) { w.host = "other.example" }, 421, "another host"},
		"what is no JWT":                         {Salesforce, func(_ *testing.T, _ *Server, w *showing) { w.key = nil; w.form.Set("assertion", "a.b.c") }, 400, "invalid assertion"},
		"nothing that the document does not say": {Google, none, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := Start(t, test.dialect, Options{})
			w := shows(t, s, test.dialect, newRSA(t))
			test.change(t, s, &w)
			issued := s.IssuedCount()
			got := w.ask(t, s)
			if test.status == 0 {
				if got.status != http.StatusOK {
					t.Errorf("%d %s", got.status, got.body)
				}
				return
			}
			if got.status != test.status || !strings.Contains(got.body, test.says) || s.IssuedCount() != issued {
				t.Errorf("%d %s, want %d %q", got.status, got.body, test.status, test.says)
			}
			if nonce := got.header.Get("DPoP-Nonce"); (nonce != "") != (test.says == "use_dpop_nonce") {
				t.Errorf("DPoP-Nonce is %q", nonce)
			}
		})
	}
}

func TestAServiceAccountActsForWhomItMay(t *testing.T) {
	s := Start(t, Google, Options{Username: "ada@acme.example"})
	w := shows(t, s, Google, newRSA(t))
	for subject, status := range map[any]int{nil: 200, "ada@acme.example": 200, "eve@acme.example": 401} {
		change(w.claims, "sub", subject)
		if got := w.ask(t, s); got.status != status {
			t.Errorf("for %v: %d %s", subject, got.status, got.body)
		}
	}
}

// The server refuses what a provider's console would refuse.
func TestUploadsAreChecked(t *testing.T) {
	s, key := Start(t, Google, Options{}), newRSA(t)
	good := certify(t, key, time.Now().Add(time.Hour))
	for name, text := range map[string]string{
		"nothing":               "",
		"two certificates":      good + good,
		"a key":                 string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})),
		"an ended certificate":  certify(t, key, time.Now().Add(-time.Hour)),
		"an elliptic curve key": certify(t, newEC(t), time.Now().Add(time.Hour)),
	} {
		if _, err := s.Upload(text); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	first, err := s.Upload(good)
	if err != nil || len(first) != 40 {
		t.Fatalf("%q, %v", first, err)
	}
	for name, text := range map[string]string{"nothing": "", "a certificate": good} {
		if _, err := s.SignCSR(text); err == nil {
			t.Errorf("%s was signed", name)
		}
	}
}

// The API requires a proof by the key that the token is bound to, and accepts each
// proof once.
func TestOktasAPIWantsProofs(t *testing.T) {
	s := Start(t, Okta, Options{})
	w := shows(t, s, Okta, newRSA(t))
	token := w.ask(t, s).member(t, "access_token")
	sum := sha256.Sum256([]byte(token))
	p := *w.proof
	p.claims = members{"htm": "GET", "htu": s.known() + oktaUsers, "iat": time.Now().Unix(), "jti": rand.Text(), "ath": base64.RawURLEncoding.EncodeToString(sum[:])}
	proof := sign(t, p.key, p.alg, p.header, p.claims)
	p.claims["jti"] = rand.Text()
	p.key = newEC(t)
	p.header = members{"typ": "dpop+jwt", "jwk": jose.JSONWebKey{Key: p.key.Public()}}
	stolen := sign(t, p.key, p.alg, p.header, p.claims)
	for i, call := range []struct {
		authorization, proof string
		status               int
	}{
		{"Bearer " + token, proof, 401}, {"DPoP " + token, "", 400}, {"DPoP x", proof, 401}, {"DPoP " + token, stolen, 401}, {"DPoP " + token, proof, 200}, {"DPoP " + token, proof, 400},
	} {
		a := ask{method: http.MethodGet, header: map[string]string{"Authorization": call.authorization}}
		if call.proof != "" {
			a = a.set("DPoP", call.proof)
		}
		if got := mustSend(t, s, s.URL()+oktaUsers, a); got.status != call.status {
			t.Errorf("call %d: %d %s, want %d", i, got.status, got.body, call.status)
		}
	}
}
