// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

func TestUnknownConfigIsNamed(t *testing.T) {
	e := mount(t)
	for _, op := range []logical.Operation{logical.ReadOperation, logical.UpdateOperation} {
		refused(t, e.request(t, op, "token/none", nil), http.StatusBadRequest, `"none"`, "config/none")
	}
}

func TestRefusalsOfTheDocumentedProviders(t *testing.T) {
	tests := map[string]struct {
		dialect providertest.Dialect
		config  fields
		says    []string
	}{
		"antsomi, the client":          {providertest.Antsomi, fields{"client_secret": "wrong"}, []string{"400", "invalid_client", "client_secret"}},
		"antsomi, the scope":           {providertest.Antsomi, fields{"scopes": "everything"}, []string{"400", "invalid_scope", "scopes"}},
		"cognito, the client":          {providertest.Cognito, fields{"client_id": "wrong"}, []string{"400", "invalid_client", "client_id"}},
		"cognito, the scope":           {providertest.Cognito, fields{"scopes": "api/read"}, []string{"invalid_scope", "scopes"}},
		"fuuffy, the client":           {providertest.Fuuffy, fields{"client_secret": "wrong"}, []string{"401", "invalid_client", "client_secret"}},
		"fuuffy, a parameter":          {providertest.Fuuffy, fields{"parameters": "a=b"}, []string{"400", "invalid_request"}},
		"semansys, the client":         {providertest.Semansys, fields{"client_secret": "wrong"}, []string{"401", "invalid_client", "client_secret"}},
		"semansys, the user":           {providertest.Semansys, fields{"password": "wrong"}, []string{"403", "invalid_grant", "username", "password"}},
		"semansys, the grant":          {providertest.Semansys, fields{"grant_type": "urn:x"}, []string{"400", "unsupported_grant_type"}},
		"xcover, the client":           {providertest.XCover, fields{"client_secret": "wrong"}, []string{"401", "invalid_client", "client_secret"}},
		"by the book, the client":      {providertest.RFC6749, fields{"client_secret": "wrong"}, []string{"401", "invalid_client", "client_secret"}},
		"by the book, the scope":       {providertest.RFC6749, fields{"scopes": "root"}, []string{"400", "invalid_scope", "scopes"}},
		"by the book, the user":        {providertest.RFC6749, fields{"grant_type": "password", "username": "x", "password": "y"}, []string{"400", "invalid_grant", "password"}},
		"by the book, the path":        {providertest.RFC6749, nil, []string{"404"}},
		"by the book, raw Basic":       {providertest.RFC6749, fields{"basic_auth_encoding": "raw"}, []string{"401", "invalid_client"}},
		"fuuffy, the client, in short": {providertest.Fuuffy, fields{"client_id": "wrong"}, []string{"401", "invalid_client", "client_id"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, test.dialect, providertest.Options{FlatErrors: strings.HasSuffix(name, "in short"), ClientID: "plain"})
			config := standard(s)
			if test.dialect != providertest.RFC6749 {
				config = registration(test.dialect, s)
			}
			if test.config == nil {
				config["token_url"] = s.URL() + "/nowhere"
			}
			e.must(t, "config/named", with(config, test.config))
			refused(t, e.read(t, "token/named"), http.StatusBadRequest, append(test.says, `"named"`)...)
			refused(t, e.read(t, "token/named"), http.StatusBadRequest, append(test.says, `"named"`)...)
			if n := len(s.All()); n != 1 {
				t.Errorf("%d requests, want one: a refusal is remembered, and never repeated at once", n)
			}
		})
	}
}

