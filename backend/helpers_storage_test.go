// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/url"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
)

// storage is a Vault storage that a test can make fail.
type storage struct {
	logical.InmemStorage

	mu     sync.Mutex
	before func(op, key string) error // runs before each operation; may make it fail, panic or block
	after  func(op, key string)       // runs after each operation, before the caller goes on
	late   bool                       // a put that fails is stored nevertheless
}

// process is the storage as one process sees it. A process that has ended changes
// nothing any more.
type process struct {
	*storage

	ended atomic.Bool
}

var errProcessEnded = errors.New("the process has ended")

func (p *process) Put(ctx context.Context, entry *logical.StorageEntry) error {
	if p.ended.Load() {
		return errProcessEnded
	}
	return p.storage.Put(ctx, entry)
}

func (p *process) Delete(ctx context.Context, key string) error {
	if p.ended.Load() {
		return errProcessEnded
	}
	return p.storage.Delete(ctx, key)
}

// These are storage's operations, as onUse and onDone see them.
const (
	opGet    = "get"
	opPut    = "put"
	opList   = "list"
	opDelete = "delete"
)

// onUse runs f before each operation. If f returns an error, the operation fails with
// it. A nil f lets all operations pass.
func (s *storage) onUse(f func(op, key string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// onDone runs f after each operation, before the operation's caller goes on.
func (s *storage) onDone(f func(op, key string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.after = f
}

// failsLate makes storage keep what is put even if the put fails. This is what happens
// when storage's answer is lost.
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

// slowly lets the other goroutines run for up to some milliseconds, now and then, if
// SLOW_STORAGE is set. Storage in memory hides races that storage on a disk shows. It
// does not sleep, because in a bubble of testing/synctest that takes no time.
func slowly() {
	if os.Getenv("SLOW_STORAGE") == "" || rand.IntN(4) > 0 {
		return
	}
	for range rand.IntN(20_000) {
		runtime.Gosched()
	}
}

func (s *storage) enter(op, key string) error {
	slowly()
	s.mu.Lock()
	f := s.before
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(op, key)
}

func (s *storage) done(op, key string) {
	slowly()
	s.mu.Lock()
	f := s.after
	s.mu.Unlock()
	if f != nil {
		f(op, key)
	}
}

func (s *storage) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	if err := s.enter(opGet, key); err != nil {
		return nil, err
	}
	defer s.done(opGet, key)
	return s.InmemStorage.Get(ctx, key)
}

func (s *storage) Put(ctx context.Context, entry *logical.StorageEntry) error {
	err := s.enter(opPut, entry.Key)
	if err != nil && !s.isLate() {
		return err
	}
	defer s.done(opPut, entry.Key)
	return errors.Join(err, s.InmemStorage.Put(ctx, entry))
}

func (s *storage) List(ctx context.Context, prefix string) ([]string, error) {
	if err := s.enter(opList, prefix); err != nil {
		return nil, err
	}
	defer s.done(opList, prefix)
	return s.InmemStorage.List(ctx, prefix)
}

func (s *storage) Delete(ctx context.Context, key string) error {
	if err := s.enter(opDelete, key); err != nil {
		return err
	}
	defer s.done(opDelete, key)
	return s.InmemStorage.Delete(ctx, key)
}

// snapshot returns all that is stored, by key.
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
		if entry != nil { // nil if it was deleted since the listing
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

// encodings returns the forms in which a secret may appear in a text.
func encodings(s string) []string {
	quoted, _ := json.Marshal(s) // a string can always be encoded
	return []string{
		s, url.QueryEscape(s), url.PathEscape(s), string(quoted[1 : len(quoted)-1]),
		base64.RawStdEncoding.EncodeToString([]byte(s)), base64.RawURLEncoding.EncodeToString([]byte(s)),
		hex.EncodeToString([]byte(s)),
	}
}
