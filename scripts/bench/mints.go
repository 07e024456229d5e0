// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// mintsAtATime is how many tokens one load mints before the next load gets its
// turn.
const mintsAtATime = 200

// The names of configs whose reads mint a token. "s" is for tokens of which
// every reader gets its own; "f" is for shared tokens that nobody has read yet.
func singleConfig(i int) string { return fmt.Sprintf("s%04d", i) }
func freshConfig(i int) string  { return fmt.Sprintf("f%04d", i) }

// mints measures the cost of a mint, against the smallest plugin that makes the
// same request and returns a lease.
func (s *site) mints() {
	credentials := s.config(s.provider)
	s.v.Write("floor/mint/token", credentials)
	single, fresh := paths(harness.DefaultMount, fewConfigs, singleConfig), paths(harness.DefaultMount, mintsAtATime, freshConfig)
	s.post("writing configs whose every read mints", single, map[string]any{
		"token_url": credentials["token_url"], "client_id": credentials["client_id"], "client_secret": credentials["client_secret"], "reuse": false,
	})
	s.post("writing configs that nobody has read", fresh, credentials)

	floor := &variant{mount: floorName, plugin: floorName, paths: repeated([]string{"floor/mint/token"}, mintsAtATime), leased: true}
	each := &variant{mount: harness.DefaultMount, plugin: harness.PluginName, paths: repeated(single, mintsAtATime), leased: true}
	first := &variant{mount: harness.DefaultMount, plugin: harness.PluginName, paths: fresh, leased: true}
	for round := -1; round < s.rounds; round++ { // the first one warms up
		var sums [3]load
		turns := int(s.turn / time.Second)
		for n := range max(turns, 1) {
			for i := range sums {
				k := (i + n + max(round, 0)) % len(sums)
				v := []*variant{floor, each, first}[k]
				sums[k] = sums[k].plus(s.mintOnce(v))
			}
			s.forget(fresh)
		}
		if round >= 0 {
			for i, v := range []*variant{floor, each, first} {
				v.rounds = append(v.rounds, sums[i])
			}
		}
		s.revoke(floorName)
		s.revoke(harness.DefaultMount)
	}
	firstBar := 0.7
	if s.storage == raftStorage { // where the token's own write costs half as much as the lease, whatever the engine does
		firstBar = 0
	}
	s.results.ratio("mint-single", "mint, `reuse=false` ÷ the smallest plugin that makes the same request and gives a lease", s.storage, 0.9, each, floor)
	s.results.ratio("mint-first", "first read of a shared token ÷ that plugin", s.storage, firstBar, first, floor)
}

// repeated repeats the paths until there are n.
func repeated(paths []string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = paths[i%len(paths)]
	}
	return out
}

// mintOnce reads each of the variant's paths once. Every read mints a token.
func (s *site) mintOnce(v *variant) (l load) {
	before := s.provider.Requests()
	requests := s.c.reads(v.paths)
	l.cpu = s.spent(v.plugin, func() {
		began := time.Now()
		s.must("minting by "+v.paths[0], s.c.each(s.tb.Context(), requests))
		l.took = time.Since(began)
	})
	l.answers = make([]time.Duration, len(requests))
	if got := s.provider.Requests() - before; got != len(requests) {
		s.tb.Fatalf("%s: %d reads of %s made %d requests to the provider", s.storage, len(requests), v.paths[0], got)
	}
	return l
}

// forget revokes the tokens, so that the next read of each mints again.
func (s *site) forget(tokens []string) {
	requests := make([][]byte, len(tokens))
	for i, token := range tokens {
		requests[i] = s.c.request(http.MethodPut, harness.DefaultMount+"/revoke/"+token[len(harness.DefaultMount+"/token/"):], "{}")
	}
	s.must("forgetting tokens", s.c.each(s.tb.Context(), requests))
}
