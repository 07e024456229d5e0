// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

func TestKillSwitch(t *testing.T) {
	e, s := ownTokens(t, fields{"reuse": true, "scopes": "read,write"})
	e.must(t, "role/c/r", fields{"scopes": "read"})
	tokens := []string{e.read(t, "token/c").token(t), e.read(t, "token/c/r").token(t)}
	e = e.restart(t) // also revokes tokens that are only in storage
	succeeded(t, e.read(t, "token/c"))
	r := update(t, e, "revoke/c", nil)
	succeeded(t, r)
	if r.resp != nil {
		t.Errorf("warnings: %s", r.text())
	}
	revoked := s.Revoked()
	slices.Sort(revoked)
	slices.Sort(tokens)
	if !slices.Equal(revoked, tokens) || s.RevocationRequests() != 2 {
		t.Errorf("revoked %d of the %d tokens by %d requests", len(revoked), len(tokens), s.RevocationRequests())
	}
	if got := e.below(t, "token/"); len(got) != 0 {
		t.Errorf("stored: %v", got)
	}
	for range 2 {
		for _, path := range []string{"token/c", "token/c/r"} {
			if token := e.read(t, path).token(t); !s.Valid(token) {
				t.Errorf("%s: a revoked token is handed out", path)
			}
		}
		e = e.restart(t)
	}
	asked(t, s, 4)
	succeeded(t, update(t, e, "revoke/c", nil))
	succeeded(t, update(t, e, "revoke/c", nil)) // again, when there is nothing to revoke
	refused(t, update(t, e, "revoke/none", nil), http.StatusBadRequest, `no config "none"`)
}

// revokesNothing makes a provider fail at each revocation, until another behavior is
// set.
var revokesNothing = providertest.Behavior{Revocation: true, Times: -1, Status: 500}

func TestKillSwitchForgetsAlsoWhereTheProviderFails(t *testing.T) {
	for name, does := range map[string]providertest.Behavior{
		"fails": revokesNothing, "echoes": {Revocation: true, Times: -1, Echo: true, Status: 400},
	} {
		t.Run(name, func(t *testing.T) {
			e, s := ownTokens(t, fields{"reuse": true, "scopes": "read,write"})
			old := e.read(t, "token/c").token(t)
			succeeded(t, e.readWith(t, "token/c", fields{"scopes": "read"}))
			s.Behave(does)
			r := update(t, e, "revoke/c", nil)
			succeeded(t, r)
			warned(t, r, "2 of 2 tokens are not revoked at the provider, and may live on there until 2026-01-02T04:04:05Z")
			withoutSecrets(t, "the warning and the log", r.text()+e.log.String(), append(s.Issued(), s.Credentials().ClientSecret)...)
			if e.read(t, "token/c").token(t) == old {
				t.Error("the old token is handed out")
			}
		})
	}
}

// If a token could not be revoked, the engine tries again until it is revoked: in the
// background, in the next process, and at once with another write to revoke/.
func TestKillSwitchIsTriedAgain(t *testing.T) {
	for name, again := range map[string]func(t *testing.T, e *engine){
		"by another write":       func(t *testing.T, e *engine) { succeeded(t, update(t, e, "revoke/c", nil)) },
		"in the background":      func(t *testing.T, e *engine) { e.aMinuteLater(t) },
		"by the next process":    func(t *testing.T, e *engine) { e.restart(t).aMinuteLater(t) },
		"by a write to that one": func(t *testing.T, e *engine) { succeeded(t, update(t, e.restart(t), "revoke/c", nil)) },
		"after a change of the client": func(t *testing.T, e *engine) {
			e.must(t, "config/c", fields{"fallback_client_secret": "another"})
			e.aMinuteLater(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, s := ownTokens(t, nil)
			e.must(t, "role/c/shared", fields{"reuse": true})
			old := []string{e.read(t, "token/c").token(t), e.read(t, "token/c/shared").token(t)}
			s.Behave(revokesNothing)
			warned(t, update(t, e, "revoke/c", nil), "2 of 2 tokens are not revoked")
			warned(t, update(t, e, "revoke/c", nil), "2 of 2 tokens are not revoked")
			kept := e.read(t, "token/c/shared").token(t)
			s.Behave(providertest.Behavior{})
			again(t, e)
			eventually(t, "the tokens are revoked", func() bool { return !s.Valid(old[0]) && !s.Valid(old[1]) })
			if strings.Contains(name, "write") == s.Valid(kept) {
				t.Errorf("the token minted since is valid: %t", s.Valid(kept))
			}
			left := 0
			if strings.Contains(name, "change") {
				left = 1 // the token minted since then, which the change has forgotten
			}
			eventually(t, "nothing is left to do", func() bool { return len(e.below(t, "lease/")) == left })
		})
	}
}

