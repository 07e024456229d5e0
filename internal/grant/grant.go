// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

// Package grant sends requests to token endpoints (RFC 6749 section 3.2). It
// turns the literal description of a token request into HTTP, and the answer
// into a token or a classified error.
//
// The package knows nothing of Vault, storage or placeholders. Nothing that it
// returns or logs holds a credential of the request, even if the provider
// repeats the request in its answer.
package grant

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"
)

// Limits of one token request.
const (
	maxBody    = 1 << 20     // bytes of an answer's body
	maxReading = 2 * maxBody // bytes of answers that are parsed at the same time
	maxHeader  = 256 << 10
	maxRetries = 2 // after the first attempt
	retryWait  = 200 * time.Millisecond
)

// Request is one token request. Every value is literal and is sent as it is:
// nothing is left to resolve.
type Request struct {
	URL    string     // absolute; its query is kept
	Field  string     // API field that holds the URL; errors name it as what to check; "" is token_url
	Method string     // http.MethodPost or http.MethodGet
	Format Format     // where the parameters go
	Auth   AuthMethod // how the client authenticates

	// DPoP makes the provider bind the token to a key (RFC 9449). nil does not.
	DPoP *DPoP

	// ClientAssertion is what the client sends if it authenticates by a JWT; nil
	// for other methods.
	ClientAssertion *Assertion

	// GrantAssertion is what the JWT bearer grant sends. If it is nil, the grant
	// sends Assertion, which was made elsewhere.
	GrantAssertion *Assertion
	Assertion      string

	// BasicRaw sends the credentials of HTTP Basic without encoding them. RFC 6749
	// section 2.3.1 requires them to be form-urlencoded first, but real servers
	// disagree about this.
	BasicRaw bool

	GrantType      string // "" sends no grant_type
	ClientID       string
	ClientSecret   string
	Username       string // sent when GrantType is "password"
	Password       string
	RefreshToken   string    // sent when GrantType is "refresh_token"
	Subject        Exchanged // Subject is the token to exchange; Actor is the token of the acting party
	Actor          Exchanged
	Scopes         []string
	ScopeSeparator string // ScopeList sends a list

	// Parameters are sent in addition to the standard ones. In a form, a list
	// repeats the parameter, and an object becomes JSON text. In JSON they stay as
	// they are.
	Parameters map[string]any

	// Names gives standard parameters other names. An empty name leaves the
	// parameter out.
	Names map[string]string

	// PercentSpaces encodes a space in a form or a query as %20 instead of +.
	PercentSpaces bool

	// Headers are sent over HTTP/1.1 with their names exactly as written here,
	// because some servers insist on the case. HTTP/2 always uses lower case.
	Headers map[string]string

	// Body is the whole body if Format is Template. Nothing is added to it. Headers
	// must state its content type.
	Body string

	Answer Answer

	// Secrets are further values that no result may repeat, in addition to the
	// credentials above. Composed are texts, as they are sent, that contain a
	// secret. A part of such a text is not secret in itself, but the whole text is
	// never returned.
	Secrets  []string
	Composed []string

	// Brought means that the request holds a token that one of many callers
	// brought. If the provider refuses the request, that token may be the cause.
	Brought bool

	// Spends means that the grant uses something up (a rotating refresh token). The
	// request is then not repeated once a connection was made.
	Spends bool

	Timeout time.Duration // for the whole mint, including retries

	// Observed is called with a description of the exchange after it ends, even if
	// it failed. It may be nil.
	Observed func(Exchange)

	// Anew returns the request to send for each attempt, if the attempts differ in
	// what they send; otherwise it is nil. The answer is still read as this Request
	// says.
	Anew func(now time.Time) (Request, error)

	Connection

	known *prepared // set by Prepare
}

// ScopeList as the ScopeSeparator of a Request sends the scopes as a list.
const ScopeList = "list"

// Format says where the parameters of a request are placed.
type Format string

// The request formats.
const (
	Form  Format = "form"  // application/x-www-form-urlencoded, RFC 6749 appendix B
	JSON  Format = "json"  // an application/json object
	Query Format = "query" // the URL's query

	// Template sends only Body, and no parameters.
	Template Format = "template"
)

