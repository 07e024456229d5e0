// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"sync"
	"time"
)

// Keys makes the private keys and certificates that a transcript's config names
// but does not contain, so that no private key is ever kept in a file. Each
// field has its own key for each kind of key, and gets the same key every time.
// The zero value is ready to use, by several goroutines at once.
type Keys struct {
	mu   sync.Mutex
	made map[string]*generated
}

// generated is a private key and its certificate, in PEM.
type generated struct{ key, certificate string }

// Fill returns a copy of the config with its keys. In private_key and
// tls_client_key it replaces "generated RS256" (or another JWS algorithm) with
// a key for that algorithm. In signing_certificate and tls_client_certificate
// it replaces "generated" with a certificate of that key.
func (k *Keys) Fill(config map[string]any) (map[string]any, error) {
	out := maps.Clone(config)
	for keyField, certificateField := range map[string]string{
		"private_key": "signing_certificate", "tls_client_key": "tls_client_certificate",
	} {
		text, _ := config[keyField].(string)
		algorithm, wanted := strings.CutPrefix(text, "generated ")
		if !wanted {
			continue
		}
		made, err := k.of(keyField, algorithm)
		if err != nil {
			return nil, err
		}
		out[keyField] = made.key
		if config[certificateField] == "generated" {
			out[certificateField] = made.certificate
		}
	}
	return out, nil
}

// of returns the field's key of the algorithm's kind, and makes it the first
// time.
func (k *Keys) of(field, algorithm string) (*generated, error) {
	kind := algorithm
	if strings.HasPrefix(algorithm, "RS") || strings.HasPrefix(algorithm, "PS") {
		kind = "RSA"
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.made == nil {
		k.made = map[string]*generated{}
	}
	id := field + " " + kind
	if k.made[id] == nil {
		made, err := generate(kind)
		if err != nil {
			return nil, fmt.Errorf("generate a key for %s: %w", algorithm, err)
		}
		k.made[id] = made
	}
	return k.made[id], nil
}

func generate(kind string) (*generated, error) {
	var (
		private crypto.Signer
		err     error
	)
	switch kind {
	case "RSA":
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		private, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, fmt.Errorf("no algorithm is called %q", kind)
	}
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	// The certificate uses the real time, even if a transcript has its own
	// clock, because TLS checks it against the real time.
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "providertest client"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, err
	}
	return &generated{
		key:         string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})),
		certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
	}, nil
}

// PrivateNumbers returns the numbers of a private key, big-endian, that only its
// owner may know. Numbers of the public key, which certificates hold, are not among
// them.
func PrivateNumbers(key crypto.PrivateKey) ([][]byte, error) {
	switch key := key.(type) {
	case *rsa.PrivateKey:
		var out [][]byte
		for _, n := range append([]*big.Int{key.D, key.Precomputed.Dp, key.Precomputed.Dq, key.Precomputed.Qinv}, key.Primes...) {
			out = append(out, n.Bytes())
		}
		return out, nil
	case *ecdsa.PrivateKey:
		number, err := key.Bytes()
		return [][]byte{number}, err
	case ed25519.PrivateKey:
		return [][]byte{key.Seed()}, nil
	default:
		return nil, fmt.Errorf("a %T is no key that is known", key)
	}
}
