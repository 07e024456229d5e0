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
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"golang.org/x/sync/semaphore"
)

// Limits of one token request.
const (
	maxBody    = 1 << 20     // bytes read of an answer, at most
	maxReading = 2 * maxBody // bytes of answers that are made sense of at a time
	maxHeader  = 256 << 10
	maxRetries = 2 // after the first attempt
	retryWait  = 200 * time.Millisecond
)

// Request is one token request with nothing left to resolve: every value is
// literal and is sent as it stands.
type Request struct {
	URL    string     // absolute; a query in it is kept
	Field  string     // of the API, that holds the URL: what errors say to check; "" is token_url
	Method string     // http.MethodPost or http.MethodGet
	Format Format     // where the parameters go
	Auth   AuthMethod // how the client authenticates

	// DPoP has the token bound to a key (RFC 9449); nil does not.
	DPoP *DPoP

	// ClientAssertion is what the methods by JWT show; nil for others.
	ClientAssertion *Assertion

	// GrantAssertion is what the JWT bearer grant sends, or, without it,
	// Assertion: one that was made elsewhere.
	GrantAssertion *Assertion
	Assertion      string

	// BasicRaw leaves the credentials of HTTP Basic as they are. RFC 6749
	// section 2.3.1 form-urlencodes them first; real servers split on it.
	BasicRaw bool

	GrantType      string // "" sends no grant_type
	ClientID       string
	ClientSecret   string
	Username       string // sent when GrantType is "password"
	Password       string
	RefreshToken   string    // sent when GrantType is "refresh_token"
	Subject        Exchanged // what a token exchange is about, and who acts
	Actor          Exchanged
	Scopes         []string
	ScopeSeparator string // ScopeList sends a list

	// Parameters are sent beside the standard ones. In a form a list repeats
	// the parameter and an object is JSON text; in JSON they stay as they are.
	Parameters map[string]any

	// Names renames standard parameters; an empty name leaves one out.
	Names map[string]string

	// PercentSpaces writes a space in a form or a query as %20, and not as +.
	PercentSpaces bool

	// Headers are sent by their names as they are written here, as far as HTTP/1.1
	// is spoken: some servers insist. HTTP/2 has lower-case names alone.
	Headers map[string]string

	// Body is the whole body where Format is Template: nothing is added to it,
	// and Headers say what it is.
	Body string

	Answer Answer

	// Secrets are values that nothing may repeat, beyond the credentials above.
	// Composed are texts made of one, as they are sent: no part of them by
	// itself is secret, but none of them is handed out whole.
	Secrets  []string
	Composed []string

	// Brought says that the request holds what one of many callers brought: what
	// it is refused for may be the matter with that.
	Brought bool

	// Spends says that the grant uses something up (a rotating refresh token),
	// so that it is not sent again once a connection was there.
	Spends bool

	Timeout time.Duration // for the whole mint, retries included

	// Observed is told what the exchange was like, however it ended; nil is
	// nobody.
	Observed func(Exchange)

	// Anew makes the request for each attempt anew, where what it sends differs
	// from one to the next; nil otherwise. What is sent is what it gives; how the
	// answer is read stays as it is here.
	Anew func(now time.Time) (Request, error)

	Connection

	known *prepared // nil before Prepare
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

	// Template sends the Body as it is, and no parameters.
	Template Format = "template"
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

// Close lets go of idle connections.
func (c *Client) Close() { c.transports.closeIdle() }

// Mint runs the grant. It asks the provider once, and again (twice at most)
// only after a failed connection or a 502, 503 or 504 that asks for no wait.
// It answers within r.Timeout. Every error is an *Error, except that ctx was
// cancelled.
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

// reply is what came back, read.
type reply struct {
	status int
	header http.Header
	body   []byte
	sent   *attempt // that it is the answer to
}

func (r reply) ok() bool { return r.status >= 200 && r.status < 300 }

// startReading waits until there is room to make sense of an answer, which can
// take much more memory than it has bytes. It gives what ends it. Reading takes
// no more than a moment, and an answer may hold what cannot be had again, so
// that ctx being cancelled does not end the wait.
func (c *Client) startReading(ctx context.Context, got reply) func() {
	size := len(got.body)
	for name, values := range got.header {
		size += len(name) + len(strings.Join(values, ""))
	}
	weight := min(int64(size), maxReading)
	if c.reading.Acquire(context.WithoutCancel(ctx), weight) != nil {
		return func() {} // never: no answer is larger than the room
	}
	return func() { c.reading.Release(weight) }
}

// sentAt is when the request was sent; now for one that was not.
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

// exchange sends r and reads what comes back.
func (c *Client) exchange(ctx context.Context, r Request) (reply, error) {
	got, err := c.send(ctx, r)
	return got, r.about(err)
}

// about has an error name the field that holds r's URL.
func (r Request) about(err error) error {
	var failed *Error
	if r.Field != "" && errors.As(err, &failed) {
		failed.Detail = strings.ReplaceAll(failed.Detail, "token_url", r.Field)
	}
	return err
}

func (c *Client) send(ctx context.Context, r Request) (reply, error) {
	caller, start := ctx, c.now()
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()

	transport, err := c.transports.of(r.Connection)
	if err != nil {
		return reply{}, err
	}
	sender := &sender{transport: transport, request: r, client: c}
	if r.Observed != nil {
		defer func() { r.Observed(sender.exchange(c.now().Sub(start))) }()
	}
	outline, err := retryablehttp.NewRequestWithContext(ctx, r.Method, r.URL, nil)
	if err != nil {
		return reply{}, &Error{Kind: Misconfigured, Detail: "token_url is no URL"}
	}
	resp, err := retrying(sender, r.Spends, c.retryWait, c.now).Do(outline)
	if resp != nil {
		// The end of a context does not end the reading of every body: not of
		// one whose connection changed hands, as with a 101.
		stop := context.AfterFunc(ctx, func() { _ = resp.Body.Close() })
		defer func() { stop(); _ = resp.Body.Close() }()
	}
	if err == nil {
		switch {
		case resp.StatusCode < 200:
			return reply{}, &Error{Kind: Unintelligible, Status: resp.StatusCode, Detail: "it changes to another protocol instead of answering; check token_url"}
		case resp.StatusCode == http.StatusProxyAuthRequired:
			return reply{}, r.Proxy.refusal(resp.StatusCode)
		}
		got := reply{status: resp.StatusCode, header: resp.Header, sent: sender.last}
		got.body, err = readBounded(resp.Body)
		switch {
		case err == nil && ctx.Err() != nil && endsWithConnection(resp):
			err = ctx.Err() // its end may be ours
		case err == nil:
			return got, nil
		}
		if ctx.Err() == nil && !got.ok() {
			return reply{status: got.status, header: got.header, sent: got.sent}, nil // the status says enough
		}
	}
	switch caller.Err() {
	case context.Canceled:
		return reply{}, context.Canceled
	case context.DeadlineExceeded:
		return reply{}, &Error{Kind: TooSlow, Detail: "no answer in time"}
	}
	if ctx.Err() != nil {
		err = ctx.Err() // whatever broke because of it
	}
	return reply{}, transportError(err, r, c.now())
}

// endsWithConnection says whether nothing but the end of the connection ends the
// answer's body (RFC 9112 section 6.3).
func endsWithConnection(r *http.Response) bool {
	return r.ProtoMajor == 1 && r.ContentLength < 0 && len(r.TransferEncoding) == 0
}

// Revoke asks a revocation endpoint (RFC 7009), once. A token that the provider
// says is gone counts as revoked, also when it says so with a 404 or 410. Its
// errors are those of Mint.
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
	case e.Code == "invalid_token", e.GrantRefused(), got.status == http.StatusNotFound, got.status == http.StatusGone:
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
