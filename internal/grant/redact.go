// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"html"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	maxText = 200 // characters of the provider's own words in an error
	maxRead = 4096
	window  = 8 // this many consecutive bytes of a credential reveal it

	maxDecoded  = 128 << 10 // bytes searched for one text of an error
	maxWindowed = 16 << 10  // bytes of a credential that are split into windows
	maxPieces   = 8         // pieces of a credential between characters beyond ASCII

	withheld = "(withheld: it repeats a credential)"
)

// redactor removes credentials from what a provider says: the credentials of
// the request and the refresh tokens of the answer. It undoes the encodings in
// which a provider may repeat them.
//
// In the text of an error it searches for parts of a credential, because the
// provider may cut the repeated text anywhere. The members of a good answer can
// be long and random (a JWT), so there it searches for whole credentials: see
// filter.
type redactor struct {
	public  []string // values of the request that are not secret
	short   []string // credentials not longer than a window, folded
	windows *windows // windows of longer credentials, folded
	parts   *windows // windows of credentials that parsing can split
	whole   []string // credentials that are searched for within other text, folded
	alone   []string // credentials too short for that, or public: only an equal text counts
	sieves  []*sieve // of parts, whole and alone

	spaces, beyondASCII bool // whether any credential holds such characters (any kind of space)
}

// Prepare returns r with its attempts and its redactor built in advance, so that r
// can be sent many times. Afterwards only its Timeout and Observed may change. It
// changes nothing if each attempt signs an assertion or makes the request anew.
func (r Request) Prepare() (Request, error) {
	if r.Anew != nil || r.ClientAssertion != nil || r.GrantAssertion != nil {
		return r, nil
	}
	sent, err := r.attempt(time.Time{})
	if err != nil {
		return Request{}, err
	}
	r.known = &prepared{attempt: *sent, redactor: newRedactor(r, sent)}
	return r, nil
}

// prepared holds what is the same for every attempt at a request.
type prepared struct {
	attempt  attempt
	redactor redactor
}

// redactor returns a redactor that knows the secrets of r and of the attempt
// that was sent.
func (r Request) redactor(sent *attempt) redactor {
	if r.known != nil && len(sent.secrets) == len(r.known.attempt.secrets) { // otherwise the attempt made a secret, such as a proof
		return r.known.redactor
	}
	return newRedactor(r, sent)
}

// newRedactor returns a redactor that knows the secrets of r and of the attempt
// that was sent. sent is nil if there was no attempt.
func newRedactor(r Request, sent *attempt) redactor {
	out := redactor{
		public:  append([]string{r.ClientID, r.Username, r.GrantType}, r.Scopes...),
		windows: &windows{}, parts: &windows{},
	}
	secrets := append([]string{r.ClientSecret, r.Password, r.RefreshToken, r.Assertion, r.Subject.Token, r.Actor.Token}, r.Secrets...)
	if sent == nil {
		sent = &attempt{}
	}
	secrets = append(secrets, sent.secrets...)
	for _, secret := range secrets {
		out.keep(secret)
		out.keepWhole(secret)
		if strings.ContainsAny(secret, `&{[<"'`) { // characters that end a member of a form, JSON or XML
			out.parts.add(secret)
		}
	}
	for _, text := range slices.Concat(r.Composed, sent.composed) {
		out.keepWhole(text)
	}
	if r.ClientSecret != "" {
		out.keepWhole(r.ClientID + ":" + r.ClientSecret)
		out.keepWhole(url.QueryEscape(r.ClientID) + ":" + url.QueryEscape(r.ClientSecret))
	}
	// A short secret is found by its name beside it, as in a repeated request. With
	// the name, a match is not a coincidence.
	for name, v := range sent.parameters {
		if text, isText := v.(string); isText && text != "" && slices.Contains(secrets, text) && !out.isPublic(text) {
			out.keepWhole(name + "=" + text)
			out.keepWhole(strconv.Quote(name) + ":" + strconv.Quote(text))
		}
	}
	out.sieves = []*sieve{newSieve(out.whole, out.alone, out.parts)}
	return out
}

// with returns r with the secrets of an answer added. Short secrets count only
// if they are the whole text. Otherwise the words that some answers write for
// no token (null, none) would be hidden everywhere.
func (r redactor) with(secrets []string) redactor {
	if len(secrets) == 0 {
		return r
	}
	r = r.withWhole(secrets)
	r.short, r.windows = slices.Clip(r.short), &windows{of: slices.Clone(r.windows.of)}
	for _, secret := range secrets {
		if len(secret) >= window {
			r.keep(secret)
		}
	}
	return r
}

// withWhole returns r with the secrets of an answer added, for checking the
// members of a good answer.
func (r redactor) withWhole(secrets []string) redactor {
	if len(secrets) == 0 {
		return r
	}
	whole, alone := len(r.whole), len(r.alone)
	r.whole, r.alone, r.sieves = slices.Clip(r.whole), slices.Clip(r.alone), slices.Clip(r.sieves)
	for _, secret := range secrets {
		r.keepWhole(secret)
	}
	r.sieves = append(r.sieves, newSieve(r.whole[whole:], r.alone[alone:], nil))
	return r
}

// asRead returns the secret and the texts that parsing makes of it if an answer
// repeats it without encoding it first: in a form, in XML or HTML, in JSON, or
// in a text that cannot hold characters beyond ASCII.
func asRead(secret string) []string {
	out := []string{secret}
	for _, read := range []string{
		unpercent(secret), strings.ReplaceAll(secret, "+", " "), unpercent(strings.ReplaceAll(secret, "+", " ")),
		html.UnescapeString(secret), unbackslash(secret),
	} {
		if read != secret {
			out = append(out, read)
		}
	}
	pieces := 0
	for piece := range strings.FieldsFuncSeq(secret, func(c rune) bool { return c >= utf8.RuneSelf }) {
		if len(piece) >= window && piece != secret && pieces < maxPieces {
			pieces++
			out = append(out, piece)
		}
	}
	return out
}

