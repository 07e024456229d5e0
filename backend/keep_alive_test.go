// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// lapsing runs a provider whose refresh tokens lapse a day after their last use. If
// rotates is true, each token can be used once and brings the next one.
func lapsing(t *testing.T, e *engine, rotates bool) *providertest.Server {
	t.Helper()
	var mu sync.Mutex
	used := map[string]time.Time{}
	n := 0
	return inventedOver(t, e.wire, func(_ *http.Request, body string) string {
		mu.Lock()
		defer mu.Unlock()
		form, _ := url.ParseQuery(body) // a missing token is an unknown one
		token := form.Get("refresh_token")
		if last, known := used[token]; known && (rotates && last.IsZero() || e.clock.Now().Sub(last) > 24*time.Hour) {
			return `{"error":"invalid_grant"}`
		}
		used[token] = e.clock.Now()
		if !rotates {
			return `{"access_token":"a","expires_in":3600}`
		}
		n++
		next := fmt.Sprintf("r%d", n)
		used[token], used[next] = time.Time{}, e.clock.Now()
		return fmt.Sprintf(`{"access_token":"a%d","refresh_token":%q,"expires_in":3600}`, n, next)
	})
}

func kept(s *providertest.Server) fields {
	return fields{"token_url": s.TokenURL(), "client_id": "c", "client_secret": secretOne, "grant_type": "refresh_token", "refresh_token": "r0", "keep_alive": "24h"}
}

// age returns how long ago the refresh token of config/c was issued or used. It returns
// false if none is stored.
func age(t *testing.T, e *engine) (time.Duration, bool) {
	t.Helper()
	var entry struct {
		Renewed time.Time `json:"renewed"`
	}
	stored := chainsOf(t, e, "c")
	if stored == "" {
		return 0, false
	}
	if err := json.Unmarshal([]byte(stored), &entry); err != nil {
		t.Fatal(err)
	}
	return e.clock.Now().Sub(entry.Renewed), true
}

// If nobody reads, the engine uses or replaces the refresh token before it is
// keep_alive old, but not much earlier.
func TestKeepAlive(t *testing.T) {
	for name, rotates := range map[string]bool{"of tokens used once": true, "of tokens used again": false} {
		for _, reuse := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, reuse=%t", name, reuse), func(t *testing.T) {
				e := mount(t, secretOne)
				s := lapsing(t, e, rotates)
				e.must(t, "config/c", with(kept(s), fields{"reuse": reuse}))
				e.periodic(t)
				eventually(t, "a token of unknown age is used at once", func() bool { _, known := age(t, e); return known && !minting(t, e) })
				for step := range 17 { // a week; the token's age at the steps is 10 or 20 hours
					e.clock.advance(10 * time.Hour)
					if step == 8 {
						e = e.restart(t, secretOne)
					}
					before := mustAge(t, e)
					e.periodic(t)
					if before > 15*time.Hour {
						eventually(t, "it is used", func() bool { return mustAge(t, e) < time.Minute && !minting(t, e) })
					}
				}
				asked(t, s, 1+17/2) // no use at an age of 10 hours
				succeeded(t, e.read(t, "token/c"))
			})
		}
	}
}

// minting reports whether a token of config/c is being minted.
func minting(t *testing.T, e *engine) bool {
	t.Helper()
	return e.read(t, "status/c").data(t)["minting"] == true
}

func mustAge(t *testing.T, e *engine) time.Duration {
	t.Helper()
	out, known := age(t, e)
	if !known {
		t.Fatal("no chain is stored")
	}
	return out
}

func TestKeepAliveIsBoundedPerMinute(t *testing.T) {
	e := mount(t, secretOne)
	s := lapsing(t, e, false)
	for n := range 50 {
		e.must(t, fmt.Sprintf("config/c%d", n), with(kept(s), fields{"refresh_token": fmt.Sprint("of-", n)}))
	}
	for _, want := range []int{20, 40, 50, 50} {
		e.periodic(t)
		eventually(t, fmt.Sprintf("%d were kept alive", want), func() bool { return len(e.below(t, "grant/")) == want })
		asked(t, s, want)
		e.clock.advance(time.Minute)
	}
}

