// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

// The answer to a prepared request hides the same secrets as any other answer,
// including those that an attempt made itself.
func TestPreparedRequestKnowsTheSecretsOfEachAttempt(t *testing.T) {
	echo := map[string]func(*http.Request) string{ // returns what the attempt shows
		"client_secret":    func(r *http.Request) string { return r.FormValue("client_secret") },
		"a parameter":      func(r *http.Request) string { return r.FormValue("x") },
		"DPoP":             func(r *http.Request) string { return r.Header.Get("DPoP") },
		"client_assertion": func(r *http.Request) string { return r.FormValue("client_assertion") },
	}
	for of, change := range map[string]func(*Request){
		"client_secret": func(r *Request) { r.Auth = AuthPost },
		"a parameter": func(r *Request) {
			r.Parameters, r.Secrets = map[string]any{"x": "another-secret"}, []string{"another-secret"}
		},
		"DPoP": func(r *Request) { r.DPoP = &DPoP{Key: boundKey(t)} },
		"client_assertion": func(r *Request) {
			r.Auth = AuthSecretJWT
			r.ClientAssertion = &Assertion{Secret: strings.Repeat("k", 32), Algorithm: signing.HS256, Issuer: "me", Subject: "me", Audience: "aud", Lifetime: time.Minute}
		},
	} {
		t.Run(of, func(t *testing.T) {
			var shown []string
			s := providertest.StartFunc(t, "/", func(w http.ResponseWriter, r *http.Request, body []byte) {
				r.Body = io.NopCloser(bytes.NewReader(body))
				shown = append(shown, echo[of](r))
				w.WriteHeader(http.StatusBadRequest)
				_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_request", "error_description": "got " + shown[len(shown)-1]})
			})
			c, r := NewClient(Options{Now: clock}), standardRequest(s.TokenURL())
			change(&r)
			prepared, err := r.Prepare()
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				_, err := c.Mint(t.Context(), prepared)
				var failed *Error
				if !errors.As(err, &failed) || failed.Description != withheld {
					t.Errorf("told %v", err)
				}
			}
			if len(shown) != 2 || shown[0] == "" {
				t.Fatalf("showed %q", shown)
			}
		})
	}
}
