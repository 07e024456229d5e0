// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// A declared field that is not read into a member would be accepted without any
// effect. A member that is not declared could never be set.
func TestDeclarationsAndStructsAgree(t *testing.T) {
	t.Parallel()
	for what, test := range map[string]struct {
		declared []Field
		into     any
	}{
		"dialect":     {dialectFields(), Dialect{}},
		"credentials": {credentialFields(), Credentials{}},
		"connection":  {connectionFields(), Connection{}},
		"variable":    {VariableFields(), Variable{}},
	} {
		var declared, members []string
		for _, f := range test.declared {
			declared = append(declared, f.Name)
		}
		for member := range reflect.TypeOf(test.into).Fields() {
			if name, _, _ := strings.Cut(member.Tag.Get("json"), ","); name != "-" {
				members = append(members, name)
			}
		}
		slices.Sort(declared)
		slices.Sort(members)
		if !slices.Equal(declared, members) {
			t.Errorf("%s:\ndeclared %v\nmembers  %v", what, declared, members)
		}
	}
}

func TestEveryDeclarationIsComplete(t *testing.T) {
	t.Parallel()
	for _, layer := range []In{OnProvider, OnConfig, OnRole} {
		seen := map[string]bool{}
		for _, f := range FieldsOn(layer, Declared()) {
			if seen[f.Name] {
				t.Errorf("%s is declared twice for one layer", f.Name)
			}
			seen[f.Name] = true
		}
	}
	for _, f := range Declared() {
		if f.In == 0 || f.Name == "" || f.Description == "" || f.Type == 0 {
			t.Errorf("%+v", f)
		}
		if f.RoleText != "" && f.In&OnRole == 0 {
			t.Errorf("%s has a text for roles, which cannot set it", f.Name)
		}
		if f.Secret && f.In != OnConfig {
			t.Errorf("%s is secret, and belongs on a config alone", f.Name)
		}
		if text := fmt.Sprint(f.Default); f.Default != nil && f.Type != Pointers && !strings.Contains(f.Description, text+" (default)") && !strings.Contains(f.Description, "("+text+")") {
			t.Errorf("%s: its description does not tell the default, %s", f.Name, text)
		}
		if text, isText := f.Default.(string); isText && f.Allowed != nil && !slices.Contains(f.Allowed, text) {
			t.Errorf("%s: its default is not allowed", f.Name)
		}
		for _, value := range f.Allowed {
			if f.Default != nil && !strings.Contains(f.Description, value) {
				t.Errorf("%s: its description does not tell of %s", f.Name, value)
			}
		}
	}
}

// samples returns a value for each type, in the form in which it is stored. No field
// has it by default.
func samples() map[Type]any {
	return map[Type]any{
		Text: "other", Word: "other", PEM: "other", URL: "https://other.example/", Flag: true, Seconds: int64(42), Count: int64(42), Texts: []any{"other"},
		Pointers: []any{"/other"}, Values: object{"other": "x"}, TextPairs: object{"other": "x"}, Givens: object{"other": "x"},
	}
}

// A field that changes the request for a token changes its identity, and so leads
// to another token. A field that is declared Aside does not.
func TestIdentityHoldsEveryFieldButThoseAside(t *testing.T) {
	t.Parallel()
	identity := func(t *testing.T, layer Layer, r Registration) []byte {
		t.Helper()
		e := &Effective{layer: Overlay(defaults, layer), registration: r}
		if err := e.layer.decode(&e.Dialect); err != nil {
			t.Fatal(err)
		}
		b, err := e.Identity()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	plain := identity(t, nil, Registration{})
	for _, f := range dialectFields() {
		got := identity(t, Layer{f.Name: samples()[f.Type]}, Registration{})
		if same := bytes.Equal(got, plain); same != f.Aside {
			t.Errorf("%s: same identity %t, aside %t", f.Name, same, f.Aside)
		}
	}
	for _, f := range append(credentialFields(), connectionFields()...) {
		raw, err := json.Marshal(object{f.Name: samples()[f.Type]})
		if err != nil {
			t.Fatal(err)
		}
		var r Registration
		if err := json.Unmarshal(raw, &r); err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(identity(t, nil, r), plain) {
			t.Errorf("%s is no part of the identity", f.Name)
		}
	}
}

func TestDatesAndTheSchemaMemberOfADefinition(t *testing.T) {
	t.Parallel()
	l, err := Canonical(DefinitionFields(), object{"$schema": "../provider.schema.json", "documentation_date": " 2026-11-25 "})
	if err != nil || !reflect.DeepEqual(l, Layer{"documentation_date": "2026-11-25"}) {
		t.Errorf("%v, %v", l, err)
	}
	for _, date := range []any{"25.11.2026", "2026-11-31", "2026-11", true} {
		var invalid *InvalidError
		if _, err := Canonical(DefinitionFields(), object{"documentation_date": date}); !asInvalid(err, &invalid) || invalid.Field != "documentation_date" {
			t.Errorf("%v: %v", date, err)
		}
	}
}
