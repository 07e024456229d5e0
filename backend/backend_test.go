// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/backend"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

func TestFactoryNeedsAConfiguration(t *testing.T) {
	if b, err := backend.Factory(backend.Options{})(t.Context(), nil); err == nil || b != nil {
		t.Errorf("backend %v, error %v", b, err)
	}
}

func TestFactoryWithoutOptions(t *testing.T) {
	e := mount(t)
	b, err := backend.Factory(backend.Options{})(t.Context(), &logical.BackendConfig{System: logical.TestSystemView(), StorageView: e.storage})
	if err != nil {
		t.Fatalf("make the backend: %v", err)
	}
	defer b.Cleanup(t.Context())
	e.backend = b
	s := providertest.Start(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	r := e.read(t, "token/c")
	if r.data(t); r.resp.Secret.TTL > 3590*time.Second || r.resp.Secret.TTL < 3500*time.Second {
		t.Errorf("TTL %s", r.resp.Secret.TTL)
	}
	wantMembers(t, e.read(t, "info").data(t), fields{"version": ""})
}

func TestInfo(t *testing.T) {
	e := mount(t)
	want := fields{"version": "v1.2.3", "commit": "0123456789ab", "build_date": "2026-01-02T03:04:05Z"}
	if got := e.read(t, "info").data(t); !same(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestSpecialPathsSealWrapWhatHoldsSecrets(t *testing.T) {
	e := mount(t)
	got := e.backend.SpecialPaths()
	if got == nil || len(got.Root) != 0 || !slices.Equal(got.Unauthenticated, []string{"jwks/*"}) {
		t.Fatalf("special paths: %+v", got)
	}
	for _, prefix := range []string{"config/", "provider/"} {
		if !slices.Contains(got.SealWrapStorage, prefix) {
			t.Errorf("%s is not seal-wrapped", prefix)
		}
	}
	if e.backend.Type() != logical.TypeLogical {
		t.Errorf("type %s", e.backend.Type())
	}
}
