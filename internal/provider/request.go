// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"errors"
	"maps"
	"net/url"
	"strings"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

// endpoint is the URL in that field with its placeholders filled in.
func (e *Effective) endpoint(field string) (*url.URL, error) {
	t := e.urls[field]
	switch {
	case t == nil && e.source != (Source{}):
		return nil, invalid(field, "is not known yet: it is to be found at %s", e.source)
	case t == nil:
		return nil, invalid(field, "is required: the provider publishes no host; write %s=https://<host>/<path of its token endpoint>, or issuer to have it found", field)
	}
	return e.fill(field, t)
}

// fill is the URL that stands in that field, with its placeholders filled in.
func (e *Effective) fill(field string, t *urlTemplate) (*url.URL, error) {
	env := *e.env
	env.urlOnConfig = e.own[field] != nil
	u, err := t.expand(&env)
	if err != nil {
		return nil, invalid(field, "%s", err)
	}
	if u.Scheme == "http" && !isLoopback(u.Hostname()) && !e.registration.AllowInsecureHTTP {
		return nil, invalid(field, "is plain http, which would show the credentials to the network; use https, or set allow_insecure_http=true if that network is your own")
	}
	return u, nil
}

// paramResource is the parameter by which a token is for one resource (RFC 8707
// section 2).
const paramResource = "resource"

// Request is the literal request. Computed variables are computed anew.
func (e *Effective) Request() (grant.Request, error) {
	d, r := e.Dialect, e.registration
	u, err := e.endpoint("token_url")
	if err != nil {
		return grant.Request{}, err
	}
	out := grant.Request{
		URL: u.String(), Method: d.HTTPMethod, Format: grant.Format(d.RequestFormat),
		Auth: grant.AuthMethod(d.AuthMethod), BasicRaw: d.BasicAuthEncoding == "raw",
		GrantType: d.GrantType,
		ClientID:  r.ClientID, ClientSecret: r.ClientSecret, Username: r.Username, Password: r.Password,
		Scopes: d.Scopes, ScopeSeparator: separator(d.ScopeSeparator),
		Parameters: map[string]any{}, Names: textMap(d.ParameterNames),
		Answer: e.answer(), Timeout: r.RequestTimeout, Connection: e.connection(), DPoP: e.dpop(""),
	}
	if d.GrantType == "none" {
		out.GrantType = ""
	}
	if out.ClientAssertion, err = e.clientAssertion(out.URL); err != nil {
		return grant.Request{}, err
	}
	if out.GrantAssertion, err = e.grantAssertion(out.URL); err != nil {
		return grant.Request{}, err
	}
	out.Assertion = r.Assertion
	spent := 0
	expand := func(s string) (string, bool, error) {
		text, set, err := e.env.expandText(s)
		if spent += len(text); err == nil && spent > maxExpandedAll {
			err = errTooLong
		}
		return text, set, err
	}
	for name, v := range d.Parameters {
		expanded, set, err := leaves(v, func(s string) (any, bool, error) { return expand(s) })
		if err != nil {
			return grant.Request{}, invalidText("parameters", name, err)
		}
		if set {
			out.Parameters[name] = expanded
		}
	}
	if out.Headers, err = headers("request_headers", d.RequestHeaders, expand); err != nil {
		return grant.Request{}, err
	}
	for name, v := range r.SecretParameters {
		out.Parameters[name] = v
	}
	if _, written := out.Parameters[paramResource]; d.ResourceURL != "" && !written {
		out.Parameters[paramResource] = d.ResourceURL
	}
	out.Secrets, out.Composed = e.secrets()
	return out, nil
}

// headers fills in the placeholders of a map of headers.
func headers(field string, from map[string]any, expand func(string) (string, bool, error)) (map[string]string, error) {
	out := make(map[string]string, len(from))
	for name, v := range from {
		text, _ := v.(string)
		value, set, err := expand(text)
		if err == nil && set {
			err = checkHeaderValue(value)
		}
		if err != nil {
			return nil, invalidText(field, name, err)
		}
		if set {
			out[name] = value
		}
	}
	return out, nil
}

