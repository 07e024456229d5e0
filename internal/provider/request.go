// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

// endpoint returns the URL in that field with its placeholders filled in.
func (e *Effective) endpoint(field string) (*url.URL, error) {
	t := e.urls[field]
	switch {
	case t == nil && e.source != (Source{}):
		return nil, invalid(field, "is not known yet: it has to be read from %s", e.source)
	case t == nil:
		return nil, invalid(field, "is required: the provider publishes no host; write %s=https://<host>/<path of its token endpoint>, or issuer to have it found", field)
	}
	return e.fill(field, t)
}

// fill returns the URL t of that field with its placeholders filled in.
func (e *Effective) fill(field string, t *urlTemplate) (*url.URL, error) {
	env := *e.env
	env.urlOnConfig = e.own[field] != nil
	u, err := t.expand(&env)
	if err != nil {
		return nil, invalid(field, "%s", err)
	}
	if u.Scheme == "http" && !e.isHere(u) && !e.registration.AllowInsecureHTTP {
		return nil, invalid(field, "uses http://, which would show the credentials to the network: use https://, or set allow_insecure_http=true if that network is your own")
	}
	return u, nil
}

// paramResource is the parameter that names the resource which a token is for
// (RFC 8707 section 2).
const paramResource = "resource"

// Request returns the literal request for a token.
func (e *Effective) Request() (grant.Request, error) {
	return e.built("", (*Effective).request)
}

// built returns the request that build makes from e. If the request differs from
// one attempt to the next, each attempt makes it anew. refreshToken is the one to
// be spent, or "" for the one that the operator wrote.
func (e *Effective) built(refreshToken string, build func(*Effective) (grant.Request, error)) (grant.Request, error) {
	anew := func(now time.Time) (grant.Request, error) { return build(e.at(now, refreshToken)) }
	r, err := anew(sampleTime())
	if err == nil && e.varies() {
		r.Anew = anew
	}
	return r, err
}

// percentSpaces reports whether a space is %20 in a form or a query, and not +.
func (e *Effective) percentSpaces() bool { return e.Dialect.SpaceEncoding == "percent" }

// sampleTime returns the time that stands in a request which is only checked or
// shown, and not sent.
func sampleTime() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

// at returns a copy of e with the values that are made for one attempt.
func (e *Effective) at(now time.Time, refreshToken string) *Effective {
	random := make([]byte, randomBytes)
	_, _ = rand.Read(random) // never fails
	between := separator(e.Dialect.ScopeSeparator)
	if between == grant.ScopeList {
		between = " "
	}
	out := *e
	out.env = e.env.with(nameScope, strings.Join(e.Dialect.Scopes, between), false)
	out.env.now, out.env.random, out.env.percentSpaces = now, string(random), e.percentSpaces()
	if e.registration.PrivateKey != "" {
		out.env.key, _ = e.keys.signing.Key.Signer().(*rsa.PrivateKey) // nil for another kind
	}
	if refreshToken != "" && !e.env.shown {
		out.env.given["refresh_token"] = refreshToken
	}
	for name, text := range e.given {
		if isChained(name) && !e.env.shown {
			out.env.given[name] = text
		}
	}
	out.env.settle()
	return &out
}

// varies reports whether anything that e sends differs from one attempt to the
// next.
func (e *Effective) varies() bool {
	for name := range e.names {
		if e.env.meaning(name).varies {
			return true
		}
	}
	return false
}

