// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// leaseLife is how long the leases last that end by themselves: long enough for
// all of them to be there before the first one ends.
const leaseLife = 2 * time.Minute

// sizing measures what leases cost that are there: memory, storage, a restart,
// and their end.
func (s *site) sizing() {
	kind := func(prefix string, more map[string]any) []string {
		tokens := paths(harness.DefaultMount, fewConfigs, func(i int) string { return fmt.Sprintf("%s%04d", prefix, i) })
		config := s.config(s.provider)
		config["revocation_url"] = s.provider.RevocationURL()
		maps.Copy(config, more)
		s.post("writing configs for "+prefix, tokens, config)
		s.must("reading all once", s.c.each(s.tb.Context(), s.c.reads(tokens)))
		s.revoke(harness.DefaultMount)
		return tokens
	}
	shared, own := kind("shared", nil), kind("own", map[string]any{"reuse": false})
	ending := kind("ending", map[string]any{"ttl": int(leaseLife / time.Second)})

	idle := s.restart()
	s.hold("shared", "shared tokens", shared)
	s.full(idle, s.restart())
	s.end("shared", "shared tokens", shared)
	s.hold("own", "tokens of their own (`reuse=false`)", own)
	s.end("own", "tokens of their own (`reuse=false`)", own)
	s.expire(ending)
}

// held is what is in memory and in storage.
type held struct{ vault, plugin, storage float64 } // bytes

func (s *site) held() held {
	_, _, snapshot := s.v.Do(http.MethodGet, "sys/storage/raft/snapshot", nil, s.v.RootToken())
	if len(snapshot) == 0 {
		s.tb.Fatal("no snapshot of the storage")
	}
	return held{s.live(), s.memoryOf(s.pid(harness.PluginName)), float64(len(snapshot))}
}

