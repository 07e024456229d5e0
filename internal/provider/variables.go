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
	"slices"
	"strings"
)

// Variable declares what a placeholder of a provider stands for.
type Variable struct {
	Description string   `json:"description,omitempty"`
	Default     *string  `json:"default,omitempty"` // may name other variables
	Pattern     string   `json:"pattern,omitempty"` // RE2; the whole value must match
	Enum        []string `json:"enum,omitempty"`
	Optional    bool     `json:"optional,omitempty"` // unset drops the parameter, header or query pair
	Secret      bool     `json:"secret,omitempty"`   // given in secret_variables, and never in a host or path
	Value       *string  `json:"value,omitempty"`    // a template, computed once per request
}

var variableName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// declarations reads a provider's variables field.
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
		b, err := json.Marshal(v)
		if err != nil {
			return nil, at("cannot be read")
		}
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.DisallowUnknownFields()
		var d Variable
		if _, isMap := v.(map[string]any); !isMap || dec.Decode(&d) != nil {
			return nil, at("must be an object of description, default, pattern, enum, optional, secret and value")
		}
		if _, err := whole(d.Pattern); err != nil {
			return nil, at("has a pattern that is no regular expression (RE2 syntax)")
		}
		if d.Value != nil && (d.Default != nil || d.Optional || d.Pattern != "" || d.Enum != nil) {
			return nil, at("is computed (value), so it takes no default, pattern, enum or optional")
		}
		out[name] = d
	}
	return out, nil
}

func (d Variable) accepts(v string) error {
	if len(d.Enum) > 0 && !slices.Contains(d.Enum, v) {
		return fmt.Errorf("must be one of %s", strings.Join(d.Enum, ", "))
	}
	if d.Pattern == "" {
		return nil
	}
	if p, err := whole(d.Pattern); err != nil || !p.MatchString(v) {
		return fmt.Errorf("must match %s", d.Pattern)
	}
	return nil
}

// whole compiles a pattern for the whole value. The pattern has to be one by
// itself as well, so that it cannot close the parenthesis.
func whole(pattern string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(pattern); err != nil {
		return nil, err
	}
	return regexp.Compile(`^(?:` + pattern + `)$`)
}

// credentialNames are the credentials that placeholders can name.
func credentialNames() []string {
	return []string{"client_id", "client_secret", "username", "password"}
}

// secretCredentials are those of them that are secret.
func secretCredentials() []string { return []string{"client_secret", "password"} }

// environment says what each placeholder stands for.
type environment struct {
	declared map[string]Variable
	given    map[string]string // by config: variables, secret_variables and credentials
	secret   map[string]bool   // of given
	// urlOnConfig: URL and values stand on the same config, so that whoever
	// wrote one could have written the other.
	urlOnConfig bool
}

func newEnvironment(declared map[string]Variable, r Registration, urlOnConfig bool) (*environment, error) {
	e := &environment{
		declared: declared, urlOnConfig: urlOnConfig,
		given: map[string]string{}, secret: map[string]bool{},
	}
	for name, v := range r.Variables {
		d, known := declared[name]
		switch {
		case known && d.Secret:
			return nil, invalid("variables", "holds %q, which is secret: write it to secret_variables", name)
		case known && d.Value != nil:
			return nil, invalid("variables", "holds %q, which the provider computes itself: leave it out", name)
		case slices.Contains(credentialNames(), name):
			return nil, invalid("variables", "holds %q: write the field of that name", name)
		case !variableName.MatchString(name):
			// Not quoted: what is no name may be a value in the wrong place.
			return nil, invalid("variables", "holds what is no name for a placeholder: use lower-case letters, digits and _")
		}
		if err := d.accepts(v); err != nil {
			return nil, invalid("variables", "holds a value for %q that %s", name, err)
		}
		e.given[name] = v
	}
	for name, v := range r.SecretVariables {
		if !variableName.MatchString(name) {
			return nil, invalid("secret_variables", "holds what is no name for a placeholder: use lower-case letters, digits and _")
		}
		if _, twice := e.given[name]; twice || slices.Contains(credentialNames(), name) {
			return nil, invalid("secret_variables", "holds %q, which stands elsewhere already", name)
		}
		if d := declared[name]; d.Value != nil || d.accepts(v) != nil {
			return nil, invalid("secret_variables", "holds a value for %q that the provider's declaration does not allow", name)
		}
		e.given[name], e.secret[name] = v, true
	}
	for name, v := range r.credentials() {
		if v != "" {
			e.given[name], e.secret[name] = v, slices.Contains(secretCredentials(), name)
		}
	}
	return e, nil
}

