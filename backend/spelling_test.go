// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

func TestScopesAreSplitAtSpacesAndCommas(t *testing.T) {
	for name, scopes := range map[string]any{
		"spaces": "read write", "commas": "read,write", "both": " read , write\n", "a list": []any{"read", "write"}, "a list as text": `["read","write"]`,
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{Scopes: []string{"read", "write", "more"}})
			e.must(t, "config/c", with(standard(s), fields{"scopes": scopes}))
			wantMembers(t, e.read(t, "config/c").data(t), fields{"scopes": []any{"read", "write"}})
			e.must(t, "config/wide", with(standard(s), fields{"scopes": "more read write"}))
			e.must(t, "role/wide/r", fields{"scopes": scopes})
			e.must(t, "config/widest", with(standard(s), fields{"scopes": "more read write"}))
			for _, r := range []result{e.read(t, "token/c"), e.read(t, "token/wide/r"), e.readWith(t, "token/widest", fields{"scopes": scopes})} {
				wantMembers(t, r.data(t), fields{"scope": "read write"})
				if got := s.Last().Form().Get("scope"); got != "read write" {
					t.Errorf("sent the scope %q", got)
				}
			}
		})
	}
}

func TestAScopeHoldsNoSeparator(t *testing.T) {
	for name, test := range map[string]struct {
		config fields
		ok     bool
	}{
		"a space in a list's item":                 {fields{"scopes": []any{"read write"}}, false},
		"a tab in a list's item":                   {fields{"scopes": []any{"read\twrite"}}, false},
		"a space where commas separate":            {fields{"scopes": []any{"read all", "write"}, "scope_separator": "comma"}, true},
		"a comma where commas separate":            {fields{"scopes": []any{"read,all", "write"}, "scope_separator": "comma"}, false},
		"a comma where spaces separate":            {fields{"scopes": []any{"read,all", "write"}}, true},
		"both in a list":                           {fields{"scopes": []any{"read, all", "write"}, "scope_separator": "list"}, true},
		"the name of the list in a list":           {fields{"scopes": []any{"list"}, "scope_separator": "list"}, true},
		"a literal in it":                          {fields{"scopes": []any{"read+all"}, "scope_separator": "+"}, false},
		"a literal that is longer than the scopes": {fields{"scopes": []any{"read"}, "scope_separator": " and "}, true},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			r := e.write(t, "config/c", with(acme(), test.config))
			if test.ok {
				succeeded(t, r)
				return
			}
			refused(t, r, http.StatusBadRequest, "scopes", "scope_separator", "as its own item")
		})
	}
	e := mount(t)
	e.must(t, "config/c", acme())
	refused(t, e.write(t, "role/c/r", fields{"scopes": []any{"read write"}}), http.StatusBadRequest, "scopes", "scope_separator")
}

// Two choices of scopes are two tokens, even if the scopes look the same when they are
// joined.
func TestScopesWithSpacesAreNotMixedUp(t *testing.T) {
	e := mount(t)
	s := invented(t, func(r *http.Request, _ string) string {
		return `{"access_token":"for-` + strings.NewReplacer(" ", "_", ",", "-").Replace(r.FormValue("scope")) + `","expires_in":3600}`
	})
	e.must(t, "config/c", fields{
		"token_url": s.TokenURL(), "client_id": "id", "client_secret": secretOne,
		"scopes": []any{"a", "a b", "b c", "c"}, "scope_separator": "comma",
	})
	for range 2 {
		for want, scopes := range map[string]any{"for-a_b-c": []any{"a b", "c"}, "for-a-b_c": []any{"a", "b c"}} {
			wantMembers(t, e.readWith(t, "token/c", fields{"scopes": scopes}).data(t), fields{"access_token": want})
		}
	}
}

