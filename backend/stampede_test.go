// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

const crowd = 200

func TestOneMintForTwoHundredReaders(t *testing.T) {
	for name, test := range map[string]struct {
		config, role fields
		path         func(i int) string
		query        func(i int) fields
		asked        int
	}{
		"of a config": {path: func(int) string { return "token/c" }, asked: 1},
		"of a config without leases": {
			config: fields{"leased": false}, path: func(int) string { return "token/c" }, asked: 1,
		},
		"of a role and its config, which come to the same": {
			path: func(i int) string { return []string{"token/c", "token/c/r"}[i%2] }, asked: 1,
		},
		"of a role and those who narrow to its scopes": {
			config: fields{"scopes": "read,write"}, role: fields{"scopes": "read"},
			path:  func(i int) string { return []string{"token/c", "token/c/r"}[i%2] },
			query: func(i int) fields { return []fields{{"scopes": "read"}, nil}[i%2] },
			asked: 1,
		},
		"of two sets of scopes": {
			config: fields{"scopes": "read,write"}, role: fields{"scopes": "read"},
			path: func(i int) string { return []string{"token/c", "token/c/r"}[i%2] }, asked: 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{})
			s.Behave(providertest.Behavior{Times: 2, Delay: 100 * time.Millisecond}) // so that the readers wait together
			e.must(t, "config/c", with(standard(s), test.config))
			e.must(t, "role/c/r", with(fields{"description": "x"}, test.role))
			answers := make(chan result, crowd)
			for i := range crowd {
				var query fields
				if test.query != nil {
					query = test.query(i)
				}
				go func() { answers <- e.readWith(t, test.path(i), query) }()
			}
			tokens := map[string]bool{}
			for range crowd {
				r := wait(t, answers)
				tokens[r.token(t)] = true
				warned(t, r)
			}
			asked(t, s, test.asked)
			if len(tokens) != test.asked {
				t.Errorf("%d tokens", len(tokens))
			}
			wantMembers(t, e.read(t, "status/c").data(t), fields{
				"mints": float64(test.asked), "failures": float64(0), "served": float64(crowd), "minting": false,
			})
		})
	}
}

func TestOneFailureForTwoHundredReaders(t *testing.T) {
	for name, config := range map[string]fields{"leased": {}, "without leases": {"leased": false}} {
		t.Run(name, func(t *testing.T) {
			overAWire(t, func(t *testing.T, e *engine) {
				s := e.server(t, providertest.RFC6749, providertest.Options{})
				s.Behave(providertest.Behavior{Times: -1, Status: http.StatusServiceUnavailable})
				e.must(t, "config/c", with(standard(s), config))
				start := time.Now()
				answers := later(t, crowd, func() result { return e.read(t, "token/c") })
				for range crowd {
					refused(t, wait(t, answers), http.StatusBadGateway, `"c"`, "HTTP 503", "next attempt")
				}
				if took := time.Since(start); took > 6*time.Second {
					t.Errorf("it took %s, much more than a mint with its retries", took)
				}
				if s.Requests() > 3 {
					t.Errorf("%d requests, want 3 at most", s.Requests())
				}
				wantMembers(t, e.read(t, "status/c").data(t), fields{"mints": float64(0), "failures": float64(1), "served": float64(0)})
			})
		})
	}
}

// While a refresh hangs, readers still get the usable token without delay.
func TestRefreshThatHangsDelaysNobody(t *testing.T) {
	overAWire(t, func(t *testing.T, e *engine) {
		d := newDeskOver(t, e.wire)
		e.must(t, "config/c", d.config())
		reader := soon(t, func() result { return e.read(t, "token/c") })
		d.next(t).token("old")
		wait(t, reader)
		e.clock.advance(45 * time.Minute)
		start := time.Now()
		for range crowd {
			r := e.read(t, "token/c")
			if r.token(t) != "old" {
				t.Fatal("another token")
			}
			warned(t, r)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("%d reads took %s", crowd, took)
		}
		visit := d.next(t)
		asked(t, d.Server, 2)
		visit.token("new")
		eventually(t, "the new token is handed out", func() bool { return e.read(t, "token/c").token(t) == "new" })
		asked(t, d.Server, 2)
	}, secretOne)
}

// When the token is older than 80 % of its life, readers wait for a new one. While the
// old token is still usable, they wait only briefly.
func TestRenewalThatHangsIsAWarning(t *testing.T) {
	overAWire(t, func(t *testing.T, e *engine) {
		d := newDeskOver(t, e.wire)
		e.must(t, "config/c", d.config())
		reader := soon(t, func() result { return e.read(t, "token/c") })
		d.next(t).token("old")
		wait(t, reader)
		e.clock.advance(50 * time.Minute)
		start := time.Now()
		answers := later(t, crowd, func() result { return e.read(t, "token/c") })
		for range crowd {
			r := wait(t, answers)
			if r.token(t) != "old" {
				t.Fatal("another token")
			}
			warned(t, r, "takes long")
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("it took %s", took)
		}
		d.next(t).token("new")
		eventually(t, "the new token is handed out", func() bool { return e.read(t, "token/c").token(t) == "new" })
		asked(t, d.Server, 2)
	}, secretOne)
}

// If one reader leaves, the mint goes on for the others.
func TestReaderWhoLeavesTakesNobodyAlong(t *testing.T) {
	e, d := mount(t, secretOne), newDesk(t)
	e.must(t, "config/c", d.config())
	ctx, cancel := context.WithCancel(t.Context())
	leaver := soon(t, func() result { return e.readAs(ctx, t, logical.ReadOperation, "token/c") })
	visit := d.next(t)
	stayer := soon(t, func() result { return e.read(t, "token/c") })
	cancel()
	refused(t, wait(t, leaver), http.StatusGatewayTimeout)
	visit.token("t")
	if got := wait(t, stayer).token(t); got != "t" {
		t.Errorf("got %q", got)
	}
	asked(t, d.Server, 1)
}

// Many configs can mint at the same time, because they share nothing but the engine.
func TestManyConfigsMintAtATime(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	const configs = 40
	for i := range configs {
		e.must(t, fmt.Sprintf("config/c%d", i), standard(s))
	}
	answers := make(chan result, 5*configs)
	for i := range 5 * configs {
		go func() { answers <- e.read(t, fmt.Sprintf("token/c%d", i%configs)) }()
	}
	tokens := map[string]int{}
	for range 5 * configs {
		tokens[wait(t, answers).token(t)]++
	}
	asked(t, s, configs)
	for token, n := range tokens {
		if n != 5 || !s.Valid(token) {
			t.Errorf("a token was handed out %d times, want 5", n)
		}
	}
}
