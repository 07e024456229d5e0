// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"encoding/json"
	"encoding/xml"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

const fuzzedSecret = "the-secret-of-the-client"

// fuzzed resolves a config of a provider that declares the variables v, opt, made, sig and otp.
func fuzzed(t *testing.T, config object) (*Effective, error) {
	t.Helper()
	whole := object{"client_id": "the-client", "client_secret": fuzzedSecret, "token_url": plainURL}
	for name, v := range config {
		whole[name] = v
	}
	definition := Layer{"variables": object{
		"v": object{}, "opt": object{"optional": true}, "made": object{"value": "{v}:{client_secret|hex}"}, "sig": object{"value": "{v}{now|unix}{random|hex}"},
		"otp": object{"secret": true, "default": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"},
	}}
	e, err := resolveConfig(definition, whole)
	if err != nil && (strings.Contains(err.Error(), fuzzedSecret) || len(err.Error()) > 4<<10) {
		t.Errorf("the error has %d bytes, or shows the secret: %v", len(err.Error()), err)
	}
	return e, err
}

// written returns the template as an operator can write it.
func (t template) written() string {
	var b strings.Builder
	for _, p := range t {
		if p.name == "" {
			b.WriteString(strings.NewReplacer("{", "{{", "}", "}}").Replace(p.literal))
		} else {
			b.WriteString(p.source)
		}
	}
	return b.String()
}

// FuzzPlaceholder fills in any text with any value. The text is refused, or the result
// is what the text says. The value is never taken for a part of the text.
func FuzzPlaceholder(f *testing.F) {
	for _, text := range []string{
		"{v}", "a{v}b", "{{v}}", "{{{v}}}", "{v|base64|hex|upper}", "{v|sha256|hex}", "{v|hmac_sha256:client_secret|base64url}", "{now+168h|strftime:%Y-%m-%d %H:%M:%S}",
		"{now-1s|unix_ms}", "{random|uuid}", "{made}", "{sig|hmac_sha256:made|hex}", "{opt}", "{scope}", "{v|json}{v|xml}{v|urlencode}", "{v|number}", "{v|base64_decode|hex}",
		"{v|rsa_sha256:private_key|base64}", "{made|rsa_sha256:private_key|hex}", "{now|totp:otp}", "{now-1h|totp:otp}", "{now|totp:v}", "{v|rsa_sha256:v|hex}", "{private_key}",
		"{", "}", "{v", "{v|}", "{now}", "{random}", "{v+1h}", "{now+99999999h|unix}", "{v|strftime:%Q}", "{client_secret}", "{}",
	} {
		f.Add(text, "value {v} {{x}} {client_secret}")
		f.Add(text, `12"\<&>%41+`)
	}
	key, err := signing.Generate(signing.RS256)
	if err != nil {
		f.Fatal(err)
	}
	private, err := key.MarshalPEM()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		if !utf8.ValidString(text) || !utf8.ValidString(value) {
			return // JSON holds only valid UTF-8
		}
		parsed, parseErr := parseTemplate(text)
		if parseErr == nil {
			again, err := parseTemplate(parsed.written())
			if err != nil || len(again) != len(parsed) || again.written() != parsed.written() {
				t.Fatalf("%q is %q, which is read as %q, %v", text, parsed.written(), again.written(), err)
			}
		}
		e, err := fuzzed(t, object{"parameters": object{"p": text}, "variables": object{"v": value}, "private_key": private})
		if err != nil {
			return
		}
		if parseErr != nil {
			t.Fatalf("%q was accepted, which %v", text, parseErr)
		}
		r, err := e.Request()
		if err != nil {
			t.Fatalf("%q could be written, and not asked: %v", text, err)
		}
		if r.Anew != nil {
			if _, err := r.Anew(sampleTime().AddDate(500, 0, 0)); err != nil {
				t.Fatalf("%q fails at another time: %v", text, err)
			}
		}
		got, _ := r.Parameters["p"].(string)
		if want := parsed.with(value); parsed.bare() && got != want {
			t.Errorf("%q with %q is %q", text, value, got)
		}
		shown, err := e.Describe()
		if err != nil {
			t.Fatalf("%q cannot be shown: %v", text, err)
		}
		if p, _ := shown["parameters"].(map[string]any); strings.Contains(asJSON(t, p), fuzzedSecret) && !strings.Contains(value+text, fuzzedSecret) || strings.Contains(asJSON(t, p), "PRIVATE KEY") && !strings.Contains(value+text, "PRIVATE KEY") {
			t.Errorf("%q is shown as %v", text, p)
		}
	})
}

