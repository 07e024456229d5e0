// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
)

const (
	secretOne   = "5ecret+One&a=%41/ü \"q\" 🔑"
	secretTwo   = "Two-zweites:Geheimnis/%2B+x"
	secretThree = "drittes;three{brace}=99#"
	secretFour  = "vier-four-<4>&amp;quatre"
)

// acme returns a complete config whose server does not exist.
func acme() fields {
	return fields{
		"token_url": "https://login.example.com/token", "client_id": "acme-client", "client_secret": secretOne,
		"scopes": "read,write", "parameters": fields{"audience": "api", "resource": "r"}, "ttl": "1h", "description": "first",
	}
}

// same reports whether two values are the same JSON, apart from the order of members.
func same(a, b any) bool { return reflect.DeepEqual(a, b) }

func wantMembers(t *testing.T, got, want fields) {
	t.Helper()
	for name, v := range want {
		if v == nil {
			if g, there := got[name]; there {
				t.Errorf("%s is %v, want it left out", name, g)
			}
		} else if !same(got[name], v) {
			t.Errorf("%s is %#v, want %#v", name, got[name], v)
		}
	}
}

func TestConfigReadShowsWhatWasWritten(t *testing.T) {
	e := mount(t, secretOne)
	e.must(t, "config/acme", acme())
	r := e.read(t, "config/acme")
	wantMembers(t, r.data(t), fields{
		"provider": "generic", "token_url": "https://login.example.com/token", "client_id": "acme-client",
		"scopes": []any{"read", "write"}, "parameters": fields{"audience": "api", "resource": "r"},
		"ttl": float64(3600), "description": "first", "secrets_set": []any{"client_secret"},
		"client_secret": nil, "grant_type": nil, "max_ttl": nil,
	})
	withoutSecrets(t, "the answer", r.text(), secretOne)
}

func TestConfigUpdateReplacesOnlyTheFieldsThatAreSent(t *testing.T) {
	tests := map[string]struct {
		update fields
		want   fields
	}{
		"a scalar":                   {fields{"description": "second"}, fields{"description": "second", "ttl": float64(3600)}},
		"a list as a whole":          {fields{"scopes": []any{"admin"}}, fields{"scopes": []any{"admin"}}},
		"a map as a whole":           {fields{"parameters": fields{"audience": "other"}}, fields{"parameters": fields{"audience": "other"}}},
		"a map to empty":             {fields{"parameters": fields{}}, fields{"parameters": fields{}}},
		"a list to empty":            {fields{"scopes": ""}, fields{"scopes": []any{}}},
		"a text to empty":            {fields{"description": ""}, fields{"description": ""}},
		"a duration to none":         {fields{"ttl": 0}, fields{"ttl": float64(0)}},
		"nothing":                    {fields{}, fields{"description": "first"}},
		"a repeated name=value":      {fields{"parameters": []any{"a=1", "b=2=3"}}, fields{"parameters": fields{"a": "1", "b": "2=3"}}},
		"a map as JSON text":         {fields{"parameters": `{"a":[1,true]}`}, fields{"parameters": fields{"a": []any{float64(1), true}}}},
		"the name in the body again": {fields{"config": "acme", "description": "x"}, fields{"description": "x", "config": nil}},
		"a number for a text":        {fields{"client_id": 1234567}, fields{"client_id": "1234567"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := mount(t, secretOne)
			e.must(t, "config/acme", acme())
			e.must(t, "config/acme", test.update)
			got := e.read(t, "config/acme").data(t)
			wantMembers(t, got, test.want)
			wantMembers(t, got, fields{"token_url": "https://login.example.com/token", "secrets_set": []any{"client_secret"}})
		})
	}
}

