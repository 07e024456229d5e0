// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

const (
	raftStorage = "raft"

	floorName = "floor"
	manyName  = "many" // the plugin once more, in a process of its own

	delay = 300 * time.Millisecond // of a provider that mints for a crowd
	hang  = 8 * time.Second

	// repeats is how often a crowd comes: its time is a median, too.
	repeats = 9
)

// bench is one run.
type bench struct {
	tb testing.TB
	settings
	floor   string // its executable
	results *results
	stopped <-chan os.Signal // tells when to give up
}

// site is one server with everything on it.
type site struct {
	*bench
	v        *harness.Vault
	c        client
	storage  string
	provider *providertest.Server
	pids     map[string]int // of the plugins, until one is killed
}

func (b *bench) run() {
	for i, storage := range b.storages {
		b.on(storage, i == 0)
	}
}

// on measures on one server. Rows that have nothing to do with storage are
// measured on the first one.
func (b *bench) on(storage harness.Storage, first bool) {
	durable := b.has(rowDurable) && storage == harness.Raft
	many := b.has(rowMany) || first && b.has(rowMemory)
	if !many && !durable && !b.has(rowLeased, rowPlain, rowCold) && (!first || !b.has(rowFailing, rowHang)) {
		return
	}
	s := b.start(storage)
	defer s.stop()
	if many {
		s.fill(first)
	}
	s.steadyRows()
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

// must ends the run on an error, or when somebody wants that.
func (s *site) must(doing string, err error) {
	s.wait(0)
	if err != nil {
		s.tb.Fatalf("%s, %s: %v", s.storage, doing, err)
	}
}

// paths of the first n tokens at that mount.
func paths(mount string, n int, name func(int) string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = mount + "/token/" + name(i)
	}
	return out
}

// post sends the same body to the configs of all these tokens.
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

// revoke ends all leases of a mount, and returns when they are gone.
func (s *site) revoke(mount string) {
	s.must("revoking leases", s.c.each(s.tb.Context(), [][]byte{s.c.request(http.MethodPut, "sys/leases/revoke-prefix/"+mount, `{"sync":true}`)}))
}

// variant is one of the loads that take turns.
type variant struct {
	mount  string
	plugin string // the name of its executable
	paths  []string
	leased bool
	rounds []load
}

// slice is how long a variant's turn lasts at a time: short, so that whatever
// else the machine does meanwhile hits all variants alike.
const slice = 500 * time.Millisecond

// inTurns gives each variant its time in each round: one group after another,
// and within a group in slices, of which every other sequence is backwards.
// After each group its leases are revoked, so that each starts alike: those of
// one group would cost Vault time in the next, for collecting garbage.
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
					v.rounds = nil
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

// turns adds a round to each variant. The one before the first warms up.
func (s *site) turns(variants []*variant, round int) {
	turn := s.turn
	if round < 0 {
		turn = 2 * slice
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
			s.revoke(v.mount)
		}
	}
}

func (s *site) slice(v *variant) load {
	before := s.used(v.plugin)
	l, err := s.c.steady(s.tb.Context(), v.paths, slice)
	s.must("reading "+v.paths[0], err)
	after := s.used(v.plugin)
	l.cpu = cpu{after.vault - before.vault, after.plugin - before.plugin}
	return l
}

// used is the processor time that Vault and that plugin have used so far.
func (s *site) used(plugin string) cpu {
	return cpu{s.processorTime(s.v.PID()), s.processorTime(s.pid(plugin))}
}

func (s *site) processorTime(pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	s.must("reading a process's time", err)
	// pid (comm) state …, where comm may hold anything; 14 and 15 are what
	// was used, in hundredths of a second (proc_pid_stat(5)).
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	s.must("reading a process's time", err)
	system, err := strconv.Atoi(fields[12])
	s.must("reading a process's time", err)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// steadyRows are those on how many reads per second there are.
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
}

// cold has a crowd read one token that has yet to be minted.
func (s *site) cold() {
	conns, err := s.c.dialAll(s.tb.Context(), crowd)
	s.must("opening connections", err)
	defer closeAll(conns)
	var ours, floor, extra []float64
	worst := 0
	for i := range repeats {
		name := fmt.Sprintf("cold%d", i)
		s.v.Write("oauthcc/config/"+name, s.config(s.provider))
		base := s.crowd(conns, "floor/lease-value", http.StatusOK)
		before := s.provider.Requests()
		s.provider.Behave(providertest.Behavior{Delay: delay})
		got := s.crowd(conns, "oauthcc/token/"+name, http.StatusOK)
		worst = max(worst, s.provider.Requests()-before)
		ours, floor = append(ours, got.took.Seconds()), append(floor, base.took.Seconds())
		extra = append(extra, (got.took - base.took).Seconds())
		s.revoke(floorName)
		s.revoke("oauthcc")
		s.wait(0)
	}
	limit := 1.5 * delay.Seconds()
	s.results.add(row{
		ID: "cold", What: fmt.Sprintf("%s readers of one cold token, from a provider that takes %s", grouped(crowd), delay), Storage: s.storage,
		Measured: fmt.Sprintf("%s; all 200 in %.2f s, the floor's in %.2f s, the difference %.2f s (%.2f–%.2f)",
			count(worst, "provider request"), median(ours), median(floor), median(extra), slices.Min(extra), slices.Max(extra)),
		Bar:     fmt.Sprintf("1 request; %.2f s over the floor's time", limit),
		Verdict: verdict(worst == 1 && median(extra) <= limit),
		Numbers: map[string]float64{"provider_requests": float64(worst), "seconds": median(ours), "floor_seconds": median(floor), "seconds_over_floor": median(extra)},
	})
}