// The kill switch also ends tokens that belong to one lease (reuse=false).
func TestKillSwitchEndsTokensOfLeasesOfTheirOwn(t *testing.T) {
	e, s := ownTokens(t, nil)
	var leases []*logical.Secret
	for range 20 {
		leases = append(leases, e.read(t, "token/c").resp.Secret)
	}
	r := update(t, e, "revoke/c", nil)
	succeeded(t, r)
	if r.resp != nil || len(s.Revoked()) != 20 || s.RevocationRequests() != 20 {
		t.Errorf("%d revoked by %d requests: %s", len(s.Revoked()), s.RevocationRequests(), r.text())
	}
	next := e.read(t, "token/c").token(t)
	for _, lease := range leases {
		succeeded(t, e.revokeLease(t, lease))
	}
	if s.RevocationRequests() != 20 || !s.Valid(next) {
		t.Error("the leases of dead tokens cost requests, or the next token")
	}
}

// If storage failed to take a token, only memory knows it, and memory forgets it with
// the write. The kill switch must revoke it nevertheless.
func TestKillSwitchRevokesATokenThatOnlyMemoryHolds(t *testing.T) {
	e, s := ownTokens(t, fields{"reuse": true})
	e.storage.onUse(failingOn(opPut, "token/"))
	token := e.read(t, "token/c").token(t)
	e.storage.onUse(nil)
	succeeded(t, update(t, e, "revoke/c", nil))
	if s.Valid(token) {
		t.Error("the token outlived the kill switch")
	}
}

// Readers go on while the kill switch is used. A token that was handed out before must
// not outlive it, and a token that is handed out afterwards must be valid.
func TestKillSwitchLetsNothingSlipThrough(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{Scopes: []string{"a", "b", "c", "d", "e", "f"}})
	e.must(t, "config/c", with(standard(s), fields{"revocation_url": s.RevocationURL()}))
	var (
		mu      sync.Mutex
		before  []string
		readers sync.WaitGroup
	)
	ctx, stop := context.WithCancel(t.Context())
	for i := range 6 {
		e.must(t, fmt.Sprintf("role/c/r%d", i), fields{"scopes": string(rune('a' + i))})
		readers.Go(func() {
			for ctx.Err() == nil {
				resp, err := e.backend.HandleRequest(ctx, e.cross(t, &logical.Request{Operation: logical.ReadOperation, Path: fmt.Sprintf("token/c/r%d", i)}))
				if err == nil && resp != nil && ctx.Err() == nil {
					mu.Lock()
					before = append(before, fmt.Sprint(resp.Data["access_token"]))
					mu.Unlock()
				}
			}
		})
	}
	for range 10 {
		mu.Lock()
		seen := len(before)
		mu.Unlock()
		eventually(t, "tokens are read", func() bool { mu.Lock(); defer mu.Unlock(); return len(before) > seen })
		mu.Lock()
		handedOut := slices.Clone(before)
		mu.Unlock()
		succeeded(t, update(t, e, "revoke/c", nil))
		for _, token := range handedOut {
			if s.Valid(token) {
				t.Fatal("a token outlived the kill switch")
			}
		}
	}
	stop()
	readers.Wait()
	for i := range 6 {
		if token := e.read(t, fmt.Sprintf("token/c/r%d", i)).token(t); !s.Valid(token) {
			t.Error("a dead token is handed out")
		}
	}
}

// A read may find the new config in storage while the kill switch is still writing it.
// The read's mint is forgotten together with the old tokens. But its token belongs to
// the new config, and another reader may already have found it in storage, so it stays
// valid.
func TestTokenOfAMintThatSawTheNewConfigTooEarlyStaysGood(t *testing.T) {
	overAWire(t, func(t *testing.T, e *engine) {
		s := e.ownTokens(t, fields{"reuse": true})
		e = e.restart(t)
		written, compared, stored := make(chan struct{}), make(chan struct{}), make(chan struct{})
		stops := map[string][]chan struct{}{ // what the first, second … operation of a kind waits for once it is done
			"put config/": {written}, "get token/": {nil, compared}, "put token/": {stored},
		}
		var mu sync.Mutex
		e.storage.onDone(func(op, key string) {
			kind := op + " " + key[:strings.Index(key, "/")+1]
			mu.Lock()
			var stop chan struct{}
			if next := stops[kind]; len(next) > 0 {
				stop, stops[kind] = next[0], next[1:]
			}
			mu.Unlock()
			if stop != nil {
				<-stop
			}
		})
		kill := soon(t, func() result { return update(t, e, "revoke/c", nil) })
		synctest.Wait() // the new config is stored
		early := soon(t, func() result { return e.read(t, "token/c") })
		synctest.Wait() // the reader has minted, and is about to store
		close(written)
		succeeded(t, wait(t, kill))
		close(compared)
		synctest.Wait() // the token is stored
		other := e.read(t, "token/c").token(t)
		close(stored)
		if got := wait(t, early).token(t); got != other {
			t.Error("the readers have two tokens")
		}
		synctest.Wait()
		if !s.Valid(other) || s.RevocationRequests() > 0 || len(e.below(t, "lease/")) > 0 {
			t.Error("the token that both readers have is revoked, or is to be")
		}
		if got := e.restart(t).read(t, "token/c").token(t); got != other {
			t.Error("the token is not stored any more")
		}
	})
}