func TestKeepAliveThatFails(t *testing.T) {
	e := mount(t, secretOne)
	s := lapsing(t, e, true)
	s.Behave(providertest.Behavior{Times: -1, Status: 400, Body: `{"error":"temporarily_unavailable"}`})
	e.must(t, "config/c", kept(s))
	eventually(t, "it is tried again and again", func() bool {
		e.clock.advance(time.Minute)
		e.periodic(t)
		return s.Requests() >= 4
	})
	eventually(t, "the log has a line for each attempt", func() bool {
		return strings.Count(e.log.String(), "no token: mount=") == s.Requests()
	})
	if got := e.read(t, "status/c").text(); !strings.Contains(got, "temporarily_unavailable") {
		t.Errorf("status does not tell: %s", got)
	}
	s.Behave()
	eventually(t, "it succeeds", func() bool {
		e.clock.advance(time.Minute)
		e.periodic(t)
		_, known := age(t, e)
		return known
	})
}

func TestKeepAliveIsForWhoMaySpend(t *testing.T) {
	for name, test := range map[string]struct {
		state consts.ReplicationState
		local bool
		want  int
	}{
		"not a standby":                  {consts.ReplicationPerformanceStandby, false, 0},
		"not a secondary":                {consts.ReplicationPerformanceSecondary, false, 0},
		"a secondary with its own mount": {consts.ReplicationPerformanceSecondary, true, 1},
		"a primary":                      {consts.ReplicationPerformancePrimary, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t, secretOne)
			s := lapsing(t, e, true)
			e.must(t, "config/c", kept(s))
			e.system.ReplicationStateVal, e.system.LocalMountVal = test.state, test.local
			e = e.restart(t, secretOne)
			e.periodic(t)
			if test.want > 0 {
				eventually(t, "it is kept alive", func() bool { return len(e.below(t, "grant/")) == 1 })
			}
			asked(t, s, test.want)
		})
	}
}

// The engine looks once at a config without keep_alive, and not again.
func TestKeepAliveLeavesTheOthersAlone(t *testing.T) {
	overAWire(t, func(t *testing.T, e *engine) {
		s := lapsing(t, e, true)
		e.must(t, "config/chain", with(kept(s), fields{"keep_alive": 0}))
		e.must(t, "config/plain", acme())
		e.periodic(t)
		synctest.Wait() // for the survey in the background, which reads each config once
		var reads atomic.Int32
		e.storage.onUse(func(op, key string) error {
			if op == opGet && strings.HasPrefix(key, "config/") {
				reads.Add(1)
			}
			return nil
		})
		for range 10 {
			e.clock.advance(time.Minute)
			e.periodic(t)
			synctest.Wait()
		}
		if n := reads.Load(); n != 0 {
			t.Errorf("%d reads of configs", n)
		}
		asked(t, s, 0)
		e.storage.onUse(nil)
		e.must(t, "config/chain", fields{"keep_alive": "12h"})
		e.periodic(t)
		eventually(t, "it is kept alive once it says so", func() bool { return len(e.below(t, "grant/")) == 1 })
	}, secretOne)
}

func TestKeepAliveThatCannotBe(t *testing.T) {
	e := mount(t, secretOne)
	refused(t, e.write(t, "config/c", with(acme(), fields{"keep_alive": "24h"})), http.StatusBadRequest, "keep_alive", "refresh_token")
	refused(t, e.write(t, "config/c", with(acme(), fields{"grant_type": "refresh_token", "refresh_token": "r0", "keep_alive": 60})),
		http.StatusBadRequest, "keep_alive", "at least")
	e.must(t, "config/c", with(acme(), fields{"keep_alive": 0}))
}

// A chain that no config names is deleted, but not at once: the write that the chain
// was made for may be repeated.
func TestChainThatNoConfigNamesIsTidied(t *testing.T) {
	e, s, write := moved(t)
	e.storage.onUse(failingOn(opPut, "config/c"))
	if update(t, e, "config/c", write).err == nil {
		t.Fatal("no error")
	}
	e.storage.onUse(nil)
	fresh := with(chainAt(t, s), fields{"verify_connection": true})
	e.storage.onUse(failingOn(opPut, "config/new"))
	if e.write(t, "config/new", fresh).err == nil {
		t.Fatal("no error")
	}
	e.storage.onUse(nil)
	e.storage.put(t, "grant/gone", `{"version":1,"first":"x","origin":"","current":"y"}`)
	e.periodic(t)
	if got := e.below(t, "grant/"); len(got) != 3 {
		t.Errorf("%d chains, want the one in use and two that may be wanted", len(got))
	}
	e.clock.advance(8 * 24 * time.Hour)
	e.periodic(t)
	if got := e.below(t, "grant/"); len(got) != 1 {
		t.Errorf("%d chains, want the one in use", len(got))
	}
	succeeded(t, e.read(t, "token/c"))
}
