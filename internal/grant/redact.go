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
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	maxText = 200 // characters of the provider's own words in an error
	maxRead = 4096
	window  = 8 // so many consecutive bytes of a credential give it away

	maxDecoded  = 128 << 10 // bytes looked at, of one text of an error
	maxWindowed = 16 << 10  // bytes of a credential whose windows are kept
	maxPieces   = 8         // of a credential, between letters beyond ASCII

	withheld = "(withheld: it repeats a credential)"
)

// redactor keeps credentials out of what a provider says: those of the request
// and, of an answer, the refresh tokens. It undoes the encodings in which they
// can be echoed.
//
// Of the text of an error it looks for parts of a credential, since an echo may
// be cut anywhere. The members of a good answer can be long and opaque (a JWT),
// so there it looks for whole ones: see filter.
type redactor struct {
	public  []string // what the request shows of itself
	short   []string // the credentials of at most a window, folded
	windows *windows // of the longer ones, folded
	parts   *windows // those of credentials that reading can take apart
	whole   []string // the credentials that mean something within other text, folded
	alone   []string // those that are too short for that, or public

	spaces, beyondASCII bool // whether any of them holds such characters (spaces of any kind)
}

// Prepare is r, ready to be made again and again: it holds what its answers are
// searched for, unless each attempt signs or makes something of its own.
func (r Request) Prepare() (Request, error) {
	if r.Anew != nil || r.ClientAssertion != nil || r.GrantAssertion != nil {
		return r, nil
	}
	sent, err := r.attempt(time.Time{})
	if err != nil {
		return Request{}, err
	}
	r.known = &prepared{secrets: len(sent.secrets), redactor: newRedactor(r, sent)}
	return r, nil
}

// prepared is what is known of every attempt at a request.
type prepared struct {
	secrets  int // how many an attempt has
	redactor redactor
}

// redactor knows the secrets of r and of the attempt at it that was sent.
func (r Request) redactor(sent *attempt) redactor {
	if r.known != nil && len(sent.secrets) == r.known.secrets { // else it made one, such as a proof
		return r.known.redactor
	}
	return newRedactor(r, sent)
}

// newRedactor knows the secrets of r and of the attempt at it that was sent, nil
// when none was.
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
		if strings.ContainsAny(secret, `&{[<"'`) { // at what ends a member of a form, of JSON or of XML
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
	// With its name beside it, as an echo has it, a short one is none by chance.
	for name, v := range sent.parameters {
		if text, isText := v.(string); isText && text != "" && slices.Contains(secrets, text) && !out.isPublic(text) {
			out.keepWhole(name + "=" + text)
			out.keepWhole(strconv.Quote(name) + ":" + strconv.Quote(text))
		}
	}
	return out
}

// with is r with the secrets of an answer. Short ones stand alone: what some
// answers write for none (null, none) would else be taken for one everywhere.
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

// withWhole is r with the secrets of an answer, for the members of a good one.
func (r redactor) withWhole(secrets []string) redactor {
	r.whole, r.alone = slices.Clip(r.whole), slices.Clip(r.alone)
	for _, secret := range secrets {
		r.keepWhole(secret)
	}
	return r
}

// asRead is secret, and what reading makes of it where an answer repeats it
// without encoding it first: in a form, in XML or HTML, in JSON, or in a text that
// cannot hold what is beyond ASCII.
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

// keep keeps secret out of errors.
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

// windows are parts of credentials. They are taken apart when they are first
// looked for, which most answers give no reason to, and kept by value: there may
// be many.
type windows struct {
	of    []string
	once  sync.Once
	parts map[[window]byte]struct{}
}

func (w *windows) add(secret string) { w.of = append(w.of, secret) }

// within says whether text holds any of them. nil has none.
func (w *windows) within(text string) bool {
	if w == nil || len(w.of) == 0 {
		return false
	}
	w.once.Do(w.takeApart)
	var part [window]byte
	for i := 0; i+window <= len(text); i++ {
		copy(part[:], text[i:])
		if _, is := w.parts[part]; is {
			return true
		}
	}
	return false
}

func (w *windows) takeApart() {
	w.parts = map[[window]byte]struct{}{}
	var part [window]byte
	for _, secret := range w.of {
		for _, s := range spellings(secret) {
			for i := 0; i+window <= min(len(s), maxWindowed); i++ {
				copy(part[:], s[i:])
				w.parts[part] = struct{}{}
			}
		}
	}
}

// keepWhole keeps secret out of the members of good answers.
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

// leaks says whether text gives away a part of a credential, in any usual
// encoding, also of several on top of each other. A text that would take too
// long to tell counts as one that does.
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

// folded is s in lower case, once by its bytes alone, since what was cut within
// a letter is no text any more, and once by its letters, where that may matter.
// With spaces, any number of them counts as one, and around s they count as
// none: in a header and in XML they do not come back as they were sent.
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
		b := []byte(s)
		for i, c := range b {
			if 'A' <= c && c <= 'Z' {
				b[i] += 'a' - 'A'
			}
		}
		ascii = string(b)
	}
	if letters && beyond && strings.ContainsFunc(s, func(c rune) bool { return c >= utf8.RuneSelf && unicode.ToLower(c) != c }) {
		return []string{ascii, lower(s)}
	}
	return []string{ascii}
}

// lower is s with its letters in lower case. What is no text stays as it is.
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

// spellings are the forms in which a secret is looked for in what is folded. One
// that is no text is so in JSON, which has a mark in the place of each such byte.
func spellings(secret string) []string {
	out := folded(secret, true, true)
	if !utf8.ValidString(secret) {
		out = append(out, folded(string([]rune(secret)), true, true)...)
	}
	return out
}

// loose says whether s holds other spaces than single ones between words.
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

// text is a provider's own words as an error may show them.
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
