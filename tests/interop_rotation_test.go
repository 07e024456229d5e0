// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// signingNow returns the kid of the key version that signs now, and reports
// whether another version is waiting to sign.
func signingNow(t *testing.T, v *harness.Vault, key string) (kid string, waits bool) {
	t.Helper()
	versions, _ := read(t, v, "oauthcc/key/"+key).Data["keys"].([]any)
	for _, version := range versions {
		switch member(version, "state") {
		case "current":
			kid, _ = member(version, "kid").(string)
		case "next":
			waits = true
		}
	}
	return kid, waits
}

// load is a group of readers who read a token continuously.
type load struct {
	reads atomic.Int64
	done  chan struct{}
	group sync.WaitGroup
}

// underLoad lets four readers read a token until it is stopped. Each read must
// succeed.
func underLoad(t *testing.T, v *harness.Vault, config string) *load {
	t.Helper()
	l := &load{done: make(chan struct{})}
	for range 4 {
		l.group.Go(func() {
			for {
				select {
				case <-l.done:
					return
				case <-time.After(50 * time.Millisecond):
				}
				if status, raw := v.Status(http.MethodGet, "oauthcc/token/"+config, nil, v.RootToken()); status != http.StatusOK {
					t.Errorf("a read is %d: %s", status, raw)
				}
				l.reads.Add(1)
			}
		})
	}
	t.Cleanup(l.stop) // also if the test fails meanwhile
	return l
}

// more waits until n more reads have been made.
func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	until := l.reads.Load() + n
	harness.Eventually(t, time.Minute, func() error {
		if l.reads.Load() < until {
			return errors.New("too few reads")
		}
		return nil
	})
}

func (l *load) stop() {
	select {
	case <-l.done:
	default:
		close(l.done)
	}
	l.group.Wait()
}

// issued returns an error as long as the server has not issued that many tokens
// for assertions with those kids.
func (c certified) issued(client fields, want map[string]int) error {
	id, _ := client["client_id"].(string)
	got := map[string]int{}
	for _, e := range c.p.EventsOf(id) {
		if e.Event == "issued" {
			got[e.KID]++
		}
	}
	for kid, n := range want {
		if got[kid] < n {
			return fmt.Errorf("%d tokens were issued by the key %s, not yet %d", got[kid], kid, n)
		}
	}
	return nil
}

// TestInteropRotation rotates a key while every read mints a token. The server
// fetches the client's JWK set from the engine and caches it for at least a
// minute. It would refuse a key version that signs before it has been published
// for that long.
func TestInteropRotation(t *testing.T) {
	t.Parallel()
	c := startCertified(t)

	t.Run("no request is refused meanwhile", func(t *testing.T) {
		c := c.For(t)
		write(t, c.v, "oauthcc/key/rotating", fields{"algorithm": "ES256", "publish_ahead": "1h", "retain": "1h"})
		client := c.register(t, "rotating", "private_key_jwt", fields{"jwks_uri": c.jwksURI("rotating")}, fields{"signing_key": "rotating", "reuse": false})
		before, _ := signingNow(t, c.v, "rotating")
		write(t, c.v, "oauthcc/key/rotating/rotate", nil)
		if kid, waits := signingNow(t, c.v, "rotating"); kid != before || !waits {
			t.Fatalf("the next version signs at once: %s after %s", kid, before)
		}

		// The server now caches a set that holds the next version, whose turn comes
		// when the old one has signed often enough.
		l := underLoad(t, c.v, "rotating")
		harness.Eventually(t, time.Minute, func() error { return c.issued(client, map[string]int{before: 10}) })
		write(t, c.v, "oauthcc/key/rotating/rotate", fields{"now": true})
		after, _ := signingNow(t, c.v, "rotating")
		if after == before {
			t.Fatalf("the version %s still signs", before)
		}
		harness.Eventually(t, time.Minute, func() error { return c.issued(client, map[string]int{after: 10}) })
		l.stop()
		id, _ := client["client_id"].(string)
		for _, e := range c.p.EventsOf(id) {
			if e.Event != "issued" {
				t.Errorf("the server refused: %+v", e)
			}
		}
	})
	t.Run("a version that signs before it was published is refused by its kid", func(t *testing.T) {
		c := c.For(t)
		write(t, c.v, "oauthcc/key/compromised", fields{"algorithm": "RS256"})
		client := c.register(t, "compromised", "private_key_jwt", fields{"jwks_uri": c.jwksURI("compromised")}, fields{"signing_key": "compromised", "reuse": false})
		c.mints(t, "compromised", client)
		write(t, c.v, "oauthcc/key/compromised/rotate", fields{"now": true})
		kid, _ := signingNow(t, c.v, "compromised")
		c.refused(t, "compromised", client, "no applicable key found", "HTTP 401", "invalid_client", `kid "`+kid+`"`)
	})
	t.Run("the set is raw, cacheable, and needs no token", func(t *testing.T) {
		c := c.For(t)
		write(t, c.v, "oauthcc/key/open", fields{"algorithm": "EdDSA"})
		status, header, raw := c.v.Do(http.MethodGet, "oauthcc/jwks/open", nil, "")
		var set struct{ Keys []fields }
		if err := json.Unmarshal(raw, &set); err != nil || status != http.StatusOK || len(set.Keys) != 1 {
			t.Fatalf("%d %s: %v", status, raw, err)
		}
		if kind, cache := header.Get("Content-Type"), header.Get("Cache-Control"); kind != "application/jwk-set+json" || cache != "public, max-age=3600" {
			t.Errorf("Content-Type %q, Cache-Control %q", kind, cache)
		}
		if _, private := set.Keys[0]["d"]; private {
			t.Error("the set holds a private key")
		}
	})
}
