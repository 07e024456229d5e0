// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	statsPath = "/_stats"
	maxBody   = 1 << 20
	// A limit, so that a benchmark does not fill the memory with records that
	// nobody reads.
	maxRecorded = 10_000
)

// Server is a running token endpoint. Its methods may be called from several
// goroutines at once.
//
// GET /_stats on a dialect's server answers {"requests":n,"issued":n}: the
// values of Requests and IssuedCount. That request itself is not recorded.
type Server struct {
	// Set before the server listens, and not changed afterwards.
	options                   Options
	dialect                   dialect     // nil if custom is set
	custom                    HandlerFunc // nil if dialect is set
	tokenPath, revocationPath string
	nonce                     string // for DPoP proofs
	base                      string
	ca                        string
	http                      http.Server
	client                    http.Client

	serving sync.WaitGroup
	closing sync.Once
	done    chan struct{} // closed by Close: releases requests that hang

	mu            sync.Mutex
	closed        bool
	handlers      sync.WaitGroup // Add only under mu while not closed
	credentials   Credentials
	queue         []Behavior
	recorded      []Request
	tokenRequests int
	revocations   int
	issued        []string
	revoked       []string
	tokens        map[string]*accessToken
	refresh       map[string][]string // refresh token to its scopes
	keys          clientKeys
	documents     map[string]*document // by path
}

// Request is one request as the server received it.
type Request struct {
	Time                         time.Time
	Method, Host, Path, RawQuery string
	Header                       http.Header
	Body                         string
	Certificate                  []byte // the client's TLS certificate, DER; nil without one
}

// Form returns the parameters in the body, which is a form or a JSON object. Of
// a JSON object it returns the members that are strings. It leaves out what it
// cannot parse.
func (r Request) Form() url.Values {
	if !strings.HasPrefix(strings.TrimSpace(r.Body), "{") {
		values, _ := url.ParseQuery(r.Body)
		return values
	}
	var members map[string]any
	values := url.Values{}
	if json.Unmarshal([]byte(r.Body), &members) == nil {
		for name, value := range members {
			if text, ok := value.(string); ok {
				values.Set(name, text)
			}
		}
	}
	return values
}

func (s *Server) setDialect(d dialect, tokenPath, revocationPath string, scopes ...string) {
	s.dialect, s.tokenPath, s.revocationPath = d, tokenPath, revocationPath
	if s.options.Scopes == nil {
		s.options.Scopes = scopes
	}
}

func (s *Server) listen() error {
	transport := &http.Transport{ForceAttemptHTTP2: true}
	var listener net.Listener
	if wire := s.options.Wire; wire != nil {
		listener, transport.DialContext = wire.listen(), wire.DialContext
	} else {
		var err error
		if listener, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", s.options.Listen); err != nil {
			return fmt.Errorf("listen: %w", err)
		}
	}
	s.http.Handler = http.HandlerFunc(s.serve)
	s.http.ReadHeaderTimeout = 10 * time.Second
	s.base = "http://" + listener.Addr().String()
	s.client.Transport = transport
	s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if !s.options.TLS {
		s.serving.Go(func() { _ = s.http.Serve(listener) }) // It ends with ErrServerClosed.
		return nil
	}
	authority, err := newAuthority(s.options.Host)
	if err != nil {
		_ = listener.Close()
		return err
	}
	s.base = "https://" + listener.Addr().String()
	s.ca = authority.pem
	s.http.TLSConfig = authority.server
	transport.TLSClientConfig = authority.client
	s.serving.Go(func() { _ = s.http.ServeTLS(listener, "", "") }) // It ends with ErrServerClosed.
	return nil
}

// Nobody is an address where nobody listens. A port that was closed may be given to
// another test's server; one below 1024 is given to no server that asks for a free
// port.
const Nobody = "127.0.0.1:1"

// Close stops the server. It cuts off requests in progress, releases those that
// hang, and returns when no handler is running. It may be called twice.
func (s *Server) Close() {
	s.closing.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		close(s.done)
		_ = s.http.Close()
		s.client.CloseIdleConnections()
	})
	s.serving.Wait()
	s.handlers.Wait()
}

// URL returns the server's address: scheme, host and port.
func (s *Server) URL() string { return s.base }

// TokenURL returns the URL of the token endpoint, with the documented path.
func (s *Server) TokenURL() string { return s.base + s.tokenPath }

// RevocationURL returns the URL of the RFC 7009 endpoint, or "" where the
// dialect has none. Only Cognito, Semansys and RFC6749 have one. It
// authenticates clients in the same way as the token endpoint, and accepts
// access and refresh tokens.
func (s *Server) RevocationURL() string {
	if s.revocationPath == "" {
		return ""
	}
	return s.base + s.revocationPath
}

// CACertificate returns the PEM of the authority that signed the server's
// certificate, or "" without TLS.
func (s *Server) CACertificate() string { return s.ca }

