// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"regexp"
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
}

// maxNames bounds the member names that an error tells.
const maxNames = 20

// maxLifetime keeps arithmetic with absurd lifetimes within time.Duration.
const maxLifetime = 100 * 365 * 24 * time.Hour

// readAnswer makes a token, or a classified error, of a provider's answer.
func readAnswer(r Request, got reply, now time.Time, redact redactor) (*Token, error) {
	doc := got.document()
	a := r.Answer
	if got.ok() {
		if text, found := first(a.AccessToken, doc, tokenText); found {
			t, e := readToken(r, text, doc, now, redact)
			if e != nil {
				e.Status = got.status
				return nil, e
			}
			return t, nil
		}
	}

	e := readError(r, got, doc, now, redact)
	if got.ok() && e.Kind == Unintelligible {
		e.Detail = fmt.Sprintf("no access token at %s; the answer %s", list(a.AccessToken), members(doc, redact))
	}
	return nil, e
}

// readError makes a classified error of an answer that holds no token.
func readError(r Request, got reply, doc any, now time.Time, redact redactor) *Error {
	e := &Error{Status: got.status, RetryAfter: retryAfter(got.header, now), Page: got.page()}
	e.Code, _ = first(r.Answer.Error, doc, errorText)
	e.Kind = kindOf(e.Status, e.Code)
	if description, found := first(r.Answer.ErrorDescription, doc, errorText); found && description != e.Code {
		e.Description = redact.text(description)
	}
	e.Code = redact.text(e.Code)
	if e.Kind == Unintelligible {
		e.Detail = "a redirect or an unknown status; redirects are never followed: set token_url to the final address"
	}
	return e
}

func readToken(r Request, text string, doc any, now time.Time, redact redactor) (*Token, *Error) {
	a := r.Answer
	t := &Token{AccessToken: text, TokenType: a.DefaultTokenType, IssuedAt: now}
	if kind, found := first(a.TokenType, doc, tokenText); found && !redact.repeats(kind) {
		t.TokenType = kind
	}
	t.RefreshToken, _ = first(a.RefreshToken, doc, tokenText)
	t.Scope = strings.Join(r.Scopes, " ") // RFC 6749 section 5.1: unsaid is as asked
	if scopes, found := first(a.Scope, doc, a.scopes); found && !redact.repeats(scopes) {
		t.Scope = scopes
	}
	for name, p := range a.Extra {
		v, found := p.Lookup(doc)
		if !found || v == nil || redact.repeats(v) || contains(v, t.RefreshToken) {
			continue
		}
		if t.Extra == nil {
			t.Extra = map[string]any{}
		}
		t.Extra[name] = v
	}
	return t, a.expire(t, doc, now)
}

// expire finds out until when t lives: the answer's word, else the JWT's, else
// the configured default.
func (a Answer) expire(t *Token, doc any, now time.Time) *Error {
	unreadable := func(pointers []Pointer, want string) *Error {
		return &Error{Kind: Unintelligible, Detail: fmt.Sprintf("the lifetime at %s is not %s", list(pointers), want)}
	}
	if v, found := first(a.ExpiresIn, doc, present); found {
		lifetime, ok := durationOf(v, a.ExpiresInUnit)
		if !ok {
			return unreadable(a.ExpiresIn, "a number of "+unitName(a.ExpiresInUnit))
		}
		t.ExpiresAt, t.Lifetime = now.Add(lifetime), LifetimeExpiresIn
	} else if v, found := first(a.ExpiresAt, doc, present); found {
		at, ok := timeOf(v)
		if !ok {
			return unreadable(a.ExpiresAt, "a time (RFC 3339 or epoch)")
		}
		t.ExpiresAt, t.Lifetime = at, LifetimeExpiresAt
	} else if at, ok := jwtExpiry(t.AccessToken); ok {
		t.ExpiresAt, t.Lifetime = at, LifetimeJWT
	} else if a.DefaultLifetime > 0 {
		t.ExpiresAt, t.Lifetime = now.Add(a.DefaultLifetime), LifetimeDefault
	} else {
		return &Error{Kind: Misconfigured, Detail: fmt.Sprintf(
			"the answer states no lifetime (looked at %s and %s); set default_token_lifetime, or the pointer where it stands",
			list(a.ExpiresIn), list(a.ExpiresAt))}
	}
	if limit := now.Add(maxLifetime); t.ExpiresAt.After(limit) {
		t.ExpiresAt = limit
	}
	t.ExpiresAt = t.ExpiresAt.UTC()
	if !t.ExpiresAt.After(now) {
		return &Error{Kind: Unintelligible, Detail: fmt.Sprintf(
			"the token has already expired by its %s; if that does not mean an expiry, set expires_in_pointer=[] and default_token_lifetime", t.Lifetime)}
	}
	return nil
}

