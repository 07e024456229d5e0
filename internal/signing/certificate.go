// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package signing

import (
	"bytes"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // x5t is defined as a SHA-1 (RFC 7515 section 4.1.7)
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// Certificates are a certificate and the chain of its issuers, the certificate first.
type Certificates []*x509.Certificate

// ParseCertificates reads PEM certificates. Its errors finish a sentence that
// starts with the name of a field.
func ParseCertificates(text string) (Certificates, error) {
	text = strings.ReplaceAll(text, `\n`, "\n")
	var out Certificates
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		switch {
		case block.Type == "CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, errors.New("holds a certificate that is damaged")
			}
			out = append(out, c)
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return nil, errors.New("holds a private key, which belongs in the field for keys: this field is shown to everybody who may read the config")
		}
	}
	if len(out) == 0 {
		return nil, errors.New("must hold a PEM certificate, which begins with -----BEGIN CERTIFICATE-----, with its line breaks")
	}
	return out, nil
}

// Match returns an error if the first certificate is not for the key.
func (cs Certificates) Match(k Key) error {
	own, err := x509.MarshalPKIXPublicKey(k.private.Public())
	if err != nil {
		return errors.New("cannot be compared with the key")
	}
	certified, err := x509.MarshalPKIXPublicKey(cs[0].PublicKey)
	if err != nil || !bytes.Equal(own, certified) {
		return errors.New("is the certificate of another key; the first certificate must be that of the private key")
	}
	return nil
}

// Ends returns when the first of the certificates expires.
func (cs Certificates) Ends() time.Time {
	end := cs[0].NotAfter
	for _, c := range cs {
		if c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return end
}

// DER returns the certificates in the form that TLS sends.
func (cs Certificates) DER() [][]byte {
	out := make([][]byte, len(cs))
	for i, c := range cs {
		out[i] = c.Raw
	}
	return out
}

// Base64 returns the certificates in the form of x5c (RFC 7515 section 4.1.6).
func (cs Certificates) Base64() []string {
	out := make([]string, len(cs))
	for i, c := range cs {
		out[i] = base64.StdEncoding.EncodeToString(c.Raw)
	}
	return out
}

// ThumbprintSHA256 returns the x5t#S256 of the first certificate (RFC 7515 section
// 4.1.8), in base64url.
func (cs Certificates) ThumbprintSHA256() string {
	sum := sha256.Sum256(cs[0].Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// ThumbprintSHA1 returns the x5t of the first certificate (RFC 7515 section 4.1.7),
// in base64url. Some servers accept no other thumbprint.
func (cs Certificates) ThumbprintSHA1() string {
	sum := sha1.Sum(cs[0].Raw) //nolint:gosec // as above
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// FingerprintSHA256 returns the SHA-256 of the first certificate, in hexadecimal.
func (cs Certificates) FingerprintSHA256() string {
	sum := sha256.Sum256(cs[0].Raw)
	return hex.EncodeToString(sum[:])
}

// FingerprintSHA1 returns the SHA-1 of the first certificate, in hexadecimal, as the
// consoles of providers show it.
func (cs Certificates) FingerprintSHA1() string {
	sum := sha1.Sum(cs[0].Raw) //nolint:gosec // as above
	return hex.EncodeToString(sum[:])
}

// PEM returns the certificates in PEM.
func (cs Certificates) PEM() string {
	var b strings.Builder
	for _, c := range cs {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return b.String()
}

// SelfSigned makes a certificate for the key that the key itself signs, for providers
// that recognize keys by their certificates.
func (k Key) SelfSigned(commonName string, from, to time.Time) (Certificates, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("drawing a serial number: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: commonName}, NotBefore: from, NotAfter: to,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.private.Public(), k.private)
	if err != nil {
		return nil, errors.New("signing the certificate")
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, errors.New("reading the certificate")
	}
	return Certificates{c}, nil
}

// CSR makes a certificate signing request (RFC 2986) for the key, in PEM.
func (k Key) CSR(subject pkix.Name, dnsNames []string) (string, error) {
	template := &x509.CertificateRequest{Subject: subject, DNSNames: dnsNames}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, k.private)
	if err != nil {
		return "", errors.New("signing the request")
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), nil
}
