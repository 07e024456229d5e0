// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

// Command docs writes what is generated of the documentation: docs/providers.md,
// from the catalog. It is run by `make docs`; a test fails while the file is not
// what the catalog says.
package main

import (
	"fmt"
	"os"
)

func main() {
	text, err := providersPage()
	if err == nil {
		err = os.WriteFile("docs/providers.md", []byte(text), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "docs:", err)
		os.Exit(1)
	}
}
