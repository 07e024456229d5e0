// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// secrets returns the texts that an answer must not repeat. The first list holds
// the secrets themselves, also in the form that a placeholder's filters give
// them. The second list holds texts that are made of a secret and of other text.
func (e *Effective) secrets() (secrets, composed []string) {
	r := e.registration
	secrets = []string{r.ClientSecret, r.FallbackSecret, r.RefreshToken, r.Password, r.Assertion, r.ProxyPassword}
	for name, v := range e.given {
		if !typeInputs[name] && !e.env.public[name] {
			secrets = append(secrets, v)
		}
	}
	for _, v := range r.SecretParameters {
		secrets = append(secrets, scalars(v)...)
	}
	for _, v := range r.SecretVariables {
		secrets = append(secrets, v)
	}
	for name, d := range e.declared {
		if m := e.env.meanings[name]; d.Secret && m.set && m.err == nil { // even if it comes from the default
			secrets = append(secrets, m.text)
		}
	}
	for _, t := range e.templates() {
		made := false
		for _, p := range t {
			if p.name == "" {
				continue
			}
			m := e.env.of(p, nil)
			if !m.secret || m.err != nil || !m.set || m.text == "" {
				continue
			}
			made = true
			if e.env.isItselfSecret(p.name) || p.hides() {
				secrets = append(secrets, m.text)
			} else {
				composed = append(composed, m.text)
			}
		}
		if text, set, err := t.expand(e.env); made && set && err == nil {
			composed = append(composed, text)
		}
	}
	slices.Sort(secrets)
	slices.Sort(composed)
	return slices.Compact(secrets), slices.Compact(composed)
}

// hides reports whether the input of p's filters cannot be recognized in their
// output. Then the output is as secret as the input: a signature is as good as
// the secret for as long as the server accepts it.
func (p part) hides() bool {
	return slices.ContainsFunc(p.filters, func(f applied) bool { return f.hides })
}

// templates returns the templates of the request, and of the variables that it
// may use.
func (e *Effective) templates() []template {
	var out []template
	collect := func(s string) (string, error) {
		t, err := parseTemplate(s)
		if err == nil { // a broken one is refused by the check of its field
			out = append(out, t)
		}
		return s, nil
	}
	for _, f := range e.filledIn() {
		_, _ = EachText(f.texts, collect) // never fails
	}
	_, _ = collect(e.Dialect.RequestBody)
	for _, d := range e.declared {
		for _, text := range d.texts() {
			_, _ = collect(text)
		}
	}
	for _, u := range e.urls {
		for _, q := range u.query {
			out = append(out, q.value)
		}
	}
	return out
}

// scalars returns the texts and numbers within v as they are sent.
func scalars(v any) []string {
	var out []string
	switch v := v.(type) {
	case string:
		out = append(out, v)
	case float64:
		out = append(out, strconv.FormatFloat(v, 'f', -1, 64))
	case json.Number:
		out = append(out, v.String())
	case map[string]any:
		for _, item := range v {
			out = append(out, scalars(item)...)
		}
	case []any:
		for _, item := range v {
			out = append(out, scalars(item)...)
		}
	}
	return out
}

// tidied returns v without the newline at the end of each one-line secret. A file
// (client_secret=@file) ends with a newline that is not part of the secret.
func tidied(v any) (any, error) {
	return EachText(v, func(s string) (string, error) {
		if line, one := oneLine(s); one {
			return line, nil
		}
		return s, nil
	})
}

// Padded returns the names of the fields whose secret begins or ends with white
// space. Usually that is an accident, but only the writer can know.
func Padded(fields []Field, l Layer) []string {
	var out []string
	for _, f := range fields {
		padded := false
		_, _ = EachText(l[f.Name], func(s string) (string, error) {
			line, one := oneLine(s)
			padded = padded || one && strings.TrimSpace(line) != line
			return s, nil
		})
		if f.Secret && padded {
			out = append(out, f.Name)
		}
	}
	return out
}

// oneLine returns s without the newline at its end, and reports whether the rest
// is a single line. Text of several lines, such as PEM, needs its last newline.
func oneLine(s string) (string, bool) {
	line := strings.TrimRight(s, "\r\n")
	return line, !strings.ContainsAny(line, "\r\n")
}
