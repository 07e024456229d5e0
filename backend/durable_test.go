// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// The tokens of this file live for an hour. They are usable for 3590 s, and renewed
// after 48 minutes.

func TestRestartFindsEveryUsableToken(t *testing.T) {
	e := mount(t, secretOne)
	s := e.server(t, providertest.RFC6749, providertest.Options{ClientSecret: secretOne})
	e.must(t, "config/c", with(standard(s), fields{"scopes": "read,write"}))
	e.must(t, "config/other", standard(s))
	e.must(t, "config/plain", with(standard(s), fields{"leased": false}))
	e.must(t, "role/c/readers", fields{"scopes": "read"})
	reads := map[string]fields{"token/c": nil, "token/c/readers": nil, "token/other": nil, "token/plain": nil, "token/c ": {"scopes": "write"}}
	before := map[string]string{}
	for path, query := range reads {
		before[path] = e.readWith(t, strings.TrimSpace(path), query).token(t)
	}
	asked(t, s, len(reads))

	e.clock.advance(20 * time.Minute)
	for range 2 {
		e = e.restart(t, secretOne)
		for path, query := range reads {
			for range 2 {
				if got := e.readWith(t, strings.TrimSpace(path), query).token(t); got != before[path] {
					t.Errorf("%s: another token after a restart", path)
				}
			}
		}
	}
	asked(t, s, len(reads))
}

func TestRestartAtAnyAgeOfTheToken(t *testing.T) {
	for name, test := range map[string]struct {
		age   time.Duration
		asked int
		fails bool // the provider fails, once the token is minted
		want  string
	}{
		"at 50 % of its life it is found":                        {30 * time.Minute, 1, false, "old"},
		"at 75 % of its life it is found without a mint":         {45 * time.Minute, 1, false, "old"},
		"a second before 80 % of its life it is found":           {48*time.Minute - time.Second, 1, false, "old"},
		"at 80 % of its life it is renewed":                      {48 * time.Minute, 2, false, "new"},
		"at 99 % of its life it is renewed":                      {59 * time.Minute, 2, false, "new"},
		"expired, it is replaced":                                {2 * time.Hour, 2, false, "new"},
		"at 90 % of its life it outlives a provider's trouble":   {54 * time.Minute, 2, true, "old"},
		"a second before its usable end it does so too":          {3590*time.Second - time.Second, 2, true, "old"},
		"at its usable end it is not handed out":                 {3590 * time.Second, 2, true, ""},
		"expired, it is not handed out whatever the provider is": {time.Hour, 2, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{})
			e.must(t, "config/c", standard(s))
			old := e.read(t, "token/c").token(t)
			if test.fails {
				s.Behave(providertest.Behavior{Times: -1, Status: http.StatusInternalServerError})
			}
			e.clock.advance(test.age)
			e = e.restart(t)
			r := e.read(t, "token/c")
			asked(t, s, test.asked)
			switch {
			case test.want == "":
				refused(t, r, http.StatusBadGateway, `"c"`)
				return
			case (r.token(t) == old) != (test.want == "old"):
				t.Errorf("got the other token, want the %s one", test.want)
			}
			if test.fails {
				warned(t, r, "could not be refreshed")
			} else {
				warned(t, r)
			}
			if left := r.resp.Secret.TTL; left <= 0 || left > 3590*time.Second {
				t.Errorf("TTL %s", left)
			}
		})
	}
}

func TestTokenThatCannotBeStoredIsHandedOutAllTheSame(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	e.storage.onUse(failingOn(opPut, "token/"))
	token := e.read(t, "token/c").token(t)
	if e.read(t, "token/c").token(t) != token || !strings.Contains(e.log.String(), "could not be stored") {
		t.Errorf("it is not in memory, or nothing is said: %s", e.log)
	}
	e.storage.onUse(nil)
	withoutSecrets(t, "the log", e.log.String(), token)
	asked(t, s, 1)
	succeeded(t, e.restart(t).read(t, "token/c"))
	asked(t, s, 2)
}

func TestStoredTokenThatCannotBeReadIsAnError(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	e = e.restart(t)
	e.storage.onUse(failingOn(opGet, "token/"))
	refused(t, e.read(t, "token/c"), http.StatusInternalServerError, "the disk is on fire")
	e.storage.onUse(nil)
	asked(t, s, 0)
	e.clock.advance(time.Minute)
	succeeded(t, e.read(t, "token/c"))
}

func TestSpecialPathsOfWhatTokensNeed(t *testing.T) {
	special := mount(t).backend.SpecialPaths()
	for _, prefix := range []string{"config/", "provider/", "role/", "token/", "grant/", "lease/"} {
		if !slices.Contains(special.SealWrapStorage, prefix) {
			t.Errorf("%s is not seal-wrapped", prefix)
		}
		local := prefix == "token/" || prefix == "lease/"
		if slices.Contains(special.LocalStorage, prefix) != local {
			t.Errorf("%s: local storage %t, want %t", prefix, !local, local)
		}
	}
}

