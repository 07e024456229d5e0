// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

func TestOverlay(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		layers []Layer
		want   Layer
	}{
		"nothing":             {nil, Layer{}},
		"unset is inherited":  {[]Layer{{"a": "x"}, {}, {"b": "y"}}, Layer{"a": "x", "b": "y"}},
		"the last one counts": {[]Layer{{"a": "x"}, {"a": "y"}, {"a": "z"}}, Layer{"a": "z"}},
		"set to nothing is set": {
			[]Layer{{"s": "x", "l": []string{"x"}, "n": int64(1), "f": true}, {"s": "", "l": []string{}, "n": int64(0), "f": false}},
			Layer{"s": "", "l": []string{}, "n": int64(0), "f": false},
		},
		"lists are replaced":                {[]Layer{{"l": []string{"a", "b"}}, {"l": []string{"c"}}}, Layer{"l": []string{"c"}}},
		"maps are joined":                   {[]Layer{{"m": object{"a": 1, "b": 1}}, {"m": object{"b": 2, "c": 2}}}, Layer{"m": object{"a": 1, "b": 2, "c": 2}}},
		"by their top level":                {[]Layer{{"m": object{"a": object{"x": 1, "y": 1}}}, {"m": object{"a": object{"x": 2}}}}, Layer{"m": object{"a": object{"x": 2}}}},
		"an empty map changes nothing":      {[]Layer{{"m": object{"a": 1}}, {"m": object{}}}, Layer{"m": object{"a": 1}}},
		"a null removes":                    {[]Layer{{"m": object{"a": 1, "b": 1}}, {"m": object{"a": nil, "c": nil}}}, Layer{"m": object{"b": 1}}},
		"what was removed can be set again": {[]Layer{{"m": object{"a": 1}}, {"m": object{"a": nil}}, {"m": object{"a": 3}}}, Layer{"m": object{"a": 3}}},
		"a null within a value stays":       {[]Layer{{"m": object{"a": object{"x": nil}}}}, Layer{"m": object{"a": object{"x": nil}}}},
		"an empty value stays":              {[]Layer{{"m": object{"a": "x"}}, {"m": object{"a": ""}}}, Layer{"m": object{"a": ""}}},
	} {
		before := fmt.Sprint(tc.layers)
		if got := Overlay(tc.layers...); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
		if fmt.Sprint(tc.layers) != before {
			t.Errorf("%s: changed its arguments to %v", name, tc.layers)
		}
	}
}

// usual returns a config that sets something in every place.
func usual() object {
	return object{
		"token_url": "https://api.example.com/{tenant}/token?k={key}", "client_id": "the-client", "client_secret": "the-secret-value",
		"scopes": []any{"a", "b"}, "parameters": object{"audience": "x", "n": float64(1)}, "request_headers": object{"X-A": "{key}"},
		"variables": object{"tenant": "acme"}, "secret_variables": object{"key": "the-key-value"}, "secret_parameters": object{"pin": "the-pin-value"},
		"access_token_pointer": []any{"/t"}, "default_token_lifetime": float64(60),
	}
}

func usualWith(changes object) object {
	out := usual()
	maps.Copy(out, changes)
	return out
}

func identity(t *testing.T, config object) string {
	t.Helper()
	e, err := resolveBuiltin(Generic, config)
	if err != nil {
		t.Fatal(err)
	}
	b, err := e.Identity()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	base := identity(t, usual())
	for name, same := range map[string]object{
		"written again":                         {},
		"a default spelt out":                   {"grant_type": "client_credentials", "http_method": "POST", "scope_separator": "space", "expires_in_pointer": "/expires_in"},
		"nothing spelt out":                     {"extra_fields": object{}, "scopes_required": false, "parameter_names": "{}"},
		"the scopes' order, for they are a set": {"scopes": "b,a"},
		"in another form":                       {"scopes": "a,b", "parameters": `{"n":1,"audience":"x"}`, "access_token_pointer": "/t", "default_token_lifetime": "1m"},
		"a null in a map is none":               {"parameters": object{"audience": "x", "n": float64(1), "other": nil}},
		"a description":                         {"description": "d"},
	} {
		if got := identity(t, usualWith(same)); got != base {
			t.Errorf("%s:\n got %s\nwant %s", name, got, base)
		}
	}
	for name, other := range map[string]object{
		"token_url": {"token_url": "https://api.example.com/{tenant}/token?k={key}&x=y"}, "grant_type": {"grant_type": "none"},
		"auth": {"token_endpoint_auth_method": "client_secret_post"}, "encoding": {"basic_auth_encoding": "raw"}, "method": {"http_method": "GET"},
		"format": {"request_format": "json"}, "parameters": {"parameters": object{"audience": "y", "n": float64(1)}},
		"a parameter less": {"parameters": object{"audience": "x"}}, "a parameter's type": {"parameters": object{"audience": "x", "n": "1"}},
		"names": {"parameter_names": "scope=s"}, "headers": {"request_headers": object{"X-A": "{key}b"}}, "scopes": {"scopes": "a"}, "no scopes": {"scopes": ""}, "separator": {"scope_separator": "comma"}, "pointer": {"access_token_pointer": "/u"}, "no pointer": {"expires_in_pointer": "[]"},
		"unit": {"expires_in_unit": "minutes"}, "lifetime": {"default_token_lifetime": "2m"}, "extra": {"extra_fields": "a=/a"},
		"client_id": {"client_id": "x"}, "client_secret": {"client_secret": "x"}, "variables": {"variables": object{"tenant": "b"}},
		"secret_variables": {"secret_variables": object{"key": "x"}}, "secret_parameters": {"secret_parameters": object{"pin": "x"}},
		"authority": {"tls_ca_certificate": testAuthority(t)},
	} {
		if identity(t, usualWith(other)) == base {
			t.Errorf("%s changes nothing", name)
		}
	}
}

