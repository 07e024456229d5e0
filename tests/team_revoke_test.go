// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// Vault runs a mount's rollback once a minute. On average it retries a
// revocation after 20 s, 40 s and so on.
const rollbackTime = 3 * time.Minute

// revocable starts a server that follows RFC 6749, and writes a config whose
// tokens can be revoked.
func revocable(t *testing.T, v *harness.Vault, config string, o providertest.Options, more fields) *providertest.Server {
	t.Helper()
	s := standard(t, v, config, o, nil)
	write(t, v, "oauthcc/config/"+config, with(registration(providertest.RFC6749, s), with(fields{"revocation_url": s.RevocationURL()}, more)))
	return s
}

// slowRevoker is a provider that revokes tokens slowly and counts its requests.
type slowRevoker struct {
	config                            string
	now, most, issued, asked, revoked atomic.Int64
}

// newSlowRevoker starts a slowRevoker and writes a config for it.
func newSlowRevoker(t *testing.T, v *harness.Vault, config string, takes time.Duration, more fields) *slowRevoker {
	t.Helper()
	p := &slowRevoker{config: config}
	s := providertest.StartFunc(t, "/oauth/", func(w http.ResponseWriter, r *http.Request, _ []byte) {
		if strings.HasSuffix(r.URL.Path, "/token") {
			w.Header().Set("Content-Type", "application/json")
			say(w, fmt.Sprintf(`{"access_token":"token-%d","token_type":"Bearer","expires_in":3600}`, p.issued.Add(1)))
			return
		}
		p.asked.Add(1)
		n := p.now.Add(1)
		defer p.now.Add(-1)
		for had := p.most.Load(); n > had && !p.most.CompareAndSwap(had, n); had = p.most.Load() {
		}
		select { // other requests may arrive meanwhile
		case <-time.After(takes):
			p.revoked.Add(1)
		case <-r.Context().Done():
		}
	})
	write(t, v, "oauthcc/config/"+config, with(fields{
		"token_url": s.URL() + "/oauth/token", "revocation_url": s.URL() + "/oauth/revoke",
		"client_id": config, "client_secret": "a secret of " + config, "reuse": false,
	}, more))
	return p
}

// take reads n tokens.
func (p *slowRevoker) take(v *harness.Vault, n int) {
	eachJob(n, 8, func(int) { v.Status(http.MethodGet, "oauthcc/token/"+p.config, nil, v.RootToken()) })
}

