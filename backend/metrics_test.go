// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// scraped is the result of a scrape: the values by name and labels, such as
// oauthcc_reads_total{config="c",result="hit"}. The value of a histogram is its count.
type scraped map[string]float64

func scrape(t *testing.T, e *engine) (scraped, string) {
	t.Helper()
	families, text := families(t, e)
	out := scraped{}
	for name, family := range families {
		for _, m := range family.GetMetric() {
			out[series(name, m)] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return out, text
}

// families returns the result of a scrape, parsed and as text.
func families(t *testing.T, e *engine) (map[string]*dto.MetricFamily, string) {
	t.Helper()
	r := e.read(t, "metrics")
	data := r.data(t)
	wantMembers(t, data, fields{"http_status_code": float64(200), "http_content_type": "text/plain; version=0.0.4; charset=utf-8"})
	encoded, _ := data["http_raw_body"].(string)
	text, err := base64.StdEncoding.DecodeString(encoded) // as Vault does
	if err != nil {
		t.Fatalf("the body cannot be decoded: %v", err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(text)))
	if err != nil {
		t.Fatalf("not Prometheus' text format: %v\n%s", err, text)
	}
	return families, string(text)
}

func series(name string, m *dto.Metric) string {
	var labels []string
	for _, l := range m.GetLabel() {
		if l.GetValue() != "" {
			labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
		}
	}
	if len(labels) == 0 {
		return name
	}
	return name + "{" + strings.Join(labels, ",") + "}"
}

// of returns the metrics of one config, without the config's label.
func (s scraped) of(config string) scraped {
	out := scraped{}
	for name, v := range s {
		if label := fmt.Sprintf("config=%q", config); strings.Contains(name, label) {
			name = strings.NewReplacer(label+",", "", "{"+label+"}", "", ","+label, "").Replace(name)
			out[strings.TrimPrefix(name, "oauthcc_")] = v
		}
	}
	return out
}

func expect(t *testing.T, got scraped, want scraped) {
	t.Helper()
	for name, v := range want {
		if g, there := got[name]; !there || g != v {
			t.Errorf("%s is %v (there: %t), want %v", name, g, there, v)
		}
	}
}

func TestMetricsOfAMount(t *testing.T) {
	e, s := variety(t)
	e.must(t, "config/ok", fields{"mints_per_hour": 10, "revocation_url": s.RevocationURL(), "client_secret": secretOne})
	s.Behave(providertest.Behavior{Times: 1, Status: 503}, providertest.Behavior{
		Times: 1, Body: `{"access_token":"the-token-of-ok","expires_in":1800}`, Header: http.Header{"RateLimit-Limit": {"100"}, "RateLimit-Remaining": {"7"}},
	})
	succeeded(t, update(t, e, "check/ok", nil))
	succeeded(t, e.read(t, "token/ok"))
	succeeded(t, e.read(t, "status")) // reads all configs, so that their state is known
	all, text := scrape(t, e)
	expect(t, all, scraped{
		`oauthcc_build_info{commit="0123456789ab",version="v1.2.3"}`: 1,
		`oauthcc_configs{state="failing"}`:                           2, `oauthcc_configs{state="old token"}`: 1,
		`oauthcc_configs{state="never minted"}`: 1, `oauthcc_configs{state="ok"}`: 2,
	})
	want := map[string]scraped{
		"ok": {
			`reads_total{result="hit"}`: 1, `reads_total{result="waited"}`: 1, `reads_total{result="old"}`: 0, `reads_total{result="failed"}`: 0,
			`mints_total{outcome="ok"}`: 2, `mints_total{outcome="fallback"}`: 0, "provider_retries_total": 1, "checks_total": 1,
			"provider_request_duration_seconds": 2, "tokens_held": 1, "token_expires_in_seconds": 1800, "mints_last_hour": 2, "mints_per_hour": 10,
			"provider_quota_remaining": 7, `config_state{state="ok"}`: 1, `revocations_total{outcome="revoked"}`: 0, `revocations_total{outcome="failed"}`: 0,
		},
		"refused": {
			`reads_total{result="failed"}`: 1, `mints_total{outcome="ok"}`: 0, `mints_total{cause="client_refused",outcome="failed"}`: 1, "tokens_held": 0,
			`config_state{state="failing"}`: 1, "provider_request_duration_seconds": 1,
		},
		"old":   {`reads_total{result="old"}`: 1, `mints_total{cause="provider_down",outcome="failed"}`: 1, "tokens_held": 1, "token_expires_in_seconds": 600, `config_state{state="old token"}`: 1},
		"ends":  {`ends_in_seconds{what="client_secret"}`: 20*24*3600 + 3600, `config_state{state="ok"}`: 1},
		"never": {`config_state{state="never minted"}`: 1, "tokens_held": 0, "mints_last_hour": 0},
		"moved": {`config_state{state="failing"}`: 1},
	}
	for config, metrics := range want {
		expect(t, all.of(config), metrics)
	}
	for config, names := range map[string][]string{"refused": {"token_expires_in_seconds", "mints_per_hour", "provider_quota_remaining"}, "ok": {`config_state{state="failing"}`}} {
		for _, name := range names {
			if _, there := all.of(config)[name]; there {
				t.Errorf("%s of %s is told, and there is none", name, config)
			}
		}
	}
	withoutSecrets(t, "the metrics", text, append(s.Issued(), secretOne, "the-token-of-ok")...)
	if _, there := all["process_resident_memory_bytes"]; !there {
		t.Error("nothing is told of the process")
	}
}

// A read that fails before the provider is asked counts as well. A read of a config
// that does not exist begins no series.
func TestMetricsCountReadsThatFailEarly(t *testing.T) {
	e, _ := variety(t)
	for range 3 {
		refused(t, e.read(t, "token/moved"), http.StatusBadRequest)
		refused(t, e.read(t, "token/of-nobody"), http.StatusBadRequest)
	}
	succeeded(t, e.read(t, "status"))
	refused(t, e.read(t, "token/moved"), http.StatusBadRequest)
	all, _ := scrape(t, e)
	expect(t, all.of("moved"), scraped{`reads_total{result="failed"}`: 1})
	expect(t, all.of("other"), scraped{`reads_total{result="failed"}`: 6})
	if len(all.of("of-nobody")) > 0 {
		t.Error("a config that does not exist has a series")
	}
}

// A provider's quota is reported only until its window ends. An alert on the quota must
// end then, although nobody asks the provider again.
func TestMetricsForgetAQuotaThatIsOutdated(t *testing.T) {
	const answer = `{"access_token":"t","expires_in":7200}`
	for name, c := range map[string]struct {
		header http.Header
		lasts  time.Duration
		want   scraped
	}{
		"until its window ends": {
			http.Header{"RateLimit-Limit": {"100"}, "RateLimit-Remaining": {"7"}, "RateLimit-Reset": {"30"}}, 30 * time.Second,
			scraped{"provider_quota_remaining": 7, "provider_quota_limit": 100},
		},
		"for an hour, if nothing says when that is": {http.Header{"X-Ratelimit-Remaining": {"0"}}, time.Hour, scraped{"provider_quota_remaining": 0}},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{})
			e.must(t, "config/c", standard(s))
			s.Behave(providertest.Behavior{Times: 1, Body: answer, Header: c.header})
			succeeded(t, e.read(t, "token/c"))
			quota := func() scraped {
				all, _ := scrape(t, e)
				of := all.of("c")
				maps.DeleteFunc(of, func(name string, _ float64) bool { return !strings.HasPrefix(name, "provider_quota") })
				return of
			}
			e.clock.advance(c.lasts - time.Second)
			if got := quota(); !maps.Equal(got, c.want) {
				t.Errorf("a second before its end: %v, want %v", got, c.want)
			}
			e.clock.advance(time.Second)
			if got := quota(); len(got) > 0 {
				t.Errorf("at its end: %v", got)
			}
		})
	}
}

