// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// dialectOfAcme returns a provider that sets what the tests below inherit.
func dialectOfAcme() fields {
	return fields{
		"token_url":       "https://{tenant}.example.com/oauth/{area}/token?v=1&k={key}",
		"scopes":          "read,write",
		"parameters":      fields{"audience": "urn:{tenant}", "flag": true, "proof": "{client_secret|base64}"},
		"request_headers": fields{"X-Tenant": "{tenant|upper}", "X-Key": "{key}"},
		"extra_fields":    "region=/region",
		"variables": fields{
			"tenant": fields{"description": "the tenant's name"},
			"area":   fields{"default": "main"},
			"key":    fields{"secret": true, "optional": true},
		},
	}
}

func TestEffectiveShowsWhatIsInheritedExpandedAndMasked(t *testing.T) {
	e := mount(t, secretOne, secretTwo, secretThree)
	e.must(t, "provider/acme", dialectOfAcme())
	e.must(t, "config/c", fields{
		"provider": "acme", "client_id": "id", "client_secret": secretOne, "variables": "tenant=blue",
		"secret_variables": fields{"key": secretTwo}, "secret_parameters": fields{"pin": secretThree}, "max_ttl": "2h",
	})
	r := e.read(t, "config/c")
	wantMembers(t, r.object(t, "effective"), fields{
		"provider": "acme", "token_url": "https://blue.example.com/oauth/main/token?v=1&k=REDACTED",
		"scopes":                     []any{"read", "write"},
		"parameters":                 fields{"audience": "urn:blue", "flag": true, "proof": "UkVEQUNURUQ="},
		"request_headers":            fields{"X-Tenant": "BLUE", "X-Key": "REDACTED"},
		"extra_fields":               fields{"region": "/region"},
		"grant_type":                 "client_credentials",
		"token_endpoint_auth_method": "client_secret_basic", "basic_auth_encoding": "rfc6749",
		"access_token_pointer": []any{"/access_token"}, "expires_in_unit": "seconds", "default_token_type": "Bearer",
		"max_ttl": float64(7200), "ttl": float64(0), "request_timeout": float64(10),
	})
	wantMembers(t, r.data(t), fields{"token_url": nil, "scopes": nil, "variables": fields{"tenant": "blue"}})
	withoutSecrets(t, "the answer", r.text(), secretOne, secretTwo, secretThree)
}

func TestInheritanceFromProviderToConfig(t *testing.T) {
	tests := map[string]struct {
		config fields
		want   fields // members of effective
	}{
		"unset is inherited":               {fields{}, fields{"scopes": []any{"read", "write"}}},
		"a list replaces":                  {fields{"scopes": "admin"}, fields{"scopes": []any{"admin"}}},
		"an empty list means none":         {fields{"scopes": ""}, fields{"scopes": []any{}}},
		"an empty list as JSON":            {fields{"scopes": []any{}}, fields{"scopes": []any{}}},
		"an empty pointer list means none": {fields{"expires_in_pointer": []any{}}, fields{"expires_in_pointer": []any{}}},
		"the pointer to the whole body":    {fields{"access_token_pointer": ""}, fields{"access_token_pointer": []any{""}}},
		"an empty text means none":         {fields{"default_token_type": ""}, fields{"default_token_type": ""}},
		"a zero means none":                {fields{"default_token_lifetime": 0}, fields{"default_token_lifetime": float64(0)}},
		"false means no":                   {fields{"scopes_required": false}, fields{"scopes_required": false}},
		"a map is joined by key":           {fields{"parameters": "more=m"}, fields{"parameters": fields{"audience": "urn:blue", "flag": true, "more": "m"}}},
		"the last layer wins a key":        {fields{"parameters": fields{"flag": "f"}}, fields{"parameters": fields{"audience": "urn:blue", "flag": "f"}}},
		"a null value removes a key":       {fields{"parameters": fields{"flag": nil}}, fields{"parameters": fields{"audience": "urn:blue"}}},
		"an empty map joins nothing":       {fields{"parameters": fields{}}, fields{"parameters": fields{"audience": "urn:blue", "flag": true}}},
		"a null header removes it":         {fields{"request_headers": fields{"X-Tenant": nil}}, fields{"request_headers": fields{}}},
		"a URL of its own":                 {fields{"token_url": "https://own.example.com/t"}, fields{"token_url": "https://own.example.com/t"}},
		"a variable over its default":      {fields{"variables": "tenant=blue,x"}, nil}, // this is one pair: the comma is part of the value
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := mount(t, secretOne)
			definition := dialectOfAcme()
			definition["default_token_lifetime"], definition["scopes_required"] = 3600, true
			delete(definition["parameters"].(fields), "proof") //nolint:forcetypeassert // set above
			e.must(t, "provider/acme", definition)
			base := fields{"provider": "acme", "client_id": "id", "client_secret": secretOne, "variables": "tenant=blue"}
			r := e.write(t, "config/c", with(base, test.config))
			if test.want == nil {
				refused(t, r, http.StatusBadRequest, "token_url", "tenant")
				return
			}
			succeeded(t, r)
			wantMembers(t, e.read(t, "config/c").object(t, "effective"), test.want)
		})
	}
}

