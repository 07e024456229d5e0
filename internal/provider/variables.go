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
	Example     string   `json:"example,omitempty"` // a value as one might be
	Default     *string  `json:"default,omitempty"` // may name other variables
	Pattern     string   `json:"pattern,omitempty"` // RE2; the whole value must match
	Enum        []string `json:"enum,omitempty"`
	Optional    bool     `json:"optional,omitempty"` // unset drops the parameter, header or query pair
	Secret      bool     `json:"secret,omitempty"`   // given in secret_variables, and never in a host or path
	Value       *string  `json:"value,omitempty"`    // a template, computed once per request
}

// VariableFields declares the members of a Variable.
func VariableFields() []Field {
	return []Field{
		{Name: "description", Type: Text, Description: "What to put there. It is part of the error when it is missing."},
		{Name: "example", Type: Text, Description: "A value as one might be, for the example of a read."},
		{Name: "default", Type: Text, Description: "What is used when the config gives none. May name other variables."},
		{Name: "pattern", Type: Text, Description: "A regular expression (RE2) that the value must match as a whole."},
		{Name: "enum", Type: Texts, Description: "The values that there are to choose from."},
		{Name: "optional", Type: Flag, Description: "Whether it may be left unset, which drops the parameter, header or query pair that names it. In a host or path that is an error."},
		{Name: "secret", Type: Flag, Description: "Whether it is secret: given in secret_variables, shown nowhere, and never part of a host or path."},
		{Name: "value", Type: Text, Description: "A template of its own, computed once per request, such as {client_id}:{client_secret}."},
	}
}

// listOf names fields in a sentence.
func listOf(fields []Field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// VariableName is the pattern (RE2) of what may stand between the braces of a
// placeholder.
const VariableName = `^[a-z][a-z0-9_]*$`

var variableName = regexp.MustCompile(VariableName)

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

// whole compiles a pattern for the whole value. The pattern has to be one by
// itself as well, so that it cannot close the parenthesis.
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
		return nil, errors.New("too costly to match")
	}
	return regexp.Compile(`^(?:` + pattern + `)$`)
}

// credentialNames are the credentials that placeholders can name.
func credentialNames() []string {
	return slices.Sorted(maps.Keys(Registration{}.credentials()))
}

// environment says what each placeholder stands for.
type environment struct {
	declared map[string]Variable
	given    map[string]string // by config: variables, secret_variables and credentials
	secret   map[string]bool   // of given
	meanings map[string]meaning
	spent    int // bytes of computed ones
	// urlOnConfig: URL and values stand on the same config, so that whoever
	// wrote one could have written the other.
	urlOnConfig bool
}

// meaning is what one placeholder stands for.
type meaning struct {
	text   string
	set    bool
	secret bool // or made of a secret
	err    error
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
			e.given[name], e.secret[name] = v, secretCredentials[name]
		}
	}
	e.settle()
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
	out.settle()
	return &out
}

// names lists everything that a placeholder may name.
func (e *environment) names() []string {
	out := append(credentialNames(), slices.Collect(maps.Keys(e.declared))...)
	out = append(out, slices.Collect(maps.Keys(e.given))...)
	slices.Sort(out)
	return slices.Compact(out)
}

// settle finds out what each placeholder stands for, each once: variables that
// name each other twice over would otherwise take as many steps as there are
// paths between them.
func (e *environment) settle() {
	e.meanings, e.spent = map[string]meaning{}, 0
	for _, name := range e.names() {
		e.resolve(name, nil)
	}
}

// value is what a placeholder stands for, and whether it is set at all.
func (e *environment) value(name string) (string, bool, error) {
	m, known := e.meanings[name]
	if !known {
		return "", false, unknownPlaceholder(name, e.names())
	}
	return m.text, m.set, m.err
}

// isSecret says whether a placeholder stands for a secret, or for something
// made of one.
func (e *environment) isSecret(name string) bool { return e.meanings[name].secret }

// isItselfSecret says whether it does without being made of another.
func (e *environment) isItselfSecret(name string) bool {
	return e.secret[name] || e.declared[name].Secret || secretCredentials[name]
}

// resolve settles the meaning of name, on behalf of the variables within.
func (e *environment) resolve(name string, within []string) meaning {
	if m, known := e.meanings[name]; known {
		return m
	}
	if slices.Contains(within, name) {
		return meaning{err: fmt.Errorf("names variables that name each other in a circle: %s", Listed(append(within, name)))}
	}
	m := e.find(name, within)
	m.secret = m.secret || e.isItselfSecret(name)
	e.meanings[name] = m
	return m
}

func (e *environment) find(name string, within []string) meaning {
	if v, ok := e.given[name]; ok {
		return meaning{text: v, set: true}
	}
	d, known := e.declared[name]
	text := d.Value
	if text == nil {
		text = d.Default
	}
	switch {
	case text != nil:
		return e.compute(name, *text, within)
	case d.Optional:
		return meaning{}
	case known:
		hint := ""
		if d.Description != "" {
			hint = " (" + d.Description + ")"
		}
		field := "variables"
		if d.Secret {
			field = "secret_variables"
		}
		return meaning{err: fmt.Errorf("needs the variable %q%s, which is not set: write %s=%s=…", name, hint, field, name)}
	case slices.Contains(credentialNames(), name):
		return meaning{err: fmt.Errorf("needs %s, which is not set", name)}
	default:
		return meaning{err: unknownPlaceholder(name, nil)} // check says what was meant
	}
}

// compute fills in the text of the variable name.
func (e *environment) compute(name, text string, within []string) meaning {
	t, err := parseTemplate(text)
	if err != nil {
		return meaning{secret: true, err: fmt.Errorf("names the variable %q, whose text %w", name, err)}
	}
	within = append(slices.Clone(within), name)
	var m meaning
	for _, inner := range t.names() {
		m.secret = e.resolve(inner, within).secret || m.secret
	}
	m.text, m.set, m.err = t.expand(func(inner string) (string, bool, error) {
		i := e.resolve(inner, within)
		return i.text, i.set, i.err
	})
	if e.spent += len(m.text); e.spent > maxExpandedAll {
		m.text, m.set, m.err = "", false, errTooLong
	}
	if m.err == nil && m.set {
		if err := e.declared[name].accepts(m.text); err != nil {
			m.err = fmt.Errorf("names the variable %q, which %w", name, err)
		}
	}
	return m
}

// mayHaveDots says whether a value in a host may span labels.
func (e *environment) mayHaveDots(name string) bool {
	d := e.declared[name]
	_, given := e.given[name]
	return d.Pattern != "" || len(d.Enum) > 0 || e.urlOnConfig && given
}

// check refuses placeholders that nothing stands for, but for those more that
// there are where t stands.
func (e *environment) check(t template, more ...string) error {
	for _, name := range t.names() {
		if slices.Contains(more, name) {
			continue
		}
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
