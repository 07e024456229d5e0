// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// template is text with placeholders such as {name} or {name|filter|filter}. {{
// and }} stand for literal braces.
type template []part

// part is literal text, or a placeholder if name is set.
type part struct {
	literal string
	name    string
	offset  time.Duration // is added to {now}
	filters []applied
	source  string // the placeholder as it is written
}

// applied is a filter with its argument.
type applied struct {
	filter
	name, arg string
}

var placeholder = regexp.MustCompile(`^((?:source\.)?[a-z][a-z0-9_]*)([+-][0-9a-z]+)?((?:\|[a-z0-9_]+(?::[^|]*)?)*)$`)

func parseTemplate(s string) (template, error) {
	if len(s) > maxExpanded {
		return nil, fmt.Errorf("is longer than %s", inBytes(maxExpanded))
	}
	var (
		out     template
		literal strings.Builder
	)
	flush := func() {
		if literal.Len() > 0 {
			out = append(out, part{literal: literal.String()})
			literal.Reset()
		}
	}
	for s != "" {
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			literal.WriteString(s)
			break
		}
		literal.WriteString(s[:i])
		brace := s[i]
		s = s[i:]
		if len(s) > 1 && s[1] == brace {
			literal.WriteByte(brace)
			s = s[2:]
			continue
		}
		end := strings.IndexByte(s, '}')
		if brace == '}' || end < 0 {
			return nil, errors.New("has a single brace; write {{ or }} for a literal one")
		}
		p, err := parsePart(s[1:end])
		if err != nil {
			return nil, err
		}
		flush()
		out = append(out, p)
		s = s[end+1:]
	}
	flush()
	return out, nil
}

// parsePart parses the text between the braces of a placeholder.
func parsePart(inner string) (part, error) {
	m := placeholder.FindStringSubmatch(inner)
	if m == nil {
		return part{}, errors.New("has braces without a placeholder such as {tenant} or {name|filter}; write {{ or }} for literal ones")
	}
	p := part{name: m[1], source: "{" + inner + "}"}
	if m[2] != "" {
		var err error
		if p.offset, err = time.ParseDuration(m[2]); err != nil || p.name != nameNow || p.offset.Abs() > maxOffset {
			return part{}, fmt.Errorf("has a placeholder with %s after its name, which only {now} takes: {now+1h|unix}, of ten years at most", m[2][:1])
		}
	}
	if m[3] == "" {
		return p, nil
	}
	written := strings.Split(m[3][1:], "|")
	if len(written) > maxFilters {
		return part{}, fmt.Errorf("has a placeholder with more than %d filters", maxFilters)
	}
	for _, w := range written {
		name, arg, _ := strings.Cut(w, ":")
		f, known := filters[name]
		if !known {
			return part{}, fmt.Errorf("names the unknown filter %q; there are %s", name, strings.Join(filterNames(), ", "))
		}
		if err := f.checkArgument(name, arg); err != nil {
			return part{}, err
		}
		p.filters = append(p.filters, applied{filter: f, name: name, arg: arg})
	}
	return p, nil
}

// names returns each name in the placeholders once: values, and the keys of
// filters.
func (t template) names() []string {
	var out []string
	seen := map[string]bool{}
	for _, p := range t {
		for _, name := range p.names() {
			if !seen[name] {
				seen[name] = true
				out = append(out, name)
			}
		}
	}
	return out
}

func (p part) names() []string {
	if p.name == "" {
		return nil
	}
	out := []string{p.name}
	for _, f := range p.filters {
		if f.takes == argumentKey || f.takes == argumentPrivateKey {
			out = append(out, f.arg)
		}
	}
	return out
}

// ends reports whether the last filter of p is one of those in in.
func (p part) ends(in ...string) bool {
	if len(p.filters) == 0 {
		return false
	}
	last := p.filters[len(p.filters)-1].name
	for _, name := range in {
		if name == last {
			return true
		}
	}
	return false
}

// expand replaces the placeholders in one pass: placeholders in a value are not
// expanded. It reports false if t names an optional variable that is not set.
// Its error is errTooLong if the result is too long.
func (t template) expand(e *environment) (string, bool, error) {
	return t.expandEscaped(e, func(s string) string { return s })
}

// expandEscaped is like expand, but escapes the values. It does not escape the
// literal text.
func (t template) expandEscaped(e *environment, escape func(string) string) (string, bool, error) {
	var b strings.Builder
	for _, p := range t {
		if p.name == "" {
			b.WriteString(p.literal)
			continue
		}
		v, set, err := e.fill(p)
		if err != nil || !set {
			return "", false, err
		}
		if b.WriteString(escape(v)); b.Len() > maxExpanded {
			return "", false, errTooLong
		}
	}
	return b.String(), true, nil
}
