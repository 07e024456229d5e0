// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os"
	"testing"
)

func TestProvidersPageIsWhatTheCatalogSays(t *testing.T) {
	want, err := providersPage()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/providers.md")
	if err != nil || string(got) != want {
		t.Errorf("docs/providers.md is out of date (%v): run make docs", err)
	}
}
