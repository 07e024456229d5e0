// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// wantingSignatures runs a token endpoint that accepts only signed requests. Each
// request needs a nonce that the endpoint has not seen yet.
func wantingSignatures(t *testing.T, secret string) *providertest.Server {
	t.Helper()
	seen := map[string]bool{}
	return providertest.StartFunc(t, "/", func(w http.ResponseWriter, r *http.Request, _ []byte) {
		h := r.Header
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(h.Get("Id") + h.Get("T") + h.Get("Nonce")))
		good := h.Get("Sign") == strings.ToUpper(hex.EncodeToString(mac.Sum(nil))) && len(h.Get("T")) == 13 && !seen[h.Get("Nonce")]
		seen[h.Get("Nonce")] = true
		w.Header().Set("Content-Type", "application/json")
		if !good {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"error":"sign invalid","error_description":"got ` + h.Get("Sign") + `"}`))
			return
		}
		_, _ = w.Write([]byte(`{"access_token":"granted-` + h.Get("Nonce") + `","expires_in":60}`))
	})
}

func TestASignedRequestIsData(t *testing.T) {
	e := mount(t, secretOne)
	s := wantingSignatures(t, secretOne)
	config := fields{
		"token_url": s.TokenURL(), "http_method": "GET", "grant_type": "none", "token_endpoint_auth_method": "none", "parameter_names": "client_id=",
		"client_id": "the-client", "client_secret": secretOne,
		"variables":       fields{"to_sign": fields{"value": "{client_id}{now|unix_ms}{nonce}"}, "nonce": fields{"value": "{random|uuid}"}, "plain": "{not a template}"},
		"request_headers": fields{"id": "{client_id}", "t": "{now|unix_ms}", "nonce": "{nonce}", "sign": "{to_sign|hmac_sha256:client_secret|hex|upper}", "x": "{plain}"},
	}
	e.must(t, "config/c", config)
	first := e.read(t, "token/c").data(t)["access_token"]
	if again := e.read(t, "token/c").data(t)["access_token"]; again != first {
		t.Errorf("one token is %v and %v", first, again)
	}
	e.clock.advance(70e9)
	if next, _ := e.read(t, "token/c").data(t)["access_token"].(string); next == first || !strings.HasPrefix(next, "granted-") {
		t.Errorf("the next token is %v, after %v", next, first)
	}

	shown := e.read(t, "config/c").data(t)
	wantMembers(t, shown, fields{"variables": fields{"to_sign": fields{"value": "{client_id}{now|unix_ms}{nonce}"}, "nonce": fields{"value": "{random|uuid}"}, "plain": "{not a template}"}})
	effective, _ := shown["effective"].(fields)
	wantMembers(t, effective, fields{"request_headers": fields{
		"id": "the-client", "t": "{now|unix_ms}", "nonce": "{nonce}", "sign": "{to_sign|hmac_sha256:client_secret|hex|upper}", "x": "{not a template}",
	}})

	// The same write again does not change the request. A patch of one variable does.
	requests := s.Requests()
	e.must(t, "config/c", config)
	e.read(t, "token/c").data(t)
	if s.Requests() != requests {
		t.Error("the same write cost a mint")
	}
	succeeded(t, e.patch(t, "config/c", fields{"variables": fields{"nonce": fields{"value": "{random|hex}"}}}))
	if next, _ := e.read(t, "token/c").data(t)["access_token"].(string); len(next) != len("granted-")+32 {
		t.Errorf("got %v", next)
	}

	// If the provider's error repeats the signature, the engine's error leaves it out.
	succeeded(t, e.patch(t, "config/c", fields{"variables": fields{"to_sign": fields{"value": "{client_id}"}}}))
	r := e.read(t, "token/c")
	refused(t, r, http.StatusBadRequest, "HTTP 403", "(withheld: it repeats a credential)")
}

// Some servers require an empty secret. It may also be a mistake, so the engine accepts
// it and warns.
func TestAnEmptySecretIsSentAndWarnedAbout(t *testing.T) {
	e := mount(t)
	s := invented(t, func(r *http.Request, body string) string {
		return fmt.Sprintf(`{"access_token":%q,"expires_in":60}`, r.Header.Get("Authorization")[len("Basic "):]+"/"+body)
	})
	refused(t, e.write(t, "config/c", fields{"token_url": s.TokenURL(), "client_id": "cf"}), http.StatusBadRequest, "client_secret is required by token_endpoint_auth_method=client_secret_basic")
	warned(t, e.write(t, "config/c", fields{"token_url": s.TokenURL(), "client_id": "cf", "client_secret": ""}), "client_secret is set, and empty")
	wantMembers(t, e.read(t, "token/c").data(t), fields{"access_token": "Y2Y6/grant_type=client_credentials"})
	wantMembers(t, e.read(t, "config/c").data(t), fields{"secrets_set": []any{}})
	refused(t, e.patch(t, "config/c", fields{"client_secret": nil}), http.StatusBadRequest, "client_secret is required")
}
