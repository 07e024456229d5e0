// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"net/textproto"
	"slices"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

// accessToken is the placeholder that stands for the token in what is sent with
// it: check_headers, revocation_parameters and revocation_headers.
const accessToken = "access_token"

// ProbeRequest returns the literal request for check_url with a new access token,
// and false if the provider has no check_url.
func (e *Effective) ProbeRequest(token string) (grant.Request, bool, error) {
	if e.urls["check_url"] == nil {
		return grant.Request{}, false, nil
	}
	r, err := e.built("", func(e *Effective) (grant.Request, error) { return e.probe(token) })
	return r, err == nil, err
}

func (e *Effective) probe(token string) (grant.Request, error) {
	u, err := e.endpoint("check_url")
	if err != nil {
		return grant.Request{}, err
	}
	sent, err := headers("check_headers", e.Dialect.CheckHeaders, e.env.with(accessToken, token, true).expandText)
	if err != nil {
		return grant.Request{}, err
	}
	authorized := false
	for name, text := range textMap(e.Dialect.CheckHeaders) {
		t, _ := parseTemplate(text) // checked when it was written
		authorized = authorized || textproto.CanonicalMIMEHeaderKey(name) == "Authorization" || slices.Contains(t.names(), accessToken)
	}
	if !authorized {
		scheme := "Bearer"
		if e.Dialect.DPoP {
			scheme = grant.TypeDPoP
		}
		sent["Authorization"] = scheme + " " + token
	}
	return grant.Request{
		URL: u.String(), Field: "check_url", Method: "GET", Format: grant.Query, Auth: grant.AuthNone, Headers: sent,
		Secrets: []string{token}, Timeout: e.registration.RequestTimeout, Connection: e.connection(),
		DPoP: e.dpop(token),
	}, nil
}
