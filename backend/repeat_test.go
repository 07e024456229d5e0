// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// hoarder is a provider that returns the same token until the token expires.
type hoarder struct {
	*providertest.Server

	mu   sync.Mutex
	n    int
	ends time.Time
}

func newHoarder(t *testing.T, clock *clock, life time.Duration, constant bool) *hoarder {
	t.Helper()
	p := &hoarder{}
	p.Server = invented(t, func(*http.Request, string) string {
		p.mu.Lock()
		defer p.mu.Unlock()
		now := clock.Now()
		if !now.Before(p.ends) {
			p.n++
			p.ends = now.Add(life)
		}
		left := p.ends.Sub(now)
		if constant {
			left = life
		}
		return fmt.Sprintf(`{"access_token":"token-%d","expires_in":%d}`, p.n, left/time.Second)
	})
	return p
}

func (p *hoarder) live(token string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return token == fmt.Sprintf("token-%d", p.n) && now.Before(p.ends)
}

// A provider may return the same token again. Each read gets a valid token, whatever
// lifetime the provider then states, and whether or not the plugin is restarted.
func TestTokenThatTheProviderRepeats(t *testing.T) {
	for name, test := range map[string]struct {
		constant, restarts bool
		config             fields
	}{
		"stating its whole life":                   {constant: true},
		"stating its whole life, with restarts":    {constant: true, restarts: true},
		"stating its whole life, without leases":   {constant: true, config: fields{"leased": false}},
		"stating what is left":                     {},
		"stating what is left, with restarts":      {restarts: true},
		"stating what is left, replaced late":      {config: fields{"refresh": "late"}},
		"stating its whole life, renewable leases": {constant: true, config: fields{"renewable": true}},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			p := newHoarder(t, e.clock, 100*time.Second, test.constant)
			e.must(t, "config/c", with(fields{"token_url": p.TokenURL(), "client_id": "c", "client_secret": secretOne}, test.config))
			for i := range 300 { // three lifetimes
				r := e.read(t, "token/c")
				if r.err != nil {
					t.Fatalf("after %d s: %s", i, r.text())
				}
				left := 100 - i%100
				if !p.live(r.token(t), e.clock.Now()) || r.data(t)["expires_in"] != float64(left) {
					t.Fatalf("after %d s a dead token, or a wrong end: %s", i, r.text())
				}
				if r.resp.Secret != nil && (r.resp.Secret.TTL < time.Second || r.resp.Secret.TTL > time.Duration(left)*time.Second) {
					t.Fatalf("after %d s a lease of %s", i, r.resp.Secret.TTL)
				}
				if says := len(r.resp.Warnings) > 0; says != (left <= 5) {
					t.Fatalf("after %d s: %q", i, r.resp.Warnings)
				}
				if left <= 30 { // so that the clock does not advance while a refresh is under way
					eventually(t, "no refresh is under way", func() bool { return e.read(t, "status/c").data(t)["minting"] == false })
				}
				e.clock.advance(time.Second)
				if test.restarts && i%7 == 0 {
					e = e.restart(t)
				}
			}
			if n := p.Requests(); n > 3*14 && !test.restarts {
				t.Errorf("%d requests in three lives", n)
			}
		})
	}
}

// A lease lasts for at least a second. So a token with less than that is replaced, even
// if it is young.
func TestTokenOfSecondsIsReplacedWhileALeaseOfItCanBeGiven(t *testing.T) {
	for name, config := range map[string]fields{"early": {}, "late": {"refresh": "late"}} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{Lifetime: 3 * time.Second})
			e.must(t, "config/c", with(standard(s), config))
			for range 200 {
				if r := e.read(t, "token/c"); !s.Valid(r.token(t)) || r.resp.Secret.TTL < time.Second {
					t.Fatalf("a dead token, or no lease: %s", r.text())
				}
				e.clock.advance(50 * time.Millisecond)
			}
			if n := s.Requests(); n > 6 {
				t.Errorf("%d mints in ten seconds", n)
			}
		})
	}
}

func TestRefreshLate(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "provider/p", fields{"token_url": s.TokenURL(), "refresh": "late"}) // a provider's definition can set refresh
	config := with(standard(s), fields{"provider": "p"})
	delete(config, "token_url")
	e.must(t, "config/c", config)
	e.must(t, "role/c/plain", fields{"leased": false})
	first := e.read(t, "token/c").token(t)
	wantMembers(t, e.read(t, "token/c/plain").data(t), fields{"rotation_period": float64(3590), "ttl": float64(3590)})
	e.clock.advance(3589 * time.Second)
	r := e.read(t, "token/c")
	if r.token(t) != first {
		t.Error("replaced while it was usable")
	}
	warned(t, r)
	wantMembers(t, e.read(t, "token/c/plain").data(t), fields{"ttl": float64(1)})
	r = e.readWith(t, "token/c", fields{"min_ttl": 60})
	warned(t, r, "refresh=late")
	if e.restart(t).read(t, "token/c").token(t) != first || r.token(t) != first {
		t.Error("replaced while it was usable")
	}
	asked(t, s, 1)
	e.clock.advance(time.Second)
	if e.read(t, "token/c").token(t) == first {
		t.Error("no longer usable, and not replaced")
	}
	e.clock.advance(10 * time.Second)
	succeeded(t, update(t, e, "token/c", fields{"fresh": true}))
	asked(t, s, 3)
}

