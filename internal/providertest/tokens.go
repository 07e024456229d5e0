// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"crypto/rand"
	"encoding/hex"
	"slices"
	"time"
)

type accessToken struct {
	expires time.Time
	revoked bool
}

// bearer is the token answer of RFC 6749, 5.1.
type bearer struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type,omitempty"`
	ExpiresIn    int64  `json:"expires_in"`
	RefreshToken string `json:"refresh_token,omitempty"`
	Scope        string `json:"scope,omitempty"`
}

// Issued returns the access tokens that the server issued, oldest first.
func (s *Server) Issued() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.issued)
}

// IssuedCount returns how many access tokens the server issued.
func (s *Server) IssuedCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.issued)
}

// Revoked returns the access and refresh tokens that were valid until a client
// revoked them, oldest first.
func (s *Server) Revoked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.revoked)
}

// Valid reports whether an API would accept the access token now: the server
// issued it, it has not expired, and nobody has revoked it.
func (s *Server) Valid(token string) bool {
	now := s.options.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.tokens[token]
	return ok && !t.revoked && now.Before(t.expires)
}

// issue makes a new access token valid and returns its expiry time.
func (s *Server) issue(token string) time.Time {
	expires := s.options.Now().Add(s.options.Lifetime)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.issued = append(s.issued, token)
	s.tokens[token] = &accessToken{expires: expires}
	return expires
}

func (s *Server) expiresIn() int64 { return int64(s.options.Lifetime / time.Second) }

// newRefreshToken returns a new refresh token for the scopes.
func (s *Server) newRefreshToken(scopes []string) string {
	token := newRefreshToken()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh[token] = scopes
	return token
}

// refreshScopes returns the scopes of a refresh token, and reports whether the
// token is valid.
func (s *Server) refreshScopes(token string) ([]string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	scopes, ok := s.refresh[token]
	return scopes, ok
}

// useRefreshToken returns the token to use next time, and reports whether this
// one was valid. When tokens rotate, only one of two concurrent uses succeeds.
func (s *Server) useRefreshToken(token string) (next string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	scopes, ok := s.refresh[token]
	if !ok || !s.options.RotateRefreshTokens {
		return token, ok
	}
	next = newRefreshToken()
	delete(s.refresh, token)
	s.refresh[next] = scopes
	return next, true
}

func newRefreshToken() string { return "refresh-" + rand.Text() + rand.Text() }

// revoke implements RFC 7009. The real Cognito revokes only refresh tokens.
// Here it accepts access tokens like the other dialects, because it issues
// nothing else.
func (s *Server) revoke(in Request, by revoker) *refusal {
	form, refused := by.authenticate(in, "token", "token_type_hint")
	if refused == nil {
		refused = require(form, "token")
	}
	if refused != nil {
		return refused
	}
	// The hint does not restrict the search (section 2.1). A token that the
	// server does not know counts as revoked already (section 2.2).
	token := form.Get("token")
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.tokens[token]; ok && !t.revoked {
		t.revoked = true
		s.revoked = append(s.revoked, token)
	}
	if _, ok := s.refresh[token]; ok {
		delete(s.refresh, token)
		s.revoked = append(s.revoked, token)
	}
	return nil
}

// rfcError returns the error body of RFC 6749, 5.2, which several dialects use.
func rfcError(f *refusal) any {
	return map[string]string{"error": f.code, "error_description": f.text}
}

func invalidClient(status int) *refusal {
	return &refusal{status: status, code: "invalid_client", text: "Client authentication failed"}
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // It never fails.
	return hex.EncodeToString(b)
}
