// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"crypto/rand"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestOnlyTwoLettersBeyondASCIIBecomeASCIIInLowerCase(t *testing.T) {
	t.Parallel()
	for c := rune(utf8.RuneSelf); c <= unicode.MaxRune; c++ {
		if lower := unicode.ToLower(c); lower < utf8.RuneSelf && c != '\u212a' && c != '\u0130' {
			t.Errorf("%U becomes %q, which the sieve does not know", c, lower)
		}
	}
}

// The engine searches only the texts that the sieve lets through. So a text that the
// sieve holds back must never hold a credential.
func TestSieveMissesNoCredential(t *testing.T) {
	t.Parallel()
	for length := window; length < 40; length++ {
		for _, odd := range []string{"", " ", "ü", `"{ `} { // the last is searched for in parts
			secret := rand.Text() + rand.Text()
			secret = secret[:length/2] + odd + secret[length/2:length]
			f := newRedactor(Request{ClientSecret: secret}, nil).answerFilter([]byte(secret), nil)
			for _, part := range []string{secret, secret[:window]} {
				for before := range 20 {
					text := rand.Text()[:before] + part + rand.Text()[:3]
					if f.holds(text) && !f.mayHold(text) {
						t.Fatalf("%q is held back, and holds %q", text, part)
					}
				}
			}
			if !f.holds(secret) {
				t.Fatalf("%q is not found in itself", secret)
			}
		}
	}
}

func FuzzSieve(f *testing.F) {
	for _, secret := range awkwardSecrets() {
		f.Add(secret, "another secret", "", "")
		f.Add(secret, "", "so ", "\t and more")
		f.Add("x", secret, "Ü\u212a", "\xff")
	}
	f.Add("K\u212a-secret-\u0130", "k", "", "")
	f.Add("ü-key-in-the-middle", "", "", "")
	f.Add("a secret  of\tspaces", "", "\n", "")
	f.Add("{\"a\": \"secret in a document\"}", "", "", "")
	f.Fuzz(func(t *testing.T, secret, refreshToken, before, after string) {
		if len(secret)+len(refreshToken)+len(before)+len(after) > 1<<12 {
			return
		}
		r := newRedactor(Request{ClientID: "a client", ClientSecret: secret, Scopes: []string{"read"}}, nil)
		filter := r.answerFilter([]byte(secret), []string{refreshToken})
		for _, part := range []string{secret, refreshToken, secret[len(secret)/3:], "a client:" + secret} {
			for _, form := range append(asRead(part), strings.ToUpper(part), strings.ToLower(part),
				strings.ReplaceAll(part, "k", "\u212a"), strings.ReplaceAll(part, "i", "\u0130"), strings.ReplaceAll(part, " ", " \u00a0\n ")) {
				for _, text := range []string{form, before + form, form + after, before + form + after} {
					if filter.holds(text) && !filter.mayHold(text) {
						t.Errorf("%q is held back, and holds a credential", text)
					}
				}
			}
		}
	})
}

func TestSieveHoldsMostTextsBack(t *testing.T) {
	t.Parallel()
	for name, secret := range awkwardSecrets() {
		r := newRedactor(Request{ClientID: "client", ClientSecret: secret}, nil)
		passed := 0
		for range 1000 {
			if r.answerFilter(nil, nil).mayHold(rand.Text() + rand.Text()) {
				passed++
			}
		}
		if passed > 100 && r.sieves[0].step > 0 {
			t.Errorf("%s: %d of 1,000 tokens are searched", name, passed)
		}
	}
}