func TestTokenOfAVerifiedWriteIsWhatReadersGet(t *testing.T) {
	for name, more := range map[string]fields{
		"of a new config":                {},
		"of one that stays as it was":    {"description": "x"},
		"of one that is another request": {"scopes": "read"},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{})
			if len(more) > 0 {
				e.must(t, "config/c", standard(s))
				succeeded(t, e.read(t, "token/c"))
			}
			e.must(t, "config/c", with(standard(s), with(more, fields{"verify_connection": true})))
			last := s.Issued()[len(s.Issued())-1]
			for range 2 { // in this process, and in the next
				if e.read(t, "token/c").token(t) != last {
					t.Error("another token than the one that the write minted")
				}
				e = e.restart(t)
			}
			asked(t, s, len(s.Issued()))
		})
	}
}

func TestTokenOfAVerifiedWriteThatNobodySharesIsRevoked(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", with(standard(s), fields{"reuse": false, "revocation_url": s.RevocationURL(), "verify_connection": true}))
	eventually(t, "the token is revoked", func() bool { return !s.Valid(s.Issued()[0]) })
}

// The provider uses up the refresh token when it gets the request. So the engine waits
// for the answer, however slow it is.
func TestSlowAnswerToARefreshTokenIsWaitedFor(t *testing.T) {
	for name, test := range map[string]struct {
		config fields
		op     func(t *testing.T, e *engine) result
		then   string // the token that a reader gets afterwards
	}{
		"of a shared token": {
			op: func(t *testing.T, e *engine) result { return e.read(t, "token/c") }, then: "slow",
		},
		"of a check": {
			op: func(t *testing.T, e *engine) result { return update(t, e, "check/c", nil) }, then: "slow",
		},
		"of a token of its own": {
			config: fields{"reuse": false}, op: func(t *testing.T, e *engine) result { return e.read(t, "token/c") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			overAWire(t, func(t *testing.T, e *engine) {
				d := newDeskOver(t, e.wire)
				e.must(t, "config/c", with(d.config(), with(fields{
					"grant_type": "refresh_token", "refresh_token": "chain-r0", "request_timeout": 1, "scopes": "a,b",
				}, test.config)))
				e.must(t, "role/c/narrow", fields{"scopes": "a"})
				start := time.Now()
				refused(t, test.op(t, e), http.StatusGatewayTimeout, `"c"`)
				if waited := time.Since(start); waited > 2*time.Second {
					t.Errorf("the reader waited for %s", waited)
				}
				refused(t, e.read(t, "token/c/narrow"), http.StatusGatewayTimeout) // the role's mint may not use the refresh token either
				v := d.next(t)
				if len(d.visits) != 0 {
					t.Fatal("the refresh token was sent again while its answer was due")
				}
				v.token("slow", `"refresh_token":"chain-r1"`)
				v = d.next(t) // the role's mint
				if got := v.form.Get("refresh_token"); got != "chain-r1" {
					t.Errorf("the next request sent %q", got)
				}
				v.token("narrow", `"refresh_token":"chain-r2"`)
				if test.then != "" {
					if got := e.read(t, "token/c").token(t); got != test.then {
						t.Errorf("a reader has %q", got)
					}
				}
			}, secretOne)
		})
	}
}

func TestSlowAnswerToTheRefreshOfAPasswordGrantIsWaitedFor(t *testing.T) {
	overAWire(t, func(t *testing.T, e *engine) {
		d := newDeskOver(t, e.wire)
		e.must(t, "config/c", with(d.config(), fields{
			"grant_type": "password", "username": "u", "password": "p", "request_timeout": 1,
		}))
		reader := soon(t, func() result { return e.read(t, "token/c") })
		d.next(t).token("first", `"refresh_token":"r0"`)
		succeeded(t, wait(t, reader))
		e.clock.advance(time.Hour)
		refused(t, e.read(t, "token/c"), http.StatusGatewayTimeout)
		refused(t, e.read(t, "token/c"), http.StatusGatewayTimeout)
		v := d.next(t)
		if got := v.form.Get("refresh_token"); got != "r0" || len(d.visits) != 0 {
			t.Fatalf("sent %q, and %d requests more", got, len(d.visits))
		}
		v.token("second", `"refresh_token":"r1"`)
		eventually(t, "the reader has what came late", func() bool { return e.read(t, "token/c").token(t) == "second" })
		if got := storedRefreshToken(t, e); got != "r1" {
			t.Errorf("stored: %q", got)
		}
	}, secretOne)
}

// A write that is verified with a refresh token gives up when its time is over, like a
// reader. When the write is repeated, it goes on with the refresh token that came
// meanwhile.
func TestSlowAnswerToAVerifiedWriteIsWaitedFor(t *testing.T) {
	overAWire(t, func(t *testing.T, e *engine) {
		d := newDeskOver(t, e.wire)
		config := with(d.config(), fields{
			"grant_type": "refresh_token", "refresh_token": "chain-r0", "request_timeout": 1, "verify_connection": true,
		})
		refused(t, e.write(t, "config/c", config), http.StatusGatewayTimeout, "verify_connection")
		d.next(t).token("slow", `"refresh_token":"chain-r1"`)
		writer := soon(t, func() result { return e.write(t, "config/c", config) })
		v := d.next(t)
		if got := v.form.Get("refresh_token"); got != "chain-r1" {
			t.Errorf("the second write sent %q", got)
		}
		v.token("second", `"refresh_token":"chain-r2"`)
		succeeded(t, wait(t, writer))
		if got := e.read(t, "token/c").token(t); got != "second" || len(d.visits) != 0 {
			t.Errorf("a reader has %q", got)
		}
	}, secretOne)
}
