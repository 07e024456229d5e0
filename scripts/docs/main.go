// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

// Command docs writes the generated parts of the documentation. It makes
// docs/providers.md from the catalog. From the declarations of the fields it
// makes the tables in docs/api.md and docs/dialects.md and the JSON Schema of a
// provider file. It is run by `make docs`; a test fails while a file differs
// from what this command would write.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := write("."); err != nil {
		fmt.Fprintln(os.Stderr, "docs:", err)
		os.Exit(1)
	}
}

func write(root string) error {
	for file, page := range pages() {
		file = filepath.Join(root, file)
		old, err := os.ReadFile(file)
		if err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("reading what is to be replaced: %w", err)
		}
		text, err := page(string(old))
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return fmt.Errorf("writing what was generated: %w", err)
		}
	}
	return nil
}

// pages returns, for each file, a function from its old content to its new
// content.
func pages() map[string]func(old string) (string, error) {
	return map[string]func(string) (string, error){
		"docs/providers.md":         func(string) (string, error) { return providersPage() },
		"docs/provider.schema.json": func(string) (string, error) { return providerSchema() },
		"docs/api.md":               withTables,
		"docs/dialects.md":          withTables,
	}
}
