// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"go.yaml.in/yaml/v3"

	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// alertingRule is a rule of monitoring/alerts.yml.
type alertingRule struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

func alertingRules(t *testing.T) []alertingRule {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []alertingRule }
	}
	if err := yaml.Unmarshal([]byte(repositoryFile(t, "monitoring", "alerts.yml")), &file); err != nil {
		t.Fatal(err)
	}
	var out []alertingRule
	for _, group := range file.Groups {
		out = append(out, group.Rules...)
	}
	if len(out) == 0 {
		t.Fatal("there are no alerts")
	}
	return out
}

// dashboardQueries returns the expressions of the dashboard by their panels,
// with the variables set to what Grafana would: all of everything.
func dashboardQueries(t *testing.T) map[string]string {
	t.Helper()
	var file struct {
		Panels []struct {
			Title   string
			Targets []struct{ RefID, Expr string }
		}
	}
	if err := json.Unmarshal([]byte(repositoryFile(t, "monitoring", "dashboard.json")), &file); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$__rate_interval", "1m", "$job", ".+", "$mount", ".+", "$config", ".+")
	out := map[string]string{}
	for _, panel := range file.Panels {
		for _, target := range panel.Targets {
			out[panel.Title+" "+target.RefID] = variables.Replace(target.Expr)
		}
	}
	if len(out) == 0 {
		t.Fatal("the dashboard has no panels")
	}
	return out
}

func promtool(t *testing.T, dir, stdin string, args ...string) {
	t.Helper()
	r := harness.Promtool(t, dir, stdin, args...)
	if said := r.Stdout + r.Stderr; r.ExitCode != 0 || strings.Contains(strings.ToLower(said), "warning") {
		t.Errorf("promtool %s: exit code %d\n%s", strings.Join(args, " "), r.ExitCode, said)
	}
}

func TestMonitoringPassesPromtool(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"prometheus.yml", "alerts.yml", "alerts_test.yml"} {
		put(t, dir, name, repositoryFile(t, "monitoring", name), 0o600)
	}
	put(t, dir, "vault-token", "a token", 0o600)
	put(t, dir, "vault-ca.pem", "a certificate", 0o600)
	promtool(t, dir, "", "check", "config", "prometheus.yml")
	promtool(t, dir, "", "check", "rules", "alerts.yml")
	promtool(t, dir, "", "test", "rules", "alerts_test.yml")
}

// By alerts_test.yml each alert fires in one case, and does not in another one.
func TestEachAlertIsTested(t *testing.T) {
	t.Parallel()
	var file struct {
		Tests []struct {
			Series []struct{ Series string } `yaml:"input_series"`
			Checks []struct {
				Expr    string
				Samples []any `yaml:"exp_samples"`
			} `yaml:"promql_expr_test"`
		}
	}
	if err := yaml.Unmarshal([]byte(repositoryFile(t, "monitoring", "alerts_test.yml")), &file); err != nil {
		t.Fatal(err)
	}
	for _, rule := range alertingRules(t) {
		fires, doesNot := false, false
		for _, test := range file.Tests {
			for _, check := range test.Checks {
				if !strings.Contains(check.Expr, fmt.Sprintf(`(ALERTS{alertname=%q, alertstate="firing"})`, rule.Alert)) {
					continue
				}
				fires = fires || len(check.Samples) > 0
				doesNot = doesNot || len(check.Samples) == 0 || strings.Contains(fmt.Sprint(test.Series), `"good"`)
			}
		}
		if !fires || !doesNot {
			t.Errorf("%s fires in a case: %t, does not in a case: %t", rule.Alert, fires, doesNot)
		}
	}
}

