// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

// history is what has happened to a config's tokens since this process started.
// Reads are counted without a lock, since there are so many of them. There may be
// thousands of histories, so that each of them is small, however long it gets.
type history struct {
	named bool // the metrics tell it apart from others; never changes
	reads [readResults]atomic.Int64

	mu sync.Mutex // guards what follows
	past
}

// past is what a history holds beside the reads.
type past struct {
	mints, failures     int64
	retries             int64            // requests for a token that were sent again
	checks              int64            // that ended with a token
	fallbacks           int64            // mints with fallback_client_secret
	revoked, notRevoked int64            // tokens to be revoked at the provider
	causes              map[string]int64 // failures by their cause
	current             bool             // a token was minted since the config became another request
	lastMint            time.Time
	lastFailure         *failure
	lastAnswer          *lastAnswer
	took                *durations // of exchanges with the provider
	quota               grant.Quota
	quotaAt             time.Time // zero when no answer told of one
	hour                *minutes  // mints
	recalled            bool      // with those of an earlier process, where there is a budget
	minting             int64     // mints under way, where there is a budget

	facts   *facts // nil when they have to be looked up
	changes int    // of what facts are made of, so that none is kept that was looked up before one
}

// failure is a mint that failed.
type failure struct {
	at    time.Time
	text  string // with the remedy
	brief string
}

// lastAnswer is the last exchange with a provider about a token.
type lastAnswer struct {
	grant.Exchange
	at    time.Time
	cause string // of its failure; "" without one
	code  string // the provider's, likewise
}

// readResult is what became of a read of a token.
type readResult int

const (
	readHit    readResult = iota // a token that was in memory
	readWaited                   // a token that had to be minted, or loaded from storage
	readOld                      // the old token, since there is no new one (yet)
	readFailed                   // an error
	readResults
)

// readNames are the results as status and metrics name them.
var readNames = []string{readHit: "hit", readWaited: "waited", readOld: "old", readFailed: "failed"}

// served is how many tokens were handed out.
func (h *history) served() int64 {
	return h.reads[readHit].Load() + h.reads[readWaited].Load() + h.reads[readOld].Load()
}

// change changes what h holds beside the reads.
func (h *history) change(to func(*past)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	to(&h.past)
}

// snapshot is a copy of what h holds beside the reads.
func (h *history) snapshot() past {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := h.past
	if out.took != nil {
		took := *out.took
		out.took = &took
	}
	if out.hour != nil {
		hour := *out.hour
		out.hour = &hour
	}
	out.causes = maps.Clone(out.causes)
	return out
}

// tell is what status shows of it.
func (h *history) tell(now time.Time) map[string]any {
	p := h.snapshot()
	reads, causes := map[string]any{}, map[string]any{}
	for result, name := range readNames {
		reads[name] = h.reads[result].Load()
	}
	for cause, n := range p.causes {
		causes[cause] = n
	}
	out := map[string]any{
		"mints": p.mints, "failures": p.failures, "failure_causes": causes, "retries": p.retries, "checks": p.checks,
		"served": h.served(), "reads": reads, "revoked": p.revoked, "not_revoked": p.notRevoked,
		"mints_last_hour": p.hour.sum(now),
	}
	if !p.lastMint.IsZero() {
		out["last_mint"] = stamp(p.lastMint)
	}
	if p.lastFailure != nil {
		out["last_failure"], out["last_error"] = stamp(p.lastFailure.at), p.lastFailure.text
	}
	if p.lastAnswer != nil {
		out["last_answer"] = p.lastAnswer.tell()
		sorted := p.took.sorted()
		out["durations_ms"] = map[string]any{
			"count": int64(len(sorted)), "p50": percentile(sorted, 50), "p90": percentile(sorted, 90), "p99": percentile(sorted, 99), "max": percentile(sorted, 100),
		}
	}
	if !p.quotaAt.IsZero() {
		out["quota"] = tellQuota(p.quota, p.quotaAt)
	}
	return out
}

func (a *lastAnswer) tell() map[string]any {
	out := map[string]any{"at": stamp(a.at), "duration_ms": a.Took.Milliseconds(), "attempts": int64(a.Attempts)}
	if a.Status != 0 {
		out["http_status"] = int64(a.Status)
	}
	if a.cause != "" {
		out["cause"] = a.cause
	}
	if a.code != "" {
		out["code"] = a.code
	}
	return out
}

func tellQuota(q grant.Quota, at time.Time) map[string]any {
	out := map[string]any{"at": stamp(at)}
	for name, n := range map[string]int64{"limit": q.Limit, "remaining": q.Remaining} {
		if n >= 0 {
			out[name] = n
		}
	}
	if !q.Reset.IsZero() {
		out["reset"] = stamp(q.Reset)
	}
	return out
}

// durations keeps how long the last exchanges took, and of all of them how many
// took how long.
type durations struct {
	n  int
	ms [64]uint32
	latency
}

// latency counts exchanges by how long they took: as long as each of latencyBounds
// at most, and longer.
type latency struct {
	buckets [11]uint64
	sum     time.Duration
}

func (l *latency) observe(took time.Duration) {
	i, _ := slices.BinarySearch(latencyBounds, took)
	l.buckets[i]++
	l.sum += took
}

func (l *latency) add(other latency) {
	for i, n := range other.buckets {
		l.buckets[i] += n
	}
	l.sum += other.sum
}

func (d *durations) add(took time.Duration) {
	d.observe(took)
	d.ms[d.n%len(d.ms)] = uint32(min(max(took.Milliseconds(), 0), math.MaxUint32))
	d.n++
}

// sorted gives those that are kept, the shortest first, in milliseconds.
func (d *durations) sorted() []uint32 {
	kept := slices.Clone(d.ms[:min(d.n, len(d.ms))])
	slices.Sort(kept)
	return kept
}

// percentile is the least of sorted values that so many percent of them do not
// exceed. There must be one.
func percentile(sorted []uint32, percent int) int64 {
	return int64(sorted[(len(sorted)*percent+99)/100-1])
}

// windowMinutes is an hour, and the minute that has begun.
const windowMinutes = 61

// minutes counts events by the minute, for an hour. What happened counts for
// an hour at least, and for an hour and a minute at most.
type minutes struct {
	newest int64 // since the epoch
	n      [windowMinutes]uint32
}

func minuteOf(t time.Time) int64 { return t.Unix() / 60 }

// advance forgets what is older than an hour.
func (m *minutes) advance(now time.Time) {
	to := minuteOf(now)
	for at := max(m.newest+1, to-windowMinutes+1); at <= to; at++ {
		m.n[at%windowMinutes] = 0
	}
	m.newest = max(m.newest, to)
}

func (m *minutes) add(now time.Time) {
	m.advance(now)
	m.n[m.newest%windowMinutes]++
}

// sum is how many there were in the last hour.
func (m *minutes) sum(now time.Time) int64 {
	if m == nil {
		return 0
	}
	m.advance(now)
	sum := int64(0)
	for _, n := range m.n {
		sum += int64(n)
	}
	return sum
}
