// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// dialects returns the built-in providers that have a strict server. config is what a
// config needs beside credentials and URL, and want is what readers get beside the
// token.
func dialects() map[providertest.Dialect]struct{ config, want fields } {
	return map[providertest.Dialect]struct{ config, want fields }{
		providertest.Antsomi:  {fields{"scopes": "item,event"}, fields{"token_type": "Bearer", "scope": "item event"}},
		providertest.Cognito:  {fields{"scopes": "api/write"}, fields{"token_type": "Bearer", "scope": "api/write"}},
		providertest.Fuuffy:   {fields{}, fields{"token_type": "Bearer", "scope": nil}},
		providertest.Semansys: {fields{}, fields{"token_type": "bearer", "scope": "api"}},
		providertest.XCover:   {fields{}, fields{"token_type": "Bearer", "scope": nil}},
	}
}

// registration returns a config of the server's client at the built-in provider.
func registration(d providertest.Dialect, s *providertest.Server) fields {
	c := s.Credentials()
	out := with(standard(s), fields{"provider": string(d)})
	if c.Username != "" {
		out["username"], out["password"] = c.Username, c.Password
	}
	return with(out, dialects()[d].config)
}

func awkward() map[string]string {
	return map[string]string{
		"form syntax":       "p+l&u=s%41%2Bp;l?u#s",
		"slashes":           `sl/ash\back"quote'tick`,
		"spaces":            " leading and  inner  and trailing ",
		"umlauts":           "Größe-äöüß-señor",
		"four-byte":         "🔑key-𝒮ecret-😀",
		"template syntax":   "{tenant}{{x}}${y}",
		"colons and commas": "a:b,c:d,e=f",
		"JSON in disguise":  `{"a":"b"}`,
		"control":           "tab\tline\nend",
	}
}

func TestBuiltInDialectsMintWithAwkwardSecrets(t *testing.T) {
	for d, test := range dialects() {
		for name, secret := range awkward() {
			t.Run(string(d)+" "+name, func(t *testing.T) {
				e := mount(t, secret)
				o := providertest.Options{ClientSecret: secret}
				if d == providertest.Semansys {
					o.Password, o.Username = "pw "+secret, "user "+secret
				}
				s := e.server(t, d, o)
				e.must(t, "config/c", registration(d, s))
				r := e.read(t, "token/c")
				got := r.data(t)
				wantMembers(t, got, with(test.want, fields{
					"access_token": s.Issued()[0], "expires_in": float64(3600), "expires_at": "2026-01-02T04:04:05Z",
				}))
				withoutSecrets(t, "the answer", r.text(), secret)
			})
		}
	}
}

func TestTokenAnswerHasTheseFieldsAndNoOthers(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", with(standard(s), fields{"scopes": "read"}))
	for _, op := range []logical.Operation{logical.ReadOperation, logical.UpdateOperation} {
		got := e.request(t, op, "token/c", nil).data(t)
		want := fields{
			"access_token": s.Issued()[0], "token_type": "Bearer", "scope": "read",
			"expires_in": float64(3600), "expires_at": "2026-01-02T04:04:05Z",
		}
		if !same(got, want) {
			t.Errorf("%s: %#v, want %#v", op, got, want)
		}
	}
	e.clock.advance(90*time.Second + 400*time.Millisecond)
	wantMembers(t, e.read(t, "token/c").data(t), fields{"expires_in": float64(3509), "expires_at": "2026-01-02T04:04:05Z"})
	if s.Requests() != 1 {
		t.Errorf("%d requests for one token", s.Requests())
	}
}

func TestTokenVariantsOfTheDocuments(t *testing.T) {
	tests := map[string]struct {
		dialect providertest.Dialect
		options providertest.Options
		config  fields
	}{
		"fuuffy with data as a string":          {providertest.Fuuffy, providertest.Options{DataAsString: true}, nil},
		"xcover with an expired JWT":            {providertest.XCover, providertest.Options{ExpiredJWT: true}, nil},
		"cognito by default scopes":             {providertest.Cognito, providertest.Options{}, fields{"scopes": ""}},
		"a server with an authority of its own": {providertest.RFC6749, providertest.Options{TLS: true}, nil},
		"a server that wants an audience":       {providertest.RFC6749, providertest.Options{ExtraParameters: []string{"audience", "resource"}}, fields{"parameters": fields{"audience": "a", "resource": []any{"r", "s"}}}},
		"the password grant by the book":        {providertest.RFC6749, providertest.Options{}, fields{"grant_type": "password"}},
		"credentials in the body":               {providertest.RFC6749, providertest.Options{}, fields{"token_endpoint_auth_method": "client_secret_post"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, test.dialect, test.options)
			config := standard(s)
			if test.dialect != providertest.RFC6749 {
				config = registration(test.dialect, s)
			}
			if test.options.TLS {
				config["tls_ca_certificate"] = s.CACertificate()
			}
			if test.config["grant_type"] == "password" {
				config["username"], config["password"] = s.Credentials().Username, s.Credentials().Password
			}
			e.must(t, "config/c", with(config, test.config))
			wantMembers(t, e.read(t, "token/c").data(t), fields{"access_token": s.Issued()[0], "expires_in": float64(3600)})
		})
	}
}

