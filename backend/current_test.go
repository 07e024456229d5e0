// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// A token of one reader's own needs no entry in storage if there is no revocation
// endpoint, because nobody can revoke it.
func TestAMintForOneReaderTouchesNoStorage(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", with(standard(s), fields{"reuse": false, "scopes": "read,write"}))
	e.must(t, "role/c/r", fields{"ttl": 60})
	for _, read := range []func() result{
		func() result { return e.read(t, "token/c") },
		func() result { return e.read(t, "token/c/r") },
		func() result { return e.readWith(t, "token/c", fields{"scopes": "read"}) },
	} {
		succeeded(t, read())
		uses := e.uses()
		for range 5 {
			succeeded(t, read())
		}
		if n := uses.Load(); n != 0 {
			t.Errorf("five mints touched storage %d times", n)
		}
	}
	asked(t, s, 18)
}

// A token that readers share is stored before anybody gets it. The engine uses storage
// for nothing else: it still knows the config that it has just written, and that no
// token of this config is stored yet.
func TestTheFirstReadOfWhatWasJustWrittenOnlyStoresTheToken(t *testing.T) {
	for name, test := range map[string]struct {
		write func(t *testing.T, e *engine, s *providertest.Server)
		path  string
		uses  []string
	}{
		"a new config": {func(t *testing.T, e *engine, s *providertest.Server) { e.must(t, "config/new", standard(s)) }, "token/new", []string{"put token"}},
		"a changed config": {func(t *testing.T, e *engine, s *providertest.Server) {
			e.must(t, "config/c", fields{"client_id": s.Credentials().ClientID, "request_headers": fields{"X-A": "b"}})
		}, "token/c", []string{"put token"}},
		"a revoked config": {func(t *testing.T, e *engine, _ *providertest.Server) { succeeded(t, update(t, e, "revoke/c", nil)) }, "token/c", []string{"put token"}},
		"a role of it":     {func(t *testing.T, e *engine, _ *providertest.Server) { succeeded(t, update(t, e, "revoke/c", nil)) }, "token/c/r", []string{"get config", "get role", "put token"}},
		"of no consequence": {func(t *testing.T, e *engine, _ *providertest.Server) {
			succeeded(t, e.read(t, "token/c"))
			e.must(t, "config/c", fields{"description": "x"})
		}, "token/c", nil},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{})
			e.must(t, "config/c", standard(s))
			e.must(t, "role/c/r", fields{"ttl": 60})
			test.write(t, e, s)
			var used []string
			e.storage.onUse(func(op, key string) error {
				kind, _, _ := strings.Cut(key, "/")
				used = append(used, op+" "+kind)
				return nil
			})
			token := e.read(t, test.path).token(t)
			e.storage.onUse(nil)
			if !slices.Equal(used, test.uses) {
				t.Errorf("it took %v", used)
			}
			if e.restart(t).read(t, test.path).token(t) != token {
				t.Error("it is not stored")
			}
		})
	}
}

// Nobody tells the engine about a write that did not pass through it, such as one by
// sys/raw. So it reads a config again after a minute.
func TestAConfigIsReadAgainAfterAMinute(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", with(standard(s), fields{"reuse": false}))
	succeeded(t, e.read(t, "token/c"))
	if err := e.storage.InmemStorage.Delete(t.Context(), "config/c"); err != nil {
		t.Fatal(err)
	}
	succeeded(t, e.read(t, "token/c"))
	e.clock.advance(time.Minute)
	refused(t, e.read(t, "token/c"), http.StatusBadRequest, `no config "c"`)
	asked(t, s, 2)
}

// Only time and a rotation change which version of a key signs.
func TestTheVersionThatSignsIsTheOneOfTheMoment(t *testing.T) {
	e := mount(t)
	e.must(t, "key/k", fields{"algorithm": "ES256", "publish_ahead": "60s"})
	s := verifying(t, e)
	e.must(t, "config/c", with(signed(s), fields{"reuse": false}))
	signer := func() string {
		t.Helper()
		succeeded(t, e.read(t, "token/c"))
		parsed, err := jose.ParseSigned(s.Last().Form().Get("client_assertion"), []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatal(err)
		}
		return parsed.Signatures[0].Header.KeyID
	}
	first := signer()
	e.must(t, "key/k/rotate", nil)
	e.clock.advance(50 * time.Second)
	if signer() != first {
		t.Error("a version signs before its time")
	}
	e.clock.advance(11 * time.Second)
	second := signer()
	if second == first {
		t.Error("a version signs after its time")
	}
	e.must(t, "key/k/rotate", fields{"now": true})
	if signer() == second {
		t.Error("a version signs after it was rotated out")
	}
}

// asking is a Vault that counts how often the engine asks it for an entity.
type asking struct {
	people
	asked *int
}

func (a asking) EntityInfo(id string) (*logical.Entity, error) {
	*a.asked++
	return a.people.EntityInfo(id)
}

// Each read asks Vault for the caller's identity, because the identity may have
// changed. Once the engine knows the token for that identity, the read uses nothing
// else.
func TestACallersIdentityIsThatOfTheMoment(t *testing.T) {
	e, s := among(t)
	questions := 0
	known := map[string]*logical.Entity{"e-1": {ID: "e-1", Name: "alice"}, "e-2": {ID: "e-2", Name: "bob"}}
	e = e.in(t, asking{people{e.system, known}, &questions})
	e.must(t, "role/c/r", fields{"parameters": fields{"user": "{{identity.entity.name}}", "more": "{{identity.entity.id}} {{identity.entity.name}}"}})
	tokens := map[string]bool{}
	for n, change := range []func(){
		func() {},
		func() { known["e-1"] = &logical.Entity{ID: "e-1", Name: "alicia"} },
		func() { known["e-1"] = &logical.Entity{ID: "e-1", Name: "bob"} },
	} {
		change()
		tokens[e.as(t, "e-1", "token/c/r").token(t)] = true
		if got, want := s.Last().Form().Get("user"), known["e-1"].Name; got != want {
			t.Errorf("asked for %q, want %q", got, want)
		}
		tokens[e.as(t, "e-2", "token/c/r").token(t)] = true
		if len(tokens) != n+2 {
			t.Errorf("%d tokens", len(tokens))
		}
		uses := e.uses()
		questions = 0
		for range 3 {
			succeeded(t, e.as(t, "e-1", "token/c/r"))
		}
		if uses.Load() != 0 || questions != 3 {
			t.Errorf("three reads touched storage %d times, and asked Vault %d times", uses.Load(), questions)
		}
		e.storage.onUse(nil)
	}
	known["e-1"] = &logical.Entity{ID: "e-1", Name: "alice"}
	if !tokens[e.as(t, "e-1", "token/c/r").token(t)] {
		t.Error("a caller who is again what it was gets another token")
	}
	delete(known, "e-1")
	refused(t, e.as(t, "e-1", "token/c/r"), http.StatusBadRequest, `role "r" of config "c"`, "identity.entity")
	asked(t, s, 4)
}
