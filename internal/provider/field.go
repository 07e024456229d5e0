// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"fmt"
	"slices"
	"strings"
)

// Field declares one field of the API. What a request may hold, the help and
// OpenAPI texts, docs/api.md and the JSON Schema of a provider file all follow
// from this declaration. A new field needs only two things more: a member of the
// struct that it is read into, and the code that uses the member.
type Field struct {
	Name        string
	Type        Type
	In          In       // which layers may set it; zero for fields of other paths
	Secret      bool     // never shown again
	Aside       bool     // about the use of the token: part neither of the request for it nor of its identity
	KeepsNulls  bool     // of a map: a null is kept, because it means more than to remove an inherited entry
	Dropped     bool     // accepted, but not stored
	Allowed     []string // the closed set of values, if there is one
	Default     any      // its value when no layer sets it; nil if it has no default
	Description string
	RoleText    string // the description on a role, if the field means something else there
}

// In says which layers may set a field. Each layer overrides the one before.
type In uint8

// The layers. Most of a dialect may be set both by a provider and by a config.
const (
	OnProvider In = 1 << iota
	OnConfig
	OnRole
)

// FieldsOn returns those of the declared fields that a layer may set, with the
// descriptions that apply there.
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

// Inherits reports whether the field can override that of another layer.
func (f Field) Inherits() bool { return f.In != OnProvider && f.In != OnConfig }

// IsMap reports whether the field's values are maps.
func (f Field) IsMap() bool { return f.Type == Values || f.Type == TextPairs || f.Type == Givens }

// Declared returns all fields of a provider, a config or a role that concern the
// request to the provider: the dialect, what else a provider definition holds,
// and the registration. Fields about how tokens are handed out are not included.
func Declared() []Field {
	return slices.Concat(dialectFields(), definitionFields(), credentialFields(), connectionFields())
}

// Fields returns the dialect's fields: those that a provider defines and a config
// overrides.
func Fields() []Field { return dialectFields() }

// DefinitionFields returns the fields that a provider definition holds.
func DefinitionFields() []Field { return FieldsOn(OnProvider, Declared()) }

// Tables for frequent look-ups by name.
//
//nolint:gochecknoglobals // constant tables
var (
	// defaults holds the value of each dialect field that no layer sets. It must
	// not be changed.
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
	// secretCredentials are the secret credentials that placeholders can name.
	secretCredentials = namesOf(credentialFields(), func(f Field) bool {
		return f.Secret && slices.Contains(credentialNames(), f.Name)
	})
)

// namesOf returns the set of the names of the wanted fields.
func namesOf(fields []Field, wanted func(Field) bool) map[string]bool {
	out := map[string]bool{}
	for _, f := range fields {
		if wanted(f) {
			out[f.Name] = true
		}
	}
	return out
}

// check refuses a value that has the right type but is not one of f.Allowed.
func (f Field) check(v any) error {
	if len(f.Allowed) > 0 {
		if s, ok := v.(string); ok && !slices.Contains(f.Allowed, s) {
			return fmt.Errorf("must be one of %s", strings.Join(f.Allowed, ", "))
		}
	}
	return nil
}

// Nearest returns the known name that a misspelt name most likely means, or ""
// if none is close. No known name is close to a very long one.
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

// distance returns the Levenshtein distance between a and b.
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
