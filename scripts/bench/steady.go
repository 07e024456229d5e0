// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// variant is one of the loads that take turns.
type variant struct {
	mount  string
	plugin string // the name of its executable
	paths  []string
	body   string // of a write; empty for reads
	leased bool
	last   atomic.Int64 // index of the path that was read last
	rounds []load
	ends   load // of its leases; counts only if no other variant of its mount has leases
}

// slice is the length of one turn. It is short, so that other work on the
// machine affects all variants alike.
const slice = 250 * time.Millisecond

// inTurns gives each variant its time in each round. One group runs after
// another. Within a group the variants take turns in slices, and every other
// sequence of turns is backwards. The leases of a group are revoked after it,
// so that each group starts in the same state: otherwise Vault would spend time
// in the next group on collecting their garbage.
func (s *site) inTurns(groups ...[]*variant) {
	before := 0
	for round := -1; round < s.rounds; round++ {
		var told []string
		for _, variants := range groups {
			s.turns(variants, round)
			for _, v := range variants {
				last := v.rounds[len(v.rounds)-1]
				vault, plugin := last.perRead()
				told = append(told, fmt.Sprintf("%s %.0f (%.0f+%.0f µs)", v.paths[0], last.perSecond(), vault, plugin))
				if round < 0 {
					v.rounds, v.ends = nil, load{}
				}
			}
		}
		if round < 0 {
			before = s.provider.Requests()
		} else if n := s.provider.Requests() - before; n != 0 {
			s.tb.Fatalf("%s: %d requests reached the provider while cached tokens were read", s.storage, n)
		}
		note("%s: round %d of %d, reads per second (processor time of Vault and plugin for one): %s",
			s.storage, round+1, s.rounds, strings.Join(told, ", "))
	}
}

// turns adds one round to each variant. A negative round warms up and is
// shorter.
func (s *site) turns(variants []*variant, round int) {
	turn := s.turn
	if round < 0 {
		turn = 4 * slice
	}
	sums := make([]load, len(variants))
	for n := range int(turn / slice) {
		for i := range variants {
			k := (i + max(round, 0)) % len(variants)
			if n%2 == 1 {
				k = len(variants) - 1 - k
			}
			sums[k] = sums[k].plus(s.slice(variants[k]))
		}
	}
	var dirty []string
	for i, v := range variants {
		v.rounds = append(v.rounds, sums[i])
		if v.leased && !slices.Contains(dirty, v.mount) {
			dirty = append(dirty, v.mount)
			spent := s.spent(v.plugin, func() { s.revoke(v.mount) })
			v.ends = v.ends.plus(load{answers: sums[i].answers, cpu: spent})
		}
	}
}

func (s *site) slice(v *variant) (l load) {
	spent := s.spent(v.plugin, func() {
		var err error
		l, err = s.c.steady(s.tb.Context(), s.c.requests(v.paths, v.body), &v.last, slice)
		s.must("reading "+v.paths[0], err)
	})
	l.cpu = spent
	return l
}

// spent returns the processor time that Vault and the plugin use while
// meanwhile runs.
func (s *site) spent(plugin string, meanwhile func()) cpu {
	vault, process := s.processorTime(s.v.PID()), s.processorTime(s.pid(plugin))
	meanwhile()
	return cpu{s.processorTime(s.v.PID()) - vault, s.processorTime(s.pid(plugin)) - process}
}

