// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// TestLifeFallbackSecret: a secret can be rotated without downtime.
func TestLifeFallbackSecret(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	const warning = "fallback_client_secret"
	used := func(t *testing.T, config string) bool {
		t.Helper()
		used, ok := read(t, v.For(t), "oauthcc/status/"+config).Data["fallback_secret_used"].(bool)
		if !ok {
			t.Error("status does not say whether the fallback secret was used")
		}
		return used
	}
	s := standard(t, v, "rotated", providertest.Options{ClientSecret: "the old one"}, nil)
	read(t, v, "oauthcc/token/rotated")
	s.Reset()

	t.Run("the operator is first", func(t *testing.T) {
		v := v.For(t)
		write(t, v, "oauthcc/config/rotated", fields{"client_secret": "the new one", "fallback_client_secret": "the old one"})
		for range 2 { // first minted, then from memory
			r := read(t, v, "oauthcc/token/rotated")
			issuedBy(t, s, r.accessToken())
			if !r.warned(warning) || strings.Contains(r.raw, "the old one") || strings.Contains(r.raw, "the new one") {
				t.Errorf("the answer does not warn, or tells a secret: %s", r.raw)
			}
		}
		if !used(t, "rotated") || s.Requests() != 2 {
			t.Errorf("status says that it was used: %v; the provider saw %d requests, want 2", used(t, "rotated"), s.Requests())
		}
		check := ask(t, v, http.MethodPost, "oauthcc/check/rotated", nil)
		check.wants(t, http.StatusOK)
		if check.Data["fallback_secret_used"] != true || s.Requests() != 4 {
			t.Errorf("check, after %d requests: %v", s.Requests(), check.Data)
		}
		crash(t, v)
		if r := read(t, v, "oauthcc/token/rotated"); !r.warned(warning) || s.Requests() != 4 {
			t.Errorf("after a crash, %d requests, warnings %q", s.Requests(), r.Warnings)
		}
	})
	t.Run("then the provider follows", func(t *testing.T) {
		v := v.For(t)
		s.SetCredentials(providertest.Credentials{ClientSecret: "the new one"})
		s.Reset()
		write(t, v, "oauthcc/revoke/rotated", nil)
		r := read(t, v, "oauthcc/token/rotated")
		issuedBy(t, s, r.accessToken())
		if r.warned(warning) || used(t, "rotated") || s.Requests() != 1 {
			t.Errorf("%d requests, warnings %q, used %v", s.Requests(), r.Warnings, used(t, "rotated"))
		}
	})
	t.Run("it is tried only when the client is refused", func(t *testing.T) {
		v := v.For(t)
		for i, b := range []providertest.Behavior{
			{Status: 400, Body: `{"error":"invalid_scope"}`},
			{Status: 403, Body: `{"error":"access_denied"}`},
			{Status: 500, Body: `{"error":"server_error"}`},
		} {
			config := fmt.Sprintf("other%d", i)
			s := standard(t, v, config, providertest.Options{}, fields{"fallback_client_secret": "never sent"})
			s.Behave(b)
			if r := tryRead(v, "oauthcc/token/"+config); r.status == http.StatusOK || s.Requests() != 1 {
				t.Errorf("%s: %d requests, and the answer is %d", b.Body, s.Requests(), r.status)
			}
		}
	})
	t.Run("where both are refused the provider is asked twice, and not again", func(t *testing.T) {
		v := v.For(t)
		s := standard(t, v, "neither", providertest.Options{}, fields{"client_secret": "wrong", "fallback_client_secret": "wrong as well"})
		for range 3 {
			tryRead(v, "oauthcc/token/neither").wants(t, http.StatusBadRequest, "invalid_client", "fallback_client_secret", "next attempt from")
		}
		if s.Requests() != 2 {
			t.Errorf("the provider saw %d requests, want 2", s.Requests())
		}
	})
}

