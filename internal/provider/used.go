// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"errors"
	"maps"
	"slices"
)

// checkVariables refuses values that no placeholder uses, and variables whose
// templates cannot be filled in.
func (e *Effective) checkVariables() error {
	used := e.usedNames()
	e.names = e.withVariables(used)
	for name, d := range e.declared {
		says := "declares %s, whose text %s"
		if d.OfConfig {
			says = "holds %s, whose value %s"
		} else {
			used = append(used, name)
		}
		if errors.Is(e.env.meanings[name].err, errTooLong) {
			return invalid("variables", says, quoted(name), errTooLong)
		}
		for _, text := range d.texts() {
			t, err := parseTemplate(text)
			if err == nil {
				err = e.env.checkVariable(t)
			}
			if err != nil {
				return invalid("variables", says, quoted(name), err)
			}
			used = append(used, t.names()...)
		}
	}
	known := setOf(used)
	for field, given := range map[string][]string{
		"variables": slices.Collect(maps.Keys(e.registration.Variables)), "secret_variables": slices.Collect(maps.Keys(e.registration.SecretVariables)),
	} {
		for _, name := range given {
			if known[name] {
				continue
			}
			if near := Nearest(name, used); near != "" {
				return invalid(field, "holds %q, which no placeholder uses: did you mean %q?", name, near)
			}
			return invalid(field, "holds %q, which the provider does not declare and no placeholder uses", name)
		}
	}
	return nil
}

// withVariables returns the set of these names, together with the names of
// everything that the variables among them are made of.
func (e *Effective) withVariables(names []string) map[string]bool {
	out := map[string]bool{}
	for next := names; len(next) > 0; {
		names, next = next, nil
		for _, name := range names {
			if out[name] {
				continue
			}
			out[name] = true
			if _, given := e.env.given[name]; given {
				continue
			}
			for _, text := range e.declared[name].texts() {
				t, _ := parseTemplate(text) // checkVariables says what is wrong with it
				next = append(next, t.names()...)
			}
		}
	}
	return out
}

// usedNames returns the names in the placeholders of the URLs, texts and body.
// What the variables among them are made of is not included.
func (e *Effective) usedNames() []string {
	urls := slices.AppendSeq(slices.AppendSeq(slices.Clone(e.resources), maps.Values(e.urls)), maps.Values(e.sources))
	return e.namesIn(urls, e.filledIn())
}

// sentNames returns the set of the names that the request for a token uses, also by
// way of variables.
func (e *Effective) sentNames() map[string]bool {
	var urls []*urlTemplate
	if u := e.urls["token_url"]; u != nil {
		urls = append(urls, u)
	}
	fields := slices.DeleteFunc(e.filledIn(), func(f filled) bool { return f.own != "" })
	return e.withVariables(e.namesIn(urls, fields))
}

// namesIn returns the names in the placeholders of these URLs and fields, and of
// request_body.
func (e *Effective) namesIn(urls []*urlTemplate, fields []filled) []string {
	var out []string
	for _, u := range urls {
		out = append(out, u.parts.names()...)
	}
	for _, f := range fields {
		_, _ = EachText(f.texts, func(s string) (string, error) {
			t, _ := parseTemplate(s) // checkPlaceholders refuses a broken one
			out = append(out, slices.DeleteFunc(t.names(), func(name string) bool { return name == f.own })...)
			return s, nil
		})
	}
	body, _ := parseTemplate(e.Dialect.RequestBody) // checkBody refuses a broken one
	return append(out, body.names()...)
}

// filled is a field whose texts may hold placeholders.
type filled struct {
	field string
	texts map[string]any
	own   string // the placeholder for the token that is sent; "" for a field of the request for one
	open  bool   // its placeholders must not name secrets
}

// filledIn returns the fields whose texts may hold placeholders, except the URLs
// and request_body.
func (e *Effective) filledIn() []filled {
	d := e.Dialect
	return []filled{
		{field: "parameters", texts: d.Parameters},
		{field: "request_headers", texts: d.RequestHeaders},
		{field: "check_headers", texts: d.CheckHeaders, own: accessToken},
		{field: "revocation_parameters", texts: d.RevocationParameters, own: accessToken},
		{field: "revocation_headers", texts: d.RevocationHeaders, own: accessToken},
		{field: "assertion_claims", texts: d.AssertionClaims},
		{field: "assertion_headers", texts: d.AssertionHeaders},
		{field: "assertion_audience", texts: map[string]any{"aud": d.AssertionAudience}, open: true},
	}
}

// checkPlaceholders refuses texts whose placeholders cannot be filled in.
func (e *Effective) checkPlaceholders() error {
	for _, f := range e.filledIn() {
		for name, v := range f.texts {
			_, err := EachText(v, func(s string) (string, error) {
				t, err := parseTemplate(s)
				if err == nil {
					err = e.env.check(t, f.own)
				}
				if err == nil && f.open && slices.ContainsFunc(t.names(), e.env.isSecret) {
					err = errors.New("names a secret, and an audience is shown to the provider in the clear")
				}
				return s, err
			})
			if err != nil {
				return invalidText(f.field, name, err)
			}
		}
	}
	return nil
}

// invalidText returns the error for a text in a map field that cannot be filled
// in.
func invalidText(field, name string, err error) error {
	return invalid(field, "holds a text under %s that %s", quoted(name), err)
}