func TestProviderTroubleHasItsStatus(t *testing.T) {
	answer := func(status int, contentType, body string) providertest.Behavior {
		return providertest.Behavior{Times: -1, Status: status, Header: http.Header{"Content-Type": {contentType}}, Body: body}
	}
	const json, html = "application/json", "text/html"
	tests := map[string]struct {
		does     providertest.Behavior
		status   int
		requests int
		says     []string
	}{
		"429 by seconds":           {providertest.Behavior{Times: -1, Status: 429, Header: http.Header{"Retry-After": {"17"}}}, 429, 1, []string{"429", "2026-01-02T03:04:22Z"}},
		"429 by a date":            {providertest.Behavior{Times: -1, Status: 429, Header: http.Header{"Retry-After": {"Fri, 02 Jan 2026 03:05:05 GMT"}}}, 429, 1, []string{"2026-01-02T03:05:05Z"}},
		"429 without a time":       {answer(429, json, `{"error":"slow_down"}`), 429, 1, []string{"slow_down", "later"}},
		"slow_down in a 400":       {answer(400, json, `{"error":"slow_down"}`), 429, 1, []string{"slow_down"}},
		"500":                      {answer(500, json, `{"error":"server_error","error_description":"Oops"}`), 502, 1, []string{"500", "server_error", "Oops"}},
		"502, asked thrice":        {answer(502, html, "<html>bad gateway</html>"), 502, 3, []string{"502"}},
		"503 with a time":          {providertest.Behavior{Times: -1, Status: 503, Header: http.Header{"Retry-After": {"60"}}}, 502, 1, []string{"503"}},
		"504, asked thrice":        {answer(504, html, ""), 502, 3, []string{"504"}},
		"unavailable in a 400":     {answer(400, json, `{"error":"temporarily_unavailable"}`), 502, 1, []string{"temporarily_unavailable"}},
		"a page":                   {answer(200, html, "<html><body>Welcome</body></html>"), 502, 1, []string{"no access token", "/access_token"}},
		"nothing":                  {answer(200, json, ""), 502, 1, []string{"no access token", "empty"}},
		"broken JSON":              {answer(200, json, `{"access_token":"abc`), 502, 1, []string{"no access token"}},
		"a list":                   {answer(200, json, `["abc"]`), 502, 1, []string{"no access token", "list"}},
		"other members":            {answer(200, json, `{"token":"abc","data":{"x":1}}`), 502, 1, []string{"no access token", "/access_token", "token", "data/x"}},
		"an empty token":           {answer(200, json, `{"access_token":"","expires_in":60}`), 502, 1, []string{"no access token"}},
		"a token that is a number": {answer(200, json, `{"access_token":5,"expires_in":60}`), 502, 1, []string{"no access token"}},
		"a token with a line end":  {answer(200, json, `{"access_token":"a\r\nb","expires_in":60}`), 502, 1, []string{"no access token"}},
		"a lifetime in words":      {answer(200, json, `{"access_token":"abc","expires_in":"soon"}`), 502, 1, []string{"/expires_in"}},
		"an error inside a 200":    {answer(200, json, `{"error":"invalid_scope","error_description":"No"}`), 400, 1, []string{"invalid_scope", "No", "scopes"}},
		"a 204":                    {answer(204, json, ""), 502, 1, []string{"no access token"}},
		"a 304":                    {answer(304, json, ""), 502, 1, []string{"304"}},
		"a teapot":                 {answer(418, json, `{}`), 400, 1, []string{"418"}},
		"more than 1 MiB":          {answer(200, json, `{"access_token":"`+strings.Repeat("a", 1<<20)+`"}`), 502, 1, []string{"1 MiB"}},
		"an unprintable error":     {answer(400, json, `{"error":"invalid_scope","error_description":"\u001b[31mred\r\n\u0000\u2028`+strings.Repeat("long ", 1000)+`"}`), 400, 1, []string{"invalid_scope", "red long long", "…"}},
		"a dropped connection":     {providertest.Behavior{Times: -1, Drop: true}, 502, 3, []string{"connection"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{})
			s.Behave(test.does)
			e.must(t, "config/named", standard(s))
			for range 2 { // the second time from memory
				r := e.read(t, "token/named")
				refused(t, r, test.status, append(test.says, `"named"`, "generic")...)
				sane(t, r)
			}
			if s.Requests() != test.requests {
				t.Errorf("%d requests, want %d", s.Requests(), test.requests)
			}
		})
	}
}

