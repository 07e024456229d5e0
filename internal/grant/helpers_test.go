// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// clock returns the time at which every test of this package runs.
func clock() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

// standardAnswer describes the answer of RFC 6749 section 5.
func standardAnswer() Answer {
	return Answer{
		AccessToken: []Pointer{"/access_token"}, ExpiresIn: []Pointer{"/expires_in"}, ExpiresInUnit: time.Second,
		ExpiresAt: []Pointer{"/expires_at"}, TokenType: []Pointer{"/token_type"}, Scope: []Pointer{"/scope"},
		RefreshToken: []Pointer{"/refresh_token"}, Error: []Pointer{"/error", "/error/code"},
		ErrorDescription: []Pointer{"/error_description", "/error/message", "/message"},
		DefaultTokenType: "Bearer", ScopeSeparator: " ",
	}
}

// standardRequest returns a plain client credentials request to the URL.
func standardRequest(url string) Request {
	return Request{
		URL: url, Method: http.MethodPost, Format: Form, Auth: AuthPost, GrantType: "client_credentials",
		ClientID: "the-client", ClientSecret: "the-secret-of-the-client", ScopeSeparator: " ",
		Answer: standardAnswer(), Timeout: 10 * time.Second,
	}
}

// granting runs a token endpoint that grants every request.
func granting(t *testing.T) *providertest.Server {
	t.Helper()
	return grantingOver(t, nil)
}

func grantingOver(t *testing.T, w *providertest.Wire) *providertest.Server {
	t.Helper()
	return providertest.StartFuncOver(t, w, "/", func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"access_token":"granted","expires_in":60}`))
	})
}

// answering runs a token endpoint that always gives this answer.
func answering(t *testing.T, status int, contentType, body string) *providertest.Server {
	t.Helper()
	s := granting(t)
	s.Behave(providertest.Behavior{
		Times: -1, Status: status, Header: http.Header{"Content-Type": {contentType}}, Body: body,
	})
	return s
}

// overAWire runs f in a bubble, in which time passes only while every goroutine
// waits.
func overAWire(t *testing.T, f func(t *testing.T, w *providertest.Wire)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, &providertest.Wire{}) })
}

// optionsOver makes a client's connections with dial.
func optionsOver(dial func(ctx context.Context, network, address string) (net.Conn, error)) Options {
	return Options{Now: clock, Transport: &http.Transport{DialContext: dial}}
}

func mint(t *testing.T, r Request) (*Token, error) {
	t.Helper()
	return mintBy(t, Options{Now: clock}, r)
}

func mintBy(t *testing.T, o Options, r Request) (*Token, error) {
	t.Helper()
	c := NewClient(o)
	defer c.Close()
	return c.Mint(t.Context(), r)
}

// refusal mints, and expects an *Error, which it returns.
func refusal(t *testing.T, r Request) *Error {
	t.Helper()
	return refusalBy(t, Options{Now: clock}, r)
}

func refusalOver(t *testing.T, w *providertest.Wire, r Request) *Error {
	t.Helper()
	return refusalBy(t, optionsOver(w.DialContext), r)
}

func refusalBy(t *testing.T, o Options, r Request) *Error {
	t.Helper()
	token, err := mintBy(t, o, r)
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got token %v, error %v (%T); want an *Error", token != nil, err, err)
	}
	if token != nil {
		t.Error("an error came with a token")
	}
	return e
}

// awkwardSecrets returns secrets that encoders often get wrong. Each is longer than a
// redaction window.
func awkwardSecrets() map[string]string {
	return map[string]string{
		"form syntax":         "p+l&u=s%41%2Bp;l?u#s",
		"slashes and quotes":  `sl/ash\back"quote'tick`,
		"spaces":              " leading and  inner  and trailing ",
		"umlauts":             "Größe-äöüß-ÄÖÜ-señor",
		"four-byte":           "🔑key-𝒮ecret-😀😀😀",
		"only four-byte":      "😀🔑😀🔑😀🔑",
		"markup":              `<b>&amp;"x"</b>&#43;&lt;`,
		"template syntax":     "{tenant}{{x}}${y}%{z}",
		"colons":              "a:b:c:d:e:f:g::",
		"control characters":  "tab\there\nnew\rline\x01end",
		"JSON escapes":        `\u0041\n\t\\x41\"end`,
		"looks like base64":   "c2VjcmV0LXZhbHVlLWluLWJhc2U2NA==",
		"looks like a number": "12345678901234567890",
		"upper and lower":     "SeCrEt-VaLuE-0123456789",
	}
}

// redactorFor returns the redactor of an exchange in which r was sent.
func redactorFor(r Request) redactor {
	a, err := r.attempt(clock())
	if err != nil {
		a = nil
	}
	return newRedactor(r, a)
}

func jsonNumber(s string) json.Number { return json.Number(s) }

func gzipped(s string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(s)) // writing to a bytes.Buffer never fails
	_ = w.Close()
	return b.Bytes()
}
