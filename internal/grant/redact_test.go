// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// encodings returns the ways in which a provider may repeat what it was sent.
func encodings() map[string]func(string) string {
	percent := func(format string) func(string) string {
		return func(s string) string {
			var b strings.Builder
			for _, c := range []byte(s) {
				fmt.Fprintf(&b, format, c)
			}
			return b.String()
		}
	}
	shifted := func(e *base64.Encoding, n int) func(string) string {
		return func(s string) string { return e.EncodeToString([]byte("id:="[:n] + s)) }
	}
	// As JSON text within a description, it is escaped once more than the answer.
	jsonText := func(s string) string {
		b, _ := json.Marshal(s) //nolint:errchkjson // a string
		return string(b)
	}
	unicodeEscapes := func(format string) func(string) string {
		return func(s string) string {
			var b strings.Builder
			for _, c := range utf16.Encode([]rune(s)) {
				fmt.Fprintf(&b, format, c)
			}
			return b.String()
		}
	}
	entities := func(format string) func(string) string {
		return func(s string) string {
			var b strings.Builder
			for _, c := range s {
				fmt.Fprintf(&b, format, c)
			}
			return b.String()
		}
	}
	out := map[string]func(string) string{
		"as it is":            func(s string) string { return s },
		"upper case":          strings.ToUpper,
		"lower case":          strings.ToLower,
		"form":                url.QueryEscape,
		"form, lower case":    func(s string) string { return strings.ToLower(url.QueryEscape(s)) },
		"path":                url.PathEscape,
		"percent, every byte": percent("%%%02X"),
		"percent, lower":      percent("%%%02x"),
		"percent twice":       func(s string) string { return url.QueryEscape(url.QueryEscape(s)) },
		"percent thrice":      func(s string) string { return url.QueryEscape(url.QueryEscape(url.QueryEscape(s))) },
		"JSON":                jsonText,
		"JSON in JSON":        func(s string) string { return jsonText(jsonText(s)) },
		`\u everywhere`:       unicodeEscapes(`\u%04x`),
		`\u upper`:            unicodeEscapes(`\u%04X`),
		"\\x everywhere":      percent(`\x%02x`),
		"Go":                  func(s string) string { return fmt.Sprintf("%q", s) },
		"Go, ASCII":           func(s string) string { return fmt.Sprintf("%+q", s) },
		"HTML":                html.EscapeString,
		"HTML, decimal":       entities("&#%d;"),
		"HTML, hexadecimal":   entities("&#x%x;"),
		"HTML twice":          func(s string) string { return html.EscapeString(html.EscapeString(s)) },
		"hex":                 func(s string) string { return hex.EncodeToString([]byte(s)) },
		"hex, upper":          func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
		"hex, off by a digit": func(s string) string { return "a" + hex.EncodeToString([]byte(s)) },
		"Basic, raw":          func(s string) string { return base64.StdEncoding.EncodeToString([]byte("the-client:" + s)) },
		"Basic, RFC 6749": func(s string) string {
			return base64.StdEncoding.EncodeToString([]byte("the-client:" + url.QueryEscape(s)))
		},
		"base64 in a form": func(s string) string { return url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(s))) },
		"base64 of a form": func(s string) string { return base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(s) + "&a=b")) },
		"base64 twice": func(s string) string {
			return base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte(s))))
		},
		"JSON in a form": func(s string) string { return url.QueryEscape(jsonText(s)) },
		"a form in JSON": func(s string) string { return jsonText("client_secret=" + url.QueryEscape(s)) },
		"broken lines":   func(s string) string { return strings.ReplaceAll(s, " ", "\n  ") },
	}
	for n := range 4 {
		out[fmt.Sprintf("base64 at %d", n)] = shifted(base64.StdEncoding, n)
		out[fmt.Sprintf("base64url at %d", n)] = shifted(base64.RawURLEncoding, n)
	}
	return out
}

