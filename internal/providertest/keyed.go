// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// The dialects of providers whose clients prove that they have a private key.
// They are always served over TLS. Before the server accepts a client, it must
// know the client's public key. The key gets there in the way that the provider
// offers: [Server.Upload], [Server.FetchKeys] or [Server.SignCSR].
const (
	ADP        Dialect = "adp"
	Entra      Dialect = "entra-id"
	Google     Dialect = "google-service-account"
	Okta       Dialect = "okta"
	Salesforce Dialect = "salesforce"
)

// KeyDialects returns the dialects of providers whose clients have private
// keys. [Dialects] contains none of them.
func KeyDialects() []Dialect { return []Dialect{ADP, Entra, Google, Okta, Salesforce} }

// EntraTenant is the tenant of the Entra dialect.
const EntraTenant = "contoso.onmicrosoft.com"

func (s *Server) setKeyDialect(d Dialect) bool {
	switch d {
	case ADP:
		s.setDialect(adp{s}, "/auth/oauth/v2/token", "", "api")
	case Entra:
		s.setDialect(entra{s}, "/"+EntraTenant+"/oauth2/v2.0/token", "", "https://graph.microsoft.com/.default")
	case Google:
		s.setDialect(google{s}, "/token", "", "https://www.googleapis.com/auth/devstorage.read_only", "https://www.googleapis.com/auth/pubsub")
	case Okta:
		s.setDialect(okta{s}, "/oauth2/v1/token", "", "okta.users.read", "okta.groups.read")
	case Salesforce:
		s.setDialect(salesforce{s}, "/services/oauth2/token", "", "api", "web")
	default:
		return false
	}
	return true
}

// clientKeys is what a server knows about its client's keys.
type clientKeys struct {
	certificates []*x509.Certificate // oldest first
	jwksURI      string
	fetch        *http.Client
	authority    *signer // signs clients' certificates
	used         map[string]bool
	bound        map[string]string // access token to the thumbprint of its key
}

// Upload registers a certificate of the client, in PEM, as the consoles of
// Entra, Google and Salesforce do. Earlier certificates stay valid. It returns
// the name that the provider gives the key: Google's key ID.
func (s *Server) Upload(certificate string) (string, error) {
	block, rest := pem.Decode([]byte(certificate))
	if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
		return "", errors.New("the file must be one certificate, in PEM")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", fmt.Errorf("read the certificate: %w", err)
	}
	now := s.options.Now()
	if _, isRSA := c.PublicKey.(*rsa.PublicKey); !isRSA {
		return "", errors.New("the key must be an RSA key")
	}
	if c.Version != 3 || now.Before(c.NotBefore) || now.After(c.NotAfter) {
		return "", errors.New("the certificate must be X.509 v3, and valid now")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys.certificates = append(s.keys.certificates, c)
	return keyID(c), nil
}

// keyID returns 40 hexadecimal digits, as Google's key IDs have. Google does
// not document how it makes them; here they are the certificate's serial
// number.
func keyID(c *x509.Certificate) string {
	return fmt.Sprintf("%x", c.SerialNumber.FillBytes(make([]byte, 20)))
}

// FetchKeys makes the server take the client's keys from the JWK set at that
// address. The server fetches the set with the given HTTP client on each token
// request (Okta's "Use a URL to fetch keys dynamically").
func (s *Server) FetchKeys(uri string, by *http.Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys.jwksURI, s.keys.fetch = uri, by
}

// SignCSR issues a certificate for a certificate signing request, as ADP does
// for clients that may connect. Both are PEM.
func (s *Server) SignCSR(csr string) (string, error) {
	block, _ := pem.Decode([]byte(csr))
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return "", errors.New("the file must be a certificate signing request, in PEM")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = request.CheckSignature()
	}
	if err != nil {
		return "", fmt.Errorf("read the request: %w", err)
	}
	if _, isRSA := request.PublicKey.(*rsa.PublicKey); !isRSA || len(request.Subject.Organization) != 1 {
		return "", errors.New("the request must be of an RSA key, and name the company as its organization (O)")
	}
	return s.keys.authority.sign(&x509.Certificate{
		Subject: request.Subject, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, request.PublicKey)
}

// known returns the URL by which clients know the server.
func (s *Server) known() string {
	if s.options.Host != "" {
		return "https://" + s.options.Host
	}
	return s.base
}

// keyForm reads a form by the rules of Request.form. It refuses a request that
// was sent to another host name than the one that clients know.
func (s *Server) keyForm(in Request, allowed ...string) (map[string]string, *refusal) {
	if in.Host != strings.TrimPrefix(s.known(), "https://") {
		return nil, &refusal{status: http.StatusMisdirectedRequest, code: "invalid_request", text: "This is another host"}
	}
	form, refused := in.form(allowed, nil)
	out := map[string]string{}
	for name := range form {
		out[name] = form.Get(name)
	}
	return out, refused
}

// assertedForm reads a form by the rules of keyForm, for a grant whose request
// authenticates by an assertion in the form and so has no Authorization header.
func (s *Server) assertedForm(in Request, grantType string, allowed ...string) (map[string]string, *refusal) {
	form, refused := s.keyForm(in, append(allowed, "grant_type")...)
	if refused == nil {
		refused = in.unauthorized()
	}
	if refused == nil && form["grant_type"] != grantType {
		refused = unsupportedGrant()
	}
	return form, refused
}

// uploaded returns the first uploaded certificate for which is returns true, or
// nil.
func (s *Server) uploaded(is func(*x509.Certificate) bool) *x509.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(s.keys.certificates, is); i >= 0 {
		return s.keys.certificates[i]
	}
	return nil
}

// signedByUploaded reports whether the key of any uploaded certificate signed
// the JWT.
func (s *Server) signedByUploaded(t jwt) bool {
	return s.uploaded(func(c *x509.Certificate) bool { return t.verifiedBy(c.PublicKey) }) != nil
}

// clientJWKS fetches the client's keys and returns them by their kid.
func (s *Server) clientJWKS() map[string]crypto.PublicKey {
	s.mu.Lock()
	uri, client := s.keys.jwksURI, s.keys.fetch
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil || client == nil {
		return nil
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	var set struct{ Keys []map[string]any }
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil || resp.StatusCode != http.StatusOK || json.Unmarshal(raw, &set) != nil {
		return nil
	}
	out := map[string]crypto.PublicKey{}
	for _, jwk := range set.Keys {
		key, _, ok := publicKey(jwk)
		if use := text(jwk, "use"); ok && (use == "" || use == "sig") {
			out[text(jwk, "kid")] = key
		}
	}
	return out
}

// firstUse reports whether the server has not seen this text before, and
// records it. The text is a kind, a space and a value; an empty value never
// counts as a first use.
func (s *Server) firstUse(what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.HasSuffix(what, " ") || s.keys.used[what] {
		return false
	}
	s.keys.used[what] = true
	return true
}
