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

// Derive derives the ES256 key for a purpose from a random secret of at least 32 bytes
// (HKDF, RFC 5869). The same secret and purpose always give the same key. Neither the
// secret nor the key for another purpose can be computed from it.
func Derive(secret []byte, purpose string) (Key, error) {
	if len(secret) < sha256.Size {
		return Key{}, errors.New("the secret to derive a key from is too short")
	}
	// Nearly any 32 bytes are a valid private key of P-256; one in 2^32 is not.
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

// BareJWK returns the public key as a JWK that holds only the key, for the header of a
// JWS (RFC 7515 section 4.1.3).
func (k Key) BareJWK() (json.RawMessage, error) {
	raw, err := json.Marshal(jose.JSONWebKey{Key: k.private.Public()})
	if err != nil {
		return nil, errors.New("encoding a public key")
	}
	return raw, nil
}
