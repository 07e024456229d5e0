// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// integer returns a member of the answer, and checks that it is an integer in JSON. A
// float or a string would make Vault Agent fail.
func integer(t *testing.T, resp *logical.Response, name string) int64 {
	t.Helper()
	raw, err := json.Marshal(resp.Data[name])
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	var n int64
	if err := json.Unmarshal(raw, &n); err != nil || strings.ContainsAny(string(raw), ".eE\"") {
		t.Fatalf("%s is %s, want an integer", name, raw)
	}
	return n
}

// raw reads a path and returns the plugin's own response. It is not converted as a
// response to Vault is, so its types are still those of the plugin.
func (e *engine) raw(t *testing.T, path string) *logical.Response {
	t.Helper()
	resp, err := e.backend.HandleRequest(t.Context(), e.cross(t, &logical.Request{Operation: logical.ReadOperation, Path: path}))
	if err != nil || resp == nil {
		t.Fatalf("%s: %v", path, err)
	}
	return resp
}

// ttl is the number of whole seconds until the token's age is 80 % of its life.
func TestLeaselessTTLAcrossALife(t *testing.T) {
	for _, life := range []time.Duration{20 * time.Second, 33 * time.Second, time.Hour} {
		t.Run(life.String(), func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{Lifetime: life})
			e.must(t, "config/c", with(standard(s), fields{"leased": false}))
			token := e.read(t, "token/c").token(t)
			s.Behave(providertest.Behavior{Times: -1, Status: 500}) // so that the token is never replaced
			born := e.clock.Now()
			usable := born.Add(life - min(10*time.Second, life/20))
			renewal := born.Add(life * 8 / 10)
			for _, step := range []time.Duration{0, 1, 400 * time.Millisecond, 999 * time.Millisecond, life / 3, life / 2, life * 69 / 100} {
				e.clock.set(born.Add(step))
				resp := e.raw(t, "token/c")
				if resp.Secret != nil || resp.Data["access_token"] != token {
					t.Fatalf("after %s: a lease or another token", step)
				}
				want := int64(renewal.Sub(e.clock.Now()) / time.Second)
				if got := integer(t, resp, "ttl"); got != want {
					t.Errorf("after %s: ttl %d, want %d", step, got, want)
				}
				if got := integer(t, resp, "rotation_period"); got != int64(life*8/10/time.Second) {
					t.Errorf("rotation_period %d", got)
				}
				// Agent comes back a second after the ttl. By then a new token must be
				// due.
				if back := e.clock.Now().Add(time.Duration(integer(t, resp, "ttl")+1) * time.Second); back.Before(renewal) || back.After(renewal.Add(time.Second)) {
					t.Errorf("after %s: Agent would come back %s after the renewal", step, back.Sub(renewal))
				}
			}
			// After the renewal is due the token is an old one, until it is no longer
			// usable.
			for _, step := range []time.Duration{renewal.Sub(born), life * 9 / 10, usable.Sub(born) - time.Second} {
				e.clock.set(born.Add(step))
				resp := e.raw(t, "token/c")
				if got := integer(t, resp, "ttl"); got != 0 || resp.Data["access_token"] != token || len(resp.Warnings) != 1 {
					t.Errorf("after %s: ttl %d, warnings %q", step, got, resp.Warnings)
				}
			}
		})
	}
}

func (c *clock) set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

func TestLeaselessAnswerHasTheseFields(t *testing.T) {
	e := mount(t)
	e.extras = []string{"kind"}
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", with(standard(s), fields{"leased": false, "scopes": "read", "extra_fields": "kind=/token_type"}))
	for range 2 {
		r := e.read(t, "token/c")
		want := fields{
			"access_token": s.Issued()[0], "token_type": "Bearer", "expires_at": "2026-01-02T04:04:05Z", "expires_in": float64(3600),
			"scope": "read", "kind": "Bearer", "ttl": float64(2880), "rotation_period": float64(2880),
		}
		if got := r.data(t); !same(got, want) || r.resp.Secret != nil {
			t.Errorf("%v, want %v", got, want)
		}
		warned(t, r)
	}
	for _, name := range []string{"ttl", "rotation_period", "access_token", "expires_in", "expires_at", "token_type", "scope"} {
		refused(t, e.write(t, "config/c", fields{"extra_fields": name + "=/x"}), http.StatusBadRequest, "extra_fields", name)
	}
}

func TestLeaselessSettingsThatContradict(t *testing.T) {
	base := fields{"token_url": "https://acme.example.com/token", "client_id": "c", "client_secret": "s", "leased": false}
	for name, test := range map[string]fields{
		"renewable": {"renewable": true}, "reuse": {"reuse": false}, "ttl": {"ttl": 60}, "max_ttl": {"max_ttl": 60},
	} {
		e := mount(t)
		refused(t, e.write(t, "config/c", with(base, test)), http.StatusBadRequest, name, "leased")
		e.must(t, "config/c", base)
		refused(t, e.patch(t, "config/c", test), http.StatusBadRequest, name, "leased")
	}
	e := mount(t)
	e.must(t, "config/c", with(base, fields{"renewable": false, "reuse": true, "ttl": 0, "max_ttl": 0, "min_ttl": 60}))
}

