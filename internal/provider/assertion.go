// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

// clientAssertion returns the JWT with which the client authenticates (RFC 7523
// section 2.2). It returns nil for authentication methods that use no JWT.
func (e *Effective) clientAssertion(endpoint string) (*grant.Assertion, error) {
	a := e.assertion(endpoint)
	switch e.Dialect.AuthMethod {
	case string(grant.AuthSecretJWT):
		e.signBySecret(a)
	case string(grant.AuthPrivateKeyJWT):
	default:
		return nil, nil
	}
	if e.Dialect.Issuer != "" {
		a.Type = "client-authentication+jwt"
	}
	if e.signsGrant() {
		return a, e.checkAudience(a, endpoint) // the assertion_ fields describe the grant's JWT
	}
	return a, e.complete(a, endpoint)
}

// grantAssertion returns the JWT of the JWT bearer grant (RFC 7523 section 2.1).
// It returns nil for other grants, and for an assertion that was made elsewhere.
func (e *Effective) grantAssertion(endpoint string) (*grant.Assertion, error) {
	if !e.signsGrant() {
		return nil, nil
	}
	a := e.assertion(endpoint)
	if e.SecretSignsGrant() {
		e.signBySecret(a)
	}
	return a, e.complete(a, endpoint)
}

// signBySecret makes the client secret sign a, instead of a private key.
func (e *Effective) signBySecret(a *grant.Assertion) {
	a.Key, a.KeyID, a.Certificates = signing.Key{}, e.registration.KeyID, nil
	a.Secret, a.Algorithm = e.registration.ClientSecret, e.keys.secretAlgorithm
}

// assertion returns an assertion with what all assertions have in common.
func (e *Effective) assertion(endpoint string) *grant.Assertion {
	a := &grant.Assertion{
		Key: e.keys.signing.Key, KeyID: e.keys.signing.ID, Certificates: e.keys.signing.Certificates, Algorithm: e.keys.algorithm,
		Issuer: e.registration.ClientID, Subject: e.registration.ClientID, Audience: endpoint,
		Lifetime: time.Duration(e.Dialect.AssertionLifetime) * time.Second,
	}
	if e.Dialect.Issuer != "" {
		a.Audience = e.Dialect.Issuer
	}
	return a
}

// complete adds to a what the dialect's fields say, and checks its audience.
func (e *Effective) complete(a *grant.Assertion, endpoint string) error {
	audience, err := e.audience()
	if err != nil {
		return err
	}
	switch len(audience) {
	case 0:
	case 1:
		a.Audience = audience[0]
	default:
		a.Audience = audience
	}
	if a.Claims, err = e.saidInAssertion("assertion_claims", e.Dialect.AssertionClaims); err != nil {
		return err
	}
	if a.Headers, err = e.saidInAssertion("assertion_headers", e.Dialect.AssertionHeaders); err != nil {
		return err
	}
	for name := range a.Headers {
		if len(a.Certificates) == 0 && e.namesCertificate(name) {
			return invalid("signing_key", "has no certificate yet, and assertion_headers.%s needs one: write it to key/<key>/certificate", name)
		}
	}
	return e.checkAudience(a, endpoint)
}

// namesCertificate reports whether that header of an assertion stands for the
// certificate of its key.
func (e *Effective) namesCertificate(header string) bool {
	return e.Dialect.AssertionHeaders[header] == true && slices.Contains([]string{"x5t", "x5t#S256", "x5c"}, header)
}

// audience returns the texts of assertion_audience with their placeholders filled
// in.
func (e *Effective) audience() ([]any, error) {
	filled, set, err := leaves(e.Dialect.AssertionAudience, func(s string) (any, bool, error) { return e.env.expandValue(s) })
	if err == nil && !set {
		err = errors.New("names an optional variable, which is not set")
	}
	if err != nil {
		return nil, invalid("assertion_audience", "%s", err)
	}
	list, _ := filled.([]any)
	return list, nil
}

// checkAudience makes sure that a key which was made here signs only for the
// server that the assertion is sent to. Otherwise somebody who may write a
// config, but does not have the key, could get an assertion for another server
// sent to a host of their own. Another audience is accepted only if the key
// allows it, and the provider's definition chooses the host, not the config.
func (e *Effective) checkAudience(a *grant.Assertion, endpoint string) error {
	if e.registration.SigningKey == "" {
		return nil // the key is the config's own secret
	}
	for name := range a.Claims {
		if name != "aud" && strings.EqualFold(name, "aud") {
			return invalid("assertion_claims", "holds %s, which some servers read as aud: write it as aud", quoted(name))
		}
	}
	to, err := url.Parse(endpoint)
	if err != nil {
		return invalid("token_url", "is not a URL")
	}
	audience := a.Audience
	if aud, said := a.Claims["aud"]; said {
		audience = aud
	}
	list := audiences(audience)
	if len(list) == 0 {
		return invalid("assertion_audience", "must be a text: key %q only signs for a named audience", e.registration.SigningKey)
	}
	for _, text := range list {
		if e.found["token_url"] && text == e.Dialect.Issuer {
			continue // the issuer's own metadata names the endpoint
		}
		if u, err := url.Parse(text); err == nil && u.Host == to.Host && u.User == nil {
			continue
		}
		if !slices.Contains(e.registration.Signing.Audiences, text) {
			return invalid("assertion_audience", "names another host than token_url, and key %q may not sign for it: list that audience in the key's allowed_audiences", e.registration.SigningKey)
		}
		if e.choosesHost("token_url") {
			return invalid("assertion_audience", "names another host than token_url, and the config itself sets token_url: key %q signs for such an audience only if token_url comes from the provider. Write a provider with this token_url", e.registration.SigningKey)
		}
	}
	return nil
}

// audiences returns the audiences that an aud claim names. There are none if the
// claim is neither a text nor a list of texts.
func audiences(aud any) []string {
	switch aud := aud.(type) {
	case string:
		return []string{aud}
	case []string:
		return aud
	case []any:
		out := make([]string, len(aud))
		for i, item := range aud {
			text, isText := item.(string)
			if !isText {
				return nil
			}
			out[i] = text
		}
		return out
	}
	return nil
}

// listsScopes reports whether a claim is the list of the scopes: ["{scope}"].
func listsScopes(claim any) bool {
	list, isList := claim.([]any)
	return isList && len(list) == 1 && list[0] == "{"+nameScope+"}"
}

// saidInAssertion returns claims or headers with their placeholders filled in. A
// null leaves out a standard one. So does an optional variable that is not set.
func (e *Effective) saidInAssertion(field string, said map[string]any) (map[string]any, error) {
	out := make(map[string]any, len(said))
	for name, v := range said {
		if listsScopes(v) {
			out[name] = e.Dialect.Scopes
			continue
		}
		expanded, set, err := leaves(v, func(s string) (any, bool, error) { return e.env.expandValue(s) })
		if err != nil {
			return nil, invalidText(field, name, err)
		}
		if out[name] = nil; set {
			out[name] = expanded
		}
	}
	return out, nil
}
