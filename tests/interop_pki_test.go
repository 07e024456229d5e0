// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// newKey generates a key of the kind RSA, P-256, P-384, P-521 or Ed25519.
func newKey(t *testing.T, kind string) crypto.Signer {
	t.Helper()
	var (
		key crypto.Signer
		err error
	)
	switch kind {
	case "RSA":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "P-256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "P-384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "P-521":
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "Ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		t.Fatalf("no kind of key: %s", kind)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// pkcs8 returns a key in the format that most tools write.
func pkcs8(t *testing.T, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return inPEM("PRIVATE KEY", der)
}

func inPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// jwk returns a key as a JWK. Given a public key, it returns a public JWK.
func jwk(t *testing.T, key any, id string, chain ...*x509.Certificate) fields {
	t.Helper()
	raw, err := json.Marshal(jose.JSONWebKey{Key: key, KeyID: id, Certificates: chain})
	if err != nil {
		t.Fatal(err)
	}
	return rawObject(t, string(raw))
}

// jwks returns a set of public keys for a client's registration.
func jwks(keys ...fields) fields { return fields{"jwks": fields{"keys": keys}} }

// authority signs clients' certificates.
type authority struct {
	key         crypto.Signer
	certificate *x509.Certificate
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	a := authority{key: newKey(t, "P-256")}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
	}
	a.certificate = certify(t, template, template, a.key.Public(), a.key)
	return a
}

func (a authority) pem() string { return inPEM("CERTIFICATE", a.certificate.Raw) }

// certifies issues a client certificate that expires at ends.
func (a authority) certifies(t *testing.T, subject pkix.Name, public crypto.PublicKey, ends time.Time) *x509.Certificate {
	t.Helper()
	return certify(t, client(subject, ends), a.certificate, public, a.key)
}

// selfSigned returns a client certificate that no authority vouches for.
func selfSigned(t *testing.T, subject pkix.Name, key crypto.Signer, ends time.Time) *x509.Certificate {
	t.Helper()
	return certify(t, client(subject, ends), client(subject, ends), key.Public(), key)
}

func client(subject pkix.Name, ends time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject: subject, NotAfter: ends,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

func certify(t *testing.T, template, parent *x509.Certificate, public crypto.PublicKey, by crypto.Signer) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.NotBefore = serial, time.Now().Add(-24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}
