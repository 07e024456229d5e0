// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// behaving injects a fault at a server that otherwise follows RFC 6749. The
// scheme of the config's token_url is the server's, unless another one is given.
func behaving(b providertest.Behavior, more fields, scheme ...string) func(*testing.T) fields {
	return func(t *testing.T) fields {
		t.Helper()
		s := providertest.Start(t, providertest.RFC6749, providertest.Options{})
		if b.Times = -1; b.Hang || b.Drop || b.Redirect != "" || b.Status != 0 || b.Body != "" {
			s.Behave(b)
		}
		config := registration(providertest.RFC6749, s)
		for _, scheme := range scheme {
			config["token_url"] = strings.Replace(s.TokenURL(), "http://", scheme, 1)
		}
		return with(config, more)
	}
}

// at returns a config whose provider is at that address.
func at(url string, more fields) func(*testing.T) fields {
	return func(*testing.T) fields {
		return with(fields{"token_url": url, "client_id": "a client", "client_secret": "its secret"}, more)
	}
}

// tlsFault is what is wrong with a server's TLS.
type tlsFault struct {
	untrusted bool   // the config does not name its authority
	expired   bool   // its certificate has expired
	name      string // its certificate is for this host, and not for localhost
	old       bool   // it speaks no version above 1.1
	mutual    bool   // it wants a certificate of the client
	plain     bool   // the config says http
}

// overTLS injects a fault of TLS at a server that would grant a token.
func overTLS(f tlsFault) func(*testing.T) fields {
	return func(t *testing.T) fields {
		t.Helper()
		a, key := newAuthority(t), newKey(t, "P-256")
		template := &x509.Certificate{
			DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}
		if f.name != "" {
			template.DNSNames = []string{f.name}
		}
		if f.expired {
			template.NotAfter = time.Now().Add(-time.Hour)
		}
		certificate := certify(t, template, a.certificate, key.Public(), a.key)
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			say(w, `{"access_token":"granted","expires_in":3600}`)
		}))
		s.Config.ErrorLog = log.New(io.Discard, "", 0) // the handshakes fail on purpose
		s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certificate.Raw}, PrivateKey: key}}}
		if f.old {
			s.TLS.MinVersion, s.TLS.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		}
		if f.mutual {
			s.TLS.ClientAuth = tls.RequireAnyClientCert
		}
		s.StartTLS()
		t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
		config := at(strings.Replace(s.URL, "127.0.0.1", "localhost", 1)+"/token", fields{"tls_ca_certificate": a.pem()})(t)
		if f.untrusted {
			delete(config, "tls_ca_certificate")
		}
		if f.plain {
			config["token_url"] = strings.Replace(fmt.Sprint(config["token_url"]), "https", "http", 1)
		}
		return config
	}
}

// behindProxy returns a config of a server that would grant a token, with that
// proxy on the way.
func behindProxy(t *testing.T, proxy string) fields {
	t.Helper()
	s := providertest.Start(t, providertest.RFC6749, providertest.Options{TLS: true})
	return with(registration(providertest.RFC6749, s), fields{"tls_ca_certificate": s.CACertificate(), "proxy_url": proxy})
}

// proxyAnswering runs a proxy that answers each request with that status.
func proxyAnswering(t *testing.T, status int) (address string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	t.Cleanup(s.Close)
	return s.URL
}

// signing returns a config of a client that signs assertions, for a server whose
// clock is ahead and which refuses them with that description.
func signing(ahead time.Duration, description string) func(*testing.T) fields {
	return func(t *testing.T) fields {
		t.Helper()
		s := providertest.StartFunc(t, "/token", func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			say(w, fmt.Sprintf(`{"error":"invalid_client","error_description":%q}`, description))
		})
		return fields{
			"token_url": s.TokenURL(), "client_id": "a client", "token_endpoint_auth_method": "private_key_jwt",
			"private_key": pkcs8(t, newKey(t, "P-256")), "key_id": "k-1",
		}
	}
}
