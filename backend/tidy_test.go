// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// stored returns how many tokens of a config are stored.
func stored(t *testing.T, e *engine, config string) int {
	t.Helper()
	return len(e.below(t, "token/"+config+"/"))
}

func TestTidyRemovesWhatHasExpired(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{RotateRefreshTokens: true})
	e.must(t, "config/c", with(standard(s), fields{"scopes": "read,write"}))
	e.must(t, "config/p", byPassword(s))
	e.must(t, "role/c/r", fields{"scopes": "read"})
	e.periodic(t) // the first call tidies at once
	for _, path := range []string{"token/c", "token/c/r", "token/p"} {
		succeeded(t, e.read(t, path))
	}
	e.clock.advance(45 * time.Minute)
	e.periodic(t)
	if stored(t, e, "c") != 2 || stored(t, e, "p") != 1 {
		t.Error("a usable token was removed")
	}
	succeeded(t, e.readWith(t, "token/c", fields{"scopes": "write"}))
	e.clock.advance(14*time.Minute + 59*time.Second)
	e.periodic(t)
	e.clock.advance(time.Second) // exactly the expiry
	e.periodic(t)
	if stored(t, e, "c") != 3 {
		t.Error("a token was removed before it expired, or before the interval was over")
	}
	e.clock.advance(16 * time.Minute)
	e.periodic(t)
	if stored(t, e, "c") != 1 || stored(t, e, "p") != 1 {
		t.Errorf("%d tokens and %d with a refresh token, want 1 and 1", stored(t, e, "c"), stored(t, e, "p"))
	}
	e.clock.advance(7*24*time.Hour - 20*time.Minute)
	e.periodic(t)
	if stored(t, e, "c") != 0 || stored(t, e, "p") != 1 {
		t.Errorf("%d tokens and %d with a refresh token, want 0 and 1", stored(t, e, "c"), stored(t, e, "p"))
	}
	e.clock.advance(20 * time.Minute)
	e.periodic(t)
	if stored(t, e, "p") != 0 {
		t.Error("a refresh token stays longer than a week")
	}
}

func TestTidyRemovesTokensOfConfigsThatAreGone(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	succeeded(t, e.read(t, "token/c"))
	for key, value := range e.below(t, "token/") {
		e.storage.put(t, strings.Replace(key, "token/c/", "token/gone/", 1), value)
		e.storage.put(t, strings.Replace(key, "token/c/", "token/cc/", 1), value)
	}
	e.periodic(t)
	if stored(t, e, "gone")+stored(t, e, "cc") != 0 || stored(t, e, "c") != 1 {
		t.Errorf("%v", e.below(t, "token/"))
	}
}

func TestTidyReadsTheTokensRarely(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	succeeded(t, e.read(t, "token/c"))
	e.periodic(t)
	e.storage.onUse(failingOn(opList, "token/"))
	for range 14 {
		e.clock.advance(time.Minute)
		e.periodic(t)
	}
	e.clock.advance(time.Minute)
	if e.request(t, "rollback", "", nil).err == nil {
		t.Error("nothing is done after a quarter of an hour")
	}
	e.periodic(t) // the next call does not tidy at once
}

func TestTidyDoesNothingOnAStandby(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	succeeded(t, e.read(t, "token/c"))
	e.clock.advance(2 * time.Hour)
	for _, state := range []consts.ReplicationState{consts.ReplicationPerformanceStandby, consts.ReplicationDRSecondary} {
		e.system.ReplicationStateVal = state
		e = e.restart(t)
		e.storage.onUse(func(op, key string) error {
			if strings.HasPrefix(key, "token/") || op == opDelete || op == opPut {
				t.Errorf("%s %s", op, key)
			}
			return nil
		})
		e.periodic(t)
		e.storage.onUse(nil)
	}
	e.system.ReplicationStateVal = consts.ReplicationPerformanceSecondary // a performance secondary has tokens of its own
	e = e.restart(t)
	e.periodic(t)
	if stored(t, e, "c") != 0 {
		t.Error("a secondary does not tidy its own tokens")
	}
}

