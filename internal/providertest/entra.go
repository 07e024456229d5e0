// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// entra is a tenant of Microsoft Entra ID with an app registration that has
// certificates.
//
// Documents:
// learn.microsoft.com/en-us/entra/identity-platform/certificate-credentials and
// .../v2-oauth2-client-creds-grant-flow (second case). The first describes the
// recommended assertion (PS256, a lifetime of at most ten minutes). The service
// accepts more than that today; this server does not. Error numbers:
// learn.microsoft.com/en-us/entra/identity-platform/reference-error-codes.
type entra struct{ *Server }

// entraLife is the longest time between an assertion's nbf and its exp, as the
// document recommends.
const entraLife = 10 * time.Minute

func (e entra) token(in Request) (any, *refusal) {
	form, refused := e.assertedForm(in, "client_credentials", "client_id", "scope", "client_assertion_type", "client_assertion")
	switch {
	case refused != nil:
		return nil, refused
	case form["client_id"] != e.Credentials().ClientID:
		return nil, &refusal{status: http.StatusBadRequest, code: "unauthorized_client", text: "AADSTS700016: Application with identifier was not found in the directory"}
	case form["client_assertion_type"] != assertionType:
		return nil, badRequest("AADSTS90014: The required field 'client_assertion_type' is missing from the request")
	}
	if refused := e.client(form); refused != nil {
		return nil, refused
	}
	// The scope must be one resource followed by /.default.
	if !slices.Contains(e.options.Scopes, form["scope"]) {
		return nil, &refusal{status: http.StatusBadRequest, code: "invalid_scope", text: "AADSTS70011: The provided value for the input parameter 'scope' is not valid"}
	}
	token := rand.Text() + rand.Text()
	e.issue(token)
	return map[string]any{"token_type": "Bearer", "expires_in": e.expiresIn(), "ext_expires_in": e.expiresIn(), "access_token": token}, nil
}

func (e entra) client(form map[string]string) *refusal {
	wrong := func(text string) *refusal {
		return &refusal{status: http.StatusUnauthorized, code: "invalid_client", text: text}
	}
	t, ok := parseJWT(form["client_assertion"])
	if !ok {
		return wrong("AADSTS50027: JWT token is invalid or malformed")
	}
	id, now := e.Credentials().ClientID, e.options.Now()
	from, started := t.time("nbf")
	expires, expiring := t.time("exp")
	issued, dated := t.time("iat")
	thumbprint := text(t.header, "x5t#S256")
	registered := e.uploaded(func(c *x509.Certificate) bool {
		sum := sha256.Sum256(c.Raw)
		return base64.RawURLEncoding.EncodeToString(sum[:]) == thumbprint
	})
	switch {
	case !slices.Equal(slices.Sorted(maps.Keys(t.header)), []string{"alg", "typ", "x5t#S256"}):
		return wrong("AADSTS50027: JWT token is invalid or malformed. Its header must be alg, typ and x5t#S256")
	case t.alg() != "PS256" || text(t.header, "typ") != "JWT":
		return wrong("AADSTS5002738: Invalid JWT token. The alg must be PS256, and the typ JWT")
	case registered == nil:
		return wrong("AADSTS700027: The certificate with identifier used to sign the client assertion is not registered on application")
	case !t.verifiedBy(registered.PublicKey):
		return wrong("AADSTS700027: Client assertion contains an invalid signature")
	case t.claim("aud") != e.known()+e.tokenPath:
		return wrong("AADSTS700023: Client assertion audience claim does not match Realm issuer")
	case t.claim("iss") != id || t.claim("sub") != id:
		return wrong("AADSTS700021: Client assertion application identifier doesn't match 'client_id' parameter")
	case !started || !expiring || !dated || from.After(now) || issued.After(now) || !now.Before(expires) || expires.Sub(from) > entraLife:
		return wrong("AADSTS700024: Client assertion is not within its valid time range")
	case !e.firstUse("client assertion " + t.claim("jti")):
		return wrong("AADSTS50027: JWT token is invalid or malformed. Its jti must be there, and used once")
	}
	return nil
}

func (entra) errorBody(f *refusal) any {
	number := 0
	_, _ = fmt.Sscanf(strings.TrimPrefix(f.text, "AADSTS"), "%d", &number) // 0 if the text has no number
	return map[string]any{
		"error": f.code, "error_description": f.text, "error_codes": []int{number},
		"timestamp": "2026-11-25 12:00:00Z", "trace_id": "00000000-0000-0000-0000-000000000000", "correlation_id": "00000000-0000-0000-0000-000000000000",
	}
}
