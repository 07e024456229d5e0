// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
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
	TokenType        []Pointer
	Scope            []Pointer
	RefreshToken     []Pointer
	Error            []Pointer
	ErrorDescription []Pointer
	Extra            map[string]Pointer // further members for the reader, by the reader's name

	DefaultTokenType string
	DefaultLifetime  time.Duration // 0: an answer that states no lifetime is an error
	ScopeSeparator   string        // of the request; answers use it, a space, a comma or a list

	within func(text string) (any, bool) // reads a text of the answer that is JSON; nil is readText
}

// maxNames bounds the member names that an error tells.
const maxNames = 20

// readAnswer makes a token, or a classified error, of a provider's answer.
func readAnswer(r Request, got reply, now time.Time, redact redactor) (*Token, error) {
	doc := got.document()
	r.Answer.within = readTextOnce()
	refreshTokens, ok := r.Answer.refreshTokens(doc)
	if !ok {
		doc = tooMuch{}
	}
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
		e.next, _ = first(r.Answer, r.Answer.RefreshToken, doc, tokenText)
	}
	return nil, e
}

// readError makes a classified error of an answer that holds no token.
func readError(r Request, got reply, doc any, now time.Time, redact redactor) *Error {
	for _, p := range r.Answer.AccessToken { // a token is shown to readers, and to nobody else
		if v, found := r.Answer.lookup(p, doc); found {
			if text, isText := stringText(v); isText {
				redact = redact.with([]string{text})
			}
		}
	}
	e := &Error{Status: got.status, RetryAfter: retryAfter(got.header, now), Page: got.page()}
	e.Code, _ = first(r.Answer, r.Answer.Error, doc, errorText)
	e.Kind = kindOf(e.Status, e.Code)
	description, found := first(r.Answer, r.Answer.ErrorDescription, doc, errorText)
	if found && description != e.Code {
		e.Description = redact.text(description)
	}
	asserts := (r.ClientAssertion != nil || r.GrantAssertion != nil) && e.Code != CodeInvalidProof
	if (asserts || r.DPoP != nil) && ofTime(e.Code+" "+description) {
		e.Detail = clocks(got.header, now, asserts)
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
func readToken(r Request, t *Token, at Pointer, doc any, now time.Time, f *filter) *Error {
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
	t.RefreshToken, _ = first(a, a.RefreshToken, doc, tokenText)
	t.Scope = strings.Join(r.Scopes, " ") // RFC 6749 section 5.1: unsaid is as asked
	scopes := func(v any) (string, bool) {
		text, ok := a.scopes(v)
		return text, ok && !f.repeats(v) && !f.repeats(text)
	}
	if granted, found := first(a, a.Scope, doc, scopes); found {
		t.Scope = granted
	}
	for _, name := range slices.Sorted(maps.Keys(a.Extra)) {
		v, found := a.lookup(a.Extra[name], doc)
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
func (a Answer) accessToken(doc any) (*Token, Pointer, bool) {
	kind, found := first(a, a.TokenType, doc, tokenText)
	if !found {
		kind = a.DefaultTokenType
	}
	for _, p := range a.AccessToken {
		v, found := a.lookup(p, doc)
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

// withoutToken says why doc holds no access token that could be used.
func (a Answer) withoutToken(doc any, redact redactor) string {
	for _, p := range a.AccessToken {
		v, found := a.lookup(p, doc)
		if _, isText := v.(string); isText && p == "" {
			return "no access token: the answer " + unusable(v, redact)
		}
		if found && p != "" {
			return fmt.Sprintf("no access token: the member at %q %s", string(p), unusable(v, redact))
		}
	}
	return fmt.Sprintf("no access token at %s; the answer %s", list(a.AccessToken), members(doc, redact))
}

// unusable says what keeps v from being a token.
func unusable(v any, redact redactor) string {
	switch v := v.(type) {
	case nil:
		return "is null"
	case json.Number:
		return "is a number, and no string"
	case bool:
		return "is true or false, and no string"
	case string:
		switch {
		case v == "":
			return "is empty"
		case strings.ContainsFunc(v, func(c rune) bool { return c > '~' }):
			return "holds characters beyond ASCII"
		case strings.ContainsAny(v, " \t\r\n"):
			return "holds spaces or line breaks"
		default:
			return "holds control characters"
		}
	default:
		return members(v, redact)
	}
}

// lookup finds the value at p in doc.
func (a Answer) lookup(p Pointer, doc any) (any, bool) {
	if a.within == nil {
		return p.Lookup(doc)
	}
	return p.lookup(doc, a.within)
}

// first gives the first candidate that read accepts.
func first[T any](a Answer, candidates []Pointer, doc any, read func(any) (T, bool)) (T, bool) {
	for _, p := range candidates {
		if v, found := a.lookup(p, doc); found {
			if out, ok := read(v); ok {
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

func list(pointers []Pointer) string {
	if len(pointers) == 0 {
		return "no pointer"
	}
	quoted := make([]string, len(pointers))
	for i, p := range pointers {
		quoted[i] = strconv.Quote(string(p))
	}
	return strings.Join(quoted, ", ")
}

// members tells the names of what an answer holds, never its values.
func members(doc any, redact redactor) string {
	switch doc := doc.(type) {
	case map[string]any:
		var paths [][]string
		for name, v := range doc {
			inner, ok := v.(map[string]any)
			for innerName := range inner {
				paths = append(paths, []string{name, innerName})
			}
			if !ok || len(inner) == 0 {
				paths = append(paths, []string{name})
			}
		}
		slices.SortFunc(paths, slices.Compare)
		var names []string
		for i, path := range paths {
			if i == maxNames { // what comes of a name takes a while to tell
				names = append(names, "…")
				break
			}
			for i, name := range path {
				path[i] = redact.text(name)
			}
			names = append(names, strings.Join(path, "/"))
		}
		if len(names) == 0 {
			return "is an empty object"
		}
		return "has the members " + strings.Join(names, ", ")
	case nil:
		return "is empty, or neither JSON nor a form"
	case tooMuch:
		return fmt.Sprintf("holds more than %d values, %d levels or %d refresh tokens", maxValues, maxLevels, maxRefreshTokens)
	case []any:
		return "is a list"
	default:
		return "is no object"
	}
}
