// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"net/url"
	"strings"
	"testing"
)

func TestPlaceholdersInTheHost(t *testing.T) {
	t.Parallel()
	const whole, label = "https://{v}/t", "https://{v}.example.com/t"
	dotted := object{"pattern": "[A-Za-z0-9.:/@?#%_-]*"}
	for _, tc := range []struct {
		url      string
		declared object
		value    string
		want     string // "" if it is refused
	}{
		{label, object{}, "acme", "https://acme.example.com/t"},
		{label, object{}, "acme-1", "https://acme-1.example.com/t"},
		{label, object{}, "xn--mnchen-3ya", "https://xn--mnchen-3ya.example.com/t"},
		{"https://a{v}b.example.com:8443/t", object{}, "-x-", "https://a-x-b.example.com:8443/t"},
		{label, object{}, strings.Repeat("a", 63), "https://" + strings.Repeat("a", 63) + ".example.com/t"},
		{label, object{}, strings.Repeat("a", 64), ""},
		{label, object{}, "", ""},
		{label, object{}, "Acme", ""},
		{label, object{}, "a_b", ""},
		{label, object{}, "a b", ""},
		{label, object{}, "münchen", ""},
		{label, object{}, "-acme", ""},
		{label, object{}, "acme-", ""},
		{label, object{}, "a\n", ""},
		{label, object{}, "a.b", ""},
		{label, object{}, "evil.org/x", ""},
		{label, dotted, "a.b", "https://a.b.example.com/t"},
		{label, dotted, "a..b", ""},
		{label, dotted, ".a", ""},
		{label, dotted, "a.", ""},
		{label, dotted, ".", ""},
		{label, dotted, "evil.org/", ""},
		{label, dotted, "evil.org#", ""},
		{label, dotted, "evil.org?", ""},
		{label, dotted, "user@evil", ""},
		{label, dotted, "evil:80", ""},
		{label, dotted, "a%2eb", ""},
		{whole, dotted, "api.example.org", "https://api.example.org/t"},
		{whole, object{"enum": []any{"api.example.org"}}, "api.example.org", "https://api.example.org/t"},
		{whole, object{}, "api.example.org", ""},
		{whole, object{}, "localhost", "https://localhost/t"},
		{whole, dotted, "127.0.0.1", ""},
		{whole, dotted, "127.1", ""},
		{whole, dotted, "2130706433", ""},
		{whole, dotted, "0x7f000001", ""},
		{whole, dotted, "10.0.0.0x1", ""},
		{whole, dotted, "0x", ""},
		{whole, dotted, "example.com.", ""},
		{whole, dotted, "::1", ""},
		{"https://1.2.3.{v}/t", object{}, "4", ""},
		{"https://1.2.3.4{v}/t", object{}, "5", ""},
		{"https://api.{v}./t", object{}, "com", ""},
		{"https://{v}.com/t", object{"default": "{client_id}"}, "acme", "https://acme.com/t"},
	} {
		r, err := asked(t, object{"token_url": tc.url, "variables": object{"v": tc.declared}}, object{"variables": object{"v": tc.value}})
		switch {
		case tc.want == "":
			wantInvalid(t, err, "")
			if err != nil && len(tc.value) > 2 && strings.Contains(err.Error(), tc.value) {
				t.Errorf("repeats a value: %v", err)
			}
		case err != nil || r.URL != tc.want:
			t.Errorf("%s with %q: got %s, %v", tc.url, tc.value, r.URL, err)
		}
	}
}

// The writer of a config that has its own URL could write any host directly, so dots
// are allowed there.
func TestDotsAreAllowedWhereURLAndValueStandOnTheSameConfig(t *testing.T) {
	t.Parallel()
	config := object{"token_url": "https://{v}/t", "variables": object{"v": "a.example.com"}}
	if r, err := asked(t, object{}, config); err != nil || r.URL != "https://a.example.com/t" {
		t.Errorf("got %s, %v", r.URL, err)
	}
	_, err := asked(t, object{"variables": object{"v": object{"default": "a.example.com"}}}, object{"token_url": "https://{v}/t"})
	wantInvalid(t, err, "takes no dot in {v}") // the value is from the provider
	_, err = asked(t, object{"token_url": "https://{v}/t", "variables": object{"v": object{}}}, object{"variables": object{"v": "a.example.com"}})
	wantInvalid(t, err, "takes no dot in {v}") // the URL is from the provider
	// A computed value has no pattern of its own that could allow a dot.
	_, err = asked(t, object{
		"token_url": "https://{c}.example.com/t", "variables": object{"v": object{"pattern": ".*"}, "c": object{"value": "{v}"}},
	}, object{"variables": object{"v": "evil.org"}})
	wantInvalid(t, err, "takes no dot in {c}", "evil")
}

