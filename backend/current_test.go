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

// Nobody can take back a token of a reader's own that has no revocation
// endpoint, so that there is nothing to note down either.
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

// A token that readers share is stored before anybody gets it, and that is all:
// what the engine has just written it knows, and that it has stored no token yet.
func TestTheFirstReadOfWhatWasJustWrittenOnlyStoresTheToken(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	for name, test := range map[string]struct {
		write func()
		path  string
		uses  []string
	}{
		"a new config": {func() { e.must(t, "config/new", standard(s)) }, "token/new", []string{"put token"}},
		"a changed config": {func() {
			e.must(t, "config/c", fields{"client_id": s.Credentials().ClientID, "request_headers": fields{"X-A": "b"}})
		}, "token/c", []string{"put token"}},
		"a revoked config": {func() { succeeded(t, update(t, e, "revoke/c", nil)) }, "token/c", []string{"put token"}},
		"a role of it":     {func() { succeeded(t, update(t, e, "revoke/c", nil)) }, "token/c/r", []string{"get config", "get role", "put token"}},
		"of no consequence": {func() {
			succeeded(t, e.read(t, "token/c"))
			e.must(t, "config/c", fields{"description": "x"})
		}, "token/c", nil},
	} {
		t.Run(name, func(t *testing.T) {
			e.must(t, "config/c", standard(s))
			e.must(t, "role/c/r", fields{"ttl": 60})
			test.write()
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

// What was written without the engine, such as by sys/raw, it is told by nobody.
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

// The version that signs changes by time alone, and by a rotation.
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

// asking is a Vault that counts how often it is asked for an entity.
type asking struct {
	people
	asked *int
}

func (a asking) EntityInfo(id string) (*logical.Entity, error) {
	*a.asked++
	return a.people.EntityInfo(id)
}

// Vault is asked for the identity of a caller with each read, since that may
// have changed, and for nothing else once it is known what it comes to.
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
