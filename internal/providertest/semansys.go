// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"strings"
)

// semansys accepts the password grant with the client's credentials in the
// body. The document names the statuses (400; 401 for the client, 403 for the
// user). It describes no encoding, no error bodies and no use of the refresh
// token, so these follow RFC 6749.
type semansys struct{ *Server }

func (m semansys) token(in Request) (any, *refusal) {
	if refused := in.posted(formType); refused != nil {
		return nil, refused
	}
	switch in.Form().Get("grant_type") {
	case "":
		return nil, badRequest("Missing parameter: grant_type")
	case "password":
		form, refused := m.authenticate(in, "grant_type", "username", "password")
		if refused == nil {
			refused = require(form, "username", "password")
		}
		if refused != nil {
			return nil, refused
		}
		if !m.isUser(form.Get("username"), form.Get("password")) {
			return nil, &refusal{status: http.StatusForbidden, code: "invalid_grant", text: "User authentication failed"}
		}
		return m.grant(m.newRefreshToken(m.options.Scopes)), nil
	case "refresh_token":
		form, refused := m.authenticate(in, "grant_type", "refresh_token")
		if refused == nil {
			refused = require(form, "refresh_token")
		}
		if refused != nil {
			return nil, refused
		}
		next, ok := m.useRefreshToken(form.Get("refresh_token"))
		if !ok {
			return nil, invalidGrant()
		}
		return m.grant(next), nil
	default:
		return nil, unsupportedGrant()
	}
}

func (m semansys) grant(refreshToken string) bearer {
	token := rand.Text() + rand.Text()
	m.issue(token)
	return bearer{
		AccessToken:  token,
		TokenType:    "bearer",
		ExpiresIn:    m.expiresIn(),
		RefreshToken: refreshToken,
		Scope:        strings.Join(m.options.Scopes, " "),
	}
}

func (m semansys) authenticate(in Request, allowed ...string) (url.Values, *refusal) {
	return m.postedClient(in, invalidClient(http.StatusUnauthorized), allowed...)
}

func (semansys) errorBody(f *refusal) any { return rfcError(f) }
