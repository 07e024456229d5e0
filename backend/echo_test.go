// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

func TestProviderThatEchoesTheRequestLeaksNothing(t *testing.T) {
	statuses := []int{200, 400, 401, 403, 404, 429, 500} // fewer than there are secrets, so each is used
	for d := range dialects() {
		for i, name := range slices.Sorted(maps.Keys(awkward())) {
			secret, status := awkward()[name], statuses[i%len(statuses)]
			t.Run(fmt.Sprintf("%s %d %s", d, status, name), func(t *testing.T) {
				secrets := []string{secret, secretTwo, secretThree, secretFour}
				e := mount(t, secrets...)
				s := e.server(t, d, providertest.Options{})
				s.Behave(providertest.Behavior{Times: -1, Echo: true, Status: status})
				e.must(t, "config/c", with(registration(d, s), fields{
					"client_secret": secret, "password": secretTwo, "secret_parameters": fields{"pin": secretThree},
					"secret_variables": fields{"key": secretFour}, "request_headers": "X-Key={key|base64}", "parameters": "k={key}",
				}))
				for range 2 {
					r := e.read(t, "token/c")
					if r.err == nil {
						t.Fatalf("no error: %s", r.text())
					}
					sane(t, r)
					withoutSecrets(t, "the error", r.text(), secrets...)
				}
				r := e.write(t, "config/c", fields{"verify_connection": true})
				if r.err == nil {
					t.Fatalf("verified: %s", r.text())
				}
				withoutSecrets(t, "the refusal", r.text(), secrets...)
			})
		}
	}
}

// If the provider requires a secret in the URL, the errors of net/http and of the
// retries would contain it.
func TestSecretsInTheURLAreInNoErrorAndNoLog(t *testing.T) {
	for name, harm := range map[string]func(*providertest.Server){
		"a closed port":   func(s *providertest.Server) { s.Close() },
		"a dropped line":  func(s *providertest.Server) { s.Behave(providertest.Behavior{Times: -1, Drop: true}) },
		"a redirect":      func(s *providertest.Server) { s.Behave(providertest.Behavior{Times: -1, Redirect: "/x?" + secretOne}) },
		"no answer":       func(s *providertest.Server) { s.Behave(providertest.Behavior{Times: -1, Hang: true}) },
		"a bad gateway":   func(s *providertest.Server) { s.Behave(providertest.Behavior{Times: -1, Status: 502}) },
		"a broken answer": func(s *providertest.Server) { s.Behave(providertest.Behavior{Times: -1, Body: "{"}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := mount(t, secretOne, secretTwo, secretThree)
			s := e.server(t, providertest.RFC6749, providertest.Options{})
			harm(s)
			e.must(t, "config/c", fields{
				"token_url": s.TokenURL() + "?k={key}&s={client_secret}", "secret_variables": fields{"key": secretTwo}, "request_timeout": 1,
				"request_format": "query", "token_endpoint_auth_method": "client_secret_post", "client_id": "c", "client_secret": secretOne,
				"secret_parameters": fields{"pin": secretThree},
			})
			withoutSecrets(t, "the config", e.read(t, "config/c").text(), secretOne, secretTwo, secretThree)
			r := e.read(t, "token/c")
			if r.err == nil {
				t.Fatalf("no error: %s", r.text())
			}
			sane(t, r)
			withoutSecrets(t, "the error", r.text(), secretOne, secretTwo, secretThree)
		})
	}
}

// A provider may repeat the request in any member of an answer, also of a success.
func TestSuccessThatEchoesTheRequestLeaksNothing(t *testing.T) {
	e := mount(t, secretOne, secretTwo)
	e.extras = []string{"echo"}
	s := invented(t, func(r *http.Request, body string) string {
		return fmt.Sprintf(`{"access_token":"t","expires_in":60,"token_type":%q,"scope":%q,"echo":{%q:[%q]}}`,
			secretOne, body, r.Header.Get("Authorization"), body)
	})
	e.must(t, "config/c", fields{
		"token_url": s.TokenURL(), "client_id": "c", "client_secret": secretOne, "extra_fields": "echo=/echo",
		"secret_parameters": fields{"pin": secretTwo}, "scopes": "a",
	})
	r := e.read(t, "token/c")
	wantMembers(t, r.data(t), fields{"access_token": "t", "token_type": "Bearer", "scope": "a", "echo": nil})
	withoutSecrets(t, "the answer", r.text(), secretOne, secretTwo)
}

