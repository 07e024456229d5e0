// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// The placeholders whose values the engine provides, in addition to credentials
// and variables.
const (
	nameNow             = "now"              // the time of the attempt
	nameRandom          = "random"           // sixteen bytes, made for the attempt
	nameScope           = "scope"            // the scopes that the request asks for
	nameClientAssertion = "client_assertion" // signed for the attempt
	nameAssertion       = "assertion"        // signed for the attempt, or the config's own assertion
	namePrivateKey      = "private_key"      // what the filter rsa_sha256 signs with
)

const randomBytes = 16

// madeNames returns the names of these placeholders.
func madeNames() []string {
	return []string{nameNow, nameRandom, nameScope, nameClientAssertion, nameAssertion, namePrivateKey}
}

// credentialNames returns the names of the credentials that placeholders can
// name, sorted.
func credentialNames() []string {
	return slices.Sorted(maps.Keys(Registration{}.credentials()))
}

// reserved reports whether a name already stands for something, so that no
// variable can have it.
func reserved(name string) bool {
	return slices.Contains(credentialNames(), name) || slices.Contains(madeNames(), name)
}

// environment holds what each placeholder stands for.
type environment struct {
	declared map[string]Variable
	given    map[string]string // by the config (variables, secret_variables and credentials) and by its source_config
	secret   map[string]bool   // which of the given are secret
	meanings map[string]meaning
	spent    int // bytes of all computed variables
	filtered int // bytes that all filters have read
	// urlOnConfig means that the config sets the URL as well as the values: the
	// writer of the values could then have written any URL.
	urlOnConfig bool

	now    time.Time
	random string
	key    *rsa.PrivateKey // private_key; nil if there is none, or if it is not an RSA key

	percentSpaces bool // URL-encoded text has %20 for a space, and not +

	hosts    []string        // source_hosts
	public   map[string]bool // what is of source_config and not secret
	sampling bool            // any text stands for what is of source_config, because it is not known yet

	shown bool // e is for display: a placeholder whose value differs between attempts stays as it is written
}

// meaning is what one placeholder stands for.
type meaning struct {
	text   string
	set    bool
	secret bool // a secret, or made of one
	octets bool // bytes that are not text
	varies bool // differs from one attempt to the next
	err    error

	unknown bool // any text of the right form stands for it: see sampling
}

func newEnvironment(declared map[string]Variable, r Registration, urlOnConfig bool) (*environment, error) {
	e := &environment{
		declared: declared, urlOnConfig: urlOnConfig, hosts: r.SourceHosts,
		given: map[string]string{}, secret: map[string]bool{},
		now: sampleTime(), random: strings.Repeat("\x00", randomBytes),
	}
	for name, v := range r.Variables {
		text, isText := v.(string)
		if !isText {
			continue // a computed variable, which withComputed has declared
		}
		d := declared[name]
		if err := d.givable(name); err != nil {
			return nil, err
		}
		if err := d.accepts(text); err != nil {
			return nil, invalid("variables", "holds a value for %q that %s", name, err)
		}
		e.given[name] = text
	}
	for name, v := range r.SecretVariables {
		if !variableName.MatchString(name) {
			return nil, invalid("secret_variables", "holds a name that cannot be a placeholder: use lower-case letters, digits and _, and begin with a letter")
		}
		if _, twice := e.given[name]; twice || reserved(name) || declared[name].OfConfig {
			return nil, invalid("secret_variables", "holds %q, which already has a meaning: choose another name", name)
		}
		if d := declared[name]; d.Value != nil || d.accepts(v) != nil {
			return nil, invalid("secret_variables", "holds a value for %q that the provider's declaration does not allow", name)
		}
		e.given[name], e.secret[name] = v, true
	}
	for name, v := range r.credentials() {
		if v != "" || name == "client_secret" && r.EmptySecret {
			e.given[name], e.secret[name] = v, secretCredentials[name]
		}
	}
	e.settle()
	return e, nil
}

// masked returns a copy of e for display, in which every secret is replaced.
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

// redacted is what is shown in place of a secret that is set.
const redacted = "REDACTED"

// with returns a copy of e with one more value.
func (e *environment) with(name, value string, secret bool) *environment {
	out := *e
	out.given, out.secret = maps.Clone(e.given), maps.Clone(e.secret)
	out.given[name], out.secret[name] = value, secret
	out.settle()
	return &out
}

// names returns everything that a placeholder may name, sorted.
func (e *environment) names() []string {
	out := append(credentialNames(), madeNames()...)
	out = slices.AppendSeq(out, maps.Keys(e.declared))
	out = slices.AppendSeq(out, maps.Keys(e.given))
	slices.Sort(out)
	return slices.Compact(out)
}

// settle works out once what each placeholder stands for. Otherwise, in a chain
// of variables that each name the next one twice, the work would double with
// every variable.
func (e *environment) settle() {
	e.meanings, e.spent, e.filtered = map[string]meaning{}, 0, 0
	for _, name := range e.names() {
		e.resolve(name, nil)
	}
}

// isSecret reports whether a placeholder stands for a secret, or for something
// made of one.
func (e *environment) isSecret(name string) bool { return e.meaning(name).secret }

// meaning returns what a placeholder stands for, as settle has found it.
func (e *environment) meaning(name string) meaning {
	if isChained(name) {
		return e.chained(name)
	}
	return e.meanings[name]
}

// isItselfSecret reports whether a placeholder stands for a secret by itself, not
// because it is made of one.
func (e *environment) isItselfSecret(name string) bool {
	return e.secret[name] || e.declared[name].Secret || secretCredentials[name] || isChained(name) && !e.public[name]
}

// resolve returns the meaning of name, and remembers it. The variables in within
// are being resolved already and lead to name; they show whether variables name
// each other in a circle.
func (e *environment) resolve(name string, within []string) meaning {
	if isChained(name) {
		return e.chained(name)
	}
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
	case namePrivateKey:
		m := meaning{secret: true, set: e.key != nil}
		if !m.set {
			m.err = errors.New("needs an RSA key in private_key (a signing_key only signs JWTs)")
		}
		return m
	case nameClientAssertion:
		return meaning{varies: true, err: errors.New("needs {client_assertion}, which exists only with token_endpoint_auth_method=private_key_jwt or client_secret_jwt, and not in a URL")}
	case nameAssertion:
		return meaning{varies: true, err: errors.New("needs {assertion}, which exists only if the field assertion is set or with grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer, and not in a URL")}
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
		return meaning{err: unknownPlaceholder(name, nil)} // check suggests the name that was meant
	}
}

// compute returns the meaning of the variable name, whose text is a template.
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
		m.unknown = m.unknown || i.unknown
		if m.err == nil {
			m.err = i.err
		}
		m.set = m.set && i.set
		if m.err == nil && b.Len()+len(i.text) > maxExpanded {
			m.err = errTooLong
		}
		if m.err != nil || !m.set {
			continue // to find out whether the rest names a secret
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
	if err := e.declared[name].accepts(m.text); err != nil && !m.unknown {
		m.err = fmt.Errorf("names the variable %q, which %w", name, err)
	}
	return m
}

// mayHaveDots reports whether a value in a host may hold dots.
func (e *environment) mayHaveDots(name string) bool {
	d := e.declared[name]
	_, given := e.given[name]
	return isChained(name) || d.Pattern != "" || len(d.Enum) > 0 || e.urlOnConfig && (given || d.OfConfig)
}
