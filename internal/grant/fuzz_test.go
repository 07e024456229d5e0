// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// FuzzAnswer reads arbitrary answers. The result must be a token that can be
// used and stored, or an error that can be shown. Nothing may panic.
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
		`<r x="the-secret-of-the-client"><access_token>tok</access_token><x>the-<!-- -->secret-of-the-client</x></r>`,
		`<r><access_token a="b">tok</access_token><x>&#116;he-secret-of-the-client</x><data>{"x":"the-secret-of-the-client"}</data></r>`,
		`<r><access_token>tok</access_token><refresh_token>live-refresh-token</refresh_token><x>live-refresh-token</x></r>`,
		`{"access_token":"tok","data":"<a><x>dGhlLXNlY3JldC1vZi10aGUtY2xpZW50</x></a>"}`,
		`{"access_token":"tok","expires_in":60,"error":"refresh_token: live-refresh-token"}`,
	} {
		f.Add(200, "application/json", "tok", []byte(body))
		f.Add(400, "text/plain", "the-secret-of-the-client", []byte(body))
		f.Add(200, "application/x-www-form-urlencoded", "refresh_token=live-refresh-token", []byte(body))
	}
	r := standardRequest("")
	r.Scopes = []string{"asked"}
	r.Answer.AccessToken = []Pointer{"/access_token", "/data/access_token", "/r/access_token", "", "header:X-Sent"}
	r.Answer.Extra = map[string]Pointer{"x": "/x", "data": "/data/x", "element": "/r/x", "attribute": "/r/@x", "within": "/r/data/x", "deep": "/data/a/x", "header": "header:X-Sent"}
	r.Answer.DefaultLifetime = time.Hour
	redact := redactorFor(r)
	f.Fuzz(func(t *testing.T, status int, contentType, sent string, body []byte) {
		got := reply{status: status, header: http.Header{"Content-Type": {contentType}, "X-Sent": {sent}}, body: body}
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

// FuzzPointer looks up arbitrary pointers in arbitrary documents. The RFC defines where
// a pointer leads. The engine never looks up a pointer that Check refuses.
func FuzzPointer(f *testing.F) {
	for _, p := range []string{"", "/", "/a", "/a/b", "/a~1b/~0", "/0/1", "/-", "/01", "/~", "a", "//", "/a/", "header:X-Token", "header:x y"} {
		for _, doc := range []string{`{"a":{"b":1},"":{"":2},"a/b":{"~":3}}`, `[[1,2],3]`, `{"a":"{\"b\":1}"}`, `"x"`, ``, `1`, `"\"\\\"1\\\"\""`} {
			f.Add(p, doc)
		}
	}
	f.Fuzz(func(t *testing.T, pointer, text string) {
		doc, _ := parseJSON(text)
		p := Pointer(pointer)
		if p.Check() != nil {
			return
		}
		if name, isHeader := p.header(); isHeader {
			h := http.Header{}
			h.Set(name, "x")
			if v, found := (document{header: h}).lookup(p); v != "x" || !found || !p.Within(p) || p.Within("") || Pointer("").Within(p) {
				t.Errorf("%q leads to %v of %v", p, v, h)
			}
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
		// If a value exists, its parent exists, and the last step leads to the value.
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

// FuzzXML reads arbitrary text as XML. The result must be a tree within the
// limits, and be the same after it is written and read again.
func FuzzXML(f *testing.F) {
	for _, text := range []string{
		`<a>x</a>`, `<a b="1" c='2'><d/> x <d>y</d></a>`, `<?xml version="1.0" encoding="utf-16"?><s:a xmlns:s="urn:s"><![CDATA[<]]>&#x41;</s:a>`,
		`<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>`, `<a/><b/>`, `<a>`, `<a><b></a></b>`, "<a>\xff</a>", `<a xmlns="b" xmlns:c="d" c:e="f"/>`, `<a:1 b:2="3"/>`, `<!-- a --><a/>x`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tree, why := parseXML(text)
		if (why == "") != (tree != nil) {
			t.Fatalf("got %v, %q", tree, why)
		}
		if why != "" {
			return
		}
		if b, err := json.Marshal(tree); err != nil || !bounded(string(b)) {
			t.Fatalf("%v: is more than JSON may be, %v", tree, err)
		}
		var again strings.Builder
		for name, root := range tree.(map[string]any) { //nolint:forcetypeassert // panics in a test
			writeXML(&again, name, root)
		}
		if colons.MatchString(again.String()) {
			return // a name that no prefix can be put before
		}
		if got, why := parseXML(again.String()); why != "" || !reflect.DeepEqual(got, tree) {
			t.Errorf("%q: got %v, %q, want %v", again.String(), got, why, tree)
		}
	})
}

var colons = regexp.MustCompile(`[< ]x:[^ >="]*:`)

// writeXML writes an element of a tree.
func writeXML(to *strings.Builder, name string, element any) {
	members, _ := element.(map[string]any)
	each := func(attributes bool, write func(name string, v any)) {
		for name, v := range members {
			list, several := v.([]any)
			if !several {
				list = []any{v}
			}
			for _, v := range list {
				if attribute, is := strings.CutPrefix(name, "@"); is == attributes && name != xmlText {
					write(attribute, v)
				}
			}
		}
	}
	to.WriteString("<x:" + name)
	each(true, func(name string, v any) { fmt.Fprintf(to, ` x:%s="%s"`, name, escaped(fmt.Sprint(v))) })
	to.WriteByte('>')
	if text, isText := textOf(element).(string); isText {
		to.WriteString(escaped(text))
	}
	each(false, func(name string, v any) { writeXML(to, name, v) })
	to.WriteString("</x:" + name + ">")
}

// FuzzDecoding decodes arbitrary text and must stay within its budget.
func FuzzDecoding(f *testing.F) {
	for _, s := range []string{"", "%", "%4", "%41%zz", "\\", `\u00`, `\ud83d\udd11\u12`, `\U0001f511`, `\x4`, "QUJDREVG==\nQUJD", "616263646566a", "&amp;&#x41;", "a+b", "=====", "\xff\xfe"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		const budget = 1 << 16
		left, looked := budget, 0
		anyDecoding(s, 1, true, &left, func(text string) bool { looked += len(text); return false })
		if looked > budget {
			t.Errorf("looked at %d bytes", looked)
		}
		for how, encode := range wholeEncodings() {
			if strings.Contains(how, "case") || !utf8.ValidString(s) || len(s) > 1<<10 || len(s) < window {
				continue
			}
			// If s itself looks encoded, decoding changes it as well. HTML has no
			// control characters.
			if strings.ContainsAny(s, "%+&\\") || strings.ContainsFunc(s, unicode.IsControl) {
				continue
			}
			left := 1 << 22
			if !anyDecoding(encode(s), 1, true, &left, func(text string) bool { return strings.Contains(text, s) }) {
				t.Errorf("does not undo %s of %q", how, s)
			}
		}
	})
}
