// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
)

func TestANewNonceCostsNoTokenAndNoFailure(t *testing.T) {
	e, p := proved(t, nil)
	e.read(t, "token/c").token(t)
	p.mu.Lock()
	p.nonce++
	p.mu.Unlock()
	e.clock.advance(time.Minute)
	succeeded(t, e.write(t, "token/c", fields{"fresh": true}))
	wantMembers(t, e.read(t, "status/c").data(t), fields{"failures": float64(0), "mints": float64(2)})
	token := e.read(t, "token/c").token(t)
	p.works(t, e, "c", token, nil)
	proof, _ := p.prove(t, e, "c", fields{"nonce": "nonce-of-api-0"})["proof"].(string)
	if status, text := p.call(t, "GET", "/api/users", token, proof); status != http.StatusUnauthorized || !strings.Contains(text, "use_dpop_nonce") {
		t.Errorf("an old nonce: %d %s", status, text)
	}
}

func TestAProofMintsATokenIfNeedBe(t *testing.T) {
	e, p := proved(t, nil)
	ath := p.prove(t, e, "c", nil)["ath"]
	if token := e.read(t, "token/c").token(t); hashOf(token) != ath {
		t.Error("the proof is for another token than that of a read")
	}
	if len(p.keys()) != 1 {
		t.Errorf("%d tokens were minted", len(p.keys()))
	}
}

func TestWhatThereIsNoProofFor(t *testing.T) {
	e, p := proved(t, nil)
	e.must(t, "config/unset", p.config(fields{"dpop_resources": []any{}}))
	e.must(t, "config/bearer", p.config(fields{"dpop": false}))
	call := fields{"htm": "GET", "htu": p.URL() + "/api/users"}
	for name, test := range map[string]struct {
		path string
		data fields
		says []string
	}{
		"no config":                   {"none", call, []string{`no config "none"`}},
		"no role":                     {"c/none", call, []string{`no role "none"`}},
		"dpop_resources unset":        {"unset", call, []string{`config "unset"`, "dpop_resources"}},
		"no dpop":                     {"bearer", call, []string{`config "bearer"`, "dpop=true"}},
		"a URL outside":               {"c", with(call, fields{"htu": p.URL() + "/apis"}), []string{"htu", "dpop_resources"}},
		"the token endpoint":          {"c", with(call, fields{"htu": p.URL() + "/token"}), []string{"htu"}},
		"no URL":                      {"c", fields{"htm": "GET"}, []string{"htu"}},
		"no method":                   {"c", fields{"htu": call["htu"]}, []string{"htm"}},
		"a method in lower case":      {"c", with(call, fields{"htm": "get"}), []string{"htm", "capitals"}},
		"a nonce that is none":        {"c", with(call, fields{"nonce": `a"b`}), []string{"nonce"}},
		"a hash that is none":         {"c", with(call, fields{"ath": "access-token-number-0"}), []string{"ath", "43 characters"}},
		"a hash with padding":         {"c", with(call, fields{"ath": hashOf("x") + "="}), []string{"ath"}},
		"the token instead of a hash": {"c", with(call, fields{"access_token": "x"}), []string{"unknown field"}},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, e.write(t, "proof/"+test.path, test.data), http.StatusBadRequest, test.says...)
		})
	}
	if p.Requests() != 0 {
		t.Errorf("%d requests reached the provider", p.Requests())
	}
}

func TestAProofNeedsNeitherStorageNorTheProvider(t *testing.T) {
	e, p := proved(t, nil)
	token := e.read(t, "token/c").token(t)
	requests := p.Requests()
	e.storage.onUse(func(op, key string) error {
		t.Errorf("storage: %s %s", op, key)
		return nil
	})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for _, more := range []fields{nil, {"ath": hashOf(token)}} {
				if got := p.prove(t, e, "c", more)["ath"]; got != hashOf(token) {
					t.Errorf("ath %v", got)
				}
			}
		})
	}
	all.Wait()
	e.storage.onUse(nil)
	asked(t, p.Server, requests)
}

func TestAStandbySignsWhatItCanHandOut(t *testing.T) {
	active, p := proved(t, fields{"leased": false})
	active.must(t, "config/leased", p.config(nil))
	token := active.read(t, "token/c").token(t)
	system := *active.system
	system.ReplicationStateVal = consts.ReplicationPerformanceStandby
	node := mountOn(t, active.storage, active.clock, &system, proofSecret)
	p.works(t, node, "c", token, nil)
	p.works(t, node, "c", token, fields{"ath": hashOf(token)})
	call := fields{"htm": "GET", "htu": p.URL() + "/api/users"}
	isForwarded(t, node, &logical.Request{Operation: logical.UpdateOperation, Path: "proof/leased", Data: call})
	isForwarded(t, node, &logical.Request{Operation: logical.UpdateOperation, Path: "proof/none", Data: call})
}

func TestASecondarySignsForItsOwnTokens(t *testing.T) {
	active, p := proved(t, nil)
	system := *active.system
	system.ReplicationStateVal = consts.ReplicationPerformanceSecondary
	node := mountOn(t, active.storage, active.clock, &system, proofSecret)
	p.works(t, node, "c", node.read(t, "token/c").token(t), nil)
}