// Client returns a client that trusts the server's certificate, returns
// redirects instead of following them, and has no timeout. Close closes its
// idle connections.
func (s *Server) Client() *http.Client { return &s.client }

// Credentials returns the credentials that the server accepts now.
func (s *Server) Credentials() Credentials {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.credentials
}

// SetCredentials changes the credentials that the server accepts from the next
// request on. Each member that is set replaces the old value, which is then
// refused. Tokens that were already issued stay valid.
func (s *Server) SetCredentials(c Credentials) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.credentials = s.credentials.with(c)
}

// Requests returns how many requests reached the token endpoint, with whatever
// result. A request counts once it has been read, before any delay.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokenRequests
}

// RevocationRequests returns how many requests reached the revocation endpoint,
// with whatever result.
func (s *Server) RevocationRequests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revocations
}

// All returns the requests that the server received on any path, oldest first.
// It keeps only the latest 10,000.
func (s *Server) All() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.recorded[max(0, len(s.recorded)-maxRecorded):])
}

// Last returns the latest request on any path, or the zero value.
func (s *Server) Last() Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.recorded) == 0 {
		return Request{}
	}
	return s.recorded[len(s.recorded)-1]
}

// Reset ends all behaviors and forgets what was recorded and counted: requests,
// issued tokens and revoked tokens. The validity of tokens and the credentials
// do not change.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue, s.recorded, s.issued, s.revoked = nil, nil, nil, nil
	s.tokenRequests, s.revocations = 0, 0
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	s.handlers.Add(1)
	s.mu.Unlock()
	defer s.handlers.Done()

	if s.dialect != nil && r.URL.Path == statsPath && r.Method == http.MethodGet {
		writeJSON(w, http.StatusOK, map[string]int{"requests": s.Requests(), "issued": s.IssuedCount()})
		return
	}
	// Read the whole body first: net/http notices that a client has gone away
	// only after the body has been read.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "unreadable request body", http.StatusBadRequest)
		return
	}
	in := Request{
		Time: s.options.Now(), Method: r.Method, Host: r.Host, Path: r.URL.Path, RawQuery: r.URL.RawQuery,
		Header: r.Header.Clone(), Body: string(body),
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		in.Certificate = r.TLS.PeerCertificates[0].Raw
	}
	if s.misbehave(w, r, in, s.receive(in)) {
		return
	}
	published := s.published(in.Path)
	switch {
	case published != nil:
		s.publish(w, in, published)
	case s.custom != nil && s.isToken(in.Path):
		r.Body = io.NopCloser(bytes.NewReader(body))
		s.custom(w, r, body)
	case s.custom != nil:
		http.NotFound(w, r)
	case s.isToken(in.Path):
		answer, refused := s.dialect.token(in)
		s.answer(w, answer, refused)
	default:
		answer, refused := s.elsewhere(in)
		s.answer(w, answer, refused)
	}
}

// elsewhere answers requests that are not token requests.
func (s *Server) elsewhere(in Request) (any, *refusal) {
	if by, revokes := s.dialect.(revoker); revokes && s.isRevocation(in.Path) {
		return nil, s.revoke(in, by)
	}
	if api, serves := s.dialect.(resourceServer); serves {
		return api.resource(in)
	}
	return nil, &refusal{status: http.StatusNotFound, code: "not_found", text: "No such endpoint"}
}

// receive records a request and removes the behavior that applies to it from
// the queue.
func (s *Server) receive(in Request) Behavior {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.recorded) >= 2*maxRecorded {
		s.recorded = slices.Clone(s.recorded[len(s.recorded)-maxRecorded:])
	}
	s.recorded = append(s.recorded, in)
	switch {
	case s.documents[in.Path] != nil:
		s.documents[in.Path].reads++
	case s.isToken(in.Path):
		s.tokenRequests++
	case s.isRevocation(in.Path):
		s.revocations++
	default:
		return Behavior{}
	}
	return s.nextBehavior(in)
}

func (s *Server) isToken(path string) bool {
	return path == s.tokenPath ||
		s.custom != nil && strings.HasSuffix(s.tokenPath, "/") && strings.HasPrefix(path, s.tokenPath)
}

func (s *Server) isRevocation(path string) bool {
	return s.revocationPath != "" && path == s.revocationPath
}

// answer writes the refusal in the dialect's format if there is one, and
// otherwise a 200 with body.
func (s *Server) answer(w http.ResponseWriter, body any, refused *refusal) {
	// RFC 6749, 5.1: answers that hold a token must have these headers.
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
	switch {
	case refused != nil:
		if refused.challenge != "" {
			w.Header().Set("WWW-Authenticate", refused.challenge)
		}
		if refused.nonce != "" {
			w.Header().Set("DPoP-Nonce", refused.nonce)
		}
		if refused.status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", http.MethodPost)
		}
		writeJSON(w, refused.status, s.dialect.errorBody(refused))
	case body != nil:
		writeJSON(w, http.StatusOK, body)
	default:
		w.WriteHeader(http.StatusOK)
	}
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(body) // The client may have gone away.
}
