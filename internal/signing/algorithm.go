// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"slices"
	"strings"
)

// Algorithm is a JWS algorithm of RFC 7518 section 3.1, or EdDSA of RFC 8037.
type Algorithm string

// The algorithms.
const (
	HS256 Algorithm = "HS256"
	HS384 Algorithm = "HS384"
	HS512 Algorithm = "HS512"
	RS256 Algorithm = "RS256"
	RS384 Algorithm = "RS384"
	RS512 Algorithm = "RS512"
	PS256 Algorithm = "PS256"
	PS384 Algorithm = "PS384"
	PS512 Algorithm = "PS512"
	ES256 Algorithm = "ES256"
	ES384 Algorithm = "ES384"
	ES512 Algorithm = "ES512"
	EdDSA Algorithm = "EdDSA"
)

// Symmetric lists the algorithms that sign with a shared secret.
func Symmetric() []Algorithm { return []Algorithm{HS256, HS384, HS512} }

// Asymmetric lists the algorithms that sign with a private key.
func Asymmetric() []Algorithm {
	return []Algorithm{RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA}
}

// minSecret returns the least length of a secret in bytes, which is the length of the
// hash (RFC 7518 section 3.2).
func (a Algorithm) minSecret() int {
	return map[Algorithm]int{HS256: 32, HS384: 48, HS512: 64}[a]
}

// minModulus is the least size of an RSA key in bits (RFC 7518 section 3.3).
const minModulus = 2048

// newModulus is the size of an RSA key that Generate makes, in bits.
const newModulus = 3072

// algorithmsOf lists the algorithms that a private key can sign with. The first one is
// the default.
func algorithmsOf(private crypto.Signer) []Algorithm {
	switch key := private.(type) {
	case *rsa.PrivateKey:
		return []Algorithm{RS256, RS384, RS512, PS256, PS384, PS512}
	case *ecdsa.PrivateKey:
		switch key.Curve {
		case elliptic.P256():
			return []Algorithm{ES256}
		case elliptic.P384():
			return []Algorithm{ES384}
		case elliptic.P521():
			return []Algorithm{ES512}
		}
	case ed25519.PrivateKey:
		return []Algorithm{EdDSA}
	}
	return nil
}

// Generate makes a new key for one of the Asymmetric algorithms: RSA of 3,072
// bits, the algorithm's curve, or Ed25519.
func Generate(a Algorithm) (Key, error) {
	var (
		private crypto.Signer
		err     error
	)
	switch a {
	case RS256, RS384, RS512, PS256, PS384, PS512:
		private, err = rsa.GenerateKey(rand.Reader, newModulus)
	case ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case ES384:
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case ES512:
		private, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case EdDSA:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		return Key{}, fmt.Errorf("must be one of %s", Listed(Asymmetric()))
	}
	if err != nil {
		return Key{}, fmt.Errorf("generating a key for %s: %w", a, err)
	}
	return Key{private: private}, nil
}

// Names returns the registered names of algorithms.
func Names(algorithms []Algorithm) []string {
	names := make([]string, len(algorithms))
	for i, a := range algorithms {
		names[i] = string(a)
	}
	return names
}

// Listed returns the names of algorithms as a text.
func Listed(algorithms []Algorithm) string { return strings.Join(Names(algorithms), ", ") }

// CheckSecret returns an error if a shared secret cannot be used with an algorithm:
// only the Symmetric ones take a secret, and it must be long enough.
func CheckSecret(secret string, a Algorithm) error {
	if !slices.Contains(Symmetric(), a) {
		return fmt.Errorf("cannot be used with %s: a shared secret signs with %s", a, Listed(Symmetric()))
	}
	if least := a.minSecret(); len(secret) < least {
		return fmt.Errorf("is too short for %s, which needs %d bytes or more (RFC 7518 section 3.2): ask the provider for a longer one", a, least)
	}
	return nil
}
