// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// inventory returns the labels of each metric. It scrapes a mount where everything has
// happened that the metrics report.
func inventory(t *testing.T) map[string][]string {
	t.Helper()
	e, s := variety(t)
	e.must(t, "config/ok", fields{"mints_per_hour": 10, "client_secret": secretOne})
	s.Behave(providertest.Behavior{
		Times: 1, Body: `{"access_token":"t","expires_in":1800}`, Header: http.Header{"RateLimit-Limit": {"100"}, "RateLimit-Remaining": {"7"}},
	})
	succeeded(t, update(t, e, "check/ok", nil))
	succeeded(t, e.read(t, "status")) // reads all configs, so that their state is known
	out := map[string][]string{}
	all, _ := families(t, e)
	for name, family := range all {
		labels := map[string]bool{}
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = true
			}
		}
		out[name] = slices.Sorted(maps.Keys(labels))
	}
	return out
}

// docs/api.md lists each metric of the engine with its labels, and no other metric.
func TestMetricsAreInTheDocs(t *testing.T) {
	page, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(oauthcc_[a-z_]+)` \\| ([^|]*) \\|").FindAllStringSubmatch(string(page), -1) {
		documented[row[1]] = row[2]
	}
	told := map[string]string{}
	for name, labels := range inventory(t) {
		if strings.HasPrefix(name, "oauthcc_") {
			words := regexp.MustCompile("`([a-z]+)`").FindAllStringSubmatch(documented[name], -1)
			slices.SortFunc(words, func(a, b []string) int { return strings.Compare(a[1], b[1]) })
			told[name] = documented[name]
			if !slices.EqualFunc(words, labels, func(w []string, l string) bool { return w[1] == l }) {
				t.Errorf("%s has the labels %q, documented is %q", name, labels, documented[name])
			}
		}
	}
	if !maps.Equal(told, documented) {
		t.Errorf("there are %v\ndocumented are %v", slices.Sorted(maps.Keys(told)), slices.Sorted(maps.Keys(documented)))
	}
}
