// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"fmt"
	"slices"
	"strings"
)

// Field declares one field of the API, and is all that is said about it: what a
// request may hold, help and OpenAPI, docs/api.md and the JSON Schema of a
// provider file follow from it. Beside it stand a member of the struct that it
// is read into, and the code that uses that.
type Field struct {
	Name        string
	Type        Type
	In          In       // which layers may set it; nothing for fields of other paths
	Secret      bool     // never shown again
	Aside       bool     // about the use of the token: no part of the request for it, nor of its identity
	KeepsNulls  bool     // of a map: a null means something by itself, beside removing what is inherited
	Dropped     bool     // taken for the sake of whoever sends it, and not kept
	Allowed     []string // the closed set of values, if there is one
	Default     any      // what it means when no layer sets it; nil means nothing
	Description string
	RoleText    string // the description on a role, where it means something else there
}

// In says which layers may set a field. Each lies over the one before.
type In uint8

// The layers. Most of a dialect may be set both by a provider and by a config.
const (
	OnProvider In = 1 << iota
	OnConfig
	OnRole
)

// FieldsOn gives those of the declared fields that a layer may set, described as
// what they are there.
func FieldsOn(layer In, declared []Field) []Field {
	var out []Field
	for _, f := range declared {
		if f.In&layer == 0 {
			continue
		}
		if layer == OnRole && f.RoleText != "" {
			f.Description = f.RoleText
		}
		out = append(out, f)
	}
	return out
}

// Inherits says whether the field lies over that of another layer.
func (f Field) Inherits() bool { return f.In != OnProvider && f.In != OnConfig }

// IsMap says whether the field's values are maps.
func (f Field) IsMap() bool { return f.Type == Values || f.Type == TextPairs || f.Type == Givens }

// Declared gives all fields that a provider, a config or a role may set for what
// is asked of the provider: the dialect, what else a provider definition holds,
// and the registration. How tokens are handed out is none of them.
func Declared() []Field {
	return slices.Concat(dialectFields(), definitionFields(), credentialFields(), connectionFields())
}

// Fields gives the dialect's fields: what a provider defines and a config
// overrides.
func Fields() []Field { return dialectFields() }

// DefinitionFields gives what a provider definition holds.
func DefinitionFields() []Field { return FieldsOn(OnProvider, Declared()) }

// The tables of what is asked for by name again and again.
//
//nolint:gochecknoglobals // constant tables
var (
	// defaults is what each dialect field means when no layer sets it. Nobody
	// may change what is in it.
	defaults = func() Layer {
		out := Layer{}
		for _, f := range dialectFields() {
			if f.Default != nil {
				out[f.Name] = f.Default
			}
		}
		return out
	}()
	keepsNulls  = namesOf(dialectFields(), func(f Field) bool { return f.KeepsNulls })
	asideFields = namesOf(dialectFields(), func(f Field) bool { return f.Aside })
	urlFields   = namesOf(dialectFields(), func(f Field) bool { return f.Type == URL })
	// secretCredentials are those that placeholders can name.
	secretCredentials = namesOf(credentialFields(), func(f Field) bool {
		return f.Secret && slices.Contains(credentialNames(), f.Name)
	})
)

// namesOf gives the set of the names of those fields.
func namesOf(fields []Field, wanted func(Field) bool) map[string]bool {
	out := map[string]bool{}
	for _, f := range fields {
		if wanted(f) {
			out[f.Name] = true
		}
	}
	return out
}

// check applies what a field demands beyond its type.
func (f Field) check(v any) error {
	if len(f.Allowed) > 0 {
		if s, ok := v.(string); ok && !slices.Contains(f.Allowed, s) {
			return fmt.Errorf("must be one of %s", strings.Join(f.Allowed, ", "))
		}
	}
	return nil
}

// Nearest gives the known name that a misspelt one most likely means, or "".
// A name that is far longer than names are is like none.
func Nearest(name string, known []string) string {
	const longest = 64
	best, least := "", 1+len(name)/3
	for _, k := range known {
		if max(len(name), len(k)) > longest || len(name)-len(k) > least || len(k)-len(name) > least {
			continue
		}
		if d := distance(strings.ToLower(name), k); d <= least && (best == "" || d < least) {
			best, least = k, d
		}
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(row[j]+1, row[j+1]+1, diagonal+cost)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
