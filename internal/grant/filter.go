// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
)

const (
	maxFiltered      = 8 << 20 // bytes searched in one answer
	usualSecrets     = 32      // with more secrets than this, fewer bytes are searched
	maxRefreshTokens = 64      // per answer
	maxTexts         = 8       // nested texts that are documents
)

// filter checks everything that a reader of a good answer gets to see: the access
// token, its type, the scope, the lifetime and the extra fields. A filter serves
// one answer. Each map and list of it is searched only once, even if several
// fields show it.
type filter struct {
	redactor
	shortest int // length of the shortest credential in bytes
	budget   int // bytes that may still be searched
	seen     map[uintptr]bool

	// echoed reports whether the answer repeats a credential that parsing can split
	// into parts. If it does, no part of that credential is shown. It is nil if
	// there is no such credential.
	echoed func() bool
}

func (r redactor) filter() *filter {
	f := &filter{
		redactor: r, shortest: maxBody, seen: map[uintptr]bool{},
		budget: maxFiltered * usualSecrets / max(usualSecrets, len(r.whole)), // each text is searched for all secrets
	}
	for _, list := range [][]string{r.whole, r.alone} {
		for _, s := range list {
			f.shortest = min(f.shortest, len(s))
		}
	}
	return f
}

// answerFilter returns the filter for an answer that holds these refresh tokens.
// If the body repeats a credential that parsing can split into parts, the filter
// hides the parts as well.
func (r redactor) answerFilter(body []byte, refreshTokens []string) *filter {
	f := r.withWhole(refreshTokens).filter()
	if len(r.parts.of) > 0 {
		f.shortest = min(f.shortest, window)
		f.echoed = sync.OnceValue(func() bool { return r.filter().tells(string(body)) })
	}
	return f
}

// repeats reports whether v holds a whole credential anywhere, in any usual
// encoding. A credential that is too short to be searched for in other text
// counts only if it is the whole value.
func (f *filter) repeats(v any) bool {
	switch v := v.(type) {
	case string:
		return f.tells(v)
	case json.Number:
		return f.tells(v.String())
	case map[string]any:
		return f.once(v, len(v), func() bool {
			for name, item := range v {
				if f.tells(name) || f.repeats(item) {
					return true
				}
			}
			return false
		})
	case []any:
		return f.once(v, len(v), func() bool { return slices.ContainsFunc(v, f.repeats) })
	}
	return false
}

// repeatsWithin is repeats for a lifetime or a time. There, a short number that
// equals a credential means nothing.
func (f *filter) repeatsWithin(v any) bool {
	text, _ := errorText(v)
	return len(text) >= window && f.tells(text)
}

// once judges a map or a list and remembers the verdict.
func (f *filter) once(v any, size int, judge func() bool) bool {
	if size == 0 {
		return false // besides, empty lists may share an address
	}
	at := reflect.ValueOf(v).Pointer()
	verdict, judged := f.seen[at]
	if !judged {
		verdict = judge()
		f.seen[at] = verdict
	}
	return verdict
}

func (f *filter) tells(text string) bool {
	return anyDecoding(text, f.shortest, f.spaces, &f.budget, func(text string) bool { return f.mayHold(text) && f.holds(text) })
}

// mayHold is true if holds is, and is much faster.
func (f *filter) mayHold(text string) bool {
	return slices.ContainsFunc(f.sieves, func(s *sieve) bool { return s.passes(text) })
}

func (f *filter) holds(text string) bool {
	for _, text := range folded(text, f.beyondASCII, f.spaces) {
		if slices.ContainsFunc(f.whole, func(s string) bool { return strings.Contains(text, s) }) ||
			slices.Contains(f.alone, strings.TrimSpace(text)) || slices.Contains(f.alone, text) ||
			f.echoed != nil && f.parts.within(text) && f.echoed() {
			return true
		}
	}
	return false
}

// refreshTokens returns what the answer holds in places for a refresh token: at
// the pointers, and under the name of a refresh token in a header or at any depth
// of the body, also within text. It returns false if there is too much to search.
func (a Answer) refreshTokens(doc document) ([]string, bool) {
	g := gathering{found: map[string]struct{}{}}
	if _, isUnread := doc.body.(unread); isUnread || doc.body == nil {
		g.walk(doc.text, false) // a header may repeat a token of an unread body
	} else {
		g.walk(doc.body, false)
	}
	for name, values := range doc.header {
		for _, v := range values {
			g.walk(v, isRefreshToken(name))
		}
	}
	for _, p := range a.RefreshToken {
		if v, found := doc.lookup(p); found {
			g.take(textOf(v))
		}
	}
	return slices.Collect(maps.Keys(g.found)), !g.over
}

type gathering struct {
	found map[string]struct{}
	texts int  // how many texts contain the place where the walk is
	over  bool // there is too much to search
}

// isRefreshToken reports whether the name of a member or a header is that of a
// refresh token: refresh_token, refreshToken, X-Auth-Refresh-Token.
func isRefreshToken(name string) bool {
	const bare = "refreshtoken"
	left, joints := len(bare), 2 // letters, and separators between words
	for i := len(name) - 1; i >= 0 && left > 0; i-- {
		switch c := name[i]; {
		case c|0x20 == bare[left-1]: // in upper or lower case
			left--
		case (c == '_' || c == '-' || c == ' ') && joints > 0:
			joints--
		default:
			return false
		}
	}
	return left == 0
}

// refreshTokenInText finds a refresh token in text that is not a document itself:
// a form, a header, a log line, or a document that was cut short.
var refreshTokenInText = regexp.MustCompile(`(?i)refresh[_-]?token[\\"']*\s*[:=>]\s*[\\"']*([^\s"'&,;<>\\}]+)`)

// walk searches v. named is true if v is below the name of a refresh token.
func (g *gathering) walk(v any, named bool) {
	if g.over {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for name, item := range v {
			g.walk(item, named || isRefreshToken(name))
		}
	case []any:
		for _, item := range v {
			g.walk(item, named)
		}
	case string:
		if named {
			g.take(v)
		}
		g.walkText(v, named)
	case json.Number:
		if named {
			g.take(v)
		}
	}
}

func (g *gathering) walkText(text string, named bool) {
	if text = strings.TrimSpace(text); documentLike(text) {
		inner, why := readText(text)
		if g.texts == maxTexts || why == tooMuch {
			g.over = true
			return
		}
		if why == "" {
			g.texts++
			g.walk(inner, named)
			g.texts--
			return
		}
	}
	if speaksOfRefresh(text) {
		for _, m := range refreshTokenInText.FindAllStringSubmatch(text, maxRefreshTokens+1) {
			g.take(m[1])
		}
	}
}

// speaksOfRefresh reports whether the text holds the word that each match of
// refreshTokenInText begins with. It is much faster than that.
func speaksOfRefresh(text string) bool {
	const word = "refresh"
	for i := 0; i+len(word) <= len(text); i++ {
		if text[i]|0x20 == word[0] && strings.EqualFold(text[i:i+len(word)], word) {
			return true
		}
	}
	return false
}

func (g *gathering) take(v any) {
	if text, ok := errorText(v); ok {
		g.found[text] = struct{}{}
	}
	g.over = g.over || len(g.found) > maxRefreshTokens
}
