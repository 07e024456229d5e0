// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxNames limits how many member names an error lists.
const maxNames = 20

// withoutToken explains why doc holds no usable access token.
func (a Answer) withoutToken(doc document, redact redactor) string {
	for _, p := range a.AccessToken {
		v, found := doc.lookup(p)
		if !found {
			continue
		}
		v = textOf(v)
		name, isHeader := p.header()
		_, isText := v.(string)
		switch {
		case isHeader:
			return fmt.Sprintf("no access token: the header %s %s", name, unusable(v, redact))
		case p != "":
			return fmt.Sprintf("no access token: the member at %q %s", string(p), unusable(v, redact))
		case isText:
			return "no access token: the answer " + unusable(v, redact)
		}
	}
	text := fmt.Sprintf("no access token at %s; the answer %s", list(a.AccessToken), members(doc.body, redact))
	if doc.header != nil && slices.ContainsFunc(a.AccessToken, func(p Pointer) bool { _, isHeader := p.header(); return isHeader }) {
		text += ", and " + headers(doc.header, redact)
	}
	return text
}

// saysTLS matches what common servers answer to plain HTTP on a port for TLS.
var saysTLS = regexp.MustCompile(`(?i)HTTP request (?:was sent )?to (?:an )?HTTPS|plain HTTP to an SSL`)

// redirected explains an answer that is neither a success nor an error. A
// redirect to a page of another host, as a browser follows it, comes from what
// stands in the provider's place: a login page, or a network's.
func (e *Error) redirected(got reply, from string) {
	e.Detail, e.Remedy = "a redirect or an unknown status; redirects are never followed", "set token_url to the final address"
	if got.status != http.StatusFound && got.status != http.StatusSeeOther {
		return
	}
	source, err1 := url.Parse(from)
	to, err2 := url.Parse(got.header.Get("Location"))
	if err1 == nil && err2 == nil && to.Host != "" && !strings.EqualFold(to.Hostname(), source.Hostname()) {
		e.cause, e.Detail = CausePage, "a redirect to another host, as to a login page; redirects are never followed"
		e.Remedy = "see what answers in the provider's place, and have Vault's address let through; or set token_url to the final address"
	}
}

// headers lists the names of an answer's headers, but never their values.
func headers(h http.Header, redact redactor) string {
	if len(h) == 0 {
		return "no headers"
	}
	var paths [][]string
	for name := range h {
		paths = append(paths, []string{name})
	}
	return "the headers " + named(paths, redact)
}

// named lists the paths of members in alphabetical order, at most maxNames.
func named(paths [][]string, redact redactor) string {
	slices.SortFunc(paths, slices.Compare)
	var out []string
	for i, path := range paths {
		if i == maxNames { // checking each name for credentials takes time
			out = append(out, "…")
			break
		}
		for i, name := range path {
			path[i] = redact.text(name)
		}
		out = append(out, strings.Join(path, "/"))
	}
	return strings.Join(out, ", ")
}

// unusable explains why v is not a token.
func unusable(v any, redact redactor) string {
	switch v := v.(type) {
	case nil:
		return "is null"
	case json.Number:
		return "is a number, and no string"
	case bool:
		return "is true or false, and no string"
	case string:
		switch {
		case v == "":
			return "is empty"
		case strings.ContainsFunc(v, func(c rune) bool { return c > '~' }):
			return "holds characters beyond ASCII"
		case strings.ContainsAny(v, " \t\r\n"):
			return "holds spaces or line breaks"
		default:
			return "holds control characters"
		}
	default:
		return members(v, redact)
	}
}

func list(pointers []Pointer) string {
	if len(pointers) == 0 {
		return "no pointer"
	}
	quoted := make([]string, len(pointers))
	for i, p := range pointers {
		quoted[i] = strconv.Quote(string(p))
	}
	return strings.Join(quoted, ", ")
}

// members lists the names of the members of an answer, but never their values.
func members(doc any, redact redactor) string {
	switch doc := doc.(type) {
	case map[string]any:
		var paths [][]string
		for name, v := range doc {
			inner, ok := v.(map[string]any)
			for innerName := range inner {
				paths = append(paths, []string{name, innerName})
			}
			if !ok || len(inner) == 0 {
				paths = append(paths, []string{name})
			}
		}
		if len(paths) == 0 {
			return "is an empty object"
		}
		return "has the members " + named(paths, redact)
	case nil:
		return "is empty, or neither JSON, XML nor a form"
	case unread:
		if doc == tooMuch {
			return fmt.Sprintf("holds more than %d values, %d levels, %d texts within each other or %d refresh tokens", maxValues, maxLevels, maxTexts, maxRefreshTokens)
		}
		return string(doc)
	case []any:
		return "is a list"
	default:
		return "is no object"
	}
}
