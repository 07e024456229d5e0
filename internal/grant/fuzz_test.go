// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// FuzzAnswer reads any answer: it is a token that can be used and stored, or
// an error that can be shown, and no panic.
func FuzzAnswer(f *testing.F) {
	for _, body := range []string{
		`{"access_token":"tok","expires_in":60,"scope":"a b","refresh_token":"r"}`,
		`{"data":"{\"access_token\":\"tok\",\"expires_in\":\"60\"}"}`,
		`{"access_token":"` + jwt(`{"exp":1767326645.5}`) + `"}`,
		`{"access_token":"tok","expires_at":"2026-01-02T04:04:05"}`,
		`{"access_token":"tok","expires_at":1767326645000,"scope":["a","b"]}`,
		`{"error":{"code":1,"message":"the-secret-of-the-client"}}`,
		`{"error":"invalid_client","error_description":"x"}`,
		`{"access_token":"Bearer tok","expires_in":"1h30m","x":"dGhlLXNlY3JldC1vZi10aGUtY2xpZW50"}`,
		`{"access_token":"the-secret-of-the-client","expires_in":"PT1H"}`,
		`{"access_token":"tok","expires_in":"1:02:03:04","data":"{\"refreshToken\":\"live-refresh-token\"}","x":"live-refresh-token"}`,
		`{"access_token":"tok","x":"refresh_token=live-refresh-token&a=b","refresh_token":{"a":["b"]}}`,
		`{"access_token":12,"data":[[[[[]]]]],"x":"\\u0074he-secret\\x2dof-the-client%41"}`,
		"access_token=tok&expires_in=60", "\xef\xbb\xbf{}", "", "null", "[]", "dG9rZW4=", `"x"`, "<html>", "{\"a\":1}x",
	} {
		f.Add(200, "application/json", []byte(body))
		f.Add(400, "text/plain", []byte(body))
		f.Add(200, "application/x-www-form-urlencoded", []byte(body))
	}
	r := standardRequest("")
	r.Scopes = []string{"asked"}
	r.Answer.AccessToken = []Pointer{"/access_token", "/data/access_token", ""}
	r.Answer.Extra = map[string]Pointer{"x": "/x", "data": "/data/x"}
	r.Answer.DefaultLifetime = time.Hour
	redact := redactorFor(r)
	f.Fuzz(func(t *testing.T, status int, contentType string, body []byte) {
		got := reply{status: status, header: http.Header{"Content-Type": {contentType}}, body: body}
		token, err := readAnswer(r, got, clock(), redact)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Kind == 0 || token != nil {
				t.Fatalf("got %v, %v", token, err)
			}
			for what, text := range map[string]string{"code": e.Code, "description": e.Description} {
				if utf8.RuneCountInString(text) > maxText || strings.ContainsFunc(text, func(c rune) bool { return !unicode.IsPrint(c) }) {
					t.Errorf("the %s cannot be shown: %q", what, text)
				}
			}
			if strings.Contains(strings.ToLower(e.Error()), "the-secr") {
				t.Errorf("shows the secret: %q", e)
			}
			return
		}
		if _, usable := tokenText(token.AccessToken); !usable || status < 200 || status > 299 {
			t.Errorf("token %q of a %d", token.AccessToken, status)
		}
		if !token.ExpiresAt.After(token.IssuedAt) || token.ExpiresAt.Sub(token.IssuedAt) > maxLifetime {
			t.Errorf("lives from %s to %s", token.IssuedAt, token.ExpiresAt)
		}
		for _, shown := range []any{token.AccessToken, token.TokenType, token.Scope, token.Extra} {
			b, _ := json.Marshal(shown) //nolint:errchkjson // checked below
			if strings.Contains(strings.ToLower(string(b)), "the-secret-of-the-client") {
				t.Errorf("hands out the secret: %s", b)
			}
		}
		if token.TokenType == "" || token.Lifetime == "" || redactorFor(Request{}).with([]string{token.RefreshToken}).filter().repeats(token.Extra) {
			t.Errorf("got %+v", token)
		}
		if _, err := json.Marshal(token); err != nil {
			t.Errorf("cannot be stored: %v", err)
		}
	})
}

// FuzzPointer looks anything up in anything. Where a pointer leads says the
// RFC, and one that Check refuses is never looked up by the engine.
func FuzzPointer(f *testing.F) {
	for _, p := range []string{"", "/", "/a", "/a/b", "/a~1b/~0", "/0/1", "/-", "/01", "/~", "a", "//", "/a/"} {
		for _, doc := range []string{`{"a":{"b":1},"":{"":2},"a/b":{"~":3}}`, `[[1,2],3]`, `{"a":"{\"b\":1}"}`, `"x"`, ``, `1`, `"\"\\\"1\\\"\""`} {
			f.Add(p, doc)
		}
	}
	f.Fuzz(func(t *testing.T, pointer, text string) {
		doc, _ := parseJSON([]byte(text))
		p := Pointer(pointer)
		if _, isHeader := p.header(); isHeader || p.Check() != nil {
			return
		}
		v, found := p.lookup(doc, readText)
		if !found && v != nil {
			t.Errorf("found nothing and gave %v", v)
		}
		if p == "" && !found {
			t.Error("the whole document is always there")
		}
		if !p.Within(p) || !Pointer("").Within(p) {
			t.Error("is within neither itself nor the whole")
		}
		// A value that is there is there one step at a time.
		if i := strings.LastIndexByte(pointer, '/'); found && i >= 0 {
			above, there := p[:i].lookup(doc, readText)
			if !there || !p[:i].Within(p) {
				t.Fatalf("%q is there, and %q is not", p, p[:i])
			}
			if _, again := p[i:].lookup(above, readText); !again {
				t.Errorf("%q is there, but not in %q by %q", p, p[:i], p[i:])
			}
		}
	})
}

// FuzzDecoding undoes what encodings there are in anything, within its budget.
func FuzzDecoding(f *testing.F) {
	for _, s := range []string{"", "%", "%4", "%41%zz", "\\", `\u00`, `\ud83d\udd11\u12`, `\U0001f511`, `\x4`, "QUJDREVG==\nQUJD", "616263646566a", "&amp;&#x41;", "a+b", "=====", "\xff\xfe"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		const budget = 1 << 16
		left, looked := budget, 0
		anyDecoding(s, true, &left, func(text string) bool { looked += len(text); return false })
		if looked > budget {
			t.Errorf("looked at %d bytes", looked)
		}
		for how, encode := range wholeEncodings() {
			if strings.Contains(how, "case") || !utf8.ValidString(s) || len(s) > 1<<10 || len(s) < window {
				continue
			}
			// What s itself reads like is undone with it, and HTML has no
			// control characters.
			if strings.ContainsAny(s, "%+&\\") || strings.ContainsFunc(s, unicode.IsControl) {
				continue
			}
			left := 1 << 22
			if !anyDecoding(encode(s), true, &left, func(text string) bool { return strings.Contains(text, s) }) {
				t.Errorf("does not undo %s of %q", how, s)
			}
		}
	})
}
