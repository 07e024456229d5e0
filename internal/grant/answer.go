// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Answer says how to read a provider's answer. Each pointer is a list of
// candidates: the first that leads to a usable value is taken.
type Answer struct {
	AccessToken      []Pointer
	ExpiresIn        []Pointer
	ExpiresInUnit    time.Duration // of a bare number; 0 is a second
	ExpiresAt        []Pointer
	Moment           Moment // of expires_at
	TokenType        []Pointer
	Scope            []Pointer
	RefreshToken     []Pointer
	Error            []Pointer
	ErrorDescription []Pointer
	Extra            map[string]Pointer // further members for the reader, by the reader's name

	DefaultTokenType string
	DefaultLifetime  time.Duration // 0: an answer that states no lifetime is an error
	ScopeSeparator   string        // of the request; answers use it, a space, a comma or a list
}

// readAnswer makes a token, or a classified error, of a provider's answer.
func readAnswer(r Request, got reply, now time.Time, redact redactor) (*Token, error) {
	doc, refreshTokens := r.Answer.read(got, now)
	t, at, found := r.Answer.accessToken(doc)
	var e *Error
	if got.ok() && found {
		e = readToken(r, t, at, doc, now, redact.answerFilter(got.body, refreshTokens))
		if e == nil {
			return t, nil
		}
		e.Status = got.status
	} else {
		redact = redact.with(refreshTokens)
		e = readError(r, got, doc, now, redact)
		if got.ok() && e.Kind == Unintelligible {
			e.Detail = r.Answer.withoutToken(doc, redact)
		}
	}
	if got.ok() {
		e.next, _ = first(doc, r.Answer.RefreshToken, tokenText)
	}
	return nil, e
}

// read gives an answer as pointers look into it, with the refresh tokens in it.
func (a Answer) read(got reply, now time.Time) (document, []string) {
	doc := got.document()
	doc.ahead = clockAhead(got.header, got.sentAt(now), now)
	refreshTokens, ok := a.refreshTokens(doc)
	if !ok {
		doc = document{body: tooMuch}
	}
	return doc, refreshTokens
}

// readError makes a classified error of an answer that holds no token.
func readError(r Request, got reply, doc document, now time.Time, redact redactor) *Error {
	for _, p := range r.Answer.AccessToken { // a token is shown to readers, and to nobody else
		if v, found := doc.lookup(p); found {
			if text, isText := stringText(textOf(v)); isText {
				redact = redact.with([]string{text})
			}
		}
	}
	e := &Error{Status: got.status, Page: doc.body == page}
	e.Code, _ = first(doc, r.Answer.Error, errorText)
	e.Kind = kindOf(e.Status, e.Code)
	e.heed(got.header, now)
	description, found := first(doc, r.Answer.ErrorDescription, errorText)
	if found && description != e.Code {
		e.Description = redact.text(description)
	}
	asserts := (r.ClientAssertion != nil || r.GrantAssertion != nil) && e.Code != CodeInvalidProof
	if (asserts || r.DPoP != nil) && ofTime(e.Code+" "+description) {
		var differ bool
		if e.Detail, differ = clocks(got.header, now, asserts); differ {
			e.cause = CauseClock
		}
	}
	e.Code = redact.text(e.Code)
	ofCertificate := e.Kind == Refused && strings.Contains(strings.ToLower(e.Description), "certificate")
	if e.ClientRefused() || e.GrantRefused() && r.GrantAssertion != nil || ofCertificate {
		e.Showed = r.showed(redact, now, ofCertificate)
	}
	if e.Kind == Unintelligible {
		e.Detail = "a redirect or an unknown status; redirects are never followed: set token_url to the final address"
	}
	return e
}