// TestLifeRefreshTokens: a refresh token that can be used once is never lost
// and never used twice.
func TestLifeRefreshTokens(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{Storage: harness.Raft})
	own := fields{"reuse": false} // every read is a mint
	interruptions := []struct {
		name string
		do   func(v *harness.Vault)
	}{
		{"nothing", func(*harness.Vault) {}},
		{"kill -9 of the plugin", (*harness.Vault).KillPlugin},
		{"a reload of the plugin", (*harness.Vault).ReloadPlugin},
		{"a restart of Vault", (*harness.Vault).Restart},
		{"seal and unseal", func(v *harness.Vault) { v.Seal(); v.Unseal() }},
		{"kill -9 of Vault", func(v *harness.Vault) { v.Kill9(); v.Restart() }},
	}

	chain := chained(t, v, "chain", own)
	semansys := providertest.Start(t, providertest.Semansys, providertest.Options{Lifetime: 5 * time.Second, RotateRefreshTokens: true})
	write(t, v, "oauthcc/config/semansys", registration(providertest.Semansys, semansys))
	read(t, v, "oauthcc/token/semansys")
	for i, interruption := range interruptions {
		t.Run("survive "+interruption.name, func(t *testing.T) {
			v := v.For(t)
			issued, refreshed := semansys.IssuedCount(), grants(semansys)["refresh_token"]
			interruption.do(v)
			answering(t, v)
			for range 2 {
				r := tryRead(v, "oauthcc/token/chain")
				r.wants(t, http.StatusOK)
				issuedBy(t, chain, r.accessToken())
			}
			if seen := grants(chain); chain.IssuedCount() != 2*(i+1) || seen["refresh_token"] != 2*(i+1) || len(seen) != 1 {
				t.Errorf("after %d reads %d tokens were issued, and the provider saw %v", 2*(i+1), chain.IssuedCount(), seen)
			}
			// The other config's token is renewed when it is old enough.
			harness.Eventually(t, time.Minute, func() error {
				r := tryRead(v, "oauthcc/token/semansys")
				r.wants(t, http.StatusOK)
				// Once the new token has been handed out, it is stored. The
				// next kill therefore cannot lose the provider's answer.
				if all := semansys.Issued(); len(all) == issued || r.accessToken() != all[len(all)-1] {
					return fmt.Errorf("not renewed yet")
				}
				return nil
			})
			if seen := grants(semansys); seen["password"] != 1 || seen["refresh_token"] <= refreshed {
				t.Errorf("the provider saw %v, want the password once and then refresh tokens", seen)
			}
		})
	}

	t.Run("are used one after the other, however many read", func(t *testing.T) {
		v := v.For(t)
		chain.Reset()
		const n = 20
		var readers []<-chan sample
		for range n {
			readers = append(readers, readLater(v, "oauthcc/token/chain"))
		}
		for _, reader := range readers {
			r := <-reader
			r.wants(t, http.StatusOK)
		}
		if chain.IssuedCount() != n || chain.Requests() != n {
			t.Errorf("%d readers: %d requests, %d tokens", n, chain.Requests(), chain.IssuedCount())
		}
	})
	t.Run("are stored before anybody has the access token", func(t *testing.T) {
		v := v.For(t)
		chain.Reset()
		for range 3 {
			tryRead(v, "oauthcc/token/chain").wants(t, http.StatusOK)
			crash(t, v)
		}
		tryRead(v, "oauthcc/token/chain").wants(t, http.StatusOK)
	})
	t.Run("that the provider refuses are an error that says what to write", func(t *testing.T) {
		v := v.For(t)
		s := chained(t, v, "broken", own)
		s.Behave(providertest.Behavior{Status: http.StatusBadRequest, Body: `{"error":"invalid_grant"}`})
		tryRead(v, "oauthcc/token/broken").wants(t, http.StatusBadRequest, "invalid_grant", "write a new refresh_token to the config")
		if s.Requests() != 1 {
			t.Errorf("%d requests, want 1", s.Requests())
		}
		write(t, v, "oauthcc/config/broken", fields{"refresh_token": firstRefreshToken(t, s)})
		tryRead(v, "oauthcc/token/broken").wants(t, http.StatusOK)
		tryRead(v, "oauthcc/token/broken").wants(t, http.StatusOK)
	})
}

// graceful is a provider that rotates refresh tokens as real ones do. It
// accepts the previous refresh token until its successor has been used, because
// an answer may get lost.
type graceful struct {
	*providertest.Server

	mu      sync.Mutex
	current int // the number of the next refresh token to use
	again   int // how often the previous one was used again
	refused []string
}

