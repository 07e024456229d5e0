// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/url"
	"regexp"
	"strings"
)

// Limits of what an answer holds: a megabyte of empty lists would take fifty of
// memory.
const (
	maxValues = 20_000 // of one document
	maxLevels = 64     // of lists and objects within each other
)

// tooMuch stands for a document that holds more than an answer can.
type tooMuch struct{}

// parseBody reads JSON, a form, or, as a last resort, text.
func parseBody(contentType string, body []byte) any {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	media, _, _ := mime.ParseMediaType(contentType) // an unreadable type is no type
	saysJSON := media == "application/json" || strings.HasSuffix(media, "+json")
	text := string(body)
	if text != "" && strings.IndexByte("{[", text[0]) >= 0 && !bounded(body) {
		return tooMuch{}
	}
	if doc, ok := parseJSON(body); ok {
		if _, isNumber := doc.(json.Number); isNumber && !saysJSON {
			return text // a token that happens to look like a number
		}
		return doc
	}
	if media == "application/x-www-form-urlencoded" && strings.Contains(text, "=") || formLike.MatchString(text) {
		if strings.Count(text, "&") > maxValues {
			return tooMuch{}
		}
		if form, err := url.ParseQuery(text); err == nil {
			doc := make(map[string]any, len(form))
			for name, values := range form {
				doc[name] = values[0]
			}
			return doc
		}
	}
	if text == "" || strings.ContainsAny(text[:1], `{["<`) || saysJSON && strings.ContainsAny(text, " \t\r\n") {
		return nil // broken JSON, or a page
	}
	return text
}

// formLike is a form in disguise: some servers call theirs text/plain.
var formLike = regexp.MustCompile(`^[A-Za-z_][\w.-]*=[^=\s<>{}"]+$|^[A-Za-z_][\w.-]*=[^=&\s<>{}"]*&[^\s<>{}"]+$`)

// parseJSON reads exactly one JSON value of bounded size, keeping numbers as
// they are written.
func parseJSON(b []byte) (any, bool) {
	if !bounded(b) {
		return nil, false
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return nil, false
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, false
	}
	return v, true
}

// bounded says whether JSON text keeps within the limits, before memory is
// spent on what it holds.
func bounded(b []byte) bool {
	values, levels, inText := 1, 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
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