// keep makes errors hide the secret.
func (r *redactor) keep(secret string) {
	for _, text := range asRead(secret) {
		r.notice(text)
		for _, s := range spellings(text) {
			if s != "" && len(s) <= window && !slices.Contains(r.short, s) {
				r.short = append(r.short, s)
			}
		}
		if len(text) > window {
			r.windows.add(text)
		}
	}
}

// keepWhole keeps the secret out of the members of good answers.
func (r *redactor) keepWhole(secret string) {
	public := r.isPublic(secret)
	for _, text := range asRead(secret) {
		r.notice(text)
		list := &r.whole
		if len(text) < window || public || r.isPublic(text) {
			list = &r.alone
		}
		for _, s := range spellings(text) {
			if s != "" && !slices.Contains(*list, s) {
				*list = append(*list, s)
			}
		}
	}
}

func (r *redactor) isPublic(text string) bool {
	return slices.ContainsFunc(r.public, func(p string) bool { return strings.Contains(p, text) })
}

func (r *redactor) notice(secret string) {
	r.spaces = r.spaces || strings.ContainsFunc(secret, unicode.IsSpace)
	r.beyondASCII = r.beyondASCII || strings.ContainsFunc(secret, func(c rune) bool { return c >= utf8.RuneSelf })
}

// leaks reports whether the text reveals a part of a credential, in any usual
// encoding or in several nested ones. If checking would take too long, the
// result is true.
func (r redactor) leaks(text string) bool {
	if len(r.short)+len(r.windows.of) == 0 {
		return false
	}
	shortest, budget := window, maxDecoded
	for _, s := range r.short {
		shortest = min(shortest, len(s))
	}
	return anyDecoding(text, shortest, r.spaces, &budget, r.holdsPart)
}

func (r redactor) holdsPart(text string) bool {
	for _, text := range folded(text, r.beyondASCII, r.spaces) {
		if slices.ContainsFunc(r.short, func(s string) bool { return strings.Contains(text, s) }) {
			return true
		}
		if r.windows.within(text) {
			return true
		}
	}
	return false
}

// folded returns s in lower case. The first form changes only ASCII letters,
// byte by byte, because text that was cut within a character is no longer
// valid. A second form changes all letters, if letters is true and this makes a
// difference. If spaces is true, any number of spaces becomes one, and spaces
// around s are removed: headers and XML do not preserve them.
func folded(s string, letters, spaces bool) []string {
	upper, beyond := false, false
	for i := range len(s) {
		upper = upper || 'A' <= s[i] && s[i] <= 'Z'
		beyond = beyond || s[i] >= utf8.RuneSelf
	}
	if spaces && loose(s, beyond) {
		s = strings.Join(strings.Fields(s), " ")
	}
	ascii := s
	if upper {
		var b strings.Builder
		b.Grow(len(s))
		for i := range len(s) {
			b.WriteByte(lowerASCII(s[i]))
		}
		ascii = b.String()
	}
	if letters && beyond && strings.ContainsFunc(s, func(c rune) bool { return c >= utf8.RuneSelf && unicode.ToLower(c) != c }) {
		return []string{ascii, lower(s)}
	}
	return []string{ascii}
}

func lowerASCII(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// lower returns s with its letters in lower case. Bytes that are not valid
// UTF-8 stay as they are.
func lower(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); {
		c, width := utf8.DecodeRuneInString(s[i:])
		if c == utf8.RuneError {
			b.WriteString(s[i : i+width])
		} else {
			b.WriteRune(unicode.ToLower(c))
		}
		i += width
	}
	return b.String()
}

// spellings returns the forms of a secret that are searched for in folded text.
// If the secret is not valid UTF-8, they include its form in JSON, where a
// replacement character stands for each invalid byte.
func spellings(secret string) []string {
	out := folded(secret, true, true)
	if !utf8.ValidString(secret) {
		out = append(out, folded(string([]rune(secret)), true, true)...)
	}
	return out
}

// loose reports whether s holds spaces other than single ones between words.
func loose(s string, beyondASCII bool) bool {
	between := false // words
	for i := range len(s) {
		switch c := s[i]; {
		case c > ' ' && c != 0x7f:
			between = true
		case c != ' ' || !between || i+1 == len(s):
			return true
		default:
			between = false
		}
	}
	return beyondASCII && strings.ContainsFunc(s, func(c rune) bool { return c >= utf8.RuneSelf && unicode.IsSpace(c) })
}

// text returns a provider's own words in the form in which an error may show
// them.
func (r redactor) text(s string) string {
	if s == "" || slices.Contains(registeredCodes, s) {
		return s
	}
	if len(s) > maxRead {
		s = s[:maxRead]
	}
	if r.leaks(s) || slices.Contains(r.alone, folded(s, false, true)[0]) {
		return withheld
	}
	shown := printable(opaque.ReplaceAllString(s, "[…]"))
	if shown != s && r.leaks(shown) { // the removal may have joined parts of a credential
		return withheld
	}
	return shown
}

// opaque matches what looks like a token or a key, no matter whose it is.
var opaque = regexp.MustCompile(`[A-Za-z0-9+/_=-]{40,}|eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_.-]*`)

// printable returns at most 200 printable characters of s.
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
