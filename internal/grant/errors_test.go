// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

func TestKindOfAnAnswer(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status int
		code   string
		want   Kind
	}{
		{400, "", Refused},
		{400, "invalid_request", Refused},
		{400, "invalid_scope", Refused},
		{400, "made_up", Refused},
		{400, "slow_down", RateLimited},
		{400, "server_error", Unavailable},
		{400, "temporarily_unavailable", Unavailable},
		{401, "", Refused},
		{401, "invalid_client", Refused},
		{403, "", Refused},
		{404, "", Refused},
		{405, "", Refused},
		{408, "", TooSlow},
		{415, "", Refused},
		{429, "", RateLimited},
		{429, "invalid_client", RateLimited},
		{499, "", Refused},
		{500, "", Unavailable},
		{500, "invalid_client", Unavailable},
		{501, "", Unavailable},
		{502, "", Unavailable},
		{503, "", Unavailable},
		{503, "slow_down", RateLimited},
		{504, "", Unavailable},
		{599, "", Unavailable},
		{200, "", Unintelligible},
		{200, "invalid_client", Refused},
		{200, "server_error", Unavailable},
		{204, "", Unintelligible},
		{300, "", Unintelligible},
		{301, "", Unintelligible},
		{302, "invalid_client", Unintelligible},
		{304, "", Unintelligible},
		{307, "", Unintelligible},
		{308, "", Unintelligible},
	} {
		if got := kindOf(tc.status, tc.code); got != tc.want {
			t.Errorf("kindOf(%d, %q) = %d, want %d", tc.status, tc.code, got, tc.want)
		}
	}
}

func TestClientRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		e    Error
		want bool
	}{
		{Error{Kind: Refused, Status: 401, Code: "invalid_client"}, true},
		{Error{Kind: Refused, Status: 400, Code: "invalid_client"}, true},
		{Error{Kind: Refused, Status: 200, Code: "invalid_client"}, true},
		{Error{Kind: Refused, Status: 401}, true},
		{Error{Kind: Refused, Status: 401, Code: "401021"}, true},
		{Error{Kind: Refused, Status: 401, Code: "invalid_grant"}, false},
		{Error{Kind: Refused, Status: 401, Code: "unauthorized_client"}, true},  // Keycloak
		{Error{Kind: Refused, Status: 400, Code: "unauthorized_client"}, false}, // the client is known, but may not use this grant
		{Error{Kind: Refused, Status: 401, Code: "access_denied"}, true},        // Auth0
		{Error{Kind: Refused, Status: 403, Code: "access_denied"}, false},
		{Error{Kind: Refused, Status: 200, Code: "incorrect_client_credentials"}, true}, // GitHub
		{Error{Kind: Refused, Status: 200, Code: "bad_client_secret"}, true},            // Slack
		{Error{Kind: Refused, Status: 400, Code: "BAD_CLIENT_SECRET"}, true},            // HubSpot
		{Error{Kind: Refused, Status: 400, Code: "invalid_client_id"}, true},            // Salesforce
		{Error{Kind: Refused, Status: 200, Code: "bad_verification_code"}, false},
		{Error{Kind: Refused, Status: 401, Code: "bad_refresh_token"}, false},
		{Error{Kind: RateLimited, Status: 429, Code: "invalid_client"}, false},
		{Error{Kind: Unavailable, Status: 500, Code: "invalid_client"}, false},
		{Error{Kind: Refused, Status: 403}, false},
		{Error{Kind: Refused, Status: 400}, false},
		{Error{Kind: Refused, Status: 400, Code: "invalid_scope"}, false},
		{Error{Kind: Unavailable, Status: 503}, false},
		{Error{Kind: Unavailable}, false},
	} {
		if got := tc.e.ClientRefused(); got != tc.want {
			t.Errorf("%+v: got %t", tc.e, got)
		}
	}
}

