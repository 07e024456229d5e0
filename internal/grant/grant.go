// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

// Package grant speaks to token endpoints (RFC 6749 section 3.2): it turns a
// literal description of a token request into HTTP, and whatever comes back
// into a token or a classified error.
//
// The package knows nothing of Vault, of storage or of placeholders. Nothing
// that it returns or logs holds a credential of the request, also when the
// provider echoes the request in its answer.
package grant

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// Limits of one token request.
const (
	maxBody    = 1 << 20 // bytes read of an answer, at most
	maxHeader  = 256 << 10
	maxRetries = 2 // after the first attempt
	retryWait  = 200 * time.Millisecond
)

// Request is one token request with nothing left to resolve: every value is
// literal and is sent as it stands.
type Request struct {
	URL    string     // absolute; a query in it is kept
	Method string     // http.MethodPost or http.MethodGet
	Format Format     // where the parameters go
	Auth   AuthMethod // how the client authenticates

	// BasicRaw leaves the credentials of HTTP Basic as they are. RFC 6749
	// section 2.3.1 form-urlencodes them first; real servers split on it.
	BasicRaw bool

	GrantType      string // "" sends no grant_type
	ClientID       string
	ClientSecret   string
	Username       string // sent when GrantType is "password"
	Password       string
	RefreshToken   string // sent when GrantType is "refresh_token"
	Scopes         []string
	ScopeSeparator string // ScopeList sends a list

	// Parameters are sent beside the standard ones. In a form a list repeats
	// the parameter and an object is JSON text; in JSON they stay as they are.
	Parameters map[string]any

	// Names renames standard parameters; an empty name leaves one out.
	Names map[string]string

	Headers map[string]string
	Answer  Answer

	// Secrets are values that no error may repeat, beyond the credentials
	// above.
	Secrets []string

	// Spends says that the grant uses something up (a rotating refresh token),
	// so that it is not sent again once a connection was there.
	Spends bool

	Timeout time.Duration // for the whole mint, retries included

	// CACertificate (PEM) replaces the system's roots; "" keeps them.
	CACertificate string
}

// ScopeList as a Request's ScopeSeparator sends the scopes as a list.
const ScopeList = "list"

// Format says where the parameters of a request go.
type Format string

// The request formats.
const (
	Form  Format = "form"  // application/x-www-form-urlencoded, RFC 6749 appendix B
	JSON  Format = "json"  // an application/json object
	Query Format = "query" // the URL's query
)

// AuthMethod is a token_endpoint_auth_method of RFC 7591 section 2.
type AuthMethod string

// The client authentication methods.
const (
	AuthBasic AuthMethod = "client_secret_basic"
	AuthPost  AuthMethod = "client_secret_post"
	AuthNone  AuthMethod = "none"
)

// Grant types that send more than the client's own credentials.
const (
	GrantPassword     = "password"
	GrantRefreshToken = "refresh_token"
)

// LifetimeSource says where a token's expiry comes from.
type LifetimeSource string

// The sources, in the order in which they are asked.
const (
	LifetimeExpiresIn LifetimeSource = "expires_in"
	LifetimeExpiresAt LifetimeSource = "expires_at"
	LifetimeJWT       LifetimeSource = "jwt"
	LifetimeDefault   LifetimeSource = "default_token_lifetime"
)

// Token is what a provider issued.
type Token struct {
	AccessToken  string         `json:"access_token"`
	TokenType    string         `json:"token_type"`
	Scope        string         `json:"scope,omitempty"` // space separated; "" when unknown
	RefreshToken string         `json:"refresh_token,omitempty"`
	Extra        map[string]any `json:"extra,omitempty"` // the asked-for further members that were there

	IssuedAt  time.Time      `json:"issued_at"` // when the answer was there
	ExpiresAt time.Time      `json:"expires_at"`
	Lifetime  LifetimeSource `json:"lifetime"`
}

