// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// urlTemplate is a URL with placeholders. Each placeholder is known to stand in
// one component, so that its value cannot reach into another component.
type urlTemplate struct {
	parts template
	host  template
	path  []template // segments
	query []queryPair
	text  string // the whole URL, with a marker for each placeholder
}

type queryPair struct {
	name  string // as written
	value template
	bare  bool // no "="
}

// marker returns the text that stands for the i-th placeholder while the URL is
// parsed. It is legal in every component that may hold a placeholder.
func marker(i int) string { return "zq" + strconv.Itoa(i) + "qz" }

var markers = regexp.MustCompile(`zq([0-9]+)qz`)

func parseURL(s string) (*urlTemplate, error) {
	parts, err := parseTemplate(s)
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	for i, p := range parts {
		if p.name == "" {
			if markers.MatchString(p.literal) || strings.ContainsFunc(p.literal, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
				return nil, errors.New("is not a URL")
			}
			text.WriteString(p.literal)
		} else {
			text.WriteString(marker(i))
		}
	}
	u := &urlTemplate{parts: parts, text: text.String()}
	if !u.marksEachPlaceholder() {
		return nil, errors.New("is not a URL")
	}
	parsed, err := url.Parse(u.text)
	switch {
	case err != nil:
		return nil, errors.New("is not a URL; a placeholder may stand in a host, a path segment or a query value")
	case parsed.Scheme != "https" && parsed.Scheme != "http":
		return nil, errors.New("must start with https:// (http:// only to loopback, or with allow_insecure_http); a placeholder cannot be the scheme")
	case parsed.Host == "" || parsed.Hostname() == "":
		return nil, errors.New("has no host")
	case parsed.User != nil:
		return nil, errors.New("holds a user name: credentials have fields of their own")
	case parsed.Fragment != "" || strings.Contains(u.text, "#"):
		return nil, errors.New("holds a fragment (#); leave it out")
	case markers.MatchString(parsed.Port()):
		return nil, errors.New("has a placeholder for its port; only host, path segments and query values may have one")
	}
	if err := checkHost(parsed.Hostname()); err != nil {
		return nil, err
	}
	if err := checkPort(parsed.Port()); err != nil {
		return nil, err
	}
	u.host = u.template(parsed.Hostname())
	for _, segment := range strings.Split(parsed.EscapedPath(), "/") {
		u.path = append(u.path, u.template(segment))
	}
	if parsed.RawQuery != "" {
		for _, pair := range strings.Split(parsed.RawQuery, "&") {
			name, value, has := strings.Cut(pair, "=")
			if markers.MatchString(name) {
				return nil, errors.New("has a placeholder left of = in its query; only the value may have one")
			}
			u.query = append(u.query, queryPair{name: name, value: u.template(value), bare: !has})
		}
	}
	return u, nil
}

// marksEachPlaceholder reports whether the text holds exactly the markers that
// were put in. Literal text next to a marker could otherwise form another one.
func (u *urlTemplate) marksEachPlaceholder() bool {
	var want []string
	for i, p := range u.parts {
		if p.name != "" {
			want = append(want, marker(i))
		}
	}
	return slices.Equal(markers.FindAllString(u.text, -1), want)
}

// template turns a component with markers back into one with placeholders.
func (u *urlTemplate) template(component string) template {
	var out template
	for {
		at := markers.FindStringSubmatchIndex(component)
		if at == nil {
			break
		}
		if at[0] > 0 {
			out = append(out, part{literal: component[:at[0]]})
		}
		i, _ := strconv.Atoi(component[at[2]:at[3]]) // the pattern allows digits only
		out = append(out, u.parts[i])
		component = component[at[1]:]
	}
	if component != "" {
		out = append(out, part{literal: component})
	}
	return out
}

// check refuses placeholders that no values could make valid where they stand.
func (u *urlTemplate) check(e *environment) error {
	if err := e.check(u.parts); err != nil {
		return err
	}
	for _, name := range u.host.names() {
		if e.meaning(name).varies && !isChained(name) {
			return fmt.Errorf("names {%s} in its host, which would be another one each time; a path segment or a query value may", name)
		}
	}
	for _, t := range append([]template{u.host}, u.path...) {
		for _, name := range t.names() {
			if e.isSecret(name) {
				return fmt.Errorf("names the secret {%s} in its host or path, where logs and proxies see it; a query value may, if the provider insists", name)
			}
		}
	}
	return nil
}

