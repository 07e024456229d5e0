// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

// Package providertest runs token endpoints for tests and demonstrations. There
// is one server per documented provider dialect: a real HTTP or HTTPS server on
// the loopback interface that refuses everything that its provider's document
// does not allow. A client that works with these servers follows the documents.
// Some real providers also accept sloppy requests; these servers do not.
//
//	server := providertest.Start(t, providertest.Antsomi, providertest.Options{})
//	// ask server.TokenURL(), then look at server.Last(), server.IssuedCount(), ...
//
// A server can also misbehave on request ([Server.Behave]), and [StartFunc]
// serves an invented dialect with the same recording and misbehavior.
package providertest

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"
)

// Dialect names the protocol of one provider: how its token endpoint expects
// requests, and how it answers them.
type Dialect string

// The dialects of clients that have a secret. Antsomi to XCover are documented
// by their providers. RFC6749 is an authorization server that follows the
// standard, and accepts client_credentials, password and refresh_token grants.
const (
	Antsomi  Dialect = "antsomi"
	Cognito  Dialect = "cognito"
	Fuuffy   Dialect = "fuuffy"
	Semansys Dialect = "semansys"
	XCover   Dialect = "xcover"
	RFC6749  Dialect = "rfc6749"
)

// Dialects returns every dialect whose client has a secret and no key: the
// documented ones first, then RFC6749.
func Dialects() []Dialect {
	return []Dialect{Antsomi, Cognito, Fuuffy, Semansys, XCover, RFC6749}
}

// Options state how a server differs from its dialect's default. The zero value
// is a server as documented, over plain HTTP, with [DefaultCredentials].
type Options struct {
	// ClientID, ClientSecret, Username and Password are what the server
	// accepts. An empty field means the value in DefaultCredentials. Only the
	// Semansys and RFC6749 dialects have users with passwords; for Google and
	// Salesforce, Username is the user that the client may act for.
	ClientID, ClientSecret, Username, Password string

	// Lifetime of the tokens; 0 means one hour. Answers with expires_in state
	// it in whole seconds, rounded down.
	Lifetime time.Duration

	// Scopes that the server knows; nil means the documented ones. Fuuffy and
	// XCover have no scopes.
	Scopes []string

	// TLS serves HTTPS with a certificate for the loopback addresses and
	// "localhost". Its authority is made for this server alone and returned by
	// Server.CACertificate.
	TLS bool

	// RotateRefreshTokens (Semansys, RFC6749) allows each refresh token to be
	// used once; the answer holds the next one. Otherwise a refresh token stays
	// valid: Semansys then returns the same one again, and RFC6749 returns no
	// refresh token.
	RotateRefreshTokens bool

	// Host (for the dialects with keys) is the name by which clients know the
	// server. It is the name in the server's certificate, in the requests that
	// reach the server, and in what clients sign. Empty means the server's
	// address.
	Host string

	// Listen is the TCP address; empty means "127.0.0.1:0".
	Listen string

	// Wire, if set, is the network that the server listens on instead of TCP.
	Wire *Wire

	// Now is the server's clock; nil means time.Now. It may be called from
	// several goroutines at once. Delays do not use this clock.
	Now func() time.Time

	// DataAsString (Fuuffy) makes "data" a string that holds a JSON object, as
	// in the document's response schema. Otherwise "data" is the object itself,
	// as in the document's sample.
	DataAsString bool

	// FlatErrors (Fuuffy) puts the members of an error at the top level, as the
	// schema of some statuses says, instead of under "error".
	FlatErrors bool

	// ExpiredJWT (XCover) sets the access token's own "exp" claim in the past.
	// The server and Valid ignore that claim and use expires_in, as the
	// document does.
	ExpiredJWT bool

	// ExtraParameters (RFC6749) are further parameters that the server accepts
	// and ignores, each any number of times, such as "audience" or RFC 8707's
	// "resource". RFC 6749 tells servers to ignore all unknown parameters. This
	// server refuses every other unknown parameter, so that a test notices when
	// a client sends one without being told to.
	ExtraParameters []string

	// Subjects (RFC6749) has the server exchange tokens (RFC 8693), and act on
	// behalf of users as Microsoft's does: it says whom a subject token, an actor
	// token or an assertion is of, and whether it is good. See ReadExchanged.
	Subjects func(token string) (name string, ok bool)
}

// Credentials are what a client identifies itself with and, where the dialect
// has users, what a user identifies itself with.
type Credentials struct {
	ClientID, ClientSecret, Username, Password string
}

// DefaultCredentials returns the credentials that a server of the dialect
// accepts when its options name none. They are clearly samples, differ between
// dialects, and contain characters that are easy to encode wrongly. Username
// and Password are empty for a dialect without users.
func DefaultCredentials(d Dialect) Credentials {
	switch d {
	case Antsomi:
		return Credentials{ClientID: "sample-antsomi-client", ClientSecret: "sample antsomi+secret&a=%41/ü"}
	case Cognito:
		// No colon in the ID: an unencoded Basic header cannot carry one there.
		return Credentials{ClientID: "sample-cognito-client", ClientSecret: "sample cognito+secret&a=%2B/ü:x"}
	case Fuuffy:
		return Credentials{ClientID: "sample-fuuffy-client", ClientSecret: "sample fuuffy+secret&a=%26/ö"}
	case Semansys:
		return Credentials{
			ClientID:     "sample-semansys-client",
			ClientSecret: "sample semansys+secret&a=%3D/ä",
			Username:     "sample.user+semansys@example.com",
			Password:     "sample semansys+password&a=%20/'ß",
		}
	case XCover:
		return Credentials{ClientID: "sample-xcover-client", ClientSecret: "sample xcover+secret&a=%22/\"<ü>\\"}
	case ADP:
		return Credentials{ClientID: "7c0e1f2a-sample-adp-client", ClientSecret: "sample-adp-secret"}
	case Entra:
		return Credentials{ClientID: "535fb089-9ff3-47b6-9bfb-4f1264799865"}
	case Google:
		return Credentials{ClientID: "robot@sample-project.iam.gserviceaccount.com"}
	case Okta:
		return Credentials{ClientID: "0oasampleoktaclient"}
	case Salesforce:
		return Credentials{ClientID: "3MVG9sample.salesforce_consumer.key", Username: "integration@acme.example"}
	case RFC6749:
		return Credentials{
			ClientID:     "sample client:rfc6749/ü",
			ClientSecret: "sample rfc6749+secret&a=%3A/ü:x",
			Username:     "sample user+rfc6749",
			Password:     "sample rfc6749+password&a=%25/ü",
		}
	default:
		return Credentials{}
	}
}

