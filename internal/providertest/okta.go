// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"time"
)

// okta is an org authorization server of Okta with a service app. The app has a
// JWK set and requires DPoP, as new apps do by default. The server also serves
// one resource of Okta's API.
//
// Documents:
// developer.okta.com/docs/guides/implement-oauth-for-okta-serviceapp/main/,
// .../guides/build-self-signed-jwt/ (the claims) and
// .../guides/dpop/oktaresourceserver/main/. The error texts are those that
// users report (okta-sdk-python issues 289 and 382).
type okta struct{ *Server }

// oktaUsers is a resource of Okta's API.
const oktaUsers = "/api/v1/users"

func (o okta) token(in Request) (any, *refusal) {
	form, refused := o.assertedForm(in, "client_credentials", "scope", "client_id", "client_assertion_type", "client_assertion")
	if refused != nil {
		return nil, refused
	}
	if refused := o.client(form); refused != nil {
		return nil, refused
	}
	scopes, ok := o.grantable(form["scope"], " ")
	if !ok { // a request without a scope is refused too
		return nil, &refusal{status: http.StatusBadRequest, code: "invalid_scope", text: "One or more scopes are not configured for the authorization server resource."}
	}
	thumbprint, refused := o.proof(in, "", o.nonce, "The DPoP proof JWT header is missing.")
	if refused != nil {
		return nil, refused
	}
	token := strings.Join([]string{rand.Text(), rand.Text(), rand.Text()}, ".")
	o.issue(token)
	o.mu.Lock()
	o.keys.bound[token] = thumbprint
	o.mu.Unlock()
	return bearer{AccessToken: token, TokenType: "DPoP", ExpiresIn: o.expiresIn(), Scope: strings.Join(scopes, " ")}, nil
}

// client checks the client assertion.
func (o okta) client(form map[string]string) *refusal {
	wrong := func(text string) *refusal {
		return &refusal{status: http.StatusUnauthorized, code: "invalid_client", text: text}
	}
	id := o.Credentials().ClientID
	if form["client_assertion_type"] != assertionType {
		return wrong("The client_assertion_type is invalid.")
	}
	t, ok := parseJWT(form["client_assertion"])
	if !ok {
		return wrong("The client_assertion is not a JWT.")
	}
	now := o.options.Now()
	expires, expiring := t.time("exp")
	issued, dated := t.time("iat")
	_, saysIssued := t.claims["iat"]
	key, known := o.clientJWKS()[text(t.header, "kid")]
	switch {
	case !slices.Contains([]string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512"}, t.alg()):
		return wrong("The client_assertion alg is not supported.")
	case !known:
		return wrong("The client_assertion JWT kid is invalid.")
	case !t.verifiedBy(key):
		return wrong("The client_assertion signature is invalid.")
	case t.claim("iss") != id || t.claim("sub") != id || form["client_id"] != "" && form["client_id"] != id:
		return wrong("The iss and sub claims of the client_assertion must be the client_id.")
	case t.claim("aud") != o.known()+o.tokenPath:
		return wrong("The audience claim for client_assertion must be the endpoint invoked for the request.")
	case !expiring || !now.Before(expires):
		return wrong("The client_assertion token is expired.")
	case expires.Sub(now) >= time.Hour:
		return wrong("The client_assertion token has an expiration too far into the future.")
	case saysIssued && (!dated || issued.After(now)):
		return wrong("The client_assertion token was issued in the future.")
	case t.claims["jti"] != nil && !o.firstUse("client assertion "+t.claim("jti")):
		return wrong("The client_assertion token has already been used.")
	}
	return nil
}

// resource answers the API's requests. A request needs the access token and a
// proof by the key that the token is bound to.
func (o okta) resource(in Request) (any, *refusal) {
	if in.Path != oktaUsers || in.Method != http.MethodGet {
		return nil, &refusal{status: http.StatusNotFound, code: "not_found", text: "No such resource"}
	}
	unauthorized := func(text string) *refusal {
		return &refusal{status: http.StatusUnauthorized, code: "invalid_token", text: text, challenge: `DPoP error="invalid_token"`}
	}
	token, isDPoP := strings.CutPrefix(in.Header.Get("Authorization"), "DPoP ")
	if !isDPoP || !o.Valid(token) {
		return nil, unauthorized("The access token is invalid.")
	}
	thumbprint, refused := o.proof(in, token, "", "The DPoP proof JWT header is missing.")
	if refused != nil {
		return nil, refused
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.keys.bound[token] != thumbprint {
		return nil, unauthorized("The access token is bound to another key.")
	}
	return []map[string]string{{"id": "00u1sample", "status": "ACTIVE"}}, nil
}

func (okta) errorBody(f *refusal) any { return rfcError(f) }
