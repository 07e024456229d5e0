// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"slices"
	"strings"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

// keys holds the keys that a request is signed with, ready for use.
type keys struct {
	signing         Material
	algorithm       signing.Algorithm // of the signing key
	secretAlgorithm signing.Algorithm // of the client secret
	tls             Material
	dpop            signing.Key // zero until the tokens are bound to a key
}

// signs reports whether the client signs a JWT with a private key, either to
// authenticate or as its grant.
func (e *Effective) signs() bool {
	return e.Dialect.AuthMethod == string(grant.AuthPrivateKeyJWT) || e.signsGrant() && !e.SecretSignsGrant()
}

// signsGrant reports whether the grant is a JWT that is signed here.
func (e *Effective) signsGrant() bool {
	return e.Dialect.GrantType == grant.GrantJWTBearer && e.registration.Assertion == "" && !e.registration.brought(grant.ParamAssertion)
}

// SecretSignsGrant reports whether the grant is a JWT that the client secret
// signs: the algorithm is one for secrets, and the client has no private key.
func (e *Effective) SecretSignsGrant() bool {
	wanted, _ := e.wantedAlgorithm()
	return e.signsGrant() && slices.Contains(signing.Symmetric(), wanted) && e.registration.PrivateKey == "" && e.registration.SigningKey == ""
}

// checkKeys parses the keys, and refuses keys that do not fit their purpose.
func (e *Effective) checkKeys() error {
	if err := e.checkSigningKey(); err != nil {
		return err
	}
	if e.Dialect.AuthMethod == string(grant.AuthSecretJWT) || e.SecretSignsGrant() {
		if err := e.checkSecretAlgorithm(); err != nil {
			return err
		}
	}
	return e.checkTLSKey()
}

func (e *Effective) checkSigningKey() error {
	r := e.registration
	e.keys.signing = r.Signing
	switch {
	case r.PrivateKey != "" && r.SigningKey != "":
		return invalid("signing_key", "is set together with private_key, and a client signs with one key: unset one of them with a patch to null")
	case r.SigningCertificate != "" && r.PrivateKey == "":
		return invalid("signing_certificate", "belongs to private_key, which is not set (the certificate of a signing_key is written to key/<key>/certificate)")
	case r.PrivateKey != "":
		k, err := signing.Parse(r.PrivateKey)
		if err != nil {
			return invalid("private_key", "%s", err)
		}
		e.keys.signing = Material{Key: k, ID: k.ID()}
	}
	if r.SigningCertificate != "" {
		certificates, err := signing.ParseCertificates(r.SigningCertificate)
		if err == nil {
			err = certificates.Match(e.keys.signing.Key)
		}
		if err != nil {
			return invalid("signing_certificate", "%s", err)
		}
		e.keys.signing.Certificates = certificates
	}
	if r.KeyID != "" {
		e.keys.signing.ID = r.KeyID
	}
	if !e.signs() || e.keys.signing.Key.IsZero() {
		return nil
	}
	wanted, from := e.wantedAlgorithm()
	var err error
	if e.keys.algorithm, err = e.keys.signing.Key.Algorithm(wanted); err != nil {
		return invalid(from, "%s", err)
	}
	return nil
}

// wantedAlgorithm returns the algorithm that assertions are to be signed with,
// and the field that says so. signing_algorithm overrides the alg of
// assertion_headers. An empty algorithm means the one that fits the key.
func (e *Effective) wantedAlgorithm() (signing.Algorithm, string) {
	if chosen := e.registration.SigningAlgorithm; chosen != "" {
		return chosen, "signing_algorithm"
	}
	text, _ := e.Dialect.AssertionHeaders["alg"].(string)
	return signing.Algorithm(text), "assertion_headers.alg"
}

// checkAlgorithm refuses an unknown alg in assertion_headers.
func (e *Effective) checkAlgorithm() error {
	alg, said := e.Dialect.AssertionHeaders["alg"]
	text, _ := alg.(string)
	if known := signing.Names(slices.Concat(signing.Symmetric(), signing.Asymmetric())); said && !slices.Contains(known, text) {
		return invalid("assertion_headers", "holds an alg that is not one of %s", strings.Join(known, ", "))
	}
	return nil
}