func TestPatchToNullInheritsAgain(t *testing.T) {
	e := mount(t, secretOne)
	e.must(t, "provider/acme", dialectOfAcme())
	e.must(t, "config/c", fields{
		"provider": "acme", "client_id": "id", "client_secret": secretOne, "variables": "tenant=blue",
		"scopes": "", "parameters": fields{"flag": nil, "audience": "mine"},
	})
	succeeded(t, e.patch(t, "config/c", fields{"scopes": nil, "parameters": fields{"audience": nil}}))
	wantMembers(t, e.read(t, "config/c").object(t, "effective"), fields{
		"scopes": []any{"read", "write"}, "parameters": fields{"audience": "urn:blue", "proof": "UkVEQUNURUQ="},
	})
}

func TestNullsInMapsAreNeverSent(t *testing.T) {
	e := mount(t, secretOne)
	for field, data := range map[string]fields{
		"secret_parameters": {"secret_parameters": fields{"pin": nil}},
		"variables":         {"variables": fields{"x": nil}, "parameters": "v={x}"},
		"secret_variables":  {"secret_variables": fields{"x": nil}, "parameters": "v={x}"},
	} {
		t.Run(field, func(t *testing.T) {
			// A null can remove nothing here, and it is no value that could be sent.
			var bodies []string
			s := invented(t, func(_ *http.Request, body string) string {
				bodies = append(bodies, body)
				return `{"access_token":"t","expires_in":60}`
			})
			r := e.write(t, "config/"+field, with(fields{"token_url": s.TokenURL(), "client_id": "id", "client_secret": secretOne}, data))
			if r.status() == http.StatusBadRequest {
				return
			}
			succeeded(t, r)
			succeeded(t, e.read(t, "token/"+field))
			if body := strings.Join(bodies, "\n"); strings.Contains(body, "pin=") || strings.Contains(body, "v=") {
				t.Errorf("a null was sent: %s", body)
			}
		})
	}
}

func TestPlaceholderValuesAreChecked(t *testing.T) {
	tests := map[string]struct {
		config fields
		says   []string // words of the error; nil if it is accepted
	}{
		"a plain value":             {fields{"variables": "tenant=blue"}, nil},
		"no value":                  {fields{}, []string{"token_url", "tenant", "the tenant's name"}},
		"a dot that adds a label":   {fields{"variables": "tenant=evil.com"}, []string{"token_url", "{tenant}", "dot"}},
		"a slash in the host":       {fields{"variables": "tenant=evil.com/"}, []string{"token_url", "{tenant}"}},
		"a user in the host":        {fields{"variables": "tenant=x@evil"}, []string{"token_url", "{tenant}"}},
		"capitals in the host":      {fields{"variables": "tenant=BLUE"}, []string{"token_url", "{tenant}"}},
		"an empty host label":       {fields{"variables": "tenant="}, []string{"token_url", "{tenant}"}},
		"a hyphen at the end":       {fields{"variables": "tenant=blue-"}, []string{"token_url"}},
		"a slash in the path":       {fields{"variables": fields{"tenant": "b", "area": "a/b"}}, []string{"token_url", "{area}"}},
		"dots in the path":          {fields{"variables": fields{"tenant": "b", "area": ".."}}, []string{"token_url", "{area}"}},
		"a query in the path":       {fields{"variables": fields{"tenant": "b", "area": "a?b"}}, []string{"token_url", "{area}"}},
		"a secret as a variable":    {fields{"variables": fields{"tenant": "b", "key": "k"}}, []string{"variables", "key", "secret_variables"}},
		"a misspelt variable":       {fields{"variables": fields{"tenant": "b", "aera": "k"}}, []string{"variables", "aera", `"area"`}},
		"a credential as variable":  {fields{"variables": fields{"tenant": "b", "client_id": "k"}}, []string{"variables", "client_id"}},
		"a control char in headers": {fields{"variables": "tenant=b", "secret_variables": fields{"key": "a\nb"}}, []string{"request_headers", "X-Key"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := mount(t, secretOne)
			e.must(t, "provider/acme", dialectOfAcme())
			r := e.write(t, "config/c", with(fields{"provider": "acme", "client_id": "id", "client_secret": secretOne}, test.config))
			if test.says == nil {
				succeeded(t, r)
				return
			}
			refused(t, r, http.StatusBadRequest, test.says...)
		})
	}
}

func TestDotsInAHostNeedAPatternOrTheSameConfig(t *testing.T) {
	e := mount(t, secretOne)
	credentials := fields{"client_id": "id", "client_secret": secretOne}
	e.must(t, "provider/pattern", fields{
		"token_url": "https://{host}/token", "variables": fields{"host": fields{"pattern": "[a-z.]+"}},
	})
	e.must(t, "config/a", with(credentials, fields{"provider": "pattern", "variables": "host=a.example.com"}))
	e.must(t, "config/b", with(credentials, fields{"token_url": "https://{host}/t", "variables": "host=b.example.com"}))
	refused(t, e.write(t, "config/c", with(credentials, fields{"provider": "pattern", "variables": "host=c1.example.com"})),
		http.StatusBadRequest, "variables", "host", "[a-z.]+")
	for _, host := range []string{"127.0.0.1", "a.b.0x7f", "a..b", "a.b.", "2130706433"} {
		refused(t, e.write(t, "config/d", with(credentials, fields{"token_url": "https://{host}/t", "variables": fields{"host": host}})),
			http.StatusBadRequest, "token_url")
	}
	if got := e.list(t, "config/"); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("stored: %v", got)
	}
}
