// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Operations of a *net.OpError. They name the step that failed.
const (
	opDial         = "dial"
	opProxy        = "proxyconnect"
	opSOCKS        = "socks connect"
	opAlert        = "remote error" // a TLS alert from the other side
	opAlertOfOurs  = "local error"
	tlsErrorPrefix = "tls: "
)

func defaultTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    16,
		MaxResponseHeaderBytes: maxHeader,
		ForceAttemptHTTP2:      true,
	}
}

// sender sends one Request, in one or more attempts.
type sender struct {
	transport http.RoundTripper
	request   *Request
	client    *Client
	last      *attempt
	attempts  int
	resolving atomic.Bool    // whether the last attempt waits for name servers
	connected atomic.Bool    // whether the last attempt came to have a connection
	answer    *http.Response // the last answer; nil without one. The caller of send reads its body.
}

// send sends the request, and at most maxRetries times again if that may help. It
// returns the answer to the last attempt, or its error. Redirects are never
// followed: that would send the credentials to a host that is not configured.
func (s *sender) send(ctx context.Context) (*http.Response, error) {
	for {
		resp, err := s.attempt(ctx)
		shortest := s.client.retryWait * time.Duration(s.attempts)
		longest := 5 * shortest
		if s.attempts > maxRetries || !s.mayHelp(ctx, resp, err) || !lasts(ctx, longest) {
			return resp, err // also if time is short: this result tells more than a timeout would
		}
		if err == nil {
			_ = resp.Body.Close() // only the next answer is used
		}
		// Clients that failed together must not all come back together.
		pause := time.NewTimer(shortest + time.Duration(rand.Int64N(int64(longest-shortest)))) //nolint:gosec // no secret depends on it
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return nil, ctx.Err()
		}
	}
}

// mayHelp reports whether another attempt may help: after a failed connection (see
// retryableError), and after a 502, 503 or 504 that asks for no wait. If the grant
// spends something, it is only true if no connection was made.
func (s *sender) mayHelp(ctx context.Context, resp *http.Response, err error) bool {
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil:
		return retryableError(err, s.request.Spends)
	case s.request.Spends:
		return false
	}
	switch resp.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return !asksToWait(resp.Header, s.client.now())
	}
	return false
}

// lasts reports whether ctx lasts for d.
func lasts(ctx context.Context, d time.Duration) bool {
	deadline, bounded := ctx.Deadline()
	return !bounded || time.Until(deadline) >= d
}

// attempt makes the next attempt. When a server refuses it and sends a DPoP nonce,
// the request is sent once more with that nonce. This does not count as another
// attempt.
func (s *sender) attempt(ctx context.Context) (*http.Response, error) {
	s.attempts++
	s.answer = nil
	resp, err := s.once(ctx)
	if err != nil || s.request.DPoP == nil || !wantsNonce(*s.request, resp) {
		return resp, err
	}
	_ = resp.Body.Close() // only the next answer is used
	return s.once(ctx)
}

// once builds the request and sends it.
func (s *sender) once(ctx context.Context) (*http.Response, error) {
	now, r := s.client.now(), *s.request
	if r.Anew != nil {
		var err error
		if r, err = r.Anew(now); err != nil {
			return nil, err
		}
	}
	a, err := r.attempt(now)
	if err != nil {
		return nil, err
	}
	s.last = a
	req, err := encode(s.tracing(ctx), r, a, s.client.userAgent)
	if err != nil {
		return nil, err
	}
	if s.request.DPoP != nil {
		if err := s.client.prove(req, s.request.DPoP, a); err != nil {
			return nil, err
		}
	}
	if s.answer, err = s.transport.RoundTrip(req); err == nil && s.request.DPoP != nil {
		s.client.nonces.take(req.URL, s.answer.Header)
	}
	return s.answer, err
}

