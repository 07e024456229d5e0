// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package signing

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// Derive makes the ES256 key that belongs to a purpose, out of a random secret
// of 32 bytes or more (HKDF, RFC 5869): always the same one, from which neither
// the secret nor the key of another purpose can be told.
func Derive(secret []byte, purpose string) (Key, error) {
	if len(secret) < sha256.Size {
		return Key{}, errors.New("the secret to derive a key from is too short")
	}
	// Nearly any 32 bytes are a private key of P-256; one in 2^32 is none.
	for try := range 8 {
		scalar, err := hkdf.Key(sha256.New, secret, nil, fmt.Sprintf("ES256 %d %s", try, purpose), sha256.Size)
		if err != nil {
			return Key{}, errors.New("deriving a key failed")
		}
		if private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar); err == nil {
			return Key{private: private}, nil
		}
	}
	return Key{}, errors.New("deriving a key failed")
}

// BareJWK is the public key as a JWK of nothing but the key, as the header of a
// JWS holds it (RFC 7515 section 4.1.3).
func (k Key) BareJWK() (json.RawMessage, error) {
	raw, err := json.Marshal(jose.JSONWebKey{Key: k.private.Public()})
	if err != nil {
		return nil, errors.New("encoding a public key")
	}
	return raw, nil
}