// LifetimeSource says where a token's expiry comes from.
type LifetimeSource string

// The sources, in the order in which they are tried.
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
	Scope        string         `json:"scope,omitempty"` // separated by spaces; "" if unknown
	RefreshToken string         `json:"refresh_token,omitempty"`
	Extra        map[string]any `json:"extra,omitempty"` // requested further members that the answer holds

	IssuedAt  time.Time      `json:"issued_at"` // when the answer arrived
	ExpiresAt time.Time      `json:"expires_at"`
	Lifetime  LifetimeSource `json:"lifetime"`
}

// Options configures a Client. The zero value works.
type Options struct {
	Transport *http.Transport  // template for all connections; nil uses a hardened default
	Now       func() time.Time // nil uses time.Now
	UserAgent string           // "" uses Go's own
}

// Client mints tokens. It is safe for concurrent use and reuses connections.
type Client struct {
	transports *transports
	nonces     nonces
	now        func() time.Time
	userAgent  string
	retryWait  time.Duration // before the first retry, at least
	reading    *semaphore.Weighted
}

// NewClient returns a Client.
func NewClient(o Options) *Client {
	shared := o.Transport
	if shared == nil {
		shared = defaultTransport()
	}
	c := &Client{
		transports: newTransports(mindingProxies(shared)), nonces: newNonces(), now: o.Now, userAgent: o.UserAgent, retryWait: retryWait,
		reading: semaphore.NewWeighted(maxReading),
	}
	if c.now == nil {
		c.now = time.Now
	}
	return c
}

// Close closes idle connections.
func (c *Client) Close() { c.transports.closeIdle() }

// Mint runs the grant. It normally asks the provider once. It asks again, at
// most twice, only after a failed connection or after a 502, 503 or 504 that
// asks for no wait. It returns within r.Timeout. Every error is an *Error,
// except when ctx was cancelled.
func (c *Client) Mint(ctx context.Context, r Request) (*Token, error) {
	t, err := c.mint(ctx, r)
	var failed *Error
	if errors.As(err, &failed) {
		failed.GrantType, failed.Proved, failed.Brought = r.GrantType, r.DPoP != nil, r.Brought
	}
	return t, err
}

func (c *Client) mint(ctx context.Context, r Request) (*Token, error) {
	got, err := c.exchange(ctx, r)
	if err != nil {
		return nil, err
	}
	defer c.startReading(ctx, got)()
	return readAnswer(r, got, c.now(), r.redactor(got.sent))
}

// reply is an answer whose body has been read.
type reply struct {
	status int
	header http.Header
	body   []byte
	sent   *attempt // the attempt that it answers
}

func (r reply) ok() bool { return r.status >= 200 && r.status < 300 }

// startReading waits until there is room to parse an answer, which can take
// much more memory than the answer has bytes. The caller calls the returned
// function when it has finished. A cancelled ctx does not end the wait: parsing
// takes only a moment, and the answer may hold what cannot be obtained again.
func (c *Client) startReading(ctx context.Context, got reply) func() {
	size := len(got.body)
	for name, values := range got.header {
		size += len(name) + len(strings.Join(values, ""))
	}
	weight := min(int64(size), maxReading)
	if c.reading.Acquire(context.WithoutCancel(ctx), weight) != nil {
		return func() {} // cannot happen: no answer is larger than the room
	}
	return func() { c.reading.Release(weight) }
}

// sentAt returns when the request was sent, or now if none was sent.
func (r reply) sentAt(now time.Time) time.Time {
	if r.sent == nil {
		return now
	}
	return r.sent.now
}

func (r reply) document() document {
	text := strings.TrimSpace(strings.TrimPrefix(string(r.body), "\ufeff"))
	return document{text: text, body: parseBody(r.header.Get("Content-Type"), text), header: r.header, within: readTextOnce()}
}

// exchange sends r and reads the answer.
func (c *Client) exchange(ctx context.Context, r Request) (reply, error) {
	got, err := c.send(ctx, r)
	return got, r.about(err)
}

