// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

// Type says which JSON values a field accepts, and in which form they are stored.
type Type int

// The types of fields, with the canonical form of each.
const (
	Text      Type = iota + 1 // string
	Word                      // string, without white space around it
	PEM                       // string, usually of several lines, and so read from a file
	URL                       // Word: a URL, which may hold placeholders
	Date                      // Word: a date such as 2026-11-25, or empty
	Flag                      // bool
	Seconds                   // int64; a duration string is accepted as well
	Count                     // int64, 0 or more
	Texts                     // []string; a string is accepted as well, and split at commas and white space
	Pointers                  // []string, each a grant.Pointer; a string is accepted as well, and split at commas
	Values                    // map[string]any; JSON text and name=value are accepted as well
	TextPairs                 // Values with strings and nulls only
	Givens                    // Values with strings, nulls, and objects whose one member is value, a string
)

// maxInteger limits numbers to those that JSON carries unchanged (RFC 8259
// section 6).
const maxInteger = 1 << 53

// Canonical turns a value as a client may send it into the form in which the
// field is stored. Its errors say what is wanted, and never repeat the value.
func (t Type) Canonical(v any) (any, error) {
	sent, meant := t.room(), t.room()
	if err := sent.add(v); err != nil {
		return nil, err
	}
	out, err := t.parse(v)
	if err == nil {
		err = meant.add(out) // text may have held a whole list
	}
	return out, err
}

func (t Type) parse(v any) (any, error) {
	switch t {
	case Text, PEM:
		return text(v)
	case Word, URL:
		return word(v)
	case Date:
		return date(v)
	case Flag:
		return flag(v)
	case Seconds:
		return seconds(v)
	case Count:
		return count(v)
	case Texts:
		return texts(v)
	case Pointers:
		return pointers(v)
	case Values:
		return values(v, checkNumbers)
	case TextPairs:
		return values(v, textOrNull)
	case Givens:
		return values(v, given)
	}
	return nil, errors.New("has no type")
}

// none returns the value of a field that is not set.
func (t Type) none() any {
	switch t {
	case Flag:
		return false
	case Seconds:
		return int64(0)
	case Texts, Pointers:
		return []string{}
	case Values, TextPairs, Givens:
		return map[string]any{}
	default:
		return ""
	}
}

func text(v any) (any, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < maxInteger {
			return strconv.FormatFloat(v, 'f', -1, 64), nil
		}
		return nil, errors.New("must be a string: so large a number, or one with a fraction, may have been rounded on its way; quote it")
	case json.Number:
		return v.String(), nil
	}
	return nil, errors.New("must be a string")
}

func word(v any) (any, error) {
	s, err := text(v)
	if word, ok := s.(string); ok {
		return strings.TrimSpace(word), err
	}
	return s, err
}

func date(v any) (any, error) {
	day, err := word(v)
	if text, _ := day.(string); err == nil && text != "" {
		if _, err := time.Parse(time.DateOnly, text); err != nil {
			return nil, errors.New("must be a date such as 2026-11-25")
		}
	}
	return day, err
}

func flag(v any) (any, error) {
	switch v := v.(type) {
	case bool:
		return v, nil
	case string:
		if b, err := strconv.ParseBool(v); err == nil {
			return b, nil
		}
	}
	return nil, errors.New("must be true or false")
}

func seconds(v any) (any, error) {
	wanted := errors.New(`must be a duration of whole seconds, such as 3600 or "1h" (0 for none), of a hundred years at most`)
	var d time.Duration
	switch v := v.(type) {
	case int64:
		return seconds(float64(v))
	case int:
		return seconds(float64(v))
	case json.Number:
		return seconds(v.String())
	case float64:
		if v != math.Trunc(v) || v < 0 || v > 100*365*24*3600 {
			return nil, wanted
		}
		return int64(v), nil
	case string:
		v = strings.TrimSpace(v)
		if n, err := strconv.ParseFloat(v, 64); err == nil {
			return seconds(n)
		}
		if days, isDays := strings.CutSuffix(v, "d"); isDays {
			n, err := strconv.Atoi(days)
			if err != nil {
				return nil, wanted
			}
			return seconds(float64(n) * 24 * 3600)
		}
		var err error
		if d, err = time.ParseDuration(v); err != nil || d%time.Second != 0 {
			return nil, wanted
		}
		return seconds(d.Seconds())
	}
	return nil, wanted
}

func count(v any) (any, error) {
	wanted := errors.New("must be a whole number, 0 or more")
	switch v := v.(type) {
	case int64:
		return count(float64(v))
	case int:
		return count(float64(v))
	case json.Number:
		return count(v.String())
	case float64:
		if v != math.Trunc(v) || v < 0 || v >= maxInteger {
			return nil, wanted
		}
		return int64(v), nil
	case string:
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		if err != nil {
			return nil, wanted
		}
		return count(float64(n))
	}
	return nil, wanted
}