// masked is e with every secret replaced.
func (e *environment) masked() *environment {
	out := *e
	out.given = maps.Clone(e.given)
	for name, secret := range e.secret {
		if secret {
			out.given[name] = "REDACTED"
		}
	}
	for name, d := range e.declared {
		if d.Secret && d.Default != nil {
			out.given[name] = "REDACTED"
		}
	}
	return &out
}

// names lists everything that a placeholder may name.
func (e *environment) names() []string {
	out := append(credentialNames(), slices.Collect(maps.Keys(e.declared))...)
	out = append(out, slices.Collect(maps.Keys(e.given))...)
	slices.Sort(out)
	return slices.Compact(out)
}

// value is what a placeholder stands for, and whether it is set at all.
func (e *environment) value(name string) (string, bool, error) { return e.resolve(name, nil) }

func (e *environment) resolve(name string, within []string) (string, bool, error) {
	if v, ok := e.given[name]; ok {
		return v, true, nil
	}
	if slices.Contains(within, name) {
		return "", false, fmt.Errorf("names variables that name each other in a circle: %s", strings.Join(append(within, name), ", "))
	}
	d, known := e.declared[name]
	var text *string
	switch {
	case d.Value != nil:
		text = d.Value
	case d.Default != nil:
		text = d.Default
	case d.Optional:
		return "", false, nil
	case known:
		hint := ""
		if d.Description != "" {
			hint = " (" + d.Description + ")"
		}
		field := "variables"
		if d.Secret {
			field = "secret_variables"
		}
		return "", false, fmt.Errorf("needs the variable %q%s, which is not set: write %s=%s=…", name, hint, field, name)
	case slices.Contains(credentialNames(), name):
		return "", false, fmt.Errorf("needs %s, which is not set", name)
	default:
		return "", false, unknownPlaceholder(name, e.names())
	}
	t, err := parseTemplate(*text)
	if err != nil {
		return "", false, fmt.Errorf("names the variable %q, whose text %w", name, err)
	}
	v, set, err := t.expand(func(inner string) (string, bool, error) {
		return e.resolve(inner, append(within, name))
	})
	if err == nil && set {
		if err = d.accepts(v); err != nil {
			err = fmt.Errorf("names the variable %q, which %w", name, err)
		}
	}
	return v, set, err
}

// isSecret says whether a placeholder stands for a secret, or for something
// made of one.
func (e *environment) isSecret(name string) bool { return e.secretWithin(name, nil) }

func (e *environment) secretWithin(name string, within []string) bool {
	if e.secret[name] || e.declared[name].Secret || slices.Contains(secretCredentials(), name) {
		return true
	}
	if _, given := e.given[name]; given || slices.Contains(within, name) {
		return false
	}
	for _, text := range []*string{e.declared[name].Value, e.declared[name].Default} {
		if text == nil {
			continue
		}
		t, err := parseTemplate(*text)
		if err != nil {
			return true // nothing is known of it
		}
		for _, inner := range t.names() {
			if e.secretWithin(inner, append(within, name)) {
				return true
			}
		}
	}
	return false
}

// mayHaveDots says whether a value in a host may span labels.
func (e *environment) mayHaveDots(name string) bool {
	d := e.declared[name]
	_, given := e.given[name]
	return d.Pattern != "" || len(d.Enum) > 0 || e.urlOnConfig && given
}

// check refuses placeholders that nothing stands for.
func (e *environment) check(t template) error {
	for _, name := range t.names() {
		_, declared := e.declared[name]
		_, given := e.given[name]
		if !declared && !given && !slices.Contains(credentialNames(), name) {
			return unknownPlaceholder(name, e.names())
		}
	}
	return nil
}

func unknownPlaceholder(name string, known []string) error {
	hint := "declare it, or write {{ and }} for literal braces"
	if near := Nearest(name, known); near != "" {
		hint = fmt.Sprintf("did you mean {%s}?", near)
	}
	return errors.New("names {" + name + "}, which stands for nothing; " + hint)
}
