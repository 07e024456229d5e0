// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// chained returns an engine with config/c in the refresh_token grant, at a server that
// accepts each refresh token once.
func chained(t *testing.T, more fields) (*engine, *providertest.Server) {
	t.Helper()
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{RotateRefreshTokens: true})
	e.must(t, "config/c", with(chainAt(t, s), more))
	return e, s
}

func TestChainGoesOnThroughRestarts(t *testing.T) {
	e, s := chained(t, nil)
	seen := map[string]bool{}
	var answers strings.Builder
	for range 5 {
		r := e.read(t, "token/c")
		seen[r.token(t)] = true
		answers.WriteString(r.text() + e.read(t, "status/c").text() + e.read(t, "config/c").text() + e.log.String())
		e.clock.advance(50 * time.Minute)
		e = e.restart(t)
	}
	types, shown := grants(s)
	if len(seen) != 5 || len(types) != 5 {
		t.Errorf("%d tokens by %v", len(seen), types)
	}
	for i, token := range shown {
		for _, other := range shown[:i] {
			if token == other {
				t.Error("a refresh token was used twice")
			}
		}
		withoutSecrets(t, "an answer or the log", answers.String(), token)
	}
	for key, value := range e.below(t, "token/") {
		if strings.Contains(value, "refresh") {
			t.Errorf("a refresh token is kept in %s as well", key)
		}
	}
}

func TestChainIsOneForAllReaders(t *testing.T) {
	e, s := chained(t, fields{"scopes": "read,write"})
	e.must(t, "role/c/r", fields{"ttl": 60})
	e.must(t, "role/c/narrow", fields{"scopes": "read"})
	s.Behave(providertest.Behavior{Delay: 50 * time.Millisecond})
	answers := make(chan result, 40)
	for i := range 40 {
		path := []string{"token/c", "token/c/r", "token/c/narrow"}[i%3]
		go func() { answers <- e.read(t, path) }()
	}
	for range 40 {
		succeeded(t, wait(t, answers))
	}
	asked(t, s, 2) // one for each of the two sets of scopes
	e = e.restart(t)
	e.clock.advance(time.Hour)
	succeeded(t, e.read(t, "token/c"))
}

// A role's token must be no wider than the role allows. A token for which a reader
// chose scopes must be no wider than that choice. This holds for any grant (RFC 6749
// section 6: scope).
func TestChainNarrowsScopes(t *testing.T) {
	for name, read := range map[string]func(*testing.T, *engine) result{
		"by a role":   func(t *testing.T, e *engine) result { return e.read(t, "token/c/narrow") },
		"by a reader": func(t *testing.T, e *engine) result { return e.readWith(t, "token/c", fields{"scopes": "read"}) },
	} {
		t.Run(name, func(t *testing.T) {
			e, s := chained(t, fields{"scopes": "read,write"})
			e.must(t, "role/c/narrow", fields{"scopes": "read"})
			wantMembers(t, read(t, e).data(t), fields{"scope": "read"})
			if got := s.Last().Form().Get("scope"); got != "read" {
				t.Errorf("asked for %q, which grants all that there is", got)
			}
		})
	}
}

