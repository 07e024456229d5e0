// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

const jobs = 200

// eachJob runs n jobs, atATime of them at a time.
func eachJob(n, atATime int, job func(int)) {
	var wg sync.WaitGroup
	places := make(chan struct{}, atATime)
	for i := range n {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			job(i)
		})
	}
	wg.Wait()
}

// ciJob does what a CI job does: it gets its own Vault token, reads an access
// token, and revokes its Vault token. It repeats the read while Vault has no
// running plugin.
func ciJob(t *testing.T, v *harness.Vault, policy, path string) (accessToken string, err error) {
	t.Helper()
	created, err := v.Client().Auth().Token().CreateWithContext(t.Context(), &api.TokenCreateRequest{Policies: []string{policy}, TTL: "5m"})
	if err != nil {
		return "", err
	}
	job := v.ClientWith(created.Auth.ClientToken)
	secret, err := job.Logical().ReadWithContext(t.Context(), path)
	for deadline := time.Now().Add(time.Minute); err != nil && time.Now().Before(deadline); {
		var answer *api.ResponseError
		if !errors.As(err, &answer) || answer.StatusCode != http.StatusInternalServerError {
			return "", err
		}
		secret, err = job.Logical().ReadWithContext(t.Context(), path)
	}
	if err != nil {
		return "", err
	}
	accessToken, _ = secret.Data["access_token"].(string)
	return accessToken, job.Auth().Token().RevokeSelfWithContext(t.Context(), "")
}

// runCI runs many jobs, each with a short-lived Vault token for one read.
func runCI(t *testing.T) {
	t.Helper()
	v := harness.Start(t, harness.Options{LogLevel: "info"})
	v.Policy("ci", `path "oauthcc/token/*" { capabilities = ["read"] }`)

	t.Run("a shared token: one mint, no revocation", func(t *testing.T) {
		v := v.For(t)
		s := revocable(t, v, "shared", providertest.Options{}, nil)
		eachJob(jobs, 8, func(int) {
			token, err := ciJob(t, v, "ci", "oauthcc/token/shared")
			if err != nil || !s.Valid(token) {
				t.Errorf("a job got %q: %v", token, err)
			}
		})
		harness.Eventually(t, time.Minute, func() error { return noLeases(t, v, "oauthcc/token/shared") })
		if s.IssuedCount() != 1 || s.RevocationRequests() != 0 || len(s.Revoked()) != 0 {
			t.Errorf("%d mints and %d revocations, want 1 and none", s.IssuedCount(), s.RevocationRequests())
		}
		if token := read(t, v, "oauthcc/token/shared").text(t, "access_token"); !s.Valid(token) || s.IssuedCount() != 1 {
			t.Error("the shared token did not outlive the jobs")
		}
	})
	t.Run("tokens of their own: each is revoked, also after a crash in the middle", func(t *testing.T) {
		v := v.For(t)
		s := revocable(t, v, "own", providertest.Options{}, fields{"reuse": false})
		half, crashed, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			eachJob(jobs, 8, func(i int) {
				if i == jobs/2 {
					close(half)
					<-crashed
				}
				token, err := ciJob(t, v, "ci", "oauthcc/token/own")
				if err != nil || token == "" {
					t.Errorf("job %d got %q: %v", i, token, err)
				}
			})
		}()
		<-half
		// The provider answers slowly from now on. At the crash, mints and
		// revocations are therefore in progress, and no token has been issued
		// that the engine could not learn of.
		s.Behave(providertest.Behavior{Delay: time.Minute, Times: -1}, providertest.Behavior{Delay: time.Minute, Times: -1, Revocation: true})
		harness.Eventually(t, time.Minute, func() error {
			if under := s.Requests() - s.IssuedCount(); under < 7 {
				return fmt.Errorf("%d mints are under way", under)
			}
			return nil
		})
		s.Behave(providertest.Behavior{}) // for the next process; those under way stay slow
		v.KillPlugin()
		close(crashed)
		<-done
		harness.Eventually(t, rollbackTime, func() error {
			if issued, revoked := s.IssuedCount(), len(s.Revoked()); issued != revoked {
				return fmt.Errorf("%d tokens issued, %d revoked", issued, revoked)
			}
			return noLeases(t, v, "oauthcc/token/own")
		})
		if s.IssuedCount() != jobs {
			t.Errorf("%d mints for %d jobs", s.IssuedCount(), jobs)
		}
		for _, token := range s.Issued() {
			if s.Valid(token) {
				t.Errorf("token %q is left over", token)
			}
		}
		noIrrevocable(t, v)
	})
}

// loseLease kills the plugin after a mint, and then loses the token's lease.
// The rollback that Vault runs every minute must revoke the token.
func loseLease(t *testing.T) {
	t.Helper()
	v := harness.Start(t, harness.Options{LogLevel: "info", Config: `raw_storage_endpoint = true`})
	s := revocable(t, v, "orphan", providertest.Options{}, fields{"reuse": false})
	mount, _ := member(v.Read("sys/mounts").Data, "oauthcc/", "uuid").(string)
	ledger := "sys/raw/logical/" + mount + "/lease/orphan"
	// unleased counts the entries for tokens without a registered lease.
	var unleased func(dir string) int
	unleased = func(dir string) int {
		n := 0
		for _, name := range v.List(dir) {
			if strings.HasSuffix(name, "/") {
				n += unleased(dir + "/" + strings.TrimSuffix(name, "/"))
				continue
			}
			entry, err := v.Client().Logical().ReadWithContext(t.Context(), dir+"/"+name)
			if err != nil {
				t.Fatal(err)
			}
			if entry == nil {
				continue // the engine deleted it meanwhile
			}
			if value, _ := entry.Data["value"].(string); !strings.Contains(value, `"leased":true`) {
				n++
			}
		}
		return n
	}
	var orphan string
	for attempt := 0; ; attempt++ {
		orphan = read(t, v, "oauthcc/token/orphan").text(t, "access_token")
		v.KillPlugin() // on a fast enough machine, before the plugin marks the token as leased
		if unleased(ledger) > 0 {
			break
		}
		if attempt == 20 {
			t.Fatal("no entry is ever without a lease right after a mint")
		}
		answering(t, v)
	}
	// Lose the lease: remove it by force while the provider refuses
	// revocations.
	s.Behave(providertest.Behavior{Status: http.StatusInternalServerError, Times: -1, Revocation: true})
	v.MustCLI("lease", "revoke", "-force", "-prefix", "oauthcc/token/orphan")
	harness.Eventually(t, time.Minute, func() error { return noLeases(t, v, "oauthcc/token/orphan") })
	if !s.Valid(orphan) {
		t.Fatal("the token did not outlive its lease")
	}
	s.Behave(providertest.Behavior{})
	harness.Eventually(t, rollbackTime, func() error {
		if s.Valid(orphan) {
			return errors.New("the orphan is still valid")
		}
		if left := unleased(ledger); left > 0 {
			return fmt.Errorf("%d entries without a lease are left", left)
		}
		return nil
	})
	// A token in use must be marked as leased, because it would otherwise be
	// revoked while its reader uses it.
	used := read(t, v, "oauthcc/token/orphan").text(t, "access_token")
	harness.Eventually(t, time.Minute, func() error {
		if left := unleased(ledger); left > 0 {
			return fmt.Errorf("%d entries of tokens in use are not left to their leases", left)
		}
		return nil
	})
	if !s.Valid(used) {
		t.Error("a token in use was revoked")
	}
}