// expand returns the URL with its placeholders filled in. Its errors name
// placeholders, and never show values.
func (u *urlTemplate) expand(e *environment) (*url.URL, error) {
	parsed, err := url.Parse(u.text)
	if err != nil {
		return nil, errors.New("is not a URL")
	}
	port := parsed.Port()
	host, err := u.expandHost(e)
	if err != nil {
		return nil, err
	}
	segments, length := make([]string, len(u.path)), 0
	for i, t := range u.path {
		if segments[i], err = expandSegment(t, e); err != nil {
			return nil, err
		}
		if length += len(segments[i]); length > maxExpanded {
			return nil, errTooLong
		}
	}
	var pairs []string
	for _, q := range u.query {
		v, set, err := q.value.expandEscaped(e, e.queryEscape)
		length += len(v)
		switch {
		case err != nil:
			return nil, err
		case length > maxExpanded:
			return nil, errTooLong
		case !set:
		case q.bare:
			pairs = append(pairs, q.name)
		default:
			pairs = append(pairs, q.name+"="+v)
		}
	}

	whole := parsed.Scheme + "://" + host
	if strings.Contains(host, ":") {
		whole = parsed.Scheme + "://[" + host + "]"
	}
	if port != "" {
		whole += ":" + port
	}
	whole += strings.Join(segments, "/")
	if len(pairs) > 0 {
		whole += "?" + strings.Join(pairs, "&")
	}
	out, err := url.Parse(whole)
	if err != nil || out.Scheme != parsed.Scheme || out.Hostname() != host || out.Port() != port || out.User != nil || out.Fragment != "" {
		return nil, errors.New("is not a URL once its placeholders are filled in")
	}
	return out, nil
}

func (u *urlTemplate) expandHost(e *environment) (string, error) {
	if len(u.host.names()) == 0 {
		host, _, err := u.host.expand(e)
		return host, err
	}
	for _, p := range u.host {
		if p.name == "" {
			continue
		}
		if isChained(p.name) && (e.sampling || e.shown) {
			return hostToCome, nil
		}
		v, set, err := e.fill(p)
		switch {
		case err != nil:
			return "", err
		case !set:
			return "", fmt.Errorf("needs {%s} in its host, which is not set", p.name)
		case strings.Trim(v, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" || v == "":
			return "", fmt.Errorf("takes for {%s} in its host lower-case letters, digits and hyphens only", p.name)
		case strings.Contains(v, ".") && !e.mayHaveDots(p.name):
			return "", fmt.Errorf("takes no dot in {%s}: it would change the host; declare a pattern or an enum that allows one", p.name)
		}
	}
	host, _, err := u.host.expand(e)
	if err != nil {
		return "", err
	}
	labels := strings.Split(host, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return "", errors.New("has no valid host once its placeholders are filled in")
		}
	}
	if _, err := netip.ParseAddr(host); err == nil || numericHost.MatchString(host) {
		return "", errors.New("has an IP address as its host once its placeholders are filled in")
	}
	if u.hostComes() && !allows(e.hosts, host) {
		return "", errors.New("leads to a host that comes out of the answer to source_config, and that source_hosts does not allow")
	}
	return host, nil
}

func expandSegment(t template, e *environment) (string, error) {
	for _, p := range t {
		if p.name == "" {
			continue
		}
		v, set, err := e.fill(p)
		switch {
		case err != nil:
			return "", err
		case !set:
			return "", fmt.Errorf("needs {%s} in its path, which is not set", p.name)
		case v == "", v == ".", v == "..", strings.ContainsAny(v, `/\%?#`), strings.ContainsFunc(v, unicode.IsControl):
			return "", fmt.Errorf(`takes for {%s} one path segment: not empty, ".", "..", and without / \ %% ? #`, p.name)
		}
	}
	s, _, err := t.expandEscaped(e, url.PathEscape)
	if plain, bad := url.PathUnescape(s); err == nil && len(t.names()) > 0 && (bad != nil || plain == "." || plain == "..") {
		err = errors.New(`has a path segment "." or ".." once its placeholders are filled in`)
	}
	return s, err
}
