// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"cmp"
	"crypto/rand"
	"maps"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

// Assertion is a JWT (RFC 7523 section 3). Each attempt signs a new one, because
// a server refuses a jti that it has seen before.
type Assertion struct {
	Key       signing.Key // if it is zero, Secret signs
	Secret    string
	Algorithm signing.Algorithm
	KeyID     string // kid header; "" leaves it out

	// Certificates are those of Key, leaf first. The x5t#S256 header names the
	// leaf.
	Certificates signing.Certificates

	Type string // typ header; "" means JWT

	// Issuer, Subject and Audience are the claims iss, sub and aud. Audience is a
	// string or a list.
	Issuer, Subject string
	Audience        any

	// Headers and Claims are added to the standard ones, or replace the standard
	// one of the same name. A nil value removes it. If there are Certificates, the
	// value true for the header x5t, x5t#S256 or x5c stands for the value computed
	// from them.
	Headers, Claims map[string]any

	Lifetime time.Duration // from iat to exp; Skew of it has passed when the assertion is sent

	// Signed is the finished assertion, if it has already been made for this
	// attempt.
	Signed string
}

// Skew is how far the provider's clock may be behind this one: assertions are
// dated this far in the past. It is not larger, because servers also refuse
// assertions that were issued too long ago (Maskinporten: ten seconds).
const Skew = 5 * time.Second

// Sign signs the assertion, or returns Signed if it is set. The error is an
// *Error that says why the assertion cannot be signed.
func (a Assertion) Sign(now time.Time) (string, error) {
	if a.Signed != "" {
		return a.Signed, nil
	}
	issued := now.Add(-Skew).Unix()
	claims := map[string]any{
		"iss": a.Issuer, "sub": a.Subject, "aud": a.Audience, "jti": rand.Text(),
		"iat": issued, "nbf": issued, "exp": issued + int64(a.Lifetime/time.Second),
	}
	maps.Copy(claims, a.Claims)
	var (
		text string
		err  error
	)
	if a.Key.IsZero() {
		text, err = signing.SignWithSecret(a.Secret, a.Algorithm, a.headers(), claims)
	} else {
		text, err = a.Key.Sign(a.Algorithm, a.headers(), claims)
	}
	if err != nil {
		return "", &Error{Kind: Misconfigured, Detail: "the assertion cannot be signed: " + err.Error()}
	}
	return text, nil
}

// headers returns the JWT headers, except alg. A nil value means that the
// header is left out.
func (a Assertion) headers() map[string]any {
	out := map[string]any{"typ": cmp.Or(a.Type, "JWT")}
	if a.KeyID != "" {
		out["kid"] = a.KeyID
	}
	if len(a.Certificates) > 0 {
		out["x5t#S256"] = a.Certificates.ThumbprintSHA256()
	}
	for name, v := range a.Headers {
		if v == true && len(a.Certificates) > 0 {
			v = a.ofCertificates(name, v)
		}
		out[name] = v
	}
	return out
}

// ofCertificates returns the value of a header that is computed from the
// certificates. For any other header it returns v.
func (a Assertion) ofCertificates(header string, v any) any {
	switch header {
	case "x5t":
		return a.Certificates.ThumbprintSHA1()
	case "x5t#S256":
		return a.Certificates.ThumbprintSHA256()
	case "x5c":
		return a.Certificates.Base64()
	}
	return v
}
