// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// cold lets a crowd read one token that has not been minted yet.
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

// crowd sends a read of the path on all connections at once, and expects the
// same status for all.
func (s *site) crowd(conns []*conn, path string, status int) crowded {
	got, err := atOnce(conns, s.c.reads([]string{path})[0])
	s.must("reading "+path+" at once", err)
	if got.statuses[status] != len(conns) {
		note("%s: GET %s: statuses %v, for instance %s", s.storage, path, got.statuses, got.text)
	}
	return got
}

// failing lets a crowd read from a provider that answers 503.
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

	// The floor and the engine take turns, so that the floor shows what else
	// the machine did at the time. began is when the refresh was first seen.
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
		case p.Requests() == 2: // the refresh began during these slices
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

	// change returns the factor by which the engine's figure grew, divided by
	// the factor for the floor.
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

// durable counts the mints after the plugin's process, or Vault's, has ended.
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

// memory measures the process that holds many tokens, first after they were
// minted and then after they were read.
func (s *site) memory(tokens []string) {
	minted := s.resident()
	var last atomic.Int64
	_, err := s.c.steady(s.tb.Context(), s.c.reads(tokens), &last, 5*time.Second)
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

// resident returns the memory of the process with many tokens, in MB.
func (s *site) resident() float64 { return s.memoryOf(s.pid(manyName)) / 1e6 }

// memoryOf returns the resident memory (VmRSS) of a process, in bytes.
func (s *site) memoryOf(pid int) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	s.must("reading the plugin's memory", err)
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kilobytes, err := strconv.Atoi(strings.Fields(rest)[0])
	s.must("reading the plugin's memory", err)
	return float64(kilobytes) * 1024
}
