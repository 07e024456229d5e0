// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

// maxTransports limits how many transports are kept in addition to the shared
// one.
const maxTransports = 64

// Connection says whom a request trusts, how it identifies itself and by which
// way it travels. The zero Connection trusts the system's root certificates and
// presents no certificate.
type Connection struct {
	CACertificate string               // PEM; replaces the system's roots
	Certificates  signing.Certificates // the client's own, leaf first (RFC 8705)
	Key           signing.Key          // private key of the first certificate
	Proxy         Proxy                // proxy to go through
}

// transports keeps a transport for each connection that differs from the usual
// one, so that a request can reuse an open connection.
type transports struct {
	shared *http.Transport
	others *lru.Cache[[sha256.Size]byte, *http.Transport]
}

func newTransports(shared *http.Transport) *transports {
	others, err := lru.NewWithEvict(maxTransports, func(_ [sha256.Size]byte, t *http.Transport) { t.CloseIdleConnections() })
	if err != nil { // fails only for a size below one
		panic(err)
	}
	return &transports{shared: shared, others: others}
}

// closeIdle closes idle connections.
func (ts *transports) closeIdle() {
	ts.shared.CloseIdleConnections()
	ts.others.Purge()
}

// of returns the transport for c. Its error is an *Error that names what cannot
// be used.
func (ts *transports) of(c Connection) (*http.Transport, error) {
	if c.CACertificate == "" && len(c.Certificates) == 0 && !c.Proxy.set() {
		return ts.shared, nil
	}
	id, err := c.ID()
	if err != nil {
		return nil, err
	}
	if t, ok := ts.others.Get(id); ok {
		return t, nil
	}
	t := ts.shared.Clone()
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if c.Proxy.set() {
		c.Proxy.through(t)
	}
	if c.CACertificate != "" {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(c.CACertificate)) {
			return nil, &Error{Kind: Misconfigured, Detail: "tls_ca_certificate holds no PEM certificate"}
		}
		t.TLSClientConfig.RootCAs = roots
	}
	if len(c.Certificates) > 0 {
		own := &tls.Certificate{Certificate: c.Certificates.DER(), PrivateKey: c.Key.Signer(), Leaf: c.Certificates[0]}
		// The certificate is presented whatever authorities the server names: a server
		// that accepts self-signed certificates cannot name them.
		t.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own, nil }
	}
	t.ForceAttemptHTTP2 = true // Go turns HTTP/2 off if TLS is configured
	if before, raced, _ := ts.others.PeekOrAdd(id, t); raced {
		return before, nil
	}
	return t, nil
}

// ID is equal for connections that can share a transport, because they trust
// the same servers and identify themselves in the same way. It reveals no
// secret.
func (c Connection) ID() ([sha256.Size]byte, error) {
	key := ""
	if !c.Key.IsZero() {
		key = c.Key.Thumbprint()
	}
	parts := []any{c.CACertificate, c.Certificates.DER(), key}
	if c.Proxy.set() {
		parts = append(parts, c.Proxy)
	}
	text, err := json.Marshal(parts)
	if err != nil {
		return [sha256.Size]byte{}, &Error{Kind: Misconfigured, Detail: "the client certificate cannot be used"}
	}
	return sha256.Sum256(text), nil
}
