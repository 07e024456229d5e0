// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"strings"
)

// cognito is a token endpoint of Amazon Cognito with one company's scope. The
// company's document lists the credentials among the parameters, but its
// samples send them only in a Basic header. This server accepts only the
// header, without form-urlencoding, as in the samples. The document describes
// no errors, so they are Cognito's own: status 400 with just "error", even for
// a refused client.
type cognito struct{ *Server }

func (c cognito) token(in Request) (any, *refusal) {
	if refused := in.posted(formType); refused != nil {
		return nil, refused
	}
	switch in.Form().Get("grant_type") {
	case "":
		return nil, badRequest("Missing parameter: grant_type")
	case "client_credentials":
	case "refresh_token":
		// Cognito knows this grant, but a client without users has no refresh
		// token.
		if _, refused := c.authenticate(in, "grant_type", "refresh_token"); refused != nil {
			return nil, refused
		}
		return nil, invalidGrant()
	default:
		return nil, unsupportedGrant()
	}
	form, refused := c.authenticate(in, "grant_type", "scope")
	if refused != nil {
		return nil, refused
	}
	// Without a scope, Cognito grants all scopes that the client may have.
	if form.Has("scope") {
		if _, ok := c.grantable(form.Get("scope"), " "); !ok {
			return nil, invalidScope()
		}
	}
	token := strings.Join([]string{rand.Text(), rand.Text(), rand.Text()}, ".")
	c.issue(token)
	return bearer{AccessToken: token, ExpiresIn: c.expiresIn(), TokenType: "Bearer"}, nil
}

func (c cognito) authenticate(in Request, allowed ...string) (url.Values, *refusal) {
	form, refused := in.form(allowed, nil)
	if refused != nil {
		return nil, refused
	}
	if id, secret, ok := in.basic(); !ok || !c.isClient(id, secret) {
		return nil, invalidClient(http.StatusBadRequest)
	}
	return form, nil
}

func (cognito) errorBody(f *refusal) any {
	return map[string]string{"error": f.code}
}
