// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"time"
)

// The registered names of RFC 7523 section 2.
const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	bearerGrant   = "urn:ietf:params:oauth:grant-type:jwt-bearer"
)

// jwt is a signed JWT (RFC 7519) as a client sent it. It is parsed without the
// libraries that the engine uses, so that a fault in them does not go
// unnoticed.
type jwt struct {
	header, claims map[string]any
	signed         string // the signed text
	signature      []byte
}

func parseJWT(text string) (jwt, bool) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return jwt{}, false
	}
	var t jwt
	for i, into := range []*map[string]any{&t.header, &t.claims} {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(parts[i])
		if err != nil || json.Unmarshal(raw, into) != nil || *into == nil {
			return jwt{}, false
		}
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	t.signed, t.signature = parts[0]+"."+parts[1], signature
	return t, err == nil
}

// alg returns the algorithm that the header names.
func (t jwt) alg() string { return text(t.header, "alg") }

// claim returns the value of a string claim, or "" for any other claim.
func (t jwt) claim(name string) string { return text(t.claims, name) }

// time returns a claim that is a time in whole seconds, and reports whether it
// is one.
func (t jwt) time(name string) (time.Time, bool) {
	seconds, isNumber := t.claims[name].(float64)
	return time.Unix(int64(seconds), 0), isNumber && seconds == float64(int64(seconds))
}

func text(members map[string]any, name string) string {
	s, _ := members[name].(string)
	return s
}

// verifiedBy verifies the signature with the algorithm that the header names
// (RFC 7518 section 3.1).
func (t jwt) verifiedBy(key crypto.PublicKey) bool {
	hash, known := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[strings.TrimLeft(t.alg(), "RSPE")]
	if !known {
		return false
	}
	h := hash.New()
	h.Write([]byte(t.signed))
	sum := h.Sum(nil)
	switch key := key.(type) {
	case *rsa.PublicKey:
		if strings.HasPrefix(t.alg(), "PS") {
			return rsa.VerifyPSS(key, hash, sum, t.signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return strings.HasPrefix(t.alg(), "RS") && rsa.VerifyPKCS1v15(key, hash, sum, t.signature) == nil
	case *ecdsa.PublicKey:
		half := len(t.signature) / 2
		curve := map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}[t.alg()]
		if key.Curve != curve || len(t.signature) != 2*((curve.Params().BitSize+7)/8) {
			return false
		}
		return ecdsa.Verify(key, sum, new(big.Int).SetBytes(t.signature[:half]), new(big.Int).SetBytes(t.signature[half:]))
	}
	return false
}

// publicKey reads a public JWK of type RSA or EC (RFC 7518 section 6). It also
// returns the key's thumbprint (RFC 7638).
func publicKey(jwk map[string]any) (key crypto.PublicKey, thumbprint string, ok bool) {
	if _, private := jwk["d"]; private {
		return nil, "", false
	}
	member := func(name string) []byte {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(text(jwk, name))
		if err != nil {
			return nil
		}
		return raw
	}
	var members []string
	switch text(jwk, "kty") {
	case "RSA":
		members = []string{"e", "kty", "n"}
		n, e := new(big.Int).SetBytes(member("n")), new(big.Int).SetBytes(member("e"))
		if n.BitLen() < 2048 || !e.IsInt64() || e.Int64() > 1<<31-1 {
			return nil, "", false
		}
		key = &rsa.PublicKey{N: n, E: int(e.Int64())}
	case "EC":
		members = []string{"crv", "kty", "x", "y"}
		curve, known := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[text(jwk, "crv")]
		if !known {
			return nil, "", false
		}
		public, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, member("x"), member("y")))
		if err != nil {
			return nil, "", false
		}
		key = public
	default:
		return nil, "", false
	}
	required := map[string]any{}
	for _, name := range members {
		required[name] = jwk[name]
	}
	canonical, err := json.Marshal(required) // sorted by name, without white space
	sum := sha256.Sum256(canonical)
	return key, base64.RawURLEncoding.EncodeToString(sum[:]), err == nil
}