// newGraceful starts one whose tokens live for that many seconds.
func newGraceful(t *testing.T, lifetime int) *graceful {
	t.Helper()
	g := &graceful{}
	var issued counter
	g.Server = providertest.StartFunc(t, "/token", func(w http.ResponseWriter, r *http.Request, _ []byte) {
		sent := r.PostFormValue("refresh_token")
		dawdle(r.Context())
		defer dawdle(r.Context()) // before the answer is sent
		g.mu.Lock()
		switch sent {
		case refreshToken(g.current):
			g.current++
		case refreshToken(g.current - 1):
			g.again++
		default:
			g.refused = append(g.refused, sent)
			g.mu.Unlock()
			w.WriteHeader(http.StatusBadRequest)
			say(w, `{"error":"invalid_grant"}`)
			return
		}
		next := refreshToken(g.current)
		g.mu.Unlock()
		say(w, fmt.Sprintf(`{"access_token":%q,"expires_in":%d,"refresh_token":%q}`, issued.next("token"), lifetime, next))
	})
	return g
}

// dawdle waits a short random time, so that a kill can hit a request in
// progress.
func dawdle(ctx context.Context) {
	select {
	case <-time.After(rand.N(60 * time.Millisecond)):
	case <-ctx.Done():
	}
}

func refreshToken(number int) string { return fmt.Sprintf("refresh-token-number-%d", number) }

func (g *graceful) state() (uses, again int, refused []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.current, g.again, slices.Clone(g.refused)
}

// TestLifeChainUnderFire kills the plugin at random moments while the tokens of
// a chain are read.
func TestLifeChainUnderFire(t *testing.T) {
	t.Parallel()
	together(t, map[string]func(*testing.T){
		"a token for each reader": func(t *testing.T) { underFire(t, 30, 3600, fields{"reuse": false}) },
		// A min_ttl of 1 makes a token of three seconds last less than two.
		"tokens that are shared": func(t *testing.T) { underFire(t, 12, 3, fields{"min_ttl": 1}) },
	})
}

func underFire(t *testing.T, tokens, lifetime int, config fields) {
	v := harness.Start(t, harness.Options{LogLevel: "warn"})
	g := newGraceful(t, lifetime)
	write(t, v, "oauthcc/config/chain", with(config, fields{
		"token_url": g.TokenURL(), "client_id": "a", "client_secret": "b",
		"grant_type": "refresh_token", "refresh_token": refreshToken(0),
	}))

	// Vault starts the plugin again when a request finds it gone. If a plugin
	// is killed while Vault is starting it, it may stay away until an operator
	// reloads it. That is true of every plugin (Vault 1.21). Each kill
	// therefore waits until a read has succeeded after the previous kill.
	var struck, gone, served atomic.Int64
	lost, seen := 0, map[string]bool{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		last := time.Now()
		for len(seen) < tokens {
			shot := gone.Load()
			switch r := tryRead(v, "oauthcc/token/chain"); {
			case r.status == http.StatusOK:
				seen[r.accessToken()] = true
				served.Store(shot)
				last = r.ended
			case r.status == http.StatusInternalServerError && struck.Load() != served.Load():
				lost++
				if away := time.Since(last); away > 20*time.Second {
					t.Errorf("after %d tokens, the plugin has been away for %s: %d %s", len(seen), away, r.status, r.raw)
					return
				}
			default:
				t.Errorf("after %d tokens: %d %s", len(seen), r.status, r.raw)
				return
			}
		}
	}()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for firing := true; firing; {
		select {
		case <-done:
			firing = false
		case <-time.After(time.Duration(random.IntN(250)) * time.Millisecond):
			if served.Load() != struck.Load() {
				continue
			}
			struck.Add(1)
			v.KillPlugin()
			gone.Add(1)
		}
	}
	shots := int(struck.Load())
	answering(t, v)
	tryRead(v, "oauthcc/token/chain").wants(t, http.StatusOK)
	uses, again, refused := g.state()
	t.Logf("seed %d: %d kills, %d reads lost, %d tokens read, %d refresh tokens used, %d of them again", seed, shots, lost, len(seen), uses, again)
	if len(refused) != 0 {
		t.Errorf("the chain broke at refresh token %d: sent were %q", uses, refused)
	}
	if again > shots { // only a crash may lose an answer, and only one
		t.Errorf("%d refresh tokens were used again after %d kills", again, shots)
	}
	if shots < 3 {
		t.Errorf("only %d kills", shots)
	}
}
