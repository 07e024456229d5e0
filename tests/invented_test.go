// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

const inventedSecret = `k+e&y=%2F/ "ü🔑"`

// acmeDialect is the body of a write to provider/acme. It is all that the
// dialect needs.
const acmeDialect = `{
  "description": "Acme: renamed members, a list of permissions, the answer within a string",
  "documentation_url": "https://developers.example.com/tokens",
  "grant_type": "none",
  "token_endpoint_auth_method": "client_secret_post",
  "request_format": "json",
  "parameter_names": {"client_id": "appId", "client_secret": "appKey", "scope": "permissions"},
  "scope_separator": "list",
  "parameters": {"tenant": {"name": "{tenant}", "edition": "{edition}"}, "count": 3, "flags": [true, "{{literal}}"], "note": "{note}"},
  "request_headers": {"X-Api-Version": "7", "X-Tenant": "{tenant|upper}"},
  "access_token_pointer": ["/result/jwt/value"],
  "expires_in_pointer": ["/result/jwt/ttl"],
  "expires_in_unit": "minutes",
  "token_type_pointer": [],
  "default_token_type": "Acme",
  "scope_pointer": ["/result/granted"],
  "extra_fields": {"region": "/result/region"},
  "error_pointer": ["/fault/id"],
  "error_description_pointer": ["/fault/text"],
  "variables": {
    "tenant": {"description": "the tenant's name", "pattern": "[a-z]+"},
    "edition": {"default": "{tenant}-basic"},
    "note": {"optional": true}
  }
}`

// acme accepts exactly the requests that acmeDialect describes.
func acme(w http.ResponseWriter, r *http.Request, body []byte) {
	var got any
	err := json.Unmarshal(body, &got)
	want := fields{
		"appId": "acme-app", "appKey": inventedSecret, "permissions": []any{"read", "write"},
		"tenant": fields{"name": "north", "edition": "north-basic"}, "count": 3, "flags": []any{true, "{literal}"},
	}
	switch {
	case err != nil || !same(got, want) || r.Method != http.MethodPost || r.URL.RawQuery != "" ||
		r.Header.Get("X-Api-Version") != "7" || r.Header.Get("X-Tenant") != "NORTH" ||
		r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Authorization") != "":
		w.WriteHeader(http.StatusUnprocessableEntity)
		say(w, `{"fault":{"id":"ACME-17","text":"not what the document says"}}`)
	default:
		inner, _ := json.Marshal(fields{"jwt": fields{"value": "acme-token-1", "ttl": "30"}, "granted": []string{"read", "write"}, "region": "eu"})
		_ = json.NewEncoder(w).Encode(fields{"result": string(inner)})
	}
}

