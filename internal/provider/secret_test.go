// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

func TestWhatARequestSendsOfASecretIsSecret(t *testing.T) {
	t.Parallel()
	r, err := asked(t, object{"variables": object{
		"key": object{"secret": true}, "pin": object{"secret": true}, "tenant": object{}, "spare": object{"secret": true, "default": "by-default"},
		"calc": object{"value": "{client_id}:{client_secret}"}, "twice": object{"value": "<{calc|base64}>"}, "plain": object{"value": "{tenant}-x"},
	}}, object{
		"token_url": plainURL + "?k={key|hex}&t={tenant}", "variables": object{"tenant": "acme"}, "secret_variables": object{"key": "the-key-value", "pin": "42"},
		"secret_parameters": object{"n": float64(1234567890), "list": []any{"in-a-list"}},
		"parameters":        object{"sig": object{"deep": []any{"v1 {twice}"}}, "public": "{tenant|upper}", "version": "v-{pin}"},
		"request_headers":   "X-Key=Key {client_secret|base64url|upper}", "fallback_client_secret": "second-secret",
	})
	if err != nil {
		t.Fatal(err)
	}
	basic := base64.StdEncoding.EncodeToString([]byte("the-client:the-secret-value"))
	sent := strings.ToUpper(base64.RawURLEncoding.EncodeToString([]byte("the-secret-value")))
	for _, secret := range []string{"the-secret-value", "second-secret", "the-key-value", "42", "by-default", "1234567890", "in-a-list", hex.EncodeToString([]byte("the-key-value")), sent, basic} {
		if !slices.Contains(r.Secrets, secret) {
			t.Errorf("%q is no secret", secret)
		}
	}
	for _, text := range []string{"the-client:the-secret-value", "<" + basic + ">", "v1 <" + basic + ">", "v-42", "Key " + sent} {
		if !slices.Contains(r.Composed, text) {
			t.Errorf("%q is not made of a secret", text)
		}
	}
	for _, text := range slices.Concat(r.Secrets, r.Composed) {
		if slices.Contains([]string{"the-client", "acme", "ACME", "acme-x"}, text) {
			t.Errorf("%q is no secret", text)
		}
	}
}

// If an endpoint's answer repeats the request, no pointer hands out a secret,
// however the request spells it.
func TestAnEchoIsNotHandedOut(t *testing.T) {
	t.Parallel()
	s := providertest.StartFunc(t, "/", func(w http.ResponseWriter, r *http.Request, _ []byte) {
		w.Header().Set("Content-Type", "application/json")
		sent := r.Header.Get("X-Sent")
		w.Header().Set("X-Sent", sent)
		if r.URL.RawQuery != "" { // the refusal shows a part of what the server was sent
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":"invalid_request","error_description":"bad `+sent[:min(30, len(sent))]+`"}`) // the client may be gone
			return
		}
		_, _ = io.WriteString(w, `{"access_token":"granted","expires_in":60,"sent":"`+sent+`"}`) // the client may be gone
	})
	for _, spelt := range []string{
		"{client_secret}", "{client_secret|hex}", "{client_secret|upper}", "{client_secret|base64|base64}", "{client_secret|hex|base64url}", "{client_secret|urlencode|hex}",
		"{calc}", "{calc|base64}", "{calc|base64|upper}", "{calc|hex|upper|base64}", "v{pin}-{pin}", "{pin}", "{pin|hex}", "{pin|base64|upper}", "{client_secret|base64url|lower}",
	} {
		t.Run(spelt, func(t *testing.T) {
			t.Parallel()
			ask := func(field string, v any) (*grant.Token, error) {
				r, err := asked(t, object{"variables": object{"calc": object{"value": "{client_id}:{client_secret}"}, "pin": object{"secret": true}}}, object{
					"token_url": s.TokenURL(), "secret_variables": object{"pin": "7391"}, "request_headers": object{"X-Sent": spelt}, "scopes": "asked", field: v,
				})
				if err != nil {
					t.Fatal(err)
				}
				r.Timeout = 10 * time.Second
				client := grant.NewClient(grant.Options{})
				defer client.Close()
				return client.Mint(t.Context(), r)
			}
			for _, at := range []string{"/sent", "header:X-Sent"} {
				if got, err := ask("access_token_pointer", at); err == nil || !strings.Contains(err.Error(), "set access_token_pointer") {
					t.Errorf("as the token, at %s: %v, %v", at, got, err)
				}
				for field, v := range map[string]any{"token_type_pointer": at, "scope_pointer": at, "extra_fields": "x=" + at} {
					if got, err := ask(field, v); err != nil || got.TokenType != "Bearer" || got.Scope != "asked" || got.Extra != nil {
						t.Errorf("by %s=%s: %+v, %v", field, at, got, err)
					}
				}
			}
			if _, err := ask("token_url", s.TokenURL()+"?refuse"); err == nil || !strings.Contains(err.Error(), "invalid_request: (withheld") {
				t.Errorf("in a refusal: %v", err)
			}
		})
	}
}