// tracing notes how far an attempt comes, because a timeout alone does not tell what is
// slow: the provider, the way to it, or the name servers.
func (s *sender) tracing(ctx context.Context) context.Context {
	s.connected.Store(false)
	s.resolving.Store(false)
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSStart: func(httptrace.DNSStartInfo) { s.resolving.Store(true) },
		DNSDone: func(done httptrace.DNSDoneInfo) {
			s.resolving.Store(done.Err != nil) // which may be that there is no time left
		},
		ConnectDone: func(_, _ string, err error) {
			if err == nil {
				s.connected.Store(true)
			}
		},
		GotConn: func(httptrace.GotConnInfo) { s.connected.Store(true) },
	})
}

// tooSlow returns the error for a request that request_timeout ended.
func (s *sender) tooSlow() *Error {
	within := fmt.Sprintf(" within %s (request_timeout)", InWords(s.request.Timeout))
	e := &Error{Detail: "no answer" + within, Remedy: slowRemedy}
	switch {
	case s.connected.Load(): // the provider is slow
	case s.request.Proxy.set():
		e = s.request.Proxy.unreachable(within, nil)
	case s.resolving.Load():
		e = unresolved(within)
	default:
		e = unreached(within)
	}
	e.Kind = TooSlow
	return e
}

// retryableError reports whether another attempt may help. It is true for a
// refused or broken connection. It is false for a certificate error, a TLS
// alert, a malformed answer and a timeout. If the grant spends something
// (spends), it is true only when no connection was made.
func retryableError(err error, spends bool) bool {
	var op *net.OpError
	if !errors.As(err, &op) {
		return !spends && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || endOfAnother(err))
	}
	switch {
	case op.Timeout(), op.Op == opAlert, op.Op == opAlertOfOurs:
		return false
	case op.Op == opDial, op.Op == opProxy:
		return true
	default:
		return !spends
	}
}

// endOfAnother reports whether err is the end of another request's context, if the
// request that got err still had time. net/http gives the connection of an answer
// without a body to the next request before the first one has its answer. If the first
// request ends just then, the connection is closed, and the next request gets the error
// of the first (golang.org/issue/70834).
func endOfAnother(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// transportError classifies an error that left the request without an answer,
// and describes what may help. It does not quote errors that can hold foreign
// text: the error of a malformed answer quotes the answer.
func transportError(err error, r Request, now time.Time) error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	if e := connectError(err, r.Proxy); e != nil {
		return e
	}
	if what, remedy := tlsError(err, r.Connection, now); what != "" {
		return &Error{Kind: Unavailable, cause: CauseTLS, Detail: what, Remedy: remedy}
	}
	var op *net.OpError
	e := &Error{Kind: Unavailable, Remedy: "check token_url's scheme and port"}
	switch {
	case errors.As(err, &op) && op.Timeout():
		e.Kind, e.Detail = TooSlow, "it accepts connections and then keeps silent"
	case strings.Contains(err.Error(), "malformed HTTP"):
		e.Detail = "what it answers is not HTTP"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		e.Detail = "the connection was reset before the answer was complete"
		e.Remedy += ", and firewalls on the way"
	case errors.Is(err, io.EOF):
		e.Detail = "the connection was closed without an answer"
		e.Remedy += ", and firewalls on the way"
	default:
		e.Detail, e.Remedy = "the connection broke before the answer was complete", "come back later; if it happens again, look for a firewall or proxy on the way that cuts connections"
	}
	return e
}

// slowRemedy is what helps if the provider does not answer in time.
const slowRemedy = "see whether the provider is slow or a firewall withholds its answers, or raise request_timeout (1m at most)"

// connectError describes why no connection was made. It returns nil if a
// connection was made.
func connectError(err error, p Proxy) *Error {
	var (
		op  *net.OpError
		dns *net.DNSError
	)
	isOp := errors.As(err, &op)
	e := &Error{Kind: Unavailable, cause: CauseConnection}
	switch {
	case isOp && (op.Op == opProxy || op.Op == opSOCKS):
		return p.unreachable("", err)
	case errors.As(err, &dns) && dns.IsNotFound:
		e.cause, e.Detail = CauseName, "its host name cannot be resolved: DNS knows no such name"
		e.Remedy = "check token_url, and the name servers of Vault's host"
	case errors.As(err, &dns):
		return unresolved("")
	case !isOp || op.Op != opDial:
		return nil
	case op.Timeout():
		return unreached("")
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Detail, e.Remedy = "no connection (connection refused: nobody listens there)", "check token_url's host and port, and whether the provider is up"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		e.Detail, e.Remedy = "no connection (no route to it)", "check token_url's host, and the network of Vault's host"
	default:
		e.Detail, e.Remedy = "no connection ("+op.Err.Error()+")", "check token_url and the network"
	}
	return e
}