// sane checks what every error's text must fulfil.
func sane(t *testing.T, r result) {
	t.Helper()
	text := r.err.Error()
	if len(text) > 1000 || strings.ContainsFunc(text, func(c rune) bool { return !unicode.IsPrint(c) }) || strings.Contains(text, "%!") {
		t.Errorf("an error that nobody can read: %q", text)
	}
}

func TestRateLimitSaysWhenToComeBackAlsoAsAHeader(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	s.Behave(providertest.Behavior{Status: 429, Header: http.Header{"Retry-After": {"120"}}})
	e.must(t, "config/c", standard(s))
	for range 2 {
		r := e.read(t, "token/c")
		refused(t, r, http.StatusTooManyRequests, "2026-01-02T03:06:05Z")
		if got := http.Header(r.resp.Headers).Get("Retry-After"); got != "120" {
			t.Errorf("Retry-After: %q, want 120", got)
		}
	}
	e.clock.advance(119 * time.Second)
	refused(t, e.read(t, "token/c"), http.StatusTooManyRequests)
	if s.Requests() != 1 {
		t.Error("the provider was asked before it wanted to be")
	}
	e.clock.advance(time.Second)
	succeeded(t, e.read(t, "token/c"))
}

func TestRateLimitCountsDown(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	s.Behave(providertest.Behavior{Times: -1, Status: 429, Header: http.Header{"Retry-After": {"120"}}})
	e.must(t, "config/c", standard(s))
	refused(t, e.read(t, "token/c"), http.StatusTooManyRequests)
	e.clock.advance(100 * time.Second)
	r := e.read(t, "token/c")
	refused(t, r, http.StatusTooManyRequests)
	if got := http.Header(r.resp.Headers).Get("Retry-After"); got != "20" {
		t.Errorf("a reader 100 s later is told to come back in %s s, want 20", got)
	}
}

func TestUnreachableProvider(t *testing.T) {
	e := mount(t)
	plain := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/closed", with(standard(plain), fields{"token_url": "http://" + providertest.Nobody + "/token"}))
	refused(t, e.read(t, "token/closed"), http.StatusBadGateway, `"closed"`, "connection", "token_url")

	e.must(t, "config/plain", with(standard(plain), fields{"token_url": strings.Replace(plain.TokenURL(), "http:", "https:", 1)}))
	refused(t, e.read(t, "token/plain"), http.StatusBadGateway, `"plain"`, "TLS")
}

func TestRedirectIsAnErrorAndNeverFollowed(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		e := mount(t)
		s := e.server(t, providertest.RFC6749, providertest.Options{})
		other := e.server(t, providertest.RFC6749, providertest.Options{})
		s.Behave(providertest.Behavior{Times: -1, Status: status, Redirect: other.TokenURL()})
		e.must(t, "config/c", standard(s))
		refused(t, e.read(t, "token/c"), http.StatusBadGateway, `"c"`, "redirect", "token_url")
		if len(other.All()) != 0 {
			t.Errorf("%d: the other host was asked", status)
		}
	}
}

func TestProviderThatHangsIsTooSlow(t *testing.T) {
	for name, does := range map[string]providertest.Behavior{
		"hangs":      {Times: -1, Hang: true},
		"takes long": {Times: -1, Delay: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			overAWire(t, func(t *testing.T, e *engine) {
				s := e.server(t, providertest.RFC6749, providertest.Options{})
				s.Behave(does)
				e.must(t, "config/slow", with(standard(s), fields{"request_timeout": 1}))
				start := time.Now()
				r := e.read(t, "token/slow")
				if took := time.Since(start); took != time.Second {
					t.Errorf("answered after %s, want request_timeout (1s)", took)
				}
				refused(t, r, http.StatusGatewayTimeout, `"slow"`, "request_timeout", "1s")
				refused(t, e.read(t, "token/slow"), http.StatusGatewayTimeout, `"slow"`) // the error is remembered
				if s.Requests() != 1 {
					t.Errorf("%d requests", s.Requests())
				}
			})
		})
	}
}