func TestMetricsTouchNoStorage(t *testing.T) {
	e, _ := variety(t)
	uses := e.uses()
	scrape(t, e)
	if n := uses.Load(); n != 0 {
		t.Errorf("a scrape touched storage %d times", n)
	}
}

// Only 200 configs have series of their own, however many configs there are. No counter
// ever falls.
func TestMetricsAreBounded(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	name := func(i int) string { return fmt.Sprintf("c%03d", i) }
	for i := range 210 {
		e.must(t, "config/"+name(i), with(standard(s), fields{"client_secret_expires_at": e.clock.Now().Add(time.Duration(400-i) * day).Format(time.RFC3339)}))
		succeeded(t, e.read(t, "token/"+name(i)))
	}
	succeeded(t, e.read(t, "status"))
	configs := func(all scraped) int {
		n := 0
		for series := range all {
			if strings.HasPrefix(series, "oauthcc_tokens_held{") {
				n++
			}
		}
		return n
	}
	all, _ := scrape(t, e)
	if got := configs(all); got != 201 {
		t.Errorf("%d configs are told apart, want 200 and the rest", got)
	}
	rest := scraped{`mints_total{outcome="ok"}`: 10, `reads_total{result="waited"}`: 10, "tokens_held": 10, "provider_request_duration_seconds": 10, `ends_in_seconds{what="client_secret"}`: 191 * 24 * 3600}
	expect(t, all.of("other"), rest)
	for series := range all.of("other") {
		if strings.HasPrefix(series, "config_state") {
			t.Errorf("the rest has a state: %s", series)
		}
	}
	succeeded(t, e.delete(t, "config/"+name(205)))
	succeeded(t, e.delete(t, "config/"+name(3)))
	e.must(t, "config/new", standard(s))
	succeeded(t, e.read(t, "token/new"))
	all, _ = scrape(t, e)
	expect(t, all.of("other"), scraped{`mints_total{outcome="ok"}`: 10, `reads_total{result="waited"}`: 10, "tokens_held": 9, "provider_request_duration_seconds": 10})
	expect(t, all.of("new"), scraped{`mints_total{outcome="ok"}`: 1})
	if got := configs(all); got != 201 {
		t.Errorf("%d configs are told apart after a deletion", got)
	}
}

// A config may be called "other", like the series that all further configs share.
func TestMetricsOfAConfigCalledOther(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/other", standard(s))
	succeeded(t, e.read(t, "token/other"))
	all, _ := scrape(t, e)
	expect(t, all.of("other"), scraped{`mints_total{outcome="ok"}`: 1, "tokens_held": 1})
}

func TestMetricsOfTwoMountsAreTheirOwn(t *testing.T) {
	e, other := mount(t), mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	succeeded(t, e.read(t, "token/c"))
	all, _ := scrape(t, other)
	if len(all.of("c")) > 0 || all[`oauthcc_configs{state="ok"}`] != 0 {
		t.Errorf("the other mount tells of it: %v", slices.Sorted(maps.Keys(all.of("c"))))
	}
}
