// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"encoding/hex"
	"html"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	maxLayers = 4 // nested encodings that are undone
	minBase64 = 6 // characters; a shorter run is an ordinary word
	minHex    = 8 // digits

	alignments = 4 // characters that base64 encodes together
)

// anyDecoding reports whether hit accepts the text or any of its decodings, also
// when several usual encodings are nested. Each text that is checked costs its
// length (in bytes) of the budget. If the budget is used up, the result is true.
// Texts shorter than shortest are not checked: encoded text is never shorter
// than what it encodes.
func anyDecoding(text string, shortest int, spaces bool, budget *int, hit func(string) bool) bool {
	seen := map[string]struct{}{}
	for level, layer := []string{text}, 0; len(level) > 0; layer++ {
		var next []string
		for _, t := range level {
			if len(t) < shortest {
				continue
			}
			if _, again := seen[t]; again {
				continue
			}
			seen[t] = struct{}{}
			if *budget -= len(t); *budget < 0 || hit(t) {
				return true
			}
			if layer < maxLayers {
				next = append(next, decodings(t, shortest, spaces)...)
			}
		}
		level = next
	}
	return false
}

// decodings undoes each usual encoding once, wherever it occurs in s. Runs of
// base64 or hexadecimal digits are decoded only if they are long enough to hold
// shortest bytes. The "+" of a form is decoded only if spaces is true.
func decodings(s string, shortest int, spaces bool) []string {
	var out []string
	if plain := unpercent(s); plain != s {
		out = append(out, plain)
	}
	if spaces && strings.IndexByte(s, '+') >= 0 {
		out = append(out, strings.ReplaceAll(s, "+", " "))
	}
	if strings.IndexByte(s, '&') >= 0 {
		out = append(out, html.UnescapeString(s))
	}
	if strings.IndexByte(s, '\\') >= 0 {
		out = append(out, unbackslash(s))
	}
	base64Run, hexRun := longestRuns(s)
	if least := max(minBase64, shortest*4/3); base64Run >= least {
		out = append(out, unbase64(s, least)...)
	}
	if least := max(minHex, shortest*2); hexRun >= least {
		for skip := range 2 {
			out = append(out, unhexRuns(s, least, skip))
		}
	}
	return out
}

// unpercent decodes percent-encoding. A % that encodes nothing stays.
func unpercent(s string) string {
	first := strings.IndexByte(s, '%')
	if first < 0 {
		return s
	}
	out := append(make([]byte, 0, len(s)), s[:first]...)
	for i := first; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			out = append(out, nibble(s[i+1])<<4|nibble(s[i+2]))
			i += 2
			continue
		}
		out = append(out, s[i])
	}
	return string(out)
}

// unbackslash decodes the backslash escapes of JSON, JavaScript, Go and Python.
func unbackslash(s string) string {
	var out strings.Builder
	out.Grow(len(s))
	for {
		i := strings.IndexByte(s, '\\')
		if i < 0 || i+1 == len(s) {
			out.WriteString(s)
			return out.String()
		}
		out.WriteString(s[:i])
		text, length := unescape(s[i:])
		out.WriteString(text)
		s = s[i+length:]
	}
}

// unescape decodes the escape at the beginning of s. It also returns the length
// of the escape.
func unescape(s string) (string, int) {
	switch s[1] {
	case 'u':
		first, ok := codeUnit(s, 'u', 4)
		if !ok {
			break
		}
		if second, ok := codeUnit(s[6:], 'u', 4); ok && utf16.IsSurrogate(first) {
			if r := utf16.DecodeRune(first, second); r != utf8.RuneError {
				return string(r), 12
			}
		}
		return string(first), 6
	case 'U':
		if r, ok := codeUnit(s, 'U', 8); ok {
			return string(r), 10
		}
	case 'x':
		if b, ok := codeUnit(s, 'x', 2); ok {
			return string([]byte{byte(b)}), 4 //nolint:gosec // two digits
		}
	}
	if i := strings.IndexByte("ntrbf", s[1]); i >= 0 {
		return "\n\t\r\b\f"[i : i+1], 2
	}
	return s[1:2], 2
}

