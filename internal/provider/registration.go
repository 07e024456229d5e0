// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

// Registration is one client's registration at a provider: what a config holds in
// addition to the dialect. Its JSON names are those of the API. Its JSON is part
// of a request's identity, so a new member comes last and is left out when it is
// empty.
type Registration struct {
	Credentials
	Connection

	// Signing and TLS are the current versions of the keys that SigningKey and
	// TLSKey name. Which version signs is not part of a request's identity.
	Signing, TLS Material `json:"-"`

	// Discovered holds the endpoints that were found because the config does not
	// write them. It is nil if nothing was found yet, and ignored if its source
	// is not the config's present source.
	Discovered *Discovered `json:"-"`

	// EmptySecret means that the client secret is set, but empty.
	EmptySecret bool `json:"-"`
}

// UnmarshalJSON reads r, and sets EmptySecret for a client secret that is empty
// rather than not set.
func (r *Registration) UnmarshalJSON(b []byte) error {
	type plain Registration
	var secret struct {
		Client *string `json:"client_secret"`
	}
	if err := errors.Join(json.Unmarshal(b, (*plain)(r)), json.Unmarshal(b, &secret)); err != nil {
		return err
	}
	r.EmptySecret = secret.Client != nil && *secret.Client == ""
	return nil
}

// Credentials are what the client identifies itself with, and the values of its
// variables.
type Credentials struct {
	ClientID           string            `json:"client_id,omitempty"`
	ClientSecret       string            `json:"client_secret,omitempty"`
	FallbackSecret     string            `json:"fallback_client_secret,omitempty"`
	RefreshToken       string            `json:"refresh_token,omitempty"` // the first one of a chain
	Username           string            `json:"username,omitempty"`
	Password           string            `json:"password,omitempty"`
	SecretParameters   map[string]any    `json:"secret_parameters,omitempty"` // literal, without placeholders
	Variables          map[string]any    `json:"variables,omitempty"`         // a text, or an object with a value
	SecretVariables    map[string]string `json:"secret_variables,omitempty"`
	PrivateKey         string            `json:"private_key,omitempty"` // PEM or JWK
	KeyID              string            `json:"key_id,omitempty"`
	SigningAlgorithm   signing.Algorithm `json:"signing_algorithm,omitempty"`
	SigningCertificate string            `json:"signing_certificate,omitempty"` // PEM
	SigningKey         string            `json:"signing_key,omitempty"`         // the name of a key
	Assertion          string            `json:"assertion,omitempty"`           // made elsewhere
	ReaderInputs       []string          `json:"reader_inputs,omitempty"`       // that readers bring
	SubjectConfig      string            `json:"subject_config,omitempty"`      // the name of another config
	SourceConfig       string            `json:"source_config,omitempty"`       // likewise
	SourceHosts        []string          `json:"source_hosts,omitempty"`
}

// credentialFields declares the fields of Credentials.
func credentialFields() []Field {
	return []Field{
		{Name: "client_id", Type: Word, In: OnConfig, Description: "The client's identifier (RFC 6749 section 2.2)."},
		{Name: "client_secret", Type: Text, In: OnConfig, Secret: true, Description: "The client's secret. Never shown again."},
		{Name: "fallback_client_secret", Type: Text, In: OnConfig, Secret: true, Description: "Is tried once when the provider refuses client_secret, so that a secret can be rotated without downtime. Never shown again."},
		{Name: "refresh_token", Type: Text, In: OnConfig, Secret: true, Description: "The refresh token to start from, for grant_type=refresh_token. The engine keeps the refresh tokens that follow it. Never shown again."},
		{Name: "username", Type: Text, In: OnConfig, Description: "The resource owner's name, for grant_type=password."},
		{Name: "password", Type: Text, In: OnConfig, Secret: true, Description: "The resource owner's password, for grant_type=password. Never shown again."},
		{Name: "private_key", Type: PEM, In: OnConfig, Secret: true, Description: "The key that the client signs with: PEM (PKCS#1, PKCS#8, SEC1) or a JWK. Never shown again."},
		{Name: "assertion", Type: Text, In: OnConfig, Secret: true, Description: "A ready-made assertion for grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer or …:saml2-bearer, instead of one that is signed here. Never shown again."},
		{Name: "key_id", Type: Text, In: OnConfig, Description: "The kid of signed assertions, by which the provider recognizes the key. By default it is that of the JWK or of the signing_key."},
		{Name: "signing_algorithm", Type: Word, In: OnConfig, Allowed: signing.Names(slices.Concat(signing.Symmetric(), signing.Asymmetric())), Description: "The algorithm that assertions are signed with (RFC 7591: token_endpoint_auth_signing_alg). By default it is the alg of assertion_headers, or else the one that fits the key; HS256 for client_secret_jwt. With HS256, HS384 or HS512 and no private key, client_secret also signs the JWT of grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer."},
		{Name: "signing_certificate", Type: PEM, In: OnConfig, Description: "The PEM certificates of private_key, its own first, by which the provider recognizes the key (x5t#S256)."},
		{Name: "signing_key", Type: Word, In: OnConfig, Description: "The name of a key that the engine makes (key/<key>), instead of private_key."},
		{Name: "secret_parameters", Type: Values, In: OnConfig, Secret: true, Description: "Like parameters, but secret and literal, without placeholders. Never shown again."},
		{Name: "variables", Type: Givens, In: OnConfig, Description: "What the placeholders of the provider and of this config stand for, such as tenant=acme. An object with a value is a template that is computed for each request: {\"to_sign\": {\"value\": \"{client_id}{now|unix}\"}}."},
		{Name: "reader_inputs", Type: Texts, In: OnConfig, Description: "What each reader brings in a write to token/<config>: subject_token, subject_token_type, actor_token and actor_token_type for grant_type=urn:ietf:params:oauth:grant-type:token-exchange (RFC 8693), or assertion for …:jwt-bearer and …:saml2-bearer (RFC 7523, RFC 7522; Microsoft's on-behalf-of). Readers who bring the same share a token. What they bring is not stored."},
		{Name: "subject_config", Type: Word, In: OnConfig, Description: "For grant_type=urn:ietf:params:oauth:grant-type:token-exchange: the name of another config of this mount, whose current token is the subject_token. The exchanged token ends no later than that one, and is forgotten when that config changes or is revoked."},
		{Name: "source_config", Type: Word, In: OnConfig, Description: "The name of another config of this mount. The request for a token can then carry its current token ({source.access_token}) and its extra_fields ({source.<name>}). The new token ends no later than that one, and is forgotten when that config changes or is revoked."},
		{Name: "source_hosts", Type: Texts, In: OnConfig, Description: "The hosts that may come out of the source's answer, if token_url takes its host from there ({source.instance_url|host}): exact hosts, or patterns such as *.example.com for all hosts below. Nothing is sent to any other host."},
		{Name: "secret_variables", Type: TextPairs, In: OnConfig, Secret: true, Description: "Like variables, but secret. Only placeholders use them. Never shown again."},
	}
}

