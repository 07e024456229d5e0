// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// A token that was replaced before it expired stays valid, and readers may still use
// it. The kill switch revokes it as well.
func TestReplacedTokensLiveUntilTheKillSwitch(t *testing.T) {
	for name, replace := range map[string]func(t *testing.T, e *engine){
		"by its refresh": func(t *testing.T, e *engine) {
			e.clock.advance(50 * time.Minute)
			succeeded(t, e.read(t, "token/c"))
		},
		"behind a reader's back": func(t *testing.T, e *engine) {
			e.clock.advance(44 * time.Minute)
			old := e.read(t, "token/c").token(t)
			eventually(t, "it is replaced", func() bool { return e.read(t, "token/c").token(t) != old })
		},
		"by a reader who wants a fresh one": func(t *testing.T, e *engine) {
			for range 3 {
				e.clock.advance(time.Minute)
				succeeded(t, update(t, e, "token/c", fields{"fresh": true}))
			}
		},
		"by a reader who wants more life": func(t *testing.T, e *engine) {
			e.clock.advance(10 * time.Minute)
			succeeded(t, e.readWith(t, "token/c", fields{"min_ttl": "55m"}))
		},
		"by a check": func(t *testing.T, e *engine) { succeeded(t, update(t, e, "check/c", nil)) },
		"by a verified write": func(t *testing.T, e *engine) {
			e.clock.advance(time.Minute)
			e.must(t, "config/c", fields{"verify_connection": true})
		},
		"by the next process": func(t *testing.T, e *engine) {
			e.clock.advance(50 * time.Minute)
			*e = *e.restart(t)
			succeeded(t, e.read(t, "token/c"))
		},
	} {
		for restarted, again := range map[string]bool{"": false, ", and a restart": true} {
			t.Run(name+restarted, func(t *testing.T) {
				overAWire(t, func(t *testing.T, e *engine) {
					s := e.ofAProvider(t)
					old := e.read(t, "token/c").token(t)
					replace(t, e)
					if again || name == "by the next process" {
						e.aMinuteLater(t)
						e = e.restart(t)
					}
					if current := e.read(t, "token/c").token(t); current == old || !s.Valid(old) || s.RevocationRequests() != 0 {
						t.Fatal("it was not replaced, or those who have it have lost it")
					}
					succeeded(t, update(t, e, "revoke/c", nil))
					revoked, issued := s.Revoked(), s.Issued()
					slices.Sort(revoked)
					slices.Sort(issued)
					if !slices.Equal(revoked, issued) {
						t.Errorf("%d of %d tokens are revoked", len(revoked), len(issued))
					}
				})
			})
		}
	}
}

// A config that is read for days stores only the current token, and the one before
// until that one expires.
func TestReplacedTokensGoWhenTheyExpire(t *testing.T) {
	overAWire(t, func(t *testing.T, e *engine) {
		s := e.ofAProvider(t)
		for range 100 {
			succeeded(t, e.read(t, "token/c"))
			e.clock.advance(50 * time.Minute)
			e.periodic(t)
			eventually(t, "the one before, which has expired, is gone", func() bool { return len(e.below(t, "lease/")) == 0 })
		}
		succeeded(t, e.read(t, "token/c"))
		for key, value := range e.below(t, "lease/") {
			if !strings.Contains(value, s.Issued()[99]) || strings.Contains(value, s.Issued()[100]) {
				t.Errorf("%s is not of the token before", key)
			}
		}
		if s.RevocationRequests() != 0 || len(e.below(t, "token/")) != 1 {
			t.Error("something was revoked, or is left behind")
		}
		withoutSecrets(t, "the log", e.log.String(), s.Issued()...)
	})
}

// If the ledger cannot take the replaced token, readers still get the new one.
func TestReplacedTokenThatCannotBeNotedDown(t *testing.T) {
	overAWire(t, func(t *testing.T, e *engine) {
		e.ofAProvider(t)
		old := e.read(t, "token/c").token(t)
		e.clock.advance(50 * time.Minute)
		e.storage.onUse(failingOn(opPut, "lease/"))
		if e.read(t, "token/c").token(t) == old {
			t.Error("it is not replaced")
		}
		if !strings.Contains(e.log.String(), "the kill switch") {
			t.Error("nothing is said")
		}
	})
}

// A provider that returns the same token again has not replaced it.
func TestRepeatedTokenIsNotReplaced(t *testing.T) {
	e, p := repeating(t, fields{"reuse": true})
	for range 3 {
		succeeded(t, e.read(t, "token/c"))
		e.clock.advance(48 * time.Minute / 3)
	}
	succeeded(t, e.read(t, "token/c"))
	if len(e.below(t, "lease/")) != 0 || len(p.revocations()) != 0 {
		t.Errorf("noted down: %v", e.below(t, "lease/"))
	}
}
