// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// TestNothingIsLost interrupts the plugin in every way. Everything that was
// written is there afterwards, and a usable token is served without another
// mint.
func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{Storage: harness.Raft, TLS: true})
	interruptions := []struct {
		name string
		do   func(t *testing.T, v *harness.Vault)
	}{
		{"a reload of the plugin", func(_ *testing.T, v *harness.Vault) { v.ReloadPlugin() }},
		{"vault plugin reload", func(_ *testing.T, v *harness.Vault) { v.MustCLI("plugin", "reload", "-plugin="+harness.PluginName) }},
		{"a reload of one mount", func(t *testing.T, v *harness.Vault) {
			ask(t, v, http.MethodPost, "sys/plugins/reload/backend", fields{"mounts": []string{"oauthcc/"}}).wants(t, http.StatusOK)
		}},
		{"kill -9 of the plugin", func(_ *testing.T, v *harness.Vault) { v.KillPlugin() }},
		{"seal and unseal", func(t *testing.T, v *harness.Vault) {
			v.Seal()
			if status, _ := v.Status(http.MethodGet, "oauthcc/token/a", nil, v.RootToken()); status != http.StatusServiceUnavailable {
				t.Errorf("a sealed server answers %d", status)
			}
			v.Unseal()
		}},
		{"a restart of the server", func(_ *testing.T, v *harness.Vault) { v.Restart() }},
		{"kill -9 of the server, whose plugin then ends by itself", func(t *testing.T, v *harness.Vault) {
			plugins := v.PluginPIDs()
			v.Kill9()
			harness.Eventually(t, time.Minute, func() error {
				for _, pid := range plugins {
					if cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && len(cmdline) > 0 {
						return fmt.Errorf("plugin process %d is still there", pid)
					}
				}
				return nil
			})
			v.Restart()
		}},
	}
	s := standard(t, v, "a", providertest.Options{}, nil)
	write(t, v, "oauthcc/provider/own", fields{"token_url": s.TokenURL(), "description": "kept"})
	before := read(t, v, "oauthcc/token/a")
	token := before.text(t, "access_token")
	for _, interruption := range interruptions {
		t.Run(interruption.name, func(t *testing.T) {
			v := v.For(t)
			interruption.do(t, v)
			// A crash costs the requests in progress, and perhaps the next one.
			harness.Eventually(t, 60*time.Second, func() error {
				if status, body := v.Status(http.MethodGet, "oauthcc/info", nil, v.RootToken()); status != http.StatusOK {
					return fmt.Errorf("%d %s", status, body)
				}
				return nil
			})
			after := read(t, v, "oauthcc/token/a")
			if after.text(t, "access_token") != token || s.Requests() != 1 {
				t.Errorf("it cost a mint: %d requests", s.Requests())
			}
			if after.text(t, "expires_at") != before.text(t, "expires_at") {
				t.Errorf("expires_at is %s, was %s", after.Data["expires_at"], before.Data["expires_at"])
			}
			if got := read(t, v, "oauthcc/provider/own").text(t, "description"); got != "kept" {
				t.Errorf("the provider's description is %q", got)
			}
			v.MustCLI("lease", "lookup", before.LeaseID)
			harness.Eventually(t, time.Minute, func() error { return processCount(v, 1) })
		})
	}
	v.MustCLI("lease", "revoke", "-sync", before.LeaseID)
}

func TestMove(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{MountPath: "old/place"})
	s := providertest.Start(t, providertest.RFC6749, providertest.Options{})
	write(t, v, "old/place/config/a", registration(providertest.RFC6749, s))
	before := read(t, v, "old/place/token/a")
	v.MustCLI("secrets", "move", "old/place/", "oauthcc/")
	ask(t, v, http.MethodGet, "old/place/token/a", nil).wants(t, http.StatusNotFound)
	after := read(t, v, "oauthcc/token/a")
	if after.text(t, "access_token") != before.text(t, "access_token") || s.Requests() != 1 {
		t.Errorf("moving the mount cost a mint: %d requests", s.Requests())
	}
	if !strings.HasPrefix(after.LeaseID, "oauthcc/token/a/") {
		t.Errorf("the lease is %q", after.LeaseID)
	}
	fails(t, v.CLI("lease", "lookup", before.LeaseID), "invalid lease") // a move revokes the leases under the old path
	v.MustCLI("lease", "lookup", after.LeaseID)
}

func TestDisable(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	s := standard(t, v, "a", providertest.Options{}, nil)
	lease := read(t, v, "oauthcc/token/a").LeaseID
	v.MustCLI("secrets", "disable", "oauthcc")
	ask(t, v, http.MethodGet, "oauthcc/token/a", nil).wants(t, http.StatusNotFound)
	fails(t, v.CLI("lease", "lookup", lease), "invalid lease")
	harness.Eventually(t, time.Minute, func() error { return processCount(v, 0) })

	// A new mount at the same path is empty.
	v.MustCLI("secrets", "enable", "-path=oauthcc", harness.PluginName)
	if names := v.List("oauthcc/config"); len(names) != 0 {
		t.Errorf("the new mount has %v", names)
	}
	ask(t, v, http.MethodGet, "oauthcc/config/a", nil).wants(t, http.StatusNotFound)
	write(t, v, "oauthcc/config/a", registration(providertest.RFC6749, s))
	read(t, v, "oauthcc/token/a")
	if s.Requests() != 2 {
		t.Errorf("%d requests, want one for each mount", s.Requests())
	}
}

// TestReloadDrains: a reload waits for the mint in progress, and the mint's
// reader gets its token.
func TestReloadDrains(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	s := standard(t, v, "slow", providertest.Options{}, nil)
	s.Behave(providertest.Behavior{Delay: 2 * time.Second})
	done := make(chan reply)
	go func() {
		status, raw := v.Status(http.MethodGet, "oauthcc/token/slow", nil, v.RootToken())
		done <- reply{status: status, raw: string(raw)}
	}()
	harness.Eventually(t, time.Minute, func() error {
		if s.Requests() == 0 {
			return fmt.Errorf("not asked yet")
		}
		return nil
	})
	v.ReloadPlugin()
	if r := <-done; r.status != http.StatusOK || !strings.Contains(r.raw, s.Issued()[0]) {
		t.Errorf("the reader got %d: %s", r.status, r.raw)
	}
	issuedBy(t, s, read(t, v, "oauthcc/token/slow").text(t, "access_token"))
	if s.Requests() != 1 {
		t.Errorf("%d requests, want 1", s.Requests())
	}
}
