// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// odd is a provider that answers in its own way: its answer to a good request,
// and what a reader should get.
type odd struct {
	name   string // of the config
	config fields
	serve  func(w http.ResponseWriter, r *http.Request, body []byte) bool // returns false for a bad request
	want   fields
	lives  time.Duration
}

const answersSecret = "the-secret-of-the-app"

// answers are real ways to answer that are neither JSON nor OAuth. Each needs
// only a config. docs/capabilities.md names the providers.
func answers() map[string]odd {
	issued := jwtFor(10 * time.Minute)
	return map[string]odd{
		"the token in a header, as OpenStack Keystone has it": {
			name: "keystone",
			config: fields{
				"grant_type": "none", "token_endpoint_auth_method": "none", "request_format": "json",
				"parameters": fields{"auth": fields{"identity": fields{
					"methods": []string{"application_credential"}, "application_credential": fields{"id": "{client_id}", "secret": "{client_secret}"},
				}}},
				"access_token_pointer": "header:X-Subject-Token", "expires_at_pointer": "/token/expires_at",
				"extra_fields": fields{"project": "/token/project/name", "request": "header:x-openstack-request-id"},
			},
			serve: func(w http.ResponseWriter, _ *http.Request, body []byte) bool {
				var got any
				if json.Unmarshal(body, &got) != nil || member(got, "auth", "identity", "application_credential", "secret") != answersSecret {
					return false
				}
				w.Header().Set("X-Subject-Token", "gAAAAABp-keystone")
				w.Header().Set("X-Openstack-Request-Id", "req-1")
				w.WriteHeader(http.StatusCreated)
				say(w, fmt.Sprintf(`{"token":{"methods":["application_credential"],"expires_at":%q,"project":{"name":"north"}}}`,
					time.Now().UTC().Add(time.Hour).Format("2006-01-02T15:04:05.000000Z")))
				return true
			},
			want: fields{"access_token": "gAAAAABp-keystone", "project": "north", "request": "req-1"}, lives: time.Hour,
		},
		"XML, as Tableau has it": {
			name: "tableau",
			config: fields{
				"grant_type": "none", "token_endpoint_auth_method": "none", "request_format": "json", "request_headers": fields{"Accept": "application/xml"},
				"parameters":           fields{"credentials": fields{"personalAccessTokenName": "{client_id}", "personalAccessTokenSecret": "{client_secret}", "site": fields{"contentUrl": "north"}}},
				"access_token_pointer": "/tsResponse/credentials/@token", "expires_in_pointer": "/tsResponse/credentials/@estimatedTimeToExpiration",
				"error_pointer": "/tsResponse/error/@code", "error_description_pointer": "/tsResponse/error/detail",
				"extra_fields": fields{"site": "/tsResponse/credentials/site/@id"},
			},
			serve: func(w http.ResponseWriter, r *http.Request, body []byte) bool {
				var got any
				if json.Unmarshal(body, &got) != nil || member(got, "credentials", "personalAccessTokenSecret") != answersSecret || r.Header.Get("Accept") != "application/xml" {
					return false
				}
				w.Header().Set("Content-Type", "application/xml;charset=utf-8")
				say(w, `<?xml version='1.0' encoding='UTF-8'?><tsResponse xmlns="http://tableau.com/api"><credentials token="tableau|token" estimatedTimeToExpiration="4:00:00">`+
					`<site id="9a8b" contentUrl="north"/><user id="9f9e"/></credentials></tsResponse>`)
				return true
			},
			want: fields{"access_token": "tableau|token", "site": "9a8b"}, lives: 4 * time.Hour,
		},
		"text, as Azure AI Speech has it": {
			name: "speech",
			config: fields{
				"grant_type": "none", "token_endpoint_auth_method": "none", "parameter_names": fields{"client_id": ""},
				"request_headers": fields{"Ocp-Apim-Subscription-Key": "{client_secret}"}, "access_token_pointer": []string{""},
			},
			serve: func(w http.ResponseWriter, r *http.Request, body []byte) bool {
				if len(body) > 0 || r.Header.Get("Ocp-Apim-Subscription-Key") != answersSecret {
					return false
				}
				w.Header().Set("Content-Type", "application/jwt; charset=us-ascii")
				say(w, issued)
				return true
			},
			want: fields{"access_token": issued}, lives: 10 * time.Minute,
		},
		"a moment in a notation of its own, as Oracle Primavera Unifier has it": {
			name: "unifier",
			config: fields{
				"grant_type": "none", "http_method": "GET", "access_token_pointer": "/data/access_token", "expires_in_pointer": "[]",
				"expires_at_pointer": "/data/expiryTime", "expires_at_format": "%d/%m/%Y %I:%M %p", "expires_at_zone": "Asia/Kolkata",
			},
			serve: func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
				if _, secret, _ := r.BasicAuth(); secret != answersSecret {
					return false
				}
				at := time.Now().Add(48 * time.Hour).In(time.FixedZone("IST", 19800))
				say(w, fmt.Sprintf(`{"data":{"access_token":"unifier-token","expiryTime":%q},"message":[],"status":200}`, at.Format("02/01/2006 03:04 PM")))
				return true
			},
			want: fields{"access_token": "unifier-token"}, lives: 48 * time.Hour,
		},
	}
}

