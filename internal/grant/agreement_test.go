// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

func TestServersThatAgreeOnNoTLS(t *testing.T) {
	t.Parallel()
	// This is a ServerHello of TLS 1.0. Go's own servers do not send it to a client
	// that does not offer TLS 1.0.
	hello := append([]byte{0x03, 0x01}, make([]byte, 32)...)
	hello = append(hello, 0, 0xc0, 0x14, 0)
	hello = append([]byte{2, 0, 0, byte(len(hello))}, hello...)
	hello = append([]byte{22, 0x03, 0x01, 0, byte(len(hello))}, hello...)
	raw := func(does ...byte) string {
		return "https://" + listen(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1<<16))
			_, _ = c.Write(does)
			_, _ = io.Copy(io.Discard, c)
		})
	}
	alert := func(number byte) string { return raw(21, 3, 3, 0, 2, 2, number) }
	server := func(change func(*tls.Config)) func() (string, string) {
		return func() (string, string) { return overTLS(t, change, answers) }
	}
	plainly := func(url string) func() (string, string) { return func() (string, string) { return url, "" } }
	wants := func(kind tls.ClientAuthType, version uint16) func() (string, string) {
		return server(func(c *tls.Config) { c.ClientAuth, c.MaxVersion = kind, version })
	}
	const (
		tooOld   = "it speaks no TLS version that is still safe; the provider must update its server: TLS 1.2 is the least"
		wantsOne = "it wants a client certificate (mutual TLS)"
		noCommon = "both sides accept no common cipher"
	)
	for name, tc := range map[string]struct {
		at   func() (url, ca string)
		want string // part of the error; "" if the result is a token
	}{
		"as it should be":                   {server(nil), ""},
		"an old version, by alert":          {server(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }), tooOld},
		"an old version, chosen regardless": {plainly(raw(hello...)), tooOld},
		"no common cipher": {server(func(c *tls.Config) {
			c.MaxVersion = tls.VersionTLS12
			c.CipherSuites = []uint16{tls.TLS_RSA_WITH_RC4_128_SHA}
		}), noCommon},
		"too weak":                         {plainly(alert(71)), noCommon},
		"a client certificate, TLS 1.3":    {wants(tls.RequireAnyClientCert, tls.VersionTLS13), wantsOne},
		"a client certificate, TLS 1.2":    {wants(tls.RequireAnyClientCert, tls.VersionTLS12), "or it wants a client certificate"},
		"a verified client, TLS 1.3":       {wants(tls.RequireAndVerifyClientCert, tls.VersionTLS13), wantsOne},
		"a client certificate if there is": {wants(tls.RequestClientCert, tls.VersionTLS13), ""},
		"another name":                     {plainly(alert(112)), "check token_url's host"},
		"something else":                   {plainly(alert(80)), "the TLS handshake failed; check token_url's host and port"},
		"an alert that nobody knows":       {plainly(alert(250)), "the TLS handshake failed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := standardRequest("")
			r.URL, r.CACertificate = tc.at()
			token, err := mint(t, r)
			var e *Error
			switch {
			case tc.want == "" && err != nil, tc.want != "" && (!errors.As(err, &e) || e.Kind != Unavailable || e.Cause() != CauseTLS || !strings.Contains(e.Error(), tc.want)):
				t.Errorf("got token %v, %v\nwant %s", token != nil, err, tc.want)
			}
		})
	}
}

func TestProxies(t *testing.T) {
	t.Parallel()
	target, authority := overTLS(t, nil, answers)
	plain := "http://" + listen(t, answers)
	const login = "user:proxy-password"
	for name, tc := range map[string]struct {
		proxy  string
		target string
		want   string // part of the error; "" if the result is a token
	}{
		"with its login":                {"http://" + login + "@" + connectProxy(t, login, 0), target, ""},
		"without one":                   {"http://" + connectProxy(t, "", 0), target, ""},
		"that wants a login":            {"http://" + connectProxy(t, login, 0), target, "the proxy wants a login (HTTP 407)"},
		"that wants another login":      {"http://x:proxy-password@" + connectProxy(t, login, 0), target, "the proxy wants a login (HTTP 407)"},
		"that wants a login, for http":  {"http://" + connectProxy(t, login, 0), plain, "the proxy wants a login (HTTP 407)"},
		"that forbids the host":         {"http://" + connectProxy(t, "", 403), target, "the proxy does not let the connection through (HTTP 403)"},
		"that cannot reach the host":    {"http://" + connectProxy(t, "", 502), target, "the proxy cannot reach the provider's host (HTTP 502)"},
		"that is gone":                  {"http://" + login + "@" + providertest.Nobody, target, "the proxy cannot be reached"},
		"that is gone, for http":        {"http://" + login + "@" + providertest.Nobody, plain, "the proxy cannot be reached"},
		"that is gone, by SOCKS":        {"socks5://" + login + "@" + providertest.Nobody, target, "the proxy cannot be reached"},
		"whose name nobody knows":       {"http://" + login + "@" + nameless + ":3128", target, "the proxy cannot be reached"},
		"whose address is not a URL":    {"", target, "the address of the proxy is not a URL"},
		"that does not speak TLS there": {"https://" + login + "@" + strings.TrimPrefix(plain, "http://"), target, "the proxy cannot be reached"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			transport := defaultTransport()
			transport.Proxy = func(*http.Request) (*url.URL, error) {
				if tc.proxy == "" {
					return nil, errors.New("invalid proxy address proxy-password")
				}
				return url.Parse(tc.proxy)
			}
			c := NewClient(Options{Transport: transport, Now: clock})
			c.retryWait = time.Millisecond
			defer c.Close()
			r := standardRequest(tc.target)
			r.CACertificate = authority
			token, err := c.Mint(t.Context(), r)
			var e *Error
			switch {
			case tc.want == "" && err != nil, tc.want != "" && (!errors.As(err, &e) || e.Kind != Unavailable || e.Cause() != CauseProxy || !strings.Contains(e.Error(), tc.want)):
				t.Errorf("got token %v, %v\nwant %s", token != nil, err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "proxy-password") {
				t.Error("the error shows the proxy's login")
			}
		})
	}
}

// connectProxy runs a proxy for CONNECT (RFC 9110 section 9.3.6). It asks for the
// given login and answers with the given status, if they are set.
func connectProxy(t *testing.T, login string, status int) string {
	t.Helper()
	return listen(t, connecting(login, status))
}

func connecting(login string, status int) func(net.Conn) {
	return func(c net.Conn) {
		from := bufio.NewReader(c)
		r, err := http.ReadRequest(from)
		if err != nil {
			return
		}
		refuse := func(status int) {
			_ = (&http.Response{StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Status: http.StatusText(status) + " proxy-password"}).Write(c)
		}
		want := "Basic " + base64.StdEncoding.EncodeToString([]byte(login))
		switch {
		case login != "" && r.Header.Get("Proxy-Authorization") != want:
			refuse(http.StatusProxyAuthRequired)
			return
		case status != 0:
			refuse(status)
			return
		}
		to, err := net.Dial("tcp", r.Host)
		if err != nil {
			refuse(http.StatusBadGateway)
			return
		}
		defer func() { _ = to.Close() }()
		_, _ = io.WriteString(c, "HTTP/1.1 200 Connected\r\n\r\n")
		go func() { _, _ = io.Copy(to, from) }()
		_, _ = io.Copy(c, to)
	}
}

// answers speaks HTTP by hand and grants a token.
func answers(c net.Conn) {
	_, _ = c.Read(make([]byte, 1<<16))
	body := `{"access_token":"granted","expires_in":60}`
	_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"+body)
}
