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
// ten thousand histories, and the collector takes as much again, so that each of
// them is small: it has no place for what has not happened.
type history struct {
	named bool // the metrics tell it apart from others; never changes
	reads [readResults]atomic.Int64

	mu sync.Mutex // guards what follows
	past
}

// past is what a history holds beside the reads. Its moments are in nanoseconds
// since the epoch.
type past struct {
	mints     int64
	lastMint  int64   // 0 without one
	hour      minutes // mints
	answer    lastAnswer
	took      []uint32 // how long the last exchanges with the provider took, in milliseconds
	exchanges uint32
	latency   *latency // of all of them; nil where it is told with that of others
	current   bool     // a token was minted since the config became another request
	recalled  bool     // hour has the mints of an earlier process, where there is a budget
	changes   uint32   // of what facts are made of, so that none is kept that was looked up before one
	facts     *facts   // nil when they have to be looked up
	seldom    *seldom  // nil as long as there is nothing of it
}

// seldom is what most configs have nothing of.
type seldom struct {
	failures            int64            // mints that failed
	causes              map[string]int64 // of them
	last                failure          // of them
	retries             int64            // requests for a token that were sent again
	checks              int64            // that ended with a token
	fallbacks           int64            // mints with fallback_client_secret
	revoked, notRevoked int64            // tokens to be revoked at the provider
	cause, code         string           // of the last exchange, the code being the provider's; "" when it brought a token
	quota               *lastQuota
	minting             int64 // mints under way, where there is a budget
}

// failure is a mint that failed.
type failure struct {
	at    time.Time
	text  string // with the remedy
	brief string
}

// lastAnswer is the last exchange with a provider about a token.
type lastAnswer struct {
	at       int64  // 0 without one
	took     uint32 // milliseconds
	attempts uint16
	status   uint16 // HTTP; 0 without an answer
}

// lastQuota is what a provider's headers said of a quota, and when.
type lastQuota struct {
	grant.Quota
	at time.Time
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

// rare gives what happens seldom, to be changed.
func (p *past) rare() *seldom {
	if p.seldom == nil {
		p.seldom = &seldom{}
	}
	return p.seldom
}

// snapshot is a copy of what h holds beside the reads, with what happens seldom.
func (h *history) snapshot() past {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := h.past
	out.took, out.hour = slices.Clone(out.took), slices.Clone(out.hour)
	seldom := seldom{}
	if h.seldom != nil {
		seldom = *h.seldom
		seldom.causes = maps.Clone(seldom.causes)
	}
	out.seldom = &seldom
	if h.latency != nil {
		latency := *h.latency
		out.latency = &latency
	}
	return out
}

// tell is what status shows of it.
func (h *history) tell(now time.Time) map[string]any {
	p := h.snapshot()
	reads, causes := map[string]any{}, map[string]any{}
	for result, name := range readNames {
		reads[name] = h.reads[result].Load()
	}
	for cause, n := range p.seldom.causes {
		causes[cause] = n
	}
	out := map[string]any{
		"mints": p.mints, "failures": p.seldom.failures, "failure_causes": causes, "retries": p.seldom.retries, "checks": p.seldom.checks,
		"served": h.served(), "reads": reads, "revoked": p.seldom.revoked, "not_revoked": p.seldom.notRevoked,
		"mints_last_hour": p.hour.sum(now),
	}
	if p.lastMint != 0 {
		out["last_mint"] = stamp(time.Unix(0, p.lastMint))
	}
	if p.seldom.failures > 0 {
		out["last_failure"], out["last_error"] = stamp(p.seldom.last.at), p.seldom.last.text
	}
	if p.answer.at != 0 {
		out["last_answer"] = p.tellAnswer()
		sorted := slices.Sorted(slices.Values(p.took))
		out["durations_ms"] = map[string]any{
			"count": int64(len(sorted)), "p50": percentile(sorted, 50), "p90": percentile(sorted, 90), "p99": percentile(sorted, 99), "max": percentile(sorted, 100),
		}
	}
	if p.seldom.quota != nil {
		out["quota"] = p.seldom.quota.tell()
	}
	return out
}

func (p *past) tellAnswer() map[string]any {
	out := map[string]any{"at": stamp(time.Unix(0, p.answer.at)), "duration_ms": int64(p.answer.took), "attempts": int64(p.answer.attempts)}
	if p.answer.status != 0 {
		out["http_status"] = int64(p.answer.status)
	}
	if p.seldom.cause != "" {
		out["cause"] = p.seldom.cause
	}
	if p.seldom.code != "" {
		out["code"] = p.seldom.code
	}
	return out
}

func (q *lastQuota) tell() map[string]any {
	out := map[string]any{"at": stamp(q.at)}
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

// keptDurations is of how many exchanges percentiles are made.
const keptDurations = 64

// asked notes how long an exchange took, of which the provider was asked at now.
func (p *past) asked(x grant.Exchange, now time.Time) {
	ms := milliseconds(x.Took)
	p.answer = lastAnswer{at: now.UnixNano(), took: ms, attempts: uint16(x.Attempts), status: uint16(x.Status)} //nolint:gosec // three attempts, three digits
	if len(p.took) < keptDurations {
		p.took = append(p.took, ms)
	} else {
		p.took[p.exchanges%keptDurations] = ms
	}
	p.exchanges++
}

func milliseconds(d time.Duration) uint32 {
	return uint32(min(max(d.Milliseconds(), 0), math.MaxUint32))
}

// percentile is the least of sorted values that so many percent of them do not
// exceed. There must be one.
func percentile(sorted []uint32, percent int) int64 {
	return int64(sorted[(len(sorted)*percent+99)/100-1])
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

func (l *latency) add(other *latency) {
	if other == nil {
		return
	}
	for i, n := range other.buckets {
		l.buckets[i] += n
	}
	l.sum += other.sum
}

// windowMinutes is an hour, and the minute that has begun.
const windowMinutes = 61

// minutes counts events by the minute, the oldest first, for an hour. What happened
// counts for an hour at least, and for an hour and a minute at most.
type minutes []minute

// minute is how many there were in a minute.
type minute struct {
	at int32 // in minutes since the epoch
	n  uint32
}

func minuteOf(t time.Time) int32 { return int32(t.Unix() / 60) } //nolint:gosec // the year 6053

// advance forgets what is older than an hour.
func (m *minutes) advance(now time.Time) {
	first := minuteOf(now) - windowMinutes + 1
	*m = slices.DeleteFunc(*m, func(one minute) bool { return one.at < first })
}

func (m *minutes) add(now time.Time) {
	m.advance(now)
	at := minuteOf(now)
	if last := len(*m) - 1; last >= 0 && (*m)[last].at >= at { // the clock may have been put back
		(*m)[last].n++
		return
	}
	*m = append(*m, minute{at, 1})
}

// sum is how many there were in the last hour.
func (m *minutes) sum(now time.Time) int64 {
	m.advance(now)
	sum := int64(0)
	for _, one := range *m {
		sum += int64(one.n)
	}
	return sum
}