func texts(v any) (any, error) {
	raw, ok := stringList(v, func(s string) []string {
		return strings.FieldsFunc(s, func(c rune) bool { return c == ',' || unicode.IsSpace(c) })
	})
	if !ok {
		return nil, errors.New("must be a list of strings, or one string with commas or spaces between them")
	}
	out, seen := make([]string, 0, len(raw)), make(map[string]bool, len(raw))
	for _, s := range raw {
		if len(s) > maxItem {
			return nil, fmt.Errorf("has an item longer than %s", inBytes(maxItem))
		}
		if s = strings.TrimSpace(s); s != "" && !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out, nil
}

func stringList(v any, split func(string) []string) ([]string, bool) {
	var out []string
	switch v := v.(type) {
	case string:
		if list, isJSON := jsonList(v); isJSON {
			return stringList(list, split)
		}
		out = split(v)
	case []string:
		out = append(out, v...)
	case []any:
		for _, item := range v {
			s, ok := item.(string)
			if !ok {
				return nil, false
			}
			out = append(out, s)
		}
	default:
		return nil, false
	}
	return out, true
}

// jsonList parses a list in JSON. On the command line, a list that is empty or
// has commas in its items is written as JSON.
func jsonList(s string) ([]any, bool) {
	var out []any
	if s = strings.TrimSpace(s); !strings.HasPrefix(s, "[") || json.Unmarshal([]byte(s), &out) != nil {
		return nil, false
	}
	return out, true
}

func pointers(v any) (any, error) {
	wanted := errors.New(`must be a list of JSON pointers (RFC 6901), such as "/data/access_token", or of headers, such as "header:X-Subject-Token"; "" is the whole body, [] is none`)
	raw, ok := stringList(v, func(s string) []string { return strings.Split(s, ",") })
	if !ok {
		return nil, wanted
	}
	for _, s := range raw {
		if len(s) > maxItem {
			return nil, fmt.Errorf("has an item longer than %s", inBytes(maxItem))
		}
		if err := grant.Pointer(s).Check(); err != nil {
			return nil, fmt.Errorf("%w: %w", wanted, err)
		}
	}
	if raw == nil {
		raw = []string{} // set, but empty
	}
	return raw, nil
}

func values(v any, item func(any) (any, error)) (any, error) {
	wanted := errors.New("must be a map: name=value (repeated for more), or a JSON object")
	out := map[string]any{}
	if s, isText := v.(string); isText {
		if list, isJSON := jsonList(s); isJSON {
			v = list
		}
	}
	switch v := v.(type) {
	case map[string]any:
		out = v
	case string:
		switch s := strings.TrimSpace(v); {
		case s == "":
		case s[0] == '{':
			if json.Unmarshal([]byte(s), &out) != nil {
				return nil, wanted
			}
		default:
			if err := pair(v, out); err != nil {
				return nil, wanted
			}
		}
	case []any:
		for _, p := range v {
			s, ok := p.(string)
			if !ok || pair(s, out) != nil {
				return nil, wanted
			}
		}
	default:
		return nil, wanted
	}
	canonical := make(map[string]any, len(out))
	for name, value := range out {
		if name == "" {
			return nil, errors.New("has an entry without a name")
		}
		c, err := item(value)
		if err != nil {
			return nil, fmt.Errorf("has an entry %s that %w", quoted(name), err)
		}
		canonical[name] = c
	}
	return canonical, nil
}

func textOrNull(v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	return text(v)
}

// given checks the value that a config sets for a variable.
func given(v any) (any, error) {
	object, isObject := v.(map[string]any)
	if !isObject {
		return textOrNull(v)
	}
	value, isText := object["value"].(string)
	if !isText || len(object) != 1 {
		return nil, errors.New(`must be a string, or an object whose only member is value, a template: {"value": "{client_id}:{client_secret}"}`)
	}
	return map[string]any{"value": value}, nil
}

func pair(s string, into map[string]any) error {
	name, value, ok := strings.Cut(s, "=")
	name = strings.TrimSpace(name)
	if !ok || name == "" {
		return errors.New("is not of the form name=value")
	}
	if _, twice := into[name]; twice {
		return errors.New("is named twice")
	}
	into[name] = value
	return nil
}

// checkNumbers refuses numbers so large that they may have been changed on their
// way here.
func checkNumbers(v any) (any, error) {
	switch v := v.(type) {
	case json.Number:
		f, err := v.Float64()
		if err != nil {
			return nil, errors.New("holds a number beyond 2^53; quote it")
		}
		return checkNumbers(f)
	case float64:
		if math.Abs(v) >= maxInteger {
			return nil, errors.New("holds a number beyond 2^53; quote it")
		}
	case map[string]any:
		for _, item := range v {
			if _, err := checkNumbers(item); err != nil {
				return nil, err
			}
		}
	case []any:
		for _, item := range v {
			if _, err := checkNumbers(item); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}
