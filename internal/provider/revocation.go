// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"maps"
	"net/textproto"
	"slices"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

// RevocationRequest returns the literal request to revoke an access token, and
// false if the provider has no revocation_url. It is the request of RFC 7009
// section 2.1, unless revocation_parameters and revocation_headers describe
// another one.
func (e *Effective) RevocationRequest(token string) (grant.Request, bool, error) {
	if e.urls["revocation_url"] == nil {
		return grant.Request{}, false, nil
	}
	r, err := e.built("", func(e *Effective) (grant.Request, error) { return e.revocation(token) })
	return r, err == nil, err
}

func (e *Effective) revocation(token string) (grant.Request, error) {
	r, err := e.request()
	if err != nil {
		return grant.Request{}, err
	}
	u, err := e.endpoint("revocation_url")
	if err != nil {
		return grant.Request{}, err
	}
	r.URL, r.Field, r.Method, r.GrantType, r.Scopes, r.Spends, r.DPoP = u.String(), "revocation_url", e.Dialect.RevocationMethod, "", nil, true, nil
	switch r.Format {
	case grant.Template:
		dropHeader(r.Headers, "Content-Type")
		r.Format = grant.Form
	case grant.Query:
		r.Format = grant.Form
	}
	r.Parameters = map[string]any{"token": token, "token_type_hint": "access_token"}
	r.Secrets = append(r.Secrets, token)
	if e.describesRevocation() {
		err = e.describeRevocation(&r, token)
	}
	return r, err
}

// describesRevocation reports whether the dialect says what a revocation sends.
func (e *Effective) describesRevocation() bool {
	return len(e.Dialect.RevocationParameters)+len(e.Dialect.RevocationHeaders) > 0
}

// describeRevocation makes r send the parameters and headers that the dialect
// describes, in addition to request_headers. The client does not authenticate in
// any other way.
func (e *Effective) describeRevocation(r *grant.Request, token string) error {
	env := e.env.with(accessToken, token, true)
	r.Auth, r.ClientID, r.Parameters = grant.AuthNone, "", map[string]any{}
	for name, v := range e.Dialect.RevocationParameters {
		expanded, set, err := leaves(v, func(s string) (any, bool, error) { return env.expandValue(s) })
		if err != nil {
			return invalidText("revocation_parameters", name, err)
		}
		if set {
			r.Parameters[name] = expanded
		}
	}
	added, err := headers("revocation_headers", e.Dialect.RevocationHeaders, env.expandText)
	if err != nil {
		return err
	}
	for name, v := range added {
		dropHeader(r.Headers, name)
		r.Headers[name] = v
	}
	return nil
}

// dropHeader removes a header, in whatever case its name is written.
func dropHeader(headers map[string]string, name string) {
	maps.DeleteFunc(headers, func(other, _ string) bool {
		return textproto.CanonicalMIMEHeaderKey(other) == textproto.CanonicalMIMEHeaderKey(name)
	})
}

// checkRevocation refuses a description of a revocation that does not say which
// token to revoke.
func (e *Effective) checkRevocation() error {
	if !e.describesRevocation() {
		return nil
	}
	named := false
	for _, texts := range []map[string]any{e.Dialect.RevocationParameters, e.Dialect.RevocationHeaders} {
		_, _ = EachText(texts, func(s string) (string, error) {
			t, _ := parseTemplate(s) // checkPlaceholders refuses a broken one
			named = named || slices.Contains(t.names(), accessToken)
			return s, nil
		})
	}
	if !named {
		return invalid("revocation_parameters", "and revocation_headers have no {access_token}: without it the provider does not learn which token to revoke")
	}
	return nil
}
