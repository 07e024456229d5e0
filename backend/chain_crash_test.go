// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// accidents are what may happen at the n-th use of storage, and whether the
// process goes on after it.
func accidents() map[string]struct {
	at      func(n, use int64, op string) error
	goes    bool
	unharms bool // no write is lost
} {
	dead := errors.New("the process is gone")
	return map[string]struct {
		at      func(n, use int64, op string) error
		goes    bool
		unharms bool
	}{
		"the process ends": {func(n, use int64, _ string) error {
			if use >= n {
				return dead
			}
			return nil
		}, false, false},
		"storage fails once": {func(n, use int64, _ string) error {
			if use == n {
				return dead
			}
			return nil
		}, true, false},
		"storage panics once": {func(n, use int64, _ string) error {
			if use == n {
				panic("a bug in storage")
			}
			return nil
		}, true, false},
		"storage fails at reads only": {func(n, use int64, op string) error {
			if use == n && op == opGet {
				return dead
			}
			return nil
		}, true, true},
	}
}

// A chain survives whatever happens between any two steps of a mint: of a
// provider that takes the last refresh token again until the next one is used,
// always; of one that does not, unless the answer was lost with the process.
func TestChainSurvivesAnAccidentBetweenAnyTwoSteps(t *testing.T) {
	for name, accident := range accidents() {
		for _, rotated := range []bool{false, true} {
			for n := int64(1); ; n++ {
				reached := true
				t.Run(fmt.Sprintf("%s at step %d, rotated before %t", name, n, rotated), func(t *testing.T) {
					e := mount(t, secretOne)
					p := newChainProvider(t)
					e.must(t, "config/c", p.config())
					old := ""
					if rotated {
						old = e.read(t, "token/c").token(t)
						e.clock.advance(50 * time.Minute)
						e = e.restart(t, secretOne)
					}
					var uses atomic.Int64
					e.storage.onUse(func(op, _ string) error { return accident.at(n, uses.Add(1), op) })
					r := e.read(t, "token/c")
					e.storage.onUse(nil)
					reached = uses.Load() >= n
					if r.err == nil && r.token(t) != old && !strings.Contains(chainsOf(t, e, "c"), "chain-"+strings.TrimPrefix(r.token(t), "access-of-")) {
						t.Error("an access token was handed out before the next refresh token was stored")
					}
					if !accident.goes {
						e = e.restart(t, secretOne)
					}
					for range 3 {
						e.clock.advance(51 * time.Minute)
						succeeded(t, e.read(t, "token/c"))
					}
				})
				if !reached || n > 50 {
					break
				}
			}
		}
	}
}

// At a provider that takes each refresh token once, a token that somebody got
// is proof of a chain that goes on.
func TestChainGoesOnOnceATokenWasHandedOut(t *testing.T) {
	for n := int64(1); n < 20; n++ {
		t.Run(fmt.Sprintf("the process ends at step %d", n), func(t *testing.T) {
			e, s := chained(t, nil)
			var uses atomic.Int64
			e.storage.onUse(func(_, key string) error {
				if uses.Add(1) >= n && !strings.HasPrefix(key, "grant/") {
					return errors.New("the process is gone")
				}
				return nil
			})
			r := e.read(t, "token/c")
			e.storage.onUse(nil)
			if r.err == nil || s.Requests() > 0 { // else nothing was spent
				succeeded(t, r)
			}
			e = e.restart(t)
			for range 2 {
				e.clock.advance(50 * time.Minute)
				succeeded(t, e.read(t, "token/c"))
			}
		})
	}
}

// What the provider spent and storage did not take is lost: the reader must
// learn that, and nobody may get the token that it came with.
func TestChainThatCannotBeStoredGivesNoToken(t *testing.T) {
	e, s := chained(t, nil)
	e.storage.onUse(failingOn(opPut, "grant/"))
	r := e.read(t, "token/c")
	e.storage.onUse(nil)
	refused(t, r, http.StatusInternalServerError, `"c"`, "the disk is on fire")
	if got := e.below(t, "token/"); len(got) != 0 {
		t.Errorf("the access token is stored: %v", got)
	}
	if !strings.Contains(e.log.String(), "could not be stored") {
		t.Error("nothing in the log")
	}
	asked(t, s, 1)
	withoutSecrets(t, "the error and the log", r.text()+e.log.String(), s.Issued()...)
}

func TestTwoConcurrentReadersSpendOnce(t *testing.T) {
	e := mount(t, secretOne)
	d := newDesk(t)
	e.must(t, "config/c", with(d.config(), fields{"grant_type": "refresh_token", "refresh_token": "chain-r0", "reuse": false}))
	answers := later(t, 3, func() result { return e.read(t, "token/c") })
	for n := range 3 {
		visit := d.next(t)
		if got, want := visit.form.Get("refresh_token"), fmt.Sprintf("chain-r%d", n); got != want {
			t.Errorf("request %d shows %q, want %q", n, got, want)
		}
		asked(t, d.Server, n+1) // the others wait for their turn
		visit.token(fmt.Sprintf("t%d", n), fmt.Sprintf(`"refresh_token":"chain-r%d"`, n+1))
	}
	tokens := map[string]bool{}
	for range 3 {
		tokens[wait(t, answers).token(t)] = true
	}
	if len(tokens) != 3 {
		t.Errorf("tokens: %v", tokens)
	}
}

func TestChainIsNotRepeatedOnceBytesWereSent(t *testing.T) {
	for name, does := range map[string]providertest.Behavior{
		"a lost line": {Drop: true}, "a 503": {Status: 503}, "a 502": {Status: 502}, "a 504": {Status: 504},
	} {
		t.Run(name, func(t *testing.T) {
			e, s := chained(t, nil)
			s.Behave(does)
			refused(t, e.read(t, "token/c"), http.StatusBadGateway, `"c"`)
			asked(t, s, 1)
			e.clock.advance(time.Minute)
			succeeded(t, e.read(t, "token/c"))
		})
	}
}