// bare reports whether t consists only of text and of {v} without a filter.
func (t template) bare() bool {
	for _, p := range t {
		if p.name != "" && (p.name != "v" || p.filters != nil) {
			return false
		}
	}
	return true
}

// with returns the text of t with that value in place of each placeholder.
func (t template) with(value string) string {
	var b strings.Builder
	for _, p := range t {
		if p.name != "" {
			b.WriteString(value)
		}
		b.WriteString(p.literal)
	}
	return b.String()
}

// FuzzBody sends any value in bodies of three kinds. The reader of each body must
// find exactly that value.
func FuzzBody(f *testing.F) {
	for _, value := range []string{"", "x", `","admin":true,"x":"`, "</p><admin/><p>", "x&admin=1", `x" admin="1`, "\x00\x01\xff", "{v}{{", "\u2028]]>", "&lt;&#0;", "a\r\nb"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if !utf8.ValidString(value) {
			return // JSON holds only valid UTF-8
		}
		body := func(contentType, text string) string {
			t.Helper()
			e, err := fuzzed(t, templated(contentType, text, object{"variables": object{"v": value}}))
			if err != nil {
				if len(value) < maxExpanded/12 {
					t.Fatalf("%q as %s: %v", value, contentType, err)
				}
				t.Skip()
			}
			r, err := e.Request()
			if err != nil {
				t.Fatal(err)
			}
			return r.Body
		}
		var object map[string]string
		text := body("application/json", `{{"p":{v|json}}}`)
		if err := json.Unmarshal([]byte(text), &object); err != nil || len(object) != 1 || object["p"] != value {
			t.Errorf("%q in JSON is %s: %v, %v", value, text, object, err)
		}
		var element struct {
			P    string     `xml:"p"`
			A    string     `xml:"a,attr"`
			Any  []any      `xml:",any"`
			Attr []xml.Attr `xml:",any,attr"`
		}
		text = body("text/xml", `<x a="{v|xml}"><p>{v|xml}</p></x>`)
		if err := xml.Unmarshal([]byte(text), &element); err != nil || element.Any != nil || element.Attr != nil || isXMLText(value) && (element.P != value || element.A != value) {
			t.Errorf("%q in XML is %s: %+v, %v", value, text, element, err)
		}
		text = body("application/x-www-form-urlencoded", `p={v|urlencode}&q=1`)
		if form, err := url.ParseQuery(text); err != nil || len(form) != 2 || form.Get("p") != value || form.Get("q") != "1" {
			t.Errorf("%q in a form is %s: %v, %v", value, text, form, err)
		}
	})
}

// isXMLText reports whether XML can carry all of the text (XML 1.0 section 2.2).
func isXMLText(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool {
		return c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0xFFFE || c == 0xFFFF
	})
}