func TestSixthDialectByAProviderAlone(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	s := providertest.StartFunc(t, "/v3/tokens", acme)
	v.MustCLI("write", "oauthcc/provider/acme", "@"+harness.WriteFile(t, acmeDialect))
	shown := read(t, v, "oauthcc/provider/acme")
	var wrote fields
	if err := json.Unmarshal([]byte(acmeDialect), &wrote); err != nil {
		t.Fatal(err)
	}
	if got := with(shown.Data, fields{"built_in": nil, "required": nil, "example": nil}); !same(got, wrote) || shown.Data["built_in"] != false {
		t.Errorf("the provider reads\n%v, and was written as\n%v", got, wrote)
	}

	v.MustCLI("write", "oauthcc/config/north", "provider=acme", "token_url="+s.TokenURL(), "client_id=acme-app",
		"client_secret=@"+harness.WriteFile(t, inventedSecret), "scopes=read,write", "variables=tenant=north")
	got := read(t, v, "oauthcc/token/north")
	want := fields{"access_token": "acme-token-1", "token_type": "Acme", "scope": "read write", "region": "eu"}
	for name, value := range want {
		if got.Data[name] != value {
			t.Errorf("%s is %v, want %v", name, got.Data[name], value)
		}
	}
	if got.LeaseDuration < 1780 || got.LeaseDuration > 1790 {
		t.Errorf("the lease lasts %d s, want 30 minutes less the leeway", got.LeaseDuration)
	}

	t.Run("its own error code and text are told", func(t *testing.T) {
		v := v.For(t)
		write(t, v, "oauthcc/config/south", fields{
			"provider": "acme", "token_url": s.TokenURL(), "client_id": "acme-app", "client_secret": inventedSecret, "variables": fields{"tenant": "south"},
		})
		ask(t, v, http.MethodGet, "oauthcc/token/south", nil).wants(t, http.StatusBadRequest, "422", "ACME-17", "not what the document says", `"south"`)
	})
	t.Run("a variable that is missing, unknown or malformed is refused with its description", func(t *testing.T) {
		base := fields{"provider": "acme", "token_url": s.TokenURL(), "client_id": "acme-app", "client_secret": inventedSecret}
		for _, test := range []struct {
			variables fields
			says      []string
		}{
			{fields{}, []string{"tenant", "the tenant's name"}},
			{fields{"tenant": "North"}, []string{"tenant", "[a-z]+"}},
			{fields{"tenant": "north", "tenent": "x"}, []string{"tenent", `"tenant"`}},
		} {
			ask(t, v.For(t), http.MethodPost, "oauthcc/config/bad", with(base, fields{"variables": test.variables})).
				wants(t, http.StatusBadRequest, test.says...)
		}
	})
	t.Run("a provider that configs use cannot be deleted", func(t *testing.T) {
		v := v.For(t)
		fails(t, v.CLI("delete", "oauthcc/provider/acme"), "Code: 400", "north")
		v.MustCLI("write", "oauthcc/provider/unused", "token_url=https://unused.example.com/token")
		v.MustCLI("delete", "oauthcc/provider/unused")
		ask(t, v, http.MethodGet, "oauthcc/provider/unused", nil).wants(t, http.StatusNotFound)
	})
	t.Run("a change of the provider is a change of its configs", func(t *testing.T) {
		v := v.For(t)
		write(t, v, "oauthcc/provider/acme", fields{"default_token_type": "Acme2"})
		got := read(t, v, "oauthcc/token/north")
		if got.text(t, "token_type") != "Acme2" {
			t.Errorf("token_type is still %v", got.Data["token_type"])
		}
		if effective := read(t, v, "oauthcc/config/north").Data["effective"]; member(effective, "default_token_type") != "Acme2" {
			t.Errorf("effective says %v", effective)
		}
	})
}

