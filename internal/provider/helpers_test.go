// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"errors"
	"strings"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

func asInvalid(err error, into **InvalidError) bool { return errors.As(err, into) }

// wantInvalid checks that err is an *InvalidError with the wanted text, and that
// it repeats none of the values.
func wantInvalid(t *testing.T, err error, says string, values ...string) {
	t.Helper()
	var invalid *InvalidError
	switch {
	case err == nil:
		t.Errorf("was accepted; want an error with %q", says)
	case !asInvalid(err, &invalid):
		t.Errorf("got a %T: %v", err, err)
	case !strings.Contains(err.Error(), says):
		t.Errorf("got %q, want %q in it", err, says)
	}
	for _, v := range values {
		if err != nil && strings.Contains(err.Error(), v) {
			t.Errorf("repeats a value: %v", err)
		}
	}
}

// quoting runs a token endpoint whose answer quotes the request.
func quoting(t *testing.T) *providertest.Server {
	t.Helper()
	s := providertest.Start(t, providertest.RFC6749, providertest.Options{})
	s.Behave(providertest.Behavior{Times: -1, Echo: true})
	return s
}

func testAuthority(t *testing.T) string {
	t.Helper()
	return providertest.Start(t, providertest.RFC6749, providertest.Options{TLS: true}).CACertificate()
}
