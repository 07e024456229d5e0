// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// A request that forgets a config's tokens wins over a mint that is under way. The
// mint's token is not handed out, not kept in memory, and not stored.
func TestMintUnderWayLosesTo(t *testing.T) {
	for name, test := range map[string]struct {
		do    func(t *testing.T, e *engine, d *desk)
		again bool   // the reader asks the provider again
		says  string // otherwise the reader's error says this
	}{
		"a new secret": {func(t *testing.T, e *engine, _ *desk) { e.must(t, "config/c", fields{"client_secret": secretTwo}) }, true, ""},
		"other scopes": {func(t *testing.T, e *engine, _ *desk) { e.must(t, "config/c", fields{"scopes": "x"}) }, true, ""},
		"a patch": {func(t *testing.T, e *engine, _ *desk) {
			succeeded(t, e.patch(t, "config/c", fields{"scopes": []any{"x"}}))
		}, true, ""},
		"a move":              {func(t *testing.T, e *engine, d *desk) { e.must(t, "config/c", newMoved(d)) }, true, ""},
		"there and back":      {func(t *testing.T, e *engine, _ *desk) { thereAndBack(t, e, "config/c") }, true, ""},
		"a delete":            {func(t *testing.T, e *engine, _ *desk) { succeeded(t, e.delete(t, "config/c")) }, false, `no config "c"`},
		"a revoke":            {func(t *testing.T, e *engine, _ *desk) { succeeded(t, update(t, e, "revoke/c", nil)) }, true, ""},
		"a provider write":    {func(t *testing.T, e *engine, _ *desk) { e.must(t, "provider/p", fields{"scopes": "x"}) }, true, ""},
		"a provider's return": {func(t *testing.T, e *engine, _ *desk) { thereAndBack(t, e, "provider/p") }, true, ""},
		"a delete and the same again": {func(t *testing.T, e *engine, d *desk) {
			succeeded(t, e.delete(t, "config/c"))
			e.must(t, "config/c", with(d.config(), fields{"provider": "p"}))
		}, true, ""},
	} {
		for _, reuse := range []bool{true, false} {
			t.Run(name+map[bool]string{true: "", false: ", reuse=false"}[reuse], func(t *testing.T) {
				e, d := mount(t, secretOne, secretTwo), newDesk(t)
				e.must(t, "provider/p", fields{"default_token_type": "x"})
				e.must(t, "config/c", with(d.config(), fields{"provider": "p", "reuse": reuse}))
				reader := soon(t, func() result { return e.read(t, "token/c") })
				visit := d.next(t)
				if reuse {
					wantMembers(t, e.read(t, "status/c").data(t), fields{"minting": true})
				}
				test.do(t, e, d)
				visit.token("old")
				if !test.again {
					refused(t, wait(t, reader), http.StatusBadRequest, test.says)
				} else {
					d.next(t).token("new")
					if got := wait(t, reader).token(t); got != "new" {
						t.Errorf("the reader got %q", got)
					}
				}
				for key, value := range e.below(t, "token/") {
					if strings.Contains(value, `"old"`) {
						t.Errorf("%s is stored with the old token", key)
					}
				}
				if !test.again || !reuse {
					return
				}
				for range 2 { // in this process, and in the next
					if got := e.read(t, "token/c").token(t); got != "new" {
						t.Errorf("the next reader got %q", got)
					}
					e = e.restart(t, secretOne, secretTwo)
				}
				asked(t, d.Server, 2)
			})
		}
	}
}

func newMoved(d *desk) fields {
	return with(d.config(), fields{"token_url": strings.Replace(d.TokenURL(), "127.0.0.1", "localhost", 1)})
}

func thereAndBack(t *testing.T, e *engine, path string) {
	t.Helper()
	e.must(t, path, fields{"scopes": "x"})
	e.must(t, path, fields{"scopes": ""})
}

// Two mints of one key run at the same time, and the older one was forgotten. When it
// ends, it must not delete the newer one's token from storage.
func TestForgottenMintTakesNothingAlong(t *testing.T) {
	e, d := mount(t, secretOne), newDesk(t)
	e.must(t, "provider/p", fields{"default_token_type": "x"})
	e.must(t, "config/c", with(d.config(), fields{"provider": "p"}))
	first := soon(t, func() result { return e.read(t, "token/c") })
	slow := d.next(t)
	thereAndBack(t, e, "provider/p")
	second := soon(t, func() result { return e.read(t, "token/c") })
	d.next(t).token("new")
	if got := wait(t, second).token(t); got != "new" {
		t.Fatalf("got %q", got)
	}
	slow.token("old")
	if got := wait(t, first).token(t); got != "new" {
		t.Errorf("the first reader got %q", got)
	}
	if got := e.read(t, "token/c").token(t); got != "new" {
		t.Errorf("from memory: %q", got)
	}
	stored := e.below(t, "token/")
	for key, value := range stored {
		if !strings.Contains(value, `"new"`) {
			t.Errorf("%s does not hold the token in use: %s", key, value)
		}
	}
	if len(stored) != 1 {
		t.Error("the token in use is no longer stored: a restart costs a mint")
	}
}

