// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"iter"
	"sync"
)

// windows holds parts of credentials. The credentials are split only when a
// text is first searched, because most answers do not need it. The parts are
// stored by value, because there may be many.
type windows struct {
	of    []string
	once  sync.Once
	parts map[[window]byte]struct{}
}

func (w *windows) add(secret string) { w.of = append(w.of, secret) }

// within reports whether the text holds any of the parts. A nil w has no parts.
func (w *windows) within(text string) bool {
	if w == nil || len(w.of) == 0 {
		return false
	}
	w.once.Do(w.takeApart)
	var part [window]byte
	for i := 0; i+window <= len(text); i++ {
		copy(part[:], text[i:])
		if _, is := w.parts[part]; is {
			return true
		}
	}
	return false
}

func (w *windows) takeApart() {
	w.parts = map[[window]byte]struct{}{}
	var part [window]byte
	for text := range w.texts() {
		for i := 0; i+window <= len(text); i++ {
			copy(part[:], text[i:])
			w.parts[part] = struct{}{}
		}
	}
}

// texts yields what is split into windows, in each of its forms. A nil w has none.
func (w *windows) texts() iter.Seq[string] {
	return func(yield func(string) bool) {
		if w == nil {
			return
		}
		for _, secret := range w.of {
			for _, text := range spellings(secret) {
				if !yield(text[:min(len(text), maxWindowed)]) {
					return
				}
			}
		}
	}
}

// fewestVisible returns how many visible ASCII characters each window of the text has
// at least.
func fewestVisible(text string) int {
	fewest, now := window, 0
	for i := range len(text) {
		if _, is := visibleByte(text[i]); is {
			now++
		}
		if i < window-1 {
			continue
		}
		fewest = min(fewest, now)
		if _, is := visibleByte(text[i-window+1]); is {
			now--
		}
	}
	return fewest
}
