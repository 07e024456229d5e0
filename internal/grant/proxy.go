// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
)

// Proxy is the proxy through which a provider is reached. The zero Proxy means
// the proxy of Vault's environment (HTTPS_PROXY, HTTP_PROXY, NO_PROXY).
type Proxy struct {
	URL                string // http, https or socks5, without a login
	Username, Password string
}

func (p Proxy) set() bool { return p != Proxy{} }

// of returns the URL of the proxy with its login. Its error repeats nothing of
// the URL or the login.
func (p Proxy) of(*http.Request) (*url.URL, error) {
	u, err := url.Parse(p.URL)
	if err != nil {
		return nil, &Error{Kind: Misconfigured, cause: CauseProxy, Detail: "the address of the proxy is not a URL", Remedy: "check proxy_url"}
	}
	if p.Username != "" || p.Password != "" {
		u.User = url.UserPassword(p.Username, p.Password)
	}
	return u, nil
}

// through makes t use the proxy. If the proxy speaks TLS, its certificate must
// come from an authority that t trusts at the time of the call; an authority
// that is configured for the provider does not count. The proxy never sees a
// certificate of the client.
func (p Proxy) through(t *http.Transport) {
	t.Proxy = p.of
	t.OnProxyConnectResponse = p.connected
	trust := t.TLSClientConfig.Clone()
	dial := t.DialContext
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	if u, err := url.Parse(p.URL); err != nil || u.Scheme != "https" {
		return
	}
	// Only the connection to the proxy is dialled by TLS here. The provider is
	// reached through it.
	t.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		config := trust.Clone()
		config.ServerName, _, _ = net.SplitHostPort(address)
		over := tls.Client(conn, config)
		if err := over.HandshakeContext(ctx); err != nil {
			_ = conn.Close() // the error of the handshake is the one to report
			return nil, err
		}
		return over, nil
	}
}

// connected turns the refusal of a proxy into an error that explains it.
// Without this, the error would consist only of the proxy's own words.
func (p Proxy) connected(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	return p.refusal(answer.StatusCode)
}

// mindingProxies returns a copy of t whose errors explain problems with a proxy
// of the environment.
func mindingProxies(t *http.Transport) *http.Transport {
	t = t.Clone()
	t.OnProxyConnectResponse = Proxy{}.connected
	if choose := t.Proxy; choose != nil {
		t.Proxy = func(r *http.Request) (*url.URL, error) {
			u, err := choose(r)
			if err != nil { // err quotes the address with its login
				return nil, &Error{Kind: Unavailable, cause: CauseProxy, Detail: "the address of the proxy is not a URL", Remedy: "check HTTPS_PROXY and HTTP_PROXY in Vault's environment"}
			}
			return u, nil
		}
	}
	return t
}

// refusal returns the error for a proxy that does not let a request through.
func (p Proxy) refusal(status int) *Error {
	e := &Error{Kind: Unavailable, cause: CauseProxy}
	login, around := "write it into HTTPS_PROXY (or HTTP_PROXY) in Vault's environment, or name the provider's host in NO_PROXY", "or name it in NO_PROXY in Vault's environment"
	if p.set() {
		login, around = "write proxy_username and proxy_password", "or set another proxy_url"
	}
	switch status {
	case http.StatusProxyAuthRequired:
		e.Detail, e.Remedy = "the proxy wants a login (HTTP 407)", login
		if p.Username != "" {
			e.Detail, e.Remedy = "the proxy does not take the login (HTTP 407)", "check proxy_username and proxy_password"
		}
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		e.Detail, e.Remedy = fmt.Sprintf("the proxy cannot reach the provider's host (HTTP %d)", status), "check token_url, and what the proxy can reach"
	default:
		e.Detail, e.Remedy = fmt.Sprintf("the proxy does not let the connection through (HTTP %d)", status), "have the provider's host allowed there, "+around
	}
	return e
}

// unreachable returns the error for a failed connection to or through the proxy.
// within says how long that took, if it matters.
func (p Proxy) unreachable(within string, err error) *Error {
	e := &Error{Kind: Unavailable, cause: CauseProxy, Detail: "the proxy cannot be reached" + within}
	var certErr *tls.CertificateVerificationError
	switch {
	case !p.set():
		e.Remedy = "check HTTPS_PROXY and HTTP_PROXY in Vault's environment, or name the provider's host in NO_PROXY"
	case errors.As(err, &certErr):
		e.Detail, e.Remedy = "the proxy's certificate is not trusted ("+printable(certErr.Err.Error())+")", "have it certified by an authority that Vault's host trusts"
	default:
		e.Remedy = "check proxy_url, and its login if it is by SOCKS"
	}
	return e
}