// After refused credentials, further requests are held back. A failure of one
// request does not affect other requests.
func TestWhoseTroubleAFailureIs(t *testing.T) {
	t.Parallel()
	const both, holds, ofRequest, neither = 3, 1, 2, 0
	for name, tc := range map[string]struct {
		e    Error
		want int
	}{
		"a refused client":                        {Error{Kind: Refused, Status: 401, Code: "invalid_client", GrantType: "client_credentials"}, holds},
		"a refused client in other words":         {Error{Kind: Refused, Status: 200, Code: "incorrect_client_credentials"}, holds},
		"a bare 401":                              {Error{Kind: Refused, Status: 401}, holds},
		"a refused password":                      {Error{Kind: Refused, Status: 400, Code: "invalid_grant", GrantType: GrantPassword}, holds},
		"a refused password in other words":       {Error{Kind: Refused, Status: 400, Code: "INVALID_LOGIN", GrantType: GrantPassword}, holds},
		"a refused password without words":        {Error{Kind: Refused, Status: 403, GrantType: GrantPassword}, holds},
		"a firewall's page to a password":         {Error{Kind: Refused, Status: 403, GrantType: GrantPassword, Page: true}, neither},
		"a scope, by password":                    {Error{Kind: Refused, Status: 400, Code: "invalid_scope", GrantType: GrantPassword}, ofRequest},
		"a refused refresh token":                 {Error{Kind: Refused, Status: 400, Code: "invalid_grant", GrantType: GrantRefreshToken}, holds},
		"a refused refresh token in other words":  {Error{Kind: Refused, Status: 200, Code: "bad_refresh_token", GrantType: GrantRefreshToken}, holds},
		"a refused assertion":                     {Error{Kind: Refused, Status: 400, Code: "invalid_grant", GrantType: "urn:ietf:params:oauth:grant-type:jwt-bearer"}, ofRequest},
		"a scope":                                 {Error{Kind: Refused, Status: 400, Code: "invalid_scope"}, ofRequest},
		"a target":                                {Error{Kind: Refused, Status: 400, Code: "invalid_target"}, ofRequest},
		"a parameter":                             {Error{Kind: Refused, Status: 400, Code: "invalid_request"}, ofRequest},
		"a refusal without words":                 {Error{Kind: Refused, Status: 400}, ofRequest},
		"an audience that the client may not ask": {Error{Kind: Refused, Status: 403, Code: "access_denied"}, ofRequest},
		"a grant that nobody may use":             {Error{Kind: Refused, Status: 400, Code: "unsupported_grant_type"}, neither},
		"a grant that the client may not use":     {Error{Kind: Refused, Status: 400, Code: "unauthorized_client"}, neither},
		"another endpoint":                        {Error{Kind: Refused, Status: 404}, neither},
		"an answer that cannot be understood":     {Error{Kind: Unintelligible, Status: 200}, ofRequest},
		"an answer without a lifetime":            {Error{Kind: Misconfigured, Status: 200}, ofRequest},
		"a redirect":                              {Error{Kind: Unintelligible, Status: 302}, neither},
		"a rate limit":                            {Error{Kind: RateLimited, Status: 429}, neither},
		"a failure":                               {Error{Kind: Unavailable, Status: 500, GrantType: GrantPassword}, neither},
		"no connection":                           {Error{Kind: Unavailable}, neither},
		"no answer in time":                       {Error{Kind: TooSlow}, neither},
	} {
		got := neither
		if tc.e.Holds() {
			got |= holds
		}
		if tc.e.OfRequest() {
			got |= ofRequest
		}
		if got != tc.want || got == both {
			t.Errorf("%s: got %d, want %d (1 holds, 2 is of the request)", name, got, tc.want)
		}
	}
}

func TestAnErrorKnowsItsGrantAndAPage(t *testing.T) {
	t.Parallel()
	for body, page := range map[string]bool{
		"\n <!DOCTYPE html>\n<html><body>Blocked</body></html>": true,
		"<html><body>Blocked</body></html>":                     true,
		`{"error":"<html>"}`:                                    false,
		"":                                                      false,
	} {
		r := standardRequest(answering(t, 403, "text/html", body).TokenURL())
		r.GrantType = GrantPassword
		if e := refusal(t, r); e.GrantType != GrantPassword || e.Page != page {
			t.Errorf("%q: got %+v", body, e)
		}
	}
}

