// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// rfc6749 follows the standard: a client authenticates in either of the two
// ways in section 2.3.1, but not in both, and errors are those of section 5.2.
type rfc6749 struct{ *Server }

func (b rfc6749) token(in Request) (any, *refusal) {
	if refused := in.posted(formType); refused != nil {
		return nil, refused
	}
	exchanges := b.options.Subjects != nil
	switch kind := in.Form().Get("grant_type"); {
	case kind == exchangeGrant && exchanges:
		return b.exchange(in)
	case kind == bearerGrant && exchanges:
		return b.onBehalfOf(in)
	}
	switch in.Form().Get("grant_type") {
	case "":
		return nil, badRequest("Missing parameter: grant_type")
	case "client_credentials":
		return b.clientCredentials(in)
	case "password":
		return b.password(in)
	case "refresh_token":
		return b.refreshToken(in)
	default:
		return nil, unsupportedGrant()
	}
}

// clientCredentials returns no refresh token (section 4.4.3).
func (b rfc6749) clientCredentials(in Request) (any, *refusal) {
	form, refused := b.authenticate(in, "grant_type", "scope")
	if refused != nil {
		return nil, refused
	}
	scopes, refused := b.scopes(form, b.options.Scopes)
	if refused != nil {
		return nil, refused
	}
	return b.grant(scopes, ""), nil
}

func (b rfc6749) password(in Request) (any, *refusal) {
	form, refused := b.authenticate(in, "grant_type", "username", "password", "scope")
	if refused == nil {
		refused = require(form, "username", "password")
	}
	if refused != nil {
		return nil, refused
	}
	if !b.isUser(form.Get("username"), form.Get("password")) {
		return nil, invalidGrant()
	}
	scopes, refused := b.scopes(form, b.options.Scopes)
	if refused != nil {
		return nil, refused
	}
	return b.grant(scopes, b.newRefreshToken(scopes)), nil
}

func (b rfc6749) refreshToken(in Request) (any, *refusal) {
	form, refused := b.authenticate(in, "grant_type", "refresh_token", "scope")
	if refused == nil {
		refused = require(form, "refresh_token")
	}
	if refused != nil {
		return nil, refused
	}
	used := form.Get("refresh_token")
	granted, ok := b.refreshScopes(used)
	if !ok {
		return nil, invalidGrant()
	}
	// Check the scopes before the token is used up, so that a wrong scope does
	// not cost the client its refresh token.
	scopes, refused := b.scopes(form, granted)
	if refused != nil {
		return nil, refused
	}
	next, ok := b.useRefreshToken(used)
	if !ok {
		return nil, invalidGrant()
	}
	if next == used {
		next = ""
	}
	return b.grant(scopes, next), nil
}

func (b rfc6749) grant(scopes []string, refreshToken string) bearer {
	token := rand.Text() + rand.Text()
	b.issue(token)
	return bearer{
		AccessToken:  token,
		TokenType:    "Bearer",
		ExpiresIn:    b.expiresIn(),
		RefreshToken: refreshToken,
		Scope:        strings.Join(scopes, " "),
	}
}

// scopes returns the requested scopes, which must all be offered. It returns
// all that are offered when the client requests none (section 3.3).
func (b rfc6749) scopes(form url.Values, offered []string) ([]string, *refusal) {
	if !form.Has("scope") {
		return offered, nil
	}
	scopes, ok := b.grantable(form.Get("scope"), " ")
	for _, scope := range scopes {
		ok = ok && slices.Contains(offered, scope)
	}
	if !ok {
		return nil, invalidScope()
	}
	return scopes, nil
}

func (b rfc6749) authenticate(in Request, allowed ...string) (url.Values, *refusal) {
	return b.authenticateRepeating(in, nil, allowed...)
}

// authenticateRepeating is authenticate with parameters that may be repeated.
func (b rfc6749) authenticateRepeating(in Request, repeatable []string, allowed ...string) (url.Values, *refusal) {
	form, refused := in.form(append(allowed, "client_id", "client_secret"), append(repeatable, b.options.ExtraParameters...))
	if refused != nil {
		return nil, refused
	}
	// Section 3.2: a parameter without a value counts as missing.
	for name, values := range form {
		if len(values) == 1 && values[0] == "" {
			delete(form, name)
		}
	}
	posted := form.Has("client_id") || form.Has("client_secret")
	if len(in.Header.Values("Authorization")) > 0 {
		if posted {
			return nil, badRequest("More than one way to authenticate the client")
		}
		return form, b.basicClient(in)
	}
	// Section 5.2 requires 401 only if the client tried a header. A client that
	// did not try to authenticate gets it too, with a challenge that names the
	// way to do it.
	switch {
	case !posted:
		return nil, unauthorizedClient()
	case !b.isClient(form.Get("client_id"), form.Get("client_secret")):
		return nil, invalidClient(http.StatusBadRequest)
	}
	return form, nil
}

// basicClient expects both parts form-urlencoded (section 2.3.1), which allows
// a client ID to contain a colon.
func (b rfc6749) basicClient(in Request) *refusal {
	id, secret, ok := in.basic()
	plainID, idErr := url.QueryUnescape(id)
	plainSecret, secretErr := url.QueryUnescape(secret)
	if !ok || idErr != nil || secretErr != nil || !b.isClient(plainID, plainSecret) {
		return unauthorizedClient()
	}
	return nil
}

func unauthorizedClient() *refusal {
	refused := invalidClient(http.StatusUnauthorized)
	refused.challenge = `Basic realm="token endpoint", charset="UTF-8"`
	return refused
}

func (rfc6749) errorBody(f *refusal) any { return rfcError(f) }
