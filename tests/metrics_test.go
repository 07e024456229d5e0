// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// As Prometheus scrapes it: by a token that may do nothing else.
func TestMetricsAreReadByATokenForThemAlone(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	s := standard(t, v, "mine", providertest.Options{}, nil)
	for range 3 {
		issuedBy(t, s, v.Read("oauthcc/token/mine").Data["access_token"].(string)) //nolint:forcetypeassert // a panic is a failure
	}
	v.Policy("scraper", `path "oauthcc/metrics" { capabilities = ["read"] }`)
	scraper := v.TokenWith("scraper")
	status, header, text := v.Do(http.MethodGet, "oauthcc/metrics", nil, scraper)
	if got := header.Get("Content-Type"); status != http.StatusOK || got != "text/plain; version=0.0.4; charset=utf-8" {
		t.Fatalf("status %d, content type %q: %s", status, got, text)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(text)))
	if err != nil {
		t.Fatalf("not Prometheus' text format: %v\n%s", err, text)
	}
	if len(families) < 15 {
		t.Errorf("%d metrics: %s", len(families), text)
	}
	for _, want := range []string{
		`oauthcc_reads_total{config="mine",result="hit"} 2`, `oauthcc_reads_total{config="mine",result="waited"} 1`,
		`oauthcc_mints_total{cause="",config="mine",outcome="ok"} 1`, `oauthcc_configs{state="ok"} 1`, `oauthcc_tokens_held{config="mine"} 1`,
	} {
		if !strings.Contains(string(text), want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	for _, token := range s.Issued() {
		if strings.Contains(string(text), token) {
			t.Error("the metrics hold a token")
		}
	}
	for _, denied := range []string{"token/mine", "config/mine", "status", "status/mine", "info"} {
		askAs(t, v, scraper, http.MethodGet, "oauthcc/"+denied, nil).wants(t, http.StatusForbidden)
	}
	v.Policy("other", `path "oauthcc/token/mine" { capabilities = ["read"] }`)
	askAs(t, v, v.TokenWith("other"), http.MethodGet, "oauthcc/metrics", nil).wants(t, http.StatusForbidden)
}
