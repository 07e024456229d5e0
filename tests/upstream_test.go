// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// TestRefusals tests the rows of the error table in which the provider refuses
// a request. The answer is always a 400, which Vault's clients do not repeat,
// and contains the provider's text.
func TestRefusals(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	tests := map[string]struct {
		dialect providertest.Dialect
		options providertest.Options
		config  fields
		says    []string
	}{
		"antsomi refuses the client":              {providertest.Antsomi, providertest.Options{}, fields{"client_secret": "wrong"}, []string{"HTTP 400", "invalid_client", "check client_id"}},
		"antsomi refuses the scope":               {providertest.Antsomi, providertest.Options{}, fields{"scopes": "item,nonsense"}, []string{"HTTP 400", "invalid_scope", "Requested scope is invalid", "check the scopes"}},
		"cognito refuses the client":              {providertest.Cognito, providertest.Options{}, fields{"client_id": "nobody"}, []string{"HTTP 400", "invalid_client", "check client_id"}},
		"cognito refuses the scope":               {providertest.Cognito, providertest.Options{}, fields{"scopes": "nonsense"}, []string{"invalid_scope", "check the scopes"}},
		"fuuffy refuses the client":               {providertest.Fuuffy, providertest.Options{}, fields{"client_secret": "wrong"}, []string{"HTTP 401", "invalid_client", "Invalid client_id, client_secret, or session_key"}},
		"fuuffy refuses it in its other shape":    {providertest.Fuuffy, providertest.Options{FlatErrors: true}, fields{"client_secret": "wrong"}, []string{"HTTP 401", "invalid_client", "session_key"}},
		"semansys refuses the client":             {providertest.Semansys, providertest.Options{}, fields{"client_secret": "wrong"}, []string{"HTTP 401", "invalid_client", "check client_id"}},
		"semansys refuses the user":               {providertest.Semansys, providertest.Options{}, fields{"password": "wrong"}, []string{"HTTP 403", "invalid_grant", "User authentication failed", "check username"}},
		"xcover refuses the client":               {providertest.XCover, providertest.Options{}, fields{"client_secret": "wrong"}, []string{"HTTP 401", "invalid_client"}},
		"the standard refuses the client":         {providertest.RFC6749, providertest.Options{}, fields{"client_secret": "wrong"}, []string{"HTTP 401", "invalid_client"}},
		"the standard refuses an unknown grant":   {providertest.RFC6749, providertest.Options{}, fields{"grant_type": "magic"}, []string{"HTTP 400", "unsupported_grant_type"}},
		"the standard refuses an extra parameter": {providertest.RFC6749, providertest.Options{}, fields{"parameters": "audience=x"}, []string{"HTTP 400", "invalid_request", "audience"}},
	}
	i := 0
	for name, test := range tests {
		i++
		config := fmt.Sprintf("refused%d", i)
		t.Run(name, func(t *testing.T) {
			v := v.For(t)
			s := providertest.Start(t, test.dialect, test.options)
			write(t, v, "oauthcc/config/"+config, with(registration(test.dialect, s), test.config))
			says := append(test.says, strconv.Quote(config))
			ask(t, v, http.MethodGet, "oauthcc/token/"+config, nil).wants(t, http.StatusBadRequest, says...)
			if s.Requests() != 1 {
				t.Errorf("the provider saw %d requests, want 1", s.Requests())
			}
			failsFromMemory(t, v, s, config, http.StatusBadRequest, says...)
			ask(t, v, http.MethodPost, "oauthcc/check/"+config, nil).wants(t, http.StatusBadRequest, says...)
			status := read(t, v, "oauthcc/status/"+config)
			if !strings.Contains(status.text(t, "last_error"), test.says[0]) || status.text(t, "next_attempt") == "" || status.text(t, "last_failure") == "" {
				t.Errorf("status says %v", status.Data)
			}
			// A corrected config works at once, even if an error is remembered.
			write(t, v, "oauthcc/config/"+config, with(registration(test.dialect, s), fields{"grant_type": grantOf(test.dialect), "parameters": fields{}}))
			issuedBy(t, s, read(t, v, "oauthcc/token/"+config).text(t, "access_token"))
		})
	}
	t.Run("verify_connection refuses to store what does not work", func(t *testing.T) {
		v := v.For(t)
		s := providertest.Start(t, providertest.XCover, providertest.Options{})
		bad := with(registration(providertest.XCover, s), fields{"client_secret": "wrong", "verify_connection": true})
		ask(t, v, http.MethodPost, "oauthcc/config/verified", bad).wants(t, http.StatusBadRequest, "invalid_client", "not written")
		ask(t, v, http.MethodGet, "oauthcc/config/verified", nil).wants(t, http.StatusNotFound)
		write(t, v, "oauthcc/config/verified", with(registration(providertest.XCover, s), fields{"verify_connection": true}))
	})
}

