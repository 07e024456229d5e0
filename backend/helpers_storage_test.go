// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/url"
	"sync"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
)

// storage is storage that can be told to fail.
type storage struct {
	logical.InmemStorage

	mu     sync.Mutex
	before func(op, key string) error // may panic or block as well
	got    func(key string)           // called with what was read, before it is given
	late   bool                       // a put that fails is stored all the same
}

// storage's operations, as before gets to see them.
const (
	opGet    = "get"
	opPut    = "put"
	opList   = "list"
	opDelete = "delete"
)

// onUse lets f decide what becomes of each operation; nil lets them all be.
func (s *storage) onUse(f func(op, key string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// onGot has f called when an entry has been read, before its reader has it.
func (s *storage) onGot(f func(key string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = f
}

// failsLate has puts that fail be stored all the same, as storage does whose
// answer is lost.
func (s *storage) failsLate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late = true
}

func (s *storage) isLate() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.late
}

func (s *storage) enter(op, key string) error {
	s.mu.Lock()
	f := s.before
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(op, key)
}

func (s *storage) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	if err := s.enter(opGet, key); err != nil {
		return nil, err
	}
	entry, err := s.InmemStorage.Get(ctx, key)
	s.mu.Lock()
	f := s.got
	s.mu.Unlock()
	if f != nil {
		f(key)
	}
	return entry, err
}

func (s *storage) Put(ctx context.Context, entry *logical.StorageEntry) error {
	err := s.enter(opPut, entry.Key)
	if err != nil && !s.isLate() {
		return err
	}
	return errors.Join(err, s.InmemStorage.Put(ctx, entry))
}

func (s *storage) List(ctx context.Context, prefix string) ([]string, error) {
	if err := s.enter(opList, prefix); err != nil {
		return nil, err
	}
	return s.InmemStorage.List(ctx, prefix)
}

func (s *storage) Delete(ctx context.Context, key string) error {
	if err := s.enter(opDelete, key); err != nil {
		return err
	}
	return s.InmemStorage.Delete(ctx, key)
}

// snapshot is all that is stored.
func (s *storage) snapshot(t *testing.T) map[string]string {
	t.Helper()
	keys, err := logical.CollectKeys(t.Context(), &s.InmemStorage)
	if err != nil {
		t.Fatalf("list what is stored: %v", err)
	}
	out := map[string]string{}
	for _, key := range keys {
		entry, err := s.InmemStorage.Get(t.Context(), key)
		if err != nil {
			t.Fatalf("get %s: %v", key, err)
		}
		if entry != nil { // it may have been deleted meanwhile
			out[key] = string(entry.Value)
		}
	}
	return out
}

func (s *storage) put(t *testing.T, key, value string) {
	t.Helper()
	if err := s.InmemStorage.Put(t.Context(), &logical.StorageEntry{Key: key, Value: []byte(value)}); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

// encodings are the forms in which a secret may turn up.
func encodings(s string) []string {
	quoted, _ := json.Marshal(s) // a string can be encoded
	return []string{
		s, url.QueryEscape(s), url.PathEscape(s), string(quoted[1 : len(quoted)-1]),
		base64.RawStdEncoding.EncodeToString([]byte(s)), base64.RawURLEncoding.EncodeToString([]byte(s)),
		hex.EncodeToString([]byte(s)),
	}
}
