// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"crypto/rand"
	"net/http"
	"strings"
	"time"
)

// salesforce is the login server, with an external client app that has a
// certificate and is approved for one user: the server's Username. The answer
// has no lifetime, because a token lasts as long as the org's session timeout.
//
// Document:
// help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_jwt_flow.htm.
// The error texts are those that users report.
type salesforce struct{ *Server }

// salesforceLife limits how far in the future an assertion may expire.
const salesforceLife = 3 * time.Minute

func (s salesforce) token(in Request) (any, *refusal) {
	form, refused := s.assertedForm(in, bearerGrant, "assertion")
	if refused != nil {
		return nil, refused
	}
	invalid := func(text string) *refusal {
		return &refusal{status: http.StatusBadRequest, code: "invalid_grant", text: text}
	}
	t, ok := parseJWT(form["assertion"])
	if !ok {
		return nil, invalid("invalid assertion")
	}
	c, now := s.Credentials(), s.options.Now()
	expires, expiring := t.time("exp")
	switch {
	case t.claim("iss") != c.ClientID:
		return nil, &refusal{status: http.StatusBadRequest, code: "invalid_client_id", text: "client identifier invalid"}
	case t.alg() != "RS256" || !s.signedByUploaded(t):
		return nil, invalid("invalid assertion")
	case t.claim("aud") != s.known():
		return nil, invalid("audience is invalid")
	case !expiring || !now.Before(expires) || expires.Sub(now) > salesforceLife:
		return nil, invalid("expired authorization code")
	case t.claim("sub") != c.Username:
		return nil, invalid("user hasn't approved this consumer")
	}
	token := "00D0sample!" + rand.Text() + rand.Text()
	s.issue(token)
	return map[string]string{
		"access_token": token, "scope": strings.Join(s.options.Scopes, " "), "token_type": "Bearer",
		"instance_url": "https://acme.my.salesforce.com", "id": s.known() + "/id/00D0sample/0050sample",
	}, nil
}

func (salesforce) errorBody(f *refusal) any { return rfcError(f) }