func TestWhiteSpaceThatIsAnAccident(t *testing.T) {
	const pem = "-----BEGIN X-----\nabc\n-----END X-----\n"
	for name, test := range map[string]struct {
		write, sent fields // sent is a part of the token request's form
		warns       string // the field that the warning names
	}{
		"around a client_id":                 {fields{"client_id": " id\n"}, fields{"client_id": "id"}, ""},
		"around a provider's name":           {fields{"provider": " generic "}, fields{}, ""},
		"around a chosen word":               {fields{"request_format": "form\n", "grant_type": " client_credentials "}, fields{"grant_type": "client_credentials"}, ""},
		"a newline after a secret":           {fields{"client_secret": secretOne + "\n"}, fields{"client_secret": secretOne}, ""},
		"a newline of Windows":               {fields{"client_secret": secretOne + "\r\n"}, fields{"client_secret": secretOne}, ""},
		"a newline after a secret parameter": {fields{"secret_parameters": "pin=" + secretTwo + "\n"}, fields{"pin": secretTwo}, ""},
		"a newline after a secret variable":  {fields{"secret_variables": fields{"v": secretTwo + "\n"}, "parameters": "p={v}"}, fields{"p": secretTwo}, ""},
		"a space after a secret":             {fields{"client_secret": secretOne + " "}, fields{"client_secret": secretOne + " "}, "client_secret"},
		"a space before a secret":            {fields{"client_secret": "\t" + secretOne + "\n"}, fields{"client_secret": "\t" + secretOne}, "client_secret"},
		"a space in a secret map":            {fields{"secret_parameters": fields{"pin": " " + secretTwo}}, fields{"pin": " " + secretTwo}, "secret_parameters"},
		"text of several lines":              {fields{"client_secret": pem}, fields{"client_secret": pem}, ""},
		"a parameter's":                      {fields{"parameters": fields{"p": " v\n"}}, fields{"p": " v\n"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t, secretOne, secretTwo)
			var form map[string][]string
			s := invented(t, func(r *http.Request, _ string) string {
				_ = r.ParseForm() // if it cannot be parsed, the check of the form fails
				form = r.PostForm
				return `{"access_token":"t","expires_in":3600}`
			})
			bare := fields{"token_url": " " + s.TokenURL() + " \n", "client_id": "id", "client_secret": secretOne, "token_endpoint_auth_method": "client_secret_post"}
			r := e.write(t, "config/c", with(bare, test.write))
			succeeded(t, r)
			if test.warns == "" {
				warned(t, r)
			} else {
				warned(t, r, test.warns+" begins or ends with white space")
			}
			withoutSecrets(t, "the warning", r.text(), secretOne, secretTwo)
			succeeded(t, e.read(t, "token/c"))
			for parameter, want := range test.sent {
				if got := form[parameter]; len(got) != 1 || got[0] != want {
					t.Errorf("sent %s=%q, want %q", parameter, got, want)
				}
			}
		})
	}
}

// A request that is too large is refused before the engine does anything else with it.
func TestLongRequestsAreRefusedAtOnce(t *testing.T) {
	e := mount(t)
	e.must(t, "config/c", acme())
	long := strings.Repeat("a,", 400<<10)
	start := time.Now()
	for _, op := range []logical.Operation{logical.ReadOperation, logical.UpdateOperation} {
		refused(t, e.request(t, op, "token/c", fields{"scopes": long}), http.StatusBadRequest, "scopes is larger than 64 KiB")
	}
	refused(t, e.write(t, "config/c", fields{"scopes": long}), http.StatusBadRequest, "scopes is larger than 64 KiB")
	refused(t, e.write(t, "role/c/r", fields{"description": long}), http.StatusBadRequest, "description is larger than 256 KiB")
	refused(t, e.write(t, "provider/p", fields{"variables": fields{long: fields{}}}), http.StatusBadRequest, "variables has an entry whose name is longer than 256 bytes")
	refused(t, e.readWith(t, "token/c", fields{long: "x"}), http.StatusBadRequest, "unknown field")
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
}