func (e *Effective) checkSecretAlgorithm() error {
	r := e.registration
	var from string
	if e.keys.secretAlgorithm, from = e.wantedAlgorithm(); e.keys.secretAlgorithm == "" || e.signsGrant() && !e.SecretSignsGrant() { // the wanted algorithm is then that of the grant's key
		e.keys.secretAlgorithm = signing.HS256
	}
	if !slices.Contains(signing.Symmetric(), e.keys.secretAlgorithm) {
		return invalid(from, "must be one of %s with token_endpoint_auth_method=client_secret_jwt", signing.Listed(signing.Symmetric()))
	}
	for field, secret := range map[string]string{"client_secret": r.ClientSecret, "fallback_client_secret": r.FallbackSecret} {
		if secret == "" && (field != "client_secret" || !r.EmptySecret) {
			continue
		}
		if err := signing.CheckSecret(secret, e.keys.secretAlgorithm); err != nil {
			return invalid(field, "%s", err)
		}
	}
	return nil
}

func (e *Effective) checkTLSKey() error {
	r := e.registration
	e.keys.tls = r.TLS
	switch {
	case r.TLSKey != "" && r.ClientKey != "":
		return invalid("tls_key", "is set together with tls_client_key: unset one of them with a patch to null")
	case r.TLSKey != "" && r.ClientCertificate != "":
		return invalid("tls_client_certificate", "belongs to tls_client_key, which is not set; the certificate of a tls_key is written to key/<key>/certificate")
	case r.ClientKey != "" && r.ClientCertificate == "":
		return invalid("tls_client_certificate", "is required with tls_client_key")
	case r.ClientCertificate == "":
		return nil
	case r.ClientKey == "":
		return invalid("tls_client_key", "is required with tls_client_certificate")
	}
	k, err := signing.Parse(r.ClientKey)
	if err != nil {
		return invalid("tls_client_key", "%s", err)
	}
	certificates, err := signing.ParseCertificates(r.ClientCertificate)
	if err == nil {
		err = certificates.Match(k)
	}
	if err != nil {
		return invalid("tls_client_certificate", "%s", err)
	}
	e.keys.tls = Material{Key: k, Certificates: certificates}
	return nil
}

// CertificateEnd says when a certificate expires. It is the certificate in a
// field, or that of the key which the field names.
type CertificateEnd struct {
	Field, Key string
	At         time.Time
}

// CertificateEnds returns when the certificates expire by which the provider
// recognizes the client.
func (e *Effective) CertificateEnds() []CertificateEnd {
	var out []CertificateEnd
	add := func(field, keyField, key string, m Material) {
		if len(m.Certificates) == 0 {
			return
		}
		if key != "" {
			field = keyField
		}
		out = append(out, CertificateEnd{Field: field, Key: key, At: m.Certificates.Ends().UTC()})
	}
	add("signing_certificate", "signing_key", e.registration.SigningKey, e.keys.signing)
	add("tls_client_certificate", "tls_key", e.registration.TLSKey, e.keys.tls)
	return out
}

// connection returns what the request trusts, what it shows to be let in, and
// which proxy it uses.
func (e *Effective) connection() grant.Connection {
	r := e.registration
	return grant.Connection{
		CACertificate: r.CACertificate, Certificates: e.keys.tls.Certificates, Key: e.keys.tls.Key,
		Proxy: grant.Proxy{URL: r.ProxyURL, Username: r.ProxyUsername, Password: r.ProxyPassword},
	}
}

// checkEndpoints makes sure that tokens which are obtained with a key made here
// do not go to a host that the writer of the config chooses. The config's own
// credentials need no such check: to change the host, a writer has to write them
// again.
func (e *Effective) checkEndpoints() error {
	if e.registration.SigningKey == "" && e.registration.TLSKey == "" {
		return nil
	}
	to, err := e.endpoint("token_url")
	if err != nil {
		return err
	}
	if e.registration.ProxyURL != "" && (to.Scheme != "https" || e.registration.CACertificate != "") {
		return invalid("proxy_url", "would let the proxy see the tokens: with signing_key or tls_key, token_url must be https and tls_ca_certificate must not be set, because with it a proxy could pose as the provider")
	}
	for field := range e.urls {
		if field == "token_url" || !e.choosesHost(field) {
			continue
		}
		u, err := e.endpoint(field)
		if err != nil {
			return err
		}
		if origin(u) != origin(to) {
			return invalid(field, "has another host than token_url: with signing_key or tls_key, a config cannot itself send its tokens to a further host. Write a provider with this %s", field)
		}
	}
	return nil
}

// choosesHost reports whether the config decides the host of that endpoint, and
// not the definition of its provider. The config does so by setting the URL, or
// by a variable that is the whole host or everything before its top-level domain.
// For an endpoint that was found, the URL of the source counts.
func (e *Effective) choosesHost(field string) bool {
	t := e.urls[field]
	if e.found[field] {
		field = e.source.Field()
		t = e.sources[field]
	}
	return e.own[field] != nil || len(t.host.names()) > 0 && strings.Count(t.host[len(t.host)-1].literal, ".") < 2
}
