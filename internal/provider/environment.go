// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// The placeholders that no field and no variable holds.
const (
	nameNow             = "now"              // the time of the attempt
	nameRandom          = "random"           // sixteen bytes, made for the attempt
	nameScope           = "scope"            // the scopes that are asked for
	nameClientAssertion = "client_assertion" // signed for the attempt
	nameAssertion       = "assertion"        // likewise, or made elsewhere
)

const randomBytes = 16

// madeNames are the names of these placeholders.
func madeNames() []string {
	return []string{nameNow, nameRandom, nameScope, nameClientAssertion, nameAssertion}
}

// credentialNames are the credentials that placeholders can name.
func credentialNames() []string {
	return slices.Sorted(maps.Keys(Registration{}.credentials()))
}

// reserved says whether a name stands for something already, so that no variable
// can have it.
func reserved(name string) bool {
	return slices.Contains(credentialNames(), name) || slices.Contains(madeNames(), name)
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

	now    time.Time
	random string
	shown  bool // to the operator: what differs from one attempt to the next stays as it is written
}

// meaning is what one placeholder stands for.
type meaning struct {
	text   string
	set    bool
	secret bool // or made of a secret
	octets bool // bytes that are no text
	varies bool // from one attempt to the next
	err    error
}

func newEnvironment(declared map[string]Variable, r Registration, urlOnConfig bool) (*environment, error) {
	e := &environment{
		declared: declared, urlOnConfig: urlOnConfig,
		given: map[string]string{}, secret: map[string]bool{},
		now: sampleTime(), random: strings.Repeat("\x00", randomBytes),
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
		case reserved(name):
			return nil, invalid("variables", "holds %q, which stands for something already: choose another name", name)
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
		if _, twice := e.given[name]; twice || reserved(name) {
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

// masked is e with every secret replaced, to be shown.
func (e *environment) masked() *environment {
	out := *e
	out.shown, out.given = true, maps.Clone(e.given)
	for name, secret := range e.secret {
		if secret {
			out.given[name] = redacted
		}
	}
	for name, d := range e.declared {
		if d.Secret && d.Default != nil {
			out.given[name] = redacted
		}
	}
	out.settle()
	return &out
}

// redacted stands for a secret that is set.
const redacted = "REDACTED"

// with is e with one more value.
func (e *environment) with(name, value string, secret bool) *environment {
	out := *e
	out.given, out.secret = maps.Clone(e.given), maps.Clone(e.secret)
	out.given[name], out.secret[name] = value, secret
	out.settle()
	return &out
}

// names lists everything that a placeholder may name.
func (e *environment) names() []string {
	out := append(credentialNames(), madeNames()...)
	out = slices.AppendSeq(out, maps.Keys(e.declared))
	out = slices.AppendSeq(out, maps.Keys(e.given))
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
		return meaning{text: v, set: true, varies: name == nameClientAssertion || name == nameAssertion}
	}
	switch name {
	case nameNow, nameRandom:
		return meaning{set: true, varies: true}
	case nameClientAssertion:
		return meaning{varies: true, err: errors.New("needs {client_assertion}, which only token_endpoint_auth_method=private_key_jwt or client_secret_jwt makes, and not for a URL")}
	case nameAssertion:
		return meaning{varies: true, err: errors.New("needs {assertion}, which the field of that name holds, or grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer makes, and not for a URL")}
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
	m := meaning{set: true}
	var b strings.Builder
	for _, p := range t {
		if p.name == "" {
			b.WriteString(p.literal)
			continue
		}
		i := e.of(p, within)
		m.secret, m.varies, m.octets = m.secret || i.secret, m.varies || i.varies, m.octets || i.octets
		if m.err == nil {
			m.err = i.err
		}
		m.set = m.set && i.set
		if b.Len()+len(i.text) > maxExpanded {
			m.err = errTooLong
			continue // for the sake of the secret
		}
		b.WriteString(i.text)
	}
	if e.spent += b.Len(); e.spent > maxExpandedAll {
		m.err = errTooLong
	}
	if m.err != nil || !m.set {
		m.set = false
		return m
	}
	m.text = b.String()
	if err := e.declared[name].accepts(m.text); err != nil {
		m.err = fmt.Errorf("names the variable %q, which %w", name, err)
	}
	return m
}

// fill is what a placeholder comes to where it is sent, and whether it is set
// at all.
func (e *environment) fill(p part) (string, bool, error) {
	m := e.of(p, nil)
	if m.err != nil || !m.set {
		return "", false, m.err
	}
	return m.text, true, nil
}

// of is what a placeholder comes to, with its filters, on behalf of the
// variables within.
func (e *environment) of(p part, within []string) meaning {
	m := e.resolve(p.name, within)
	hashes := false
	keys := make([]string, len(p.filters))
	for i, f := range p.filters {
		hashes = hashes || f.out == sortOctets
		if keys[i] = f.arg; f.takes != argumentKey {
			continue
		}
		key := e.resolve(f.arg, within)
		keys[i] = key.text
		m.secret, m.varies, m.set = m.secret || key.secret, m.varies || key.varies, m.set && key.set
		if m.err == nil {
			m.err = key.err
		}
	}
	last, err := e.sortOf(p)
	m.octets = last == sortOctets
	if m.err == nil {
		m.err = err
	}
	if m.err != nil || !m.set {
		return m
	}
	if e.shown && (m.varies || hashes && m.secret) { // a hash of "REDACTED" would pass for the real one
		m.text = p.source
		return m
	}
	v := value{text: m.text}
	switch p.name {
	case nameNow:
		v.at = e.now.Add(p.offset).UTC()
	case nameRandom:
		v.text = e.random
	}
	for i, f := range p.filters {
		if len(v.text) > maxExpanded {
			m.err = errTooLong
			return m
		}
		text, err := f.apply(v, keys[i])
		if err != nil {
			m.err = fmt.Errorf("%w in %s", err, p.source)
			if e.shown && m.secret {
				m.text, m.err = p.source, nil
			}
			return m
		}
		v = value{text: text}
	}
	m.text = v.text
	return m
}

// sortOf is what a placeholder's filters leave. Its error says which filter does
// not fit what is before it.
func (e *environment) sortOf(p part) (sort, error) {
	s := sortText
	switch {
	case p.name == nameNow:
		s = sortMoment
	case p.name == nameRandom:
		s = sortRandom
	case e.meanings[p.name].octets:
		s = sortOctets
	}
	for _, f := range p.filters {
		if f.in&s == 0 {
			return s, f.unfit(s)
		}
		s = f.out
	}
	if s == sortMoment || s == sortRandom {
		return s, unwritten(s)
	}
	return s, nil
}

// mayHaveDots says whether a value in a host may span labels.
func (e *environment) mayHaveDots(name string) bool {
	d := e.declared[name]
	_, given := e.given[name]
	return d.Pattern != "" || len(d.Enum) > 0 || e.urlOnConfig && given
}

// check refuses what cannot be sent: what checkVariable refuses, and placeholders
// that come to no text.
func (e *environment) check(t template, more ...string) error {
	if err := e.checkVariable(t, more...); err != nil {
		return err
	}
	for _, p := range t {
		if s, _ := e.sortOf(p); p.name != "" && s != sortText {
			return unwritten(s)
		}
	}
	return nil
}

// checkVariable refuses placeholders that nothing stands for, but for those more
// that there are where t stands, filters that do not fit, and keys that are no
// secret.
func (e *environment) checkVariable(t template, more ...string) error {
	for _, name := range t.names() {
		if slices.Contains(more, name) {
			continue
		}
		_, declared := e.declared[name]
		_, given := e.given[name]
		if !declared && !given && !reserved(name) {
			return unknownPlaceholder(name, e.names())
		}
	}
	for _, p := range t {
		if p.name == "" {
			continue
		}
		if _, err := e.sortOf(p); err != nil {
			return err
		}
		for _, f := range p.filters {
			if f.takes == argumentKey && !e.isSecret(f.arg) {
				return fmt.Errorf("signs with %q (filter %s), which is no secret: anybody could sign so; name client_secret, or one of secret_variables", f.arg, f.name)
			}
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
