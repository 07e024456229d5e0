// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"crypto/x509"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/net/http/httpguts"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

func (e *Effective) checkMethod() error {
	if e.Dialect.HTTPMethod == "GET" && e.Dialect.RequestFormat != string(grant.Query) {
		return invalid("request_format", "must be query (or left out) with http_method=GET, which has no body")
	}
	return nil
}

func (e *Effective) checkURLs() error {
	e.urls = map[string]*urlTemplate{}
	for field := range urlFields {
		text, _ := e.layer[field].(string)
		if text == "" {
			continue // a provider may leave the URL to its configs; endpoint refuses a config without it
		}
		u, err := parseURL(text)
		if err == nil && field == "token_url" {
			e.env.publish(u)
		}
		if err == nil {
			err = u.check(e.env)
		}
		if err != nil {
			return invalid(field, "%s", err)
		}
		e.urls[field] = u
	}
	return e.find()
}

func (e *Effective) checkNames() error {
	standard := grant.StandardParameters()
	sent := map[string]string{}
	for _, name := range standard {
		if _, renamed := e.Dialect.ParameterNames[name]; !renamed && e.mayBeSent(name) {
			sent[name] = name
		}
	}
	for name, as := range e.Dialect.ParameterNames {
		if !slices.Contains(standard, name) {
			hint := strings.Join(standard, ", ")
			if near := Nearest(name, standard); near != "" {
				hint = near
			}
			return invalid("parameter_names", "renames %s, which is not a standard parameter: %s", quoted(name), hint)
		}
		if to, _ := as.(string); to != "" && e.mayBeSent(name) {
			if other, taken := sent[to]; taken {
				return invalid("parameter_names", "gives %s and %s the same name", other, name)
			}
			sent[to] = name
		}
	}
	return nil
}

// mayBeSent reports whether a standard parameter belongs to this grant type and
// authentication method.
func (e *Effective) mayBeSent(name string) bool {
	switch name {
	case grant.ParamScope:
		return true
	case grant.ParamGrantType:
		return e.Dialect.GrantType != "none" && e.Dialect.GrantType != ""
	case grant.ParamSubjectToken, grant.ParamSubjectTokenType, grant.ParamActorToken, grant.ParamActorTokenType:
		return e.exchanges(name)
	}
	return slices.Contains(grant.Sends(e.Dialect.GrantType, grant.AuthMethod(e.Dialect.AuthMethod)), name)
}

// checkParameters refuses parameters that the engine sends itself, and a secret
// parameter that parameters holds as well.
func (e *Effective) checkParameters() error {
	engine := e.engineNames()
	for field, u := range e.urls {
		if field == "check_url" {
			continue // no parameters are added to it
		}
		for _, q := range u.query {
			name, err := url.QueryUnescape(q.name)
			if err != nil {
				return invalid(field, "has a query that is not percent-encoded properly")
			}
			if slices.Contains(engine, name) {
				return invalid(field, "has %q in its query, which the engine sends itself; set the field, or rename it with parameter_names", name)
			}
		}
	}
	for field, params := range map[string]map[string]any{
		"parameters": e.Dialect.Parameters, "secret_parameters": e.registration.SecretParameters,
	} {
		for name := range params {
			if slices.Contains(engine, name) {
				return invalid(field, "holds %q, which the engine sends itself; set the field of that meaning, or rename it with parameter_names", name)
			}
			if _, twice := e.Dialect.Parameters[name]; twice && field == "secret_parameters" {
				return invalid(field, "holds %q, which is also in parameters: write it in one of them", name)
			}
		}
	}
	return nil
}

// engineNames returns the names of the parameters that only the engine itself
// may send.
func (e *Effective) engineNames() []string {
	out := make([]string, 0, 8)
	for _, name := range grant.StandardParameters() {
		// client_secret always counts: only the authentication method decides where
		// the secret goes. client_id does not count with HTTP Basic, because some
		// servers want it in the header and as a parameter.
		if !e.mayBeSent(name) && name != grant.ParamClientSecret {
			continue
		}
		if as, renamed := e.Dialect.ParameterNames[name].(string); renamed {
			name = as
		}
		out = append(out, name)
	}
	return out
}

// checkScopes refuses a scope that holds the separator, because the provider
// would read it as several scopes.
func (e *Effective) checkScopes() error {
	between := separator(e.Dialect.ScopeSeparator)
	for _, scope := range e.Dialect.Scopes {
		if between == " " && strings.ContainsFunc(scope, unicode.IsSpace) || between != "list" && strings.Contains(scope, between) {
			return invalid("scopes", "holds a scope that contains the scope_separator, so it would be read as several: write each scope as its own item, or set another scope_separator")
		}
	}
	return nil
}

func (e *Effective) checkHeaders() error {
	if err := e.checkHeadersOf("request_headers", e.Dialect.RequestHeaders); err != nil {
		return err
	}
	if err := e.checkHeadersOf("revocation_headers", e.Dialect.RevocationHeaders); err != nil {
		return err
	}
	return e.checkHeadersOf("check_headers", e.Dialect.CheckHeaders)
}

