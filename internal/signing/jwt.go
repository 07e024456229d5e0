// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package signing

import (
	"encoding/json"
	"errors"
	"maps"

	"github.com/go-jose/go-jose/v4"
)

// Sign makes a compact JWS (RFC 7515 section 3.1) of the claims. The header alg is
// always a, even if headers holds another value. A header or claim whose value is nil
// is left out.
func (k Key) Sign(a Algorithm, headers, claims map[string]any) (string, error) {
	return sign(a, k.private, headers, claims)
}

// SignWithSecret is like Sign, but signs with a shared secret.
func SignWithSecret(secret string, a Algorithm, headers, claims map[string]any) (string, error) {
	if err := CheckSecret(secret, a); err != nil {
		return "", err
	}
	return sign(a, []byte(secret), headers, claims)
}

func sign(a Algorithm, key any, headers, claims map[string]any) (string, error) {
	options := &jose.SignerOptions{}
	for name, v := range headers {
		if v != nil && name != "alg" {
			options.WithHeader(jose.HeaderKey(name), v)
		}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(a), Key: key}, options)
	if err != nil {
		return "", errors.New("the key cannot sign with this algorithm")
	}
	said := maps.Clone(claims)
	maps.DeleteFunc(said, func(_ string, v any) bool { return v == nil })
	payload, err := json.Marshal(said)
	if err != nil {
		return "", errors.New("the claims cannot be written as JSON")
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", errors.New("signing failed")
	}
	return signed.CompactSerialize()
}