func TestConfigThatComesBackDoesNotReviveItsToken(t *testing.T) {
	for name, change := range map[string]fields{
		"a secret":  {"client_secret": secretTwo},
		"scopes":    {"scopes": "x"},
		"an answer": {"default_token_type": "MAC"},
	} {
		t.Run(name, func(t *testing.T) {
			e, d := mount(t, secretOne, secretTwo), newDesk(t)
			config := with(d.config(), fields{"scopes": "a", "default_token_type": "Bearer"})
			e.must(t, "config/c", config)
			read := func(name string) {
				reader := soon(t, func() result { return e.read(t, "token/c") })
				d.next(t).token(name)
				if got := wait(t, reader).token(t); got != name {
					t.Errorf("got %q, want %q", got, name)
				}
			}
			read("of-A")
			kept := e.below(t, "token/")
			e.must(t, "config/c", change)
			e.must(t, "config/c", config)
			for key, value := range kept { // as if the old token could not be deleted
				e.storage.put(t, key, value)
			}
			read("of-A-again")
			e = e.restart(t, secretOne, secretTwo)
			if got := e.read(t, "token/c").token(t); got != "of-A-again" {
				t.Errorf("after a restart: %q", got)
			}
		})
	}
}

func TestEpochIsNewWithEachOtherRequestAndWithNothingElse(t *testing.T) {
	epoch := func(e *engine) string {
		_, after, _ := strings.Cut(e.below(t, "config/")["config/c"], `"epoch":"`)
		out, _, found := strings.Cut(after, `"`)
		if !found || len(out) < 40 {
			t.Fatalf("no epoch of 32 bytes in %q", out)
		}
		return out
	}
	e := mount(t)
	e.must(t, "config/c", acme())
	seen := map[string]bool{epoch(e): true}
	for _, test := range []struct {
		name string
		do   func() result
		same bool
	}{
		{"the same again", func() result { return e.write(t, "config/c", acme()) }, true},
		{"a description", func() result { return e.write(t, "config/c", fields{"description": "y"}) }, true},
		{"settings", func() result { return e.write(t, "config/c", fields{"ttl": 7, "min_ttl": 1, "request_timeout": 9}) }, true},
		{"a role", func() result { return e.write(t, "role/c/r", fields{"parameters": "x=y"}) }, true},
		{"a secret", func() result { return e.write(t, "config/c", fields{"client_secret": "another"}) }, false},
		{"the secret of before", func() result { return e.write(t, "config/c", acme()) }, false},
		{"a revoke", func() result { return update(t, e, "revoke/c", nil) }, false},
	} {
		before := epoch(e)
		succeeded(t, test.do())
		after := epoch(e)
		if (before == after) != test.same || !test.same && seen[after] {
			t.Errorf("%s: the epoch stays: %t, want %t", test.name, before == after, test.same)
		}
		seen[after] = true
	}
}

func TestProviderWriteForgetsOnlyTheConfigsWhoseRequestItChanges(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "provider/p", fields{"token_url": s.TokenURL(), "scopes": "read"})
	e.must(t, "provider/other", fields{"token_url": s.TokenURL()})
	base := standard(s)
	delete(base, "token_url")
	e.must(t, "config/inherits", with(base, fields{"provider": "p"}))
	e.must(t, "config/overrides", with(base, fields{"provider": "p", "scopes": "write"}))
	e.must(t, "config/elsewhere", with(base, fields{"provider": "other"}))
	e.must(t, "role/inherits/r", fields{"scopes": "read"})
	paths := []string{"token/inherits", "token/inherits/r", "token/overrides", "token/elsewhere"}
	before := map[string]string{}
	for _, path := range paths {
		before[path] = e.read(t, path).token(t)
	}
	e.must(t, "provider/p", fields{"scopes": "read,write"})
	for range 2 { // in this process, and in the next
		for _, path := range paths {
			changed := path == "token/inherits"
			if got := e.read(t, path).token(t); path != "token/inherits/r" && (got != before[path]) != changed {
				t.Errorf("%s: another token %t, want %t", path, got != before[path], changed)
			}
		}
		e = e.restart(t)
	}
}