func TestPlaceholdersInThePath(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"a": "a", "a b": "a%20b", "ü": "%C3%BC", "a;b=c,d": "a%3Bb=c%2Cd", "a:b@c": "a:b@c", "...": "...", "a&b+c": "a&b+c", "{x}": "%7Bx%7D",
		"a\"<>^`|": "a%22%3C%3E%5E%60%7C", "🔑": "%F0%9F%94%91",
		"": "", ".": "", "..": "", "a/b": "", "/": "", `a\b`: "", "%2e": "", "%2F": "", "a?b": "", "a#b": "", "a\nb": "", "a\x7f": "", "a\u0085b": "", "\x00": "",
	} {
		r, err := asked(t, object{"token_url": "https://x.example/a/{v}/t", "variables": object{"v": object{}}}, object{"variables": object{"v": value}})
		if want == "" {
			wantInvalid(t, err, "takes for {v} one path segment")
		} else if err != nil || r.URL != "https://x.example/a/"+want+"/t" {
			t.Errorf("%q: got %s, %v", value, r.URL, err)
		}
	}
	for _, path := range []string{"{v}{v}", "%2e{v}", ".{v}", "{v}%2E"} { // together, this would be the segment ".."
		_, err := asked(t, object{"token_url": "https://x.example/a/" + path + "/b", "variables": object{"v": object{"default": "."}}}, nil)
		wantInvalid(t, err, "token_url takes for {v} one path segment")
	}
}

func TestPlaceholdersInTheQuery(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"": "", "a b": "a+b", "a&b=c#d?e/f%": "a%26b%3Dc%23d%3Fe%2Ff%25", "ü": "%C3%BC", "\n": "%0A", "{x}": "%7Bx%7D", "a;b": "a%3Bb",
	} {
		r, err := asked(t, object{"token_url": plainURL + "?lit=%20+&k={v}&z=x{v}", "variables": object{"v": object{}}}, object{"variables": object{"v": value}})
		if err != nil || r.URL != plainURL+"?lit=%20+&k="+want+"&z=x"+want {
			t.Errorf("%q: got %s, %v", value, r.URL, err)
		}
	}
	r, err := asked(t, object{"token_url": plainURL + "?key={client_secret}"}, nil)
	if err != nil || r.URL != plainURL+"?key=the-secret-value" {
		t.Errorf("a secret, where the provider insists: %s, %v", r.URL, err)
	}
}

func TestPositionsWithoutPlaceholders(t *testing.T) {
	t.Parallel()
	declared := object{"v": object{"pattern": ".*", "default": "x"}, "s": object{"secret": true, "optional": true}, "computed": object{"value": "a{client_secret|hex}"}, "far": object{"default": "{computed}"}}
	for text, says := range map[string]string{
		"{v}://x.example/t": "token_url", "http{v}://x.example/t": "", "{v}": "", "//x.example/t": "must start with https://", "ftp://x.example": "must start with https://",
		"https://u{v}:p@x.example/t": "holds a user", "https://{v}@x.example/t": "holds a user", "https://user@x.example/t": "holds a user",
		"https://x.example:{v}/t": "", "https://x.example:8{v}/t": "", "https://x.example:80:90/t": "is not a URL",
		"https://x.example/t#{v}": "fragment", "https://x.example/t#": "fragment", "https://x.example/t#f": "fragment",
		"https://x.example/t?{v}=a": "left of =", "https://x.example/t?{v}": "left of =", "https://x.example/t?a{v}b=c": "left of =",
		"https://{client_secret}.example/t": "names the secret {client_secret} in its host or path", "https://x.example/{client_secret}/t": "names the secret",
		"https://x.example/{password}/t": "names the secret", "https://x.example/{s}/t": "names the secret {s}",
		"https://x.example/{computed}/t": "names the secret {computed}", "https://x.example/{far}/t": "names the secret {far}", "https://{far}.example/t": "names the secret",
		"https:///t": "has no host", "https://:443/t": "has no host", "https:x.example/t": "has no host", "x.example/t": "must start with", "": "is required",
		"https://x.example/a b": "is not a URL", "https://x.example/\nt": "is not a URL", "https://x.example/%zz": "is not a URL", "https://[::1/t": "is not a URL",
		"https://{unknown}.example/t": "names {unknown}, which is not defined", "https://x.example/{v|nix}": "unknown filter", "https://x.example/{": "single brace",
		"https://zq1qz.example/{v}": "is not a URL", "https://zq0q{v}.example/t": "is not a URL", "https://zq9q{v}.example/t": "is not a URL",
		"https://x.example/t?client_secret=x": `has "client_secret" in its query`, "https://x.example/t?grant%5Ftype=x": `has "grant_type" in its query`, "https://x.example/t?a=%zz&%zz=1": "not percent-encoded properly",
	} {
		_, err := asked(t, object{"token_url": text, "variables": declared}, nil)
		wantInvalid(t, err, "token_url")
		wantInvalid(t, err, says, "the-secret")
	}
	// A variable that is set in secret_variables is secret even if it is not declared
	// so.
	_, err := asked(t, object{"token_url": "https://x.example/{v}/t", "variables": object{"v": object{}}}, object{"secret_variables": object{"v": "hidden"}})
	wantInvalid(t, err, "names the secret {v}", "hidden")
	_, err = asked(t, object{"token_url": "https://x.example/{v}/t", "variables": object{"v": object{"optional": true}}}, nil)
	wantInvalid(t, err, "needs {v} in its path, which is not set")
	_, err = asked(t, object{"token_url": "https://{v}.example/t", "variables": object{"v": object{"optional": true}}}, nil)
	wantInvalid(t, err, "needs {v} in its host, which is not set")
}

