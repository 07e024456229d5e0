// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// narrowing returns an engine with these scopes: read and write for config/c and
// role/c/r, read for role/c/single and role/any/r. config/any names no scopes.
func narrowing(t *testing.T) (*engine, *providertest.Server) {
	t.Helper()
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", with(standard(s), fields{"scopes": "read,write"}))
	e.must(t, "config/any", standard(s))
	e.must(t, "role/c/r", fields{"description": "x"})
	e.must(t, "role/c/single", fields{"scopes": "read"})
	e.must(t, "role/any/r", fields{"scopes": "read"})
	return e, s
}

// An empty choice of scopes is refused, also if the token with all scopes is in memory.
func TestNoScopeIsNotAllOfThem(t *testing.T) {
	e, _ := narrowing(t)
	succeeded(t, e.read(t, "token/c"))
	for _, op := range []logical.Operation{logical.ReadOperation, logical.UpdateOperation} {
		refused(t, e.request(t, op, "token/c", fields{"scopes": ""}), http.StatusBadRequest, "is empty")
	}
}

func TestReaderNarrowsScopes(t *testing.T) {
	for name, test := range map[string]struct {
		path   string
		scopes any
		sent   string // the scopes in the request; "" if the read is refused
		says   string
	}{
		"one of them":                     {"token/c", "read", "read", ""},
		"one of them as a list":           {"token/c", []any{"write"}, "write", ""},
		"all of them":                     {"token/c", "write,read", "read write", ""},
		"the same one twice":              {"token/c", "read,read", "read", ""},
		"one of a role's":                 {"token/c/r", "read", "read", ""},
		"the only one of a role":          {"token/c/single", "read", "read", ""},
		"the only one of another role":    {"token/any/r", "read", "read", ""},
		"one more":                        {"token/c", "read,admin", "", "read, write"},
		"another":                         {"token/c", "admin", "", "read, write"},
		"the config's beyond the role's":  {"token/c/single", "write", "", "read"},
		"two in one":                      {"token/c", []any{"read write"}, "", "read, write"},
		"a part of one":                   {"token/c", "rea", "", "read, write"},
		"none of them":                    {"token/c", "", "", "is empty"},
		"none of them as a list":          {"token/c", []any{}, "", "is empty"},
		"none of a role's":                {"token/c/r", "", "", "is empty"},
		"one where none are named":        {"token/any", "read", "", "names none"},
		"none where none are named":       {"token/any", "", "", "is empty"},
		"none of one role's":              {"token/c/single", []any{}, "", "is empty"},
		"one with a capital that is none": {"token/c", "Read", "", "read, write"},
	} {
		for _, op := range []logical.Operation{logical.ReadOperation, logical.UpdateOperation} {
			t.Run(name+" by "+string(op), func(t *testing.T) {
				e, s := narrowing(t)
				r := e.request(t, op, test.path, fields{"scopes": test.scopes})
				if test.sent == "" {
					refused(t, r, http.StatusBadRequest, test.says)
					asked(t, s, 0)
					return
				}
				wantMembers(t, r.data(t), fields{"scope": test.sent})
				if got := s.Last().Form().Get("scope"); got != test.sent {
					t.Errorf("sent the scope %q, want %q", got, test.sent)
				}
			})
		}
	}
}

func TestEqualRequestsShareOneToken(t *testing.T) {
	e, s := narrowing(t)
	groups := map[string][]result{}
	read := func(group, path string, query fields) {
		groups[group] = append(groups[group], e.readWith(t, path, query))
	}
	for range 2 {
		read("both", "token/c", nil)
		read("both", "token/c/r", nil)
		read("both", "token/c", fields{"scopes": "write,read"})
		read("both", "token/c/r", fields{"scopes": "read,write"})
		read("both", "token/c", fields{"scopes": "read,write,read"})
		read("read", "token/c/single", nil)
		read("read", "token/c/single", fields{"scopes": "read"})
		read("read", "token/c", fields{"scopes": "read"})
		read("read", "token/c/r", fields{"scopes": []any{"read"}, "min_ttl": 5})
		read("write", "token/c", fields{"scopes": "write"})
		read("another config", "token/any/r", nil)
	}
	seen := map[string]string{}
	for group, results := range groups {
		for _, r := range results {
			token := r.token(t)
			if other, ok := seen[token]; ok && other != group {
				t.Errorf("%s and %s share a token", group, other)
			}
			seen[token] = group
		}
	}
	if len(seen) != len(groups) {
		t.Errorf("%d tokens for %d different requests", len(seen), len(groups))
	}
	asked(t, s, len(groups))
}

// A reader cannot cause more mints by writing the same scopes in different ways.
func TestReaderCannotMintAtWillByRepeatingScopes(t *testing.T) {
	e, s := narrowing(t)
	for n := 1; n < 6; n++ {
		succeeded(t, e.readWith(t, "token/c", fields{"scopes": slices.Repeat([]any{"read"}, n)}))
	}
	asked(t, s, 1)
}

// A reader's choice of scopes makes a view, but the view's name is not a path.
func TestNarrowedViewIsNoPath(t *testing.T) {
	e, s := narrowing(t)
	for _, base := range []string{"token/c", "token/c/r"} {
		succeeded(t, e.readWith(t, base, fields{"scopes": "read"}))
		succeeded(t, e.readWith(t, base, fields{"scopes": "read"}))
		for _, path := range []string{base + "?read", base + "?", base + "?scopes=read"} {
			if r := e.read(t, path); r.status() != http.StatusNotFound || r.err == nil {
				t.Errorf("%s: status %d, want no such path: %s", path, r.status(), r.text())
			}
		}
	}
	asked(t, s, 1)
}