// jwtFor returns a token that expires after lives.
func jwtFor(lives time.Duration) string {
	claims := fmt.Sprintf(`{"exp":%d}`, time.Now().Add(lives).Unix())
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

func TestAnswersThatAreNotOAuths(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	for name, test := range answers() {
		t.Run(name, func(t *testing.T) {
			v, config := v.For(t), test.name
			s := providertest.StartFunc(t, "/token", func(w http.ResponseWriter, r *http.Request, body []byte) {
				if !test.serve(w, r, body) {
					w.WriteHeader(http.StatusBadRequest)
				}
			})
			write(t, v, "oauthcc/config/"+config, with(test.config, fields{"token_url": s.TokenURL(), "client_id": "app", "client_secret": answersSecret}))
			got := read(t, v, "oauthcc/token/"+config)
			for name, value := range test.want {
				if got.Data[name] != value {
					t.Errorf("%s is %v, want %v", name, got.Data[name], value)
				}
			}
			if lives := time.Duration(got.number(t, "expires_in")) * time.Second; lives > test.lives || lives < test.lives-time.Minute-10*time.Second {
				t.Errorf("lives %s, want %s", lives, test.lives)
			}
			write(t, v, "oauthcc/config/"+config, fields{"client_secret": "another"})
			ask(t, v, http.MethodGet, "oauthcc/token/"+config, nil).wants(t, http.StatusBadRequest, "HTTP 400")
		})
	}
}

func TestCheckCallsTheAPIWithTheNewToken(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	s := providertest.Start(t, providertest.RFC6749, providertest.Options{})
	var calls atomic.Int64
	api := providertest.StartFunc(t, "/me", func(w http.ResponseWriter, r *http.Request, _ []byte) {
		calls.Add(1)
		if token := r.Header.Get("X-Api-Token"); r.Method != http.MethodGet || !s.Valid(token) {
			w.WriteHeader(http.StatusForbidden)
		}
		_, _ = io.WriteString(w, r.Header.Get("X-Api-Token")) // the check's answer must not show this echo
	})
	me := api.URL() + "/me"
	write(t, v, "oauthcc/config/c", with(registration(providertest.RFC6749, s), fields{"check_url": me, "check_headers": fields{"X-Api-Token": "{access_token}"}}))

	got := write(t, v, "oauthcc/check/c", nil)
	if got.Data["status"] != "ok" || got.Data["check_status"] != 200.0 || len(got.Warnings) > 0 {
		t.Errorf("a good token: %s", got.raw)
	}
	token := read(t, v, "oauthcc/token/c").text(t, "access_token")
	if n := calls.Load(); n != 1 || s.Requests() != 1 {
		t.Errorf("the API was called %d times, and %d tokens were minted: a check calls it once, and readers get its token", n, s.Requests())
	}
	if token == "" || strings.Contains(got.raw, token) {
		t.Errorf("the check shows the token: %s", got.raw)
	}

	// The token is sent to check_url, so a writer who does not know the secret
	// must not be able to change it.
	elsewhere := providertest.StartFunc(t, "/me", func(http.ResponseWriter, *http.Request, []byte) { calls.Add(1000) })
	ask(t, v, http.MethodPost, "oauthcc/config/c", fields{"check_url": elsewhere.URL() + "/me"}).wants(t, http.StatusBadRequest, "client_secret")
	write(t, v, "oauthcc/check/c", nil)
	if n := calls.Load(); n != 2 {
		t.Errorf("the API was called %d times", n)
	}

	write(t, v, "oauthcc/config/c", fields{"check_headers": fields{"X-Api-Token": "Bearer {access_token}"}})
	got = write(t, v, "oauthcc/check/c", nil)
	if got.Data["check_status"] != 403.0 {
		t.Errorf("a refused token: %s", got.raw)
	}
	got.wants(t, http.StatusOK, "check_url answered HTTP 403")
}