// Options configures a Client. The zero value is usable.
type Options struct {
	Transport *http.Transport  // template for all connections; nil is a hardened default
	Now       func() time.Time // nil is time.Now
	UserAgent string           // "" is Go's own
}

// Client mints tokens. It is safe for concurrent use and keeps connections
// between mints.
type Client struct {
	transport *http.Transport
	now       func() time.Time
	userAgent string
	retryWait time.Duration // before the first retry, at least
}

// NewClient returns a Client.
func NewClient(o Options) *Client {
	c := &Client{transport: o.Transport, now: o.Now, userAgent: o.UserAgent, retryWait: retryWait}
	if c.transport == nil {
		c.transport = defaultTransport()
	}
	if c.now == nil {
		c.now = time.Now
	}
	return c
}

func defaultTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  60 * time.Second,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    16,
		MaxResponseHeaderBytes: maxHeader,
		ForceAttemptHTTP2:      true,
	}
}

// Close lets go of idle connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Mint runs the grant. It asks the provider once, and again (twice at most)
// only after a failed connection or a 502, 503 or 504 without a Retry-After.
// It answers within r.Timeout. Every error is an *Error, except that ctx was
// cancelled.
func (c *Client) Mint(ctx context.Context, r Request) (*Token, error) {
	t, err := c.mint(ctx, r)
	var failed *Error
	if errors.As(err, &failed) {
		failed.GrantType = r.GrantType
	}
	return t, err
}

func (c *Client) mint(ctx context.Context, r Request) (*Token, error) {
	got, err := c.exchange(ctx, r)
	if err != nil {
		return nil, err
	}
	return readAnswer(r, got, c.now(), newRedactor(r))
}

// reply is what came back, read.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r reply) ok() bool { return r.status >= 200 && r.status < 300 }

// page says whether the answer is a page for people, not a program's.
func (r reply) page() bool {
	body := bytes.ToLower(bytes.TrimSpace(r.body))
	return bytes.HasPrefix(body, []byte("<!doctype html")) || bytes.HasPrefix(body, []byte("<html"))
}

func (r reply) document() any { return parseBody(r.header.Get("Content-Type"), r.body) }

// exchange sends r and reads what comes back.
func (c *Client) exchange(ctx context.Context, r Request) (reply, error) {
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()

	transport, release, err := c.transportFor(r)
	if err != nil {
		return reply{}, err
	}
	defer release()
	req, err := encode(ctx, r, c.userAgent)
	if err != nil {
		return reply{}, err
	}
	resp, err := retrying(transport, r.Spends, c.retryWait).Do(req)
	if err == nil {
		defer func() { _ = resp.Body.Close() }()
		got := reply{status: resp.StatusCode, header: resp.Header}
		got.body, err = readBounded(resp.Body)
		if err == nil {
			return got, nil
		}
		if ctx.Err() == nil && !got.ok() {
			return reply{status: got.status, header: got.header}, nil // the status says enough
		}
	}
	switch caller.Err() {
	case context.Canceled:
		return reply{}, context.Canceled
	case context.DeadlineExceeded:
		return reply{}, &Error{Kind: TooSlow, Detail: "no answer in time"}
	}
	return reply{}, transportError(err, r.Timeout)
}

// Revoke asks a revocation endpoint (RFC 7009), once. A token that the provider
// says is gone counts as revoked, also when it says so with a 404 or 410. Its errors are those of Mint.
func (c *Client) Revoke(ctx context.Context, r Request) error {
	got, err := c.exchange(ctx, r)
	if err != nil {
		return err
	}
	if got.ok() {
		return nil
	}
	e := readError(r, got, got.document(), c.now(), newRedactor(r))
	switch {
	case e.Code == "invalid_token", e.GrantRefused(), got.status == http.StatusNotFound, got.status == http.StatusGone:
		return nil
	}
	return e
}