// Start runs a server of the dialect until the test and its subtests end. It
// fails the test when the server cannot start.
func Start(tb testing.TB, d Dialect, o Options) *Server {
	tb.Helper()
	s, err := New(d, o)
	if err != nil {
		tb.Fatalf("start the %s token endpoint: %v", d, err)
	}
	tb.Cleanup(s.Close)
	return s
}

// New runs a server of the dialect until Close is called. It returns an error
// for an unknown dialect, a negative lifetime, and an address that it cannot
// listen on.
func New(d Dialect, o Options) (*Server, error) {
	o.TLS = o.TLS || slices.Contains(KeyDialects(), d)
	s, err := newServer(o, DefaultCredentials(d))
	if err != nil {
		return nil, err
	}
	switch d {
	case Antsomi:
		s.setDialect(antsomi{s}, "/oauth/token", "", "item", "event", "profile", "promotion")
	case Cognito:
		s.setDialect(cognito{s}, "/oauth2/token", "/oauth2/revoke", "api/write")
	case Fuuffy:
		s.setDialect(fuuffy{s}, "/v1/auth/token", "")
	case Semansys:
		// The document names neither a path nor a scope.
		s.setDialect(semansys{s}, "/token", "/revoke", "api")
	case XCover:
		s.setDialect(xcover{s}, "/api/oauth/token", "")
	case RFC6749:
		s.setDialect(rfc6749{s}, "/oauth2/token", "/oauth2/revoke", "read", "write", "admin")
	default:
		if !s.setKeyDialect(d) {
			return nil, fmt.Errorf("unknown dialect %q", d)
		}
	}
	if err := s.listen(); err != nil {
		return nil, err
	}
	return s, nil
}

// HandlerFunc answers one request of an invented dialect. body is the whole
// request body, which can still be read from the request as well.
type HandlerFunc func(w http.ResponseWriter, r *http.Request, body []byte)

// StartFunc is like Start for an invented dialect: h answers the requests to
// path, the token endpoint. A path that ends in a slash includes everything
// below it. The server records and misbehaves like any other. It issues no
// tokens of its own, so Issued, Valid and other methods about tokens report
// none.
func StartFunc(tb testing.TB, path string, h HandlerFunc) *Server {
	tb.Helper()
	return StartFuncOver(tb, nil, path, h)
}

// StartFuncOver is like StartFunc, for a server on a Wire.
func StartFuncOver(tb testing.TB, w *Wire, path string, h HandlerFunc) *Server {
	tb.Helper()
	s, err := NewFunc(path, Options{Wire: w}, h)
	if err != nil {
		tb.Fatalf("start the token endpoint %s: %v", path, err)
	}
	tb.Cleanup(s.Close)
	return s
}

// NewFunc is like StartFunc, but runs until Close and takes options. Only TLS,
// Listen, Wire and Now have an effect.
func NewFunc(path string, o Options, h HandlerFunc) (*Server, error) {
	s, err := newServer(o, Credentials{})
	if err != nil {
		return nil, err
	}
	s.custom, s.tokenPath = h, path
	if err := s.listen(); err != nil {
		return nil, err
	}
	return s, nil
}

func newServer(o Options, c Credentials) (*Server, error) {
	if o.Lifetime < 0 {
		return nil, fmt.Errorf("negative lifetime %s", o.Lifetime)
	}
	if o.Lifetime == 0 {
		o.Lifetime = time.Hour
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Scopes = slices.Clone(o.Scopes)
	o.ExtraParameters = slices.Clone(o.ExtraParameters)
	authority, err := newSigner("providertest client authority")
	if err != nil {
		return nil, err
	}
	c = c.with(Credentials{ClientID: o.ClientID, ClientSecret: o.ClientSecret, Username: o.Username, Password: o.Password})
	return &Server{
		options:     o,
		credentials: c,
		nonce:       rand.Text(),
		keys:        clientKeys{authority: authority, used: map[string]bool{}, bound: map[string]string{}},
		done:        make(chan struct{}),
		tokens:      make(map[string]*accessToken),
		refresh:     make(map[string][]string),
		documents:   make(map[string]*document),
	}, nil
}

// with returns a copy of c in which the members that are set in other replace
// the old values.
func (c Credentials) with(other Credentials) Credentials {
	replace := func(old *string, next string) {
		if next != "" {
			*old = next
		}
	}
	replace(&c.ClientID, other.ClientID)
	replace(&c.ClientSecret, other.ClientSecret)
	replace(&c.Username, other.Username)
	replace(&c.Password, other.Password)
	return c
}
