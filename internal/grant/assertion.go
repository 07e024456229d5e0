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

// Assertion is a JWT (RFC 7523 section 3) that is signed anew for each attempt:
// a server refuses a jti that it has seen.
type Assertion struct {
	Key       signing.Key // or, without one, Secret
	Secret    string
	Algorithm signing.Algorithm
	KeyID     string // kid; "" leaves it out

	// Certificates of the key, leaf first, are named in the header as x5t#S256.
	Certificates signing.Certificates

	Type string // typ; "" is JWT

	// Issuer and Subject are iss and sub. Audience is aud: a string or a list.
	Issuer, Subject string
	Audience        any

	// Headers and Claims are said beside the standard ones, or instead of one
	// of the same name. A nil value leaves one out. Of the headers x5t,
	// x5t#S256 and x5c the value true stands for that of Certificates.
	Headers, Claims map[string]any

	Lifetime time.Duration // of which Skew has passed already when it is sent

	// Signed is the assertion itself, where it has been made for this attempt
	// already.
	Signed string
}

// Skew is how far another clock may be behind this one: assertions are issued
// so much in the past. It is no more, because servers also refuse what was issued
// too long ago (Maskinporten: ten seconds).
const Skew = 5 * time.Second

// Sign makes the assertion. Its error, a *Error, says that the key does not fit.
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

// headers are those of the JWT, beside alg. A nil value leaves one out.
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

// ofCertificates is what a header says of the certificates, or else v.
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
