// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// seenWithin is for how long a test waits for Prometheus, which scrapes every
// second, to see something.
const seenWithin = 90 * time.Second

// A Prometheus that is set up as docs/operations.md says, with the files of
// monitoring/, scrapes the engine through Vault.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{TLS: true})
	d := newDetective()
	issued := everything(t, v, d)
	dir := t.TempDir()
	token := scraper(t, v, dir)
	p := startPrometheus(t, v, dir)

	t.Run("it is let in by the token of the Agent, and by no other", func(t *testing.T) {
		sees(t, p, `up{job="oauthcc", mount="oauthcc"}`, 1)
		sees(t, p, `up{job="forbidden"}`, 0)
	})
	t.Run("that token may do nothing else at the mount", func(t *testing.T) {
		for _, denied := range []struct{ method, path string }{
			{"GET", "token/mine"}, {"POST", "token/mine"}, {"GET", "config/mine"}, {"LIST", "config/"}, {"GET", "role/mine/r"}, {"GET", "provider/generic"},
			{"GET", "status"}, {"GET", "status/mine"}, {"GET", "info"}, {"POST", "check/mine"}, {"POST", "revoke/mine"}, {"GET", "key/k"}, {"POST", "metrics"},
		} {
			askAs(t, v.For(t), token, denied.method, "oauthcc/"+denied.path, nil).wants(t, http.StatusForbidden)
		}
	})

	status, header, raw := v.Do(http.MethodGet, "oauthcc/metrics", nil, token)
	text := string(raw)
	t.Run("the answer is the text itself, in order, and gives nothing away", func(t *testing.T) {
		if got := header.Get("Content-Type"); status != http.StatusOK || got != "text/plain; version=0.0.4; charset=utf-8" || !strings.HasPrefix(text, "# HELP oauthcc_") {
			t.Errorf("status %d, content type %q: %.200s", status, got, text)
		}
		promtool(t, dir, text, "check", "metrics")
		for i, token := range issued() {
			d.know(fmt.Sprintf("token %d", i), token)
		}
		d.search(t, "the metrics", text)
	})
	t.Run("it sees what happened", func(t *testing.T) {
		for expr, want := range map[string]float64{
			`oauthcc_reads_total{config="mine", result="hit"}`:                                        2,
			`oauthcc_reads_total{config="mine", result="waited"}`:                                     1,
			`oauthcc_reads_total{config="refused", result="failed"}`:                                  1,
			`oauthcc_mints_total{config="mine", outcome="ok"}`:                                        1,
			`oauthcc_mints_total{config="refused", outcome="failed", cause="client_refused"}`:         1,
			`oauthcc_provider_request_duration_seconds_count{config="refused"}`:                       1,
			`oauthcc_tokens_held{config="mine"}`:                                                      1,
			`oauthcc_mints_last_hour{config="mine"} / oauthcc_mints_per_hour{config="mine"}`:          0.5,
			`oauthcc_provider_quota_remaining / oauthcc_provider_quota_limit`:                         0.07,
			`floor(oauthcc_ends_in_seconds{config="ends", what="client_secret"} / 86400)`:             20,
			`ceil(oauthcc_token_expires_in_seconds{config="mine"} / 3600)`:                            1,
			`oauthcc_config_state{config="never", state="never minted"}`:                              1,
			`oauthcc_configs{state="failing"}`:                                                        1,
			`oauthcc_configs{state="old token"}`:                                                      1,
			`oauthcc_revocations_total{config="own", outcome="revoked"}`:                              1,
			`count(process_resident_memory_bytes{job="oauthcc"} > 1e6)`:                               1,
			`count(oauthcc_build_info{job="oauthcc", instance="` + v.Addr()[len("https://"):] + `"})`: 1,
		} {
			sees(t, p, expr, want)
		}
	})
	t.Run("the alerts speak of metrics that there are, and each expression is understood", func(t *testing.T) {
		known := vocabularyOf(t, text)
		for _, rule := range alertingRules(t) {
			if err := known.check(rule.Expr); err != nil {
				t.Errorf("%s: %v", rule.Alert, err)
			}
			if _, err := p.For(t).Query(rule.Expr); err != nil {
				t.Errorf("%s: %v", rule.Alert, err)
			}
		}
	})
	t.Run("a secret that ends in 20 days gives an alert, whose command can be typed", func(t *testing.T) {
		harness.Eventually(t, seenWithin, func() error { return fires(p.For(t), "OauthccEndsSoon", "ends") })
		alerts, err := p.For(t).Alerts()
		if err != nil {
			t.Fatal(err)
		}
		for _, alert := range alerts {
			said := fmt.Sprint(alert.Annotations)
			d.search(t, "an alert", said)
			if strings.Contains(said, "error expanding template") || strings.Contains(said, "no value") {
				t.Errorf("%s says %s", alert.Labels["alertname"], said)
			}
			if alert.Labels["alertname"] == "OauthccDown" {
				continue // of the job that is not let in
			}
			mustShell(t, v.For(t), v.RootToken(), dir, commandOf(alert.Annotations["runbook"]), "VAULT_CACERT="+v.CACert())
		}
	})
	t.Run("each panel of the dashboard speaks of metrics that there are, and shows something", func(t *testing.T) {
		known := vocabularyOf(t, text)
		for panel, expr := range dashboardQueries(t) {
			if err := known.check(expr); err != nil {
				t.Errorf("%s: %v", panel, err)
			}
			harness.Eventually(t, seenWithin, func() error {
				samples, err := p.For(t).Query(expr)
				if err == nil && len(samples) == 0 {
					err = fmt.Errorf("%s shows nothing: %s", panel, expr)
				}
				return err
			})
		}
	})
	t.Run("a reload of the plugin is a reset of the counters", func(t *testing.T) {
		v.For(t).ReloadPlugin()
		read(t, v.For(t), "oauthcc/token/mine")
		sees(t, p, `changes(process_start_time_seconds{job="oauthcc"}[5m])`, 1)
		sees(t, p, `resets(oauthcc_reads_total{config="mine", result="hit"}[5m])`, 1)
		sees(t, p, `up{job="oauthcc"}`, 1)
	})
}