var heapAlloc = regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)$`)

// live returns the memory of Vault that is in use, in bytes, after a garbage
// collection.
func (s *site) live() float64 {
	status, profile := s.v.Status(http.MethodGet, "sys/pprof/heap?gc=1&debug=1", nil, s.v.RootToken())
	found := heapAlloc.FindSubmatch(profile)
	if found == nil {
		s.tb.Fatalf("no heap profile of Vault: %d", status)
	}
	n, err := strconv.ParseFloat(string(found[1]), 64)
	s.must("reading Vault's memory", err)
	return n
}

// hold makes leases, and tells what they take.
func (s *site) hold(id, what string, tokens []string) {
	requests := s.c.reads(repeated(tokens, s.leases))
	before := s.held()
	note("%s: making %d leases of %s", s.storage, s.leases, what)
	spent := s.spent(harness.PluginName, func() { s.must("reading", s.c.each(s.tb.Context(), requests)) })
	after, n := s.held(), float64(s.leases)
	vault, plugin, storage := (after.vault-before.vault)/n, (after.plugin-before.plugin)/n, (after.storage-before.storage)/n
	read := (spent.vault + spent.plugin).Seconds() * 1e6 / n
	s.results.add(row{
		ID: "leases-" + id, What: fmt.Sprintf("what each of %s leases of %s takes", grouped(s.leases), what), Storage: s.storage,
		Measured: fmt.Sprintf("%.1f kB of Vault's memory, %.1f kB of the plugin's, %.1f kB of storage; %.2f ms of processor time for the read", vault/1000, plugin/1000, storage/1000, read/1000),
		Numbers:  map[string]float64{"vault_bytes": vault, "plugin_bytes": plugin, "storage_bytes": storage, "read_microseconds": read},
	})
}

// end revokes all leases, and tells what that takes.
func (s *site) end(id, what string, tokens []string) {
	began := time.Now()
	spent := s.spent(harness.PluginName, func() {
		revoke := s.c.request(http.MethodPut, "sys/leases/revoke-prefix/"+harness.DefaultMount, `{"sync":false}`)
		s.must("revoking leases", s.c.each(s.tb.Context(), [][]byte{revoke}))
		for s.leased(tokens) {
			s.wait(time.Second)
		}
	})
	took, each := time.Since(began).Seconds(), (spent.vault+spent.plugin).Seconds()*1e6/float64(s.leases)
	s.results.add(row{
		ID: "end-" + id, What: fmt.Sprintf("the end of %s leases of %s, by `vault lease revoke -prefix`", grouped(s.leases), what), Storage: s.storage,
		Measured: fmt.Sprintf("%.1f s, %.2f ms of processor time each", took, each/1000),
		Numbers:  map[string]float64{"seconds": took, "microseconds": each},
	})
}

// started is a start of Vault.
type started struct{ first, cpu float64 } // seconds: until a token can be read; until all leases are known

// restart restarts Vault, and waits until it knows all its leases.
func (s *site) restart() started {
	restored := func() int { return strings.Count(s.v.Log(), "lease restore complete") }
	before := restored()
	begun := time.Now()
	s.v.Restart()
	clear(s.pids)
	path := paths(harness.DefaultMount, 1, plainConfig)[0]
	harness.Eventually(s.tb, patience, func() error {
		if status, body := s.v.Status(http.MethodGet, path, nil, s.v.RootToken()); status != http.StatusOK {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
	out := started{first: time.Since(begun).Seconds()}
	harness.Eventually(s.tb, patience, func() error {
		if restored() == before {
			return errors.New("the leases are not known yet")
		}
		return nil
	})
	out.cpu = s.processorTime(s.v.PID()).Seconds()
	return out
}

func (s *site) full(idle, full started) {
	s.results.add(row{
		ID: "leases-restart", What: fmt.Sprintf("a restart of Vault with %s leases, and without", grouped(s.leases)), Storage: s.storage,
		Measured: fmt.Sprintf("the first token after %.1f s and %.1f s; %.1f s and %.1f s of processor time until all leases are known", full.first, idle.first, full.cpu, idle.cpu),
		Numbers:  map[string]float64{"first_seconds": full.first, "cpu_seconds": full.cpu, "idle_first_seconds": idle.first, "idle_cpu_seconds": idle.cpu},
	})
}

// expire lets leases end by themselves, while tokens without leases are read.
func (s *site) expire(tokens []string) {
	requests := s.c.reads(repeated(tokens, s.leases))
	reader := &variant{mount: harness.DefaultMount, plugin: harness.PluginName, paths: paths(harness.DefaultMount, fewConfigs, plainConfig)}
	s.must("reading", s.c.each(s.tb.Context(), requests[:fewConfigs]))
	begun := time.Now()
	s.must("reading", s.c.each(s.tb.Context(), requests))
	made := time.Now()
	if made.Sub(begun) > leaseLife {
		s.tb.Fatalf("making %d leases took longer than they last", s.leases)
	}
	var before, during load
	for range 20 {
		before = before.plus(s.slice(reader))
	}
	note("%s: waiting for the end of %d leases", s.storage, s.leases)
	s.wait(time.Until(begun.Add(leaseLife)))
	for s.leased(tokens) {
		for range 4 {
			during = during.plus(s.slice(reader))
		}
	}
	took, pace := time.Since(made.Add(leaseLife)).Seconds(), during.perSecond()/before.perSecond()
	s.results.add(row{
		ID: "leases-expire", What: fmt.Sprintf("%s leases that end by themselves, as fast as they were made", grouped(s.leases)), Storage: s.storage,
		Measured: fmt.Sprintf("made within %.0f s; the last is gone %.1f s after its end; meanwhile reads without leases have %.0f %% of their pace before", made.Sub(begun).Seconds(), took, 100*pace),
		Numbers:  map[string]float64{"made_seconds": made.Sub(begun).Seconds(), "late_seconds": took, "pace": pace},
	})
}

// leased reports whether any of the tokens has a lease.
func (s *site) leased(tokens []string) bool {
	for _, token := range tokens {
		if len(s.v.List("sys/leases/lookup/"+token)) > 0 {
			return true
		}
	}
	return false
}