func (e *Effective) checkHeadersOf(field string, headers map[string]any) error {
	seen := map[string]string{}
	for name := range headers {
		if !httpguts.ValidHeaderFieldName(name) {
			// The name is not quoted, because it may be a whole header with its value.
			return invalid(field, "holds something that is not a header name: write name=value")
		}
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		if other, twice := seen[canonical]; twice {
			return invalid(field, "holds %s and %s, which are the same header: remove one by setting it to null", quoted(min(name, other)), quoted(max(name, other)))
		}
		seen[canonical] = name
		switch {
		case strings.HasPrefix(canonical, "Proxy-"), slices.Contains([]string{
			"Host", "Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length", "Expect", "Accept-Encoding",
		}, canonical):
			return invalid(field, "holds %s, which only the connection itself sets: leave it out", canonical)
		case e.Dialect.DPoP && canonical == "Dpop":
			return invalid(field, "holds DPoP, which the engine sends itself with dpop=true")
		case field == "request_headers" && canonical == "Authorization" && e.Dialect.AuthMethod == string(grant.AuthBasic):
			return invalid(field, "holds Authorization, which client_secret_basic sends itself; choose another token_endpoint_auth_method")
		}
	}
	return nil
}

// answerNames returns the names of members that a reader's answer may have
// already. No entry of extra_fields may use them.
func answerNames() []string {
	return []string{
		"access_token", "token_type", "expires_at", "expires_in", "scope", "refresh_token",
		"ttl", "rotation_period", "lease_id", "lease_duration", "renewable", "error", "errors", "data", "warnings",
	}
}

// refreshTokenPointers returns the pointers to where a refresh token may be.
// /refresh_token is always one of them.
func (e *Effective) refreshTokenPointers() []grant.Pointer {
	return append(toPointers(e.Dialect.RefreshTokenPointer), "/refresh_token")
}

// checkPointers refuses pointers that would hand out a refresh token as something
// else.
func (e *Effective) checkPointers() error {
	for field, pointers := range map[string][]string{
		"access_token_pointer": e.Dialect.AccessTokenPointer, "token_type_pointer": e.Dialect.TokenTypePointer, "scope_pointer": e.Dialect.ScopePointer,
	} {
		for _, p := range toPointers(pointers) {
			for _, secret := range e.refreshTokenPointers() {
				if p.NamesRefreshToken() || p == secret || secret != "" && secret.Within(p) {
					return invalid(field, "leads to the refresh token, which readers never get: point to the member that this field is for")
				}
			}
		}
	}
	return nil
}

// checkMoment refuses an expires_at_zone or expires_at_format with which no time
// can be read.
func (e *Effective) checkMoment() error {
	zone, err := grant.ZoneNamed(e.Dialect.ExpiresAtZone)
	if err != nil {
		return invalid("expires_at_zone", "%s", err)
	}
	e.moment = grant.Moment{Format: e.Dialect.ExpiresAtFormat, Zone: zone}
	if err := e.moment.Check(); err != nil {
		return invalid("expires_at_format", "%s", err)
	}
	return nil
}

func (e *Effective) checkExtraFields() error {
	for name, v := range e.Dialect.ExtraFields {
		p, _ := v.(string)
		if err := grant.Pointer(p).Check(); err != nil {
			return invalid("extra_fields", "has an invalid pointer for %s: %s", quoted(name), err)
		}
		if slices.Contains(answerNames(), name) {
			return invalid("extra_fields", "holds %q, which is already a member of the reader's answer: choose another name", name)
		}
		for _, secret := range e.refreshTokenPointers() {
			if grant.Pointer(p).NamesRefreshToken() || grant.Pointer(p).Within(secret) || secret.Within(grant.Pointer(p)) {
				return invalid("extra_fields", "has a pointer for %s that leads to the refresh token, which readers never get", quoted(name))
			}
		}
	}
	return nil
}

func (e *Effective) checkAuthority() error {
	if pem := e.registration.CACertificate; pem != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(pem)) {
		return invalid("tls_ca_certificate", "must hold a PEM certificate, which begins with -----BEGIN CERTIFICATE-----")
	}
	return nil
}

func (e *Effective) checkCredentials() error {
	r := e.registration
	if err := e.checkKeys(); err != nil {
		return err
	}
	for _, need := range e.needs() {
		if slices.ContainsFunc(need.Fields, e.has) {
			continue
		}
		others := ""
		if len(need.Fields) > 1 {
			others = " (or " + strings.Join(need.Fields[1:], ", or ") + ")"
		}
		return invalid(need.Fields[0], "is required by %s%s", need.For, others)
	}
	if e.Dialect.AuthMethod == string(grant.AuthBasic) && e.Dialect.BasicAuthEncoding == "raw" && strings.Contains(r.ClientID, ":") {
		return invalid("client_id", "holds a colon, which basic_auth_encoding=raw cannot carry (RFC 7617)")
	}
	if r.FallbackSecret != "" && !e.has("client_secret") {
		return invalid("fallback_client_secret", "is only tried after client_secret, which is not set: set client_secret as well")
	}
	return nil
}