// Tests dialects that are described in the config itself. Each case has an
// unusual endpoint, the config for it, and what a reader should get.
func TestSeventhDialectByAConfigAlone(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	begun := time.Now()
	soon := begun.Add(20 * time.Minute)
	tests := map[string]struct {
		accepts func(r *http.Request, body string) bool
		answers string // a prefix "form:" or "text:" sets the content type
		config  fields
		token   string
		reads   fields
		lease   int
	}{
		"GET with everything in the query, beside a literal one": {
			accepts: func(r *http.Request, body string) bool {
				return r.Method == http.MethodGet && body == "" && r.Header.Get("Content-Type") == "" && same(r.URL.Query(), url.Values{
					"v": {"2"}, "key": {"id-7"}, "client_secret": {inventedSecret}, "grant_type": {"client_credentials"}, "scope": {"a;b"},
				})
			},
			answers: `{"access_token":"get-token","expires_in":"1200"}`,
			config: fields{
				"http_method": "GET", "token_endpoint_auth_method": "client_secret_post", "parameter_names": "client_id=key",
				"scopes": "a,b", "scope_separator": ";", "query": "?v=2", "client_id": "id-7",
			},
			token: "get-token", reads: fields{"token_type": "Bearer", "scope": "a b"}, lease: 1190,
		},
		"a header of its own instead of a client's credentials": {
			accepts: func(r *http.Request, body string) bool {
				key := base64.StdEncoding.EncodeToString([]byte(inventedSecret))
				return r.Method == http.MethodPost && body == "" && r.Header.Get("X-Api-Key") == key && r.Header.Get("Authorization") == "Key seven"
			},
			answers: `{"access_token":"header-token","expires_in":1200.0}`,
			config: fields{
				"token_endpoint_auth_method": "none", "grant_type": "none", "client_id": "", "client_secret": "",
				"request_headers":  fields{"X-Api-Key": "{api_key|base64}", "Authorization": "Key {word}"},
				"secret_variables": fields{"api_key": inventedSecret}, "variables": "word=seven",
			},
			token: "header-token", reads: fields{"scope": nil}, lease: 1190,
		},
		"a comma list, and a form for an answer": {
			accepts: func(_ *http.Request, body string) bool {
				form, err := url.ParseQuery(body)
				return err == nil && form.Get("scope") == "a,b" && same(form["resource"], []string{"https://one", "https://two"}) && form.Get("authorization_details") == `{"type":"x"}`
			},
			answers: "form:access_token=form-token&expires_in=1200&scope=a%2Cb&token_type=mac",
			config: fields{
				"scopes": "a,b", "scope_separator": "comma",
				"parameters": fields{"resource": []string{"https://one", "https://two"}, "authorization_details": fields{"type": "x"}},
			},
			token: "form-token", reads: fields{"scope": "a b", "token_type": "mac"}, lease: 1190,
		},
		"an expiry in epoch milliseconds": {
			answers: fmt.Sprintf(`{"d":{"t":"epoch-token","until":%d}}`, soon.UnixMilli()),
			config:  fields{"access_token_pointer": "/d/t", "expires_in_pointer": []string{}, "expires_at_pointer": "/d/until"},
			token:   "epoch-token", reads: fields{"expires_at": soon.UTC().Format(time.RFC3339)}, lease: 1190,
		},
		"the whole body is the token, and says nothing of its life": {
			answers: "text:bare-token-123\n",
			config:  fields{"access_token_pointer": []string{""}, "default_token_lifetime": "20m"},
			token:   "bare-token-123", reads: fields{"token_type": "Bearer"}, lease: 1190,
		},
		"a JWT that says itself until when it lives": {
			answers: fmt.Sprintf(`{"access_token":"%s.%s.c2ln"}`, base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256"}`)),
				base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d.5}`, soon.Unix()))),
			token: ".c2ln", lease: 1190,
		},
		"raw Basic, where the standard would encode": {
			accepts: func(r *http.Request, _ string) bool {
				id, secret, ok := r.BasicAuth()
				return ok && id == "invented" && secret == inventedSecret
			},
			answers: `{"access_token":"raw-token","expires_in":1200}`,
			config:  fields{"basic_auth_encoding": "raw"},
			token:   "raw-token", lease: 1190,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			v := v.For(t)
			s := providertest.StartFunc(t, "/token", func(w http.ResponseWriter, r *http.Request, body []byte) {
				if test.accepts != nil && !test.accepts(r, string(body)) {
					t.Errorf("not what the provider wants: %s %s %v %s", r.Method, r.URL, r.Header, body)
					w.WriteHeader(http.StatusTeapot)
					return
				}
				kind, text, special := strings.Cut(test.answers, ":")
				switch {
				case special && kind == "form":
					w.Header().Set("Content-Type", "application/x-www-form-urlencoded")
				case special && kind == "text":
					w.Header().Set("Content-Type", "text/plain")
				default:
					w.Header().Set("Content-Type", "application/json")
					text = test.answers
				}
				say(w, text)
			})
			config := with(fields{"token_url": s.TokenURL(), "client_id": "invented", "client_secret": inventedSecret}, test.config)
			if query, ok := config["query"].(string); ok {
				delete(config, "query")
				config["token_url"] = s.TokenURL() + query
			}
			write(t, v, "oauthcc/config/seventh", config)
			defer v.Delete("oauthcc/config/seventh")
			got := read(t, v, "oauthcc/token/seventh")
			if token := got.text(t, "access_token"); !strings.HasSuffix(token, test.token) {
				t.Errorf("the token is %q", token)
			}
			for member, want := range test.reads {
				if got.Data[member] != want {
					t.Errorf("%s is %v, want %v", member, got.Data[member], want)
				}
			}
			if got.LeaseDuration > test.lease || got.LeaseDuration < test.lease-lost(begun) {
				t.Errorf("the lease lasts %d s, want %d less the test's own time", got.LeaseDuration, test.lease)
			}
		})
	}
}
