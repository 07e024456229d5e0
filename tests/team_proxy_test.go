// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

const readers = 1000

// startProxy starts a Proxy that logs in by itself, for readers without a Vault
// token. It waits until the Proxy has logged in, and returns its address.
func startProxy(t *testing.T, v *harness.Vault, login appRole, more string) string {
	t.Helper()
	addr := harness.FreeAddr(t)
	harness.StartProxy(t, v, login.autoAuth()+fmt.Sprintf(`
api_proxy { use_auto_auth_token = "force" }
cache {}
listener "tcp" {
  address     = %q
  tls_disable = true
}
`, addr)+more)
	proxyLogsIn(t, addr)
	return addr
}

// proxyLogsIn waits until a Proxy has logged in. Before that, it does not cache.
func proxyLogsIn(t *testing.T, addr string) {
	t.Helper()
	harness.Eventually(t, time.Minute, func() error {
		got, err := via(t, http.DefaultClient, addr, http.MethodGet, "auth/token/lookup-self")
		if err == nil && got.status != http.StatusOK {
			err = fmt.Errorf("status %d: %s", got.status, got.raw)
		}
		return err
	})
}

// atOnce is the setting that makes a Proxy return errors without retries.
const atOnce = `vault { retry { num_retries = -1 } }`

// readAll lets many readers read a path at the same time, and returns how many
// got each access token.
func readAll(t *testing.T, addr, path string) map[string]int {
	t.Helper()
	transport := &http.Transport{MaxConnsPerHost: 64, MaxIdleConnsPerHost: 64}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var (
		wg  sync.WaitGroup
		mu  sync.Mutex
		got = map[string]int{}
	)
	for range readers {
		wg.Go(func() {
			r, err := via(t, client, addr, http.MethodGet, path)
			token, _ := r.Data["access_token"].(string)
			mu.Lock()
			defer mu.Unlock()
			if err != nil || r.status != http.StatusOK || token == "" {
				t.Errorf("a reader got %d %s (%v)", r.status, r.raw, err)
			}
			got[token]++
		})
	}
	wg.Wait()
	return got
}