func TestTokenFromAnAuthorityThatIsNotTrusted(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{TLS: true})
	other := e.server(t, providertest.RFC6749, providertest.Options{TLS: true})
	for name, ca := range map[string]string{"system": "", "other": other.CACertificate()} {
		e.must(t, "config/"+name, with(standard(s), fields{"tls_ca_certificate": ca}))
		refused(t, e.read(t, "token/"+name), http.StatusBadGateway, name, "tls_ca_certificate")
	}
	if s.Requests() != 0 {
		t.Error("credentials reached a server that is not trusted")
	}
}

// sixth runs a server with an invented dialect: the parameters have other names and are
// in the query, the client is in a header, and the answer is nested.
func sixth(t *testing.T) (*providertest.Server, *[]http.Request) {
	t.Helper()
	var seen []http.Request
	return invented(t, func(r *http.Request, body string) string {
		seen = append(seen, *r)
		q := r.URL.Query()
		if r.Method != http.MethodGet || body != "" || r.Header.Get("X-Client") != "c2l4dGg=:"+url.QueryEscape(secretOne) ||
			q.Get("clientId") != "sixth" || q.Get("what") != "a|b" || q.Get("tenant") != "blue" || q.Has("grant_type") || q.Has("note") {
			return `{"problem":{"kind":"unknown_request"}}`
		}
		inner, _ := json.Marshal(map[string]any{"jeton": "sixth-token", "vie": "1800000", "genre": "Jeton"}) // plain strings can be encoded
		outer, _ := json.Marshal(map[string]any{"result": string(inner), "site": map[string]any{"region": "eu", "n": 7}})
		return string(outer)
	}), &seen
}

func sixthDialect(s *providertest.Server) fields {
	return fields{
		"token_url":   s.TokenURL() + "?tenant={tenant}&note={note}",
		"http_method": "GET", "grant_type": "none", "token_endpoint_auth_method": "none",
		"parameter_names":      fields{"client_id": "clientId", "scope": "what"},
		"request_headers":      fields{"X-Client": "{client_id|base64}:{client_secret|urlencode}"},
		"scope_separator":      "|",
		"access_token_pointer": "/token,/result/jeton", "expires_in_pointer": "/result/vie", "expires_in_unit": "milliseconds",
		"token_type_pointer": "/result/genre", "error_pointer": "/problem/kind", "extra_fields": fields{"region": "/site/region", "site": "/site"},
	}
}

func TestSixthDialectByAWriteToProviderAlone(t *testing.T) {
	e := mount(t, secretOne)
	e.extras = []string{"region", "site"}
	s, seen := sixth(t)
	definition := sixthDialect(s)
	definition["variables"] = fields{"tenant": fields{}, "note": fields{"optional": true}}
	e.must(t, "provider/sixth", definition)
	e.must(t, "config/c", fields{
		"provider": "sixth", "client_id": "sixth", "client_secret": secretOne, "scopes": "a,b", "variables": "tenant=blue",
	})
	want := fields{
		"access_token": "sixth-token", "token_type": "Jeton", "scope": "a b", "expires_in": float64(1800),
		"expires_at": "2026-01-02T03:34:05Z", "region": "eu", "site": fields{"region": "eu", "n": float64(7)},
	}
	if got := e.read(t, "token/c").data(t); !same(got, want) {
		t.Errorf("%#v, want %#v", got, want)
	}
	if len(*seen) != 1 || strings.Contains((*seen)[0].URL.RawQuery, "note") {
		t.Errorf("requests: %d", len(*seen))
	}
}

