// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"net/url"
	"slices"
	"strings"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

// Bound returns a copy of e whose tokens are bound to the key k (RFC 9449).
func (e *Effective) Bound(k signing.Key) *Effective {
	out := *e
	out.keys.dpop = k
	return &out
}

// dpop returns the key that a request proves, and the access token that the
// request shows, if any. It returns nil if tokens are not bound to a key.
func (e *Effective) dpop(token string) *grant.DPoP {
	if !e.Dialect.DPoP || e.keys.dpop.IsZero() {
		return nil
	}
	return &grant.DPoP{Key: e.keys.dpop, Token: token}
}

// checkResources checks dpop_resources and keeps the parsed URLs.
func (e *Effective) checkResources() error {
	for _, text := range e.Dialect.DPoPResources {
		u, err := parseURL(text)
		if err == nil {
			err = u.check(e.env)
		}
		if err != nil {
			return invalid("dpop_resources", "holds an item that %s", err)
		}
		if len(u.query) > 0 {
			return invalid("dpop_resources", "holds a URL with a query, which a proof never covers: leave the query out")
		}
		e.resources = append(e.resources, u)
	}
	return nil
}

// proofTargets returns dpop_resources with their placeholders filled in.
func (e *Effective) proofTargets() ([]*url.URL, error) {
	var out []*url.URL
	for _, t := range e.resources {
		env := *e.env
		env.urlOnConfig = e.own["dpop_resources"] != nil
		u, err := t.expand(&env)
		if err != nil {
			return nil, invalid("dpop_resources", "holds an item that %s", err)
		}
		if u.Scheme == "http" && !isLoopback(u.Hostname()) && !e.registration.AllowInsecureHTTP {
			return nil, invalid("dpop_resources", "holds a URL with http://, which would show the tokens to the network: use https://")
		}
		if _, problem := segments(u); problem != "" {
			return nil, invalid("dpop_resources", "holds a URL that %s", problem)
		}
		out = append(out, u)
	}
	return out, nil
}

// ProofScope says for which URLs readers get proofs.
type ProofScope struct {
	below []*url.URL
	never *url.URL // the token endpoint, whose proofs are the engine's own
}

// ProofScope returns the URLs for which the readers of e get proofs.
func (e *Effective) ProofScope() (ProofScope, error) {
	below, err := e.proofTargets()
	if err != nil {
		return ProofScope{}, err
	}
	never, err := e.endpoint("token_url")
	return ProofScope{below: below, never: never}, err
}

// Empty reports whether readers get no proofs at all.
func (s ProofScope) Empty() bool { return len(s.below) == 0 }

// Target returns the htu of a proof for that URL (RFC 9449 section 4.2): without
// query and fragment, scheme and host in lower case, and the path as it is sent.
// It refuses the token endpoint, a URL that is not at or below one of
// dpop_resources, and a URL that the server may read differently than it is read
// here. Its errors are *InvalidError.
func (s ProofScope) Target(text string) (string, error) {
	if strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "", invalid("htu", "must be a URL in visible ASCII, percent-encoded as in the request")
	}
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" || u.Host == "" {
		return "", invalid("htu", "must be the absolute URL of the request to sign")
	}
	if u.User != nil {
		return "", invalid("htu", "holds a user name: leave it out")
	}
	if _, problem := segments(u); problem != "" {
		return "", invalid("htu", "%s", problem)
	}
	if !slices.ContainsFunc(s.below, func(base *url.URL) bool { return within(base, u) }) {
		return "", invalid("htu", "is not at or below one of the config's dpop_resources: whoever may write the config can add it there")
	}
	if origin(s.never) == origin(u) && slices.Equal(loose(s.never), loose(u)) {
		return "", invalid("htu", "is the token endpoint, for which only the engine makes proofs")
	}
	path := u.EscapedPath()
	if path == "" {
		path = "/" // RFC 3986 section 6.2.3
	}
	return address(u) + path, nil
}

// address returns the scheme, host and port of u, without a default port
// (RFC 3986 section 6.2.3).
func address(u *url.URL) string {
	out := *u
	out.Host = strings.ToLower(u.Host)
	if port := u.Port(); port == "" || port == "443" && u.Scheme == "https" || port == "80" && u.Scheme == "http" {
		out.Host = strings.TrimSuffix(out.Host, ":"+port)
	}
	return out.Scheme + "://" + out.Host
}

// within reports whether u is at or below base: it has the same origin, and its
// path begins with all segments of base's path.
func within(base, u *url.URL) bool {
	if origin(base) != origin(u) {
		return false
	}
	over, problem := segments(base)
	under, other := segments(u)
	return problem+other == "" && len(over) <= len(under) && slices.Equal(over, under[:len(over)])
}

// loose returns the path segments of u as the most tolerant server reads them.
func loose(u *url.URL) []string {
	parts, _ := segments(u)
	var out []string
	for _, part := range parts {
		name, _, _ := strings.Cut(part, ";")
		for name := range strings.FieldsFuncSeq(name, func(c rune) bool { return c == '/' || c == '\\' }) {
			out = append(out, strings.ToLower(name))
		}
	}
	return out
}

// segments returns the decoded segments of u's path, without the empty one after
// a slash at the end. If a server may read the path as a different one, segments
// returns the problem, worded as the end of a sentence: some servers decode a
// path twice, read a backslash as a slash, or ignore what follows a semicolon.
func segments(u *url.URL) ([]string, string) {
	parts := strings.Split(strings.Trim(u.EscapedPath(), "/"), "/")
	if strings.HasPrefix(u.EscapedPath(), "//") {
		return nil, "has a path that begins with two slashes"
	}
	if parts[0] == "" {
		return nil, ""
	}
	for i, part := range parts {
		plain, err := url.PathUnescape(part)
		if err != nil {
			return nil, "has a path that is not percent-encoded properly"
		}
		parts[i] = plain
		for again := plain; ; again = plain {
			for _, name := range strings.FieldsFunc(again, func(c rune) bool { return c == '/' || c == '\\' }) {
				name, _, _ = strings.Cut(name, ";")
				if name == "." || name == ".." {
					return nil, `has a path segment "." or "..", plain or encoded; write the path that it comes to`
				}
			}
			if plain, err = url.PathUnescape(again); err != nil || plain == again {
				break
			}
		}
	}
	return parts, ""
}