// unreached returns the error for a connection that nobody accepts or refuses. within
// says for how long.
func unreached(within string) *Error {
	return &Error{
		Kind: TooSlow, cause: CauseConnection, Detail: "no connection" + within + ": nothing answers there",
		Remedy: "check token_url's host and port, and firewalls, which may drop what they do not allow",
	}
}

// unresolved returns the error for name servers that do not answer.
func unresolved(within string) *Error {
	return &Error{
		Kind: Unavailable, cause: CauseName, Detail: "its host name cannot be resolved" + within + ": the name servers gave no answer",
		Remedy: "check the name servers and the network of Vault's host",
	}
}

// tlsError describes why the two sides cannot agree on TLS, and what may help.
// It returns "" if the error is not about TLS.
func tlsError(err error, c Connection, now time.Time) (what, remedy string) {
	var (
		op      *net.OpError
		certErr *tls.CertificateVerificationError
		record  tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &certErr):
		return certificateError(certErr.Err)
	case errors.As(err, &record):
		return "it does not speak TLS on this port", "check token_url's scheme and port"
	case errors.As(err, &op) && op.Op == opAlert:
		return alertError(op.Err.Error(), c, now)
	case errors.As(err, &op) && op.Op == opAlertOfOurs, strings.HasPrefix(err.Error(), tlsErrorPrefix):
		return alertError(err.Error(), c, now)
	case strings.HasSuffix(err.Error(), "TLS handshake timeout"):
		return "the TLS handshake takes too long", "check token_url's scheme and port"
	}
	return "", ""
}

// certificateError describes why the provider's certificate is not accepted, and
// what may help.
func certificateError(err error) (what, remedy string) {
	var (
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
	)
	remedy = "set tls_ca_certificate if the authority is your own, such as that of a firewall that opens TLS"
	switch {
	case errors.As(err, &name):
		remedy = "check token_url's host: the certificate is for another"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		remedy = "the provider must renew its certificate, unless the clock of Vault's host is wrong"
	}
	return "its certificate is not trusted (" + printable(err.Error()) + ")", remedy
}

// alertError describes what a TLS alert, or an error of Go's own TLS code,
// means, and what may help. The text always comes from crypto/tls, even when the
// other side sent the alert.
func alertError(text string, c Connection, now time.Time) (what, remedy string) {
	says := func(parts ...string) bool {
		for _, part := range parts {
			if strings.Contains(text, part) {
				return true
			}
		}
		return false
	}
	switch {
	case says("protocol version"):
		return "it speaks no TLS version that is still safe", "the provider must update its server: TLS 1.2 is the least"
	case says("certificate required", "bad certificate", "unknown certificate", "unsupported certificate",
		"expired certificate", "revoked certificate", "access denied"):
		if len(c.Certificates) > 0 {
			return "it does not accept " + c.showed(now) + " (" + strings.TrimPrefix(text, tlsErrorPrefix) + ")", "check the certificate against the client's registration at the provider"
		}
		return "it wants a client certificate (mutual TLS), and none is presented", "write tls_client_certificate and tls_client_key (or tls_key), or ask the provider for an endpoint without"
	case says("unrecognized name"):
		return "it serves no host of this name", "check token_url's host"
	case says("handshake failure", "insufficient security", "cipher suite", "curve"):
		return "the TLS handshake failed: most often both sides accept no common cipher, or it wants a client certificate", "ask the provider what its endpoint asks for"
	default:
		return "the TLS handshake failed", "check token_url's host and port"
	}
}