// readToken completes the token that stands at that place of doc. A credential
// is never handed out: not as the token, and of the rest what holds one is left
// out.
func readToken(r Request, t *Token, at Pointer, doc document, now time.Time, f *filter) *Error {
	a := r.Answer
	if f.repeats(t.AccessToken) {
		return &Error{Kind: Misconfigured, Detail: fmt.Sprintf("what stands at %q is no access token: it is the refresh token, "+
			"or repeats a credential of the request; set access_token_pointer to where the access token stands, "+
			"and move from the secret fields of the config what is no secret", string(at))}
	}
	t.IssuedAt = now
	if f.repeats(t.TokenType) {
		t.TokenType = a.DefaultTokenType
	}
	t.RefreshToken, _ = first(doc, a.RefreshToken, tokenText)
	t.Scope = strings.Join(r.Scopes, " ") // RFC 6749 section 5.1: unsaid is as asked
	scopes := func(v any) (string, bool) {
		text, ok := a.scopes(v)
		return text, ok && !f.repeats(v) && !f.repeats(text)
	}
	if granted, found := first(doc, a.Scope, scopes); found {
		t.Scope = granted
	}
	for _, name := range slices.Sorted(maps.Keys(a.Extra)) {
		v, found := doc.lookup(a.Extra[name])
		if !found || v == nil || f.repeats(v) {
			continue
		}
		if t.Extra == nil {
			t.Extra = map[string]any{}
		}
		t.Extra[name] = v
	}
	return a.expire(t, doc, now, f)
}

// accessToken finds the token, with its type, and says where it stands.
func (a Answer) accessToken(doc document) (*Token, Pointer, bool) {
	kind, found := first(doc, a.TokenType, tokenText)
	if !found {
		kind = a.DefaultTokenType
	}
	for _, p := range a.AccessToken {
		v, found := doc.lookup(p)
		v = textOf(v)
		if n, isNumber := v.(json.Number); isNumber && p == "" {
			v = n.String() // an unquoted token that happens to look like a number
		}
		if text, isText := v.(string); found && isText {
			if text, usable := tokenText(withoutScheme(text, kind)); usable {
				return &Token{AccessToken: text, TokenType: kind}, p, true
			}
		}
	}
	return nil, "", false
}

// withoutScheme is a token without the scheme that some servers write before it,
// which an Authorization header would then have twice.
func withoutScheme(text, kind string) string {
	if scheme, rest, found := strings.Cut(text, " "); found && strings.EqualFold(scheme, kind) {
		return rest
	}
	return text
}

// first gives the first candidate that read accepts.
func first[T any](doc document, candidates []Pointer, read func(any) (T, bool)) (T, bool) {
	for _, p := range candidates {
		if v, found := doc.lookup(p); found {
			if out, ok := read(textOf(v)); ok {
				return out, true
			}
		}
	}
	var none T
	return none, false
}

func present(v any) (any, bool) { return v, v != nil && v != "" }

func stringText(v any) (string, bool) {
	s, ok := v.(string)
	return s, ok && s != ""
}

// tokenText accepts what can stand in an Authorization header (RFC 6750
// section 2.1, more loosely): visible ASCII.
func tokenText(v any) (string, bool) {
	s, ok := stringText(v)
	return s, ok && !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' })
}

func errorText(v any) (string, bool) {
	if n, ok := v.(json.Number); ok {
		return n.String(), true
	}
	return stringText(v)
}

// scopes reads a scope in either separator, or an array, as RFC 6749 writes it.
func (a Answer) scopes(v any) (string, bool) {
	var parts []string
	switch v := v.(type) {
	case string:
		if sep := a.ScopeSeparator; sep != "" && sep != ScopeList {
			v = strings.ReplaceAll(v, sep, " ")
		}
		parts = strings.FieldsFunc(v, func(c rune) bool { return c == ' ' || c == ',' })
	case []any:
		for _, item := range v {
			s, ok := item.(string)
			if !ok {
				return "", false
			}
			parts = append(parts, s)
		}
	default:
		return "", false
	}
	return strings.Join(parts, " "), true
}