func TestConfigPatchFollowsRFC7396(t *testing.T) {
	tests := map[string]struct {
		patch fields
		want  fields
	}{
		"null returns a field to inherited": {fields{"scopes": nil, "ttl": nil}, fields{"scopes": nil, "ttl": nil, "description": "first"}},
		"null in a map removes that key":    {fields{"parameters": fields{"audience": nil}}, fields{"parameters": fields{"resource": "r"}}},
		"a map is merged":                   {fields{"parameters": fields{"more": "m"}}, fields{"parameters": fields{"audience": "api", "resource": "r", "more": "m"}}},
		"a map as name=value is merged":     {fields{"parameters": "more=m"}, fields{"parameters": fields{"audience": "api", "resource": "r", "more": "m"}}},
		"a map to null":                     {fields{"parameters": nil}, fields{"parameters": nil}},
		"a list is replaced":                {fields{"scopes": []any{"admin"}}, fields{"scopes": []any{"admin"}}},
		"a scalar is replaced":              {fields{"ttl": 60}, fields{"ttl": float64(60)}},
		"a field that was not set":          {fields{"max_ttl": "2h"}, fields{"max_ttl": float64(7200)}},
		"null on what was not set":          {fields{"max_ttl": nil}, fields{"max_ttl": nil}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := mount(t, secretOne)
			e.must(t, "config/acme", acme())
			succeeded(t, e.patch(t, "config/acme", test.patch))
			got := e.read(t, "config/acme").data(t)
			wantMembers(t, got, test.want)
			wantMembers(t, got, fields{"token_url": "https://login.example.com/token", "secrets_set": []any{"client_secret"}})
		})
	}
}

func TestConfigPatchOfSecrets(t *testing.T) {
	e := mount(t, secretOne, secretTwo)
	e.must(t, "config/acme", with(acme(), fields{
		"secret_parameters": fields{"pin": secretTwo, "tan": secretTwo},
	}))
	succeeded(t, e.patch(t, "config/acme", fields{"secret_parameters": fields{"pin": nil}}))
	wantMembers(t, e.read(t, "config/acme").data(t), fields{"secrets_set": []any{"client_secret", "secret_parameters"}})
	succeeded(t, e.patch(t, "config/acme", fields{"secret_parameters": fields{"tan": nil}}))
	wantMembers(t, e.read(t, "config/acme").data(t), fields{"secrets_set": []any{"client_secret"}, "secret_parameters": nil})
	refused(t, e.patch(t, "config/acme", fields{"client_secret": nil}), http.StatusBadRequest, "client_secret")
	wantMembers(t, e.read(t, "config/acme").data(t), fields{"secrets_set": []any{"client_secret"}})
}

func TestConfigThatIsMissing(t *testing.T) {
	e := mount(t)
	if r := e.read(t, "config/none"); r.status() != http.StatusNotFound {
		t.Errorf("read: status %d: %s", r.status(), r.text())
	}
	refused(t, e.patch(t, "config/none", fields{"description": "x"}), http.StatusNotFound, "none")
	succeeded(t, e.delete(t, "config/none"))
	if got := e.storage.snapshot(t); len(got) != 0 {
		t.Errorf("stored: %v", got)
	}
}

func TestConfigListAndDelete(t *testing.T) {
	e := mount(t)
	if got := e.list(t, "config/"); len(got) != 0 {
		t.Errorf("an empty list is %v", got)
	}
	for _, name := range []string{"b", "a-1.x", "C_3"} {
		e.must(t, "config/"+name, acme())
	}
	for _, path := range []string{"config/", "config"} {
		if got, want := e.list(t, path), []string{"C_3", "a-1.x", "b"}; !slices.Equal(got, want) {
			t.Errorf("list %s: %v, want %v", path, got, want)
		}
	}
	succeeded(t, e.delete(t, "config/b"))
	if got, want := e.list(t, "config/"), []string{"C_3", "a-1.x"}; !slices.Equal(got, want) {
		t.Errorf("after a delete: %v, want %v", got, want)
	}
	if r := e.read(t, "config/b"); r.status() != http.StatusNotFound {
		t.Errorf("a deleted config: status %d", r.status())
	}
}

func TestConfigExistenceCheck(t *testing.T) {
	e := mount(t)
	e.must(t, "config/acme", acme())
	for path, want := range map[string]bool{"config/acme": true, "config/other": false} {
		for _, op := range []logical.Operation{logical.CreateOperation, logical.UpdateOperation} {
			// If the engine looked at data of the wrong type, its error would quote the
			// values.
			req := e.cross(t, &logical.Request{Operation: op, Path: path, Data: fields{
				"client_secret": fields{"k": secretTwo}, "ttl": secretTwo, "nonsense": []any{secretTwo}, "parameters": nil,
			}})
			found, exists, err := e.backend.HandleExistenceCheck(t.Context(), req)
			if err != nil || !found || exists != want {
				t.Errorf("%s %s: found %t, exists %t, error %v; want exists %t", op, path, found, exists, err, want)
			}
			if len(req.Data) != 4 {
				t.Errorf("%s %s: the existence check changed the request's data", op, path)
			}
		}
	}
}

