// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// boundConfig returns the name of a config whose tokens are bound to a key.
func boundConfig(i int) string { return fmt.Sprintf("d%04d", i) }

// proofs measures the cost of a DPoP proof against a read of the token. An
// application needs a new proof for each call, but needs the token only once in
// the token's lifetime.
func (s *site) proofs() {
	p, err := providertest.NewFunc("/", providertest.Options{}, func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token":%q,"token_type":"DPoP","expires_in":%d}`, strings.Repeat("t", 52), int(10*time.Hour/time.Second))
	})
	s.must("starting a provider of bound tokens", err)
	defer p.Close()
	tokens := paths(harness.DefaultMount, fewConfigs, boundConfig)
	s.post("writing configs whose tokens are bound to a key", tokens, map[string]any{
		"token_url": p.URL() + "/token", "client_id": "me", "client_secret": "it", "leased": false,
		"dpop": true, "dpop_resources": p.URL() + "/api",
	})
	s.must("reading all once", s.c.each(s.tb.Context(), s.c.reads(tokens)))
	signed := make([]string, len(tokens))
	for i, token := range tokens {
		signed[i] = strings.Replace(token, "/token/", "/proof/", 1)
	}
	read := &variant{mount: harness.DefaultMount, plugin: harness.PluginName, paths: tokens}
	proof := &variant{mount: harness.DefaultMount, plugin: harness.PluginName, paths: signed, body: `{"htm":"GET","htu":"` + p.URL() + `/api/users"}`}
	minted := p.Requests()
	s.inTurns([]*variant{read, proof})
	if n := p.Requests() - minted; n != 0 {
		s.tb.Fatalf("%s: %d requests reached the provider while calls were signed", s.storage, n)
	}
	s.results.ratio("proof", "a DPoP proof ÷ a cached read of its token, `leased=false`", s.storage, 0, proof, read)
}