func TestLeasesOfARoleWithoutOnesConfig(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", with(standard(s), fields{"leased": false}))
	e.must(t, "role/c/leased", fields{"leased": true})
	if r := e.read(t, "token/c"); r.token(t) == "" || r.resp.Secret != nil {
		t.Error("a lease")
	}
	if r := e.read(t, "token/c/leased"); r.token(t) == "" || r.resp.Secret == nil || r.resp.Data["ttl"] != nil {
		t.Error("no lease")
	}
	asked(t, s, 1)
}

// renewed renews a lease. It returns the new lease, and when it ends. As in Vault, the
// lease lasts for TTL from now on, but not beyond MaxTTL after it was issued.
func renewed(t *testing.T, e *engine, secret *logical.Secret, issued time.Time) (*logical.Secret, time.Time) {
	t.Helper()
	r := e.send(t, &logical.Request{Operation: logical.RenewOperation, Path: "token/c", Secret: secret})
	succeeded(t, r)
	got := r.resp.Secret
	if got == nil || got.TTL <= 0 || got.MaxTTL <= 0 {
		t.Fatalf("a renewal without a TTL or MaxTTL, which would become the mount's: %s", r.text())
	}
	until := e.clock.Now().Add(got.TTL)
	if limit := issued.Add(got.MaxTTL); limit.Before(until) {
		until = limit
	}
	return got, until
}

func TestRenewableLease(t *testing.T) {
	for name, test := range map[string]struct {
		config       fields
		age          time.Duration // the token's age when it is read
		ttl, max     time.Duration
		after        []time.Duration
		want         []time.Duration // what is left of the lease after each renewal
		refusedAfter time.Duration
	}{
		"as long as the token": {
			fields{}, 0, 3590 * time.Second, 3590 * time.Second,
			[]time.Duration{time.Minute, 30 * time.Minute, 3588 * time.Second},
			[]time.Duration{3530 * time.Second, 1790 * time.Second, 2 * time.Second}, 3590 * time.Second,
		},
		"of a token that has lived": {
			fields{}, 30 * time.Minute, 1790 * time.Second, 1790 * time.Second,
			[]time.Duration{10 * time.Minute}, []time.Duration{1190 * time.Second}, 1790 * time.Second,
		},
		"capped by ttl": {
			fields{"ttl": 60}, 0, time.Minute, 3590 * time.Second,
			[]time.Duration{50 * time.Second, 30 * time.Minute, 3570 * time.Second},
			[]time.Duration{time.Minute, time.Minute, 20 * time.Second}, 3590 * time.Second,
		},
		"capped by max_ttl": {
			fields{"max_ttl": 600}, 0, 10 * time.Minute, 10 * time.Minute,
			[]time.Duration{time.Minute, 9 * time.Minute}, []time.Duration{9 * time.Minute, time.Minute}, 3590 * time.Second,
		},
		"capped by both": {
			fields{"ttl": 60, "max_ttl": 600}, 0, time.Minute, 10 * time.Minute,
			[]time.Duration{30 * time.Second, 9*time.Minute + 30*time.Second}, []time.Duration{time.Minute, 30 * time.Second}, 3590 * time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{})
			e.must(t, "config/c", with(standard(s), with(fields{"renewable": true}, test.config)))
			token := e.read(t, "token/c").token(t)
			e.clock.advance(test.age)
			secret := e.read(t, "token/c").resp.Secret
			if secret.TTL != test.ttl || secret.MaxTTL != test.max || !secret.Renewable {
				t.Fatalf("TTL %s, MaxTTL %s, renewable %t; want %s and %s", secret.TTL, secret.MaxTTL, secret.Renewable, test.ttl, test.max)
			}
			issued := e.clock.Now()
			for i, after := range test.after {
				e.clock.set(issued.Add(after))
				var until time.Time
				if secret, until = renewed(t, e, secret, issued); until.Sub(e.clock.Now()) != test.want[i] {
					t.Errorf("after %s: %s left, want %s", after, until.Sub(e.clock.Now()), test.want[i])
				}
				if !s.Valid(token) || until.After(newClock().Now().Add(3590*time.Second)) {
					t.Error("the lease outlives the token")
				}
			}
			e.clock.set(issued.Add(test.refusedAfter))
			r := e.send(t, &logical.Request{Operation: logical.RenewOperation, Path: "token/c", Secret: secret})
			refused(t, r, http.StatusBadRequest, "cannot be renewed", "read again")
			asked(t, s, 1)
		})
	}
}

func TestLeaseThatIsNotRenewableIsNotRenewed(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	secret := e.read(t, "token/c").resp.Secret
	e.must(t, "config/c", fields{"renewable": true}) // this does not change leases that were handed out before
	r := e.send(t, &logical.Request{Operation: logical.RenewOperation, Path: "token/c", Secret: secret})
	refused(t, r, http.StatusBadRequest, "cannot be renewed", "renewable=true")
}

// A damaged lease is not renewed, because its end is not known.
func TestLeaseThatIsDamagedIsNotRenewed(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", with(standard(s), fields{"renewable": true}))
	for i, damage := range []func(fields){
		func(f fields) { delete(f, "usable_until") },
		func(f fields) { f["usable_until"] = "soon" },
		func(f fields) { f["usable_until"] = float64(1) },
		func(f fields) { delete(f, "ttl") },
		func(f fields) { f["ttl"] = "1h" },
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			secret := e.read(t, "token/c").resp.Secret
			damage(secret.InternalData)
			r := e.send(t, &logical.Request{Operation: logical.RenewOperation, Path: "token/c", Secret: secret})
			refused(t, r, http.StatusBadRequest, "cannot be renewed")
		})
	}
}