// If storage fails after the new epoch was written, something is left to do. The write
// reports an error, and another write does the rest.
func TestKillSwitchOfStorageThatFails(t *testing.T) {
	for _, test := range []struct {
		op, prefix string
		forgotten  bool
	}{{opGet, "config/", false}, {opPut, "config/", false}, {opList, "token/", true}, {opList, "lease/", true}, {opPut, "lease/", true}} {
		t.Run(test.op+" "+test.prefix, func(t *testing.T) {
			e, s := ownTokens(t, fields{"reuse": true})
			old := e.read(t, "token/c").token(t)
			e = e.restart(t)
			e.storage.onUse(failingOn(test.op, test.prefix))
			r := e.request(t, logical.UpdateOperation, "revoke/c", nil)
			e.storage.onUse(nil)
			refused(t, r, http.StatusInternalServerError)
			if got := e.read(t, "token/c").token(t); (got != old) != test.forgotten {
				t.Errorf("forgotten: %t, want %t", got != old, test.forgotten)
			}
			succeeded(t, update(t, e, "revoke/c", nil))
			if s.Valid(old) {
				t.Error("the token lives on")
			}
		})
	}
}

// If the provider fails to revoke, the engine gives up after some of the tokens. It
// does not ask the provider for each one.
func TestKillSwitchLeavesAProviderAloneThatFails(t *testing.T) {
	e, s := ownTokens(t, nil)
	for range 40 {
		succeeded(t, e.read(t, "token/c"))
	}
	s.Behave(revokesNothing)
	warned(t, update(t, e, "revoke/c", nil), "40 of 40 tokens")
	if n := s.RevocationRequests(); n < 8 || n > 16 {
		t.Errorf("%d requests in a row", n)
	}
}

func TestKillSwitchSaysWhereNothingCanBeRevoked(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	warned(t, update(t, e, "revoke/c", nil), "no revocation_url")
	succeeded(t, e.read(t, "token/c"))
	warned(t, update(t, e, "revoke/c", nil), "1 of 1 tokens cannot be revoked at the provider, and live on there until 2026-01-02T04:04:05Z: the config has no revocation_url")
	if len(e.below(t, "token/"))+len(e.below(t, "lease/")) != 0 {
		t.Error("something is left")
	}
}

// A writer's turn is only for writing. So the next writer does not wait for the
// provider.
func TestKillSwitchHoldsUpNoWriter(t *testing.T) {
	e, s := ownTokens(t, fields{"reuse": true})
	succeeded(t, e.read(t, "token/c"))
	answer := make(chan struct{})
	s.Behave(providertest.Behavior{Revocation: true, Until: answer})
	killed := soon(t, func() result { return update(t, e, "revoke/c", nil) })
	eventually(t, "the provider is asked", func() bool { return s.RevocationRequests() == 1 })
	e.must(t, "config/c", fields{"description": "written meanwhile"})
	select {
	case <-killed:
		t.Error("the write waited for the provider")
	default:
	}
	close(answer)
	wait(t, killed)
}

func TestRenewalIsRefusedOnceTheTokenIsForgotten(t *testing.T) {
	for name, forget := range map[string]func(t *testing.T, e *engine){
		"by the kill switch": func(t *testing.T, e *engine) { succeeded(t, update(t, e, "revoke/c", nil)) },
		"by another request": func(t *testing.T, e *engine) { e.must(t, "config/c", fields{"scopes": "write"}) },
		"with its config":    func(t *testing.T, e *engine) { succeeded(t, e.delete(t, "config/c")) },
		"with its config, though another has its name": func(t *testing.T, e *engine) {
			config := e.below(t, "config/")["config/c"]
			succeeded(t, e.delete(t, "config/c"))
			e.must(t, "config/c", fields{"token_url": "https://idp.example.com/token", "client_id": "c", "client_secret": secretOne, "renewable": true})
			if config == e.below(t, "config/")["config/c"] {
				t.Fatal("it is the same")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{})
			e.must(t, "config/c", with(standard(s), fields{"renewable": true}))
			secret := e.read(t, "token/c").resp.Secret
			renew := func() result {
				return e.send(t, &logical.Request{Operation: logical.RenewOperation, Path: "token/c", Secret: secret})
			}
			e.must(t, "config/c", fields{"description": "which forgets nothing"})
			succeeded(t, renew())
			forget(t, e)
			refused(t, renew(), http.StatusBadRequest, "read again")
		})
	}
}

// As its help text says, the kill switch revokes each forgotten token, also one that is
// just being minted. Nobody gets that token, but the provider knows it.
func TestKillSwitchRevokesTheTokenOfAMintUnderWay(t *testing.T) {
	e, s := ownTokens(t, fields{"reuse": true})
	answer := make(chan struct{})
	s.Behave(providertest.Behavior{Until: answer})
	reader := soon(t, func() result { return e.read(t, "token/c") })
	eventually(t, "the provider is asked", func() bool { return s.Requests() == 1 })
	succeeded(t, update(t, e, "revoke/c", nil))
	close(answer)
	kept := wait(t, reader).token(t)
	eventually(t, "the forgotten token is revoked", func() bool { return !s.Valid(s.Issued()[0]) })
	if !s.Valid(kept) {
		t.Error("the token that was handed out is revoked")
	}
}
