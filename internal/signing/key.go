// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// Key is a private key. The zero Key stands for no key.
type Key struct {
	private crypto.Signer
	id      string    // its own kid, where a JWK says one
	alg     Algorithm // its own alg, likewise
}

// Parse reads a private key: PEM (PKCS#1, PKCS#8, SEC1), or a JWK (RFC 7517).
// Its errors finish a sentence that starts with the name of a field.
func Parse(text string) (Key, error) {
	text = strings.TrimSpace(text)
	var (
		key Key
		err error
	)
	if strings.HasPrefix(text, "{") {
		key, err = parseJWK(text)
	} else {
		key.private, err = parsePEM(text)
	}
	if err != nil {
		return Key{}, err
	}
	if r, ok := key.private.(*rsa.PrivateKey); ok {
		if bits := r.N.BitLen(); bits < minModulus {
			return Key{}, fmt.Errorf("is an RSA key of %d bits, and %d or more are needed (RFC 7518 section 3.3): make a new one", bits, minModulus)
		}
	}
	if len(algorithmsOf(key.private)) == 0 {
		return Key{}, errors.New("is a kind of key that cannot sign a JWT: use RSA, P-256, P-384, P-521 or Ed25519")
	}
	if key.alg != "" && !slices.Contains(algorithmsOf(key.private), key.alg) {
		return Key{}, errors.New("is a JWK whose alg does not fit its key type; leave alg out")
	}
	return key, nil
}

func parsePEM(text string) (crypto.Signer, error) {
	// In a JSON file a line ends in \n, which people copy as these two characters.
	text = strings.ReplaceAll(text, `\n`, "\n")
	found := ""
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		found = block.Type
		if block.Headers["DEK-Info"] != "" || block.Type == "ENCRYPTED PRIVATE KEY" {
			return nil, errors.New("is encrypted with a passphrase; decrypt it first: openssl pkey -in key.pem")
		}
		switch block.Type {
		case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY":
			return parseDER(block.Bytes)
		case "OPENSSH PRIVATE KEY":
			return nil, errors.New("is in OpenSSH's own format; convert it: ssh-keygen -p -m PKCS8 -f key")
		}
	}
	switch {
	case found == "CERTIFICATE":
		return nil, errors.New("holds a certificate, and no private key")
	case strings.HasSuffix(found, "PUBLIC KEY"):
		return nil, errors.New("holds a public key, and the private key is needed")
	case found != "":
		return nil, errors.New("is PEM that holds no private key")
	}
	return nil, errors.New("is neither PEM (-----BEGIN PRIVATE KEY-----, with its line breaks) nor a JWK (a JSON object)")
}

func parseDER(der []byte) (crypto.Signer, error) {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
		return nil, errors.New("is a kind of key that cannot sign a JWT: use RSA, P-256, P-384, P-521 or Ed25519")
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	return nil, errors.New("is PEM whose content is damaged, or no PKCS#1, PKCS#8 or SEC1 key")
}

func parseJWK(text string) (Key, error) {
	var said struct {
		Keys json.RawMessage `json:"keys"`
		Kty  string          `json:"kty"`
		Kid  string          `json:"kid"`
		Alg  Algorithm       `json:"alg"`
	}
	if json.Unmarshal([]byte(text), &said) != nil {
		return Key{}, errors.New("is JSON that cannot be read; a JWK is an object such as {\"kty\": \"EC\", …}")
	}
	switch {
	case said.Keys != nil:
		return Key{}, errors.New("is a set of keys: write one of them, an object with kty")
	case said.Kty == "":
		return Key{}, errors.New("is not a JWK: it has no kty (RFC 7517 section 4.1)")
	case said.Kty == "oct":
		return Key{}, errors.New("is a symmetric key: write a shared secret to client_secret")
	}
	var jwk jose.JSONWebKey
	if err := json.Unmarshal([]byte(text), &jwk); err != nil {
		return Key{}, errors.New("is a JWK that is damaged, or lacks a member that its kty needs (RFC 7518 section 6)")
	}
	signer, ok := jwk.Key.(crypto.Signer)
	if !ok || jwk.IsPublic() {
		return Key{}, errors.New("is a JWK without its private members, and the private key is needed")
	}
	return Key{private: signer, id: said.Kid, alg: said.Alg}, nil
}

// Restore reads a key that MarshalPEM wrote.
func Restore(text string) (Key, error) {
	private, err := parsePEM(text)
	if err != nil {
		return Key{}, fmt.Errorf("a stored key %w", err)
	}
	return Key{private: private}, nil
}

// MarshalPEM writes the private key, as PKCS#8 in PEM, to be stored.
func (k Key) MarshalPEM() (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return "", errors.New("encoding a private key")
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
}

// For returns a copy of k that signs only with a.
func (k Key) For(a Algorithm) Key {
	k.alg = a
	return k
}

// IsZero reports whether there is no key.
func (k Key) IsZero() bool { return k.private == nil }

// ID returns the kid that the key was read with, or "" if it had none.
func (k Key) ID() string { return k.id }

// Signer returns the private key, for TLS.
func (k Key) Signer() crypto.Signer { return k.private }

// Algorithm returns the algorithm to sign with. That is the wanted one, if the key
// can sign with it. If wanted is "", it is the one that the key itself names, or the
// usual one of its type. Its errors finish a sentence that starts with the name of
// the algorithm's field.
func (k Key) Algorithm(wanted Algorithm) (Algorithm, error) {
	can := algorithmsOf(k.private)
	switch {
	case wanted == "" && k.alg != "":
		return k.alg, nil
	case wanted == "":
		return can[0], nil
	case k.alg != "" && wanted != k.alg:
		return "", fmt.Errorf("is not the alg that the key itself states (%s)", k.alg)
	case !slices.Contains(can, wanted):
		return "", fmt.Errorf("does not fit the key (%s), which can sign with %s", k.kind(), Listed(can))
	}
	return wanted, nil
}

func (k Key) kind() string {
	switch key := k.private.(type) {
	case *rsa.PrivateKey:
		return fmt.Sprintf("RSA, %d bits", key.N.BitLen())
	case *ecdsa.PrivateKey:
		return key.Curve.Params().Name
	case ed25519.PrivateKey:
		return "Ed25519"
	}
	return "unknown"
}

// PublicJWK returns a public key as a JWK for a set (RFC 7517 section 4), with
// use=sig. Its certificates, if there are any, are in x5c: by them, a server
// recognizes a TLS client with a self-signed certificate (RFC 8705 section 2.2.2).
func PublicJWK(public crypto.PublicKey, id string, a Algorithm, certificates Certificates) (json.RawMessage, error) {
	raw, err := json.Marshal(jose.JSONWebKey{Key: public, KeyID: id, Algorithm: string(a), Use: "sig", Certificates: certificates})
	if err != nil {
		return nil, errors.New("encoding a public key")
	}
	return raw, nil
}

// PublicPEM returns a public key as SubjectPublicKeyInfo in PEM.
func PublicPEM(public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", errors.New("encoding a public key")
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}

// Thumbprint returns the SHA-256 thumbprint of the public key (RFC 7638), in
// base64url.
func (k Key) Thumbprint() string {
	sum, err := (&jose.JSONWebKey{Key: k.private.Public()}).Thumbprint(crypto.SHA256)
	if err != nil { // only for kinds of keys that Parse refuses
		sum = make([]byte, sha256.Size)
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}
