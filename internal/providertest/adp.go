// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"crypto/rand"
	"crypto/x509"
	"net/http"
)

// adp is ADP's token endpoint for a data connector. It expects client
// credentials in a Basic header, over a connection with a client certificate
// that ADP has signed.
//
// Documents:
// developers.adp.com/articles/guides/auth-process-data-connector-apps,
// .../articles/general/access-tokens and
// .../generate-a-certificate-signing-request. Two facts come from ADP's answers
// to adplabs/adp-connection-NET issues 27 and 14: a missing certificate is an
// invalid_request with 401, and the certificate's organization must be the
// client's.
type adp struct{ *Server }

// ADPOrganization is the company that the client of the ADP dialect belongs to.
const ADPOrganization = "Acme Corp"

func (a adp) token(in Request) (any, *refusal) {
	form, refused := a.keyForm(in, "grant_type")
	switch {
	case refused != nil:
		return nil, refused
	case !a.presents(in):
		return nil, &refusal{status: http.StatusUnauthorized, code: "invalid_request", text: "proper client ssl certificate was not presented"}
	case form["grant_type"] != "client_credentials":
		return nil, unsupportedGrant()
	}
	if id, secret, ok := in.basic(); !ok || !a.isClient(id, secret) {
		return nil, &refusal{status: http.StatusUnauthorized, code: "invalid_client", text: "the given client credentials were not valid"}
	}
	token := rand.Text() + rand.Text()
	a.issue(token)
	return bearer{AccessToken: token, TokenType: "Bearer", ExpiresIn: a.expiresIn(), Scope: "api"}, nil
}

// presents reports whether the client showed a certificate that ADP signed for
// its company.
func (a adp) presents(in Request) bool {
	c, err := x509.ParseCertificate(in.Certificate)
	if err != nil {
		return false
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.keys.authority.certificate)
	_, err = c.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err == nil && len(c.Subject.Organization) == 1 && c.Subject.Organization[0] == ADPOrganization
}

func (adp) errorBody(f *refusal) any { return rfcError(f) }
