// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package signing

import (
	"bytes"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func TestADerivedKeyIsAlwaysTheSameAndOfOnePurpose(t *testing.T) {
	t.Parallel()
	secret := bytes.Repeat([]byte{7}, 32)
	derive := func(secret []byte, purpose string) Key {
		t.Helper()
		k, err := Derive(secret, purpose)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	first := derive(secret, "a")
	// The key must stay the same in all versions. If an upgrade changed it, tokens
	// would lose the key that they are bound to.
	if got := first.Thumbprint(); got != "AmPL6zTRwizds1Evf6XLUxD0PVXQ7hYTygAWFAl-JDE" {
		t.Errorf("the key's thumbprint is %s", got)
	}
	if derive(secret, "a").Thumbprint() != first.Thumbprint() {
		t.Error("the same secret and purpose give another key")
	}
	if derive(secret, "b").Thumbprint() == first.Thumbprint() || derive(bytes.Repeat([]byte{8}, 32), "a").Thumbprint() == first.Thumbprint() {
		t.Error("another purpose or secret gives the same key")
	}
	if _, err := Derive(secret[1:], "a"); err == nil {
		t.Error("a secret that is too short is taken")
	}
	text, err := first.Sign(ES256, nil, map[string]any{"sub": "me"})
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jose.ParseSigned(text, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parsed.Verify(first.Signer().Public()); err != nil {
		t.Error(err)
	}
}
