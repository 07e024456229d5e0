// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// Variable declares what a placeholder of a provider stands for.
type Variable struct {
	Description string   `json:"description,omitempty"`
	Example     string   `json:"example,omitempty"` // a value that a config might set
	Default     *string  `json:"default,omitempty"` // may name other variables
	Pattern     string   `json:"pattern,omitempty"` // RE2; the whole value must match
	Enum        []string `json:"enum,omitempty"`
	Optional    bool     `json:"optional,omitempty"` // if it is not set, the parameter, header or query pair is left out
	Secret      bool     `json:"secret,omitempty"`   // set in secret_variables, and never in a host or path
	Value       *string  `json:"value,omitempty"`    // a template, computed for each request

	OfConfig bool `json:"-"` // the config, not the provider, sets Value
}

// VariableFields declares the members of a Variable.
func VariableFields() []Field {
	return []Field{
		{Name: "description", Type: Text, Description: "What to write there. It is part of the error when the variable is missing."},
		{Name: "example", Type: Text, Description: "A value that a config might set, for the example that a read of the provider shows."},
		{Name: "default", Type: Text, Description: "The value when the config sets none. May name other variables."},
		{Name: "pattern", Type: Text, Description: "A regular expression (RE2) that the value must match as a whole."},
		{Name: "enum", Type: Texts, Description: "The values to choose from."},
		{Name: "optional", Type: Flag, Description: "Whether the variable may be left out. The parameter, header or query pair that names it is then not sent. In a host or path that is an error."},
		{Name: "secret", Type: Flag, Description: "Whether the variable is secret: set in secret_variables, shown nowhere, and never part of a host or path."},
		{Name: "value", Type: Text, Description: "A template that is computed for each request, such as {client_id}:{client_secret}."},
	}
}

// listOf joins the names of the fields for a sentence.
func listOf(fields []Field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// VariableName is the pattern (RE2) of a name that a placeholder may use.
const VariableName = `^[a-z][a-z0-9_]*$`

var variableName = regexp.MustCompile(VariableName)

// declarations reads and checks a provider's variables field.
func declarations(raw map[string]any) (map[string]Variable, error) {
	out := make(map[string]Variable, len(raw))
	for name, v := range raw {
		at := func(problem string) error {
			return invalid("variables", "declares %s, which %s", quoted(name), problem)
		}
		if !variableName.MatchString(name) {
			return nil, at("is no name for a placeholder: use lower-case letters, digits and _")
		}
		if slices.Contains(credentialNames(), name) {
			return nil, at("is the name of a credential; choose another")
		}
		if reserved(name) {
			return nil, at("already has a meaning; choose another name")
		}
		b, err := json.Marshal(v)
		if err != nil {
			return nil, at("cannot be read")
		}
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.DisallowUnknownFields()
		var d Variable
		if _, isMap := v.(map[string]any); !isMap || dec.Decode(&d) != nil {
			return nil, at("must be an object of " + listOf(VariableFields()))
		}
		if _, err := whole(d.Pattern); err != nil {
			return nil, at("has a pattern that is no regular expression (RE2 syntax), or one of more than 1000 steps")
		}
		if d.Example != "" && d.accepts(d.Example) != nil {
			return nil, at("has an example that its own pattern or enum refuses")
		}
		if d.Value != nil && (d.Default != nil || d.Optional || d.Pattern != "" || d.Enum != nil) {
			return nil, at("is computed (value), so it takes no default, pattern, enum or optional")
		}
		out[name] = d
	}
	return out, nil
}

// texts returns the texts of d that may name other variables.
func (d Variable) texts() []string {
	var out []string
	for _, text := range []*string{d.Value, d.Default} {
		if text != nil {
			out = append(out, *text)
		}
	}
	return out
}

// withComputed returns a provider's declarations together with the variables that
// a config computes itself.
func withComputed(declared map[string]Variable, given map[string]any) (map[string]Variable, error) {
	out := maps.Clone(declared)
	for name, v := range given {
		object, computed := v.(map[string]any)
		if !computed {
			continue
		}
		d := declared[name]
		if err := d.givable(name); err != nil {
			return nil, err
		}
		value, _ := object["value"].(string)
		d.Value, d.Default, d.OfConfig = &value, nil, true
		out[name] = d
	}
	return out, nil
}

// givable refuses a variable that a config cannot set in its variables field.
func (d Variable) givable(name string) error {
	switch {
	case d.Secret:
		return invalid("variables", "holds %q, which is a secret: write it to secret_variables", name)
	case d.Value != nil:
		return invalid("variables", "holds %q, which the provider computes itself: leave it out", name)
	case slices.Contains(credentialNames(), name):
		return invalid("variables", "holds %q: write the field of that name", name)
	case reserved(name):
		return invalid("variables", "holds %q, which already has a meaning: choose another name", name)
	case !variableName.MatchString(name):
		// The name is not quoted, because it may be a value in the wrong place.
		return invalid("variables", "holds a name that cannot be a placeholder: use lower-case letters, digits and _, and begin with a letter")
	}
	return nil
}

func (d Variable) accepts(v string) error {
	if len(d.Enum) > 0 && !slices.Contains(d.Enum, v) {
		return fmt.Errorf("must be one of %s", Listed(d.Enum))
	}
	if d.Pattern == "" {
		return nil
	}
	if len(v) > maxMatched {
		return fmt.Errorf("must match a pattern, so it must not be longer than %s", inBytes(maxMatched))
	}
	if p, err := whole(d.Pattern); err != nil || !p.MatchString(v) {
		return fmt.Errorf("must match %s", d.Pattern)
	}
	return nil
}

// whole compiles a pattern that has to match the whole value. The pattern must
// also be valid by itself, so that it cannot close the parenthesis around it.
func whole(pattern string) (*regexp.Regexp, error) {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, err
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, err
	}
	if len(program.Inst) > maxPattern {
		return nil, errors.New("takes too long to match")
	}
	return regexp.Compile(`^(?:` + pattern + `)$`)
}
