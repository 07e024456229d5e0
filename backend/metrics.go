// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"maps"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/tokencache"
)

const (
	// maxNamed is how many configs have metrics of their own: the first ones that this
	// process has seen. All others are added up under one name, so that the number of
	// series is bounded, however many configs there are.
	maxNamed = 200

	// restLabel is the name of all others together.
	restLabel = "other"
)

// latencyBounds are the upper bounds of the histogram of exchanges with providers.
var latencyBounds = []time.Duration{
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second,
	2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute,
}

// metrics is a prometheus.Collector for the metrics of one mount. It computes them
// during a scrape from what the observer and the cache know. So nothing is counted
// twice, and metrics make no read of a token slower.
type metrics struct {
	b *backend

	info, reads, mints, duration, retries, checks, revocations     *prometheus.Desc
	configs, state, held, expires, ends, lastHour, perHour, events *prometheus.Desc
	quotaLeft, quotaLimit                                          *prometheus.Desc
}

// newMetrics returns a registry with the metrics of b only.
func newMetrics(b *backend) *prometheus.Registry {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("oauthcc_"+name, help, labels, nil)
	}
	m := &metrics{
		b:           b,
		info:        desc("build_info", "The build of the plugin; always 1.", "version", "commit"),
		reads:       desc("reads_total", "Reads of tokens by result: hit (from memory), waited (for a mint, or for storage), old (the old token, because refreshing it fails or takes long), failed.", "config", "result"),
		mints:       desc("mints_total", "Mints by outcome: ok, fallback (with fallback_client_secret), or failed, and then by cause.", "config", "outcome", "cause"),
		duration:    desc("provider_request_duration_seconds", "How long exchanges with providers about a token took, retries included.", "config"),
		retries:     desc("provider_retries_total", "Requests for a token that were sent again, after a broken connection or a 502, 503 or 504.", "config"),
		checks:      desc("checks_total", "Checks that ended with a token.", "config"),
		revocations: desc("revocations_total", "Attempts to revoke a token at its provider by outcome: revoked, failed.", "config", "outcome"),
		configs:     desc("configs", "Configs by state: failing (readers get errors), old token (the last refresh failed), never minted, ok.", "state"),
		state:       desc("config_state", "The state of a config; 1 for the one that it is in.", "config", "state"),
		held:        desc("tokens_held", "Usable tokens in memory.", "config"),
		expires:     desc("token_expires_in_seconds", "Seconds until the first usable token expires.", "config"),
		ends:        desc("ends_in_seconds", "Seconds until a secret or certificate expires; negative when it has expired.", "config", "what"),
		lastHour:    desc("mints_last_hour", "Tokens minted within the last hour.", "config"),
		perHour:     desc("mints_per_hour", "How many tokens may be minted within an hour, if that is limited.", "config"),
		quotaLeft:   desc("provider_quota_remaining", "Requests left of the provider's quota, as its headers last stated it; absent when that is outdated.", "config"),
		quotaLimit:  desc("provider_quota_limit", "Requests that the provider's quota allows, as its headers last stated it.", "config"),
		events:      desc("events_total", "Events for Vault's event system by outcome: sent, failed, dropped (there were too many).", "outcome"),
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(m, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		m.info, m.reads, m.mints, m.duration, m.retries, m.checks, m.revocations,
		m.configs, m.state, m.held, m.expires, m.ends, m.lastHour, m.perHour, m.quotaLeft, m.quotaLimit, m.events,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	now := m.b.now()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(m.info, 1, m.b.build.Version, m.b.build.Commit)
	all, inState := m.b.series(now)
	for _, state := range states {
		gauge(m.configs, float64(inState[state]), state)
	}
	for outcome, n := range map[string]int64{
		"sent": m.b.observer.events.sent.Load(), "failed": m.b.observer.events.failed.Load(), "dropped": m.b.observer.events.dropped.Load(),
	} {
		out <- prometheus.MustNewConstMetric(m.events, prometheus.CounterValue, float64(n), outcome)
	}
	for config, s := range all {
		m.count(out, config, s)
		gauge(m.held, float64(s.held), config)
		gauge(m.lastHour, float64(s.lastHour), config)
		if !s.expires.IsZero() {
			gauge(m.expires, s.expires.Sub(now).Seconds(), config)
		}
		for what, at := range s.ends {
			gauge(m.ends, at.Sub(now).Seconds(), config, what)
		}
		if config == restLabel {
			continue // the rest of the loop is about a single config
		}
		gauge(m.state, 1, config, s.state)
		if s.budget > 0 {
			gauge(m.perHour, float64(s.budget), config)
		}
		if q := s.quota; q != nil && now.Before(q.holdsUntil()) {
			for desc, n := range map[*prometheus.Desc]int64{m.quotaLeft: q.Remaining, m.quotaLimit: q.Limit} {
				if n >= 0 {
					gauge(desc, float64(n), config)
				}
			}
		}
	}
}

// count sends the counters of one config, or of all others together.
func (m *metrics) count(out chan<- prometheus.Metric, config string, s *series) {
	counter := func(d *prometheus.Desc, n int64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), append([]string{config}, labels...)...)
	}
	for result, name := range readNames {
		counter(m.reads, s.read[result], name)
	}
	counter(m.mints, s.mints-s.fallbacks, "ok", "")
	counter(m.mints, s.fallbacks, "fallback", "")
	for cause, n := range s.causes {
		counter(m.mints, n, "failed", cause)
	}
	counter(m.retries, s.retries)
	counter(m.checks, s.checks)
	counter(m.revocations, s.revoked, "revoked")
	counter(m.revocations, s.notRevoked, "failed")
	buckets, count := map[float64]uint64{}, uint64(0)
	for i, bound := range latencyBounds {
		count += s.latency.buckets[i]
		buckets[bound.Seconds()] = count
	}
	count += s.latency.buckets[len(latencyBounds)]
	out <- prometheus.MustNewConstHistogram(m.duration, count, s.latency.sum.Seconds(), buckets, config)
}

