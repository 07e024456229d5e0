// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"encoding/base64"
	"encoding/hex"
	"html"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	maxText = 200 // characters of the provider's own words in an error
	maxRead = 4096
	window  = 8 // so many consecutive bytes of a credential give it away

	maxDepth   = 4         // encodings undone on top of each other
	maxDecoded = 128 << 10 // bytes looked at

	withheld = "(withheld: it repeats a credential)"
)

// redactor keeps a request's credentials out of what a provider says. It
// undoes the encodings in which a request can be echoed, and looks for parts
// of a credential, since an echo may be cut anywhere.
type redactor struct {
	whole   []string            // the credentials themselves, in each usual encoding
	short   []string            // those of at most a window, in lower case
	windows map[string]struct{} // of the longer ones
}

func newRedactor(r Request) redactor {
	out := redactor{windows: map[string]struct{}{}}
	for _, secret := range append([]string{r.ClientSecret, r.Password, r.RefreshToken}, r.Secrets...) {
		out.whole = append(out.whole, secret, url.QueryEscape(secret), url.PathEscape(secret),
			base64.RawStdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret)))
		for _, s := range folded(secret) {
			if s != "" && len(s) <= window && !slices.Contains(out.short, s) {
				out.short = append(out.short, s)
			}
			for i := 0; len(s) > window && i+window <= len(s); i++ {
				out.windows[s[i:i+window]] = struct{}{}
			}
		}
	}
	if r.Auth == AuthBasic {
		out.whole = append(out.whole, strings.TrimRight(r.basicCredentials(), "="))
	}
	return out
}

// leaks says whether text gives away a credential, in any usual encoding, also
// of several on top of each other. A text that would take too long to tell
// counts as one that does.
func (r redactor) leaks(text string) bool {
	if len(r.short) == 0 && (len(r.windows) == 0 || len(text) < window) {
		return false // no encoding is shorter than what it encodes
	}
	seen, size := map[string]struct{}{}, 0
	for level, depth := []string{text}, 0; len(level) > 0; depth++ {
		var next []string
		for _, t := range level {
			if _, again := seen[t]; again {
				continue
			}
			seen[t], size = struct{}{}, size+len(t)
			if r.holdsPart(t) || size > maxDecoded {
				return true
			}
			if depth < maxDepth {
				next = append(next, decodings(t)...)
			}
		}
		level = next
	}
	return false
}

func (r redactor) holdsPart(text string) bool {
	for _, text := range folded(text) {
		if slices.ContainsFunc(r.short, func(s string) bool { return strings.Contains(text, s) }) {
			return true
		}
		for i := 0; i+window <= len(text); i++ {
			if _, part := r.windows[text[i:i+window]]; part {
				return true
			}
		}
	}
	return false
}

// folded is s in lower case, once by its letters and once by its bytes alone,
// since what was cut within a letter is no text any more.
func folded(s string) []string {
	ascii := []byte(s)
	for i, c := range ascii {
		if 'A' <= c && c <= 'Z' {
			ascii[i] += 'a' - 'A'
		}
	}
	if lower := strings.ToLower(s); lower != string(ascii) {
		return []string{lower, string(ascii)}
	}
	return []string{string(ascii)}
}

// repeats says whether a member of a good answer holds a whole credential. Such
// members can be long and opaque (an ID token), so what is looked for is encoded
// rather than they decoded, and a credential that may be there by chance, for
// its shortness, is passed over.
func (r redactor) repeats(v any) bool {
	return slices.ContainsFunc(r.whole, func(secret string) bool {
		return len(secret) >= window && contains(v, secret)
	})
}

// text is a provider's own words as an error may show them.
func (r redactor) text(s string) string {
	if s == "" || slices.Contains(registeredCodes(), s) {
		return s
	}
	if len(s) > maxRead {
		s = s[:maxRead]
	}
	if r.leaks(s) {
		return withheld
	}
	shown := printable(opaque.ReplaceAllString(s, "[…]"))
	if shown != s && r.leaks(shown) { // put together by what was left out
		return withheld
	}
	return shown
}

// opaque is what looks like a token or a key, whoever's it is.
var opaque = regexp.MustCompile(`[A-Za-z0-9+/_=-]{40,}|eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_.-]*`)

// printable keeps at most 200 printable characters of s.
func printable(s string) string {
	s = strings.ToValidUTF8(s, "�")
	s = strings.Join(strings.FieldsFunc(s, func(c rune) bool {
		return unicode.IsSpace(c) || !unicode.IsPrint(c)
	}), " ")
	if utf8.RuneCountInString(s) > maxText {
		s = string([]rune(s)[:maxText-1]) + "…"
	}
	return s
}

var (
	base64Run = regexp.MustCompile(`[A-Za-z0-9+/_-]{6,}`)
	hexRun    = regexp.MustCompile(`[0-9a-fA-F]{8,}`)
	percent   = regexp.MustCompile(`%[0-9a-fA-F]{2}`)
	backslash = regexp.MustCompile(`(?s)(?:\\u[0-9a-fA-F]{4})+|\\U[0-9a-fA-F]{8}|\\x[0-9a-fA-F]{2}|\\.`)
)

// decodings undoes each usual encoding once, wherever in s it is found.
func decodings(s string) []string {
	out := []string{
		percent.ReplaceAllStringFunc(s, func(m string) string { return unhex(m[1:]) }),
		strings.ReplaceAll(s, "+", " "),
		html.UnescapeString(s),
		backslash.ReplaceAllStringFunc(s, unescape),
	}
	// A run may be cut anywhere, or follow other text: try each alignment.
	standard := strings.NewReplacer("-", "+", "_", "/")
	for skip := range 4 {
		out = append(out, base64Run.ReplaceAllStringFunc(s, func(run string) string {
			part := standard.Replace(run[skip:])
			if len(part)%4 == 1 { // no whole byte more
				part = part[:len(part)-1]
			}
			b, err := base64.RawStdEncoding.DecodeString(part)
			if err != nil {
				return run
			}
			return string(b)
		}))
	}
	for skip := range 2 {
		out = append(out, hexRun.ReplaceAllStringFunc(s, func(run string) string {
			return unhex(run[skip : len(run)-(len(run)-skip)%2])
		}))
	}
	return out
}

func unhex(digits string) string {
	b, err := hex.DecodeString(digits)
	if err != nil {
		return digits
	}
	return string(b)
}

// unescape undoes the backslashes of JSON, JavaScript, Go and Python.
func unescape(m string) string {
	switch m[1] {
	case 'u':
		var units []uint16
		for _, digits := range strings.Split(m, `\u`)[1:] {
			n, err := strconv.ParseUint(digits, 16, 16)
			if err != nil {
				return m[1:]
			}
			units = append(units, uint16(n))
		}
		return string(utf16.Decode(units))
	case 'U':
		n, err := strconv.ParseInt(m[2:], 16, 32)
		if err != nil {
			return m[1:]
		}
		return string(rune(n))
	case 'x':
		if len(m) > 2 {
			return unhex(m[2:])
		}
	}
	if i := strings.IndexByte("ntrbf", m[1]); i >= 0 {
		return "\n\t\r\b\f"[i : i+1]
	}
	return m[1:]
}