func (s *site) processorTime(pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	s.must("reading a process's time", err)
	// The format is "pid (comm) state …", where comm may contain anything.
	// Fields 14 and 15 are the time used, in hundredths of a second
	// (proc_pid_stat(5)).
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	s.must("reading a process's time", err)
	system, err := strconv.Atoi(fields[12])
	s.must("reading a process's time", err)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// steadyRows measures the rows about reads per second.
func (s *site) steadyRows() {
	if !s.has(rowLeased, rowPlain, rowMany) {
		return
	}
	var leases, plains []*variant
	load := func(wanted bool, mount, plugin string, leased bool, paths ...string) *variant {
		v := &variant{mount: mount, plugin: plugin, paths: paths, leased: leased}
		switch {
		case wanted && leased:
			leases = append(leases, v)
		case wanted:
			plains = append(plains, v)
		}
		return v
	}
	leased, plain, many := s.has(rowLeased), s.has(rowPlain), s.has(rowMany)
	manyTokens := paths(manyName, s.configs, leasedConfig)
	floorLeased := load(leased, floorName, floorName, true, "floor/lease-value")
	sameLeased := load(leased, floorName, floorName, true, "floor/lease-token")
	oursLeased := load(leased || many, harness.DefaultMount, harness.PluginName, true, paths(harness.DefaultMount, fewConfigs, leasedConfig)...)
	manyLeased := load(many, manyName, manyName, true, manyTokens...)
	floorPlain := load(plain, floorName, floorName, false, "floor/plain-value")
	samePlain := load(plain, floorName, floorName, false, "floor/plain-token")
	oursPlain := load(plain, harness.DefaultMount, harness.PluginName, false, paths(harness.DefaultMount, fewConfigs, plainConfig)...)
	s.inTurns(leases, plains)

	compared := fmt.Sprintf("with %s configs ÷ with %d", grouped(s.configs), fewConfigs)
	s.results.ratio("leased", "cached read, leased ÷ floor leased", s.storage, 0.95, oursLeased, floorLeased)
	s.results.ratio("leased-token", "the same ÷ floor leased, with an answer of the same members", s.storage, 0, oursLeased, sameLeased)
	s.results.ratio("many-leased", "cached read, leased, "+compared, s.storage, 0.95, manyLeased, oursLeased)
	s.results.ratio("plain", "cached read, `leased=false` ÷ floor plain", s.storage, 0.95, oursPlain, floorPlain)
	s.results.ratio("plain-token", "the same ÷ floor plain, with an answer of the same members", s.storage, 0, oursPlain, samePlain)
	if many {
		s.post("making the configs lease-less", manyTokens, map[string]any{"leased": false})
		s.must("reading all once", s.c.each(s.tb.Context(), s.c.reads(manyTokens)))
		manyPlain := &variant{mount: manyName, plugin: manyName, paths: manyTokens}
		again := &variant{mount: oursPlain.mount, plugin: oursPlain.plugin, paths: oursPlain.paths}
		s.inTurns([]*variant{again, manyPlain})
		s.results.ratio("many-plain", "cached read, `leased=false`, "+compared, s.storage, 0.95, manyPlain, again)
	}
	s.results.ratio("floor-plain-leased", "what a lease costs Vault: floor plain ÷ floor leased", s.storage, 0, floorPlain, floorLeased)
	bar := 0.0
	if s.storage == raftStorage {
		bar = 3.5
	}
	s.results.ratio("plain-leased", "cached read: `leased=false` ÷ leased", s.storage, bar, oursPlain, oursLeased)
	s.leaseEnds(oursPlain, oursLeased)
}

// leaseEnds adds the whole cost of a lease. The rows about reads per second
// leave out its end, which takes Vault and the plugin longer than the read.
func (s *site) leaseEnds(plain, leased *variant) {
	if len(plain.rounds) == 0 || len(leased.rounds) == 0 {
		return
	}
	perRead := func(loads ...load) float64 {
		var all load
		for _, l := range loads {
			all = all.plus(l)
		}
		vault, plugin := all.perRead()
		return vault + plugin
	}
	read, end, without := perRead(leased.rounds...), perRead(leased.ends), perRead(plain.rounds...)
	s.results.add(row{
		ID: "lease-end", What: "processor time of a leased read, with the end of its lease ÷ of a `leased=false` read", Storage: s.storage,
		Measured: fmt.Sprintf("**%.1f**: %.0f µs and %.0f µs for the end against %.0f µs", (read+end)/without, read, end, without),
		Numbers:  map[string]float64{"read_microseconds": read, "end_microseconds": end, "plain_microseconds": without},
	})
}
