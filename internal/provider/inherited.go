// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"maps"
	"strings"
)

// inherited is what a config takes of its provider's definition: all of it, but
// with a token_url at a host of its own it is at another server, and that one's
// tokens are nothing for the definition's other endpoints.
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

// hostOf is the host of a URL, and false when there is none that is known.
func hostOf(text any, e *environment) (string, bool) {
	s, _ := text.(string)
	if s == "" {
		return "", false
	}
	t, err := parseURL(s)
	if err != nil {
		return "", false
	}
	u, err := t.expand(e)
	if err != nil {
		return "", false
	}
	return u.Hostname(), true
}
