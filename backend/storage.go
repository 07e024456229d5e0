// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"fmt"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
)

// Storage keys. Their prefixes are declared to Vault in backend.go: what is
// seal-wrapped, and what is local to a cluster.
const (
	configPrefix   = "config/"
	providerPrefix = "provider/"
)

// schemaVersion is that of every entry written. An older one is read; a newer
// one is refused, since what it means is not known here.
const schemaVersion = 1

// configEntry is a config as stored.
type configEntry struct {
	Version int `json:"version"`
	// Epoch is random, and replaced whenever all that the config minted must
	// be forgotten. It also keys the hashes that name its tokens, so that no
	// storage key says anything about a credential.
	Epoch []byte `json:"epoch"`
	// Origin is where the operator who wrote the secrets wanted them sent.
	Origin string         `json:"origin"`
	Fields provider.Layer `json:"fields"` // as written, secrets among them
}

// providerEntry is an operator's own provider as stored.
type providerEntry struct {
	Version int            `json:"version"`
	Fields  provider.Layer `json:"fields"`
}

func (e configEntry) schema() int   { return e.Version }
func (e providerEntry) schema() int { return e.Version }

// load reads the entry at key; nil when there is none.
func load[T interface{ schema() int }](ctx context.Context, s logical.Storage, key string) (*T, error) {
	raw, err := s.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("reading %s from storage: %w", key, err)
	}
	if raw == nil {
		return nil, nil
	}
	var out T
	if err := raw.DecodeJSON(&out); err != nil {
		return nil, fmt.Errorf("the storage entry %s cannot be decoded", key) // err may quote it
	}
	if out.schema() > schemaVersion {
		return nil, fmt.Errorf("the storage entry %s has schema version %d, newer than the %d that this plugin knows: run the plugin version that wrote it, or a later one",
			key, out.schema(), schemaVersion)
	}
	return &out, nil
}

func store(ctx context.Context, s logical.Storage, key string, v any) error {
	entry, err := logical.StorageEntryJSON(key, v)
	if err != nil {
		return fmt.Errorf("encoding the storage entry %s: %w", key, err)
	}
	if err := s.Put(ctx, entry); err != nil {
		return fmt.Errorf("writing %s to storage: %w", key, err)
	}
	return nil
}
