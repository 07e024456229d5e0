// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import "testing"

// BenchmarkResolve measures the cost of a token, apart from the request itself, when
// nothing is in memory yet.
func BenchmarkResolve(b *testing.B) {
	config := map[string]any{"client_id": "c", "client_secret": "s", "token_url": "https://x.example/t"}
	for b.Loop() {
		e, err := resolveBuiltin("generic", config)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := e.Identity(); err != nil {
			b.Fatal(err)
		}
		if _, err := e.Origin(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReadEntry measures a cost that only the first request for a provider in a
// process has.
func BenchmarkReadEntry(b *testing.B) {
	for b.Loop() {
		if _, err := readEntry("catalog/cognito.json"); err != nil {
			b.Fatal(err)
		}
	}
}
