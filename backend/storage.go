// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
)

// Storage keys. backend.go declares their prefixes to Vault: which are seal-wrapped,
// and which are local to a cluster.
const (
	configPrefix   = "config/"
	providerPrefix = "provider/"
	rolePrefix     = "role/"  // then a config's name, and a role's
	tokenPrefix    = "token/" // then a config's name, and a token's key
	grantPrefix    = "grant/" // then a config's name, and a chain's key
	keyPrefix      = "key/"
	jwksPrefix     = "jwks/" // of the API; nothing is stored there
	budgetPrefix   = "budget/"
	sourcePrefix   = "source/" // then a config's name, and that of one that depends on it
	ledgerPrefix   = "lease/"  // then a config's name, a ledger's, a token's, and an entry's
)

// storable is one kind of storage entry. Each kind counts its own schema versions. To
// change what a stored member means, increase schema and make upgrade convert an
// entry of the previous version. The files in testdata/golden are storage of earlier
// versions, which must stay readable.
type storable interface {
	// storedAs points to the version in which the entry was stored. A write sets it to
	// schema.
	storedAs() *int
	// schema returns the version that this plugin writes.
	schema() int
	// upgrade converts what was stored in an older version, or incompletely, to the
	// form that this version works with.
	upgrade()
}

// header is embedded in every storage entry.
type header struct {
	Version int `json:"version"`
}

func (h *header) storedAs() *int { return &h.Version }

// upgrade does nothing for kinds that have been stored in only one form.
func (*header) upgrade() {}

// configEntry is a stored config.
type configEntry struct {
	header
	// Epoch is random. It is replaced whenever everything that the config minted must
	// be forgotten. It also keys the hashes that name the tokens, so that storage keys
	// reveal nothing about credentials.
	Epoch []byte `json:"epoch"`
	// Ledger is random too. revoke/ replaces it: all tokens in earlier ledgers must be
	// revoked. It keys the hashes that name tokens in the ledger.
	Ledger []byte `json:"ledger"`
	// Seed is random. The keys that tokens are bound to are derived from it (dpop.go).
	// It stays the same as long as the config exists, except after revoke/.
	Seed []byte `json:"seed,omitempty"`
	// Origin is where the operator who wrote the secrets wanted them to be sent.
	Origin string         `json:"origin"`
	Fields provider.Layer `json:"fields"` // as written, secrets included
	// Discovered is the metadata that names the endpoints, if no field does. The
	// operator confirmed it by writing the secrets. It is also used while the server
	// returns no metadata.
	Discovered *provider.Discovered `json:"discovered,omitempty"`
}

// roleEntry is a stored role.
type roleEntry struct {
	header
	Fields provider.Layer `json:"fields"`
}

// providerEntry is a stored provider of the operator's.
type providerEntry struct {
	header
	Fields provider.Layer `json:"fields"`
}

// tokenEntry is a stored token. It outlives the process, and is found again by the
// key of the request that it came from.
type tokenEntry struct {
	header
	Token    grant.Token `json:"token"`
	Fallback bool        `json:"fallback,omitempty"` // minted with fallback_client_secret
	Origin   string      `json:"origin"`             // the mark of the origin that issued it
	Ledger   []byte      `json:"ledger"`             // the config's ledger at the time
}

// linkEntry says by its key that a config depends on another.
type linkEntry struct{ header }

func (*linkEntry) schema() int     { return 1 }
func (*configEntry) schema() int   { return 1 }
func (*roleEntry) schema() int     { return 1 }
func (*providerEntry) schema() int { return 1 }
func (*tokenEntry) schema() int    { return 1 }

func (e *configEntry) upgrade()   { e.Fields = whole(e.Fields) }
func (e *roleEntry) upgrade()     { e.Fields = whole(e.Fields) }
func (e *providerEntry) upgrade() { e.Fields = whole(e.Fields) }

func whole(l provider.Layer) provider.Layer {
	if l == nil {
		return provider.Layer{}
	}
	return l
}

// unreadableError is the error for an entry that this version of the plugin cannot
// read.
type unreadableError struct{ text string }

func (e *unreadableError) Error() string { return e.text }

func unreadable(err error) bool {
	var e *unreadableError
	return errors.As(err, &e)
}

// load reads the entry at key, in its version or an older one; nil without one. It
// refuses a newer version, whose meaning this plugin does not know.
func load[T any, Entry interface {
	*T
	storable
}](ctx context.Context, s logical.Storage, key string) (*T, error) {
	raw, err := s.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("reading %s from storage: %w", key, err)
	}
	if raw == nil {
		return nil, nil
	}
	out := Entry(new(T))
	err = raw.DecodeJSON(out)
	if stored := *out.storedAs(); stored > out.schema() { // checked first, because another version may have other types
		return nil, &unreadableError{fmt.Sprintf("the storage entry %s has schema version %d, newer than the %d that this plugin knows: run the plugin version that wrote it, or a later one",
			key, stored, out.schema())}
	}
	if err != nil {
		return nil, &unreadableError{fmt.Sprintf("the storage entry %s cannot be decoded", key)} // err may quote the entry
	}
	out.upgrade()
	return out, nil
}

// loadTokenEntry reads the stored token of that key; nil without one. An unreadable
// one counts as absent: that costs a mint, and tidying removes it.
func loadTokenEntry(ctx context.Context, s logical.Storage, key string) (*tokenEntry, error) {
	entry, err := load[tokenEntry](ctx, s, tokenPrefix+key)
	if unreadable(err) {
		return nil, nil
	}
	return entry, err
}

// store writes an entry at key, in the schema of its kind.
func store(ctx context.Context, s logical.Storage, key string, v storable) error {
	*v.storedAs() = v.schema()
	entry, err := logical.StorageEntryJSON(key, v)
	if err != nil {
		return fmt.Errorf("encoding the storage entry %s: %w", key, err)
	}
	if err := s.Put(ctx, entry); err != nil {
		return fmt.Errorf("writing %s to storage: %w", key, err)
	}
	return nil
}

// write stores an entry that views are made of. It drops the views even after an
// error, because a write that returns an error may be stored all the same.
func (b *backend) write(ctx context.Context, s logical.Storage, key string, v storable) error {
	defer b.dropViews(key)
	return store(ctx, s, key, v)
}

// erase deletes an entry that views are made of.
func (b *backend) erase(ctx context.Context, s logical.Storage, key string) error {
	defer b.dropViews(key)
	if err := s.Delete(ctx, key); err != nil {
		return fmt.Errorf("deleting %s from storage: %w", key, err)
	}
	return nil
}

// clearTokens removes all stored tokens of a config, except that of one key.
func clearTokens(ctx context.Context, s logical.Storage, config, but string) error {
	prefix := tokenPrefix + config + "/"
	keys, err := s.List(ctx, prefix)
	if err != nil {
		return fmt.Errorf("listing %s in storage: %w", prefix, err)
	}
	for _, key := range keys {
		if config+"/"+key == but {
			continue
		}
		if err := s.Delete(ctx, prefix+key); err != nil {
			return fmt.Errorf("deleting %s%s from storage: %w", prefix, key, err)
		}
	}
	return nil
}