// about makes an error name the field that holds r's URL.
func (r Request) about(err error) error {
	var failed *Error
	if r.Field != "" && errors.As(err, &failed) {
		failed.Detail = strings.ReplaceAll(failed.Detail, "token_url", r.Field)
		failed.Remedy = strings.ReplaceAll(failed.Remedy, "token_url", r.Field)
	}
	return err
}

func (c *Client) send(ctx context.Context, r Request) (reply, error) {
	caller, start := ctx, c.now()
	ctx, cancel := WithTimeout(ctx, r.Timeout)
	defer cancel()

	transport, err := c.transports.of(r.Connection)
	if err != nil {
		return reply{}, err
	}
	sender := &sender{transport: transport, request: &r, client: c}
	if r.Observed != nil {
		defer func() { r.Observed(sender.exchange(c.now().Sub(start))) }()
	}
	resp, err := sender.send(ctx)
	if err == nil {
		defer func() { _ = resp.Body.Close() }()
		switch {
		case resp.StatusCode < 200:
			return reply{}, &Error{Kind: Unintelligible, Status: resp.StatusCode, Detail: "it changes to another protocol instead of answering", Remedy: "check token_url"}
		case resp.StatusCode == http.StatusProxyAuthRequired:
			return reply{}, r.Proxy.refusal(resp.StatusCode)
		}
		got := reply{status: resp.StatusCode, header: resp.Header, sent: sender.last}
		got.body, err = readBounded(resp.Body)
		switch {
		case err == nil && ctx.Err() != nil && endsWithConnection(resp):
			err = ctx.Err() // the end of the body may come from our timeout
		case err == nil:
			return got, nil
		}
		if ctx.Err() == nil && !got.ok() {
			return reply{status: got.status, header: got.header, sent: got.sent}, nil // the status is enough to report
		}
	}
	switch caller.Err() {
	case context.Canceled:
		return reply{}, context.Canceled
	case context.DeadlineExceeded:
		// By now both deadlines may have passed. The earlier one ended the request.
		limit, _ := caller.Deadline()
		if ends, _ := ctx.Deadline(); !ends.Before(limit) && !errors.Is(context.Cause(caller), errRequestTimeout) {
			return reply{}, &Error{Kind: TooSlow, Detail: "no answer in time", Remedy: slowRemedy}
		}
	}
	// A dial has a limit of its own. If both end together, the dial's end may be seen
	// before ctx says that it has ended.
	if ctx.Err() != nil || !lasts(ctx, 0) {
		return reply{}, sender.tooSlow()
	}
	return reply{}, transportError(err, r, c.now())
}

// errRequestTimeout is the cause of a context that ends because of request_timeout.
var errRequestTimeout = fmt.Errorf("request_timeout is over: %w", context.DeadlineExceeded)

// WithTimeout limits several requests together to request_timeout. When that is over,
// the error says so, and whether there was a connection, as for a single request.
func WithTimeout(ctx context.Context, requestTimeout time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, requestTimeout, errRequestTimeout)
}

// endsWithConnection reports whether only the end of the connection marks the
// end of the answer's body (RFC 9112 section 6.3).
func endsWithConnection(r *http.Response) bool {
	return r.ProtoMajor == 1 && r.ContentLength < 0 && len(r.TransferEncoding) == 0
}

// Revoke sends one token to a revocation endpoint (RFC 7009). If the provider
// says that the token does not exist, also by a 404 or 410, the token counts as
// revoked. The errors are the same as those of Mint.
func (c *Client) Revoke(ctx context.Context, r Request) error {
	got, err := c.exchange(ctx, r)
	if err != nil {
		return err
	}
	if got.ok() {
		return nil
	}
	defer c.startReading(ctx, got)()
	now := c.now()
	doc, refreshTokens := r.Answer.read(got, now)
	e := readError(r, got, doc, now, r.redactor(got.sent).with(refreshTokens))
	switch {
	case e.Code == codeInvalidToken, e.GrantRefused(), got.status == http.StatusNotFound, got.status == http.StatusGone:
		return nil
	}
	return r.about(e)
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
