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

// gate is a token endpoint that holds back each answer until the test lets it through.
type gate struct {
	*providertest.Server
	arrived chan string   // the scope of each request
	answer  chan struct{} // each value lets one answer through
}

func newGate(t *testing.T) *gate {
	t.Helper()
	g := &gate{arrived: make(chan string, 100), answer: make(chan struct{}, 100)}
	g.Server = invented(t, func(r *http.Request, _ string) string {
		scope := r.FormValue("scope")
		g.arrived <- scope
		select {
		case <-g.answer:
		case <-r.Context().Done():
		}
		return fmt.Sprintf(`{"access_token":"token-for-%s","expires_in":3600}`, scope)
	})
	return g
}

// next waits for a request, and returns its scope.
func (g *gate) next(t *testing.T) string {
	t.Helper()
	select {
	case scope := <-g.arrived:
		return scope
	case <-time.After(patience):
		t.Fatal("no request arrived")
		return ""
	}
}

func (g *gate) config(scope string) fields {
	return fields{"token_url": g.TokenURL(), "client_id": "c", "client_secret": secretOne, "scopes": scope}
}

// later runs do n times, each in a goroutine of its own.
func later(t *testing.T, n int, do func() result) <-chan result {
	t.Helper()
	out := make(chan result, n)
	for range n {
		go func() { out <- do() }()
	}
	return out
}

func wait(t *testing.T, c <-chan result) result {
	t.Helper()
	select {
	case r := <-c:
		return r
	case <-time.After(patience):
		t.Fatal("no answer")
		return result{}
	}
}

func TestManyReadersOfAColdTokenAreOneRequest(t *testing.T) {
	const readers = 50
	e, g := mount(t, secretOne), newGate(t)
	e.must(t, "config/c", g.config("a"))
	answers := later(t, readers, func() result { return e.read(t, "token/c") })
	g.next(t)
	g.answer <- struct{}{}
	for range readers {
		wantMembers(t, wait(t, answers).data(t), fields{"access_token": "token-for-a"})
	}
	if g.Requests() != 1 {
		t.Errorf("%d requests", g.Requests())
	}
}

func TestManyReadersWhileTheProviderFailsAreOneRequest(t *testing.T) {
	const readers = 50
	e, g := mount(t, secretOne), newGate(t)
	g.Behave(providertest.Behavior{Times: -1, Status: 500})
	e.must(t, "config/c", g.config("a"))
	answers := later(t, readers, func() result { return e.read(t, "token/c") })
	for range readers {
		refused(t, wait(t, answers), http.StatusBadGateway, `"c"`)
	}
	if g.Requests() != 1 {
		t.Errorf("%d requests", g.Requests())
	}
}

// A config changes while a token is being minted for it. Nobody gets the token of the
// old config, and it is kept nowhere.
func TestConfigThatChangesUnderAMint(t *testing.T) {
	t.Run("other scopes", func(t *testing.T) {
		e, g := mount(t, secretOne), newGate(t)
		e.must(t, "config/c", g.config("old"))
		answers := later(t, 1, func() result { return e.read(t, "token/c") })
		if got := g.next(t); got != "old" {
			t.Fatalf("asked for %q", got)
		}
		e.must(t, "config/c", fields{"scopes": "new"})
		g.answer <- struct{}{}
		g.answer <- struct{}{}
		wantMembers(t, wait(t, answers).data(t), fields{"access_token": "token-for-new"})
		wantMembers(t, e.read(t, "token/c").data(t), fields{"access_token": "token-for-new"})
	})
	t.Run("a delete", func(t *testing.T) {
		e, g := mount(t, secretOne), newGate(t)
		e.must(t, "config/c", g.config("old"))
		answers := later(t, 1, func() result { return e.read(t, "token/c") })
		g.next(t)
		succeeded(t, e.delete(t, "config/c"))
		g.answer <- struct{}{}
		refused(t, wait(t, answers), http.StatusBadRequest, `"c"`)
		refused(t, e.read(t, "token/c"), http.StatusBadRequest, `"c"`)
	})
	t.Run("a delete and the same again", func(t *testing.T) {
		e, g := mount(t, secretOne), newGate(t)
		e.must(t, "config/c", g.config("old"))
		answers := later(t, 1, func() result { return e.read(t, "token/c") })
		g.next(t)
		succeeded(t, e.delete(t, "config/c"))
		e.must(t, "config/c", g.config("old"))
		g.answer <- struct{}{}
		g.answer <- struct{}{}
		succeeded(t, wait(t, answers))
		succeeded(t, e.read(t, "token/c"))
		if g.Requests() != 2 {
			t.Errorf("%d requests, want 2: the first token belongs to the deleted config", g.Requests())
		}
	})
	t.Run("a new description", func(t *testing.T) {
		e, g := mount(t, secretOne), newGate(t)
		e.must(t, "config/c", g.config("old"))
		answers := later(t, 1, func() result { return e.read(t, "token/c") })
		g.next(t)
		e.must(t, "config/c", fields{"description": "x"})
		g.answer <- struct{}{}
		wantMembers(t, wait(t, answers).data(t), fields{"access_token": "token-for-old"})
		if g.Requests() != 1 {
			t.Errorf("%d requests", g.Requests())
		}
	})
}

func TestOneProvidersTroubleStaysItsOwn(t *testing.T) {
	e, stuck, fine := mount(t, secretOne), newGate(t), newGate(t)
	e.must(t, "config/stuck", stuck.config("a"))
	e.must(t, "config/fine", fine.config("b"))
	hanging := later(t, 1, func() result { return e.read(t, "token/stuck") })
	stuck.next(t)
	fine.answer <- struct{}{}
	wantMembers(t, e.read(t, "token/fine").data(t), fields{"access_token": "token-for-b"})
	succeeded(t, e.read(t, "config/stuck"))
	stuck.answer <- struct{}{}
	succeeded(t, wait(t, hanging))
}

func TestEverythingAtOnce(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	config := standard(s)
	e.must(t, "config/c", config)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 5 {
				var r result
				switch i % 4 {
				case 0:
					r = e.read(t, "token/c")
				case 1:
					r = e.write(t, "config/c", fields{"description": fmt.Sprint(i)})
				case 2:
					r = e.read(t, "config/c")
				case 3:
					r = e.write(t, fmt.Sprintf("config/c%d", i), config)
				}
				if s := r.status(); s != http.StatusOK && s != http.StatusNoContent {
					t.Errorf("status %d: %s", s, r.text())
				}
			}
		})
	}
	all.Wait()
	if s.IssuedCount() != 1 {
		t.Errorf("%d tokens for one config whose request never changed", s.IssuedCount())
	}
}

// Two writes of different fields at the same time must both take effect.
func TestConcurrentWritesLoseNothing(t *testing.T) {
	e := mount(t)
	e.must(t, "config/c", acme())
	const n = 20
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if r := e.patch(t, "config/c", fields{"parameters": fields{fmt.Sprintf("p%d", i): "x"}}); r.err != nil {
				t.Errorf("patch: %s", r.text())
			}
		})
	}
	all.Wait()
	if got := e.read(t, "config/c").object(t, "parameters"); len(got) != n+2 {
		t.Errorf("%d parameters after %d patches of one each and 2 before", len(got), n)
	}
}