func TestSeventhDialectByFieldsOnTheConfigAlone(t *testing.T) {
	e := mount(t, allSecrets()...)
	var bodies []fields
	s := invented(t, func(r *http.Request, body string) string {
		var got fields
		if json.Unmarshal([]byte(body), &got) != nil || r.Header.Get("Content-Type") != "application/json" ||
			r.Header.Get("Authorization") != "Key a2V5" || r.Header.Get("Accept") != "application/vnd.seventh+json" {
			return `{"error":"invalid_request"}`
		}
		bodies = append(bodies, got)
		return `{"t":"seventh-token","until":1767326645,"refresh_token":"never"}`
	})
	e.must(t, "config/c", fields{
		"token_url": s.TokenURL(), "token_endpoint_auth_method": "client_secret_post", "client_id": "seventh", "client_secret": secretOne,
		"request_format": "json", "grant_type": "urn:example:seventh", "scopes": []any{"x", "y"}, "scope_separator": "list",
		"parameters":       fields{"details": []any{fields{"who": "{username}", "n": 1}}, "dropped": "x"},
		"username":         "me",
		"secret_variables": "key=key", "request_headers": fields{"Authorization": "Key {key|base64}", "Accept": "application/vnd.seventh+json"},
		"secret_parameters": fields{"pin": secretThree, "deep": fields{"literal": "{username}"}}, "parameter_names": fields{"client_secret": "secret"},
		"access_token_pointer": "/t", "expires_at_pointer": "/until",
	})
	got := e.read(t, "token/c").data(t)
	wantMembers(t, got, fields{"access_token": "seventh-token", "expires_at": "2026-01-02T04:04:05Z", "token_type": "Bearer", "refresh_token": nil})
	want := fields{
		"grant_type": "urn:example:seventh", "client_id": "seventh", "secret": secretOne, "scope": []any{"x", "y"}, "dropped": "x",
		"details": []any{fields{"who": "me", "n": float64(1)}}, "pin": secretThree, "deep": fields{"literal": "{username}"},
	}
	if len(bodies) != 1 || !same(bodies[0], want) {
		t.Errorf("sent %v, want %v", bodies, want)
	}
}

func TestExtraFieldsReachTheReaderButTheRefreshTokenNever(t *testing.T) {
	e := mount(t, secretOne)
	e.extras = []string{"instance_url", "list", "wrapped", "echo", "none", "number"}
	s := invented(t, func(*http.Request, string) string {
		return fmt.Sprintf(`{"access_token":"t","expires_in":60,"refresh_token":"R-123456","instance_url":"https://x.example.com",
			"list":[1,"a",null],"number":12345678901234567890,"wrapped":{"note":"uses R-123456"},"echo":%q}`, secretOne)
	})
	e.must(t, "config/c", with(fields{"token_url": s.TokenURL(), "client_id": "c", "client_secret": secretOne}, fields{
		"extra_fields": fields{
			"instance_url": "/instance_url", "list": "/list", "wrapped": "/wrapped", "echo": "/echo", "none": "/none", "number": "/number",
		},
	}))
	r := e.read(t, "token/c")
	wantMembers(t, r.data(t), fields{
		"instance_url": "https://x.example.com", "list": []any{float64(1), "a", nil}, "wrapped": nil, "echo": nil, "none": nil,
		"number": float64(12345678901234567890),
	})
	withoutSecrets(t, "the answer", r.text(), secretOne, "R-123456")
}

func TestScopesRequiredIsRefusedBeforeTheProviderIsAsked(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.Antsomi, providertest.Options{})
	config := registration(providertest.Antsomi, s)
	delete(config, "scopes")
	r := e.write(t, "config/c", config)
	if r.status() != http.StatusOK || len(r.resp.Warnings) != 1 || !strings.Contains(r.resp.Warnings[0], "scopes") {
		t.Errorf("the write does not warn: %s", r.text())
	}
	refused(t, e.read(t, "token/c"), http.StatusBadRequest, `"c"`, "antsomi", "scopes")
	if s.Requests() != 0 {
		t.Error("the provider was asked")
	}
	e.must(t, "config/c", fields{"scopes": "item"})
	succeeded(t, e.read(t, "token/c"))
}

func TestPublishedHostsAreMissingWithARemedy(t *testing.T) {
	e := mount(t)
	for name, says := range map[string][]string{
		"fuuffy": {"token_url", "host"}, "xcover": {"token_url", "host"}, "semansys": {"token_url", "required"}, "cognito": {"token_url", "domain"},
	} {
		r := e.write(t, "config/c", fields{"provider": name, "client_id": "c", "client_secret": "s", "username": "u", "password": "p"})
		refused(t, r, http.StatusBadRequest, says...)
	}
	for name, test := range map[string]struct {
		variables fields
		url       string
	}{
		"fuuffy":  {fields{"host": "api.example.com"}, "https://api.example.com/v1/auth/token"},
		"xcover":  {fields{"host": "api.example.com"}, "https://api.example.com/api/oauth/token"},
		"cognito": {fields{"domain": "mine", "region": "eu-west-1"}, "https://mine.auth.eu-west-1.amazoncognito.com/oauth2/token"},
	} {
		e.must(t, "config/"+name, fields{"provider": name, "client_id": "c", "client_secret": "s", "variables": test.variables})
		wantMembers(t, e.read(t, "config/"+name).object(t, "effective"), fields{"token_url": test.url})
	}
	if got := slices.Sorted(maps.Keys(e.storage.snapshot(t))); len(got) != 3 {
		t.Errorf("stored: %v", got)
	}
}
