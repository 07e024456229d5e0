// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

// revocationScript describes the request that revokes the token of an exchange, and
// where it is documented.
type revocationScript struct {
	Source  string            `json:"source"`
	URL     string            `json:"url"`
	Method  string            `json:"method"`
	Headers map[string]string `json:"headers"` // "" means that there is no such header
	Body    string            `json:"body"`
}

// checkRevocation checks the request to revocation_url, if the provider describes such
// a request.
func checkRevocation(t *testing.T, e *Effective, x exchange) {
	t.Helper()
	if want := e.describesRevocation() || e.Dialect.RevocationMethod != "POST"; want != (x.Revocation != nil) {
		t.Fatalf("describes a revocation: %t, the transcript shows it: %t", want, x.Revocation != nil)
	}
	if x.Revocation == nil {
		return
	}
	r, _, err := e.RevocationRequest(x.Token.AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	if r.URL != x.Revocation.URL || x.Revocation.Source == "" {
		t.Errorf("revokes at %s, not %s (source: %q)", r.URL, x.Revocation.URL, x.Revocation.Source)
	}
	s := anyGrant(t)
	r = sentToServer(t, r, s)
	r.Timeout = 10 * time.Second
	client := grant.NewClient(grant.Options{Now: func() time.Time { return x.Now }})
	defer client.Close()
	if err := client.Revoke(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	got := s.Last()
	if got.Method != x.Revocation.Method || got.Body != x.Revocation.Body {
		t.Errorf("revokes by %s with %s\nwant %s with %s", got.Method, got.Body, x.Revocation.Method, x.Revocation.Body)
	}
	for header, want := range x.Revocation.Headers {
		if got.Header.Get(header) != want {
			t.Errorf("revokes with %s: %q, want %q", header, got.Header.Get(header), want)
		}
	}
}