// Everything that is stored has a key with a prefix that the engine declares as
// seal-wrapped. No key contains a credential.
func TestStorageKeys(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{RotateRefreshTokens: true})
	config := with(chainAt(t, s), fields{"scopes": "read"})
	e.must(t, "provider/p", fields{"token_url": s.TokenURL()})
	e.must(t, "config/chain", config)
	e.must(t, "config/c", with(standard(s), fields{"revocation_url": s.RevocationURL()}))
	e.must(t, "role/c/single", fields{"reuse": false})
	for _, path := range []string{"token/chain", "token/c", "token/c/single"} {
		succeeded(t, e.read(t, path))
	}
	special := e.backend.SpecialPaths()
	seen := map[string]bool{}
	for key := range e.storage.snapshot(t) {
		prefix, _, _ := strings.Cut(key, "/")
		seen[prefix] = true
		if !slices.Contains(special.SealWrapStorage, prefix+"/") {
			t.Errorf("%s is not seal-wrapped", key)
		}
		for _, v := range config {
			if secret, ok := v.(string); ok && len(secret) > 7 {
				withoutSecrets(t, "a storage key", key, secret)
			}
		}
	}
	if want := []string{"config", "grant", "lease", "provider", "role", "token"}; !slices.Equal(slices.Sorted(maps.Keys(seen)), want) {
		t.Errorf("stored below %v, want %v", slices.Sorted(maps.Keys(seen)), want)
	}
}

func TestNewerSchemaOfRolesAndChainsIsRefusedClearly(t *testing.T) {
	for prefix, read := range map[string]string{"role/": "token/c/r", "grant/": "token/chain"} {
		t.Run(prefix, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{RotateRefreshTokens: true})
			e.must(t, "config/c", standard(s))
			e.must(t, "config/chain", chainAt(t, s))
			e.must(t, "role/c/r", fields{})
			succeeded(t, e.read(t, read))
			for key, value := range e.below(t, prefix) {
				e.storage.put(t, key, strings.Replace(value, `"version":1`, `"version":99,"unheard_of":[1]`, 1))
			}
			before, requests := e.below(t, prefix), s.Requests()
			e.clock.advance(2 * time.Hour)
			e = e.restart(t)
			refused(t, e.read(t, read), http.StatusInternalServerError, "schema version 99", "newer", "plugin version")
			e.periodic(t)
			if !maps.Equal(before, e.below(t, prefix)) {
				t.Error("what this version cannot read was changed or removed")
			}
			asked(t, s, requests)
		})
	}
}

func TestOlderSchemaIsRead(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	e.must(t, "role/c/r", fields{"ttl": 60})
	token := e.read(t, "token/c/r").token(t)
	for key, value := range e.storage.snapshot(t) {
		e.storage.put(t, key, strings.Replace(value, `"version":1,`, "", 1))
	}
	r := e.restart(t).read(t, "token/c/r")
	if r.token(t) != token || r.resp.Secret.TTL != time.Minute {
		t.Errorf("not what was stored: %s", r.text())
	}
	asked(t, s, 1)
}

func TestCleanStoresAMintThatIsUnderWay(t *testing.T) {
	overAWire(t, func(t *testing.T, e *engine) {
		d := newDeskOver(t, e.wire)
		e.must(t, "config/c", d.config())
		e.must(t, "config/other", with(standard(e.server(t, providertest.RFC6749, providertest.Options{})), fields{"reuse": false}))
		reader := soon(t, func() result { return e.read(t, "token/c") })
		visit := d.next(t)
		cleaned := make(chan struct{})
		go func() { e.backend.Cleanup(t.Context()); close(cleaned) }()
		eventually(t, "no mint starts any more", func() bool { return e.read(t, "token/other").err != nil })
		select {
		case <-cleaned:
			t.Fatal("Clean did not wait for the mint")
		default:
		}
		visit.token("late")
		<-cleaned
		if got := wait(t, reader).token(t); got != "late" {
			t.Errorf("the reader got %q", got)
		}
		if got := e.restart(t, secretOne).read(t, "token/c").token(t); got != "late" {
			t.Errorf("after a restart: %q", got)
		}
		asked(t, d.Server, 1)
	}, secretOne)
}

func TestCleanWaitsNoLongerThanFiveSeconds(t *testing.T) {
	overAWire(t, func(t *testing.T, e *engine) {
		d := newDeskOver(t, e.wire)
		e.must(t, "config/c", with(d.config(), fields{"request_timeout": 60}))
		reader := soon(t, func() result { return e.read(t, "token/c") })
		visit := d.next(t)
		start := time.Now()
		e.backend.Cleanup(t.Context())
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("Clean took %s", took)
		}
		visit.token("late")
		wait(t, reader)
	}, secretOne)
}
