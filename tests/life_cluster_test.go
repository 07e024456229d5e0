// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// TestLifeCluster: a failover costs no mint, and reads succeed again as soon as
// there is a leader.
func TestLifeCluster(t *testing.T) {
	t.Parallel()
	c := harness.StartCluster(t, 3, harness.Options{LogLevel: "info"})
	f := newFleet(t, c.Leader(), 20)

	// throughStandbys reads through the standby servers, which forward requests
	// to the leader.
	throughStandbys := func(t *testing.T, c *harness.Cluster) {
		t.Helper()
		standbys := c.Standbys()
		if len(standbys) == 0 {
			t.Error("there is no standby")
		}
		for _, standby := range standbys {
			v := standby.For(t)
			// A standby needs some time to learn of a new leader.
			harness.Eventually(t, 60*time.Second, func() error {
				if r := tryRead(v, "oauthcc/token/fleet00"); r.status != http.StatusOK {
					return fmt.Errorf("reading through %s: %d %s", v.Name(), r.status, r.raw)
				}
				return nil
			})
			f.unharmed(t, v)
		}
	}
	// goesOn checks that reads succeed again. It is called when there is a new
	// leader.
	goesOn := func(t *testing.T, v *harness.Vault) {
		t.Helper()
		begun := time.Now()
		harness.Eventually(t, time.Minute, func() error {
			if r := tryRead(v, "oauthcc/token/fleet00"); r.status != http.StatusOK {
				return fmt.Errorf("%s is the leader, and reading there: %d %s", v.Name(), r.status, r.raw)
			}
			return nil
		})
		t.Logf("%s served tokens %s after it was seen to lead", v.Name(), time.Since(begun))
		f.unharmed(t, v)
	}

	t.Run("reads through a standby are forwarded", func(t *testing.T) {
		c := c.For(t)
		throughStandbys(t, c)
		// Mints work as well, and all servers return a token that was minted
		// through a standby.
		s := standard(t, c.Leader(), "cold", providertest.Options{}, nil)
		token := read(t, c.Standbys()[0], "oauthcc/token/cold").text(t, "access_token")
		issuedBy(t, s, token)
		for _, v := range c.Nodes() {
			if got := read(t, v, "oauthcc/token/cold").text(t, "access_token"); got != token {
				t.Errorf("%s has another token", v.Name())
			}
			// So does a scrape, wherever Prometheus is led to.
			_, _, metrics := v.Do(http.MethodGet, "oauthcc/metrics", nil, v.RootToken())
			if minted := `oauthcc_mints_total{cause="",config="cold",outcome="ok"} 1`; !strings.Contains(string(metrics), minted+"\n") {
				t.Errorf("the metrics of %s do not have %s:\n%s", v.Name(), minted, metrics)
			}
		}
		if s.Requests() != 1 {
			t.Errorf("the provider saw %d requests, want 1", s.Requests())
		}
	})

	var killed *harness.Vault
	t.Run("kill -9 of the leader, with readers in flight", func(t *testing.T) {
		c := c.For(t)
		old := c.Leader()
		plugins := old.PluginPIDs()
		stop := keepReading(old, "oauthcc/token/fleet01", 10, 5*time.Millisecond)
		killed = c.KillLeader()
		begun := time.Now()
		leader := c.WaitForLeader()
		t.Logf("%s leads %s after %s was killed", leader.Name(), time.Since(begun), killed.Name())
		goesOn(t, leader)
		stop()
		throughStandbys(t, c)
		ended(t, plugins)
	})

	t.Run("the old leader comes back", func(t *testing.T) {
		if killed == nil {
			t.Fatal("no leader was killed")
		}
		killed.For(t).Restart()
		throughStandbys(t, c.For(t))
	})

	t.Run("a step-down with a mint under way", func(t *testing.T) {
		c := c.For(t)
		old := c.Leader()
		waits, left := standard(t, old, "waits", providertest.Options{}, nil), standard(t, old, "left", providertest.Options{}, nil)
		waits.Behave(providertest.Behavior{Delay: time.Second})
		left.Behave(providertest.Behavior{Delay: 3 * time.Second}) // after leave, only the engine waits for this mint
		reader, leave := readLater(old, "oauthcc/token/waits"), readAndLeave(t, old, "oauthcc/token/left")
		wasAsked(t, waits, 1)
		wasAsked(t, left, 1)
		leave()
		leader := c.StepDown()
		t.Logf("the reader got %d", (<-reader).status)
		goesOn(t, leader)
		for config, s := range map[string]*providertest.Server{"waits": waits, "left": left} {
			issuedBy(t, s, read(t, leader, "oauthcc/token/"+config).text(t, "access_token"))
			if s.Requests() != 1 {
				t.Errorf("%s: the mint that was under way was lost: %d requests", config, s.Requests())
			}
		}
		throughStandbys(t, c)
	})

	t.Run("what a leader writes, its successor knows", func(t *testing.T) {
		c := c.For(t)
		leader := c.Leader()
		s := standard(t, leader, "forgotten", providertest.Options{}, nil)
		old := read(t, leader, "oauthcc/token/forgotten").text(t, "access_token")
		write(t, leader, "oauthcc/revoke/forgotten", nil)
		leader = c.StepDown()
		goesOn(t, leader)
		if got := read(t, leader, "oauthcc/token/forgotten").text(t, "access_token"); got == old || s.Requests() != 2 {
			t.Errorf("a token that was revoked is handed out by the next leader: %d requests", s.Requests())
		}
	})
}

// TestLifeClusterOnOpenBao runs TestLifeCluster on OpenBao, whose standbys run
// the plugin themselves. It needs the path of a bao binary in BAO_BIN.
func TestLifeClusterOnOpenBao(t *testing.T) {
	t.Parallel()
	bao := os.Getenv("BAO_BIN")
	if bao == "" {
		t.Log("THIS TEST DID NOT RUN: BAO_BIN names no OpenBao server (bao), so nothing is known of a cluster of them")
		return
	}
	// In a separate process, because each process tests only one server.
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLifeCluster$", "-test.v", "-test.timeout=10m") //nolint:gosec // it is this very program
	cmd.Env = append(os.Environ(), "VAULT_BIN="+bao, "PLUGIN_BIN="+harness.PluginBinary(t), "TMPDIR=/tmp")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Errorf("on OpenBao: %v", err)
	}
}
