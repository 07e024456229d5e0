// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"net/http"
	"strings"
)

// metadataIn returns the resource_metadata (RFC 9728 section 5.1) of the
// challenges in an answer (WWW-Authenticate, RFC 9110 section 11.6.1), of whatever
// scheme. If there are several, it returns the first; if there is none, "". A
// line that is not a list of challenges is read up to the place where it stops
// being one.
func metadataIn(header http.Header) string {
	for _, rest := range header.Values("WWW-Authenticate") {
		for {
			rest = strings.TrimLeft(rest, " \t,")
			word := rest[:spanOf(rest, isChallengeWord)]
			if word == "" {
				break
			}
			after, isParameter := strings.CutPrefix(strings.TrimLeft(rest[len(word):], " \t"), "=")
			if !isParameter { // a scheme, or its token68
				rest = rest[len(word):]
				continue
			}
			value, left, ok := challengeValue(strings.TrimLeft(after, " \t"))
			if !ok {
				break
			}
			if strings.EqualFold(word, "resource_metadata") {
				return value
			}
			rest = left
		}
	}
	return ""
}

// challengeValue reads a value from the beginning of s, which may be a quoted
// string (RFC 9110 section 5.6.4). It returns the value and what follows it, and
// false if a quoted string does not end.
func challengeValue(s string) (value, left string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		n := spanOf(s, func(c byte) bool { return c > ' ' && c != ',' })
		return s[:n], s[n:], true
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], true
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

// isChallengeWord reports whether c may be part of a scheme, of a parameter's
// name or of a token68.
func isChallengeWord(c byte) bool {
	return c > ' ' && c < 0x7f && !strings.ContainsRune(`",;:=()<>@[]?{}\`, rune(c))
}

// spanOf returns how many bytes at the beginning of s are of that kind.
func spanOf(s string, kind func(byte) bool) int {
	n := 0
	for n < len(s) && kind(s[n]) {
		n++
	}
	return n
}
