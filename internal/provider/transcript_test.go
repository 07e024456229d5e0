// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

// transcript describes what passes between a provider and a client, according to the
// provider's documentation. It is read from testdata/<provider>.json.
type transcript struct {
	Documentation string     `json:"documentation"`
	Exchanges     []exchange `json:"exchanges"`
}

type exchange struct {
	Name   string    `json:"name"`
	Source string    `json:"source"` // what is documented and where, and what is not documented
	Now    time.Time `json:"now"`

	// Config holds what the operator writes: dialect fields, credentials and variables.
	// The test replaces the host of token_url by that of its server, and "generated"
	// key material by keys that it makes (providertest.Keys).
	Config map[string]any `json:"config"`
	// From holds the token and the extra fields of the source_config, if the request
	// carries some of them.
	From *struct {
		AccessToken string         `json:"access_token"`
		ExtraFields map[string]any `json:"extra_fields"`
	} `json:"from"`
	// URL is where the provider's own definition sends the request. It is not checked
	// if it is "".
	URL string `json:"url"`

	Request struct {
		Method  string            `json:"method"`
		Path    string            `json:"path"`
		Query   string            `json:"query"`
		Headers map[string]string `json:"headers"` // "" means that there is no such header; one may hold {assertion}
		Form    string            `json:"form"`    // the body, byte for byte, except {assertion}
		JSON    map[string]any    `json:"json"`    // the body, as a value

		Assertion   *signedJWT `json:"assertion"`          // the JWT for {assertion} in the form or a header
		Certificate bool       `json:"client_certificate"` // whether the client shows its certificate in TLS
		Proof       bool       `json:"dpop_proof"`         // whether the client shows a key (RFC 9449)
	} `json:"request"`

	Answer struct {
		Status  int               `json:"status"`
		Headers map[string]string `json:"headers"`
		Body    string            `json:"body"`
		JSON    json.RawMessage   `json:"json"`
	} `json:"answer"`

	// Check is the request to check_url with the token. Its source says where it is
	// documented, if not in the same place as the rest.
	Check *struct {
		Source  string            `json:"source"`
		URL     string            `json:"url"`
		Headers map[string]string `json:"headers"`
	} `json:"check"`

	Revocation *revocationScript `json:"revocation"` // if the provider does not follow RFC 7009

	Token *struct {
		AccessToken  string    `json:"access_token"`
		TokenType    string    `json:"token_type"`
		Scope        string    `json:"scope"`
		RefreshToken string    `json:"refresh_token"`
		ExpiresAt    time.Time `json:"expires_at"`
		Lifetime     string    `json:"lifetime"`
	} `json:"token"`
	Error *struct {
		Kind          string `json:"kind"`
		Code          string `json:"code"`
		Description   string `json:"description"`
		ClientRefused bool   `json:"client_refused"`
	} `json:"error"`
}

func TestEveryTranscriptReplays(t *testing.T) {
	t.Parallel()
	var keys providertest.Keys
	for _, name := range BuiltinNames() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := readTranscript(t, name)
			if script.Documentation == "" || len(script.Exchanges) == 0 {
				t.Fatal("says nothing")
			}
			succeeds, fails := false, false
			for _, x := range script.Exchanges {
				succeeds, fails = succeeds || x.Token != nil, fails || x.Error != nil
				t.Run(x.Name, func(t *testing.T) { t.Parallel(); replay(t, name, x, &keys) })
			}
			if !succeeds || !fails {
				t.Errorf("shows a success: %t, an error: %t", succeeds, fails)
			}
		})
	}
}

func TestEveryTranscriptHasItsProvider(t *testing.T) {
	t.Parallel()
	files, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name, isJSON := strings.CutSuffix(f.Name(), ".json"); isJSON && !f.IsDir() {
			if _, there, err := Builtin(name); !there || err != nil {
				t.Errorf("%s: %t, %v", f.Name(), there, err)
			}
		}
	}
}

