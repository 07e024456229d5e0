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
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
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

// builtin is the catalog, read once: its files are constants of the program.
// Nobody may change what is in it.
var builtin = sync.OnceValues(readCatalog) //nolint:gochecknoglobals // a constant table

func readCatalog() (map[string]Layer, error) {
	files, err := fs.Glob(catalog, "catalog/*.json")
	if err != nil {
		return nil, fmt.Errorf("listing the catalog: %w", err)
	}
	fields := DefinitionFields()
	out := make(map[string]Layer, len(files))
	for _, file := range files {
		name := strings.TrimSuffix(path.Base(file), ".json")
		b, err := catalog.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading the catalog: %w", err)
		}
		var raw map[string]any
		if err := json.Unmarshal(b, &raw); err != nil {
			return nil, fmt.Errorf("reading the catalog entry %s: %w", name, err)
		}
		if out[name], err = Canonical(fields, raw); err != nil {
			return nil, fmt.Errorf("reading the catalog entry %s: %w", name, err)
		}
	}
	return out, nil
}

// BuiltinNames lists the catalog, in order. It is empty for a catalog that
// cannot be read, which is a bug that the tests of this package find.
func BuiltinNames() []string {
	entries, _ := builtin()
	return slices.Sorted(maps.Keys(entries))
}

// IsBuiltin says whether the catalog has a provider of that name.
func IsBuiltin(name string) bool {
	entries, _ := builtin()
	_, ok := entries[name]
	return ok
}

// Builtin gives an entry of the catalog, and false when there is none of that
// name. The caller must not change what is in it.
func Builtin(name string) (Layer, bool, error) {
	entries, err := builtin()
	if err != nil {
		return nil, false, err
	}
	l, ok := entries[name]
	return l, ok, nil
}
