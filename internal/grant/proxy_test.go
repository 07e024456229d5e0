// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

// ofEnvironment returns a transport that fails if it asks the environment for a proxy.
func ofEnvironment() *http.Transport {
	t := defaultTransport()
	t.Proxy = func(*http.Request) (*url.URL, error) { return nil, errors.New("the environment was asked") }
	return t
}

// socksProxy runs a SOCKS5 proxy (RFC 1928) that requires a login (RFC 1929).
func socksProxy(t *testing.T, username, password string) string {
	t.Helper()
	return listen(t, func(c net.Conn) {
		read := func(n int) []byte {
			b := make([]byte, n)
			_, _ = io.ReadFull(c, b) // missing bytes are zero, which is no login
			return b
		}
		read(int(read(2)[1]))
		_, _ = c.Write([]byte{5, 2}) // asks for a login
		name := string(read(int(read(2)[1])))
		if word := string(read(int(read(1)[0]))); name != username || word != password {
			_, _ = c.Write([]byte{1, 1})
			return
		}
		_, _ = c.Write([]byte{1, 0})
		if head := read(4); head[3] != 1 {
			return // the test only asks for IPv4
		}
		address := read(6)
		to, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.IP(address[:4]), Port: int(address[4])<<8 | int(address[5])})
		if err != nil {
			return
		}
		defer func() { _ = to.Close() }()
		_, _ = c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		go func() { _, _ = io.Copy(to, c) }()
		_, _ = io.Copy(c, to)
	})
}

func TestAConfigHasAProxyOfItsOwn(t *testing.T) {
	t.Parallel()
	target, authority := overTLS(t, nil, answers)
	plain := "http://" + listen(t, answers)
	login := Proxy{Username: "user", Password: "proxy-password"}
	with := func(p Proxy, to string) Proxy { p.URL = to; return p }
	wanting := func(status int) string { return "http://" + connectProxy(t, "user:proxy-password", status) }
	for name, tc := range map[string]struct {
		proxy  Proxy
		target string
		want   string // part of the error; "" if the result is a token
	}{
		"with its login":               {with(login, wanting(0)), target, ""},
		"without one":                  {Proxy{URL: "http://" + connectProxy(t, "", 0)}, target, ""},
		"by SOCKS":                     {with(login, "socks5://"+socksProxy(t, "user", "proxy-password")), target, ""},
		"by SOCKS, for http":           {with(login, "socks5://"+socksProxy(t, "user", "proxy-password")), plain, ""},
		"that wants a login":           {Proxy{URL: wanting(0)}, target, "the proxy wants a login (HTTP 407); write proxy_username and proxy_password"},
		"that wants another login":     {with(Proxy{Username: "x", Password: "proxy-password"}, wanting(0)), target, "the proxy does not take the login (HTTP 407); check proxy_username and proxy_password"},
		"that wants a login, for http": {Proxy{URL: wanting(0)}, plain, "the proxy wants a login (HTTP 407); write proxy_username"},
		"that wants another, by SOCKS": {with(login, "socks5://"+socksProxy(t, "user", "another")), target, "the proxy cannot be reached; check proxy_url, and its login if it is by SOCKS"},
		"that forbids the host":        {with(login, wanting(403)), target, "the proxy does not let the connection through (HTTP 403); have the provider's host allowed there, or set another proxy_url"},
		"that cannot reach the host":   {with(login, wanting(502)), target, "the proxy cannot reach the provider's host (HTTP 502)"},
		"that is gone":                 {with(login, "http://"+providertest.Nobody), target, "the proxy cannot be reached; check proxy_url"},
		"that is gone, for http":       {with(login, "http://"+providertest.Nobody), plain, "the proxy cannot be reached; check proxy_url"},
		"that is gone, by SOCKS":       {with(login, "socks5://"+providertest.Nobody), target, "the proxy cannot be reached; check proxy_url"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := NewClient(Options{Transport: ofEnvironment(), Now: clock})
			c.retryWait = time.Millisecond
			defer c.Close()
			r := standardRequest(tc.target)
			r.CACertificate, r.Proxy = authority, tc.proxy
			token, err := c.Mint(t.Context(), r)
			var e *Error
			switch {
			case tc.want == "" && err != nil, tc.want != "" && (!errors.As(err, &e) || e.Kind != Unavailable || !strings.Contains(e.Error(), tc.want)):
				t.Errorf("got token %v, %v\nwant %s", token != nil, err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "proxy-password") {
				t.Error("the error shows the proxy's login")
			}
		})
	}
}

