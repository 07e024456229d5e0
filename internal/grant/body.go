// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/url"
	"regexp"
	"strings"
)

// Limits of what a document may hold. They protect memory: one megabyte of empty
// lists would take about fifty megabytes once parsed.
const (
	maxValues = 20_000 // values in one document
	maxLevels = 64     // nested lists and objects
)

// unread says why a text cannot be read as a document. In a document it stands
// in place of the body. "" means that the text was read.
type unread string

// The reasons why a text cannot be read.
const (
	tooMuch  unread = "holds more than an answer can"
	doctyped unread = "is XML with a document type declaration (DOCTYPE), which is never read"
	badXML   unread = "is XML that is cut short or otherwise not well-formed"
	badJSON  unread = "is no JSON"
	page     unread = "is a page for people (HTML)"
)

// parseBody reads the body as JSON, XML, a form or, as a last resort, plain
// text. The first characters usually show which one it is. Where they are not
// enough, the content type decides.
func parseBody(contentType, text string) any {
	if strings.HasPrefix(text, "<") && htmlPage.MatchString(text) {
		return page
	}
	doc, why := readText(text)
	_, isNumber := doc.(json.Number)
	if why == "" && !isNumber {
		return doc
	}
	media, _, _ := mime.ParseMediaType(contentType) // a type that cannot be parsed counts as none
	saysJSON := media == "application/json" || strings.HasSuffix(media, "+json")
	switch {
	case isNumber && !saysJSON:
		return text // a token that looks like a number
	case why == "":
		return doc
	case strings.HasPrefix(text, "<"), why == tooMuch && documentLike(text):
		return why
	}
	if media == "application/x-www-form-urlencoded" && strings.Contains(text, "=") || formLike.MatchString(text) {
		if strings.Count(text, "&") > maxValues {
			return tooMuch
		}
		if form, err := url.ParseQuery(text); err == nil {
			doc := make(map[string]any, len(form))
			for name, values := range form {
				doc[name] = values[0]
			}
			return doc
		}
	}
	if text == "" || documentLike(text) || saysJSON && strings.ContainsAny(text, " \t\r\n") {
		return nil // broken JSON
	}
	return text
}

// formLike matches a form that is not labelled as one: some servers send forms
// as text/plain.
var formLike = regexp.MustCompile(`^[A-Za-z_][\w.-]*=[^=\s<>{}"]+$|^[A-Za-z_][\w.-]*=[^=&\s<>{}"]*&[^\s<>{}"]+$`)

// htmlPage matches an HTML page, which is meant for people and not for programs.
var htmlPage = regexp.MustCompile(`(?i)^(?:<\?xml[^>]*>\s*)?<(?:!doctype\s+)?html\b`)

// documentLike reports whether a text begins like JSON or XML.
func documentLike(text string) bool { return text != "" && strings.IndexByte(`{["<`, text[0]) >= 0 }

// readText reads a text that is JSON or XML.
func readText(text string) (any, unread) {
	if text = strings.TrimSpace(text); strings.HasPrefix(text, "<") {
		return parseXML(text)
	}
	return parseJSON(text)
}

// parseJSON reads exactly one JSON value. Numbers stay as they are written.
func parseJSON(text string) (any, unread) {
	if !bounded(text) {
		return nil, tooMuch
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return nil, badJSON
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, badJSON
	}
	return v, ""
}

// bounded reports whether the JSON text keeps within the limits. It looks at the
// text only, so nothing is allocated for a text that is too large.
func bounded(text string) bool {
	values, levels, inText := 1, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case inText:
		case c == '{' || c == '[':
			values, levels = values+1, levels+1
		case c == '}' || c == ']':
			levels--
		case c == ',':
			values++
		}
		if values > maxValues || levels > maxLevels {
			return false
		}
	}
	return true
}
