// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

// Command dashboard draws the picture of the dashboard. It runs the engine on a
// real Vault server with sample providers, under load and with faults, lets a
// real Prometheus scrape it, and has draw.py draw what Prometheus answers to the
// queries of monitoring/dashboard.json.
//
//	make dashboard
//	DASHBOARD_MINUTES=3 make dashboard
package main

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

const prometheusConfig = `
global: {scrape_interval: 2s, evaluation_interval: 2s}
rule_files: [alerts.yml]
scrape_configs:
  - job_name: oauthcc
    metrics_path: /v1/oauthcc/metrics
    authorization: {credentials_file: vault-token}
    static_configs: [{targets: ["%s"], labels: {mount: oauthcc}}]
`

func main() {
	minutes := 10
	if text := os.Getenv("DASHBOARD_MINUTES"); text != "" {
		var err error
		if minutes, err = strconv.Atoi(text); err != nil || minutes < 1 {
			fmt.Fprintln(os.Stderr, "dashboard: DASHBOARD_MINUTES is not a positive number")
			os.Exit(2)
		}
	}
	testing.Init()
	// The harness is made for tests, and stops the servers when the test ends.
	testing.Main(func(string, string) (bool, error) { return true, nil }, []testing.InternalTest{{
		Name: "dashboard",
		F:    func(t *testing.T) { run(t, time.Duration(minutes)*time.Minute) },
	}}, nil, nil)
}

// run runs a story of that length, and draws it.
func run(tb testing.TB, length time.Duration) {
	tb.Helper()
	v := harness.Start(tb, harness.Options{LogLevel: "warn"})
	dir := tb.TempDir()
	v.Policy("metrics", `path "oauthcc/metrics" { capabilities = ["read"] }`)
	alerts, err := os.ReadFile("monitoring/alerts.yml")
	must(tb, err)
	for name, content := range map[string]string{
		"alerts.yml":     strings.ReplaceAll(string(alerts), "for: 5m", "for: 15s"), // the story is short
		"vault-token":    v.TokenWith("metrics"),
		"prometheus.yml": fmt.Sprintf(prometheusConfig, strings.TrimPrefix(v.Addr(), "http://")),
	} {
		must(tb, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	p := harness.StartPrometheus(tb, dir)

	s := &story{tb: tb, v: v, begun: time.Now(), length: length}
	s.tell()
	s.readers.Wait()

	draw := exec.CommandContext(tb.Context(), "/usr/bin/python3", "scripts/dashboard/draw.py", p.URL(), strconv.Itoa(int(length.Seconds())), "monitoring/dashboard.json", "monitoring/dashboard.png") //nolint:gosec // what comes from the environment is a number
	draw.Stdout, draw.Stderr = os.Stderr, os.Stderr
	must(tb, draw.Run())
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// story is what happens to a few configs.
type story struct {
	tb      testing.TB
	v       *harness.Vault
	begun   time.Time
	length  time.Duration
	readers sync.WaitGroup
}

// tell begins all that happens. It returns when the last change has been made.
func (s *story) tell() {
	day := func(n int) string { return time.Now().Add(time.Duration(n) * 24 * time.Hour).Format(time.RFC3339) }

	// Two ordinary configs, and one whose secret ends soon.
	s.config("antsomi", 8, time.Minute, 90*time.Millisecond, map[string]any{"client_secret_expires_at": day(61)})
	s.config("fuuffy", 5, 90*time.Second, 40*time.Millisecond, map[string]any{"client_secret_expires_at": day(20)})
	// Its provider is out of order for a while, and slow for another one.
	cognito := s.config("cognito", 6, time.Minute, 60*time.Millisecond, map[string]any{"client_secret_expires_at": day(5)})
	semansys := s.config("semansys", 3, 20*time.Second, 150*time.Millisecond, nil)
	// A secret that the provider has replaced, with the new one as the fallback.
	xcover := s.config("xcover", 2, 25*time.Second, 70*time.Millisecond, map[string]any{"fallback_client_secret": "the-new-secret"})
	// A wrong secret.
	s.config("payroll", 0.2, time.Minute, 30*time.Millisecond, map[string]any{"client_secret": "wrong"})
	// A provider with a quota, and a token for each reader, which is revoked.
	orders := s.config("orders", 0.4, time.Minute, 50*time.Millisecond, map[string]any{"reuse": false, "mints_per_hour": int(0.4 * s.length.Seconds() * 1.1)})
	s.v.Read("oauthcc/status") // looks all of them up, as the engine itself does within a minute
	quota := make([]providertest.Behavior, 0, 300)
	for left := range 300 {
		quota = append(quota, providertest.Behavior{
			Times: 1, Body: fmt.Sprintf(`{"access_token":"order-%d","expires_in":60}`, left),
			Header: http.Header{"Ratelimit-Limit": {"250"}, "Ratelimit-Remaining": {strconv.Itoa(250 - left%250)}},
		})
	}
	orders.Behave(quota...)

	s.until(0.3)
	cognito.Behave(providertest.Behavior{Times: -1, Status: http.StatusServiceUnavailable})
	s.until(0.4)
	semansys.Behave(providertest.Behavior{Times: -1, Delay: 1800 * time.Millisecond})
	s.until(0.5)
	c := xcover.Credentials()
	c.ClientSecret = "the-new-secret"
	xcover.SetCredentials(c)
	s.until(0.6)
	cognito.Behave(slow(60 * time.Millisecond))
	s.until(0.7)
	semansys.Behave(slow(150 * time.Millisecond))
	s.until(0.85)
	cognito.Behave(providertest.Behavior{Times: -1, Status: http.StatusServiceUnavailable})
	s.until(1)
}

func slow(by time.Duration) providertest.Behavior { return providertest.Behavior{Times: -1, Delay: by} }

// until waits until that part of the story is over.
func (s *story) until(part float64) {
	time.Sleep(time.Until(s.begun.Add(time.Duration(part * float64(s.length)))))
}

// config writes a config for a provider of its own, whose tokens last for so
// long and whose answers take so long, and reads it so often per second.
func (s *story) config(name string, reads float64, lifetime, takes time.Duration, more map[string]any) *providertest.Server {
	p := providertest.Start(s.tb, providertest.RFC6749, providertest.Options{Lifetime: lifetime})
	p.Behave(slow(takes))
	c := p.Credentials()
	body := map[string]any{"token_url": p.TokenURL(), "client_id": c.ClientID, "client_secret": c.ClientSecret}
	if more["reuse"] == false {
		body["revocation_url"] = p.RevocationURL()
	}
	maps.Copy(body, more)
	s.v.Write("oauthcc/config/"+name, body)
	s.readers.Go(func() {
		ticker := time.NewTicker(time.Duration(float64(time.Second) / reads))
		defer ticker.Stop()
		for range ticker.C {
			if time.Since(s.begun) > s.length {
				return
			}
			s.read("oauthcc/token/"+name, more["reuse"] == false)
		}
	})
	return p
}

// read reads a token, and revokes its lease if it is the reader's own.
func (s *story) read(path string, own bool) {
	secret, err := s.v.Client().Logical().ReadWithContext(s.tb.Context(), path)
	if err == nil && own {
		_ = s.v.Client().Sys().RevokeWithContext(s.tb.Context(), secret.LeaseID) // the engine tries again
	}
}