func closeAll(conns []*conn) {
	for _, c := range conns {
		c.close()
	}
}

// crowd has everybody read the path at once, and wants one and the same status.
func (s *site) crowd(conns []*conn, path string, status int) crowded {
	got, err := atOnce(conns, s.c.reads([]string{path})[0])
	s.must("reading "+path+" at once", err)
	if got.statuses[status] != len(conns) {
		note("%s: GET %s: statuses %v, for instance %s", s.storage, path, got.statuses, got.text)
	}
	return got
}

// failing has a crowd read from a provider that is out of order.
func (s *site) failing() {
	conns, err := s.c.dialAll(s.tb.Context(), crowd)
	s.must("opening connections", err)
	defer closeAll(conns)
	p := s.newProvider(time.Hour)
	p.Behave(providertest.Behavior{Times: -1, Status: http.StatusServiceUnavailable})
	for i := range 2 * repeats {
		s.v.Write(fmt.Sprintf("oauthcc/config/failing%d", i), s.config(p))
	}
	var one, all []float64
	statuses := map[int]int{}
	worst := 0
	for i := range repeats {
		alone := s.crowd(conns[:1], fmt.Sprintf("oauthcc/token/failing%d", 2*i), http.StatusBadGateway)
		before := p.Requests()
		got := s.crowd(conns, fmt.Sprintf("oauthcc/token/failing%d", 2*i+1), http.StatusBadGateway)
		worst = max(worst, p.Requests()-before)
		one, all = append(one, alone.took.Seconds()), append(all, got.took.Seconds())
		for status, n := range got.statuses {
			statuses[status] += n
		}
		s.wait(0)
	}
	s.results.add(row{
		ID: "failing", What: fmt.Sprintf("%s readers while the provider answers 503", grouped(crowd)), Storage: s.storage,
		Measured: fmt.Sprintf("%s; statuses %s in %.2f s; one reader alone waits %.2f s", count(worst, "provider request"),
			join(slices.Sorted(maps.Keys(statuses))), median(all), median(one)),
		Bar:     "≤ 3 requests, all 502",
		Verdict: verdict(worst <= 3 && statuses[http.StatusBadGateway] == crowd*repeats),
		Numbers: map[string]float64{"provider_requests": float64(worst), "seconds": median(all), "seconds_alone": median(one)},
	})
}

// hanging reads a usable token while its refresh hangs.
func (s *site) hanging() {
	const (
		life    = 60 * time.Second
		refresh = life * 7 / 10
	)
	p := s.newProvider(life)
	s.v.Write("oauthcc/config/hanging", s.config(p))
	s.v.Read("oauthcc/token/hanging")
	born := time.Now()
	note("%s: a token of %s is getting old", s.storage, life)
	s.wait(time.Until(born.Add(refresh - hang - time.Second)))

	// The floor and the engine take turns, so that the floor tells what the
	// machine did meanwhile. began is when the provider was asked again.
	ours := &variant{mount: harness.DefaultMount, plugin: harness.PluginName, paths: []string{"oauthcc/token/hanging"}}
	floor := &variant{mount: floorName, plugin: floorName, paths: []string{"floor/lease-value"}}
	p.Behave(providertest.Behavior{Delay: hang})
	var before, during [2]load
	var began time.Time
	for began.IsZero() || time.Since(began)+2*slice < hang {
		got := [2]load{s.slice(floor), s.slice(ours)}
		switch {
		case !began.IsZero():
			during = [2]load{during[0].plus(got[0]), during[1].plus(got[1])}
		case p.Requests() == 2: // in the course of these slices
			began = time.Now()
		case time.Since(born) > life:
			s.tb.Fatalf("a token of %s was not refreshed in time", life)
		default:
			before = [2]load{before[0].plus(got[0]), before[1].plus(got[1])}
		}
	}
	requests := p.Requests()
	s.revoke(harness.DefaultMount)
	s.revoke(floorName)

	// change is by how much the engine's figure grew, less what the floor's did.
	change := func(figure func(load) float64) float64 {
		return figure(during[1]) / figure(before[1]) / (figure(during[0]) / figure(before[0]))
	}
	quantile := func(part float64) func(load) float64 {
		return func(l load) float64 { return inMS(l.quantile(part)) }
	}
	p50, p99, pace := change(quantile(0.5)), change(quantile(0.99)), change(load.perSecond)
	numbers := map[string]float64{"provider_requests": float64(requests - 1), "p50_change": p50, "p99_change": p99, "pace_change": pace}
	var told []string
	for i, part := range []float64{0.5, 0.99, 1} {
		name := []string{"p50", "p99", "longest"}[i]
		told = append(told, fmt.Sprintf("%s %.1f → %.1f ms (floor %.1f → %.1f)", name,
			quantile(part)(before[1]), quantile(part)(during[1]), quantile(part)(before[0]), quantile(part)(during[0])))
		numbers[name+"_before_ms"], numbers[name+"_during_ms"] = quantile(part)(before[1]), quantile(part)(during[1])
		numbers[name+"_floor_before_ms"], numbers[name+"_floor_during_ms"] = quantile(part)(before[0]), quantile(part)(during[0])
	}
	_, pluginBefore := before[1].perRead()
	_, pluginDuring := during[1].perRead()
	numbers["plugin_microseconds_before"], numbers["plugin_microseconds_during"] = pluginBefore, pluginDuring
	s.results.add(row{
		ID: "hang", What: fmt.Sprintf("readers of a usable token while its refresh hangs for %s", hang), Storage: s.storage,
		Measured: fmt.Sprintf("%s; against the floor p50 ×%.2f, p99 ×%.2f, reads/s ×%.2f; %s",
			strings.Join(told, ", "), p50, p99, pace, count(requests-1, "provider request")),
		Bar:     "p50, p99 ≤ ×1.25, reads/s ≥ ×0.9; 1 request",
		Verdict: verdict(requests == 2 && p50 <= 1.25 && p99 <= 1.25 && pace >= 0.9),
		Numbers: numbers,
	})
}