// FuzzURL fills any value into any URL. The URL is refused, or it leads to the host
// that is written, and holds the value where its placeholder stands.
func FuzzURL(f *testing.F) {
	for _, text := range []string{
		"https://{v}.example.com/token", "https://login.example.com/{v}/token?q={v}", "https://a{v}b.example.com/x{v}?a=1&b={v}&c", "https://login.example.com/token?q={client_secret}",
		"https://{v}/token", "http://127.0.0.1:8080/{v}", "https://login.example.com:{v}/", "https://{v}@login.example.com/", "https://login.example.com/#{v}", "https://[::1]/{v}",
		"https://login.example.com/{now|unix}?s={sig|hmac_sha256:client_secret|hex}", "https://zq0qz.example.com/{v}", "//{v}", "https://login.example.com/%2e%2e/{v}", "https://login.example.com?{v}=1",
	} {
		for _, value := range []string{"acme", "..", "a/b", "a.b", "@evil.example", "evil.example/", "%2e%2e", "a?b#c", "127.0.0.1", "zq0qz", " ", "ü", "a&b=c+d", ""} {
			f.Add(text, value)
		}
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		if !utf8.ValidString(text) || !utf8.ValidString(value) {
			return // JSON holds only valid UTF-8
		}
		e, err := fuzzed(t, object{"token_url": text, "variables": object{"v": value}, "parameters": object{"p": "{v}"}})
		if err != nil {
			return
		}
		r, err := e.Request()
		if err != nil {
			t.Fatalf("%q could be written, and not asked: %v", text, err)
		}
		got, err := url.Parse(r.URL)
		if err != nil || got.User != nil || got.Fragment != "" || got.Scheme != "https" && got.Scheme != "http" {
			t.Fatalf("%q with %q is %q, %v", text, value, r.URL, err)
		}
		template := e.urls["token_url"]
		pattern, err := url.Parse(template.text)
		if err != nil {
			t.Fatal(err)
		}
		if pattern.Scheme != got.Scheme || pattern.Port() != got.Port() || strings.Count(pattern.EscapedPath(), "/") != strings.Count(got.EscapedPath(), "/") {
			t.Errorf("%q with %q is %q", text, value, r.URL)
		}
		host := markers.ReplaceAllString(pattern.Hostname(), value)
		if got.Hostname() != host || strings.Contains(host, fuzzedSecret) {
			t.Errorf("%q with %q leads to %q", text, value, got.Hostname())
		}
		if _, err := netip.ParseAddr(got.Hostname()); err == nil && len(template.host.names()) > 0 {
			t.Errorf("%q with %q leads to the address %q", text, value, got.Hostname())
		}
		for _, q := range template.query {
			if len(q.value) != 1 || q.value[0].name != "v" || q.value[0].filters != nil {
				continue
			}
			if sent := r.URL[strings.IndexByte(r.URL, '?')+1:]; !strings.Contains("&"+sent+"&", "&"+q.name+"="+url.QueryEscape(value)+"&") {
				t.Errorf("%q with %q asks for %q", text, value, sent)
			}
		}
	})
}

// FuzzHostOutOfAnAnswer takes the whole host or a part of it from any answer. The host
// is refused, or source_hosts allows it. Nothing else of the URL changes.
func FuzzHostOutOfAnAnswer(f *testing.F) {
	for _, answer := range []string{
		"https://a.example.com", "a.example.com", "HTTPS://A.example.com:443/x?y#z", "https://x@a.example.com", "https://a.example.com:1", "https://evil.test\\.a.example.com",
		"https://\u212a.example.com", "xn--a.example.com", "a.example.com.", "a..example.com", "[::1]", "127.1", "a%2eexample.com", "a\n.example.com", "-a", "a_b", "",
	} {
		f.Add(answer)
	}
	f.Fuzz(func(t *testing.T, answer string) {
		for _, written := range []string{chainedURL, "https://{source.instance_url}.example.com/token", "https://{source.instance_url}/token"} {
			e, err := chainedConfig(object{"token_url": written, "source_hosts": []any{"a.example.com", "*.b.example.com"}})
			if err != nil {
				t.Fatal(err)
			}
			given, err := e.From("source_config", chainedSecret, object{"instance_url": answer})
			if err != nil {
				t.Fatal(err)
			}
			r, err := e.WithInputs(given).Request()
			if err != nil {
				wantInvalid(t, err, "token_url", chainedSecret)
				continue
			}
			host, ok := strings.CutPrefix(r.URL, "https://")
			host, rest := strings.CutSuffix(host, "/token")
			if !ok || !rest || host != "a.example.com" && !strings.HasSuffix(host, ".b.example.com") || strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
				t.Errorf("%q leads to %s", answer, r.URL)
			}
		}
	})
}