// TestTeamRevocation tests what happens to leases whose tokens are revoked at
// the provider.
func TestTeamRevocation(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{LogLevel: "info"})

	tests := map[string]func(*testing.T){
		"CI jobs":                                runCI,
		"a token whose lease is lost in a crash": loseLease,
	}
	tests["as RFC 7009 says, by the config's client"] = func(t *testing.T) {
		v := v.For(t)
		s := revocable(t, v, "plain", providertest.Options{}, fields{"reuse": false})
		first, second := read(t, v, "oauthcc/token/plain"), read(t, v, "oauthcc/token/plain")
		token := first.text(t, "access_token")
		if token == second.text(t, "access_token") {
			t.Fatal("two readers share a token")
		}
		v.MustCLI("lease", "revoke", "-sync", first.LeaseID)
		if s.Valid(token) || !s.Valid(second.text(t, "access_token")) || !slices.Equal(s.Revoked(), []string{token}) {
			t.Errorf("revoked are %q, want %q", s.Revoked(), token)
		}
		form := s.Last().Form()
		if form.Get("token") != token || form.Get("token_type_hint") != "access_token" {
			t.Errorf("the provider was sent %v", form)
		}
	}
	tests["the provider fails at first: Vault tries again"] = func(t *testing.T) {
		v := v.For(t)
		s := revocable(t, v, "fails", providertest.Options{}, fields{"reuse": false})
		s.Behave(providertest.Behavior{Status: http.StatusInternalServerError, Times: -1, Revocation: true})
		got := read(t, v, "oauthcc/token/fails")
		fails(t, v.CLI("lease", "revoke", "-sync", got.LeaseID), "not revoked", `config "fails"`)
		v.MustCLI("lease", "revoke", got.LeaseID)
		harness.Eventually(t, time.Minute, func() error {
			if s.RevocationRequests() < 2 {
				return errors.New("the provider has not been asked twice")
			}
			return nil
		})
		if !s.Valid(got.text(t, "access_token")) {
			t.Error("the token is not valid, though the provider refused to revoke it")
		}
		s.Behave(providertest.Behavior{})
		harness.Eventually(t, rollbackTime, func() error {
			if s.Valid(got.text(t, "access_token")) {
				return errors.New("the token is still valid")
			}
			return noLeases(t, v, "oauthcc/token/fails")
		})
		noIrrevocable(t, v)
	}
	tests["at most eight at a time"] = func(t *testing.T) {
		v := v.For(t)
		const leases = 60
		p := newSlowRevoker(t, v, "many", 200*time.Millisecond, nil)
		p.take(v, leases)
		v.MustCLI("lease", "revoke", "-prefix", "oauthcc/token/many") // uses all of Vault's workers
		harness.Eventually(t, rollbackTime, func() error { return noLeases(t, v, "oauthcc/token/many") })
		if p.revoked.Load() != leases || p.issued.Load() != leases {
			t.Errorf("%d tokens, %d revocations, want %d", p.issued.Load(), p.revoked.Load(), leases)
		}
		if n := p.most.Load(); n > 8 || n < 2 {
			t.Errorf("%d revocations at a time, want at most 8, and more than one", n)
		}
		p.take(v, 10)
		v.MustCLI("lease", "revoke", "-sync", "-prefix", "oauthcc/token/many")
		if p.revoked.Load() != leases+10 {
			t.Errorf("after -sync %d of %d tokens are revoked", p.revoked.Load(), leases+10)
		}
		if n := p.most.Load(); n > 8 {
			t.Errorf("%d revocations at a time, want at most 8", n)
		}
		noIrrevocable(t, v)
	}
	tests["waiting for a turn at a slow provider is no failure"] = func(t *testing.T) {
		v := v.For(t)
		const leases = 60 // the last one waits for about 14 s
		p := newSlowRevoker(t, v, "slow", 2*time.Second, fields{"request_timeout": 12})
		p.take(v, leases)
		v.MustCLI("lease", "revoke", "-prefix", "oauthcc/token/slow")
		harness.Eventually(t, rollbackTime, func() error { return noLeases(t, v, "oauthcc/token/slow") })
		// A failed attempt costs at least ten seconds. After the sixth, Vault
		// gives up on the lease.
		if asked := p.asked.Load(); asked != leases || p.revoked.Load() != leases {
			t.Errorf("the provider was asked %d times, and revoked %d tokens, want %d", asked, p.revoked.Load(), leases)
		}
		failed := 0
		for line := range strings.Lines(v.Log()) {
			if strings.Contains(line, "failed to revoke lease") && strings.Contains(line, "oauthcc/token/slow/") {
				failed++
			}
		}
		if failed > 0 {
			t.Errorf("%d revocations failed", failed)
		}
	}
	tests["what can no longer be revoked leaves no lease behind"] = func(t *testing.T) {
		v := v.For(t)
		gone := revocable(t, v, "gone", providertest.Options{}, fields{"reuse": false})
		for range 3 {
			read(t, v, "oauthcc/token/gone")
		}
		v.Delete("oauthcc/config/gone")
		if len(gone.Revoked()) != 3 {
			t.Errorf("the config went before its tokens: %d of 3 are revoked", len(gone.Revoked()))
		}
		v.MustCLI("lease", "revoke", "-sync", "-prefix", "oauthcc/token/gone")
		if err := noLeases(t, v, "oauthcc/token/gone"); err != nil {
			t.Errorf("the config is gone, and %v", err)
		}
		if gone.RevocationRequests() != 3 {
			t.Error("without the config the provider cannot have been asked")
		}

		// Tokens that expire while the provider fails.
		expires := revocable(t, v, "expires", providertest.Options{Lifetime: 5 * time.Second}, fields{"reuse": false})
		expires.Behave(providertest.Behavior{Status: http.StatusInternalServerError, Times: -1, Revocation: true})
		for range 3 {
			read(t, v, "oauthcc/token/expires")
		}
		harness.Eventually(t, rollbackTime, func() error { return noLeases(t, v, "oauthcc/token/expires") })

		// A provider that does not find the token.
		unknown := revocable(t, v, "unknown", providertest.Options{}, fields{"reuse": false})
		unknown.Behave(providertest.Behavior{Status: http.StatusBadRequest, Body: `{"error":"invalid_token"}`, Times: -1, Revocation: true})
		read(t, v, "oauthcc/token/unknown")
		v.MustCLI("lease", "revoke", "-sync", "-prefix", "oauthcc/token/unknown")
		noIrrevocable(t, v)
	}
	tests["200 reads with a kill of the plugin among them: none outlives revoke/"] = func(t *testing.T) {
		v := harness.Start(t, harness.Options{LogLevel: "info"})
		s := revocable(t, v, "many", providertest.Options{}, fields{"reuse": false})
		eachJob(jobs, 8, func(i int) {
			if i == jobs/2 {
				v.KillPlugin()
			}
			v.Status(http.MethodGet, "oauthcc/token/many", nil, v.RootToken()) // some fail because of the kill
		})
		killed := write(t, v, "oauthcc/revoke/many", nil)
		// Nobody can revoke a token that the provider had issued at the moment
		// of the kill and that the engine never learnt of.
		outlived := func() error {
			valid := 0
			for _, token := range s.Issued() {
				if s.Valid(token) {
					valid++
				}
			}
			if valid > 8 {
				return fmt.Errorf("%d of %d tokens outlived revoke/, want at most those that were under way at the kill", valid, s.IssuedCount())
			}
			return nil
		}
		if killed.status == http.StatusOK { // after ten seconds, it says what it goes on with in the background
			killed.wants(t, http.StatusOK, "are not revoked at the provider")
			harness.Eventually(t, rollbackTime, outlived)
		} else if err := outlived(); err != nil {
			t.Error(err)
		}
		v.MustCLI("lease", "revoke", "-sync", "-prefix", "oauthcc/token/many")
		noIrrevocable(t, v)
	}
	tests["revoke/ goes on trying, in the next process as well"] = func(t *testing.T) {
		v := harness.Start(t, harness.Options{LogLevel: "info"})
		s := revocable(t, v, "later", providertest.Options{}, fields{"reuse": false})
		write(t, v, "oauthcc/role/later/shared", fields{"reuse": true})
		for range 3 {
			read(t, v, "oauthcc/token/later")
		}
		read(t, v, "oauthcc/token/later/shared")
		s.Behave(providertest.Behavior{Status: http.StatusInternalServerError, Times: -1, Revocation: true})
		write(t, v, "oauthcc/revoke/later", nil).wants(t, http.StatusOK, "4 of 4 tokens are not revoked")
		v.KillPlugin()
		s.Behave(providertest.Behavior{})
		harness.Eventually(t, rollbackTime, func() error {
			if n := len(s.Revoked()); n != 4 {
				return fmt.Errorf("%d of 4 tokens are revoked", n)
			}
			return nil
		})
		write(t, v, "oauthcc/revoke/later", nil).wants(t, http.StatusNoContent)
	}
	tests["revoke/ ends shared tokens"] = func(t *testing.T) {
		v := v.For(t)
		s := revocable(t, v, "shared", providertest.Options{Scopes: []string{"read", "write"}}, fields{"scopes": "read,write"})
		write(t, v, "oauthcc/role/shared/readers", fields{"scopes": "read"})
		all := read(t, v, "oauthcc/token/shared").text(t, "access_token")
		narrow := read(t, v, "oauthcc/token/shared/readers").text(t, "access_token")
		v.MustCLI("write", "-force", "oauthcc/revoke/shared")
		if s.Valid(all) || s.Valid(narrow) || len(s.Revoked()) != 2 {
			t.Errorf("the provider revoked %q, want both", s.Revoked())
		}
		next := read(t, v, "oauthcc/token/shared").text(t, "access_token")
		if next == all || !s.Valid(next) || s.IssuedCount() != 3 {
			t.Errorf("after it a reader gets %q of %d", next, s.IssuedCount())
		}
		// Leases of dead tokens are revoked without a request to the provider.
		v.MustCLI("lease", "revoke", "-sync", "-prefix", "oauthcc/token/shared")
		if s.RevocationRequests() != 2 || !s.Valid(next) {
			t.Errorf("the leases cost %d revocations", s.RevocationRequests()-2)
		}
		// If the provider fails, the token is forgotten nevertheless, and a
		// warning says so.
		s.Behave(providertest.Behavior{Status: http.StatusInternalServerError, Times: -1, Revocation: true})
		before := s.IssuedCount()
		write(t, v, "oauthcc/revoke/shared", nil).wants(t, http.StatusOK, "may live on")
		if token := read(t, v, "oauthcc/token/shared").text(t, "access_token"); token == next || s.IssuedCount() != before+1 {
			t.Error("a forgotten token was handed out again")
		}
		ask(t, v, http.MethodPost, "oauthcc/revoke/nothere", nil).wants(t, http.StatusBadRequest, `no config "nothere"`)
	}
	tests["revoke/ ends tokens that live on though nobody else gets them"] = func(t *testing.T) {
		v := v.For(t)
		s := revocable(t, v, "past", providertest.Options{Scopes: []string{"read", "write"}}, fields{"scopes": "read,write"})
		tokens := []string{read(t, v, "oauthcc/token/past").text(t, "access_token")}
		write(t, v, "oauthcc/config/past", fields{"scopes": "read"}) // the engine forgets the token
		tokens = append(tokens, read(t, v, "oauthcc/token/past").text(t, "access_token"))
		write(t, v, "oauthcc/check/past", nil) // replaces the second token
		tokens = append(tokens, read(t, v, "oauthcc/token/past").text(t, "access_token"))
		for i, token := range tokens {
			if !s.Valid(token) || s.IssuedCount() != len(tokens) {
				t.Fatalf("token %d of %d is revoked already: %t", i+1, s.IssuedCount(), !s.Valid(token))
			}
		}
		write(t, v, "oauthcc/revoke/past", nil).wants(t, http.StatusNoContent)
		for i, token := range tokens {
			if s.Valid(token) {
				t.Errorf("token %d of %d outlived revoke/", i+1, len(tokens))
			}
		}
	}
	tests["a token that is minted while its config is deleted is revoked"] = func(t *testing.T) {
		v := v.For(t)
		s := revocable(t, v, "deleted", providertest.Options{}, fields{"request_timeout": "60s"})
		answer := make(chan struct{})
		s.Behave(providertest.Behavior{Until: answer})
		reader := make(chan int, 1)
		go func() {
			status, _ := v.Status(http.MethodGet, "oauthcc/token/deleted", nil, v.RootToken())
			reader <- status
		}()
		harness.Eventually(t, time.Minute, func() error {
			if s.Requests() == 0 {
				return errors.New("the provider has not been asked")
			}
			return nil
		})
		v.MustCLI("delete", "oauthcc/config/deleted")
		close(answer)
		if status := <-reader; status != http.StatusBadRequest {
			t.Errorf("the reader got %d", status)
		}
		harness.Eventually(t, time.Minute, func() error {
			if s.IssuedCount() != 1 || s.Valid(s.Issued()[0]) {
				return errors.New("the token is still valid")
			}
			return nil
		})
	}
	together(t, tests)
}
