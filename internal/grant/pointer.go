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

// Pointer says where in an answer a value stands: an RFC 6901 JSON pointer into
// the body, of which "" is the whole, or "header:" and the name of a header.
type Pointer string

// inHeader begins a pointer to a header.
const inHeader = "header:"

// header is the name of the header that p leads to, in the case in which
// net/http keeps it, and false when p leads into the body.
func (p Pointer) header() (string, bool) {
	name, found := strings.CutPrefix(string(p), inHeader)
	return textproto.CanonicalMIMEHeaderKey(name), found
}

// headerName is a token of RFC 9110 section 5.6.2.
var headerName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// Check says what is wrong with p's syntax, if anything.
func (p Pointer) Check() error {
	if name, isHeader := p.header(); isHeader {
		if !headerName.MatchString(name) {
			return errors.New(`behind "header:" stands the name of a header, such as header:X-Subject-Token`)
		}
		if name == "Set-Cookie" {
			return errors.New("a cookie is the session at the provider, and no token, so nothing may lead to Set-Cookie")
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

// Within says whether the value at p is, or holds, the value at q.
func (p Pointer) Within(q Pointer) bool {
	ours, inHeader := p.header()
	theirs, alsoInHeader := q.header()
	if inHeader || alsoInHeader {
		return inHeader == alsoInHeader && ours == theirs
	}
	return p == q || strings.HasPrefix(string(q), string(p)+"/")
}

// NamesRefreshToken says whether p leads to, or into, a member or a header whose
// name is that of a refresh token.
func (p Pointer) NamesRefreshToken() bool {
	return slices.ContainsFunc(strings.Split(string(p), "/"), isRefreshToken)
}

// document is an answer as pointers look into it.
type document struct {
	text   string // the body
	body   any    // what encoding/json makes of one
	header http.Header
	within func(text string) (any, unread) // reads a text of the answer that is a document
	ahead  time.Duration                   // the clock that answered, of this one
}

// lookup finds the value at p. Of a header that is there several times it is the
// first one.
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

// lookup finds the value at p in the body doc. Unlike RFC 6901 it reads through
// a string that itself is JSON or XML, by way of read, because providers wrap
// their answers so.
func (p Pointer) lookup(doc any, read func(string) (any, unread)) (any, bool) {
	if p == "" {
		return doc, true
	}
	for _, token := range strings.Split(string(p)[1:], "/") {
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

// readTextOnce is readText for one answer: what a text holds is kept, however
// many pointers lead into it.
func readTextOnce() func(string) (any, unread) {
	type inner struct {
		value any
		why   unread
	}
	known := map[string]inner{}
	return func(text string) (any, unread) {
		in, again := known[text]
		if !again {
			in.value, in.why = readText(text)
			known[text] = in
		}
		return in.value, in.why
	}
}
