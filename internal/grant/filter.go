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
	maxFiltered      = 8 << 20 // bytes looked at, of one answer
	usualSecrets     = 32      // with more of them, fewer bytes are looked at
	maxRefreshTokens = 64      // of one answer
	maxTexts         = 8       // texts that are documents, within each other
)

// filter is what everything passes that a reader of a good answer gets to see:
// the access token, its type, the scope, the lifetime and the extra fields. It
// serves one answer, which is looked through once, however many fields show it.
type filter struct {
	redactor
	shortest int // bytes of the shortest credential
	budget   int // bytes to be looked at
	seen     map[uintptr]bool

	// echoed says whether the answer repeats a credential that reading can take
	// apart, none of whose parts is shown then; nil where there is none such.
	echoed func() bool
}

func (r redactor) filter() *filter {
	f := &filter{
		redactor: r, shortest: maxBody, seen: map[uintptr]bool{},
		budget: maxFiltered * usualSecrets / max(usualSecrets, len(r.whole)), // each text is searched for all of them
	}
	for _, s := range slices.Concat(r.whole, r.alone) {
		f.shortest = min(f.shortest, len(s))
	}
	return f
}

// answerFilter is the filter for an answer with those refresh tokens. Of what
// has parts and is repeated in the answer, no part is shown.
func (r redactor) answerFilter(body []byte, refreshTokens []string) *filter {
	f := r.withWhole(refreshTokens).filter()
	if len(r.parts.of) > 0 {
		f.shortest = min(f.shortest, window)
		f.echoed = sync.OnceValue(func() bool { return r.filter().tells(string(body)) })
	}
	return f
}

// repeats says whether v holds a whole credential anywhere, in any usual
// encoding, or is one that is too short to be looked for within other text.
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

// repeatsWithin says so of a lifetime, where a short number means nothing.
func (f *filter) repeatsWithin(v any) bool {
	text, _ := errorText(v)
	return len(text) >= window && f.tells(text)
}

// once remembers the verdict on a map or a list.
func (f *filter) once(v any, size int, judge func() bool) bool {
	if size == 0 {
		return false // and empty lists may share an address
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
	return anyDecoding(text, f.shortest, f.spaces, &f.budget, func(text string) bool {
		for _, text := range folded(text, f.beyondASCII, f.spaces) {
			if slices.ContainsFunc(f.whole, func(s string) bool { return strings.Contains(text, s) }) ||
				slices.Contains(f.alone, strings.TrimSpace(text)) || slices.Contains(f.alone, text) ||
				f.echoed != nil && f.parts.within(text) && f.echoed() {
				return true
			}
		}
		return false
	})
}

// refreshTokens are what an answer holds where a refresh token stands: at the
// pointers, and under its name, in a header or at any depth of the body, also
// within text. It reports false when there is more than can be looked through.
func (a Answer) refreshTokens(doc document) ([]string, bool) {
	g := gathering{found: map[string]struct{}{}}
	if _, isUnread := doc.body.(unread); isUnread || doc.body == nil {
		g.walk(doc.text, false) // a header may repeat what stands there
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
	texts int  // that lie within each other where the walk is
	over  bool // there is more than can be looked through
}

// isRefreshToken says whether a member or a header of that name holds a refresh
// token: refresh_token, refreshToken, X-Auth-Refresh-Token.
func isRefreshToken(name string) bool {
	const bare = "refreshtoken"
	left, joints := len(bare), 2 // letters, and what may stand between words
	for i := len(name) - 1; i >= 0 && left > 0; i-- {
		switch c := name[i]; {
		case c|0x20 == bare[left-1]: // in either case
			left--
		case (c == '_' || c == '-' || c == ' ') && joints > 0:
			joints--
		default:
			return false
		}
	}
	return left == 0
}

// refreshTokenInText finds one in text that is no document by itself: a form, a
// header, a log line, a document that was cut.
var refreshTokenInText = regexp.MustCompile(`(?i)refresh[_-]?token[\\"']*\s*[:=>]\s*[\\"']*([^\s"'&,;<>\\}]+)`)

// walk looks through v, which is named when it stands below a refresh token's
// name.
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
	if strings.Contains(folded(text, false, false)[0], "refresh") {
		for _, m := range refreshTokenInText.FindAllStringSubmatch(text, maxRefreshTokens+1) {
			g.take(m[1])
		}
	}
}

func (g *gathering) take(v any) {
	if text, ok := errorText(v); ok {
		g.found[text] = struct{}{}
	}
	g.over = g.over || len(g.found) > maxRefreshTokens
}