func TestPlainHTTPIsForLoopbackOrThoseWhoInsist(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{
		"http://127.0.0.1/t": true, "http://127.8.9.1:80/t": true, "http://[::1]:8080/t": true, "http://localhost/t": true, "https://x.example/t": true,
		"http://x.example/t": false, "http://127.0.0.1.x.example/t": false, "http://localhost.x.example/t": false, "http://0.0.0.0/t": false,
		"http://10.0.0.1/t": false, "http://[::]/t": false, "http://[fe80::1]/t": false, "http://169.254.169.254/t": false,
	} {
		_, err := asked(t, object{"token_url": text}, nil)
		if ok != (err == nil) {
			t.Errorf("%s: %v", text, err)
		} else if !ok {
			wantInvalid(t, err, "uses http://")
		}
		if _, err := asked(t, object{"token_url": text}, object{"allow_insecure_http": true}); err != nil {
			t.Errorf("%s, insisting: %v", text, err)
		}
	}
}

// FuzzExpandURL fills any value into each place of a URL that may hold one. The
// value must stay in its place.
func FuzzExpandURL(f *testing.F) {
	for _, v := range []string{
		"a", "a.b", "", ".", "..", "/", "a/../b", "@", "a@b", ":80", "#", "?", "%2f", "%00", "\\", "é", "\n", "[::1]", "127.0.0.1", "zq1qz", "{x}", "0x7f", "a b",
	} {
		f.Add(v, v, v)
	}
	const text = "https://api.{h}.example.com:8443/a/x{p}/{p}y/{p}?lit=1&q={q}&r={p}"
	u, err := parseURL(text)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, host, path, query string) {
		declared := map[string]Variable{"h": {Pattern: "(?s).*"}, "p": {}, "q": {}}
		e, err := newEnvironment(declared, Registration{Credentials: Credentials{Variables: map[string]any{"h": host, "p": path, "q": query}}}, false)
		if err != nil {
			return
		}
		got, err := u.expand(e)
		if err != nil {
			return
		}
		again, err := url.Parse(got.String())
		if err != nil {
			t.Fatalf("%q, %q, %q make no URL: %v", host, path, query, err)
		}
		if again.Scheme != "https" || again.Port() != "8443" || again.User != nil || again.Fragment != "" || strings.Contains(got.String(), "#") {
			t.Errorf("became %s", again)
		}
		if h := again.Hostname(); !strings.HasPrefix(h, "api.") || !strings.HasSuffix(h, ".example.com") || h != "api."+host+".example.com" {
			t.Errorf("host %s", h)
		}
		segments := strings.Split(again.EscapedPath(), "/")
		if len(segments) != 5 || strings.Count(again.Path, "/") != 4 || segments[1] != "a" {
			t.Errorf("path %s", again.EscapedPath())
		}
		for i, want := range []string{"", "a", "x" + path, path + "y", path} {
			if plain, err := url.PathUnescape(segments[i]); err != nil || plain != want || plain == ".." || plain == "." {
				t.Errorf("segment %d is %q", i, segments[i])
			}
		}
		if values := again.Query(); len(values) != 3 || values.Get("lit") != "1" || values.Get("q") != query || values.Get("r") != path {
			t.Errorf("query %s", again.RawQuery)
		}
	})
}