func TestWhatAnErrorSays(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status    int
		typ, body string
		change    func(*Request)
		kind      Kind
		code      string
		text      string
	}{
		"RFC 6749 section 5.2": {
			status: 400, body: `{"error":"invalid_scope","error_description":"No such scope"}`,
			kind: Refused, code: "invalid_scope", text: "the provider answered HTTP 400: invalid_scope: No such scope",
		},
		"a form":                       {status: 400, typ: asForm, body: "error=invalid_scope&error_description=No+such+scope", kind: Refused, code: "invalid_scope", text: "the provider answered HTTP 400: invalid_scope: No such scope"},
		"an error in a 200":            {status: 200, body: `{"error":"invalid_client","error_description":"Who?"}`, kind: Refused, code: "invalid_client", text: "the provider answered HTTP 200: invalid_client: Who?"},
		"an error in a 200, as a form": {status: 200, typ: asForm, body: "error=bad_verification_code&error_description=Gone", kind: Refused, code: "bad_verification_code", text: "the provider answered HTTP 200: bad_verification_code: Gone"},
		"nested":                       {status: 401, body: `{"error":{"code":"c","message":"m"}}`, kind: Refused, code: "c", text: "the provider answered HTTP 401: c: m"},
		"nested in a string":           {status: 403, body: `{"error":"{\"code\":7,\"message\":\"m\"}"}`, change: func(r *Request) { r.Answer.Error = []Pointer{"/error/code"} }, kind: Refused, code: "7", text: "the provider answered HTTP 403: 7: m"},
		"a plain string":               {status: 403, body: `{"error":"Forbidden"}`, kind: Refused, code: "Forbidden", text: "the provider answered HTTP 403: Forbidden"},
		"a code that repeats itself":   {status: 400, body: `{"error":"x","error_description":"x"}`, kind: Refused, code: "x", text: "the provider answered HTTP 400: x"},
		"a null error":                 {status: 400, body: `{"error":null,"message":"m"}`, kind: Refused, text: "the provider answered HTTP 400: m"},
		"an error that is a list":      {status: 400, body: `{"error":[1]}`, kind: Refused, text: "the provider answered HTTP 400"},
		"an empty body":                {status: 404, body: "", kind: Refused, text: "the provider answered HTTP 404"},
		"HTML":                         {status: 502, typ: "text/html", body: "<h1>Bad Gateway</h1>", kind: Unavailable, text: "the provider answered HTTP 502"},
		"a token in an error is none":  {status: 400, body: `{"access_token":"tok","expires_in":60}`, kind: Refused, text: "the provider answered HTTP 400"},
		"control characters":           {status: 400, body: `{"error":"a\u0000b","error_description":"x\r\n\ty\u001b[31mz\u202e"}`, kind: Refused, code: "a b", text: "the provider answered HTTP 400: a b: x y [31mz"},
		"a broken description":         {status: 400, body: "{\"error\":\"e\",\"error_description\":\"a\xffb\"}", kind: Refused, code: "e", text: "the provider answered HTTP 400: e: a�b"},
		"someone else's token":         {status: 400, body: `{"error":"e","error_description":"token eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2ln expired, key 0123456789abcdef0123456789abcdef01234567 too"}`, kind: Refused, code: "e", text: "the provider answered HTTP 400: e: token […] expired, key […] too"},
		"a long description":           {status: 400, body: `{"error":"e","error_description":"` + strings.Repeat("ä ", 300) + `"}`, kind: Refused, code: "e", text: "the provider answered HTTP 400: e: " + strings.Repeat("ä ", 99) + "ä…"},
		"a redirect":                   {status: 302, body: "", kind: Unintelligible, text: "the provider answered HTTP 302: a redirect or an unknown status; redirects are never followed; set token_url to the final address"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.typ == "" {
				tc.typ = asJSON
			}
			r := standardRequest(answering(t, tc.status, tc.typ, tc.body).TokenURL())
			r.Spends = true // the status counts here, not the retries
			if tc.change != nil {
				tc.change(&r)
			}
			e := refusal(t, r)
			if e.Kind != tc.kind || e.Status != tc.status || e.Code != tc.code || e.Error() != tc.text {
				t.Errorf("got kind %d, status %d, code %q, text %q\nwant %d, %d, %q, %q",
					e.Kind, e.Status, e.Code, e.Error(), tc.kind, tc.status, tc.code, tc.text)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]time.Duration{
		"":                               0,
		"120":                            2 * time.Minute,
		" 120 ":                          2 * time.Minute,
		"0":                              0,
		"-5":                             0,
		"1.5":                            2 * time.Second,
		"299.997":                        5 * time.Minute,
		"0.001":                          time.Second,
		"NaN":                            0,
		"0x10":                           0,
		"1767323105":                     time.Minute, // 2026-01-02T03:05:05Z
		"1767323104.5":                   time.Minute,
		"1767323105000":                  time.Minute,
		"1767322985":                     0,
		"1798859045":                     24 * time.Hour, // a year later
		"soon":                           0,
		"999999999999":                   24 * time.Hour,
		"99999999999999999999999":        24 * time.Hour,
		"Fri, 02 Jan 2026 03:05:05 GMT":  time.Minute,
		"Fri, 02 Jan 2026 03:03:05 GMT":  0,
		"Sat, 02 Jan 2126 03:03:05 GMT":  24 * time.Hour,
		"Friday, 02-Jan-26 03:05:05 GMT": time.Minute,
	} {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			s := granting(t)
			s.Behave(providertest.Behavior{Times: -1, Status: 429, Header: http.Header{"Retry-After": {value}}})
			e := refusal(t, standardRequest(s.TokenURL()))
			if e.Kind != RateLimited || e.RetryAfter != want {
				t.Errorf("got kind %d, retry after %s, want %s", e.Kind, e.RetryAfter, want)
			}
		})
	}
}

