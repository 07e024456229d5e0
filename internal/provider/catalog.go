// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

// Package provider describes token endpoints as data: the catalog of built-in
// dialects, the fields that describe one, placeholders, and how the layers
// provider, config and role come to one effective request.
//
// The package knows nothing of Vault and sends nothing.
package provider

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Generic is the provider of a config that names none.
const Generic = "generic"

//go:embed catalog/*.json
var catalog embed.FS

// DefinitionFields declares what a provider definition holds: the dialect, and
// where it is documented.
func DefinitionFields() []Field {
	return append(Fields(),
		Field{Name: "description", Type: Text, Description: "What the provider is, and what it needs."},
		Field{Name: "documentation_url", Type: Word, Description: "Where the provider documents its token endpoint."},
		Field{Name: "documentation_date", Type: Word, Description: "When that documentation was read: a date such as 2026-11-25."},
		Field{Name: "setup", Type: Text, Description: "What to do at the provider to get the credentials."},
		Field{Name: "scope_descriptions", Type: TextPairs, Description: "What each scope allows (map), where the provider has few of them."},
	)
}

// BuiltinNames lists the catalog.
func BuiltinNames() []string {
	files, err := fs.Glob(catalog, "catalog/*.json")
	if err != nil { // only a malformed pattern is one
		panic(err)
	}
	out := make([]string, len(files))
	for i, f := range files {
		out[i] = strings.TrimSuffix(path.Base(f), ".json")
	}
	return out
}

// Builtin gives an entry of the catalog, and false when there is none of that
// name.
func Builtin(name string) (Layer, bool, error) {
	if !slices.Contains(BuiltinNames(), name) {
		return nil, false, nil
	}
	b, err := catalog.ReadFile("catalog/" + name + ".json")
	if err != nil {
		return nil, false, fmt.Errorf("reading the catalog: %w", err)
	}
	var raw map[string]any
	if err := json.Unmarshal(b, &raw); err != nil {
		return nil, false, fmt.Errorf("reading the catalog entry %s: %w", name, err)
	}
	l, err := Canonical(DefinitionFields(), raw)
	return l, true, err
}
