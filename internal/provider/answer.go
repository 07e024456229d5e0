// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

// answer returns how the answer to a request is read.
func (e *Effective) answer() grant.Answer {
	d := e.Dialect
	unit := map[string]time.Duration{"milliseconds": time.Millisecond, "minutes": time.Minute}[d.ExpiresInUnit]
	if unit == 0 {
		unit = time.Second
	}
	extra := make(map[string]grant.Pointer, len(d.ExtraFields))
	for name, p := range textMap(d.ExtraFields) {
		extra[name] = grant.Pointer(p)
	}
	return grant.Answer{
		AccessToken: toPointers(d.AccessTokenPointer), TokenType: toPointers(d.TokenTypePointer),
		ExpiresIn: toPointers(d.ExpiresInPointer), ExpiresInUnit: unit, ExpiresAt: toPointers(d.ExpiresAtPointer), Moment: e.moment,
		Scope: toPointers(d.ScopePointer), ScopeSeparator: separator(d.ScopeSeparator),
		RefreshToken: toPointers(d.RefreshTokenPointer),
		Error:        toPointers(d.ErrorPointer), ErrorDescription: toPointers(d.ErrorDescriptionPointer),
		Extra:            extra,
		DefaultTokenType: d.DefaultTokenType, DefaultLifetime: time.Duration(d.DefaultTokenLifetime) * time.Second,
	}
}

func separator(s string) string {
	switch s {
	case "space", "":
		return " "
	case "comma":
		return ","
	default:
		return s
	}
}

func toPointers(in []string) []grant.Pointer {
	out := make([]grant.Pointer, len(in))
	for i, p := range in {
		out[i] = grant.Pointer(p)
	}
	return out
}