// parseBody reads JSON, a form, or, as a last resort, text.
func parseBody(contentType string, body []byte) any {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	media, _, _ := mime.ParseMediaType(contentType) // an unreadable type is no type
	saysJSON := media == "application/json" || strings.HasSuffix(media, "+json")
	text := string(body)
	if doc, ok := parseJSON(body); ok {
		if _, isNumber := doc.(json.Number); isNumber && !saysJSON {
			return text // a token that happens to look like a number
		}
		return doc
	}
	if media == "application/x-www-form-urlencoded" && strings.Contains(text, "=") || formLike.MatchString(text) {
		if form, err := url.ParseQuery(text); err == nil {
			doc := make(map[string]any, len(form))
			for name, values := range form {
				doc[name] = values[0]
			}
			return doc
		}
	}
	if text == "" || saysJSON || strings.ContainsAny(text[:1], `{["<`) {
		return nil // broken JSON, or a page
	}
	return text
}

// formLike is a form in disguise: some servers call theirs text/plain.
var formLike = regexp.MustCompile(`^[A-Za-z_][\w.-]*=[^=\s<>{}"]+$|^[A-Za-z_][\w.-]*=[^=&\s<>{}"]*&[^\s<>{}"]+$`)

// first gives the first candidate that read accepts.
func first[T any](candidates []Pointer, doc any, read func(any) (T, bool)) (T, bool) {
	for _, p := range candidates {
		if v, found := p.Lookup(doc); found {
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

func contains(v any, needle string) bool {
	if needle == "" {
		return false
	}
	switch v := v.(type) {
	case string:
		if strings.Contains(v, needle) {
			return true
		}
		inner, isJSON := parseJSON([]byte(v)) // where escapes may hide it
		return isJSON && contains(inner, needle)
	case map[string]any:
		for name, item := range v {
			if strings.Contains(name, needle) || contains(item, needle) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, func(item any) bool { return contains(item, needle) })
	}
	return false
}

func number(v any) (float64, bool) {
	var text string
	switch v := v.(type) {
	case json.Number:
		text = v.String()
	case string:
		text = strings.TrimSpace(v)
	default:
		return 0, false
	}
	if strings.ContainsAny(text, "xXpP_nN") { // Go's own notations, NaN, Inf
		return 0, false
	}
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil
}

func durationOf(v any, unit time.Duration) (time.Duration, bool) {
	n, ok := number(v)
	if !ok {
		return 0, false
	}
	if unit == 0 {
		unit = time.Second
	}
	return time.Duration(min(max(n*float64(unit), 0), float64(maxLifetime))), true
}

func unitName(unit time.Duration) string {
	switch unit {
	case time.Millisecond:
		return "milliseconds"
	case time.Minute:
		return "minutes"
	default:
		return "seconds"
	}
}

// timeOf reads RFC 3339, with or without a zone (then it is UTC), and epoch
// seconds or milliseconds.
func timeOf(v any) (time.Time, bool) {
	if n, ok := number(v); ok {
		if n > 1e11 { // the year 5138 in seconds, 1973 in milliseconds
			n /= 1000
		}
		return epoch(n), n <= 253402300799 // the last second of 9999
	}
	text, ok := v.(string)
	if !ok {
		return time.Time{}, false
	}
	for _, layout := range []string{
		time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05",
		"2006-01-02T15:04:05Z0700", http.TimeFormat,
	} {
		if at, err := time.Parse(layout, strings.TrimSpace(text)); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}

func epoch(seconds float64) time.Time {
	return time.UnixMilli(int64(min(max(seconds, 0), 1e11) * 1000))
}

// jwtExpiry reads exp (RFC 7519 section 4.1.4), unverified: it is only asked
// when to come back.
func jwtExpiry(token string) (time.Time, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return time.Time{}, false
	}
	doc, _ := parseJSON(payload)
	exp, found := Pointer("/exp").Lookup(doc)
	if !found {
		return time.Time{}, false
	}
	if _, isNumber := exp.(json.Number); !isNumber {
		return time.Time{}, false
	}
	return timeOf(exp)
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
	case []any:
		return "is a list"
	default:
		return "is no object"
	}
}
