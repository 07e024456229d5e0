// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"crypto/rand"
	"crypto/x509"
	"net/http"
	"time"
)

// google is the token endpoint for service accounts with their own keys. The
// server's Username is the user that the account may act for (domain-wide
// delegation); when it is empty, the account may act for nobody.
//
// Documents: developers.google.com/identity/protocols/oauth2/service-account
// (with the error codes) and cloud.google.com/iam/docs/keys-upload. This server
// refuses an unknown kid. The real service does not refuse it today, but
// "reserves the right" to.
type google struct{ *Server }

func (g google) token(in Request) (any, *refusal) {
	form, refused := g.assertedForm(in, bearerGrant, "assertion")
	if refused != nil {
		return nil, refused
	}
	t, ok := parseJWT(form["assertion"])
	if !ok {
		return nil, googleRefusal("invalid_grant", "Bad Request")
	}
	now := g.options.Now()
	issued, dated := t.time("iat")
	expires, expiring := t.time("exp")
	kid, named := t.header["kid"]
	key := g.uploaded(func(c *x509.Certificate) bool { return !named || keyID(c) == kid })
	subject, delegated := t.claims["sub"]
	scopes, granted := g.grantable(t.claim("scope"), " ")
	c := g.Credentials()
	switch {
	case t.claim("iss") != c.ClientID:
		return nil, googleRefusal("invalid_grant", "Invalid grant: account not found")
	case t.alg() != "RS256" || text(t.header, "typ") != "JWT":
		return nil, googleRefusal("invalid_grant", "Invalid JWT: alg must be RS256, and typ JWT")
	case key == nil || !named && !g.signedByUploaded(t) || named && !t.verifiedBy(key.PublicKey):
		return nil, googleRefusal("invalid_grant", "Invalid JWT Signature.")
	case t.claim("aud") != g.known()+g.tokenPath:
		return nil, googleRefusal("invalid_grant", "Invalid JWT: Failed audience check. The right audience is "+g.known()+g.tokenPath)
	case !dated || !expiring || issued.After(now) || !now.Before(expires) || expires.Sub(issued) > time.Hour:
		return nil, googleRefusal("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.")
	case delegated && (subject == "" || subject != c.Username):
		return nil, &refusal{
			status: http.StatusUnauthorized, code: "unauthorized_client",
			text: "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the scopes requested.",
		}
	case !granted:
		return nil, googleRefusal("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
	}
	_ = scopes // the answer does not repeat them
	token := "ya29." + rand.Text() + rand.Text()
	g.issue(token)
	return bearer{AccessToken: token, ExpiresIn: g.expiresIn(), TokenType: "Bearer"}, nil
}

func googleRefusal(code, text string) *refusal {
	return &refusal{status: http.StatusBadRequest, code: code, text: text}
}

func (google) errorBody(f *refusal) any { return rfcError(f) }
