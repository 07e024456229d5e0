// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// template is text with placeholders: {name}, or {name|filter|filter}; {{ and
// }} are literal braces.
type template []part

// part is a literal, or a placeholder when name is set.
type part struct {
	literal string
	name    string
	filters []string
}

var placeholder = regexp.MustCompile(`^([a-z][a-z0-9_]*)((?:\|[a-z0-9]+)*)$`)

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
		m := placeholder.FindStringSubmatch(s[1:end])
		if m == nil {
			return nil, errors.New("has braces that hold no placeholder such as {tenant} or {name|filter}; write {{ or }} for literal ones")
		}
		p := part{name: m[1]}
		if m[2] != "" {
			p.filters = strings.Split(m[2][1:], "|")
		}
		if len(p.filters) > maxFilters {
			return nil, fmt.Errorf("has a placeholder with more than %d filters", maxFilters)
		}
		for _, f := range p.filters {
			if filter(f) == nil {
				return nil, fmt.Errorf("names the unknown filter %q; there are %s", f, strings.Join(filterNames(), ", "))
			}
		}
		flush()
		out = append(out, p)
		s = s[end+1:]
	}
	flush()
	return out, nil
}

func filterNames() []string {
	return []string{"base64", "base64url", "hex", "lower", "upper", "urlencode"}
}

// filter gives the function of that name, or nil.
func filter(name string) func(string) string {
	switch name {
	case "base64":
		return func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	case "base64url":
		return func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	case "hex":
		return func(s string) string { return hex.EncodeToString([]byte(s)) }
	case "lower":
		return strings.ToLower
	case "upper":
		return strings.ToUpper
	case "urlencode":
		return url.QueryEscape
	}
	return nil
}

func (t template) names() []string {
	var out []string
	seen := map[string]bool{}
	for _, p := range t {
		if p.name != "" && !seen[p.name] {
			seen[p.name] = true
			out = append(out, p.name)
		}
	}
	return out
}

// expand replaces the placeholders in one pass: no value is expanded again.
// It reports false when an optional variable that t names is unset, and fails
// with errTooLong.
func (t template) expand(value func(name string) (string, bool, error)) (string, bool, error) {
	var b strings.Builder
	for _, p := range t {
		if p.name == "" {
			b.WriteString(p.literal)
			continue
		}
		v, set, err := p.value(value)
		if err != nil || !set {
			return "", false, err
		}
		if b.WriteString(v); b.Len() > maxExpanded {
			return "", false, errTooLong
		}
	}
	return b.String(), true, nil
}

func (p part) value(value func(name string) (string, bool, error)) (string, bool, error) {
	v, set, err := value(p.name)
	if err != nil || !set {
		return "", false, err
	}
	for _, f := range p.filters {
		if len(v) > maxExpanded {
			return "", false, errTooLong
		}
		v = filter(f)(v)
	}
	return v, true, nil
}