// codeUnit reads a backslash, the letter and this number of hexadecimal digits.
func codeUnit(s string, letter byte, digits int) (rune, bool) {
	if len(s) < 2+digits || s[0] != '\\' || s[1] != letter {
		return 0, false
	}
	n, err := strconv.ParseUint(s[2:2+digits], 16, 31)
	return rune(n), err == nil
}

// unbase64 decodes every run of at least `least` base64 characters, in either
// alphabet, once from each of the run's first four characters: a run may be cut at
// any place or follow other text. It ignores line breaks within a run (RFC 2045), and
// the spaces that replace them in a header.
func unbase64(s string, least int) []string {
	var all strings.Builder // of the four texts, one after the other
	all.Grow(alignments * len(s))
	digits := make([]byte, 0, len(s))
	out := make([]string, 0, alignments)
	for skip := range alignments {
		start := all.Len()
		eachRun(s, isBase64, least, func(run string, encoded bool) {
			if !encoded {
				all.WriteString(strings.TrimLeft(run, "=")) // without the padding of the previous run
				return
			}
			digits = digits[:0]
			for i := range len(run) {
				if run[i] > ' ' {
					digits = append(digits, sextet(run[i]))
				}
			}
			for rest := digits[min(skip, len(digits)):]; len(rest) > 1; rest = rest[min(alignments, len(rest)):] {
				all.WriteByte(rest[0]<<2 | rest[1]>>4)
				if len(rest) > 2 {
					all.WriteByte(rest[1]<<4 | rest[2]>>2)
				}
				if len(rest) > 3 {
					all.WriteByte(rest[2]<<6 | rest[3])
				}
			}
		})
		out = append(out, all.String()[start:])
	}
	return out
}

// unhexRuns decodes every run of at least `least` hexadecimal digits, starting
// from each run's skip-th digit.
func unhexRuns(s string, least, skip int) string {
	out := make([]byte, 0, len(s))
	eachRun(s, isHex, least, func(run string, encoded bool) {
		if !encoded {
			out = append(out, run...)
			return
		}
		run = run[skip:]
		out, _ = hex.AppendDecode(out, []byte(run[:len(run)&^1])) // always an even number of digits
	})
	return string(out)
}

// eachRun splits s into runs of at least shortest bytes of the kind, and the
// text between the runs. It calls do for each part in order.
func eachRun(s string, kind func(byte) bool, shortest int, do func(run string, ofKind bool)) {
	between := 0
	for i := 0; i < len(s); {
		end := i
		for end < len(s) && kind(s[end]) {
			end++
		}
		if end-i >= shortest {
			do(s[between:i], false)
			do(s[i:end], true)
			between = end
		}
		i = max(end, i+1)
	}
	do(s[between:], false)
}

// longestRuns returns the lengths of the longest run of base64 characters and of
// the longest run of hexadecimal digits.
func longestRuns(s string) (base64Run, hexRun int) {
	base64Now, hexNow := 0, 0
	for i := range len(s) {
		if !isBase64(s[i]) { // and so no hexadecimal digit
			base64Now, hexNow = 0, 0
			continue
		}
		if hexNow++; !isHex(s[i]) {
			hexNow = 0
		}
		base64Now++
		base64Run, hexRun = max(base64Run, base64Now), max(hexRun, hexNow)
	}
	return base64Run, hexRun
}

func isBase64(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '+' || c == '/' || c == '-' || c == '_' || c == '\n' || c == '\r' || c == ' '
}

func sextet(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c - 'A'
	case 'a' <= c && c <= 'z':
		return c - 'a' + 26
	case '0' <= c && c <= '9':
		return c - '0' + 52
	case c == '+' || c == '-':
		return 62
	default:
		return 63
	}
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func nibble(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	default:
		return c - 'a' + 10
	}
}