// Connection says how to reach the provider, and how both sides recognize each
// other.
type Connection struct {
	CACertificate     string        `json:"tls_ca_certificate,omitempty"` // PEM
	AllowInsecureHTTP bool          `json:"allow_insecure_http,omitempty"`
	ClientCertificate string        `json:"tls_client_certificate,omitempty"` // PEM
	ClientKey         string        `json:"tls_client_key,omitempty"`         // PEM or JWK
	TLSKey            string        `json:"tls_key,omitempty"`                // the name of a key
	ProxyURL          string        `json:"proxy_url,omitempty"`
	ProxyUsername     string        `json:"proxy_username,omitempty"`
	ProxyPassword     string        `json:"proxy_password,omitempty"`
	RequestTimeout    time.Duration `json:"-"` // not part of a request's identity: it does not change what is sent
}

// connectionFields declares the fields of Connection, except the timeout, which
// is about how long a reader waits.
func connectionFields() []Field {
	return []Field{
		{Name: "tls_client_certificate", Type: PEM, In: OnConfig, Description: "PEM certificates that the client shows the provider (RFC 8705), its own first, with any token_endpoint_auth_method."},
		{Name: "tls_client_key", Type: PEM, In: OnConfig, Secret: true, Description: "The private key of tls_client_certificate: PEM or a JWK. Never shown again."},
		{Name: "tls_key", Type: Word, In: OnConfig, Description: "The name of a key that the engine makes (key/<key>), with its certificate, instead of tls_client_certificate and tls_client_key."},
		{Name: "tls_ca_certificate", Type: PEM, In: OnConfig, Description: "PEM certificates of the authority to trust instead of the system's, for a provider with an authority of its own."},
		{Name: "proxy_url", Type: Word, In: OnConfig, Description: "The proxy to use for the provider, instead of the one in Vault's environment: http://, https:// or socks5://, a host and a port, such as http://proxy.example:3128."},
		{Name: "proxy_username", Type: Text, In: OnConfig, Description: "The name to log in to the proxy with."},
		{Name: "proxy_password", Type: Text, In: OnConfig, Secret: true, Description: "The password to log in to the proxy with. Never shown again."},
		{Name: "allow_insecure_http", Type: Flag, In: OnConfig, Description: "Whether plain http is also allowed to hosts other than loopback. The credentials are then readable on the network (false)."},
	}
}

// Material is a key with what others recognize it by. The zero Material means
// that there is no key.
type Material struct {
	Key          signing.Key
	ID           string // kid
	Certificates signing.Certificates
	Audiences    []string // that the key may sign for, in addition to those at the host that the assertion is sent to
}

// credentials returns the credentials that placeholders can name.
func (r Registration) credentials() map[string]string {
	return map[string]string{
		"client_id": r.ClientID, "client_secret": r.ClientSecret,
		"username": r.Username, "password": r.Password, "refresh_token": r.RefreshToken,
	}
}