// givesAway returns the part of the secret that the text, which a reader sees,
// gives away: eight bytes of it, or three quarters of its encoding. It returns ""
// if there is none. A shorter secret counts as a whole.
func givesAway(text, secret string, encode func(string) string) string {
	if len(secret) <= window {
		if strings.Contains(text, encode(secret)) {
			return encode(secret)
		}
		return ""
	}
	for i := 0; i+window <= len(secret); i++ {
		if strings.Contains(text, secret[i:i+window]) {
			return secret[i : i+window]
		}
	}
	// An encoding without its ends is as readable as a whole one.
	encoded := encode(secret)
	length := len(encoded) * 3 / 4
	for i := 0; i+length <= len(encoded); i++ {
		if strings.Contains(text, encoded[i:i+length]) {
			return encoded[i : i+length]
		}
	}
	return ""
}

func TestNoEncodingOfASecretIsShown(t *testing.T) {
	t.Parallel()
	const noise = "Authorization header application/json application/x-www-form-urlencoded Cache-Control no-store " +
		"identification required parameters: grant_type=client_credentials, client_assertion, everything "
	secrets := awkwardSecrets()
	secrets["short"], secrets["of eight"], secrets["long"] = "hunter2", "passw0rd", strings.Repeat("Lp7#x ü", 30)
	for name, secret := range secrets {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := standardRequest("")
			r.ClientSecret = secret
			redact := redactorFor(r)
			for how, encode := range encodings() {
				encoded := encode(secret)
				for where, text := range map[string]string{
					"alone": encoded, "in a sentence": "No client has the secret " + encoded + ", sorry",
					"after a word": "secret" + encoded,
					"after much":   noise + encoded, "half begun": "x" + encoded[:(len(encoded)+1)/2],
				} {
					if len(secret) <= window && (where == "half begun" || where == "after a word") {
						continue // such a small part reveals little
					}
					if got := redact.text(text); got != withheld {
						if part := givesAway(got, secret, encode); part != "" {
							t.Errorf("%s, %s: %q gives away %q", how, where, got, part)
						}
					}
				}
			}
		})
	}
}

func TestHarmlessDescriptionsSurvive(t *testing.T) {
	t.Parallel()
	texts := []string{
		"Invalid scope: Requested scope is invalid",
		"Client authentication failed",
		"AADSTS7000215: Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID",
		"Größe & Maß: 100 % of “all” <things> at 5+5=10 c:\\dir\\new",
		"Error 0x80070005, request 3f2504e0-4f89-11d3-9a0c-0305e82c3301, at 2026-01-02T03:04:05Z",
		"See https://example.com/errors?code=42&lang=en for a description",
		"名前が無効です",
	}
	for name, secret := range awkwardSecrets() {
		r := standardRequest("")
		r.ClientSecret, r.Password, r.Secrets = secret, "another "+secret, []string{secret + "/3"}
		redact := redactorFor(r)
		for _, text := range texts {
			if got := redact.text(text); got != text {
				t.Errorf("%s: %q became %q", name, text, got)
			}
		}
	}
}

// Registered codes reveal nothing about a credential, even one with the same
// text.
func TestRegisteredCodesAlwaysSurvive(t *testing.T) {
	t.Parallel()
	for _, code := range registeredCodes {
		r := standardRequest("")
		r.ClientSecret, r.Password = code, "my "+code
		if got := redactorFor(r).text(code); got != code {
			t.Errorf("%s became %q", code, got)
		}
	}
}

