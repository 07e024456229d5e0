// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

const (
	raftStorage = "raft"

	floorName = "floor"
	manyName  = "many" // a second copy of the plugin, in its own process

	delay = 300 * time.Millisecond // of a provider that mints for a crowd
	hang  = 8 * time.Second

	// repeats is how often a crowd comes. The row shows the median time.
	repeats = 9
)

// bench is one run.
type bench struct {
	tb testing.TB
	settings
	floor   string // its executable
	results *results
	stopped <-chan os.Signal // tells when to stop early
}

// site is one server with everything that is measured on it.
type site struct {
	*bench
	v        *harness.Vault
	c        client
	storage  string
	provider *providertest.Server
	pids     map[string]int // of the plugins; cleared when one is killed
}

func (b *bench) run() {
	for i, storage := range b.storages {
		b.on(storage, i == 0)
	}
}

// on measures the rows on one server. Rows that do not depend on the storage
// are measured only on the first server.
func (b *bench) on(storage harness.Storage, first bool) {
	durable, sizing := b.has(rowDurable) && storage == harness.Raft, b.has(rowSizing) && storage == harness.Raft
	many := b.has(rowMany) || first && b.has(rowMemory)
	if !many && !durable && !sizing && !b.has(rowLeased, rowPlain, rowCold, rowMint, rowProof) && (!first || !b.has(rowFailing, rowHang)) {
		return
	}
	s := b.start(storage)
	defer s.stop()
	if many {
		s.fill(first)
	}
	s.steadyRows()
	if b.has(rowMint) {
		s.mints()
	}
	if b.has(rowProof) {
		s.proofs()
	}
	if b.has(rowCold) {
		s.cold()
	}
	if first && b.has(rowFailing) {
		s.failing()
	}
	if first && b.has(rowHang) {
		s.hanging()
	}
	if durable {
		s.durable()
	}
	if sizing {
		s.sizing()
	}
}

func (b *bench) start(storage harness.Storage) *site {
	s := &site{bench: b, pids: map[string]int{}, storage: "in-memory"}
	if storage == harness.Raft {
		s.storage = raftStorage
	}
	note("%s: starting Vault", s.storage)
	s.v = harness.Start(b.tb, harness.Options{Storage: storage, LogLevel: "info", Plugins: []harness.Plugin{
		{Name: floorName, Path: b.floor}, {Name: manyName, Path: harness.PluginBinary(b.tb)},
	}})
	s.v.Delete("sys/audit/file")
	s.v.Mount(floorName, floorName)
	s.v.Mount(manyName, manyName)
	s.c = newClient(s.v.Addr(), s.v.RootToken())
	s.provider = s.newProvider(10 * time.Hour) // longer than any run
	for i := range fewConfigs {
		config := s.config(s.provider)
		s.v.Write("oauthcc/config/"+leasedConfig(i), config)
		config["leased"] = false
		s.v.Write("oauthcc/config/"+plainConfig(i), config)
	}
	if got := s.v.Read(paths("oauthcc", 1, plainConfig)[0]); got.LeaseID != "" {
		s.tb.Fatal("a config with leased=false gives a lease")
	}
	return s
}

func (s *site) stop() {
	s.provider.Close()
	s.v.Stop()
}

func (s *site) newProvider(lifetime time.Duration) *providertest.Server {
	p, err := providertest.New(providertest.RFC6749, providertest.Options{Lifetime: lifetime})
	if err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(p.Close)
	return p
}

// The names of configs. A token's path is as long as the floor's paths.
func leasedConfig(i int) string { return fmt.Sprintf("%05d", i) }
func plainConfig(i int) string  { return fmt.Sprintf("p%04d", i) }

func (s *site) config(p *providertest.Server) map[string]any {
	c := p.Credentials()
	return map[string]any{"token_url": p.TokenURL(), "client_id": c.ClientID, "client_secret": c.ClientSecret}
}

// must ends the run on an error, or when the user interrupts it.
func (s *site) must(doing string, err error) {
	s.wait(0)
	if err != nil {
		s.tb.Fatalf("%s, %s: %v", s.storage, doing, err)
	}
}

// paths returns the paths of the first n tokens at the mount.
func paths(mount string, n int, name func(int) string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = mount + "/token/" + name(i)
	}
	return out
}

// post writes the same body to the config of each token.
func (s *site) post(doing string, tokens []string, body map[string]any) {
	text, err := json.Marshal(body)
	s.must(doing, err)
	requests := make([][]byte, len(tokens))
	for i, token := range tokens {
		requests[i] = s.c.request(http.MethodPost, strings.Replace(token, "/token/", "/config/", 1), string(text))
	}
	note("%s: %s", s.storage, doing)
	s.must(doing, s.c.each(s.tb.Context(), requests))
}

// fill writes many configs and mints a token for each.
func (s *site) fill(memory bool) {
	tokens := paths(manyName, s.configs, leasedConfig)
	s.post(fmt.Sprintf("writing %d configs", s.configs), tokens, s.config(s.provider))
	before := s.provider.Requests()
	note("%s: minting a token for each", s.storage)
	s.must("minting", s.c.each(s.tb.Context(), s.c.reads(tokens)))
	if got := s.provider.Requests() - before; got != s.configs {
		s.tb.Fatalf("%d configs took %d requests to the provider", s.configs, got)
	}
	s.revoke(manyName)
	if memory && s.has(rowMemory) {
		s.memory(tokens)
	}
}

// revoke revokes all leases of a mount, and returns when they are gone.
func (s *site) revoke(mount string) {
	s.must("revoking leases", s.c.each(s.tb.Context(), [][]byte{s.c.request(http.MethodPut, "sys/leases/revoke-prefix/"+mount, `{"sync":true}`)}))
}

// wait waits for d, and ends the run if the user interrupts it.
func (s *site) wait(d time.Duration) {
	select {
	case <-s.stopped:
		s.tb.Fatal("interrupted")
	case <-time.After(d):
	}
}

// pid returns the ID of the plugin's process.
func (s *site) pid(plugin string) int {
	if pid, ok := s.pids[plugin]; ok {
		return pid
	}
	for _, pid := range s.v.PluginPIDs() {
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && filepath.Base(exe) == plugin {
			s.pids[plugin] = pid
			return pid
		}
	}
	s.tb.Fatalf("no process of plugin %s was found", plugin)
	return 0
}