// If a token in memory is usable, the stored one is not read. Otherwise ten thousand
// tokens would be read every quarter of an hour.
func TestTidyReadsNoTokenThatMemoryKnowsToBeUsable(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	succeeded(t, e.read(t, "token/c"))
	e.clock.advance(16 * time.Minute)
	e.storage.onUse(failingOn(opGet, ""))
	e.periodic(t)
}

// A token that is minted while its predecessor is deleted stays stored.
func TestTidyTakesNoNewTokenAlong(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	succeeded(t, e.read(t, "token/c"))
	e.clock.advance(2 * time.Hour)
	e.storage.onUse(func(op, key string) error {
		if op == opDelete && strings.HasPrefix(key, "token/") {
			e.storage.onUse(nil)
			succeeded(t, e.read(t, "token/c"))
		}
		return nil
	})
	e.periodic(t)
	e.storage.onUse(nil)
	asked(t, s, 2)
	succeeded(t, e.restart(t).read(t, "token/c"))
	asked(t, s, 2)
}

func TestTidyUnderAMintTakesNothingAlong(t *testing.T) {
	e, d := mount(t, secretOne), newDesk(t)
	e.must(t, "config/c", d.config())
	reader := soon(t, func() result { return e.read(t, "token/c") })
	d.next(t).token("old")
	wait(t, reader)
	e.clock.advance(2 * time.Hour)
	reader = soon(t, func() result { return e.read(t, "token/c") })
	visit := d.next(t)
	e.periodic(t)
	visit.token("new")
	wait(t, reader)
	if got := e.restart(t, secretOne).read(t, "token/c").token(t); got != "new" {
		t.Errorf("after a restart: %q", got)
	}
	asked(t, d.Server, 2)
}

func TestTidyOfStorageThatFailsIsAnError(t *testing.T) {
	for _, test := range []struct{ op, prefix string }{
		{opList, "config/"}, {opList, "token/"}, {opList, "token/c/"}, {opGet, "config/"}, {opDelete, "token/"},
	} {
		for _, gone := range []bool{false, true} {
			if test.op == opGet && !gone {
				continue // the entry of an existing config is not read
			}
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{})
			e.must(t, "config/c", standard(s))
			succeeded(t, e.read(t, "token/c"))
			e.clock.advance(2 * time.Hour)
			if gone {
				if err := e.storage.InmemStorage.Delete(t.Context(), "config/c"); err != nil {
					t.Fatal(err)
				}
			}
			e.storage.onUse(failingOn(test.op, test.prefix))
			r := e.request(t, "rollback", "", nil)
			e.storage.onUse(nil)
			refused(t, r, http.StatusInternalServerError, "the disk is on fire")
		}
	}
}

// other returns another engine on the same storage, like another node.
func (e *engine) other(t *testing.T) *engine {
	t.Helper()
	return mountOn(t, e.storage, e.clock, e.system, secretOne, secretTwo)
}

