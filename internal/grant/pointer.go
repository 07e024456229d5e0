// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"errors"
	"net/http"
	"net/textproto"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Pointer says where a value is in an answer. It is either an RFC 6901 JSON
// pointer into the body, where "" means the whole body, or "header:" followed
// by the name of a header.
type Pointer string

// inHeader is the prefix of a pointer to a header.
const inHeader = "header:"

// header returns the name of the header that p leads to, in the case that
// net/http uses. It returns false if p leads into the body.
func (p Pointer) header() (string, bool) {
	name, found := strings.CutPrefix(string(p), inHeader)
	return textproto.CanonicalMIMEHeaderKey(name), found
}

// headerName matches a token of RFC 9110 section 5.6.2.
var headerName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// Check returns an error if p's syntax is wrong.
func (p Pointer) Check() error {
	if name, isHeader := p.header(); isHeader {
		if !headerName.MatchString(name) {
			return errors.New(`behind "header:" stands the name of a header, such as header:X-Subject-Token`)
		}
		if name == "Set-Cookie" {
			return errors.New("a cookie is a session at the provider, not a token, so a pointer must not lead to Set-Cookie")
		}
		return nil
	}
	if p != "" && p[0] != '/' {
		return errors.New(`a JSON pointer (RFC 6901) is empty or starts with "/", and a pointer to a header starts with "header:"`)
	}
	for rest := string(p); ; {
		i := strings.IndexByte(rest, '~')
		if i < 0 {
			return nil
		}
		if i+1 == len(rest) || (rest[i+1] != '0' && rest[i+1] != '1') {
			return errors.New(`in a JSON pointer (RFC 6901) "~" is written "~0" and "/" in a name "~1"`)
		}
		rest = rest[i+2:]
	}
}

// Within reports whether the value at q is the value at p or lies inside it.
func (p Pointer) Within(q Pointer) bool {
	ours, inHeader := p.header()
	theirs, alsoInHeader := q.header()
	if inHeader || alsoInHeader {
		return inHeader == alsoInHeader && ours == theirs
	}
	return p == q || strings.HasPrefix(string(q), string(p)+"/")
}

// NamesRefreshToken reports whether p leads to, or into, a member or a header
// with the name of a refresh token.
func (p Pointer) NamesRefreshToken() bool {
	return slices.ContainsFunc(strings.Split(string(p), "/"), isRefreshToken)
}

// document is an answer in the form that pointers look into.
type document struct {
	text   string // the body
	body   any    // the parsed body, as encoding/json represents it
	header http.Header
	within func(text string) (any, unread) // parses a text in the answer that is a document itself
	sent   time.Time                       // when the request was sent
	read   time.Time                       // when the answer arrived
}

// ahead returns how far the provider's clock is ahead of this one.
func (d document) ahead() time.Duration { return clockAhead(d.header, d.sent, d.read) }

// lookup returns the value at p. If a header occurs several times, it returns
// the first one.
func (d document) lookup(p Pointer) (any, bool) {
	if name, isHeader := p.header(); isHeader {
		values := d.header[name]
		if len(values) == 0 {
			return nil, false
		}
		return values[0], true
	}
	return p.lookup(d.body, d.within)
}

// lookup returns the value at p in the body doc. Unlike RFC 6901, it can lead
// into a string that is itself JSON or XML, because some providers wrap their
// answers this way. read parses such a string.
func (p Pointer) lookup(doc any, read func(string) (any, unread)) (any, bool) {
	if p == "" {
		return doc, true
	}
	for token := range strings.SplitSeq(string(p)[1:], "/") {
		if strings.Contains(token, "~") {
			token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
		}
		if text, isText := doc.(string); isText {
			inner, why := read(text)
			if why != "" {
				return nil, false
			}
			doc = inner
		}
		switch at := doc.(type) {
		case map[string]any:
			v, ok := at[token]
			if !ok {
				return nil, false
			}
			doc = v
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(at) || strconv.Itoa(i) != token {
				return nil, false
			}
			doc = at[i]
		default:
			return nil, false
		}
	}
	return doc, true
}

// readTextOnce returns a version of readText for one answer. It parses each
// text only once, however many pointers lead into it.
func readTextOnce() func(string) (any, unread) {
	type inner struct {
		value any
		why   unread
	}
	var known map[string]inner // most answers hold no such text
	return func(text string) (any, unread) {
		in, again := known[text]
		if !again {
			in.value, in.why = readText(text)
			if known == nil {
				known = map[string]inner{}
			}
			known[text] = in
		}
		return in.value, in.why
	}
}