func TestEachCredentialIsASecret(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*Request, string){
		"client_secret": func(r *Request, s string) { r.ClientSecret = s },
		"password":      func(r *Request, s string) { r.Password = s },
		"refresh_token": func(r *Request, s string) { r.RefreshToken = s },
		"others":        func(r *Request, s string) { r.Secrets = []string{"", s} },
	} {
		var r Request
		set(&r, "an-unlikely-value")
		redact := redactorFor(r)
		if got := redact.text("it is an-unlikely-value"); got != withheld {
			t.Errorf("%s: %q", name, got)
		}
		if got := redact.text("it is fine"); got != "it is fine" {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := redactorFor(Request{}).text("no secrets at all"); got != "no secrets at all" {
		t.Errorf("without secrets: %q", got)
	}
}

// A provider may quote the whole request in each text of its error.
func TestAnEchoOfTheRequestShowsNoSecret(t *testing.T) {
	t.Parallel()
	for name, secret := range awkwardSecrets() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, dialect := range providertest.Dialects() {
				s := providertest.Start(t, dialect, providertest.Options{})
				s.Behave(providertest.Behavior{Times: -1, Echo: true})
				for how, change := range map[string]func(*Request){
					"post":      func(*Request) {},
					"basic":     func(r *Request) { r.Auth = AuthBasic },
					"raw basic": func(r *Request) { r.Auth, r.BasicRaw = AuthBasic, true },
					"JSON":      func(r *Request) { r.Format = JSON },
					"query":     func(r *Request) { r.Format = Query },
					"password":  func(r *Request) { r.GrantType, r.Username, r.Password = GrantPassword, "user", "pw:"+secret },
					"refresh":   func(r *Request) { r.GrantType, r.RefreshToken = GrantRefreshToken, "rt:"+secret },
				} {
					if dialect != providertest.RFC6749 && how != "post" && how != "basic" {
						continue // dialects differ only in their answers, so two ways are enough
					}
					r := standardRequest(s.TokenURL())
					r.ClientSecret = secret
					r.Answer.Error = []Pointer{"/error/code_reason", "/name", "/error"}
					r.Answer.ErrorDescription = []Pointer{"/error/message", "/message", "/error_description"}
					change(&r)
					e := refusal(t, r)
					for encoding, encode := range encodings() {
						if part := givesAway(e.Error(), secret, encode); part != "" {
							t.Errorf("%s by %s, %s: %q gives away %q", dialect, how, encoding, e, part)
						}
					}
					if e.Code != withheld {
						t.Errorf("%s by %s: the code is %q", dialect, how, e.Code)
					}
				}
			}
		})
	}
}

func TestSecretsInTheNamesOfMembersAndInTypesAreNotShown(t *testing.T) {
	t.Parallel()
	s := answering(t, http.StatusOK, asJSON, `{"access_token":"tok","expires_in":60,"token_type":"the-secret-of-the-client","scope":"x the-secret-of-the-client"}`)
	r := standardRequest(s.TokenURL())
	r.Scopes = []string{"asked"}
	got, err := mint(t, r)
	if err != nil || got.TokenType != "Bearer" || got.Scope != "asked" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// A private key is a long secret, and an answer may be designed to be slow to read.
func BenchmarkRedact(b *testing.B) {
	r := standardRequest("")
	r.Secrets = []string{strings.Repeat("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ", 60)}
	redact := redactorFor(r)
	text := string(bytes.Repeat([]byte("QUJDREVGR0hJSktMTU5P %41+&amp;\\u0041 "), 110))
	b.ReportAllocs()
	for b.Loop() {
		_ = redact.text(text)
	}
}

func TestSecretThatIsNoTextIsKnownAsJSONHasIt(t *testing.T) {
	const secret = "caf\xe9-Token-\xc3\x9c-1"
	r := newRedactor(Request{ClientSecret: secret}, nil)
	for name, echo := range map[string]string{
		"as it is":                 secret,
		"in JSON":                  "caf\ufffd-Token-\u00dc-1",
		"in JSON and lower case":   "caf\ufffd-token-\u00fc-1",
		"in base64":                base64.StdEncoding.EncodeToString([]byte(secret)),
		"in base64 and lower case": base64.StdEncoding.EncodeToString([]byte("caf\xe9-token-\u00fc-1")),
	} {
		if !r.filter().tells("x " + echo + " y") {
			t.Errorf("%s: it is handed out", name)
		}
		if !r.leaks("x " + echo + " y") {
			t.Errorf("%s: it is told in an error", name)
		}
	}
}
