// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"maps"
	"testing"
)

func TestARoleAddsParametersAndNoMore(t *testing.T) {
	t.Parallel()
	definition := Layer{
		"token_url":       plainURL + "?api-version=2&client%2Einfo=1&k={key}",
		"parameters":      object{"audience": "a", "maybe": "{unset}", "gone": "x", "listed[]": []any{"x"}},
		"parameter_names": object{"scope": "scp", "username": ""},
		"variables": object{
			"key": object{"secret": true, "optional": true}, "unset": object{"optional": true}, "plain": object{"default": "p"},
			"signed": object{"value": "{client_id}:{client_secret}"}, "far": object{"default": "<{signed|hex}>"}, "hush": object{"secret": true, "default": "h"},
		},
	}
	own := Layer{"parameters": object{"tenant": "t", "gone": nil}}
	r := Registration{Credentials: Credentials{
		ClientID: "c", ClientSecret: "the-secret-value", Username: "u", Password: "the-password",
		SecretParameters: object{"pin": "the-pin"}, SecretVariables: map[string]string{"mine": "the-variable", "key": "k"},
	}}
	own["parameters"].(object)["uses"] = "{mine}" //nolint:forcetypeassert // made above
	const adds, repeats = "a role can add parameters, not change or remove one", "a role can add parameters, not repeat one"
	for name, test := range map[string]struct {
		role object
		says string // part of the refusal; "" if it is accepted
	}{
		"a new one":                            {object{"more": "x"}, ""},
		"a new one by the client's name":       {object{"more": "{client_id} {username} {plain}"}, ""},
		"a new one of objects and lists":       {object{"more": object{"audience": []any{"x", nil}}}, ""},
		"a null for what nobody sets":          {object{"more": nil}, ""},
		"one whose optional variable is unset": {object{"maybe": "x"}, ""},
		"two of its own, alike":                {object{"more": "x", "More": "y"}, ""},

		"one of the provider's":                {object{"audience": "b"}, adds},
		"one of the provider's, the same":      {object{"audience": "a"}, adds},
		"a null for the provider's":            {object{"audience": nil}, adds},
		"one of the config's":                  {object{"tenant": "x"}, adds},
		"a null for the config's":              {object{"tenant": nil}, adds},
		"one that the config leaves out":       {object{"gone": "x"}, adds},
		"one of secret_parameters":             {object{"pin": "x"}, adds},
		"a null for one of secret_parameters":  {object{"pin": nil}, adds},
		"one of the query":                     {object{"api-version": "3"}, "token_url has in its query"},
		"one of the query, decoded":            {object{"client.info": "3"}, "token_url has in its query"},
		"the query's that holds a placeholder": {object{"k": "x"}, "token_url has in its query"},
		"the engine's":                         {object{"client_id": "x"}, "the engine sends itself"},
		"the engine's, renamed":                {object{"scp": "x"}, "the engine sends itself"},
		"the engine's, by its usual name":      {object{"scope": "x"}, "parameter_names renames or leaves out"},
		"the engine's that is left out":        {object{"username": "x"}, "parameter_names renames or leaves out"},
		"a null for the engine's":              {object{"grant_type": nil}, "the engine sends itself"},

		"another case":               {object{"Audience": "b"}, repeats},
		"another case of a query's":  {object{"API-Version": "b"}, repeats},
		"another case of a secret's": {object{"PIN": "b"}, repeats},
		"another case of the engine": {object{"GRANT_TYPE": "password"}, repeats},
		"the long s":                 {object{"grant_type": "x", "\u017fcope": "x"}, "a role can add parameters"},
		"a list of it":               {object{"audience[]": "b"}, repeats},
		"an item of it":              {object{"tenant[0]": "b"}, repeats},
		"the same list":              {object{"listed": "b"}, repeats},
		"dots for underscores":       {object{"grant.type": "b"}, repeats},
		"spaces before it":           {object{" audience": "b"}, repeats},
		"a name that ends early":     {object{"audience\x00x": "b"}, repeats},

		"the client's secret":               {object{"more": "{client_secret}"}, "names the secret {client_secret}"},
		"the client's secret, hidden":       {object{"more": object{"a": []any{"x{client_secret|base64}"}}}, "names the secret {client_secret}"},
		"the password":                      {object{"more": "{password}"}, "names the secret {password}"},
		"a secret variable of the config":   {object{"more": "{mine}"}, "names the secret {mine}"},
		"a variable declared secret":        {object{"more": "{hush}"}, "names the secret {hush}"},
		"one declared secret, and optional": {object{"more": "{key}"}, "names the secret {key}"},
		"one computed of secrets":           {object{"more": "{signed}"}, "names the secret {signed}"},
		"one computed of one computed":      {object{"more": "{far}"}, "names the secret {far}"},
		"none, for the braces are literal":  {object{"more": "{{client_secret}}"}, ""},
		"a placeholder that is none":        {object{"more": "{nix}"}, "names {nix}, which is not defined"},
		"a text that is no template":        {object{"more": "{"}, "single brace"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Resolve(definition, own, r, Layer{"parameters": test.role})
			if test.says != "" {
				wantInvalid(t, err, "parameters holds ", "the-secret", "the-password", "the-variable", "the-pin")
				wantInvalid(t, err, test.says)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// A provider's grant_type=none is a decision that a role cannot change, either.
func TestARoleBringsNoGrantType(t *testing.T) {
	t.Parallel()
	_, err := Resolve(Layer{"token_url": plainURL, "grant_type": "none"}, nil, Registration{Credentials: Credentials{ClientID: "c", ClientSecret: "s"}}, Layer{"parameters": object{"grant_type": "password"}})
	wantInvalid(t, err, "the engine sends itself")
}

func TestWhatARoleAddsIsSentBesideTheRest(t *testing.T) {
	t.Parallel()
	under := object{"audience": "a"}
	e, err := Resolve(Layer{"token_url": plainURL, "parameters": under}, nil, Registration{Credentials: Credentials{ClientID: "c", ClientSecret: "s"}}, Layer{"parameters": object{"more": "{client_id}"}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := e.Request()
	if want := (object{"audience": "a", "more": "c"}); err != nil || !maps.Equal(r.Parameters, want) {
		t.Errorf("sends %v, %v", r.Parameters, err)
	}
}
