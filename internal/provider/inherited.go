// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"maps"
	"strings"
)

// inherited returns what a config inherits from its provider's definition.
// Usually that is all of it. A config whose token_url is at another host uses
// another server: it does not inherit revocation_url and check_url, because they
// must not get that server's tokens.
func (e *Effective) inherited(definition Layer) Layer {
	there, ok := hostOf(definition["token_url"], e.env)
	if here, own := hostOf(e.own["token_url"], e.env); !own || ok && strings.EqualFold(here, there) || definition["token_url"] == nil {
		return definition
	}
	out := maps.Clone(definition)
	for _, field := range []string{"revocation_url", "check_url"} {
		delete(out, field)
	}
	return out
}

// hostOf returns the host of a URL, and false if the host is not known.
func hostOf(text any, e *environment) (string, bool) {
	s, _ := text.(string)
	if s == "" {
		return "", false
	}
	t, err := parseURL(s)
	if err != nil {
		return "", false
	}
	if t.hostComes() {
		return t.hostText(), true
	}
	u, err := t.expand(e)
	if err != nil {
		return "", false
	}
	return u.Hostname(), true
}
