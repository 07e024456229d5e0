// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"net/http"
	"net/url"
	"strings"
)

// antsomi accepts a form with the credentials and the scopes. Scopes are
// required and separated by commas.
type antsomi struct{ *Server }

func (a antsomi) token(in Request) (any, *refusal) {
	form, refused := a.authenticate(in, "grant_type", "scope")
	if refused == nil {
		refused = require(form, "grant_type")
	}
	if refused != nil {
		return nil, refused
	}
	if form.Get("grant_type") != "client_credentials" {
		return nil, unsupportedGrant()
	}
	scopes, ok := a.grantable(form.Get("scope"), ",")
	if !ok {
		return nil, invalidScope()
	}
	token := randomHex(22)
	expires := a.issue(token)
	return map[string]string{
		"accessToken":          token,
		"accessTokenExpiresAt": expires.UTC().Format("2006-01-02T15:04:05.000Z"),
		"scope":                strings.Join(scopes, ","),
	}, nil
}

// authenticate refuses a wrong client with 400, the only error status in the
// document.
func (a antsomi) authenticate(in Request, allowed ...string) (url.Values, *refusal) {
	return a.postedClient(in, invalidClient(http.StatusBadRequest), allowed...)
}

func (antsomi) errorBody(f *refusal) any {
	return map[string]any{
		"statusCode": f.status,
		"status":     f.status,
		"code":       f.status,
		"message":    f.text,
		"name":       f.code,
	}
}
