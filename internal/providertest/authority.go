// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// authority is a certificate authority that has signed one server certificate.
type authority struct {
	pem            string
	server, client *tls.Config
}

// newAuthority makes an authority and a server certificate for the loopback
// addresses, "localhost" and, if it is not empty, host.
func newAuthority(host string) (*authority, error) {
	ca, err := newSigner("providertest authority")
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate the server's key: %w", err)
	}
	names := []string{"localhost"}
	if host != "" {
		names = append(names, host)
	}
	leaf, err := ca.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "providertest"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    names,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}, &key.PublicKey)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(leaf))
	roots := x509.NewCertPool()
	roots.AddCert(ca.certificate)
	return &authority{
		pem: pemOf(ca.certificate.Raw),
		server: &tls.Config{
			MinVersion:   tls.VersionTLS12,
			Certificates: []tls.Certificate{{Certificate: [][]byte{block.Bytes}, PrivateKey: key}},
			ClientAuth:   tls.RequestClientCert, // optional; the server records it
		},
		client: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
	}, nil
}

// signer is a certificate authority that can sign.
type signer struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
}

func newSigner(name string) (*signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate the authority's key: %w", err)
	}
	template := &x509.Certificate{
		Subject:  pkix.Name{CommonName: name + " " + rand.Text()},
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	s := &signer{key: key, certificate: template}
	text, err := s.sign(template, &key.PublicKey)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(text))
	s.certificate, err = x509.ParseCertificate(block.Bytes)
	return s, err
}

// sign returns a certificate in PEM. It is valid for a day of real time, even
// if the server's own clock differs, because TLS checks it against real time.
func (s *signer) sign(template *x509.Certificate, public crypto.PublicKey) (string, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return "", fmt.Errorf("draw a serial number: %w", err)
	}
	template.SerialNumber = serial
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, s.certificate, public, s.key)
	if err != nil {
		return "", fmt.Errorf("sign a certificate: %w", err)
	}
	return pemOf(der), nil
}

func pemOf(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
