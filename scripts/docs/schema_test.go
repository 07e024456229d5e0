// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// published compiles the schema that editors get.
func published(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile("../../docs/provider.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEveryCatalogFileFitsTheSchema(t *testing.T) {
	s := published(t)
	files, err := filepath.Glob("../../internal/provider/catalog/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(t, s, string(b)); err != nil {
			t.Errorf("%s: %v", filepath.Base(file), err)
		}
	}
}

func validate(t *testing.T, s *jsonschema.Schema, text string) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return s.Validate(v)
}

func TestTheSchemaPointsAtTheMemberThatIsWrong(t *testing.T) {
	s := published(t)
	if err := validate(t, s, `{"$schema": "../provider.schema.json", "parameters": {"a": [null, {"b": 1}]}, "variables": {"tenant": {"value": "x"}}}`); err != nil {
		t.Error(err)
	}
	for text, want := range map[string]string{
		`{"token_url": 5}`:                          "/token_url: got number, want string",
		`{"http_method": "PATCH"}`:                  "/http_method: value must be one of 'POST', 'GET', 'PUT'",
		`{"scopes": "a b"}`:                         "/scopes: got string, want array",
		`{"scopes": ["a", 1]}`:                      "/scopes/1: got number, want string",
		`{"access_token_pointer": ["token"]}`:       "/access_token_pointer/0: 'token' does not match pattern",
		`{"access_token_pointer": ["", "header:"]}`: "/access_token_pointer/1: 'header:' does not match pattern",
		`{"default_token_lifetime": "1h"}`:          "/default_token_lifetime: got string, want integer",
		`{"documentation_date": "25.11.2026"}`:      "/documentation_date: '25.11.2026' is not valid date",
		`{"tokenurl": ""}`:                          ": additional properties 'tokenurl' not allowed",
		`{"client_secret": "x"}`:                    ": additional properties 'client_secret' not allowed",
		`{"variables": {"Tenant": {}}}`:             "/variables: invalid propertyName 'Tenant'",
		`{"variables": {"tenant": "acme"}}`:         "/variables/tenant: got string, want object",
		`{"variables": {"tenant": {"regex": 1}}}`:   "/variables/tenant: additional properties 'regex' not allowed",
		`{"variables": {"tenant": {"enum": 1}}}`:    "/variables/tenant/enum: got number, want array",
	} {
		var invalid *jsonschema.ValidationError
		if err := validate(t, s, text); !errors.As(err, &invalid) {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var said []string
		for _, unit := range invalid.BasicOutput().Errors {
			if unit.Error != nil {
				said = append(said, unit.InstanceLocation+": "+unit.Error.String())
			}
		}
		if !slices.ContainsFunc(said, func(s string) bool { return strings.HasPrefix(s, want) }) {
			t.Errorf("%s: want %s\n%s", text, want, strings.Join(said, "\n"))
		}
	}
}
