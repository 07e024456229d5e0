// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// TestMistakes tests the rows of the error table that involve no provider.
func TestMistakes(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	s := providertest.Start(t, providertest.RFC6749, providertest.Options{})
	good := registration(providertest.RFC6749, s)
	write(t, v, "oauthcc/config/good", good)

	tests := map[string]struct {
		method, path string
		body         any
		status       int
		says         []string
	}{
		"reading a token of an unknown config":   {"GET", "token/nothere", nil, 400, []string{`"nothere"`, "config/"}},
		"writing to a token of an unknown one":   {"POST", "token/nothere", nil, 400, []string{`"nothere"`}},
		"checking an unknown config":             {"POST", "check/nothere", nil, 400, []string{`"nothere"`}},
		"the status of an unknown config":        {"GET", "status/nothere", nil, 400, []string{`"nothere"`}},
		"revoking an unknown config's tokens":    {"POST", "revoke/nothere", nil, 400, []string{`"nothere"`}},
		"reading a config that is not there":     {"GET", "config/nothere", nil, 404, nil},
		"patching a config that is not there":    {"PATCH", "config/nothere", fields{"ttl": 60}, 404, nil},
		"deleting a config that is not there":    {"DELETE", "config/nothere", nil, 204, nil},
		"reading a provider that is not there":   {"GET", "provider/nothere", nil, 404, nil},
		"deleting a provider that is not there":  {"DELETE", "provider/nothere", nil, 204, nil},
		"an unknown provider, with the nearest":  {"POST", "config/new", with(good, fields{"provider": "antsomy"}), 400, []string{`"antsomy"`, `"antsomi"`}},
		"an unknown provider like none":          {"POST", "config/new", with(good, fields{"provider": "zzzzzzzz"}), 400, []string{"zzzzzzzz", "provider/", "generic"}},
		"a misspelt field, with the nearest":     {"POST", "config/new", with(good, fields{"client_secrit": "x"}), 400, []string{`"client_secrit"`, `"client_secret"`}},
		"a misspelt field in a patch":            {"PATCH", "config/good", fields{"scops": "x"}, 400, []string{`"scops"`, `"scopes"`}},
		"a misspelt field of a provider":         {"POST", "provider/mine", fields{"token_ulr": "x"}, 400, []string{`"token_ulr"`, `"token_url"`}},
		"a field like none":                      {"POST", "config/new", with(good, fields{"qqqqqqqqqqqq": "x"}), 400, []string{`"qqqqqqqqqqqq"`}},
		"a field where none is taken":            {"GET", "info?verbose=1", nil, 400, []string{`"verbose"`}},
		"no token_url":                           {"POST", "config/new", with(good, fields{"token_url": nil}), 400, []string{"token_url", "https://"}},
		"a token_url without a scheme":           {"POST", "config/new", with(good, fields{"token_url": "login.example.com/token"}), 400, []string{"token_url", "https://"}},
		"a token_url of another scheme":          {"POST", "config/new", with(good, fields{"token_url": "ftp://login.example.com/token"}), 400, []string{"token_url", "https://"}},
		"a token_url without a host":             {"POST", "config/new", with(good, fields{"token_url": "https:///token"}), 400, []string{"token_url", "host"}},
		"a token_url with a user":                {"POST", "config/new", with(good, fields{"token_url": "https://me:pw@login.example.com/token"}), 400, []string{"token_url", "user"}},
		"a token_url with a fragment":            {"POST", "config/new", with(good, fields{"token_url": "https://login.example.com/token#x"}), 400, []string{"token_url", "fragment"}},
		"a token_url with an unknown name":       {"POST", "config/new", with(good, fields{"token_url": "https://{tenant}.example.com/"}), 400, []string{"token_url", "{tenant}"}},
		"plain http to a public host":            {"POST", "config/new", with(good, fields{"token_url": "http://login.example.com/token"}), 400, []string{"token_url", "https", "allow_insecure_http"}},
		"plain http to a public address":         {"POST", "config/new", with(good, fields{"token_url": "http://203.0.113.7/token"}), 400, []string{"allow_insecure_http"}},
		"plain http to what looks like loopback": {"POST", "config/new", with(good, fields{"token_url": "http://127.0.0.1.example.com/token"}), 400, []string{"allow_insecure_http"}},
		"no client_id":                           {"POST", "config/new", with(good, fields{"client_id": nil}), 400, []string{"client_id"}},
		"no client_secret":                       {"POST", "config/new", with(good, fields{"client_secret": nil}), 400, []string{"client_secret"}},
		"the password grant without a user":      {"POST", "config/new", with(good, fields{"grant_type": "password", "password": "x"}), 400, []string{"username"}},
		"the password grant without a password":  {"POST", "config/new", with(good, fields{"grant_type": "password", "username": "x"}), 400, []string{"password"}},
		"an unknown authentication method":       {"POST", "config/new", with(good, fields{"token_endpoint_auth_method": "client_secret_basik"}), 400, []string{"token_endpoint_auth_method", "client_secret_basic"}},
		"an unknown request format":              {"POST", "config/new", with(good, fields{"request_format": "xml"}), 400, []string{"request_format", "json"}},
		"a body with GET":                        {"POST", "config/new", with(good, fields{"http_method": "GET", "request_format": "json"}), 400, []string{"request_format", "query"}},
		"a parameter that the engine sends":      {"POST", "config/new", with(good, fields{"parameters": fields{"grant_type": "x"}}), 400, []string{"parameters", `"grant_type"`}},
		"a header that belongs to the wire":      {"POST", "config/new", with(good, fields{"request_headers": fields{"host": "x"}}), 400, []string{"request_headers", "Host"}},
		"Authorization beside Basic":             {"POST", "config/new", with(good, fields{"request_headers": fields{"authorization": "x"}}), 400, []string{"request_headers", "Authorization"}},
		"a pointer that is none":                 {"POST", "config/new", with(good, fields{"access_token_pointer": "access_token"}), 400, []string{"access_token_pointer", "RFC 6901"}},
		"an extra field over the token":          {"POST", "config/new", with(good, fields{"extra_fields": fields{"access_token": "/x"}}), 400, []string{"extra_fields", `"access_token"`}},
		"an extra field for the refresh token":   {"POST", "config/new", with(good, fields{"extra_fields": fields{"r": "/refresh_token"}}), 400, []string{"extra_fields", "refresh token"}},
		"a ttl of less than a second":            {"POST", "config/new", with(good, fields{"ttl": "500ms"}), 400, []string{"ttl", "whole seconds"}},
		"a negative ttl":                         {"POST", "config/new", with(good, fields{"ttl": -1}), 400, []string{"ttl"}},
		"a request_timeout beyond a minute":      {"POST", "config/new", with(good, fields{"request_timeout": "61s"}), 400, []string{"request_timeout", "at most 1m,"}},
		"a null outside a patch":                 {"POST", "config/good", fields{"client_secret": nil}, 400, []string{"client_secret", "null"}},
		"a number beyond 2^53":                   {"POST", "config/new", `{"parameters":{"n":9007199254740993}}`, 400, []string{"parameters", "2^53"}},
		"a name that is none":                    {"POST", "config/a%20b", good, 404, nil},
		"an unknown path":                        {"GET", "tokens/good", nil, 404, nil},
		"a path too deep":                        {"GET", "config/good/more", nil, 404, nil},
		"the mount itself":                       {"GET", "", nil, 404, nil},
		"deleting a token":                       {"DELETE", "token/good", nil, 405, nil},
		"patching a token":                       {"PATCH", "token/good", fields{}, 405, nil},
		"writing info":                           {"POST", "info", nil, 405, nil},
		"writing a status":                       {"POST", "status/good", nil, 405, nil},
		"reading a check":                        {"GET", "check/good", nil, 405, nil},
		"reading a revocation":                   {"GET", "revoke/good", nil, 405, nil},
		"patching a provider":                    {"PATCH", "provider/antsomi", fields{}, 405, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := ask(t, v.For(t), test.method, "oauthcc/"+test.path, test.body)
			r.wants(t, test.status, test.says...)
			for _, e := range r.Errors {
				if strings.Contains(e, "panic") || strings.Contains(e, "rpc error") {
					t.Errorf("an error of the machinery: %s", e)
				}
			}
		})
	}
	if s.Requests() != 0 {
		t.Errorf("the provider was asked %d times, by mistakes alone", s.Requests())
	}
	for _, name := range []string{"new", "a b"} {
		ask(t, v, http.MethodGet, "oauthcc/config/"+strings.ReplaceAll(name, " ", "%20"), nil).wants(t, http.StatusNotFound)
	}
	t.Run("none of which has changed anything", func(t *testing.T) {
		issuedBy(t, s, read(t, v.For(t), "oauthcc/token/good").text(t, "access_token"))
	})
	t.Run("scopes that a provider insists on are asked for before the provider is", func(t *testing.T) {
		v := v.For(t)
		s := providertest.Start(t, providertest.Antsomi, providertest.Options{})
		write(t, v, "oauthcc/config/scopeless", with(registration(providertest.Antsomi, s), fields{"scopes": nil})).wants(t, http.StatusOK, "scopes")
		ask(t, v, http.MethodGet, "oauthcc/token/scopeless", nil).wants(t, http.StatusBadRequest, `"scopeless"`, "scopes")
		if s.Requests() != 0 {
			t.Error("the provider was asked")
		}
	})
	t.Run("the command line shows the remedy", func(t *testing.T) {
		v := v.For(t)
		fails(t, v.CLI("read", "oauthcc/token/nothere"), "Code: 400", `no config "nothere"`)
		fails(t, v.CLI("write", "oauthcc/config/new", "tokenurl=x"), "Code: 400", `"token_url"`)
	})
}
