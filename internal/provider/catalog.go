// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

// Package provider describes token endpoints as data. It holds the catalog of
// built-in dialects, declares the fields that describe a dialect, fills in
// placeholders, and merges the layers of provider, config and role into one
// effective request.
//
// The package does not know about Vault, and it sends nothing.
package provider

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
)

// Generic is the provider of a config that names no provider.
const Generic = "generic"

//go:embed catalog/*.json
var catalog embed.FS

// definitionFields declares the fields that a provider definition holds in
// addition to the dialect's fields.
func definitionFields() []Field {
	return []Field{
		{Name: "variables", Type: Values, In: OnProvider, Description: "Declarations of what placeholders stand for, by name. Each is an object of " + listOf(VariableFields()) + "."},
		{Name: "requires", Type: Texts, In: OnProvider, Description: "What a config has to set in addition to what its grant_type and token_endpoint_auth_method need: " + listedRequirements() + "."},
		{Name: "description", Type: Text, In: OnProvider, Description: "What the provider is, and what it needs."},
		{Name: "documentation_url", Type: Word, In: OnProvider, Description: "Where the provider documents its token endpoint."},
		{Name: "documentation_date", Type: Date, In: OnProvider, Description: "The date on which that documentation was read, such as 2026-11-25."},
		{Name: "setup", Type: Text, In: OnProvider, Description: "What to do at the provider to get the credentials."},
		{Name: "scope_descriptions", Type: TextPairs, In: OnProvider, Description: "What each scope allows (map), if the provider has only a few scopes."},
		{Name: "$schema", Type: Text, In: OnProvider, Dropped: true, Description: "The JSON Schema of the file, for editors. It is not stored."},
	}
}

// builtin returns the catalog: for each provider's name, a function that returns
// its entry. An entry is read once, when it is first asked for, because the files
// are constants of the program. Callers must not change an entry.
var builtin = sync.OnceValue(func() map[string]func() (Layer, error) { //nolint:gochecknoglobals // a constant table
	files, err := fs.Glob(catalog, "catalog/*.json")
	if err != nil { // only a malformed pattern is an error
		panic(err)
	}
	out := make(map[string]func() (Layer, error), len(files))
	for _, file := range files {
		out[strings.TrimSuffix(path.Base(file), ".json")] = sync.OnceValues(func() (Layer, error) { return readEntry(file) })
	}
	return out
})

func readEntry(file string) (Layer, error) {
	b, err := catalog.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the catalog: %w", err)
	}
	var raw map[string]any
	if err := json.Unmarshal(b, &raw); err != nil {
		return nil, fmt.Errorf("reading the catalog's %s: %w", file, err)
	}
	l, err := Canonical(DefinitionFields(), raw)
	if err != nil {
		return nil, fmt.Errorf("reading the catalog's %s: %w", file, err)
	}
	return l, nil
}

// BuiltinNames returns the names of all providers in the catalog, sorted.
func BuiltinNames() []string { return slices.Sorted(maps.Keys(builtin())) }

// IsBuiltin reports whether the catalog has a provider of that name.
func IsBuiltin(name string) bool { return builtin()[name] != nil }

// Builtin returns an entry of the catalog, and false if there is no entry of
// that name. The caller must not change the entry.
func Builtin(name string) (Layer, bool, error) {
	read := builtin()[name]
	if read == nil {
		return nil, false, nil
	}
	l, err := read()
	return l, err == nil, err
}