// A config that comes back from storage makes the same request, so no new token is
// needed.
func TestIdentitySurvivesStorage(t *testing.T) {
	t.Parallel()
	definition, _, err := Builtin(Generic)
	if err != nil {
		t.Fatal(err)
	}
	config := usual()
	own, err := Canonical(Fields(), Layer(config).Only([]Field{
		{Name: "token_url"}, {Name: "scopes"}, {Name: "parameters"}, {Name: "request_headers"}, {Name: "access_token_pointer"}, {Name: "default_token_lifetime"},
	}))
	if err != nil {
		t.Fatal(err)
	}
	own["expires_in_pointer"] = []string{"/expires_in"} // the field's default
	r := Registration{
		Credentials: Credentials{
			ClientID: "c", ClientSecret: "s", Variables: map[string]any{"tenant": "acme"}, SecretVariables: map[string]string{"key": "k"},
			SecretParameters: object{},
		},
		Connection: Connection{RequestTimeout: time.Second},
	}
	var stored Layer
	if err := json.Unmarshal([]byte(asJSON(t, own)), &stored); err != nil {
		t.Fatal(err)
	}
	var read Registration
	if err := json.Unmarshal([]byte(asJSON(t, r)), &read); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, in := range []struct {
		own Layer
		r   Registration
	}{{own, r}, {stored, read}} {
		e, err := Resolve(definition, in.own, in.r)
		if err != nil {
			t.Fatal(err)
		}
		b, err := e.Identity()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(b))
	}
	if got[0] != got[1] {
		t.Errorf("\nwritten %s\n   read %s", got[0], got[1])
	}
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	of := func(changes object) string {
		t.Helper()
		e, err := resolveBuiltin(Generic, usualWith(changes))
		if err != nil {
			t.Fatal(err)
		}
		o, err := e.Origin()
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	base := of(nil)
	if strings.Contains(base, "value") {
		t.Errorf("holds a secret: %s", base)
	}
	for name, changes := range map[string]object{
		"path": {"token_url": "https://api.example.com/elsewhere"}, "port said": {"token_url": "https://api.example.com:443/{tenant}?k={key}"},
		"upper case": {"token_url": "https://API.Example.com/{tenant}?k={key}"}, "secrets": {"client_secret": "x"}, "parameters": {"parameters": object{}},
	} {
		changes["variables"], changes["secret_variables"], changes["request_headers"] = object{"tenant": "b"}, object{"key": "k"}, object{"X": "{key}{tenant}"}
		if got := of(changes); got != base {
			t.Errorf("%s: %s is not %s", name, got, base)
		}
	}
	for name, changes := range map[string]object{
		"host": {"token_url": "https://api.example.org/{tenant}?k={key}"}, "port": {"token_url": "https://api.example.com:8443/{tenant}?k={key}"},
		"host by variable": {"token_url": "https://{tenant}.example.com/?k={key}"}, "scheme": {"token_url": "http://api.example.com:443/{tenant}?k={key}", "allow_insecure_http": true},
		"authority": {"tls_ca_certificate": testAuthority(t)}, "insecure": {"allow_insecure_http": true},
	} {
		if of(changes) == base {
			t.Errorf("%s changes nothing", name)
		}
	}
}

