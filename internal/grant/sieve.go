// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import "strings"

// sieve finds the texts that may hold a credential, so that only these are searched
// for each credential in each of its forms. It lets every text through that holds
// one, and few others.
//
// It looks at visible ASCII characters only, in lower case, and skips all other
// bytes. So it does not matter how a text writes spaces and letters beyond ASCII.
type sieve struct {
	triples map[triple]struct{} // three characters in a row, of credentials
	step    int                 // it is enough to look at each triple of a text that ends at a multiple of this; 0 lets all texts through
	alone   map[uint32]struct{} // hashes of credentials that count only if they are the whole text
}

type triple [3]byte

// maxSifted is how many characters of a credential are looked for. A text that holds
// the credential holds these as well.
const maxSifted = 12

// newSieve returns a sieve for credentials that are searched for within other text,
// for those that count only if they are the whole text, and for windows of others.
func newSieve(whole, alone []string, parts *windows) *sieve {
	s := &sieve{triples: map[triple]struct{}{}, step: maxSifted, alone: map[uint32]struct{}{}}
	for _, text := range whole {
		chars := visible(text)
		chars = chars[:min(len(chars), maxSifted)]
		s.add(chars, len(chars))
	}
	for _, text := range alone {
		sum := uint32(0)
		for _, c := range visible(text) {
			sum = hashed(sum, c)
		}
		s.alone[sum] = struct{}{}
	}
	for text := range parts.texts() {
		s.add(visible(text), fewestVisible(text))
	}
	return s
}

// add adds the triples of these characters of a credential. A text that holds the
// credential, or a window of it, has at least fewest of these characters in a row.
func (s *sieve) add(chars []byte, fewest int) {
	s.step = max(min(s.step, fewest-2), 0)
	for i := 0; i+3 <= len(chars); i++ {
		s.triples[triple(chars[i:])] = struct{}{}
	}
}

// passes reports whether the text may hold a credential.
func (s *sieve) passes(text string) bool {
	if s.step == 0 {
		return true
	}
	var last triple
	sum, n, next := uint32(0), 0, s.step
	for i := range len(text) {
		c, is := visibleByte(text[i])
		if !is {
			if text[i] >= 0x80 && (strings.HasPrefix(text[i:], "\u212a") || strings.HasPrefix(text[i:], "\u0130")) {
				return true // the letters beyond ASCII whose lower case is an ASCII letter
			}
			continue
		}
		last, sum = triple{last[1], last[2], c}, hashed(sum, c)
		if n++; n < next {
			continue
		}
		next += s.step
		if _, is := s.triples[last]; is {
			return true
		}
	}
	_, is := s.alone[sum]
	return is
}

// hashed returns the hash (FNV-1a) of a text after c is added to it.
func hashed(sum uint32, c byte) uint32 { return (sum ^ uint32(c)) * 16777619 }

// visible returns the visible ASCII characters of the text, in lower case.
func visible(text string) []byte {
	out := make([]byte, 0, len(text))
	for i := range len(text) {
		if c, is := visibleByte(text[i]); is {
			out = append(out, c)
		}
	}
	return out
}

func visibleByte(c byte) (lower byte, is bool) { return lowerASCII(c), ' ' < c && c < 0x7f }