// RefreshRequest is the literal request for the refresh token grant (RFC 6749
// section 6). Without scopes they stay as they were granted.
func (e *Effective) RefreshRequest(refreshToken string, scopes ...string) (grant.Request, error) {
	r, err := e.Request()
	r.GrantType, r.RefreshToken, r.Scopes, r.Spends = grant.GrantRefreshToken, refreshToken, scopes, true
	return r, err
}

// RevocationRequest is the literal request to revoke an access token (RFC 7009
// section 2.1), and false when the provider has no revocation_url.
func (e *Effective) RevocationRequest(accessToken string) (grant.Request, bool, error) {
	if e.urls["revocation_url"] == nil {
		return grant.Request{}, false, nil
	}
	r, err := e.Request()
	if err != nil {
		return grant.Request{}, false, err
	}
	u, err := e.endpoint("revocation_url")
	if err != nil {
		return grant.Request{}, false, err
	}
	r.URL, r.Field, r.Method, r.GrantType, r.Scopes, r.Spends, r.DPoP = u.String(), "revocation_url", "POST", "", nil, true, nil
	if r.Format == grant.Query {
		r.Format = grant.Form
	}
	r.Parameters = map[string]any{"token": accessToken, "token_type_hint": "access_token"}
	r.Secrets = append(r.Secrets, accessToken)
	return r, true, nil
}

// WithScopes is e asking for other scopes.
func (e *Effective) WithScopes(scopes []string) *Effective {
	out := *e
	out.Dialect.Scopes = scopes
	out.layer = maps.Clone(e.layer)
	out.layer["scopes"] = scopes
	return &out
}

// RefreshToken is the one that the operator wrote, with which a chain starts.
func (e *Effective) RefreshToken() string { return e.registration.RefreshToken }

// WithFallback is e with the fallback client secret in place of the client
// secret, and false when there is none.
func (e *Effective) WithFallback() (*Effective, bool, error) {
	if e.registration.FallbackSecret == "" {
		return nil, false, nil
	}
	out := *e
	out.registration.ClientSecret = e.registration.FallbackSecret
	var err error
	out.env, err = newEnvironment(e.declared, out.registration, e.env.urlOnConfig)
	return &out, true, err
}

func (e *environment) expandText(s string) (string, bool, error) {
	t, err := parseTemplate(s)
	if err != nil {
		return "", false, err
	}
	return t.expand(e.value)
}

func checkHeaderValue(s string) error {
	if len(s) > 8<<10 {
		return errors.New("is longer than 8 KiB")
	}
	if strings.TrimSpace(s) != s || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' }) {
		return errors.New("is more than visible ASCII and inner spaces; use a filter such as {name|base64} or {name|urlencode}")
	}
	return nil
}

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
		ExpiresIn: toPointers(d.ExpiresInPointer), ExpiresInUnit: unit, ExpiresAt: toPointers(d.ExpiresAtPointer),
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

func textMap(in map[string]any) map[string]string {
	out := make(map[string]string, len(in))
	for name, v := range in {
		out[name], _ = v.(string)
	}
	return out
}

// EachText is v with f applied to each string in it.
func EachText(v any, f func(string) (string, error)) (any, error) {
	out, _, err := leaves(v, func(text string) (any, bool, error) {
		c, err := f(text)
		return c, true, err
	})
	return out, err
}

// leaves applies f to each string in v. It reports false when f does for any.
func leaves(v any, f func(string) (any, bool, error)) (any, bool, error) {
	switch v := v.(type) {
	case string:
		return f(v)
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, item := range v {
			c, set, err := leaves(item, f)
			if err != nil || !set {
				return nil, set, err
			}
			out[name] = c
		}
		return out, true, nil
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			c, set, err := leaves(item, f)
			if err != nil || !set {
				return nil, set, err
			}
			out[i] = c
		}
		return out, true, nil
	}
	return v, true, nil
}
