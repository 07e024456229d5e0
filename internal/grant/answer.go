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

// Answer describes how to read a provider's answer. Each list of pointers is a
// list of candidates: the first one that leads to a usable value is used.
type Answer struct {
	AccessToken      []Pointer
	ExpiresIn        []Pointer
	ExpiresInUnit    time.Duration // unit of a number without one; 0 means seconds
	ExpiresAt        []Pointer
	Moment           Moment // how the answer writes the time at ExpiresAt
	TokenType        []Pointer
	Scope            []Pointer
	RefreshToken     []Pointer
	Error            []Pointer
	ErrorDescription []Pointer
	Extra            map[string]Pointer // more members to return, by the name they are returned under

	DefaultTokenType string
	DefaultLifetime  time.Duration // 0 makes an answer without a lifetime an error
	ScopeSeparator   string        // as in the request; answers may also use a space, a comma or a list
}

// readAnswer turns a provider's answer into a token or a classified error.
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
			e.Detail, e.Remedy = r.Answer.withoutToken(doc, redact), "check token_url, and set access_token_pointer to where the token stands in the answer"
			if e.Page {
				e.Remedy = "check token_url, and whether a firewall or a login page answers in the provider's place"
			}
		}
	}
	if got.ok() {
		e.next, _ = first(doc, r.Answer.RefreshToken, tokenText)
	}
	return nil, e
}

// read returns the answer as a document for pointers, and the refresh tokens
// that it holds.
func (a Answer) read(got reply, now time.Time) (document, []string) {
	doc := got.document()
	doc.sent, doc.read = got.sentAt(now), now
	refreshTokens, ok := a.refreshTokens(doc)
	if !ok {
		doc = document{body: tooMuch}
	}
	return doc, refreshTokens
}

// readError returns a classified error for an answer without a usable token.
func readError(r Request, got reply, doc document, now time.Time, redact redactor) *Error {
	for _, p := range r.Answer.AccessToken { // only readers of the token may see it, so the error hides it
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
		e.clocks(got.header, now, asserts)
	}
	e.Code = redact.text(e.Code)
	ofCertificate := e.Kind == Refused && strings.Contains(strings.ToLower(e.Description), "certificate")
	if e.ClientRefused() || e.GrantRefused() && r.GrantAssertion != nil || ofCertificate {
		e.Showed = r.showed(redact, now, ofCertificate)
	}
	switch {
	case e.Kind == Unintelligible && got.status >= 300:
		e.redirected(got, r.URL)
	case e.Kind == Refused && saysTLS.Match(got.body) && strings.HasPrefix(r.URL, "http:"):
		e.cause, e.Detail, e.Remedy = CauseTLS, "it speaks TLS on this port", "write token_url with https"
	}
	return e
}

// readToken fills in the rest of the token t, which was found in doc at the
// pointer at. It never returns a credential of the request: if the token itself
// repeats one, it returns an error; other fields that repeat one are left out.
func readToken(r Request, t *Token, at Pointer, doc document, now time.Time, f *filter) *Error {
	a := r.Answer
	if f.repeats(t.AccessToken) {
		return &Error{
			Kind:   Misconfigured,
			Detail: fmt.Sprintf("what stands at %q is no access token: it is the refresh token, or repeats a credential of the request", string(at)),
			Remedy: "set access_token_pointer to where the access token stands, and move from the secret fields of the config what is no secret",
		}
	}
	t.IssuedAt = now
	if f.repeats(t.TokenType) {
		t.TokenType = a.DefaultTokenType
	}
	t.RefreshToken, _ = first(doc, a.RefreshToken, tokenText)
	t.Scope = strings.Join(r.Scopes, " ") // RFC 6749 section 5.1: without a scope, the requested one is granted
	scopes := func(v any) (string, bool) {
		text, ok := a.scopes(v)
		return text, ok && !f.repeats(v) && (v == any(text) || !f.repeats(text))
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

// accessToken finds the token and its type. It also returns the pointer that
// led to the token.
func (a Answer) accessToken(doc document) (*Token, Pointer, bool) {
	kind, found := first(doc, a.TokenType, tokenText)
	if !found {
		kind = a.DefaultTokenType
	}
	for _, p := range a.AccessToken {
		v, found := doc.lookup(p)
		v = textOf(v)
		if n, isNumber := v.(json.Number); isNumber && p == "" {
			v = n.String() // a token without quotes that looks like a number
		}
		if text, isText := v.(string); found && isText {
			if text, usable := tokenText(withoutScheme(text, kind)); usable {
				return &Token{AccessToken: text, TokenType: kind}, p, true
			}
		}
	}
	return nil, "", false
}

// withoutScheme removes the scheme that some servers write in front of the
// token. With it, an Authorization header would hold the scheme twice.
func withoutScheme(text, kind string) string {
	if scheme, rest, found := strings.Cut(text, " "); found && strings.EqualFold(scheme, kind) {
		return rest
	}
	return text
}

// first returns the first candidate's value that read accepts.
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

// tokenText accepts a text that can be sent in an Authorization header: visible
// ASCII. This is more lenient than RFC 6750 section 2.1.
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

// scopes reads a scope and returns it as RFC 6749 writes it, separated by
// spaces. The scope may be a list, or a text separated by ScopeSeparator,
// spaces or commas.
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