func TestDescribeShowsTheRequestWithoutItsSecrets(t *testing.T) {
	t.Parallel()
	definition := Layer{"variables": object{
		"sig":     object{"value": "{client_id}:{client_secret}"},
		"builtin": object{"secret": true, "default": "value-of-the-provider"},
	}}
	e, err := resolveConfig(definition, usualWith(object{
		"username": "the-user", "password": "the-password-value", "revocation_url": "https://api.example.com/{tenant}/revoke?k={key}",
		"parameters": object{
			"plain": "{tenant}", "secret": "a {client_secret}", "deep": []any{object{"x": "{password}"}}, "encoded": "{client_secret|base64}",
			"calc": "{sig|hex}", "user": "{username}", "def": "{builtin}", "upper": "{key|upper}",
		},
		"request_headers":   object{"X-Key": "k {key}", "X-Sig": "{sig|base64}", "X-Plain": "p {tenant}"},
		"secret_parameters": object{"pin": float64(12345678), "more": object{"x": []any{"the-pin-value"}}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	got, err := e.Describe()
	if err != nil {
		t.Fatal(err)
	}
	text := asJSON(t, got)
	for _, never := range []string{
		"the-secret-value", "the-password-value", "the-key-value", "the-pin-value", "12345678", "value-of-the-provider", "THE-KEY",
		"dGhlLXNlY3JldC12YWx1ZQ", "dGhlLWNsaWVudDp0aGUtc2Vj", "7468652d7365637265742d76616c7565", "pin", "more",
	} {
		if strings.Contains(text, never) {
			t.Errorf("shows %s: %s", never, text)
		}
	}
	for field, want := range map[string]any{
		"token_url":       "https://api.example.com/acme/token?k=REDACTED",
		"request_headers": map[string]string{"X-Key": "k REDACTED", "X-Sig": "dGhlLWNsaWVudDpSRURBQ1RFRA==", "X-Plain": "p acme"},
		"grant_type":      "client_credentials", "http_method": "POST", "scope_separator": "space",
	} {
		if !reflect.DeepEqual(got[field], want) {
			t.Errorf("%s: got %#v, want %#v", field, got[field], want)
		}
	}
	for _, f := range Fields() {
		if _, shown := got[f.Name]; !shown && f.Name != "variables" {
			t.Errorf("%s is not shown", f.Name)
		}
	}
	// Describing changes nothing: the request still holds the secrets.
	r, err := e.Request()
	if err != nil || r.Parameters["secret"] != "a the-secret-value" || r.ClientSecret != "the-secret-value" {
		t.Errorf("the request is broken: %v", err)
	}
	for _, secret := range []string{"the-key-value", "the-pin-value", "12345678", "value-of-the-provider"} {
		if !strings.Contains(strings.Join(r.Secrets, "\n"), secret) {
			t.Errorf("%s is not among the request's secrets", secret)
		}
	}
}

func TestSecretsOfARequestAreNotShownInErrors(t *testing.T) {
	t.Parallel()
	s := quoting(t)
	r, err := asked(t, object{}, usualWith(object{"token_url": s.TokenURL() + "?k={key}&t={tenant}", "secret_parameters": object{"pin": float64(987654321)}}))
	if err != nil {
		t.Fatal(err)
	}
	r.Timeout = 10 * time.Second
	client := grant.NewClient(grant.Options{})
	defer client.Close()
	if _, err = client.Mint(t.Context(), r); err == nil || !strings.Contains(err.Error(), "withheld") {
		t.Errorf("got %v", err)
	}
	if got := s.Last().Form(); got.Get("pin") != "987654321" {
		t.Errorf("sent %v", got)
	}
}

func TestARoleComesLast(t *testing.T) {
	t.Parallel()
	e, err := Resolve(
		Layer{"token_url": plainURL, "parameters": object{"a": "provider", "b": "provider", "c": "provider"}, "scopes": []string{"p"}},
		Layer{"parameters": object{"b": "config", "c": "config"}, "scopes": []string{"c1", "c2"}},
		Registration{Credentials: Credentials{ClientID: "c", ClientSecret: "s"}},
		Layer{"parameters": object{"d": "role"}, "scopes": []string{"c2"}},
	)
	if err != nil {
		t.Fatal(err)
	}
	r, err := e.Request()
	if want := (object{"a": "provider", "b": "config", "c": "config", "d": "role"}); err != nil || !reflect.DeepEqual(r.Parameters, want) || !reflect.DeepEqual(r.Scopes, []string{"c2"}) {
		t.Errorf("got %v, %v, %v", r.Parameters, r.Scopes, err)
	}
	before, err := e.Identity()
	if err != nil {
		t.Fatal(err)
	}
	narrowed := e.WithScopes([]string{"x"})
	after, err := narrowed.Identity()
	if err != nil || string(before) == string(after) {
		t.Errorf("other scopes are another request: %v", err)
	}
	if again, err := e.Identity(); err != nil || string(again) != string(before) {
		t.Errorf("and e stays what it is: %v", err)
	}
}