// Following a redirect would send the credentials to a host that is not
// configured.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			here, there := granting(t), granting(t)
			here.Behave(providertest.Behavior{Times: -1, Status: status, Redirect: there.TokenURL() + "?secret=value"})
			e := refusal(t, standardRequest(here.TokenURL()))
			if e.Kind != Unintelligible || e.Status != status || !strings.Contains(e.Detail, "redirects are never followed") {
				t.Errorf("got %+v", e)
			}
			if strings.Contains(e.Error(), there.URL()) {
				t.Errorf("quotes the Location: %s", e)
			}
			if n := len(there.All()); n != 0 {
				t.Errorf("the other host saw %d requests", n)
			}
			if here.Requests() != 1 {
				t.Errorf("asked %d times", here.Requests())
			}
		})
	}
}

// A 302 or 303 to another host leads a browser to a page for people, such as a login
// page. Any other redirect leads a program to its answer at another address.
func TestARedirectToALoginPageIsABlock(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status   int
		location string
		want     Cause
	}{
		"302 to another host":           {302, "https://login.example/?from=x", CausePage},
		"303 to another host":           {303, "https://login.example/", CausePage},
		"302 to a path":                 {302, "/oauth2/v2/token", CauseAnswer},
		"302 to another scheme or port": {302, "https://127.0.0.1:8443/token", CauseAnswer},
		"302 to nowhere":                {302, "", CauseAnswer},
		"307 to another host":           {307, "https://api.example/token", CauseAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := granting(t)
			s.Behave(providertest.Behavior{Times: -1, Status: tc.status, Header: http.Header{"Location": {tc.location}}})
			if e := refusal(t, standardRequest(s.TokenURL())); e.Cause() != tc.want || e.Kind != Unintelligible || e.Remedy == "" {
				t.Errorf("cause %s, kind %d: %s", e.Cause(), e.Kind, e)
			}
		})
	}
}

func TestInWords(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0:                             "0s",
		250 * time.Millisecond:        "250ms",
		1500 * time.Millisecond:       "2s",
		10 * time.Second:              "10s",
		time.Minute:                   "1m",
		299_861_148_306:               "5m",
		10*time.Minute + time.Second:  "10m1s",
		time.Hour:                     "1h",
		20*time.Hour + 30*time.Minute: "20h30m",
		100 * time.Hour:               "100h",
		time.Hour + 10*time.Second:    "1h0m10s",
	} {
		if got := InWords(d); got != want {
			t.Errorf("%s: got %s, want %s", d, got, want)
		}
	}
}