func TestReaderThatGoesAwayGetsNothingAndHarmsNobody(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req := e.cross(t, &logical.Request{Operation: logical.ReadOperation, Path: "token/c"})
	if resp, err := e.backend.HandleRequest(ctx, req); err != nil && (result{resp: resp, err: err}).status() != http.StatusGatewayTimeout {
		t.Errorf("status %d: %v", (result{err: err}).status(), err)
	}
	succeeded(t, e.read(t, "token/c"))
}

func TestConfigWriteForgivesARememberedFailure(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	s.Behave(providertest.Behavior{Status: 500})
	e.must(t, "config/c", standard(s))
	for range 3 {
		refused(t, e.read(t, "token/c"), http.StatusBadGateway, "next attempt")
	}
	if s.Requests() != 1 {
		t.Errorf("%d requests within the backoff", s.Requests())
	}
	e.must(t, "config/c", fields{})
	succeeded(t, e.read(t, "token/c"))
}

func TestVerifyConnection(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	good := with(standard(s), fields{"verify_connection": true})

	bad := with(good, fields{"client_secret": secretOne})
	r := e.write(t, "config/c", bad)
	refused(t, r, http.StatusBadRequest, `"c"`, "verify_connection", "invalid_client", "client_secret")
	withoutSecrets(t, "the error", r.text(), secretOne)
	if got := e.storage.snapshot(t); len(got) != 0 {
		t.Errorf("stored: %v", got)
	}
	s.Behave(providertest.Behavior{Status: 500})
	refused(t, e.write(t, "config/c", good), http.StatusBadGateway, "verify_connection")
	s.Behave(providertest.Behavior{Status: 429, Header: http.Header{"Retry-After": {"30"}}})
	r = e.write(t, "config/c", good)
	refused(t, r, http.StatusTooManyRequests, "verify_connection")
	if r.resp == nil || http.Header(r.resp.Headers).Get("Retry-After") != "30" {
		t.Errorf("a refused write does not say when to come back: %s", r.text())
	}

	e.must(t, "config/c", good)
	succeeded(t, e.read(t, "token/c"))
	before, requests := e.storage.snapshot(t), s.Requests()
	refused(t, e.patch(t, "config/c", fields{"client_secret": secretOne}), http.StatusBadRequest, "verify_connection")
	refused(t, e.write(t, "config/c", fields{"scopes": "root"}), http.StatusBadRequest, "invalid_scope")
	if !same(before, e.storage.snapshot(t)) {
		t.Error("a refused write stored something")
	}
	succeeded(t, e.read(t, "token/c"))
	if s.Requests() != requests+2 {
		t.Error("a refused write cost the config its token")
	}
}

func TestOldTokenIsServedWithAWarningWhileARefreshFails(t *testing.T) {
	e := mount(t, secretOne)
	s := e.server(t, providertest.RFC6749, providertest.Options{ClientSecret: secretOne})
	e.must(t, "config/c", standard(s))
	token := e.read(t, "token/c").data(t)["access_token"]
	e.clock.advance(50 * time.Minute)
	s.Behave(providertest.Behavior{Times: -1, Echo: true, Status: 500})
	r := e.read(t, "token/c")
	wantMembers(t, r.data(t), fields{"access_token": token, "expires_in": float64(600)})
	if len(r.resp.Warnings) != 1 || !strings.Contains(r.resp.Warnings[0], "could not be refreshed") {
		t.Errorf("warnings: %q", r.resp.Warnings)
	}
	if r.resp.Secret.TTL != 590*time.Second {
		t.Errorf("TTL %s", r.resp.Secret.TTL)
	}
	withoutSecrets(t, "the warning", r.text(), secretOne)
	e.clock.advance(10*time.Minute - 10*time.Second)
	refused(t, e.read(t, "token/c"), http.StatusBadGateway, `"c"`)
}