// everything writes configs to which everything happens that a metric tells of,
// and returns what gives the tokens of their providers.
func everything(t *testing.T, v *harness.Vault, d *detective) (issued func() []string) {
	t.Helper()
	var servers []*providertest.Server
	config := func(name string, more fields) *providertest.Server {
		s := standard(t, v, name, providertest.Options{ClientSecret: d.word("the secret of " + name)}, more)
		servers = append(servers, s)
		return s
	}
	mine := config("mine", fields{"mints_per_hour": 2})
	mine.Behave(providertest.Behavior{Times: 1, Body: `{"access_token":"` + d.word("a token") + `","expires_in":3600}`, Header: http.Header{"Ratelimit-Limit": {"100"}, "Ratelimit-Remaining": {"7"}}})
	for range 3 {
		read(t, v, "oauthcc/token/mine")
	}
	config("refused", nil).Behave(providertest.Behavior{Times: -1, Echo: true, Status: http.StatusUnauthorized})
	ask(t, v, http.MethodGet, "oauthcc/token/refused", nil).wants(t, http.StatusBadRequest)
	config("never", nil)
	config("ends", fields{"client_secret_expires_at": time.Now().Add(20*24*time.Hour + time.Hour).Format(time.RFC3339)})
	read(t, v, "oauthcc/token/ends")
	own := config("own", fields{"reuse": false})
	write(t, v, "oauthcc/config/own", with(registration(providertest.RFC6749, own), fields{"reuse": false, "revocation_url": own.RevocationURL()}))
	write(t, v, "sys/leases/revoke", fields{"lease_id": read(t, v, "oauthcc/token/own").LeaseID, "sync": true})
	old := config("old", nil)
	read(t, v, "oauthcc/token/old")
	old.Behave(providertest.Behavior{Times: -1, Status: http.StatusServiceUnavailable})
	harness.Eventually(t, time.Minute, func() error { // fresh=true replaces no token that is younger than ten seconds
		ask(t, v, http.MethodPost, "oauthcc/token/old", fields{"fresh": true})
		if state := read(t, v, "oauthcc/status/old").Data["failures"]; state == float64(0) {
			return errors.New("the token is too young to be replaced")
		}
		return nil
	})
	read(t, v, "oauthcc/status") // looks all of them up
	return func() (all []string) {
		for _, s := range servers {
			all = append(all, s.Issued()...)
		}
		return all
	}
}

// scraper follows docs/operations.md until the file vault-token in dir has a
// token, and returns that.
func scraper(t *testing.T, v *harness.Vault, dir string) string {
	t.Helper()
	snippets := snippetsOf(t, repositoryFile(t, "docs", "operations.md"))
	mustShell(t, v, v.RootToken(), dir, snippets["approle"], "VAULT_CACERT="+v.CACert())
	harness.StartAgent(t, v, replace(t, snippets["agent"], "/etc/prometheus", dir))
	file := filepath.Join(dir, "vault-token")
	harness.Eventually(t, seenWithin, func() error {
		_, err := fileLine(file, "")
		return err
	})
	token, err := fileLine(file, "")
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// startPrometheus starts a Prometheus in dir with the files of monitoring/, which
// scrapes every second. A second job of it has a token that may not scrape.
func startPrometheus(t *testing.T, v *harness.Vault, dir string) *harness.Prometheus {
	t.Helper()
	ca, err := os.ReadFile(v.CACert())
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir, "vault-ca.pem", string(ca), 0o600)
	put(t, dir, "other-token", v.TokenWith("default"), 0o600)
	put(t, dir, "alerts.yml", repositoryFile(t, "monitoring", "alerts.yml"), 0o600)
	config := replace(t, repositoryFile(t, "monitoring", "prometheus.yml"), "interval: 30s", "interval: 1s", "vault.example.com:8200", strings.TrimPrefix(v.Addr(), "https://"))
	_, job, _ := strings.Cut(config, "scrape_configs:\n")
	put(t, dir, "prometheus.yml", config+replace(t, job, "job_name: oauthcc", "job_name: forbidden", "vault-token", "other-token"), 0o600)
	return harness.StartPrometheus(t, dir)
}

// sees waits until an expression has one result, with this value.
func sees(t *testing.T, p *harness.Prometheus, expr string, want float64) {
	t.Helper()
	harness.Eventually(t, seenWithin, func() error {
		samples, err := p.For(t).Query(expr)
		if err == nil && (len(samples) != 1 || samples[0].Value != want) {
			err = fmt.Errorf("%s is %v, want %v", expr, samples, want)
		}
		return err
	})
}

// fires returns an error if no such alert fires for the config.
func fires(p *harness.Prometheus, name, config string) error {
	alerts, err := p.Alerts()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(alerts, func(a harness.Alert) bool {
		return a.State == "firing" && a.Labels["alertname"] == name && a.Labels["config"] == config
	}) {
		return fmt.Errorf("%s does not fire for %s: %v", name, config, alerts)
	}
	return nil
}

// vocabularyOf reads a scrape.
func vocabularyOf(t *testing.T, text string) vocabulary {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	out := vocabulary{}
	for name, family := range families {
		out[name] = map[string][]string{}
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				out[name][label.GetName()] = append(out[name][label.GetName()], label.GetValue())
			}
		}
	}
	return out
}
