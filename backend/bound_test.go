// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// letters returns eight scopes. There are 255 sets of them that are not empty.
func letters() []string { return strings.Split("abcdefgh", "") }

func subset(n int) string {
	var out []string
	for i, scope := range letters() {
		if n&(1<<i) != 0 {
			out = append(out, scope)
		}
	}
	return strings.Join(out, ",")
}

func TestSetsOfScopesThatReadersChooseAreBounded(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{Scopes: letters()})
	e.must(t, "config/c", with(standard(s), fields{"scopes": letters()}))
	e.must(t, "role/c/r", fields{"scopes": "a,b"})
	for n := 1; n < 256; n++ {
		r := e.readWith(t, "token/c", fields{"scopes": subset(n)})
		if n > 64 {
			refused(t, r, http.StatusBadRequest, `"c"`, "scopes", "64", "role")
			continue
		}
		wantMembers(t, r.data(t), fields{"scope": strings.ReplaceAll(subset(n), ",", " ")})
	}
	asked(t, s, 64)
	// A set that is in memory is served, in whatever way the reader writes it.
	r := e.readWith(t, "token/c", fields{"scopes": "a,b,a,b,b"})
	wantMembers(t, r.data(t), fields{"scope": "a b"})
	for _, path := range []string{"token/c", "token/c/r"} { // reads without a choice of scopes
		succeeded(t, e.read(t, path))
	}
	asked(t, s, 65)
	e.clock.advance(time.Hour)
	succeeded(t, e.readWith(t, "token/c", fields{"scopes": subset(255)}))
}

// A role that names its callers' identities has a token for each caller. The bound is
// for what readers choose, and they do not choose how many callers there are.
func TestCallersOfARoleAreNotBounded(t *testing.T) {
	const callers = 70
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{Scopes: letters(), ExtraParameters: []string{"user"}})
	e.must(t, "config/c", with(standard(s), fields{"scopes": letters()}))
	e.must(t, "role/c/r", fields{"scopes": "a,b", "parameters": fields{"user": "{{identity.entity.id}}"}})
	for i := range callers {
		id := fmt.Sprint("e-", i)
		e.system.EntityVal = &logical.Entity{ID: id}
		succeeded(t, e.as(t, id, "token/c/r"))
		r := e.send(t, &logical.Request{Operation: logical.ReadOperation, Path: "token/c/r", EntityID: id, Data: fields{"scopes": "a"}})
		wantMembers(t, r.data(t), fields{"scope": "a"}) // all callers choose the same
	}
	asked(t, s, 2*callers)
}

func TestClientThatIsRefusedIsAskedForNoOtherSet(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{Scopes: letters()})
	e.must(t, "config/c", with(standard(s), fields{"scopes": letters(), "client_secret": "wrong"}))
	for i := range 4 {
		e.must(t, fmt.Sprintf("role/c/r%d", i), fields{"scopes": subset(1 << i)})
	}
	for n := 1; n < 60; n++ {
		refused(t, e.readWith(t, "token/c", fields{"scopes": subset(n)}), http.StatusBadRequest, "invalid_client")
		refused(t, e.read(t, fmt.Sprintf("token/c/r%d", n%4)), http.StatusBadRequest, "invalid_client")
	}
	asked(t, s, 1)
}

func TestRetryAfterIsHonouredOnceForAllRoles(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	s.Behave(providertest.Behavior{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"60"}}})
	e.must(t, "config/c", with(standard(s), fields{"scopes": "read,write,admin"}))
	paths := []string{"token/c"}
	for _, scope := range []string{"read", "write", "admin"} {
		e.must(t, "role/c/"+scope, fields{"scopes": scope})
		paths = append(paths, "token/c/"+scope)
	}
	for range 6 {
		for _, path := range paths {
			r := e.read(t, path)
			refused(t, r, http.StatusTooManyRequests, "2026-01-02T03:05:05Z")
			if r.resp == nil || len(r.resp.Headers["Retry-After"]) != 1 {
				t.Errorf("%s does not say when to come back", path)
			}
		}
		e.clock.advance(9 * time.Second)
	}
	asked(t, s, 1)
	e.clock.advance(6 * time.Second)
	for _, path := range paths {
		succeeded(t, e.read(t, path))
	}
	asked(t, s, 5)
}

func TestTokensOfTheirOwnAreMintedSixteenAtATime(t *testing.T) {
	t.Parallel()
	e, d := mount(t, secretOne), newDesk(t)
	e.must(t, "config/c", with(d.config(), fields{"reuse": false}))
	served := later(t, 16, func() result { return e.read(t, "token/c") })
	visits := []visit{}
	for range 16 {
		visits = append(visits, d.next(t))
	}
	e.must(t, "config/c", fields{"request_timeout": 1})
	busy := later(t, 4, func() result { return e.read(t, "token/c") })
	for range 4 {
		r := wait(t, busy)
		refused(t, r, http.StatusTooManyRequests, `"c"`, "reuse=false", "come back in 1s")
		if r.resp == nil || r.resp.Headers["Retry-After"][0] != "1" {
			t.Error("it does not say when to come back")
		}
	}
	if len(d.visits) != 0 {
		t.Errorf("%d more requests at the provider", len(d.visits))
	}
	for i, v := range visits {
		v.token(fmt.Sprint("token-", i))
	}
	for range visits {
		succeeded(t, wait(t, served))
	}
}

func TestMinTTLMintsNoMoreOftenThanFresh(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	for range 13 {
		succeeded(t, e.readWith(t, "token/c", fields{"min_ttl": "3589s"}))
		e.clock.advance(time.Second)
	}
	asked(t, s, 2)
}

// The engine asks ever more rarely, because some providers lock an account after
// further attempts.
func TestRefusedCredentialsAreTriedLessAndLess(t *testing.T) {
	for name, test := range map[string]struct {
		config fields
		status int
		body   string
	}{
		"the client, by the registered code": {status: http.StatusUnauthorized, body: `{"error":"invalid_client"}`},
		"the client, by Keycloak's":          {status: http.StatusUnauthorized, body: `{"error":"unauthorized_client"}`},
		"the client, by GitHub, in a 200":    {status: http.StatusOK, body: `{"error":"incorrect_client_credentials"}`},
		"the password": {
			config: fields{"grant_type": "password", "username": "u", "password": "p"},
			status: http.StatusBadRequest, body: `{"error":"invalid_grant"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{})
			s.Behave(providertest.Behavior{Times: -1, Status: test.status, Body: test.body})
			e.must(t, "config/c", with(standard(s), with(fields{"scopes": "read,write"}, test.config)))
			e.must(t, "role/c/r", fields{"scopes": "read"})
			for range 24 * 60 { // a day, with readers every minute
				for _, path := range []string{"token/c", "token/c/r"} {
					refused(t, e.read(t, path), http.StatusBadRequest, `"c"`, "next attempt from")
				}
				e.clock.advance(time.Minute)
			}
			if n := s.Requests(); n < 24 || n > 40 {
				t.Errorf("%d attempts in a day", n)
			}
			s.Behave()
			e.must(t, "config/c", with(standard(s), fields{"grant_type": "client_credentials"}))
			for _, path := range []string{"token/c", "token/c/r"} {
				succeeded(t, e.read(t, path))
			}
		})
	}
}
