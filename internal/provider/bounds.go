// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Limits on what clients may send, far above what any provider needs. They are
// checked before anything else is done with a value, so that refusing a value
// costs almost nothing.
const (
	maxRequest  = 512 << 10 // bytes of all fields of a request
	maxField    = 256 << 10 // bytes of one field
	maxList     = 64 << 10  // bytes of a field that is a list
	maxScalar   = 64        // bytes of a number or a truth value
	maxEntries  = 1000      // entries of a list or map, including nested entries
	maxPointers = 32        // pointers to one member of an answer
	maxName     = 256       // bytes of the name of a map's entry
	maxItem     = 1 << 10   // bytes of an item of a list

	maxExpanded    = 64 << 10 // bytes of a text, before and after its placeholders are filled in
	maxExpandedAll = 1 << 20  // bytes of all such texts of a request together, and of all variables together
	maxFilters     = 8        // filters of a placeholder
	maxFiltered    = 16 << 20 // bytes that the filters of a request read, in all
	costOfSigning  = 1 << 18  // how many of these bytes a signature by RSA counts for
	maxPattern     = 1000     // steps of a compiled pattern
	maxMatched     = 1 << 10  // bytes of a value that has to match a pattern

	maxOffset = 10 * 366 * 24 * time.Hour // the largest offset to {now}
)

// errTooLong means that a text is too long once its placeholders are filled in.
var errTooLong = fmt.Errorf("is longer than %s (or, with all others, than %s) once its placeholders are filled in", inBytes(maxExpanded), inBytes(maxExpandedAll))

// errTooMuch is the error for a request whose filters would take too long.
var errTooMuch = fmt.Errorf("has filters that read more than %s together, or sign more than %d times", inBytes(maxFiltered), maxFiltered/costOfSigning)

// size counts the bytes and entries of a value, and holds the limits of both.
type size struct{ bytes, maxBytes, entries, maxEntries int }

// room returns the limits of a value of type t, with nothing counted yet.
func (t Type) room() size {
	switch t {
	case Flag, Seconds, Count:
		return size{maxBytes: maxScalar, maxEntries: maxEntries}
	case Texts:
		return size{maxBytes: maxList, maxEntries: maxEntries}
	case Pointers:
		return size{maxBytes: maxList, maxEntries: maxPointers}
	default:
		return size{maxBytes: maxField, maxEntries: maxEntries}
	}
}

// add counts v. It stops at the first limit that v exceeds, and its error states
// that limit.
func (s *size) add(v any) error {
	switch v := v.(type) {
	case string:
		s.bytes += len(v)
	case json.Number:
		s.bytes += len(v)
	case []string:
		for _, item := range v {
			if err := s.entry("", item); err != nil {
				return err
			}
		}
	case []any:
		for _, item := range v {
			if err := s.entry("", item); err != nil {
				return err
			}
		}
	case map[string]any:
		for name, item := range v {
			if err := s.entry(name, item); err != nil {
				return err
			}
		}
	}
	if s.bytes > s.maxBytes {
		return fmt.Errorf("is larger than %s", inBytes(s.maxBytes))
	}
	return nil
}

func (s *size) entry(name string, v any) error {
	if len(name) > maxName {
		return fmt.Errorf("has an entry whose name is longer than %s", inBytes(maxName))
	}
	s.bytes += len(name)
	if s.entries++; s.entries > s.maxEntries {
		return fmt.Errorf("has more than %d entries", s.maxEntries)
	}
	return s.add(v)
}

func inBytes(n int) string {
	if n >= 1<<10 {
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}

// Listed joins names for an error message. Of a long list it shows the first
// names and how many more there are.
func Listed(names []string) string {
	const shown, length = 20, 1 << 10
	var b strings.Builder
	for i, name := range names {
		if i == shown || i > 0 && b.Len()+len(name) > length {
			return fmt.Sprintf("%s and %d more", b.String(), len(names)-i)
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(name)
	}
	return b.String()
}

// Among reports whether every name in some is also in all.
func Among(some, all []string) bool {
	known := setOf(all)
	return !slices.ContainsFunc(some, func(name string) bool { return !known[name] })
}

// setOf returns the set of the names.
func setOf(names []string) map[string]bool {
	out := make(map[string]bool, len(names))
	for _, name := range names {
		out[name] = true
	}
	return out
}
