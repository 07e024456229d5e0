// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"encoding/base64"
	"encoding/hex"
	"html"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxText  = 200 // characters of the provider's own words in an error
	maxRead  = 4096
	window   = 8 // so many consecutive bytes of a credential give it away
	withheld = "(withheld: it repeats a credential)"
)

// redactor keeps a request's credentials out of what a provider says. It
// undoes the encodings in which a request can be echoed, and looks for parts
// of a credential, since an echo may be cut anywhere.
type redactor struct {
	secrets []string // lower case
}

func newRedactor(r Request) redactor {
	var out redactor
	for _, s := range append([]string{r.ClientSecret, r.Password, r.RefreshToken}, r.Secrets...) {
		if s = strings.ToLower(s); s != "" && !slices.Contains(out.secrets, s) {
			out.secrets = append(out.secrets, s)
		}
	}
	return out
}

// leaks says whether text gives away a credential, in any usual encoding.
func (r redactor) leaks(text string) bool {
	if len(r.secrets) == 0 {
		return false
	}
	seen := []string{text}
	for depth, from := 0, 0; depth < 3; depth++ {
		to := len(seen)
		for _, t := range seen[from:to] {
			for _, d := range decodings(t) {
				if len(seen) < 64 && !slices.Contains(seen, d) {
					seen = append(seen, d)
				}
			}
		}
		from = to
	}
	return slices.ContainsFunc(seen, r.holdsPart)
}

func (r redactor) holdsPart(text string) bool {
	text = strings.ToLower(text)
	for _, s := range r.secrets {
		if len(s) <= window {
			if strings.Contains(text, s) {
				return true
			}
			continue
		}
		for i := 0; i+window <= len(s); i++ {
			if strings.Contains(text, s[i:i+window]) {
				return true
			}
		}
	}
	return false
}

// leaksIn is leaks for any JSON value.
func (r redactor) leaksIn(v any) bool {
	switch v := v.(type) {
	case string:
		return r.leaks(v)
	case map[string]any:
		for name, item := range v {
			if r.leaks(name) || r.leaksIn(item) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, r.leaksIn)
	}
	return false
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
	return printable(opaque.ReplaceAllString(s, "[…]"))
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
	base64Run = regexp.MustCompile(`[A-Za-z0-9+/_-]{8,}`)
	hexRun    = regexp.MustCompile(`(?:[0-9a-fA-F]{2}){4,}`)
	escape    = regexp.MustCompile(`\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|\\.`)
	percent   = regexp.MustCompile(`%[0-9a-fA-F]{2}`)
)

// decodings undoes each usual encoding once.
func decodings(s string) []string {
	var out []string
	unpercent := percent.ReplaceAllStringFunc(s, func(m string) string {
		b, _ := strconv.ParseUint(m[1:], 16, 8) //nolint:errcheck // two hex digits
		return string([]byte{byte(b)})
	})
	out = append(out, unpercent, strings.ReplaceAll(s, "+", " "), html.UnescapeString(s))
	out = append(out, escape.ReplaceAllStringFunc(s, func(m string) string {
		if len(m) > 2 {
			n, _ := strconv.ParseUint(m[2:], 16, 32) //nolint:errcheck // hex digits
			return string(rune(n))
		}
		return m[1:]
	}))
	for _, run := range base64Run.FindAllString(s, 8) {
		// The run may be cut anywhere, or follow other text: try each alignment.
		for skip := range 4 {
			if len(run)-skip < 4 {
				break
			}
			part := strings.NewReplacer("-", "+", "_", "/").Replace(run[skip:])
			if b, err := base64.RawStdEncoding.DecodeString(part[:len(part)-len(part)%4]); err == nil {
				out = append(out, string(b))
			}
		}
	}
	for _, run := range hexRun.FindAllString(s, 8) {
		if b, err := hex.DecodeString(run); err == nil {
			out = append(out, string(b))
		}
	}
	return out
}