// While a caller waits, the role starts to name its callers. The engine must still know
// who this caller is.
func TestRoleThatNamesItsCallersUnderAMint(t *testing.T) {
	e, d := mount(t, secretOne), newDesk(t)
	e.system.EntityVal = &logical.Entity{ID: "e-1", Name: "alice"}
	e.must(t, "config/c", d.config())
	e.must(t, "role/c/r", fields{"parameters": fields{"user": "nobody"}})
	reader := soon(t, func() result {
		return e.send(t, &logical.Request{Operation: logical.ReadOperation, Path: "token/c/r", EntityID: "e-1"})
	})
	visit := d.next(t)
	e.must(t, "role/c/r", fields{"parameters": fields{"user": "{{identity.entity.name}}"}})
	e.must(t, "config/c", fields{"client_secret": "another"})
	visit.token("old")
	select {
	case visit = <-d.visits:
	case r := <-reader:
		t.Fatalf("answered without another request: %s", r.text())
	}
	if got := visit.form.Get("user"); got != "alice" {
		t.Errorf("asked for %q", got)
	}
	visit.token("new")
	if got := wait(t, reader).token(t); got != "new" {
		t.Errorf("got %q", got)
	}
}

// A forgotten token that storage fails to delete is not handed out.
func TestForgottenTokenThatCannotBeDeletedIsNotHandedOut(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	old := e.read(t, "token/c").token(t)
	e.storage.onUse(failingOn(opDelete, "token/"))
	succeeded(t, update(t, e, "revoke/c", nil))
	e.storage.onUse(nil)
	if len(e.below(t, "token/")) != 1 || !strings.Contains(e.log.String(), "could not be deleted") {
		t.Error("it is deleted all the same, or nothing is said")
	}
	for range 2 {
		if e.read(t, "token/c").token(t) == old {
			t.Error("the old token")
		}
		e = e.restart(t)
	}
	asked(t, s, 2)
	e.clock.advance(2 * time.Hour)
	e.periodic(t)
	if got := e.below(t, "token/"); len(got) != 0 {
		t.Errorf("%d tokens left behind", len(got))
	}
}

// A reader finds a token in storage while its config changes. The token is forgotten
// but not revoked, because other readers may hold leases of it.
func TestForgottenTokenThatWasFoundIsNotRevoked(t *testing.T) {
	e, s := ownTokens(t, fields{"reuse": true})
	old := e.read(t, "token/c").token(t)
	e = e.restart(t)
	found, goOn := make(chan struct{}), make(chan struct{})
	var once atomic.Bool
	e.storage.onDone(func(op, key string) {
		if op == opGet && strings.HasPrefix(key, "token/") && once.CompareAndSwap(false, true) {
			close(found)
			<-goOn
		}
	})
	reader := soon(t, func() result { return e.read(t, "token/c") })
	<-found
	e.must(t, "config/c", fields{"scopes": "read"})
	close(goOn)
	if wait(t, reader).token(t) == old {
		t.Error("the forgotten token is handed out")
	}
	e.backend.Cleanup(t.Context()) // waits for the background jobs
	if !s.Valid(old) {
		t.Error("the token of those who hold leases is revoked")
	}
}

// While others read, a write takes effect with the next read: no view of before may be
// left in memory, and no token of before is handed out again.
func TestAReadAfterAWriteSeesIt(t *testing.T) {
	for name, test := range map[string]struct {
		config fields // what differs from the others
		write  func(t *testing.T, e *engine, scope string)
		read   string
	}{
		"of a config":   {fields{"scopes": "a"}, func(t *testing.T, e *engine, scope string) { e.must(t, "config/c", fields{"scopes": scope}) }, "token/c"},
		"of a role":     {fields{"scopes": "a b c"}, func(t *testing.T, e *engine, scope string) { e.must(t, "role/c/r", fields{"scopes": scope}) }, "token/c/r"},
		"of a provider": {fields{}, func(t *testing.T, e *engine, scope string) { e.must(t, "provider/p", fields{"scopes": scope}) }, "token/c"},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			scopes := []string{"a", "b", "c"}
			s := e.server(t, providertest.RFC6749, providertest.Options{Scopes: scopes})
			e.must(t, "provider/p", fields{"scopes": "a", "token_url": s.TokenURL()})
			e.must(t, "config/c", with(with(standard(s), fields{"provider": "p", "revocation_url": s.RevocationURL()}), test.config))
			e.must(t, "role/c/r", fields{"scopes": "a"})
			ctx, stop := context.WithCancel(t.Context())
			var readers sync.WaitGroup
			for range 4 {
				readers.Go(func() {
					for ctx.Err() == nil {
						_ = e.readAs(ctx, t, logical.ReadOperation, test.read) // it may fail while the config changes
					}
				})
			}
			for n := range 30 {
				scope := scopes[n%len(scopes)]
				test.write(t, e, scope)
				got := e.read(t, test.read)
				if got.data(t)["scope"] != scope || !s.Valid(got.token(t)) {
					t.Errorf("write %d: want a valid token for %s, got one for %v", n, scope, got.data(t)["scope"])
				}
			}
			stop()
			readers.Wait()
		})
	}
}
