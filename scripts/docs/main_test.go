// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os"
	"strings"
	"testing"
)

func TestWhatIsGeneratedIsUpToDate(t *testing.T) {
	for file, page := range pages() {
		got, err := os.ReadFile("../../" + file)
		if err != nil {
			t.Errorf("%v: run make docs", err)
			continue
		}
		want, err := page(string(got))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s is out of date: run make docs", file)
		}
	}
}

// Each table must be on a page. Without this test, nobody would notice a table that no
// page includes.
func TestEveryTableStandsOnAPage(t *testing.T) {
	var all strings.Builder
	for _, page := range []string{"api.md", "dialects.md"} {
		b, err := os.ReadFile("../../docs/" + page)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	for name := range tables() {
		if !strings.Contains(all.String(), "<!-- fields of "+name+": make docs -->\n\n| field |") {
			t.Errorf("the fields of %s stand nowhere", name)
		}
	}
	if n := strings.Count(all.String(), ": make docs -->"); n != strings.Count(all.String(), "<!-- end -->") {
		t.Errorf("%d tables begin and another number ends", n)
	}
}

func TestTablesAreReplacedAndTheRestStays(t *testing.T) {
	got, err := withTables("before\n<!-- fields of a key: make docs -->\nold\n<!-- end -->\nafter\n")
	if err != nil || !strings.HasPrefix(got, "before\n<!-- fields of a key: make docs -->\n\n| field |") ||
		!strings.HasSuffix(got, "|\n\n<!-- end -->\nafter\n") || strings.Contains(got, "old") {
		t.Errorf("%v: %s", err, got)
	}
	if _, err := withTables("<!-- fields of a cat: make docs -->\n<!-- end -->\n"); err == nil {
		t.Error("fields that there are not: no error")
	}
}
