// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

// Registration is one client's registration at a provider: what a config holds
// beside the dialect. Its JSON names are the API's, and its JSON is part of a
// request's identity: a new member comes last, and is left out when it is empty.
type Registration struct {
	Credentials
	Connection

	// Signing and TLS are the keys that SigningKey and TLSKey name, as they are
	// now: which of their versions signs is no part of a request's identity.
	Signing, TLS Material `json:"-"`
}

// Credentials are what the client shows of itself.
type Credentials struct {
	ClientID           string            `json:"client_id,omitempty"`
	ClientSecret       string            `json:"client_secret,omitempty"`
	FallbackSecret     string            `json:"fallback_client_secret,omitempty"`
	RefreshToken       string            `json:"refresh_token,omitempty"` // where a chain of them starts
	Username           string            `json:"username,omitempty"`
	Password           string            `json:"password,omitempty"`
	SecretParameters   map[string]any    `json:"secret_parameters,omitempty"` // literal
	Variables          map[string]string `json:"variables,omitempty"`
	SecretVariables    map[string]string `json:"secret_variables,omitempty"`
	PrivateKey         string            `json:"private_key,omitempty"` // PEM or JWK
	KeyID              string            `json:"key_id,omitempty"`
	SigningAlgorithm   signing.Algorithm `json:"signing_algorithm,omitempty"`
	SigningCertificate string            `json:"signing_certificate,omitempty"` // PEM
	SigningKey         string            `json:"signing_key,omitempty"`         // the name of a key
	Assertion          string            `json:"assertion,omitempty"`           // made elsewhere
}

// Connection is how the provider is reached and known.
type Connection struct {
	CACertificate     string        `json:"tls_ca_certificate,omitempty"` // PEM
	AllowInsecureHTTP bool          `json:"allow_insecure_http,omitempty"`
	ClientCertificate string        `json:"tls_client_certificate,omitempty"` // PEM
	ClientKey         string        `json:"tls_client_key,omitempty"`         // PEM or JWK
	TLSKey            string        `json:"tls_key,omitempty"`                // the name of a key
	RequestTimeout    time.Duration `json:"-"`                                // how long, not what: no part of a request's identity
}

// Material is a key with what others know it by. The zero Material is none.
type Material struct {
	Key          signing.Key
	ID           string // kid
	Certificates signing.Certificates
	Audiences    []string // for which it may sign, beside those at the host that it is sent to
}

// has says whether a field that a grant or a method needs is set.
func (r Registration) has(field string) bool {
	return map[string]string{
		"client_id": r.ClientID, "client_secret": r.ClientSecret, "username": r.Username, "password": r.Password,
		"refresh_token": r.RefreshToken, "assertion": r.Assertion, "private_key": r.PrivateKey, "signing_key": r.SigningKey,
		"tls_client_certificate": r.ClientCertificate, "tls_key": r.TLSKey,
	}[field] != ""
}

// credentials are what placeholders can name.
func (r Registration) credentials() map[string]string {
	return map[string]string{
		"client_id": r.ClientID, "client_secret": r.ClientSecret,
		"username": r.Username, "password": r.Password,
	}
}
