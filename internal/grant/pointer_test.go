// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"encoding/json"
	"net/http"
	"testing"
)

func TestPointersLeadWhereRFC6901Says(t *testing.T) {
	t.Parallel()
	doc, why := parseJSON(`{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8,"~1":9,
		"text":"{\"in\":\"[10]\"}","plain":"x","deep":{"null":null},"number":"11"}`)
	if why != "" {
		t.Fatal(why)
	}
	for p, want := range map[Pointer]string{
		"/foo": `["bar","baz"]`, "/foo/0": `"bar"`, "/": "0", "/a~1b": "1", "/c%d": "2", "/e^f": "3", "/g|h": "4",
		"/i\\j": "5", "/k\"l": "6", "/ ": "7", "/m~0n": "8", "/~01": "9",
		"/text/in": `"[10]"`, "/text/in/0": "10", "/text": `"{\"in\":\"[10]\"}"`, "/deep/null": "null",
		"/foo/2": "", "/foo/-": "", "/foo/-1": "", "/foo/01": "", "/foo/+1": "", "/foo/0/0": "", "/Foo": "", "/plain/x": "",
		"/deep/null/x": "", "/number/0": "", "/foo/99999999999999999999": "", "/deep/": "",
	} {
		v, found := p.lookup(doc, readText)
		if found != (want != "") {
			t.Errorf("%q: found %t", p, found)
			continue
		}
		if b, err := json.Marshal(v); found && (err != nil || string(b) != want) {
			t.Errorf("%q: got %s, want %s", p, b, want)
		}
	}
}

func TestPointerSyntax(t *testing.T) {
	t.Parallel()
	for p, ok := range map[Pointer]bool{
		"": true, "/": true, "/a": true, "/a/b~0~1c/": true, "//": true, "/~01": true,
		"a": false, "a/b": false, "~": false, "/~": false, "/~2": false, "/a~": false, "/~/0": false, "#/a": false, "$.a": false,
		"header:X-Subject-Token": true, "header:x": true, "header:": false, "header:X Token": false, "header:X/a": false, "header:X:": false, "header:set-cookie": false, "header:ü": false,
		"Header:X": false, "headers:X": false, " header:X": false, "/header:X": true,
	} {
		if err := p.Check(); (err == nil) != ok {
			t.Errorf("%q: %v", p, err)
		}
	}
}

func TestPointersWithin(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		p, q Pointer
		want bool
	}{
		{"/a", "/a", true}, {"/a", "/a/b", true}, {"", "/a", true}, {"", "", true},
		{"/a/b", "/a", false}, {"/a", "/ab", false}, {"/a", "/b", false}, {"/a", "", false},
		{"header:X-A", "header:x-a", true}, {"header:X-A", "header:X-B", false}, {"", "header:X-A", false}, {"header:X-A", "", false}, {"header:X", "/X", false},
	} {
		if got := tc.p.Within(tc.q); got != tc.want {
			t.Errorf("%q within %q: %t", tc.p, tc.q, got)
		}
	}
}

func BenchmarkReadAnswer(b *testing.B) {
	r := standardRequest("")
	r.Answer.AccessToken = []Pointer{"/access_token", "/data/access_token"}
	redact := redactorFor(r)
	for name, body := range map[string]string{
		"standard": `{"access_token":"0123456789abcdef0123456789abcdef","token_type":"Bearer","expires_in":3600,"scope":"read write"}`,
		"jwt":      `{"access_token":"` + jwt(`{"aud":"x","jti":"0123456789abcdef0123456789abcdef","exp":1767326645.577478,"scopes":["a","b"]}`) + `"}`,
		"wrapped":  `{"data":"{\"access_token\":\"0123456789abcdef\"}","expires_in":"60"}`,
		"form":     "access_token=0123456789abcdef&token_type=bearer&expires_in=3600",
	} {
		b.Run(name, func(b *testing.B) {
			got := reply{status: http.StatusOK, header: http.Header{"Content-Type": {"text/plain"}}, body: []byte(body)}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := readAnswer(r, got, clock(), redact); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
