// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
)

// site returns a root with the folders for a provider's files.
func site(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"catalog", "testdata"} {
		if err := os.MkdirAll(filepath.Join(root, "internal", "provider", dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestAProviderBeginsAsTwoFiles(t *testing.T) {
	root := site(t)
	files, err := begin(root, "acme-2", time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC))
	if err != nil || len(files) != 2 {
		t.Fatalf("%v, %v", files, err)
	}
	read := func(file string) map[string]any {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var out map[string]any
		if err := json.Unmarshal(b, &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	l, err := provider.Canonical(provider.DefinitionFields(), read(files[0]))
	if err != nil || provider.Check(l) != nil || l["documentation_date"] != "2027-01-31" {
		t.Errorf("%v, %v", l, err)
	}
	if exchanges, _ := read(files[1])["exchanges"].([]any); len(exchanges) != 2 {
		t.Errorf("%d exchanges", len(exchanges))
	}
}

func TestAProviderThatIsThereStays(t *testing.T) {
	root := site(t)
	mine := filepath.Join(root, "internal", "provider", "testdata", "acme.json")
	if err := os.WriteFile(mine, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := begin(root, "acme", time.Now()); err == nil {
		t.Error("no error")
	}
	if b, err := os.ReadFile(mine); err != nil || string(b) != "mine" {
		t.Errorf("%s, %v", b, err)
	}
	if _, err := os.Stat(filepath.Join(root, "internal", "provider", "catalog", "acme.json")); err == nil {
		t.Error("the other file was written")
	}
}

func TestNamesAreThoseOfTheCatalog(t *testing.T) {
	for _, name := range []string{"", "Acme", "acme_one", "acme one", "-acme", "../acme", "acme.json"} {
		if _, err := begin(site(t), name, time.Now()); err == nil {
			t.Errorf("%q: no error", name)
		}
	}
}
