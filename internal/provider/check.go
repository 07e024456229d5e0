// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

func (e *Effective) checkMethod() error {
	if e.Dialect.HTTPMethod == "GET" && e.Dialect.RequestFormat != string(grant.Query) {
		return invalid("request_format", "must be query (or left out) with http_method=GET, which has no body")
	}
	if e.Dialect.GrantType == grant.GrantRefreshToken {
		return invalid("grant_type", "refresh_token is not supported")
	}
	return nil
}

func (e *Effective) checkURL() error {
	if e.Dialect.TokenURL == "" {
		return nil // a provider may leave it to its configs; Request refuses it there
	}
	u, err := parseURL(e.Dialect.TokenURL)
	if err == nil {
		err = u.check(e.env)
	}
	if err != nil {
		return invalid("token_url", "%s", err)
	}
	e.url = u
	return nil
}

// checkVariables refuses values that nothing would use.
func (e *Effective) checkVariables() error {
	used := e.usedNames()
	for name, d := range e.declared {
		for _, text := range []*string{d.Default, d.Value} {
			if text == nil {
				continue
			}
			t, err := parseTemplate(*text)
			if err == nil {
				err = e.env.check(t)
			}
			if err != nil {
				return invalid("variables", "declares %q, whose text %s", name, err)
			}
			used = append(used, t.names()...)
		}
		used = append(used, name)
	}
	for field, given := range map[string]map[string]string{
		"variables": e.registration.Variables, "secret_variables": e.registration.SecretVariables,
	} {
		for name := range given {
			if slices.Contains(used, name) {
				continue
			}
			if near := Nearest(name, used); near != "" {
				return invalid(field, "holds %q, which no placeholder names: did you mean %q?", name, near)
			}
			return invalid(field, "holds %q, which the provider does not declare and no placeholder names", name)
		}
	}
	return nil
}

// usedNames are the placeholders of the request itself.
func (e *Effective) usedNames() []string {
	var out []string
	if e.url != nil {
		out = append(out, e.url.parts.names()...)
	}
	collect := func(s string) (any, bool, error) {
		t, err := parseTemplate(s)
		out = append(out, t.names()...)
		return s, true, err
	}
	for _, m := range []map[string]any{e.Dialect.Parameters, e.Dialect.RequestHeaders} {
		_, _, _ = leaves(m, collect) //nolint:errcheck // each template is checked where it stands
	}
	return out
}

func (e *Effective) checkNames() error {
	standard := grant.StandardParameters()
	sent := map[string]string{}
	for name, as := range e.Dialect.ParameterNames {
		if !slices.Contains(standard, name) {
			hint := strings.Join(standard, ", ")
			if near := Nearest(name, standard); near != "" {
				hint = near
			}
			return invalid("parameter_names", "renames %q, which is no standard parameter: %s", name, hint)
		}
		if to, _ := as.(string); to != "" {
			if other, taken := sent[to]; taken {
				return invalid("parameter_names", "gives %s and %s one name", other, name)
			}
			sent[to] = name
		}
	}
	return nil
}

// checkParameters refuses parameters that the engine itself sends, and texts
// that cannot be expanded.
func (e *Effective) checkParameters() error {
	engine := make([]string, 0, 8)
	for _, name := range grant.StandardParameters() {
		if as, renamed := e.Dialect.ParameterNames[name].(string); renamed {
			name = as
		}
		engine = append(engine, name)
	}
	if e.url != nil {
		for _, q := range e.url.query {
			name, err := url.QueryUnescape(q.name)
			if err != nil {
				return invalid("token_url", "has a query that is not percent-encoded properly")
			}
			if slices.Contains(engine, name) {
				return invalid("token_url", "has %q in its query, which the engine sends itself; set the field, or rename it with parameter_names", name)
			}
		}
	}
	for field, params := range map[string]map[string]any{
		"parameters": e.Dialect.Parameters, "secret_parameters": e.registration.SecretParameters,
	} {
		for name, v := range params {
			if slices.Contains(engine, name) {
				return invalid(field, "holds %q, which the engine sends itself; set the field of that meaning, or rename it with parameter_names", name)
			}
			if field == "secret_parameters" {
				if _, twice := e.Dialect.Parameters[name]; twice {
					return invalid(field, "holds %q, which parameters holds as well", name)
				}
				continue
			}
			if _, _, err := leaves(v, e.checkText); err != nil {
				return invalid(field, "holds a text under %q that %s", name, err)
			}
		}
	}
	return nil
}

func (e *Effective) checkText(s string) (any, bool, error) {
	t, err := parseTemplate(s)
	if err == nil {
		err = e.env.check(t)
	}
	return s, true, err
}

func (e *Effective) checkHeaders() error {
	for name, v := range e.Dialect.RequestHeaders {
		if !httpguts.ValidHeaderFieldName(name) {
			return invalid("request_headers", "holds %q, which is no header name", name)
		}
		switch canonical := textproto.CanonicalMIMEHeaderKey(name); {
		case strings.HasPrefix(canonical, "Proxy-"), slices.Contains([]string{
			"Host", "Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length", "Expect",
		}, canonical):
			return invalid("request_headers", "holds %s, which belongs to the connection", canonical)
		case canonical == "Authorization" && e.Dialect.AuthMethod == string(grant.AuthBasic):
			return invalid("request_headers", "holds Authorization, which client_secret_basic sends itself; choose another token_endpoint_auth_method")
		}
		text, _ := v.(string)
		if _, _, err := e.checkText(text); err != nil {
			return invalid("request_headers", "holds a value for %s that %s", name, err)
		}
	}
	return nil
}

// answerNames are the members of what a reader gets, which extra fields may
// not take.
func answerNames() []string {
	return []string{
		"access_token", "token_type", "expires_at", "expires_in", "scope", "refresh_token",
		"ttl", "rotation_period", "lease_id", "lease_duration", "renewable", "error", "errors", "data", "warnings",
	}
}

func (e *Effective) checkExtraFields() error {
	for name, v := range e.Dialect.ExtraFields {
		p, _ := v.(string)
		if err := grant.Pointer(p).Check(); err != nil {
			return invalid("extra_fields", "holds a pointer for %q that is wrong: %s", name, err)
		}
		if slices.Contains(answerNames(), name) {
			return invalid("extra_fields", "holds %q, which the reader's answer has already; choose another name", name)
		}
		for _, secret := range e.Dialect.RefreshTokenPointer {
			if grant.Pointer(p).Within(grant.Pointer(secret)) {
				return invalid("extra_fields", "holds a pointer for %q that leads to the refresh token, which no reader gets", name)
			}
		}
	}
	return nil
}

func (e *Effective) checkCredentials() error {
	r := e.registration
	if m := grant.AuthMethod(e.Dialect.AuthMethod); m == grant.AuthBasic || m == grant.AuthPost {
		if r.ClientID == "" {
			return invalid("client_id", "is required by token_endpoint_auth_method=%s", m)
		}
		if r.ClientSecret == "" {
			return invalid("client_secret", "is required by token_endpoint_auth_method=%s", m)
		}
	}
	if e.Dialect.GrantType == grant.GrantPassword {
		if r.Username == "" {
			return invalid("username", "is required by grant_type=password")
		}
		if r.Password == "" {
			return invalid("password", "is required by grant_type=password")
		}
	}
	return nil
}