// series holds the metrics of one config, or of all others together.
type series struct {
	seldom
	mints    int64
	read     [readResults]int64
	latency  latency
	held     int
	expires  time.Time // when the first of the held tokens expires
	ends     map[string]time.Time
	lastHour int64
	state    string
	budget   int64
}

// series returns the metrics by label, and the number of configs in each state. It
// reads no storage: facts that are not in memory yet are missing until a survey has
// read them.
func (b *backend) series(now time.Time) (map[string]*series, map[string]int) {
	tokens := b.tokensByConfig()
	out, inState := map[string]*series{}, map[string]int{}
	histories, rest := b.observer.all()
	out[restLabel] = &series{}
	out[restLabel].add(rest, now)
	for config, h := range histories {
		label := restLabel
		if h.named {
			label = config
		}
		s := out[label]
		if s == nil {
			s = &series{}
			out[label] = s
		}
		s.add(h, now)
		s.addTokens(tokens[config], now)
		known, _ := h.knownFacts(now)
		if known == nil {
			known = &facts{}
		}
		for _, e := range known.ends {
			s.ends = earliest(s.ends, e.what, e.at)
		}
		s.state, s.budget = b.standing(config, known, tokens[config]).state, known.budget
		inState[s.state]++
	}
	return out, inState
}

// add adds the counts of a history to s.
func (s *series) add(h *history, now time.Time) {
	p := h.snapshot()
	for result := range s.read {
		s.read[result] += h.reads[result].Load()
	}
	s.mints += p.mints
	s.absorb(p.seldom)
	s.quota = p.seldom.quota
	s.lastHour += p.hour.sum(now)
	s.latency.add(p.latency)
}

// absorb adds the counters of other.
func (s *seldom) absorb(other *seldom) {
	s.failures += other.failures
	s.retries += other.retries
	s.checks += other.checks
	s.fallbacks += other.fallbacks
	s.revoked += other.revoked
	s.notRevoked += other.notRevoked
	for cause, n := range other.causes {
		if s.causes == nil {
			s.causes = map[string]int64{}
		}
		s.causes[cause] += n
	}
}

// inherit adds the counters of a history that ends, because its config was deleted.
func (h *history) inherit(ended *history) {
	for result := range h.reads {
		h.reads[result].Add(ended.reads[result].Load())
	}
	p := ended.snapshot()
	h.change(func(own *past) {
		own.mints += p.mints
		own.rare().absorb(p.seldom) // its latency has been counted here from the start
	})
}

func (s *series) addTokens(tokens []tokencache.Status[*minted], now time.Time) {
	for _, t := range tokens {
		if t.Held == nil || !now.Before(t.Held.UsableUntil()) {
			continue
		}
		s.held++
		if s.expires.IsZero() || t.Held.Expires.Before(s.expires) {
			s.expires = t.Held.Expires
		}
	}
}

func earliest(ends map[string]time.Time, what string, at time.Time) map[string]time.Time {
	if ends == nil {
		ends = map[string]time.Time{}
	}
	if before, known := ends[what]; !known || at.Before(before) {
		ends[what] = at
	}
	return ends
}

// all returns the histories by config, and the history of everything that belongs to
// none of them.
func (o *observer) all() (byConfig map[string]*history, rest *history) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.byConfig), &o.rest
}