// transportFor gives the shared transport, or one of its own to a request that
// trusts another authority: tokens live so much longer than connections that
// keeping one per authority would not pay.
func (c *Client) transportFor(r Request) (*http.Transport, func(), error) {
	if r.CACertificate == "" {
		return c.transport, func() {}, nil
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(r.CACertificate)) {
		return nil, nil, &Error{Kind: Misconfigured, Detail: "tls_ca_certificate holds no PEM certificate"}
	}
	t := c.transport.Clone()
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	t.TLSClientConfig.RootCAs = roots
	t.ForceAttemptHTTP2 = true // a configured TLS would turn it off
	return t, t.CloseIdleConnections, nil
}

// retrying wraps transport in the retries that section 4 of the design allows.
// No logger: go-retryablehttp's prints URLs, and a URL may hold a secret.
func retrying(transport http.RoundTripper, spends bool, wait time.Duration) *retryablehttp.Client {
	rc := retryablehttp.NewClient()
	rc.Logger = nil
	rc.RetryMax = maxRetries
	rc.RetryWaitMin = wait
	rc.RetryWaitMax = 5 * wait
	rc.Backoff = retryablehttp.LinearJitterBackoff
	rc.ErrorHandler = retryablehttp.PassthroughErrorHandler
	rc.HTTPClient = &http.Client{
		Transport: transport,
		// A redirect would carry the credentials to a host nobody named.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	longest := time.Duration(0) // wait before the next attempt
	rc.CheckRetry = func(ctx context.Context, resp *http.Response, err error) (bool, error) {
		longest += rc.RetryWaitMax
		deadline, bounded := ctx.Deadline()
		switch {
		case ctx.Err() != nil:
			return false, ctx.Err()
		case bounded && time.Until(deadline) < longest:
			return false, nil // what is known now says more than the timeout would
		case err != nil:
			return retryableError(err, spends), nil
		case spends || resp.Header.Get("Retry-After") != "":
			return false, nil
		}
		switch resp.StatusCode {
		case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true, nil
		}
		return false, nil
	}
	return rc
}

// retryableError says whether asking again may help: a refused or broken
// connection, but no certificate, no malformed answer, no timeout. A grant
// that spends something may only be repeated when no connection came about.
func retryableError(err error, spends bool) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Timeout() {
		return false
	}
	if errors.As(err, &op) && op.Op == "dial" {
		return true
	}
	if spends {
		return false
	}
	return errors.As(err, &op) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

func readBounded(body io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if len(b) > maxBody {
		return nil, &Error{Kind: Unintelligible, Detail: "the answer is larger than 1 MiB"}
	}
	return b, nil
}

// transportError classifies a failure to get an answer at all. It repeats
// nothing but what this side knows: an *url.Error holds the URL, and the
// errors of a malformed answer quote the answer.
func transportError(err error, timeout time.Duration) error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		err = urlErr.Err
	}
	var (
		netErr  net.Error
		op      *net.OpError
		dns     *net.DNSError
		certErr *tls.CertificateVerificationError
		record  tls.RecordHeaderError
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return &Error{Kind: TooSlow, Detail: fmt.Sprintf("no answer within %s (request_timeout)", timeout)}
	case errors.As(err, &certErr):
		return &Error{Kind: Unavailable, Detail: "its certificate is not trusted (" + printable(certErr.Err.Error()) +
			"); set tls_ca_certificate if the authority is your own"}
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return &Error{Kind: Unavailable, Detail: "it does not speak TLS on this port; check token_url's scheme and port"}
	case errors.As(err, &dns):
		return &Error{Kind: Unavailable, Detail: "its host name cannot be resolved; check token_url"}
	case errors.As(err, &op) && op.Op == "dial":
		return &Error{Kind: Unavailable, Detail: "no connection (" + op.Err.Error() + "); check token_url and the network"}
	default:
		return &Error{Kind: Unavailable, Detail: "the connection broke before the answer was complete"}
	}
}