// TestTeamProxy lets a thousand readers read through one Proxy.
func TestTeamProxy(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{LogLevel: "info"})
	v.MustCLI("auth", "enable", "approle")

	tests := map[string]func(*testing.T){}
	tests["renewable=true: one lease, one mint"] = func(t *testing.T) {
		v := v.For(t)
		s := standard(t, v, "renewable", providertest.Options{}, fields{"renewable": true})
		addr := startProxy(t, v, newAppRole(t, v, "renewable", "oauthcc/token/renewable"), atOnce)
		if got := readAll(t, addr, "oauthcc/token/renewable"); len(got) != 1 || s.IssuedCount() != 1 {
			t.Errorf("%d tokens handed out, %d minted, want 1 of each", len(got), s.IssuedCount())
		}
		if leases := v.List("sys/leases/lookup/oauthcc/token/renewable"); len(leases) != 1 {
			t.Errorf("%d leases, want 1", len(leases))
		}
		if n := audited(v, "read", "oauthcc/token/renewable"); n != 1 {
			t.Errorf("%d reads reached Vault, want 1", n)
		}
	}
	tests["leased=false: no lease, one mint"] = func(t *testing.T) {
		v := v.For(t)
		s := standard(t, v, "plain", providertest.Options{}, fields{"leased": false})
		addr := startProxy(t, v, newAppRole(t, v, "plain", "oauthcc/token/plain"), atOnce)
		if got := readAll(t, addr, "oauthcc/token/plain"); len(got) != 1 || s.IssuedCount() != 1 {
			t.Errorf("%d tokens handed out, %d minted, want 1 of each", len(got), s.IssuedCount())
		}
		if err := noLeases(t, v, "oauthcc/token/plain"); err != nil {
			t.Error(err)
		}
		t.Logf("%d reads reached Vault", audited(v, "read", "oauthcc/token/plain"))
	}
	for name, settings := range map[string]fields{"renewable": {"renewable": true}, "lease-less": {"leased": false}} {
		tests["no reader gets an expired token, "+name] = func(t *testing.T) {
			v := v.For(t)
			config := "rotates-" + name
			s := standard(t, v, config, providertest.Options{Lifetime: agentToken}, settings)
			addr := startProxy(t, v, newAppRole(t, v, config, "oauthcc/token/"+config), atOnce)
			tokens := map[string]bool{}
			reads, expired := 0, 0
			during(t, 100*time.Second, 50*time.Millisecond, func() {
				got, err := via(t, http.DefaultClient, addr, http.MethodGet, "oauthcc/token/"+config)
				if err != nil || got.status != http.StatusOK {
					t.Errorf("a reader got %d %s (%v)", got.status, got.raw, err)
					return
				}
				reads++
				token := got.text(t, "access_token")
				tokens[token] = true
				if !s.Valid(token) {
					expired++
				}
			})
			reached := audited(v, "read", "oauthcc/token/"+config)
			t.Logf("%d reads, %d of them reached Vault; %d mints", reads, reached, s.IssuedCount())
			if expired > 0 {
				t.Errorf("%d of %d reads gave an expired token", expired, reads)
			}
			// The Proxy may not have read the last token yet, if it was minted in the
			// background.
			if n := s.IssuedCount(); n < 3 || n > 5 || len(tokens) != n && len(tokens) != n-1 {
				t.Errorf("%d mints and %d tokens in 100 s, want one for each rotation", n, len(tokens))
			}
			if name == "renewable" && reached > 4*s.IssuedCount() {
				t.Errorf("%d reads reached Vault for %d tokens: the Proxy did not cache", reached, s.IssuedCount())
			}
		}
	}
	tests["num_retries=-1 answers errors at once"] = func(t *testing.T) {
		v := v.For(t)
		s := standard(t, v, "broken", providertest.Options{}, nil)
		s.Behave(providertest.Behavior{Status: http.StatusInternalServerError, Times: -1})
		login := newAppRole(t, v, "broken", "oauthcc/token/broken")
		addr := startProxy(t, v, login, atOnce)
		got, err := via(t, http.DefaultClient, addr, http.MethodGet, "oauthcc/token/broken")
		if err != nil {
			t.Fatal(err)
		}
		got.wants(t, http.StatusBadGateway, `config "broken"`)
		if n := audited(v, "read", "oauthcc/token/broken"); n != 1 {
			t.Errorf("%d requests reached Vault, want 1", n)
		}

		// Without the setting the Proxy retries, which is why the cookbook
		// mentions it.
		slow := startProxy(t, v, login, "")
		done := make(chan error, 1)
		go func() {
			_, err := via(t, http.DefaultClient, slow, http.MethodGet, "oauthcc/token/broken")
			done <- err
		}()
		harness.Eventually(t, time.Minute, func() error {
			if n := audited(v, "read", "oauthcc/token/broken"); n < 4 {
				return fmt.Errorf("%d requests reached Vault", n)
			}
			return nil
		})
		s.Behave(providertest.Behavior{}) // so that the read ends
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	tests["a mistake is answered at once by any Proxy"] = func(t *testing.T) {
		v := v.For(t)
		s := standard(t, v, "mistaken", providertest.Options{}, fields{"client_secret": "wrong"})
		addr := startProxy(t, v, newAppRole(t, v, "mistaken", "oauthcc/token/mistaken"), "")
		got, err := via(t, http.DefaultClient, addr, http.MethodGet, "oauthcc/token/mistaken")
		if err != nil {
			t.Fatal(err)
		}
		got.wants(t, http.StatusBadRequest, "client_secret")
		if n := audited(v, "read", "oauthcc/token/mistaken"); n != 1 || s.Requests() != 1 {
			t.Errorf("%d requests reached Vault and %d the provider, want 1", n, s.Requests())
		}
	}
	together(t, tests)
}