func TestChainIsKeptBy(t *testing.T) {
	for name, do := range map[string]func(t *testing.T, e *engine, config fields){
		"the same config written again": func(t *testing.T, e *engine, config fields) { e.must(t, "config/c", config) },
		"a new description":             func(t *testing.T, e *engine, _ fields) { e.must(t, "config/c", fields{"description": "x"}) },
		"other parameters": func(t *testing.T, e *engine, _ fields) {
			e.must(t, "config/c", fields{"default_token_type": "MAC"})
		},
		"a revoke": func(t *testing.T, e *engine, _ fields) { succeeded(t, update(t, e, "revoke/c", nil)) },
		"a check":  func(t *testing.T, e *engine, _ fields) { succeeded(t, update(t, e, "check/c", nil)) },
		"a verified write": func(t *testing.T, e *engine, _ fields) {
			e.must(t, "config/c", fields{"verify_connection": true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, s := chained(t, nil)
			config := with(standard(s), fields{"grant_type": "refresh_token", "refresh_token": firstToken(t, e)})
			for range 3 {
				succeeded(t, e.read(t, "token/c"))
				e.clock.advance(50 * time.Minute)
			}
			do(t, e, config)
			for range 2 {
				r := e.read(t, "token/c")
				r.token(t)
				warned(t, r)
				e.clock.advance(50 * time.Minute)
				e = e.restart(t)
			}
		})
	}
}

// firstToken returns the refresh token that config/c was written with.
func firstToken(t *testing.T, e *engine) string {
	t.Helper()
	_, after, _ := strings.Cut(e.below(t, "config/")["config/c"], `"refresh_token":"`)
	token, _, found := strings.Cut(after, `"`)
	if !found {
		t.Fatal("no refresh token in config/c")
	}
	return token
}

func TestChainStartsAnewWithANewRefreshToken(t *testing.T) {
	e, s := chained(t, nil)
	for range 3 {
		succeeded(t, e.read(t, "token/c"))
		e.clock.advance(50 * time.Minute)
	}
	next := firstOf(t, s)
	e.must(t, "config/c", fields{"refresh_token": next})
	for range 3 {
		succeeded(t, e.read(t, "token/c"))
		e.clock.advance(50 * time.Minute)
		e = e.restart(t)
	}
	if _, shown := grants(s); shown[0] != next || shown[1] == next {
		t.Errorf("shown %v, want %s first", shown, next)
	}
}

func TestChainThatIsBrokenSaysWhatToDo(t *testing.T) {
	e, s := chained(t, fields{"refresh_token": "spent elsewhere"})
	refused(t, e.read(t, "token/c"), http.StatusBadRequest, `"c"`, "invalid_grant", "write a new refresh_token")
	withoutSecrets(t, "the log", e.log.String(), "spent elsewhere")
	e.must(t, "config/c", fields{"refresh_token": firstOf(t, s)})
	succeeded(t, e.read(t, "token/c"))
}

// The current refresh token of a chain is sent to no other host than the one that
// issued it.
func TestChainIsDroppedWhenItsOriginMoves(t *testing.T) {
	for name, verify := range map[string]bool{"unseen": false, "verified": true} {
		t.Run(name, func(t *testing.T) {
			e, s := chained(t, nil)
			succeeded(t, e.read(t, "token/c"))
			e.clock.advance(50 * time.Minute)
			succeeded(t, e.read(t, "token/c"))
			other := e.server(t, providertest.RFC6749, providertest.Options{RotateRefreshTokens: true})
			next := firstOf(t, other)
			e.must(t, "config/c", with(standard(other), fields{"refresh_token": next, "verify_connection": verify}))
			for range 3 {
				succeeded(t, e.read(t, "token/c"))
				e.clock.advance(50 * time.Minute)
			}
			if _, shown := grants(other); shown[0] != next {
				t.Error("the other host saw a token that it did not issue")
			}
			asked(t, s, 2)
		})
	}
}

// A mint under way brings a new refresh token. That token belongs to the host that
// issued it, also if the config has moved to another host meanwhile.
func TestChainThatIsDroppedUnderAMintDoesNotFollow(t *testing.T) {
	for name, test := range map[string]struct {
		move func(t *testing.T, e *engine, config fields)
	}{
		"a config that moves": {func(t *testing.T, e *engine, config fields) { e.must(t, "config/c", config) }},
		"a config that is deleted and written again": {func(t *testing.T, e *engine, config fields) {
			succeeded(t, e.delete(t, "config/c"))
			e.must(t, "config/c", config)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			e, here, there := mount(t, secretOne), newDesk(t), newDesk(t)
			chain := fields{"grant_type": "refresh_token", "refresh_token": "chain-r0"}
			e.must(t, "config/c", with(here.config(), chain))
			reader := soon(t, func() result { return e.read(t, "token/c") })
			visit := here.next(t)
			test.move(t, e, with(there.config(), chain))
			visit.token("old", `"refresh_token":"chain-r1"`)
			visit = there.next(t) // the reader's second request, to the other host
			if got := visit.form.Get("refresh_token"); got != "chain-r0" {
				t.Errorf("the other host was shown %q", got)
			}
			visit.token("new")
			if got := wait(t, reader).token(t); got != "new" {
				t.Errorf("the reader got %q", got)
			}
		})
	}
}

func TestChainOfADeletedConfigIsGone(t *testing.T) {
	e, s := chained(t, nil)
	succeeded(t, e.read(t, "token/c"))
	succeeded(t, e.delete(t, "config/c"))
	if left := e.storage.snapshot(t); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	asked(t, s, 1)
}

func TestChainOfAConfigThatIsDeletedUnderAMintIsGone(t *testing.T) {
	e, d := mount(t, secretOne), newDesk(t)
	e.must(t, "config/c", with(d.config(), fields{"grant_type": "refresh_token", "refresh_token": "chain-r0"}))
	reader := soon(t, func() result { return e.read(t, "token/c") })
	visit := d.next(t)
	succeeded(t, e.delete(t, "config/c"))
	visit.token("old", `"refresh_token":"chain-r1"`)
	refused(t, wait(t, reader), http.StatusBadRequest, `no config "c"`)
	if left := e.storage.snapshot(t); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// The provider uses up the refresh token when it gets the request. So the engine must
// wait for the answer, even if the reader has left and nobody else waits.
func TestChainSurvivesAReaderWhoLeaves(t *testing.T) {
	for name, test := range map[string]struct {
		config fields
		op     logical.Operation
		path   string
	}{
		"of a shared token":     {fields{}, logical.ReadOperation, "token/c"},
		"of a token of its own": {fields{"reuse": false}, logical.ReadOperation, "token/c"},
		"of a check":            {fields{}, logical.UpdateOperation, "check/c"},
	} {
		t.Run(name, func(t *testing.T) {
			e, d := mount(t, secretOne), newDesk(t)
			e.must(t, "config/c", with(d.config(), with(fields{"grant_type": "refresh_token", "refresh_token": "chain-r0"}, test.config)))
			ctx, cancel := context.WithCancel(t.Context())
			reader := soon(t, func() result { return e.readAs(ctx, t, test.op, test.path) })
			visit := d.next(t)
			cancel()
			if test.config["reuse"] == nil && test.path == "token/c" {
				refused(t, wait(t, reader), http.StatusGatewayTimeout)
				visit.token("t", `"refresh_token":"chain-r1"`)
			} else {
				visit.token("t", `"refresh_token":"chain-r1"`)
				wait(t, reader)
			}
			eventually(t, "the next refresh token is stored", func() bool {
				return strings.Contains(chainsOf(t, e, "c"), "chain-r1")
			})
		})
	}
}

// The operator can correct how an answer is read, but the refresh token of that request
// is used up. So the engine must keep the next refresh token even from an answer that
// it cannot use.
func TestChainGoesOnAfterAnAnswerThatCannotBeUsed(t *testing.T) {
	for name, wrong := range map[string]fields{
		"no access token where one is looked for": {"access_token_pointer": "/nowhere"},
		"a lifetime that nobody states":           {"expires_in_pointer": []any{}, "expires_at_pointer": []any{}},
	} {
		t.Run(name, func(t *testing.T) {
			e, s := chained(t, wrong)
			if r := e.read(t, "token/c"); r.status() < 400 {
				t.Fatalf("status %d", r.status())
			}
			asked(t, s, 1)
			e.must(t, "config/c", fields{"access_token_pointer": "/access_token", "expires_in_pointer": "/expires_in"})
			e.read(t, "token/c").token(t)
			asked(t, s, 2)
		})
	}
}