// Whoever is woken by an alert reads what it is, and the command to type.
func TestAlertsTellWhatToDo(t *testing.T) {
	t.Parallel()
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(Oauthcc\\w+)` \\| (\\w+) \\|").FindAllStringSubmatch(repositoryFile(t, "docs", "operations.md"), -1) {
		documented[row[1]] = row[2]
	}
	for _, rule := range alertingRules(t) {
		severity := rule.Labels["severity"]
		if severity != "warning" && severity != "critical" {
			t.Errorf("%s has the severity %q", rule.Alert, severity)
		}
		if documented[rule.Alert] != severity {
			t.Errorf("%s is documented as %q, and is %s", rule.Alert, documented[rule.Alert], severity)
		}
		delete(documented, rule.Alert)
		if rule.Annotations["summary"] == "" || commandOf(rule.Annotations["runbook"]) == "" {
			t.Errorf("%s has no summary, or a runbook that begins with no command: %q", rule.Alert, rule.Annotations)
		}
	}
	if len(documented) > 0 {
		t.Errorf("documented, and not there: %v", documented)
	}
}

// commandOf returns the command that a runbook begins with.
func commandOf(runbook string) string {
	found := regexp.MustCompile("^`((?:vault|promtool) [^`]+)`").FindStringSubmatch(runbook)
	if found == nil {
		return ""
	}
	return found[1]
}

// Grafana's own description of its dashboards knows each member of the file, and
// misses none.
func TestDashboardHasGrafanasForm(t *testing.T) {
	t.Parallel()
	plugins.RegisterDefaultPlugins()
	var d dashboard.Dashboard                                                                                                     //nolint:staticcheck // deprecated for a newer form, which older Grafanas cannot import
	if err := d.UnmarshalJSONStrict([]byte(repositoryFile(t, "monitoring", "dashboard.json"))); err != nil && err.Error() != "" { // it returns an empty list of errors
		t.Error(err)
	}
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
}

// vocabulary knows the metrics of a scrape: the labels of each one, and the
// values of each label.
type vocabulary map[string]map[string][]string

// labelsOfScrapes are added by Prometheus (job, instance) and its configuration.
var labelsOfScrapes = []string{"job", "instance", "mount"}

// check finds the names in an expression that the vocabulary does not have.
func (v vocabulary) check(expr string) error {
	known := slices.Clone(labelsOfScrapes)
	for _, m := range regexp.MustCompile(`\b((?:oauthcc|process)_[a-z_]+)\b(?:{([^}]*)})?`).FindAllStringSubmatch(expr, -1) {
		name, bucket := strings.CutSuffix(m[1], "_bucket")
		labels := v[name]
		if labels == nil {
			return fmt.Errorf("no metric is called %s: %s", name, expr)
		}
		for label := range labels {
			known = append(known, label)
		}
		if bucket {
			known = append(known, "le")
		}
		for _, matcher := range regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"`).FindAllStringSubmatch(m[2], -1) {
			if slices.Contains(labelsOfScrapes, matcher[1]) {
				continue
			}
			if labels[matcher[1]] == nil {
				return fmt.Errorf("%s has no label %s: %s", name, matcher[1], expr)
			}
			for value := range strings.SplitSeq(matcher[2], "|") {
				if value != ".+" && !slices.Contains(labels[matcher[1]], value) {
					return fmt.Errorf("%s is never %q in %s, but %q: %s", matcher[1], value, name, labels[matcher[1]], expr)
				}
			}
		}
	}
	for _, m := range regexp.MustCompile(`\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)`).FindAllStringSubmatch(expr, -1) {
		for label := range strings.SplitSeq(m[1], ",") {
			if label = strings.TrimSpace(label); !slices.Contains(known, label) {
				return fmt.Errorf("none of its metrics has a label %s: %s", label, expr)
			}
		}
	}
	return nil
}

func TestVocabulary(t *testing.T) {
	t.Parallel()
	v := vocabulary{"oauthcc_a": {"state": {"ok", "old token"}, "config": {"c"}}, "oauthcc_h": {"config": {"c"}}}
	for expr, good := range map[string]bool{
		`sum by (state) (oauthcc_a{mount=~".+", state=~"ok|old token"})`:    true,
		`histogram_quantile(0.9, sum by (le) (rate(oauthcc_h_bucket[5m])))`: true,
		`oauthcc_b`:                             false,
		`oauthcc_a / oauthcc_b`:                 false,
		`oauthcc_a{result="ok"}`:                false,
		`oauthcc_a{state=~"ok|old"}`:            false,
		`sum without (le) (oauthcc_a)`:          false,
		`oauthcc_h * on (state) oauthcc_h{}`:    false,
		`oauthcc_h * on (state, job) oauthcc_a`: true,
	} {
		if err := v.check(expr); (err == nil) != good {
			t.Errorf("%s: %v", expr, err)
		}
	}
}
