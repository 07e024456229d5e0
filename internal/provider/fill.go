// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// fill returns the text that is sent for a placeholder, and whether it is set at
// all.
func (e *environment) fill(p part) (string, bool, error) {
	m := e.of(p, nil)
	if m.err != nil || !m.set {
		return "", false, m.err
	}
	return m.text, true, nil
}

// of returns the meaning of a placeholder after its filters are applied. within
// is as in resolve.
func (e *environment) of(p part, within []string) meaning {
	m := e.resolve(p.name, within)
	hashes := false
	keys := make([]string, len(p.filters))
	for i, f := range p.filters {
		hashes = hashes || f.out == sortOctets
		if keys[i] = f.arg; f.takes != argumentKey && f.takes != argumentPrivateKey {
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
	if e.shown && (m.varies || hashes && m.secret) { // a hash of "REDACTED" would look like the real one
		m.text = p.source
		return m
	}
	if m.unknown { // its filters would refuse most texts
		if m.text = "0"; p.ends("json") {
			m.text = `"0"`
		}
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
		text, err := e.apply(f, v, keys[i])
		if err != nil {
			if m.err = err; !errors.Is(err, errTooMuch) {
				m.err = fmt.Errorf("%w in %s", err, p.source)
			}
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

// apply returns what a filter makes of v. arg is the filter's argument, or the
// text of the key that it names.
func (e *environment) apply(f applied, v value, arg string) (string, error) {
	signs := f.takes == argumentPrivateKey
	if e.filtered += len(v.text); signs {
		e.filtered += costOfSigning
	}
	if e.filtered > maxFiltered {
		return "", errTooMuch
	}
	if signs {
		sum := sha256.Sum256([]byte(v.text))
		signature, err := rsa.SignPKCS1v15(rand.Reader, e.key, crypto.SHA256, sum[:])
		if err != nil {
			return "", errors.New("needs a longer key")
		}
		return string(signature), nil
	}
	text, err := f.apply(v, arg)
	if f.name == "urlencode" {
		text = e.spaced(text)
	}
	return text, err
}

// queryEscape escapes a value of a query or a form.
func (e *environment) queryEscape(s string) string { return e.spaced(url.QueryEscape(s)) }

// spaced writes the spaces of URL-encoded text as the server wants them.
func (e *environment) spaced(encoded string) string {
	if e.percentSpaces {
		return strings.ReplaceAll(encoded, "+", "%20")
	}
	return encoded
}

// sortOf returns the sort of value that a placeholder's filters produce. Its
// error says which filter does not fit what comes before it.
func (e *environment) sortOf(p part) (sort, error) {
	s := sortText
	switch {
	case p.name == nameNow:
		s = sortMoment
	case p.name == nameRandom:
		s = sortRandom
	case p.name == namePrivateKey:
		s = sortPrivateKey
	case e.meanings[p.name].octets:
		s = sortOctets
	}
	for _, f := range p.filters {
		if f.in&s == 0 {
			return s, f.unfit(s)
		}
		s = f.out
	}
	if s&(sortMoment|sortRandom|sortPrivateKey) != 0 {
		return s, unwritten(s)
	}
	return s, nil
}

// check refuses a template that cannot be sent: it applies checkVariable, and
// refuses placeholders that do not produce text.
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

// checkVariable refuses unknown placeholders, filters that do not fit, and
// signing keys that are not secret. The names in more are known where t stands,
// in addition to those that are known everywhere.
func (e *environment) checkVariable(t template, more ...string) error {
	for _, name := range t.names() {
		if slices.Contains(more, name) || isChained(name) {
			continue
		}
		_, declared := e.declared[name]
		_, given := e.given[name]
		if !declared && !given && !reserved(name) {
			return unknownPlaceholder(name, append(e.names(), more...))
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
			if f.takes == argumentKey && f.arg == namePrivateKey {
				return fmt.Errorf("signs with private_key (filter %s), which only rsa_sha256 does; name client_secret, or one of secret_variables", f.name)
			}
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
	return errors.New("names {" + name + "}, which is not defined; " + hint)
}