// request returns the literal request of one attempt.
func (e *Effective) request() (grant.Request, error) {
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
		Parameters: map[string]any{}, Names: textMap(d.ParameterNames), PercentSpaces: e.percentSpaces(),
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
	e.exchange(&out)
	if err := e.nameAssertions(&out); err != nil {
		return grant.Request{}, err
	}
	spent := 0
	spend := func(text string, err error) error {
		if spent += len(text); err == nil && spent > maxExpandedAll {
			return errTooLong
		}
		return err
	}
	expand := func(s string) (string, bool, error) {
		text, set, err := e.env.expandText(s)
		return text, set, spend(text, err)
	}
	for name, v := range d.Parameters {
		expanded, set, err := leaves(v, func(s string) (any, bool, error) {
			v, set, err := e.env.expandValue(s)
			return v, set, spend(fmt.Sprint(v), err)
		})
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
	if out.Body, err = e.body(expand); err != nil {
		return grant.Request{}, err
	}
	for name, v := range r.SecretParameters {
		out.Parameters[name] = v
	}
	if _, written := out.Parameters[paramResource]; d.ResourceURL != "" && !written {
		out.Parameters[paramResource] = d.ResourceURL
	}
	out.Secrets, out.Composed = e.secrets()
	if e.env.filtered > maxFiltered { // so that secrets are missing
		return grant.Request{}, invalid("request", "%s", errTooMuch)
	}
	return out, nil
}

// nameAssertions signs those assertions of r that placeholders name, and gives
// the placeholders these values.
func (e *Effective) nameAssertions(r *grant.Request) error {
	for name, a := range map[string]*grant.Assertion{nameClientAssertion: r.ClientAssertion, nameAssertion: r.GrantAssertion} {
		if a == nil || !e.names[name] {
			continue
		}
		text := redacted
		if !e.env.shown {
			var err error
			if text, err = a.Sign(e.env.now); err != nil {
				return err
			}
			a.Signed = text
		}
		e.env = e.env.with(name, text, true)
	}
	if text := r.Assertion; text != "" || e.registration.brought(nameAssertion) {
		if e.env.shown || text == "" {
			text = redacted
		}
		e.env = e.env.with(nameAssertion, text, true)
	}
	return nil
}

// headers returns a map of headers with its placeholders filled in.
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

// RefreshRequest returns the literal request for the refresh token grant
// (RFC 6749 section 6). Without scopes, the scopes stay as they were granted.
func (e *Effective) RefreshRequest(refreshToken string, scopes ...string) (grant.Request, error) {
	if e.Dialect.RequestFormat == string(grant.Template) && e.Dialect.GrantType != grant.GrantRefreshToken {
		return e.Request() // request_body can describe only this request
	}
	return e.WithScopes(scopes).built(refreshToken, func(e *Effective) (grant.Request, error) {
		r, err := e.request()
		r.GrantType, r.RefreshToken, r.Spends = grant.GrantRefreshToken, refreshToken, true
		return r, err
	})
}

// WithScopes returns a copy of e that asks for other scopes.
func (e *Effective) WithScopes(scopes []string) *Effective {
	out := *e
	out.Dialect.Scopes = scopes
	out.layer = maps.Clone(e.layer)
	out.layer["scopes"] = scopes
	return &out
}

// RefreshToken returns the refresh token that the operator wrote, which starts a
// chain of refresh tokens.
func (e *Effective) RefreshToken() string { return e.registration.RefreshToken }

// WithFallback returns a copy of e with the fallback client secret in place of
// the client secret, and false if there is no fallback.
func (e *Effective) WithFallback() (*Effective, bool, error) {
	if e.registration.FallbackSecret == "" {
		return nil, false, nil
	}
	out := *e
	out.registration.ClientSecret = e.registration.FallbackSecret
	var err error
	if out.env, err = newEnvironment(e.declared, out.registration, e.env.urlOnConfig); err == nil {
		out.env.public = e.env.public
	}
	return &out, true, err
}

func (e *environment) expandText(s string) (string, bool, error) {
	t, err := parseTemplate(s)
	if err != nil {
		return "", false, err
	}
	return t.expand(e)
}

// expandValue is like expandText, but a text that consists of one placeholder
// with number as its last filter becomes a number.
func (e *environment) expandValue(s string) (any, bool, error) {
	t, err := parseTemplate(s)
	if err != nil {
		return nil, false, err
	}
	text, set, err := t.expand(e)
	if err == nil && len(t) == 1 && t[0].ends("number") && jsonNumber.MatchString(text) {
		return json.Number(text), set, nil
	}
	return text, set, err
}

func checkHeaderValue(s string) error {
	if len(s) > 8<<10 {
		return errors.New("is longer than 8 KiB")
	}
	if strings.TrimSpace(s) != s || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' }) {
		return errors.New("may hold only visible ASCII, with spaces inside: use a filter such as {name|base64} or {name|urlencode}")
	}
	return nil
}

func textMap(in map[string]any) map[string]string {
	out := make(map[string]string, len(in))
	for name, v := range in {
		out[name], _ = v.(string)
	}
	return out
}

// EachText returns a copy of v with f applied to each string in it.
func EachText(v any, f func(string) (string, error)) (any, error) {
	out, _, err := leaves(v, func(text string) (any, bool, error) {
		c, err := f(text)
		return c, true, err
	})
	return out, err
}

// leaves returns a copy of v with f applied to each string in it. It reports
// false if f does so for any string.
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
