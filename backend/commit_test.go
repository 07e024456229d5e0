// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// If storage's answer is lost, storage may have stored an entry although it reports an
// error.
func TestWriteThatIsStoredAndReportsAnError(t *testing.T) {
	for name, test := range map[string]struct {
		prefix string
		do     func(t *testing.T, e *engine) result
		path   string
	}{
		"a config":          {"config/", func(t *testing.T, e *engine) result { return update(t, e, "config/c", fields{"scopes": "write"}) }, "token/c"},
		"a config's patch":  {"config/", func(t *testing.T, e *engine) result { return e.patch(t, "config/c", fields{"scopes": []any{"write"}}) }, "token/c"},
		"a config's revoke": {"config/", func(t *testing.T, e *engine) result { return update(t, e, "revoke/c", nil) }, "token/c"},
		"a role":            {"role/", func(t *testing.T, e *engine) result { return update(t, e, "role/c/r", fields{"scopes": "write"}) }, "token/c/r"},
		"a provider": {"provider/", func(t *testing.T, e *engine) result {
			return update(t, e, "provider/p", fields{"default_token_type": "MAC"})
		}, "token/c"},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{})
			e.must(t, "provider/p", fields{"token_url": s.TokenURL()})
			e.must(t, "config/c", with(standard(s), fields{"provider": "p", "scopes": "read,write"}))
			e.must(t, "role/c/r", fields{"scopes": "read"})
			old := e.read(t, test.path).token(t)
			e.storage.failsLate()
			e.storage.onUse(failingOn(opPut, test.prefix))
			if test.do(t, e).err == nil {
				t.Fatal("no error")
			}
			e.storage.onUse(nil)
			if e.read(t, test.path).token(t) == old {
				t.Error("memory hands out the token of before")
			}
			e.clock.advance(50 * time.Minute)
			succeeded(t, e.read(t, test.path))
		})
	}
}

// A stale view is read again, whatever made it stale. The reader does not get the error
// that the config changes too fast, because the config does not change at all.
func TestStaleViewMendsItself(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	succeeded(t, e.read(t, "token/c"))
	other := e.restart(t)
	other.must(t, "config/c", fields{"scopes": "read"}) // e does not learn of this write
	e.clock.advance(50 * time.Minute)
	wantMembers(t, e.read(t, "token/c").data(t), fields{"scope": "read"})
}

// A delete takes its turn among the writes. So a deleted entry does not come back, and
// an entry that a write has come to depend on is not deleted.
func TestDeletesTakeTheirTurn(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, e *engine){
		"a role that is being patched": func(t *testing.T, e *engine) {
			e.must(t, "config/c", acme())
			e.must(t, "role/c/r", fields{"ttl": 60})
			_, deletion := whilePutting(t, e, "role/c/r",
				func() result { return e.patch(t, "role/c/r", fields{"ttl": 61}) },
				func() result { return e.delete(t, "role/c/r") })
			succeeded(t, deletion)
			if r := e.read(t, "role/c/r"); r.status() != http.StatusNotFound {
				t.Errorf("it has come back: %s", r.text())
			}
		},
		"a provider that a config comes to use": func(t *testing.T, e *engine) {
			e.must(t, "provider/p", fields{"token_url": "https://login.example.com/token"})
			write, deletion := whilePutting(t, e, "config/c",
				func() result {
					return e.write(t, "config/c", fields{"provider": "p", "client_id": "c", "client_secret": secretOne})
				},
				func() result { return e.delete(t, "provider/p") })
			succeeded(t, write)
			refused(t, deletion, http.StatusBadRequest, `"p"`, "c")
			succeeded(t, e.read(t, "provider/p"))
		},
		"a provider that is being patched": func(t *testing.T, e *engine) {
			e.must(t, "provider/p", fields{"token_url": "https://login.example.com/token"})
			_, deletion := whilePutting(t, e, "provider/p",
				func() result { return update(t, e, "provider/p", fields{"description": "x"}) },
				func() result { return e.delete(t, "provider/p") })
			succeeded(t, deletion)
			if r := e.read(t, "provider/p"); r.status() != http.StatusNotFound {
				t.Errorf("it has come back: %s", r.text())
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, mount(t)) })
		})
	}
}

// whilePutting starts the second request while the first one is storing key. It lets
// the first request go on when the second one is done, or waits for its turn.
func whilePutting(t *testing.T, e *engine, key string, first, second func() result) (result, result) {
	t.Helper()
	goOn := make(chan struct{})
	var once atomic.Bool
	e.storage.onUse(func(op, k string) error {
		if op == opPut && k == key && once.CompareAndSwap(false, true) {
			<-goOn
		}
		return nil
	})
	write := soon(t, first)
	synctest.Wait()
	deletion := soon(t, second)
	synctest.Wait()
	close(goOn)
	return wait(t, write), wait(t, deletion)
}
