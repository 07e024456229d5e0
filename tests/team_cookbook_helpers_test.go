// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// cookbook is docs/cookbook.md with its snippets and the files that it links
// to.
type cookbook struct {
	snippets map[string]string
	unused   map[string]bool // snippets and files that no test has used
}

// openCookbook reads the cookbook. A comment above every snippet gives its
// name.
func openCookbook(t *testing.T) *cookbook {
	t.Helper()
	text := repositoryFile(t, "docs", "cookbook.md")
	b := &cookbook{snippets: snippetsOf(t, text), unused: map[string]bool{}}
	for name := range b.snippets {
		b.unused[name] = true
	}
	if fences := len(regexp.MustCompile("(?m)^```").FindAllString(text, -1)); fences != 2*len(b.snippets) {
		t.Errorf("%d snippets have names, and there are %d fences", len(b.snippets), fences)
	}
	for _, m := range regexp.MustCompile(`\]\((cookbook/[^)]+)\)`).FindAllStringSubmatch(text, -1) {
		b.unused[m[1]] = true
	}
	files, err := filepath.Glob(filepath.Join(root(t), "docs", "cookbook", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if name := "cookbook/" + filepath.Base(file); !b.unused[name] {
			t.Errorf("cookbook.md has no link to %s", name)
		}
	}
	// Check the links within the page.
	anchors := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^## (.*)$`).FindAllStringSubmatch(text, -1) {
		anchor := strings.ReplaceAll(strings.ToLower(m[1]), " ", "-")
		anchors[regexp.MustCompile(`[^\w-]`).ReplaceAllString(anchor, "")] = true
	}
	for _, m := range regexp.MustCompile(`\]\(#([^)]+)\)`).FindAllStringSubmatch(text, -1) {
		if !anchors[m[1]] {
			t.Errorf("a link leads to #%s, and no heading is that", m[1])
		}
	}
	return b
}

// snippetsOf returns the snippets of a page by the names in the comments above
// them.
func snippetsOf(t *testing.T, page string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, m := range regexp.MustCompile("(?ms)^<!-- snippet: (\\S+) -->\n```\\w+\n(.*?)^```$").FindAllStringSubmatch(page, -1) {
		if out[m[1]] != "" {
			t.Errorf("two snippets are called %s", m[1])
		}
		out[m[1]] = m[2]
	}
	return out
}

// take returns a snippet.
func (b *cookbook) take(t *testing.T, name string) string {
	t.Helper()
	text, ok := b.snippets[name]
	if !ok {
		t.Fatalf("cookbook.md has no snippet %s", name)
	}
	delete(b.unused, name)
	return text
}

// file returns the content of a file that the cookbook links to.
func (b *cookbook) file(t *testing.T, name string) string {
	t.Helper()
	delete(b.unused, name)
	return repositoryFile(t, "docs", name)
}

// replace replaces values of the reader's machine in a snippet with this
// machine's. The test ends if the snippet does not contain a value.
func replace(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("a snippet no longer has %q:\n%s", pairs[i], text)
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

// put writes a file and returns its path.
func put(t *testing.T, dir, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// runner runs a snippet with a token, and returns what it prints.
type runner = func(t *testing.T, token, snippet string, env ...string) string
