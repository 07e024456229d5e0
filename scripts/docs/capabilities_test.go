// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Each test that docs/capabilities.md names as a proof must exist in the
// package that the page names.
func TestWhatACapabilityIsProvedByExists(t *testing.T) {
	page, err := os.ReadFile("../../docs/capabilities.md")
	if err != nil {
		t.Fatal(err)
	}
	declared := testsByPackage(t)
	rows := 0
	for line := range strings.Lines(string(page)) {
		cells := regexp.MustCompile(` (?:\|) `).Split(strings.Trim(strings.TrimSpace(line), "|"), -1)
		if !strings.HasPrefix(line, "| ") || cells[0] == " capability" {
			continue
		}
		rows++
		if len(cells) != 4 || slices.ContainsFunc(cells, func(cell string) bool { return strings.TrimSpace(cell) == "" }) {
			t.Errorf("has %d cells, or an empty one: %s", len(cells), line)
			continue
		}
		named := 0
		var waiting []string // tests whose package comes later in the cell
		for _, m := range regexp.MustCompile("`((?:Test|Fuzz)\\w+)`|\\(`([a-z/]+)`\\)").FindAllStringSubmatch(cells[2], -1) {
			if m[1] != "" {
				waiting = append(waiting, m[1])
				continue
			}
			for _, name := range waiting {
				if named++; !slices.Contains(declared[m[2]], name) {
					t.Errorf("%s has no %s: %s", m[2], name, line)
				}
			}
			waiting = nil
		}
		if named == 0 || len(waiting) > 0 {
			t.Errorf("names %d tests with their packages, and %q without: %s", named, waiting, line)
		}
	}
	if rows < 20 {
		t.Errorf("read %d rows", rows)
	}
}

// testsByPackage returns the names of each package's tests, by the package's
// folder.
func testsByPackage(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, pattern := range []string{"backend/*_test.go", "internal/*/*_test.go", "tests/*_test.go"} {
		files, err := filepath.Glob("../../" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			folder := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(file)), "../../")
			for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllStringSubmatch(string(text), -1) {
				out[folder] = append(out[folder], m[1])
			}
		}
	}
	return out
}