func readTranscript(t *testing.T, name string) transcript {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name + ".json")
	if err != nil {
		t.Fatalf("every catalog entry has a transcript: %v", err)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var out transcript
	if err := dec.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func replay(t *testing.T, name string, x exchange, keys *providertest.Keys) {
	t.Helper()
	if x.Source == "" || (x.Token == nil) == (x.Error == nil) || x.Now.IsZero() {
		t.Fatal("needs a source, a fixed clock, and a token or an error")
	}
	body := x.Answer.Body
	if x.Answer.JSON != nil {
		body = string(x.Answer.JSON)
	}
	config, err := keys.Fill(x.Config)
	if err != nil {
		t.Fatal(err)
	}
	server, err := providertest.NewFunc("/", providertest.Options{TLS: config["tls_client_key"] != nil}, func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		for header, value := range x.Answer.Headers {
			w.Header().Set(header, value)
		}
		w.WriteHeader(x.Answer.Status)
		_, _ = w.Write([]byte(body)) // the client may be gone
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)

	request := effective(t, name, x, config)
	if x.URL != "" && request.URL != x.URL {
		t.Errorf("asks %s, not %s", request.URL, x.URL)
	}
	request = sentToServer(t, request, server)
	request.CACertificate = server.CACertificate()
	request.Timeout = 10 * time.Second
	request.Spends = true // for one exchange without retries
	client := grant.NewClient(grant.Options{Now: func() time.Time { return x.Now }})
	defer client.Close()
	token, err := client.Mint(t.Context(), request)

	checkRequest(t, x, config, server.Last())
	if x.Token != nil {
		e, err := resolveBuiltin(name, config)
		if err != nil {
			t.Fatal(err)
		}
		checkProbe(t, e, x)
		checkRevocation(t, e, x)
	}
	switch {
	case x.Token != nil:
		if err != nil {
			t.Fatal(err)
		}
		if token.AccessToken != x.Token.AccessToken || token.TokenType != x.Token.TokenType || token.Scope != x.Token.Scope ||
			token.RefreshToken != x.Token.RefreshToken || !token.ExpiresAt.Equal(x.Token.ExpiresAt) || string(token.Lifetime) != x.Token.Lifetime {
			t.Errorf("\n got %+v\nwant %+v", *token, *x.Token)
		}
	default:
		var e *grant.Error
		if !errors.As(err, &e) {
			t.Fatalf("got %v, %v", token != nil, err)
		}
		kind := map[grant.Kind]string{
			grant.Refused: "refused", grant.Misconfigured: "misconfigured", grant.RateLimited: "rate_limited",
			grant.Unavailable: "unavailable", grant.Unintelligible: "unintelligible", grant.TooSlow: "too_slow",
		}[e.Kind]
		if kind != x.Error.Kind || e.Status != x.Answer.Status || e.Code != x.Error.Code ||
			e.Description != x.Error.Description || e.ClientRefused() != x.Error.ClientRefused {
			t.Errorf("\n got %s, %+v, client refused: %t\nwant %+v", kind, *e, e.ClientRefused(), *x.Error)
		}
	}
}

// sentToServer changes r, and each attempt at it, so that it goes to the server.
func sentToServer(t *testing.T, r grant.Request, s *providertest.Server) grant.Request {
	t.Helper()
	there := func(address string) string {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		return s.URL() + u.RequestURI()
	}
	r.URL = there(r.URL)
	if anew := r.Anew; anew != nil {
		r.Anew = func(now time.Time) (grant.Request, error) {
			r, err := anew(now)
			r.URL = there(r.URL)
			return r, err
		}
	}
	return r
}

func checkRequest(t *testing.T, x exchange, config map[string]any, got providertest.Request) {
	t.Helper()
	if got.Method != x.Request.Method || got.Path != x.Request.Path || got.RawQuery != x.Request.Query {
		t.Errorf("got %s %s?%s, want %s %s?%s", got.Method, got.Path, got.RawQuery, x.Request.Method, x.Request.Path, x.Request.Query)
	}
	inHeader := false
	for header, want := range x.Request.Headers {
		value := strings.Join(got.Header.Values(header), " and ")
		if x.Request.Assertion != nil && strings.Contains(want, "{assertion}") {
			inHeader = true
			checkAssertion(t, x, config, value, want)
		} else if value != want {
			t.Errorf("%s: got %q, want %q", header, value, want)
		}
	}
	checkCertificate(t, x, config, got.Certificate)
	if proof := got.Header.Get("DPoP"); x.Request.Proof || proof != "" {
		if err := checkProof(proof, x.Request.Method, "http://"+got.Host+got.Path); err != nil || !x.Request.Proof {
			t.Errorf("wants a proof: %t; %v", x.Request.Proof, err)
		}
	}
	if x.Request.Assertion != nil && !inHeader {
		checkAssertion(t, x, config, got.Body, x.Request.Form)
		return
	}
	if x.Request.JSON == nil {
		if got.Body != x.Request.Form {
			t.Errorf("body\n got %s\nwant %s", got.Body, x.Request.Form)
		}
		return
	}
	var sent map[string]any
	if err := json.Unmarshal([]byte(got.Body), &sent); err != nil || !reflect.DeepEqual(sent, x.Request.JSON) {
		t.Errorf("body\n got %s\nwant %v", got.Body, x.Request.JSON)
	}
}

// checkAssertion checks the JWT that stands for {assertion} in a text.
func checkAssertion(t *testing.T, x exchange, config map[string]any, got, want string) {
	t.Helper()
	text, err := assertionIn(got, want)
	if err == nil {
		err = x.Request.Assertion.check(text, config)
	}
	if err != nil {
		t.Error(err)
	}
}

// checkCertificate checks that the client showed its certificate if the transcript says
// so, and showed none otherwise.
func checkCertificate(t *testing.T, x exchange, config map[string]any, shown []byte) {
	t.Helper()
	if !x.Request.Certificate {
		if shown != nil || config["tls_client_key"] != nil {
			t.Error("the client has a certificate, of which the transcript says nothing")
		}
		return
	}
	der, err := derOf(config["tls_client_certificate"], config["tls_client_key"])
	if err != nil || !bytes.Equal(shown, der) {
		t.Errorf("the client did not show its certificate (%v)", err)
	}
}

// effective resolves a config of a built-in provider from what an operator writes. It
// returns the config's request in that exchange.
func effective(t *testing.T, provider string, x exchange, config map[string]any) grant.Request {
	t.Helper()
	e, err := resolveBuiltin(provider, config)
	if err != nil {
		t.Fatal(err)
	}
	if x.From != nil {
		given, err := e.From("source_config", x.From.AccessToken, x.From.ExtraFields)
		if err != nil {
			t.Fatal(err)
		}
		e = e.WithInputs(given)
	}
	if e.Dialect.DPoP {
		key, err := signing.Generate(signing.ES256)
		if err != nil {
			t.Fatal(err)
		}
		e = e.Bound(key)
	}
	request, err := e.Request()
	if e.Dialect.GrantType == grant.GrantRefreshToken { // a chain starts with the refresh token in the config
		request, err = e.RefreshRequest(e.RefreshToken(), e.Dialect.Scopes...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return request
}

func resolveBuiltin(provider string, config map[string]any) (*Effective, error) {
	definition, there, err := Builtin(provider)
	if err != nil || !there {
		return nil, errors.Join(err, errors.New("no such provider"))
	}
	return resolveConfig(definition, config)
}

// resolveConfig splits a config as the backend does, into dialect fields and the
// registration.
func resolveConfig(definition Layer, config map[string]any) (*Effective, error) {
	b, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	var r Registration
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, err
	}
	dialect := map[string]any{}
	for _, f := range Fields() {
		if v, set := config[f.Name]; set && f.Name != "variables" {
			dialect[f.Name] = v
		}
	}
	own, err := Canonical(Fields(), dialect)
	if err != nil {
		return nil, err
	}
	return Resolve(definition, own, r)
}

// checkProbe checks the request to check_url with the token, if the provider has a
// check_url.
func checkProbe(t *testing.T, e *Effective, x exchange) {
	t.Helper()
	probe, asks, err := e.ProbeRequest(x.Token.AccessToken)
	switch {
	case err != nil:
		t.Fatal(err)
	case x.Check == nil && asks:
		t.Errorf("the transcript says nothing of the request for check_url, %s %v", probe.URL, probe.Headers)
	case x.Check != nil && (probe.URL != x.Check.URL || !reflect.DeepEqual(probe.Headers, x.Check.Headers)):
		t.Errorf("check\n got %s %v\nwant %+v", probe.URL, probe.Headers, *x.Check)
	}
}