func TestConfigFieldsAreValidatedWithRemedies(t *testing.T) {
	tests := map[string]struct {
		write fields
		says  []string
	}{
		"ttl longer than max_ttl":      {fields{"ttl": "2h", "max_ttl": "1h"}, []string{"ttl", "max_ttl"}},
		"request_timeout too long":     {fields{"request_timeout": "61s"}, []string{"request_timeout", "at most 1m,"}},
		"ttl below a second":           {fields{"ttl": "500ms"}, []string{"ttl", "whole seconds"}},
		"ttl with a fraction":          {fields{"ttl": 1.5}, []string{"ttl", "whole seconds"}},
		"ttl negative":                 {fields{"ttl": -1}, []string{"ttl"}},
		"ttl beyond 2^53":              {fields{"ttl": 1e17}, []string{"ttl"}},
		"max_ttl below a second":       {fields{"max_ttl": "1500ms"}, []string{"max_ttl", "whole seconds"}},
		"request_timeout of nothing":   {fields{"request_timeout": "999ms"}, []string{"request_timeout", "whole seconds"}},
		"default_token_lifetime":       {fields{"default_token_lifetime": "0.5s"}, []string{"default_token_lifetime", "whole seconds"}},
		"token_url without a scheme":   {fields{"token_url": "login.example.com/token"}, []string{"token_url", "https://"}},
		"token_url of another scheme":  {fields{"token_url": "ftp://login.example.com/token"}, []string{"token_url", "https://"}},
		"token_url without a host":     {fields{"token_url": "https:///token"}, []string{"token_url", "host"}},
		"token_url with a user":        {fields{"token_url": "https://u:p@login.example.com/"}, []string{"token_url", "user"}},
		"token_url with a fragment":    {fields{"token_url": "https://login.example.com/#f"}, []string{"token_url", "fragment"}},
		"token_url with a space":       {fields{"token_url": "https://login.example.com/a b"}, []string{"token_url"}},
		"no token_url":                 {fields{"token_url": ""}, []string{"token_url", "required"}},
		"plain http to a public host":  {fields{"token_url": "http://login.example.com/token"}, []string{"token_url", "https", "allow_insecure_http"}},
		"plain http to a fake local":   {fields{"token_url": "http://localhost.example.com/"}, []string{"allow_insecure_http"}},
		"no client_id":                 {fields{"client_id": ""}, []string{"client_id", "required", "client_secret_basic"}},
		"no username":                  {fields{"grant_type": "password", "password": "pw"}, []string{"username", "grant_type=password"}},
		"no password":                  {fields{"grant_type": "password", "username": "me"}, []string{"password", "grant_type=password"}},
		"an unknown provider":          {fields{"provider": "antsomy"}, []string{"antsomy", `did you mean "antsomi"`}},
		"a provider like no other":     {fields{"provider": "zzzzzzzz"}, []string{"zzzzzzzz", "generic", "provider/zzzzzzzz"}},
		"a missing variable":           {fields{"provider": "cognito", "token_url": "https://{domain}.example.com/t"}, []string{"domain", "variables"}},
		"an unknown placeholder":       {fields{"token_url": "https://{tenant}.example.com/"}, []string{"token_url", "{tenant}"}},
		"a misspelt placeholder":       {fields{"parameters": "x={client_idd}"}, []string{"parameters", "{client_id}"}},
		"an unknown variable":          {fields{"variables": "tenant=x"}, []string{"variables", "tenant"}},
		"a secret in the host":         {fields{"token_url": "https://{client_secret}.example.com/"}, []string{"token_url", "client_secret"}},
		"a parameter of the engine":    {fields{"parameters": "grant_type=x"}, []string{"parameters", "grant_type"}},
		"a secret_parameter likewise":  {fields{"secret_parameters": "client_secret=x"}, []string{"secret_parameters", "client_secret"}},
		"a header of the connection":   {fields{"request_headers": "Host=x"}, []string{"request_headers", "Host"}},
		"Authorization with Basic":     {fields{"request_headers": "Authorization=x"}, []string{"request_headers", "Authorization"}},
		"a header with a line break":   {fields{"request_headers": fields{"X-A": "a\r\nX-B: b"}}, []string{"request_headers", "X-A"}},
		"an extra field that is taken": {fields{"extra_fields": "access_token=/x"}, []string{"extra_fields", "access_token"}},
		"an extra field for refresh":   {fields{"extra_fields": "mine=/refresh_token"}, []string{"extra_fields", "refresh token"}},
		"an extra field of everything": {fields{"extra_fields": "mine="}, []string{"extra_fields"}},
		"a pointer without a slash":    {fields{"access_token_pointer": "token"}, []string{"access_token_pointer", "RFC 6901"}},
		"a value that is not allowed":  {fields{"token_endpoint_auth_method": "basic"}, []string{"token_endpoint_auth_method", "client_secret_basic"}},
		"a body with GET":              {fields{"http_method": "GET", "request_format": "form"}, []string{"request_format", "query"}},
		"a PEM certificate":            {fields{"tls_ca_certificate": "no PEM"}, []string{"tls_ca_certificate", "PEM"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := mount(t, secretOne)
			refused(t, e.write(t, "config/new", with(acme(), test.write)), http.StatusBadRequest, test.says...)
			e.must(t, "config/acme", acme())
			before := e.storage.snapshot(t)
			r := e.write(t, "config/acme", with(test.write, fields{"client_secret": secretOne}))
			if _, emptied := test.write["client_secret"]; emptied {
				r = e.write(t, "config/acme", test.write)
			}
			refused(t, r, http.StatusBadRequest, test.says...)
			if after := e.storage.snapshot(t); !same(before, after) {
				t.Errorf("a refused write stored something:\n%v\n%v", before, after)
			}
		})
	}
}