// Someone who may write a config can point at any member of an answer, and at any
// endpoint of the same origin.
func TestNoPointerHandsOutACredential(t *testing.T) {
	const refresh = "the-refresh-token-of-the-user"
	for format, answer := range map[string]struct{ below, body string }{
		"JSON": {"", `{"access_token":"t","expires_in":60,"sent":%q,"refresh_token":%q,"again":%q,"encoded":%q}`},
		"XML":  {"/r", `<r><access_token>t</access_token><expires_in>60</expires_in><sent>%s</sent><refresh_token>%s</refresh_token><again>%s</again><encoded>%s</encoded></r>`},
	} {
		for name, tc := range map[string]struct {
			field, value string
			fails        bool
		}{
			"the client secret as the token":    {"access_token_pointer", "/sent", true},
			"the client secret as its type":     {"token_type_pointer", "/sent", false},
			"the client secret as the scope":    {"scope_pointer", "/sent", false},
			"the client secret as a field":      {"extra_fields", "echo=/sent", false},
			"the refresh token as the token":    {"access_token_pointer", "/again", true},
			"the refresh token as its type":     {"token_type_pointer", "/again", false},
			"the refresh token as the scope":    {"scope_pointer", "/again", false},
			"the refresh token as a field":      {"extra_fields", "echo=/again", false},
			"the refresh token, encoded":        {"extra_fields", "echo=/encoded", false},
			"the refresh token as an error":     {"error_pointer", "/again", false},
			"the refresh token as words":        {"error_description_pointer", "/again", false},
			"the client secret as a lifetime":   {"expires_in_pointer", "/sent", true},
			"the refresh token as a lifetime":   {"expires_at_pointer", "/again", false},
			"the client secret to refresh with": {"refresh_token_pointer", "/sent", false},
			"a header as the token":             {"access_token_pointer", "header:X-Sent", true},
			"a header as the type":              {"token_type_pointer", "header:X-Sent", false},
			"a header as the scope":             {"scope_pointer", "header:X-Sent", false},
			"a header as a field":               {"extra_fields", "echo=header:X-Sent", false},
			"a header as a lifetime":            {"expires_in_pointer", "header:X-Sent", true},
			"the refresh token in a header":     {"access_token_pointer", "header:X-Again", true},
			"the same as a field":               {"extra_fields", "echo=header:X-Again", false},
		} {
			t.Run(format+"/"+name, func(t *testing.T) {
				e := mount(t, secretOne, refresh)
				e.extras = []string{"echo"}
				s := providertest.StartFunc(t, "/token", func(w http.ResponseWriter, r *http.Request, _ []byte) {
					w.Header().Set("X-Sent", r.Header.Get("X-Sent"))
					w.Header().Set("X-Again", refresh)
					_, _ = fmt.Fprintf(w, answer.body, r.Header.Get("X-Sent"), refresh, refresh, base64.StdEncoding.EncodeToString([]byte(refresh))) // the client may be gone
				})
				c := fields{
					"token_url": s.TokenURL(), "client_id": "c", "client_secret": secretOne, "request_headers": "X-Sent={client_secret|hex|upper|base64}", "refresh_token_pointer": "/elsewhere",
					"access_token_pointer": answer.below + "/access_token", "expires_in_pointer": answer.below + "/expires_in",
				}
				sent := base64.StdEncoding.EncodeToString([]byte(strings.ToUpper(hex.EncodeToString([]byte(secretOne)))))
				pointer := strings.Replace(tc.value, "/", answer.below+"/", 1)
				e.must(t, "config/c", with(c, fields{tc.field: pointer}))
				for _, r := range []result{e.read(t, "token/c"), e.write(t, "check/c", nil), e.write(t, "config/c", fields{"verify_connection": true})} {
					if (r.err != nil) != tc.fails {
						t.Errorf("got %s", r.text())
					}
					withoutSecrets(t, "the answer", r.text(), secretOne, refresh, sent)
				}
			})
		}
	}
}

// The token is a secret as well, in whatever place of an answer the provider writes it.
func TestTokenIsInNoErrorAndNoLog(t *testing.T) {
	const token = "eyJ0eXAiOiJKV1QifQ.eyJzdWIiOiJuZXZlci1zaG93bi1wYXlsb2FkIn0.c2lnbmF0dXJl"
	for name, answer := range map[string]string{
		"at another place":     `{"token":"` + token + `"}`,
		"as a member's name":   `{"` + token + `":1}`,
		"in the description":   `{"error":"server_error","error_description":"issued ` + token + ` already"}`,
		"in the code":          `{"error":"` + token + `"}`,
		"without a lifetime":   `{"access_token":"` + token + `"}`,
		"with a wrong one":     `{"access_token":"` + token + `","expires_in":"` + token + `"}`,
		"that expired already": `{"access_token":"` + token + `","expires_in":0}`,
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t, token)
			s := invented(t, func(*http.Request, string) string { return answer })
			e.must(t, "config/c", fields{"token_url": s.TokenURL(), "client_id": "c", "client_secret": secretOne})
			r := e.read(t, "token/c")
			if r.err == nil {
				t.Fatalf("no error: %s", r.text())
			}
			withoutSecrets(t, "the error", r.text(), token)
		})
	}
	t.Run("in the log of a success", func(t *testing.T) {
		e := mount(t, token)
		s := invented(t, func(*http.Request, string) string { return `{"access_token":"` + token + `","expires_in":60}` })
		e.must(t, "config/c", fields{"token_url": s.TokenURL(), "client_id": "c", "client_secret": secretOne})
		succeeded(t, e.read(t, "token/c"))
		e.clock.advance(time.Hour)
		s.Behave(providertest.Behavior{Times: -1, Status: 500})
		withoutSecrets(t, "the error", e.read(t, "token/c").text(), token)
		withoutSecrets(t, "the config", e.read(t, "config/c").text(), token)
	})
}