// failsFromMemory reads a token that cannot be had, until a read gets the failure
// of the one before, and checks that the provider was not asked for that. The first
// failure is remembered for less than a second, which may pass between two reads on
// a busy machine. Each further one is remembered for twice as long.
func failsFromMemory(t *testing.T, v *harness.Vault, s *providertest.Server, config string, status int, says ...string) {
	t.Helper()
	last := ""
	for range 6 {
		asked := s.Requests()
		r := ask(t, v, http.MethodGet, "oauthcc/token/"+config, nil)
		r.wants(t, status, append(says, "next attempt")...)
		if r.raw == last { // it has the times of the failure and of the next attempt
			if n := s.Requests() - asked; n != 0 {
				t.Errorf("the provider saw %d requests for a failure that is remembered", n)
			}
			return
		}
		last = r.raw
	}
	t.Errorf("no failure is remembered: %s", last)
}

func grantOf(d providertest.Dialect) string {
	switch d {
	case providertest.Fuuffy:
		return "none"
	case providertest.Semansys:
		return "password"
	default:
		return "client_credentials"
	}
}

// TestTrouble tests the rows of the error table in which the provider fails.
func TestTrouble(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	other := providertest.Start(t, providertest.RFC6749, providertest.Options{})
	always := func(b providertest.Behavior) providertest.Behavior { b.Times = -1; return b }
	tests := map[string]struct {
		behaves providertest.Behavior
		says    []string
		asked   int // at most
	}{
		"an internal error":               {providertest.Behavior{Status: 500, Body: `{"error":"server_error"}`}, []string{"HTTP 500", "server_error"}, 1},
		"a bad gateway, after retries":    {providertest.Behavior{Status: 502, Body: "<html>"}, []string{"HTTP 502"}, 3},
		"an outage, after retries":        {providertest.Behavior{Status: 503}, []string{"HTTP 503"}, 3},
		"a broken connection":             {providertest.Behavior{Drop: true}, []string{"the connection was closed without an answer"}, 3},
		"a page of HTML":                  {providertest.Behavior{Body: "<html><body>Please sign in</body></html>", Header: http.Header{"Content-Type": {"text/html"}}}, []string{"HTTP 200", "/access_token"}, 1},
		"nothing at all":                  {providertest.Behavior{Status: 200}, []string{"/access_token"}, 1},
		"broken JSON":                     {providertest.Behavior{Body: `{"access_token":"x`}, []string{"/access_token"}, 1},
		"JSON without a token":            {providertest.Behavior{Body: `{"token":"x","expires_in":60}`}, []string{"/access_token", "expires_in, token"}, 1},
		"a token that is no string":       {providertest.Behavior{Body: `{"access_token":{"a":1},"expires_in":60}`}, []string{"/access_token"}, 1},
		"an empty token":                  {providertest.Behavior{Body: `{"access_token":"","expires_in":60}`}, []string{"/access_token"}, 1},
		"a lifetime that is no number":    {providertest.Behavior{Body: `{"access_token":"x","expires_in":"soon"}`}, []string{"/expires_in"}, 1},
		"a lifetime of nothing":           {providertest.Behavior{Body: `{"access_token":"x","expires_in":0}`}, []string{"expired"}, 1},
		"an answer of more than 1 MiB":    {providertest.Behavior{Body: `{"access_token":"x","expires_in":60,"z":"` + strings.Repeat("z", 1<<20) + `"}`}, []string{"1 MiB"}, 1},
		"a redirect 301":                  {providertest.Behavior{Redirect: other.TokenURL(), Status: 301}, []string{"redirect", "token_url"}, 1},
		"a redirect 302":                  {providertest.Behavior{Redirect: other.TokenURL(), Status: 302}, []string{"redirect", "token_url"}, 1},
		"a redirect 303":                  {providertest.Behavior{Redirect: other.TokenURL(), Status: 303}, []string{"redirect", "token_url"}, 1},
		"a redirect 307":                  {providertest.Behavior{Redirect: other.TokenURL(), Status: 307}, []string{"redirect", "token_url"}, 1},
		"a redirect 308":                  {providertest.Behavior{Redirect: other.TokenURL(), Status: 308}, []string{"redirect", "token_url"}, 1},
		"a redirect with a token in hand": {providertest.Behavior{Redirect: other.TokenURL(), Status: 302, Body: `{"access_token":"x","expires_in":60}`}, []string{"redirect"}, 1},
	}
	i := 0
	for name, test := range tests {
		i++
		config := fmt.Sprintf("trouble%d", i)
		t.Run(name+" is a 502", func(t *testing.T) {
			t.Parallel() // some cases wait between retries
			v := v.For(t)
			s := standard(t, v, config, providertest.Options{}, nil)
			s.Behave(always(test.behaves))
			says := append(test.says, strconv.Quote(config))
			ask(t, v, http.MethodGet, "oauthcc/token/"+config, nil).wants(t, http.StatusBadGateway, says...)
			if n := s.Requests(); n < 1 || n > test.asked {
				t.Errorf("the provider saw %d requests, want %d", n, test.asked)
			}
			failsFromMemory(t, v, s, config, http.StatusBadGateway, says...)
			ask(t, v, http.MethodPost, "oauthcc/check/"+config, nil).wants(t, http.StatusBadGateway, says...)
			// Once the provider works, a check lets readers through again.
			s.Reset()
			ask(t, v, http.MethodPost, "oauthcc/check/"+config, nil).wants(t, http.StatusOK)
			issuedBy(t, s, read(t, v, "oauthcc/token/"+config).text(t, "access_token"))
		})
	}
	t.Cleanup(func() { // after all subtests
		if other.Requests() != 0 {
			t.Errorf("the host of the redirects saw %d requests", other.Requests())
		}
	})

	t.Run("a provider that is down is a 502", func(t *testing.T) {
		t.Parallel()
		v := v.For(t)
		write(t, v, "oauthcc/config/down", fields{"token_url": "http://" + providertest.Nobody + "/token", "client_id": "a", "client_secret": "b"})
		ask(t, v, http.MethodGet, "oauthcc/token/down", nil).wants(t, http.StatusBadGateway, `"down"`, "connection refused", "token_url")
	})
	t.Run("a single hiccup is not noticed", func(t *testing.T) {
		t.Parallel()
		v := v.For(t)
		s := standard(t, v, "hiccup", providertest.Options{}, nil)
		s.Behave(providertest.Behavior{Status: 503}, providertest.Behavior{Drop: true})
		issuedBy(t, s, read(t, v, "oauthcc/token/hiccup").text(t, "access_token"))
		if s.Requests() != 3 {
			t.Errorf("%d requests, want 3", s.Requests())
		}
	})
	t.Run("a slow provider is a 504 within request_timeout and a second", func(t *testing.T) {
		t.Parallel()
		v := v.For(t)
		for name, b := range map[string]providertest.Behavior{"hangs": {Hang: true}, "dawdles": {Delay: time.Minute}} {
			for attempt := 1; ; attempt++ {
				config := fmt.Sprintf("%s%d", name, attempt)
				s := standard(t, v, config, providertest.Options{}, fields{"request_timeout": "1s"})
				s.Behave(always(b))
				says := []string{strconv.Quote(config), "request_timeout"}
				begun := time.Now()
				ask(t, v, http.MethodGet, "oauthcc/token/"+config, nil).wants(t, http.StatusGatewayTimeout, says...)
				took := time.Since(begun)
				late := took > 2*time.Second
				if late && attempt < 5 {
					continue // a busy machine may be late by itself, but not each time
				}
				if late || took < time.Second {
					t.Errorf("%s: it took %s", config, took)
				}
				if s.Requests() != 1 {
					t.Errorf("%s: %d requests, want 1", config, s.Requests())
				}
				failsFromMemory(t, v, s, config, http.StatusGatewayTimeout, says...)
				ask(t, v, http.MethodPost, "oauthcc/check/"+config, nil).wants(t, http.StatusGatewayTimeout, says...)
				break
			}
		}
	})
	t.Run("one provider's trouble stays its own", func(t *testing.T) {
		t.Parallel()
		v := v.For(t)
		hangs := standard(t, v, "stuck", providertest.Options{}, fields{"request_timeout": "10s"})
		fine := standard(t, v, "fine", providertest.Options{}, nil)
		hangs.Behave(always(providertest.Behavior{Hang: true}))
		stuck := make(chan int)
		go func() {
			status, _ := v.Status(http.MethodGet, "oauthcc/token/stuck", nil, v.RootToken())
			stuck <- status
		}()
		harness.Eventually(t, time.Minute, func() error {
			if hangs.Requests() == 0 {
				return fmt.Errorf("not asked yet")
			}
			return nil
		})
		issuedBy(t, fine, read(t, v, "oauthcc/token/fine").text(t, "access_token"))
		select {
		case status := <-stuck:
			t.Fatalf("the stuck one ended first, with %d", status)
		default:
		}
		if status := <-stuck; status != http.StatusGatewayTimeout {
			t.Errorf("the stuck one ended with %d", status)
		}
	})
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	limited := providertest.Behavior{Times: -1, Status: 429, Body: `{"error":"slow_down","error_description":"too many"}`, Header: http.Header{"Retry-After": {"120"}}}

	s := standard(t, v, "before", providertest.Options{}, nil)
	s.Behave(limited)
	r := ask(t, v, http.MethodGet, "oauthcc/token/before", nil)
	r.wants(t, http.StatusTooManyRequests, `"before"`, "HTTP 429", "slow_down", "too many", "next attempt")
	if got := r.header.Get("Retry-After"); got != "" {
		t.Errorf("a header that the mount does not allow came through: %q", got)
	}

	v.MustCLI("secrets", "tune", "-allowed-response-headers=Retry-After", "oauthcc")
	for _, method := range []string{http.MethodGet, http.MethodPost} { // the remembered error, also on a write
		r = ask(t, v, method, "oauthcc/token/before", nil)
		r.wants(t, http.StatusTooManyRequests, "next attempt")
		if seconds, err := strconv.Atoi(r.header.Get("Retry-After")); err != nil || seconds < 100 || seconds > 120 {
			t.Errorf("Retry-After is %q, want what is left of 120", r.header.Get("Retry-After"))
		}
	}
	if s.Requests() != 1 {
		t.Errorf("the provider was asked %d times in its Retry-After", s.Requests())
	}

	t.Run("a check clears it", func(t *testing.T) {
		v := v.For(t)
		s.Reset()
		ask(t, v, http.MethodPost, "oauthcc/check/before", nil).wants(t, http.StatusOK)
		issuedBy(t, s, read(t, v, "oauthcc/token/before").text(t, "access_token"))
	})
	t.Run("a token in hand is served on, with a warning", func(t *testing.T) {
		v := v.For(t)
		s := standard(t, v, "inhand", providertest.Options{Lifetime: 40 * time.Second}, nil)
		token := read(t, v, "oauthcc/token/inhand").text(t, "access_token")
		s.Behave(limited)
		// From 28 s on, the refresh in the background fails. From 32 s on,
		// readers would wait for it.
		harness.Eventually(t, time.Minute, func() error {
			r := read(t, v, "oauthcc/token/inhand")
			if got := r.text(t, "access_token"); got != token {
				t.Fatalf("token %s, want the old one %s", got, token)
			}
			if len(r.Warnings) == 0 {
				return fmt.Errorf("no warning yet")
			}
			r.wants(t, http.StatusOK, "slow_down", "old")
			return nil
		})
	})
}
