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

// Storage keys. Their prefixes are declared to Vault in backend.go: what is
// seal-wrapped, and what is local to a cluster.
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

// storable is one kind of storage entry. Each kind counts its schema versions by
// itself. To change what a stored member means, count schema one up and have
// upgrade bring an entry of the version before to what it is now; the files in
// testdata/golden are storage of earlier versions, which has to stay readable.
type storable interface {
	// storedAs is the version in which the entry was stored; what is written
	// gets its schema there.
	storedAs() *int
	// schema is the version of the kind that this plugin writes.
	schema() int
	// upgrade brings what was stored in an older version, or incompletely, to
	// the form in which this version works with it.
	upgrade()
}

// header begins every storage entry.
type header struct {
	Version int `json:"version"`
}

func (h *header) storedAs() *int { return &h.Version }

// upgrade has nothing to do for kinds that have been stored in one form only.
func (*header) upgrade() {}

// configEntry is a config as stored.
type configEntry struct {
	header
	// Epoch is random, and replaced whenever all that the config minted must
	// be forgotten. It also keys the hashes that name its tokens, so that no
	// storage key says anything about a credential.
	Epoch []byte `json:"epoch"`
	// Ledger is random as well, and replaced by revoke/: all that a ledger
	// before it holds is to be revoked. It keys the hashes that name tokens there.
	Ledger []byte `json:"ledger"`
	// Seed is random, and what the keys are derived from that tokens are bound
	// to (dpop.go). It stays as long as the config, but for a revoke/.
	Seed []byte `json:"seed,omitempty"`
	// Origin is where the operator who wrote the secrets wanted them sent.
	Origin string         `json:"origin"`
	Fields provider.Layer `json:"fields"` // as written, secrets among them
	// Discovered is what the endpoints were found in that the operator confirmed
	// by writing the secrets, where none are written. They are asked also while
	// its server gives no metadata.
	Discovered *provider.Discovered `json:"discovered,omitempty"`
}

// roleEntry is a role as stored.
type roleEntry struct {
	header
	Fields provider.Layer `json:"fields"`
}

// providerEntry is an operator's own provider as stored.
type providerEntry struct {
	header
	Fields provider.Layer `json:"fields"`
}

// tokenEntry is a minted token as stored. It outlives the process, and is
// found again by the key that names the request that it came from.
type tokenEntry struct {
	header
	Token    grant.Token `json:"token"`
	Fallback bool        `json:"fallback,omitempty"` // minted with fallback_client_secret
	Origin   string      `json:"origin"`             // the mark of where it came from
	Ledger   []byte      `json:"ledger"`             // its config's at the time
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

// unreadableError is of an entry that is there, and that this version of the
// plugin cannot read.
type unreadableError struct{ text string }

func (e *unreadableError) Error() string { return e.text }

func unreadable(err error) bool {
	var e *unreadableError
	return errors.As(err, &e)
}

// load reads the entry at key, of whatever version up to this one; nil when
// there is none. A newer one is refused, since what it means is not known here.
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
	if stored := *out.storedAs(); stored > out.schema() { // first: another version may be of other types
		return nil, &unreadableError{fmt.Sprintf("the storage entry %s has schema version %d, newer than the %d that this plugin knows: run the plugin version that wrote it, or a later one",
			key, stored, out.schema())}
	}
	if err != nil {
		return nil, &unreadableError{fmt.Sprintf("the storage entry %s cannot be decoded", key)} // err may quote it
	}
	out.upgrade()
	return out, nil
}

// loadTokenEntry reads the stored token of that key; nil when there is none. One
// that cannot be read counts as none: it costs a mint, and tidy removes it.
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

// write stores an entry that views are made of. They are dropped whatever
// comes of it: a write that reports an error may be stored all the same.
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

// clearTokens removes all stored tokens of a config but that of one key.
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
