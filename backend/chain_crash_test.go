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

// accident is what may happen at the n-th use of storage.
type accident struct {
	at   func(n, use int64, op string) error
	goes bool // the process goes on afterwards
}

func accidents() map[string]accident {
	dead := errors.New("the process is gone")
	return map[string]accident{
		"the process ends": {at: func(n, use int64, _ string) error {
			if use >= n {
				return dead
			}
			return nil
		}},
		"storage fails once": {goes: true, at: func(n, use int64, _ string) error {
			if use == n {
				return dead
			}
			return nil
		}},
		"storage panics once": {goes: true, at: func(n, use int64, _ string) error {
			if use == n {
				panic("a bug in storage")
			}
			return nil
		}},
		"storage fails at reads only": {goes: true, at: func(n, use int64, op string) error {
			if use == n && op == opGet {
				return dead
			}
			return nil
		}},
	}
}

// A chain survives an accident between any two steps of a mint. This is always true of
// a provider that accepts the last refresh token again until the next one is used, as
// here. With other providers the chain breaks if the answer is lost with the process.
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

// The provider accepts each refresh token once. If anybody got a token, the next
// refresh token has been stored, and the chain goes on.
func TestChainGoesOnOnceATokenWasHandedOut(t *testing.T) {
	for n, reached := int64(1), true; reached; n++ {
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
			reached = uses.Load() >= n
			if r.err == nil || s.Requests() > 0 { // otherwise the provider was not asked, and no refresh token was used up
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

// The provider has used up the refresh token, but storage did not take the next one:
// the chain is lost. The reader must learn that, and nobody may get the access token
// that came with it.
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
