// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Pointer is an RFC 6901 JSON pointer. "" is the whole document.
type Pointer string

// Check says what is wrong with p's syntax, if anything.
func (p Pointer) Check() error {
	if p != "" && p[0] != '/' {
		return errors.New(`a JSON pointer (RFC 6901) is empty or starts with "/"`)
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
	return p == q || strings.HasPrefix(string(q), string(p)+"/")
}

// NamesRefreshToken says whether p leads to, or into, a member whose name is
// that of a refresh token.
func (p Pointer) NamesRefreshToken() bool {
	return slices.ContainsFunc(strings.Split(string(p), "/"), isRefreshToken)
}

// Lookup finds the value at p in doc, which holds what encoding/json makes of
// a document. Unlike RFC 6901 it reads through a string that itself is JSON,
// because providers wrap their answers so.
func (p Pointer) Lookup(doc any) (any, bool) { return p.lookup(doc, readText) }

// lookup is Lookup by way of read, which reads such a string.
func (p Pointer) lookup(doc any, read func(string) (any, bool)) (any, bool) {
	if p == "" {
		return doc, true
	}
	unescape := strings.NewReplacer("~1", "/", "~0", "~")
	for _, token := range strings.Split(string(p)[1:], "/") {
		token = unescape.Replace(token)
		if text, isText := doc.(string); isText {
			inner, ok := read(text)
			if !ok {
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

func readText(text string) (any, bool) { return parseJSON([]byte(text)) }

// readTextOnce is readText for one answer: what a text holds is kept, however
// many pointers lead into it.
func readTextOnce() func(string) (any, bool) {
	type inner struct {
		value  any
		isJSON bool
	}
	known := map[string]inner{}
	return func(text string) (any, bool) {
		in, again := known[text]
		if !again {
			in.value, in.isJSON = readText(text)
			known[text] = in
		}
		return in.value, in.isJSON
	}
}