func TestReaderCannotChooseWhatIsNotTheirs(t *testing.T) {
	e, s := narrowing(t)
	for _, query := range []fields{
		{"fresh": true}, {"parameters": fields{"a": "b"}}, {"ttl": 5}, {"role": nil, "leased": false}, {"scope": "read"}, {"client_secret": secretTwo},
	} {
		r := e.readWith(t, "token/c", query)
		refused(t, r, http.StatusBadRequest, "unknown field")
		withoutSecrets(t, "the error", r.text(), secretTwo)
	}
	for _, bad := range []any{"soon", -1, 0.5, "500ms", fields{}} {
		refused(t, e.readWith(t, "token/c", fields{"min_ttl": bad}), http.StatusBadRequest, "min_ttl")
	}
	asked(t, s, 0)
}

func TestFreshReplacesTheToken(t *testing.T) {
	e, s := narrowing(t)
	old := e.read(t, "token/c").token(t)
	e.clock.advance(10 * time.Second)
	r := update(t, e, "token/c", fields{"fresh": true})
	next := r.token(t)
	warned(t, r)
	if next == old {
		t.Error("the old token")
	}
	asked(t, s, 2)
	for range 2 { // in this process, and in the next
		if e.read(t, "token/c").token(t) != next {
			t.Error("the next reader does not get the fresh token")
		}
		e = e.restart(t)
	}
	asked(t, s, 2)
	r = update(t, e, "token/c", fields{"fresh": false})
	warned(t, r)
	if r.token(t) != next {
		t.Error("fresh=false minted")
	}
	asked(t, s, 2)
}

func TestFreshIsHonouredOncePerTenSeconds(t *testing.T) {
	e, s := narrowing(t)
	succeeded(t, e.read(t, "token/c"))
	for n, step := range []struct {
		wait  time.Duration
		fresh bool
	}{{0, false}, {9 * time.Second, false}, {time.Second, true}, {0, false}, {9999 * time.Millisecond, false}, {time.Millisecond, true}} {
		e.clock.advance(step.wait)
		before := s.Requests()
		r := update(t, e, "token/c/r", fields{"fresh": true, "scopes": "read,write"})
		r.token(t)
		if got := s.Requests() > before; got != step.fresh {
			t.Errorf("step %d: minted %t, want %t", n, got, step.fresh)
		}
		if step.fresh {
			warned(t, r)
		} else {
			warned(t, r, "ten seconds")
		}
	}
	// The ten seconds are counted for each token.
	before := s.Requests()
	succeeded(t, e.read(t, "token/c/single"))
	e.clock.advance(10 * time.Second)
	warned(t, update(t, e, "token/c/single", fields{"fresh": true}))
	asked(t, s, before+2)
}

func TestFreshIsHonouredOncePerTenSecondsAlsoAfterARestart(t *testing.T) {
	e, s := narrowing(t)
	succeeded(t, e.read(t, "token/c"))
	e.clock.advance(5 * time.Second)
	e = e.restart(t)
	warned(t, update(t, e, "token/c", fields{"fresh": true}), "ten seconds")
	asked(t, s, 1)
}

func TestFreshJoinsAMintUnderWay(t *testing.T) {
	e, d := mount(t, secretOne), newDesk(t)
	e.must(t, "config/c", d.config())
	reader := soon(t, func() result { return e.read(t, "token/c") })
	d.next(t).token("old")
	wait(t, reader)
	e.clock.advance(time.Minute)
	const readers = 20
	answers := later(t, readers, func() result { return update(t, e, "token/c", fields{"fresh": true}) })
	visit := d.next(t)
	visit.token("new")
	for range readers {
		r := wait(t, answers)
		if got := r.token(t); got != "new" {
			t.Errorf("got %q", got)
		}
	}
	asked(t, d.Server, 2)
}

func TestFreshThatFailsIsTheOldTokenWithAWarning(t *testing.T) {
	e, s := narrowing(t)
	old := e.read(t, "token/c").token(t)
	e.clock.advance(time.Minute)
	s.Behave(providertest.Behavior{Status: 500})
	for range 2 {
		r := update(t, e, "token/c", fields{"fresh": true})
		if r.token(t) != old {
			t.Error("another token")
		}
		warned(t, r, "could not be refreshed")
	}
	asked(t, s, 2)
}

func TestFreshForEveryKindOfToken(t *testing.T) {
	for name, config := range map[string]fields{"no lease": {"leased": false}, "of its own": {"reuse": false}, "renewable": {"renewable": true}} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{})
			e.must(t, "config/c", with(standard(s), config))
			seen := map[string]bool{}
			for range 3 {
				seen[update(t, e, "token/c", fields{"fresh": "true"}).token(t)] = true
				e.clock.advance(10 * time.Second)
			}
			if len(seen) != 3 {
				t.Errorf("%d tokens", len(seen))
			}
			asked(t, s, 3)
		})
	}
}

func TestViewsOfManyNarrowings(t *testing.T) {
	e := mount(t)
	var scopes []any
	for i := range 30 {
		scopes = append(scopes, fmt.Sprintf("s%d", i))
	}
	s := invented(t, func(r *http.Request, _ string) string {
		return fmt.Sprintf(`{"access_token":"for-%s","expires_in":3600}`, r.FormValue("scope"))
	})
	e.must(t, "config/c", fields{"token_url": s.TokenURL(), "client_id": "c", "client_secret": "s", "scopes": scopes})
	for range 2 {
		for _, scope := range scopes {
			wantMembers(t, e.readWith(t, "token/c", fields{"scopes": scope}).data(t), fields{"access_token": fmt.Sprint("for-", scope)})
		}
	}
	asked(t, s, len(scopes))
	if got := len(tokensOf(t, e.read(t, "status/c"))); got != len(scopes) {
		t.Errorf("%d tokens in the status", got)
	}
}