// Vault tells a node which keys another node has written.
func TestInvalidateDropsWhatAnotherNodeChanged(t *testing.T) {
	for name, test := range map[string]struct {
		do  func(t *testing.T, there *engine)
		key func(t *testing.T, e *engine) string
		new bool
	}{
		"another secret": {
			func(t *testing.T, there *engine) { there.must(t, "config/c", fields{"default_token_type": "MAC"}) },
			func(*testing.T, *engine) string { return "config/c" }, true,
		},
		"a revoke": {
			func(t *testing.T, there *engine) { succeeded(t, update(t, there, "revoke/c", nil)) },
			func(*testing.T, *engine) string { return "config/c" }, true,
		},
		"a provider": {
			func(t *testing.T, there *engine) { there.must(t, "provider/p", fields{"default_token_type": "MAC"}) },
			func(*testing.T, *engine) string { return "provider/p" }, true,
		},
		"a role": {
			func(t *testing.T, there *engine) { there.must(t, "role/c/r", fields{"scopes": "read"}) },
			func(*testing.T, *engine) string { return "role/c/r" }, true,
		},
		"a newer token": {
			func(t *testing.T, there *engine) {
				there.clock.advance(15 * time.Second)
				succeeded(t, update(t, there, "token/c/r", fields{"fresh": true}))
			},
			func(t *testing.T, e *engine) string {
				for key := range e.below(t, "token/") {
					return key
				}
				t.Fatal("no token is stored")
				return ""
			}, true,
		},
		"something of no consequence": {
			func(*testing.T, *engine) {}, func(*testing.T, *engine) string { return "config/another" }, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			here := mount(t, secretOne, secretTwo)
			s := here.server(t, providertest.RFC6749, providertest.Options{})
			here.must(t, "provider/p", fields{"token_url": s.TokenURL()})
			config := with(standard(s), fields{"provider": "p", "scopes": "read,write"})
			delete(config, "token_url")
			here.must(t, "config/c", config)
			here.must(t, "role/c/r", fields{"description": "x"})
			there := here.other(t)
			old := here.read(t, "token/c/r").token(t)
			succeeded(t, there.read(t, "token/c/r"))
			asked(t, s, 1)
			test.do(t, there)
			here.backend.InvalidateKey(context.Background(), test.key(t, here))
			got := here.read(t, "token/c/r").token(t)
			if (got != old) != test.new {
				t.Errorf("another token: %t, want %t", got != old, test.new)
			}
			for key := range here.below(t, "token/") {
				there.backend.InvalidateKey(context.Background(), key)
			}
			if want := there.read(t, "token/c/r").token(t); got != want {
				t.Error("the nodes disagree")
			}
		})
	}
}

func TestInvalidateOfADeletedConfigOrRole(t *testing.T) {
	for _, key := range []string{"config/c", "role/c/r"} {
		t.Run(key, func(t *testing.T) {
			here := mount(t, secretOne, secretTwo)
			s := here.server(t, providertest.RFC6749, providertest.Options{})
			here.must(t, "config/c", standard(s))
			here.must(t, "role/c/r", fields{"leased": false})
			there := here.other(t)
			succeeded(t, here.read(t, "token/c/r"))
			succeeded(t, there.request(t, "delete", key, map[bool]fields{true: {"force": true}}[key == "config/c"]))
			here.backend.InvalidateKey(context.Background(), key)
			refused(t, here.read(t, "token/c/r"), http.StatusBadRequest, "no ")
		})
	}
}

func TestInvalidateForgivesFailures(t *testing.T) {
	here := mount(t, secretOne, secretTwo)
	s := here.server(t, providertest.RFC6749, providertest.Options{})
	here.must(t, "config/c", standard(s))
	s.Behave(providertest.Behavior{Status: 500})
	refused(t, here.read(t, "token/c"), http.StatusBadGateway)
	here.backend.InvalidateKey(context.Background(), "config/c")
	succeeded(t, here.read(t, "token/c"))
}

// A config also wins over a mint under way if another node changes the config.
func TestInvalidateUnderAMint(t *testing.T) {
	here, d := mount(t, secretOne, secretTwo), newDesk(t)
	here.must(t, "config/c", d.config())
	reader := soon(t, func() result { return here.read(t, "token/c") })
	visit := d.next(t)
	here.other(t).must(t, "config/c", fields{"client_secret": secretTwo})
	here.backend.InvalidateKey(context.Background(), "config/c")
	visit.token("old")
	select {
	case visit = <-d.visits:
		visit.token("new")
	case r := <-reader:
		t.Fatalf("answered with the token of credentials that were replaced before: %s", r.text())
	}
	if got := wait(t, reader).token(t); got != "new" {
		t.Errorf("got %q", got)
	}
}
