// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

func (e *Effective) tokenURL() (*url.URL, error) {
	if e.url == nil {
		return nil, invalid("token_url", "is required: the provider publishes no host; write token_url=https://<host>/<path of its token endpoint>")
	}
	u, err := e.url.expand(e.env)
	if err != nil {
		return nil, invalid("token_url", "%s", err)
	}
	if u.Scheme == "http" && !isLoopback(u.Hostname()) && !e.registration.AllowInsecureHTTP {
		return nil, invalid("token_url", "is plain http, which would show the credentials to the network; use https, or set allow_insecure_http=true if that network is your own")
	}
	return u, nil
}

// Request is the literal request. Computed variables are computed anew.
func (e *Effective) Request() (grant.Request, error) {
	d, r := e.Dialect, e.registration
	u, err := e.tokenURL()
	if err != nil {
		return grant.Request{}, err
	}
	out := grant.Request{
		URL: u.String(), Method: d.HTTPMethod, Format: grant.Format(d.RequestFormat),
		Auth: grant.AuthMethod(d.AuthMethod), BasicRaw: d.BasicAuthEncoding == "raw",
		GrantType: d.GrantType,
		ClientID:  r.ClientID, ClientSecret: r.ClientSecret, Username: r.Username, Password: r.Password,
		Scopes: d.Scopes, ScopeSeparator: separator(d.ScopeSeparator),
		Parameters: map[string]any{}, Names: textMap(d.ParameterNames), Headers: map[string]string{},
		Answer: e.answer(), Timeout: r.RequestTimeout, CACertificate: r.CACertificate,
	}
	if d.GrantType == "none" {
		out.GrantType = ""
	}
	for name, v := range d.Parameters {
		expanded, set, err := leaves(v, e.expandText)
		if err != nil {
			return grant.Request{}, invalid("parameters", "holds a text under %q that %s", name, err)
		}
		if set {
			out.Parameters[name] = expanded
		}
	}
	for name, v := range d.RequestHeaders {
		text, _ := v.(string)
		expanded, set, err := e.expandText(text)
		if err == nil && set {
			err = checkHeaderValue(expanded.(string)) //nolint:forcetypeassert // expandText gives strings
		}
		if err != nil {
			return grant.Request{}, invalid("request_headers", "holds a value for %s that %s", name, err)
		}
		if set {
			out.Headers[name] = expanded.(string) //nolint:forcetypeassert // likewise
		}
	}
	for name, v := range r.SecretParameters {
		out.Parameters[name] = v
		_, _, _ = leaves(v, func(s string) (any, bool, error) { //nolint:errcheck // collects only
			out.Secrets = append(out.Secrets, s)
			return s, true, nil
		})
	}
	for _, v := range r.SecretVariables {
		out.Secrets = append(out.Secrets, v)
	}
	return out, nil
}

func (e *Effective) expandText(s string) (any, bool, error) {
	t, err := parseTemplate(s)
	if err != nil {
		return nil, false, err
	}
	out, set, err := t.expand(e.env.value)
	return out, set, err
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