// wait waits, and ends the run when somebody wants that.
func (s *site) wait(d time.Duration) {
	select {
	case <-s.stopped:
		s.tb.Fatal("interrupted")
	case <-time.After(d):
	}
}

// durable counts mints after what ends the plugin's process, or Vault's.
func (s *site) durable() {
	tokens := paths("oauthcc", fewConfigs, leasedConfig)
	held := make([]any, len(tokens))
	for i, path := range tokens {
		held[i] = s.v.Read(path).Data["access_token"]
	}
	before := s.provider.Requests()
	var told []string
	for _, event := range []struct {
		name string
		do   func()
	}{
		{"plugin killed", s.v.KillPlugin},
		{"plugin reloaded", s.v.ReloadPlugin},
		{"Vault restarted", s.v.Restart},
		{"Vault killed", func() { s.v.Kill9(); s.v.Restart() }},
	} {
		note("%s: %s", s.storage, event.name)
		event.do()
		failed := 0
		harness.Eventually(s.tb, 30*time.Second, func() error {
			for i, path := range tokens {
				status, body := s.v.Status(http.MethodGet, path, nil, s.v.RootToken())
				if status != http.StatusOK {
					failed++
					return fmt.Errorf("%s: %d %s", path, status, body)
				}
				if !strings.Contains(string(body), fmt.Sprint(held[i])) {
					s.tb.Fatalf("%s: %s gives another token", event.name, path)
				}
			}
			return nil
		})
		if failed > 0 {
			told = append(told, fmt.Sprintf("%s: %s until it answered again", event.name, count(failed, "failed read")))
		}
	}
	mints := s.provider.Requests() - before
	s.results.add(row{
		ID: "durable", What: "mints after the plugin is killed or reloaded, Vault restarted or killed, with usable tokens", Storage: s.storage,
		Measured: strings.Join(append([]string{strconv.Itoa(mints)}, told...), "; "), Bar: "0", Verdict: verdict(mints == 0),
		Numbers: map[string]float64{"provider_requests": float64(mints)},
	})
}

// memory looks at the process that holds many tokens: after they were minted,
// and after they were read.
func (s *site) memory(tokens []string) {
	minted := s.resident()
	_, err := s.c.steady(s.tb.Context(), tokens, 5*time.Second)
	s.must("reading", err)
	read := s.resident()
	s.revoke(manyName)
	const limit = 100
	s.results.add(row{
		ID: "memory", What: fmt.Sprintf("the plugin's resident memory, %s configs with a token each", grouped(s.configs)), Storage: s.storage,
		Measured: fmt.Sprintf("%.0f MB when all are minted, %.0f MB under load", minted, read), Bar: fmt.Sprintf("≤ %d MB", limit),
		Verdict: verdict(max(minted, read) <= limit),
		Numbers: map[string]float64{"minted_mb": minted, "read_mb": read},
	})
}

// resident is the memory (VmRSS) of the process with many tokens, in MB.
func (s *site) resident() float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid(manyName)))
	s.must("reading the plugin's memory", err)
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kilobytes, err := strconv.Atoi(strings.Fields(rest)[0])
	s.must("reading the plugin's memory", err)
	return float64(kilobytes) * 1024 / 1e6
}

// pid is that of the plugin's process.
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
