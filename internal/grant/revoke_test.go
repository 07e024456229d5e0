// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

func TestRevoke(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		body   string
		kind   Kind // 0 if the token is revoked
	}{
		"200":                       {status: 200},
		"200 with anything":         {status: 200, body: "gone"},
		"204":                       {status: 204},
		"a token that is gone":      {status: 400, body: `{"error":"invalid_token"}`},
		"a grant that is gone":      {status: 400, body: `{"error":"invalid_grant"}`},
		"a 404":                     {status: 404},
		"a 404 with words":          {status: 404, body: `{"error":"not_found"}`},
		"a 410":                     {status: 410},
		"a refused client":          {status: 401, body: `{"error":"invalid_client"}`, kind: Refused},
		"a kind of token it cannot": {status: 400, body: `{"error":"unsupported_token_type"}`, kind: Refused},
		"out of order":              {status: 500, kind: Unavailable},
		"a redirect":                {status: 302, kind: Unintelligible},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := answering(t, tc.status, asJSON, tc.body)
			r := standardRequest(s.TokenURL())
			r.GrantType, r.Parameters = "", map[string]any{"token": "a-token-to-revoke"}
			c := NewClient(Options{Now: clock})
			defer c.Close()
			err := c.Revoke(t.Context(), r)
			var e *Error
			if tc.kind == 0 && err != nil || tc.kind != 0 && (!errors.As(err, &e) || e.Kind != tc.kind) {
				t.Errorf("got %v", err)
			}
			if got := s.Last(); s.Requests() != 1 || got.Method != http.MethodPost || got.Form().Get("token") != "a-token-to-revoke" {
				t.Errorf("asked %d times, %s", s.Requests(), got.Body)
			}
		})
	}
}

// The answer to a revocation is treated like any other answer.
func TestTheRefusalOfARevocationShowsNoRefreshToken(t *testing.T) {
	t.Parallel()
	s := answering(t, http.StatusBadRequest, asJSON, `{"error":"invalid_request","error_description":"keep the-live-refresh-token","refreshToken":"the-live-refresh-token"}`)
	c := NewClient(Options{Now: clock})
	defer c.Close()
	if err := c.Revoke(t.Context(), standardRequest(s.TokenURL())); err == nil || strings.Contains(err.Error(), "live") || !strings.Contains(err.Error(), withheld) {
		t.Errorf("got %v", err)
	}
}

func TestAnErrorNamesTheFieldOfTheURLThatWasAsked(t *testing.T) {
	c := NewClient(Options{Now: clock})
	defer c.Close()
	s := granting(t)
	s.Behave(providertest.Behavior{Times: -1, Redirect: "https://elsewhere.example"})
	r := standardRequest(s.TokenURL())
	r.Field = "revocation_url"
	if err := c.Revoke(t.Context(), r); err == nil || !strings.Contains(err.Error(), "set revocation_url to the final address") {
		t.Errorf("of an answer: %v", err)
	}
	r.URL, r.Field = "http://"+providertest.Nobody, "check_url"
	if _, err := c.Probe(t.Context(), r); err == nil || !strings.Contains(err.Error(), "check check_url's host and port") {
		t.Errorf("of no answer: %v", err)
	}
}