func TestConfigDurationsInEveryNotation(t *testing.T) {
	for _, v := range []any{3600, "3600", "3600s", "1h", "60m", "1h0m0s", " 1h "} {
		e := mount(t)
		e.must(t, "config/acme", with(acme(), fields{"ttl": v}))
		wantMembers(t, e.read(t, "config/acme").data(t), fields{"ttl": float64(3600)})
	}
}

func TestConfigNamesOutsideThePatternAreNoPath(t *testing.T) {
	e := mount(t)
	for _, name := range []string{"-a", "a-", "a b", "a/b", "a$", "..", "ü"} {
		if r := e.write(t, "config/"+name, acme()); r.status() != http.StatusNotFound {
			t.Errorf("%q: status %d: %s", name, r.status(), r.text())
		}
	}
	if got := e.storage.snapshot(t); len(got) != 0 {
		t.Errorf("stored: %v", got)
	}
}

func TestConfigSecretsSetNamesEachThatIsSetAndNotEmpty(t *testing.T) {
	e := mount(t, secretOne, secretTwo, secretThree, secretFour)
	e.must(t, "config/all", with(acme(), fields{
		"password": secretTwo, "secret_parameters": fields{"pin": secretThree},
		"secret_variables": fields{"key": secretFour}, "request_headers": "X-Key={key|base64}",
	}))
	r := e.read(t, "config/all")
	wantMembers(t, r.data(t), fields{"secrets_set": []any{"client_secret", "password", "secret_parameters", "secret_variables"}})
	withoutSecrets(t, "the answer", r.text(), secretOne, secretTwo, secretThree, secretFour)
	e.must(t, "config/all", fields{"password": "", "secret_parameters": fields{}})
	wantMembers(t, e.read(t, "config/all").data(t), fields{"secrets_set": []any{"client_secret", "secret_variables"}})
	e.must(t, "config/none", fields{"token_url": "https://login.example.com/", "token_endpoint_auth_method": "none", "client_secret": ""})
	wantMembers(t, e.read(t, "config/none").data(t), fields{"secrets_set": []any{}})
	if !strings.Contains(e.read(t, "config/none").text(), `"secrets_set":[]`) {
		t.Error("secrets_set is no empty list")
	}
}
