// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// TestMergeAndPatch tests how a client library, Vault's HTTP layer and the
// plugin's transport together treat a change. Each rule also has a unit test.
func TestMergeAndPatch(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	s := providertest.Start(t, providertest.RFC6749, providertest.Options{})
	base := with(registration(providertest.RFC6749, s), fields{
		"scopes": []string{"read", "write"}, "ttl": "10m", "description": "first", "parameters": fields{"a": "1", "b": fields{"c": 2}},
	})
	// A read of base returns this, except for what a test changes.
	shown := fields{
		"provider": "generic", "token_url": s.TokenURL(), "client_id": s.Credentials().ClientID,
		"scopes": []string{"read", "write"}, "ttl": 600, "description": "first", "parameters": fields{"a": "1", "b": fields{"c": 2}},
		"secrets_set": []string{"client_secret"},
	}
	post := func(body string) func(v *harness.Vault) harness.Result { return request(http.MethodPost, body) }
	patch := func(body string) func(v *harness.Vault) harness.Result { return request(http.MethodPatch, body) }
	command := func(args ...string) func(v *harness.Vault) harness.Result {
		return func(v *harness.Vault) harness.Result { return v.CLI(args...) }
	}
	const config = "oauthcc/config/c"
	tests := map[string]struct {
		change func(v *harness.Vault) harness.Result
		want   fields // differences from shown; nil means the field is absent
	}{
		"an update replaces what is sent":                 {post(`{"description":"second","scopes":["admin"]}`), fields{"description": "second", "scopes": []string{"admin"}}},
		"an update replaces a map as a whole":             {post(`{"parameters":{"z":[true]}}`), fields{"parameters": fields{"z": []any{true}}}},
		"an update sets to empty":                         {post(`{"description":"","scopes":[],"parameters":{},"ttl":0}`), fields{"description": "", "scopes": []string{}, "parameters": fields{}, "ttl": 0}},
		"an update of nothing changes nothing":            {post(`{}`), nil},
		"vault write is an update":                        {command("write", config, "ttl=1h", "scopes=admin"), fields{"ttl": 3600, "scopes": []string{"admin"}}},
		"vault write takes name=value for a map":          {command("write", config, "parameters=z=1", "parameters=y=2=3"), fields{"parameters": fields{"z": "1", "y": "2=3"}}},
		"vault write takes JSON for a map":                {command("write", config, `parameters={"z":{"y":[1,null]}}`), fields{"parameters": fields{"z": fields{"y": []any{1, nil}}}}},
		"vault write takes a repeated list":               {command("write", config, "scopes=read", "scopes=admin"), fields{"scopes": []string{"read", "admin"}}},
		"vault write empties a list":                      {command("write", config, "scopes="), fields{"scopes": []string{}}},
		"a patch replaces what is sent":                   {patch(`{"description":"second","scopes":["admin"]}`), fields{"description": "second", "scopes": []string{"admin"}}},
		"a patch merges a map, in depth":                  {patch(`{"parameters":{"b":{"d":3},"z":true}}`), fields{"parameters": fields{"a": "1", "b": fields{"c": 2, "d": 3}, "z": true}}},
		"a null in a patch returns a field to inherited":  {patch(`{"scopes":null,"ttl":null,"description":null}`), fields{"scopes": nil, "ttl": nil, "description": nil}},
		"a null in a patched map removes that key":        {patch(`{"parameters":{"a":null,"b":{"c":null}}}`), fields{"parameters": fields{"b": fields{}}}},
		"vault patch is a patch":                          {command("patch", config, "ttl=1h"), fields{"ttl": 3600}},
		"vault patch merges a map":                        {command("patch", config, "parameters=z=1"), fields{"parameters": fields{"a": "1", "b": fields{"c": 2}, "z": "1"}}},
		"vault patch takes a null from standard input":    {func(v *harness.Vault) harness.Result { return v.CLIStdin(`{"ttl":null}`, "patch", config, "-") }, fields{"ttl": nil}},
		"the name may be repeated in the body":            {post(`{"config":"c","description":"named"}`), fields{"description": "named"}},
		"a client_id of digits alone stays what was sent": {post(`{"client_id":12345678901234}`), fields{"client_id": "12345678901234"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			v := v.For(t)
			v.Delete(config)
			write(t, v, config, base)
			if r := test.change(v); r.ExitCode != 0 {
				t.Fatalf("refused: %+v", r)
			}
			got := with(read(t, v, config).Data, fields{"effective": nil})
			if want := with(shown, test.want); !same(got, want) {
				t.Errorf("it reads\n%s, want\n%s", asJSON(got), asJSON(want))
			}
		})
	}

	t.Run("vault read -field shows what is effective, and no secret", func(t *testing.T) {
		v := v.For(t)
		v.Delete(config)
		write(t, v, config, with(base, fields{"parameters": fields{"who": "{client_id|upper}", "key": "{client_secret}"}}))
		if got := v.MustCLI("read", "-field=secrets_set", config); got != "[client_secret]" {
			t.Errorf("secrets_set is %s", got)
		}
		effective, _ := read(t, v, config).Data["effective"].(fields)
		for name, want := range (fields{
			"grant_type": "client_credentials", "token_endpoint_auth_method": "client_secret_basic", "request_format": "form",
			"token_url": s.TokenURL(), "scopes": []string{"read", "write"}, "ttl": 600, "reuse": true, "request_timeout": 10, "http_method": "POST",
			"access_token_pointer": []string{"/access_token"}, "parameters": fields{"who": "SAMPLE CLIENT:RFC6749/Ü", "key": "REDACTED"},
		}) {
			if !same(effective[name], want) {
				t.Errorf("effective %s is %v, want %v", name, effective[name], want)
			}
		}
		fails(t, v.CLI("read", "-field=client_secret", config), "not present")
	})
	t.Run("a write that changes the request forgets the token, any other keeps it", func(t *testing.T) {
		v := v.For(t)
		v.Delete(config)
		write(t, v, config, with(base, fields{"parameters": nil}))
		token := func() string {
			t.Helper()
			return read(t, v, "oauthcc/token/c").text(t, "access_token")
		}
		first := token()
		v.MustCLI("write", config, "description=other", "ttl=5m", "max_ttl=20m")
		write(t, v, config, with(base, fields{"parameters": nil}))
		if token() != first {
			t.Error("a write that changes nothing of the request cost a mint")
		}
		v.MustCLI("patch", config, "scopes=read")
		second := token()
		if second == first {
			t.Error("a token of other scopes is served on")
		}
		v.MustCLI("delete", config)
		write(t, v, config, with(base, fields{"parameters": nil, "scopes": "read"}))
		if token() == second {
			t.Error("the token outlived its config")
		}
	})
	t.Run("secrets stay where they were sent, unless written again", func(t *testing.T) {
		v := v.For(t)
		other := providertest.Start(t, providertest.RFC6749, providertest.Options{})
		v.Delete(config)
		write(t, v, config, with(base, fields{"parameters": nil}))
		for _, change := range []fields{{"token_url": other.TokenURL()}, {"allow_insecure_http": true}, {"token_url": "https://login.example.com/token"}} {
			for _, method := range []string{http.MethodPost, http.MethodPatch} {
				ask(t, v, method, config, change).wants(t, http.StatusBadRequest, "client_secret", "again")
			}
		}
		write(t, v, config, fields{"token_url": s.TokenURL() + "?x=1"}) // allowed: the origin is the same
		write(t, v, config, fields{"token_url": other.TokenURL(), "client_secret": other.Credentials().ClientSecret})
		issuedBy(t, other, read(t, v, "oauthcc/token/c").text(t, "access_token"))
	})
	t.Run("a provider that moves takes no secrets along", func(t *testing.T) {
		v := v.For(t)
		other := providertest.Start(t, providertest.RFC6749, providertest.Options{})
		write(t, v, "oauthcc/provider/moving", fields{"token_url": s.TokenURL()})
		write(t, v, "oauthcc/config/follower", with(base, fields{"provider": "moving", "token_url": nil, "parameters": nil}))
		issuedBy(t, s, read(t, v, "oauthcc/token/follower").text(t, "access_token"))
		write(t, v, "oauthcc/provider/moving", fields{"token_url": other.TokenURL()}).wants(t, http.StatusOK, "follower", "again")
		ask(t, v, http.MethodGet, "oauthcc/token/follower", nil).wants(t, http.StatusBadRequest, `"follower"`, `"moving"`, "again")
		if other.Requests() != 0 {
			t.Error("the new host got the secret")
		}
		write(t, v, "oauthcc/config/follower", fields{"client_secret": other.Credentials().ClientSecret})
		issuedBy(t, other, read(t, v, "oauthcc/token/follower").text(t, "access_token"))
	})
	t.Run("names with dots, dashes and capitals are kept apart", func(t *testing.T) {
		v := v.For(t)
		for _, name := range []string{"A.b-c_1", "a.b-c_1"} {
			write(t, v, "oauthcc/config/"+name, base)
			if !slices.Contains(v.List("oauthcc/config"), name) {
				t.Errorf("%s is not listed", name)
			}
		}
	})
}

// request makes a change over HTTP, and returns the answer as a command's
// result.
func request(method, body string) func(v *harness.Vault) harness.Result {
	return func(v *harness.Vault) harness.Result {
		status, answer := v.Status(method, "oauthcc/config/c", body, v.RootToken())
		if status != http.StatusOK && status != http.StatusNoContent {
			return harness.Result{ExitCode: status, Stderr: string(answer)}
		}
		return harness.Result{}
	}
}

func asJSON(v any) string {
	out, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(out)
}
