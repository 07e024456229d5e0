// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

// A chained request carries what the provider of another config answered, the
// one that source_config names: {source.access_token} stands for its current
// token, and {source.<name>} for one of its extra_fields. The values are known
// only when a token is asked for.
const (
	chained      = "source."
	chainedToken = chained + "access_token"

	// hostToCome stands for a host that comes out of an answer, for as long as it is
	// not known. No such host exists (RFC 6761 section 6.4).
	hostToCome = "source.invalid"
)

// isChained reports whether a placeholder stands for something of source_config.
func isChained(name string) bool { return strings.HasPrefix(name, chained) }

// chained returns the meaning of a placeholder for something of source_config.
// It is secret, except an extra field in the host or path of token_url, where no
// secret may stand.
func (e *environment) chained(name string) meaning {
	m := meaning{set: true, varies: true, secret: !e.public[name]}
	text, known := e.given[name]
	switch {
	case known:
		m.text = text
	case e.sampling:
		m.unknown = true
	case !e.shown:
		m.err = fmt.Errorf("needs {%s}, which is not known before the config of source_config has a token", name)
	}
	return m
}

// chainedNames returns the placeholders that name something of source_config,
// sorted.
func (e *Effective) chainedNames() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(e.names)), func(name string) bool { return !isChained(name) })
}

// SourceExtras returns the extra fields that e takes from the answer to
// source_config, sorted.
func (e *Effective) SourceExtras() []string {
	var out []string
	for _, name := range e.chainedNames() {
		if name != chainedToken {
			out = append(out, strings.TrimPrefix(name, chained))
		}
	}
	return out
}

// Lacks returns those of the extra fields that the tokens of e never have.
func (e *Effective) Lacks(extras []string) []string {
	answer := e.answer()
	return slices.DeleteFunc(slices.Clone(extras), func(name string) bool {
		_, there := answer.Extra[name]
		return there || name == issuedTokenType && e.Dialect.GrantType == grant.GrantTokenExchange
	})
}

// From returns the inputs of e (see WithInputs) that come from the token of
// another config, which that field names: subject_config or source_config. Its
// errors are *InvalidError and repeat no value.
func (e *Effective) From(field, accessToken string, extra map[string]any) (map[string]string, error) {
	if field == "subject_config" {
		return map[string]string{grant.ParamSubjectToken: accessToken}, nil
	}
	out := map[string]string{chainedToken: accessToken}
	for _, name := range e.SourceExtras() {
		switch v := extra[name].(type) {
		case string:
			out[chained+name] = v
		case json.Number, float64, bool:
			out[chained+name] = fmt.Sprint(v)
		case nil:
			return nil, invalid("source_config", "names a config whose token came without %s, which {%s%s} needs", name, chained, name)
		default:
			return nil, invalid("source_config", "names a config whose %s is neither a text nor a number, which {%s%s} needs: have its extra_fields point to one", name, chained, name)
		}
	}
	return out, nil
}

// hostComes reports whether the host of u comes out of an answer.
func (u *urlTemplate) hostComes() bool { return slices.ContainsFunc(u.host.names(), isChained) }

// hostText returns the host of u as it is written.
func (u *urlTemplate) hostText() string {
	var out strings.Builder
	for _, p := range u.host {
		out.WriteString(p.literal + p.source)
	}
	return out.String()
}

// written returns a text that holds the host of that URL, with the placeholder
// of a host that is still to come in its place.
func (e *Effective) written(field, text string) string {
	if t := e.urls[field]; t.hostComes() {
		return strings.Replace(text, hostToCome, t.hostText(), 1)
	}
	return text
}

// publish notes which extra fields of source_config stand where no secret may:
// in the host or path of token_url.
func (e *environment) publish(u *urlTemplate) {
	e.public = map[string]bool{}
	for _, t := range append([]template{u.host}, u.path...) {
		for _, p := range t {
			if isChained(p.name) && p.name != chainedToken {
				e.public[p.name] = true
			}
		}
	}
	if len(e.public) > 0 {
		e.settle() // variables that are made of them
	}
}

// checkChain refuses placeholders for something of source_config where it is not
// known or would get lost, and settings of a chain that do nothing.
func (e *Effective) checkChain() error {
	elsewhere := map[string][]string{}
	for field, u := range e.urls {
		if field != "token_url" {
			elsewhere[field] = u.parts.names()
		}
	}
	for _, u := range e.resources {
		elsewhere["dpop_resources"] = append(elsewhere["dpop_resources"], u.parts.names()...)
	}
	for _, text := range textMap(e.Dialect.CheckHeaders) {
		t, _ := parseTemplate(text) // checkPlaceholders refuses a broken one
		elsewhere["check_headers"] = append(elsewhere["check_headers"], t.names()...)
	}
	for field, names := range elsewhere {
		for name := range e.withVariables(names) {
			if isChained(name) {
				return invalid(field, "names {%s}, which is known in a request for a token only: token_url, parameters, request_headers, request_body and the assertion_ fields may name it", name)
			}
		}
	}
	to, r := e.urls["token_url"], e.registration
	switch comes := to != nil && to.hostComes(); {
	case r.SourceConfig != "" && len(e.chainedNames()) == 0:
		return invalid("source_config", "names a config of whose answer nothing is sent: write {source.access_token} where the request carries its token, such as request_headers=Authorization=\"Bearer {source.access_token}\"")
	case len(r.SourceHosts) > 0 && !comes:
		return invalid("source_hosts", "is for a host that comes out of an answer, such as {source.instance_url|host}, and token_url has none: leave it out")
	case e.Dialect.DPoP && to != nil && slices.ContainsFunc(to.parts.names(), isChained):
		return invalid("dpop", "needs a token endpoint that is always the same, and token_url names something of source_config")
	}
	for _, pattern := range r.SourceHosts {
		if err := checkSourceHost(pattern); err != nil {
			return err
		}
	}
	return nil
}

// checkSourceHost refuses an item of source_hosts that matches nothing, or too
// much.
func checkSourceHost(pattern string) error {
	name, below := strings.CutPrefix(pattern, "*.")
	if _, err := netip.ParseAddr(name); err == nil {
		return invalid("source_hosts", "holds an IP address, to which no answer can lead: write a name")
	}
	switch err := checkHost(name); {
	case err != nil:
		return invalid("source_hosts", "holds an item that %s: write a host such as login.example.com, or *.example.com for all hosts below it", err)
	case name != strings.ToLower(name) || strings.HasSuffix(name, "."):
		return invalid("source_hosts", "holds a host in another form than it is compared in: write it in lower case, without a dot at its end")
	case below && !strings.Contains(name, "."):
		return invalid("source_hosts", "holds a pattern for a whole top-level domain: write *.example.com")
	}
	return nil
}

// allows reports whether one of the patterns matches the host, which is in lower
// case.
func allows(patterns []string, host string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		suffix, below := strings.CutPrefix(pattern, "*")
		return below && strings.HasSuffix(host, suffix) && len(host) > len(suffix) || host == pattern
	})
}