// A proxy that speaks TLS must have a certificate of the system's authorities.
// It is not shown the client certificate, which is for the provider.
func TestAProxyBehindTLSIsNotTheProvider(t *testing.T) {
	t.Parallel()
	var shown atomic.Int32
	record := func(config *tls.Config) {
		config.ClientAuth = tls.RequestClientCert
		config.VerifyConnection = func(s tls.ConnectionState) error { shown.Add(int32(len(s.PeerCertificates))); return nil }
	}
	proxy, authority := overTLS(t, record, connecting("user:proxy-password", 0))
	var presented atomic.Int32
	target, _ := overTLS(t, func(config *tls.Config) {
		config.ClientAuth = tls.RequestClientCert
		config.VerifyConnection = func(s tls.ConnectionState) error { presented.Add(int32(len(s.PeerCertificates))); return nil }
	}, answers) // its authority is the proxy's
	k, err := signing.Generate(signing.ES256)
	if err != nil {
		t.Fatal(err)
	}
	certificates, err := k.SelfSigned("client", clock(), clock().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	r := standardRequest(target)
	r.Connection = Connection{CACertificate: authority, Certificates: certificates, Key: k, Proxy: Proxy{URL: proxy, Username: "user", Password: "proxy-password"}}

	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(authority))
	trusting := ofEnvironment()
	trusting.TLSClientConfig.RootCAs = roots
	c := NewClient(Options{Transport: trusting, Now: clock})
	defer c.Close()
	if _, err := c.Mint(t.Context(), r); err != nil || shown.Load() != 0 || presented.Load() != 1 {
		t.Errorf("%v; the proxy was shown %d certificates, the provider %d", err, shown.Load(), presented.Load())
	}

	// The provider's own authority does not vouch for a proxy.
	other := NewClient(Options{Transport: ofEnvironment(), Now: clock})
	defer other.Close()
	var e *Error
	if _, err := other.Mint(t.Context(), r); !errors.As(err, &e) || e.Kind != Unavailable || !strings.Contains(e.Error(), "the proxy's certificate is not trusted (x509: certificate signed by unknown authority)") {
		t.Errorf("got %v", err)
	}
}

// A request with one proxy must not use the connection of another proxy.
func TestConfigsDoNotShareProxies(t *testing.T) {
	t.Parallel()
	target, authority := overTLS(t, nil, answers)
	good := Proxy{URL: "http://" + connectProxy(t, "user:proxy-password", 0), Username: "user", Password: "proxy-password"}
	c := NewClient(Options{Transport: defaultTransport(), Now: clock})
	c.retryWait = time.Millisecond
	defer c.Close()
	var all sync.WaitGroup
	for range 4 {
		for what, proxy := range map[string]Proxy{
			"good": good, "none": {}, "wrong": {URL: good.URL, Username: "user", Password: "another"}, "no login": {URL: good.URL},
		} {
			all.Go(func() {
				r := standardRequest(target)
				r.CACertificate, r.Proxy = authority, proxy
				_, err := c.Mint(t.Context(), r)
				if works := what == "good" || what == "none"; (err == nil) != works {
					t.Errorf("%s: %v", what, err)
				}
			})
		}
	}
	all.Wait()
}
