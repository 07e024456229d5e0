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

// history holds what has happened to a config's tokens since this process started.
// Reads are counted without a lock, because there are so many of them. A history is
// small, because there may be ten thousand of them: what rarely happens takes no
// memory until it happens.
type history struct {
	named bool // whether the config has metrics of its own; never changes
	reads [readResults]atomic.Int64

	mu sync.Mutex // guards what follows
	past
}

// past is the part of a history that its lock guards: everything except the reads.
// Its times are in nanoseconds since the epoch.
type past struct {
	mints     int64
	lastMint  int64   // 0 if there was none
	hour      minutes // mints of the last hour
	answer    lastAnswer
	took      []uint32 // how long the last exchanges with the provider took, in milliseconds
	exchanges uint32
	latency   *latency // of all exchanges; nil if the config has no metrics of its own
	current   bool     // whether a token was minted since the config's request last changed
	recalled  bool     // whether hour includes the mints of an earlier process, if there is a budget
	changes   uint32   // how often the facts have changed; facts that were read before a change are not kept
	facts     *facts   // nil if they have to be read from storage
	seldom    *seldom  // nil until there is something in it
}

// seldom holds what most configs never need.
type seldom struct {
	failures            int64            // mints that failed
	causes              map[string]int64 // of these failures, how many have which cause
	last                failure          // the last of these failures
	retries             int64            // requests for a token that were sent again
	checks              int64            // checks that brought a token
	fallbacks           int64            // mints with fallback_client_secret
	revoked, notRevoked int64            // attempts to revoke a token at the provider that succeeded, and that failed
	cause, code         string           // why the last exchange brought no token, and the provider's code for it; "" if it brought one
	quota               *lastQuota
	minting             int64 // mints under way, if there is a budget
}

// failure is a mint that failed.
type failure struct {
	at    time.Time
	text  string // with the remedy
	brief string
}

// lastAnswer is the last exchange with a provider about a token.
type lastAnswer struct {
	at       int64  // 0 if there was none
	took     uint32 // milliseconds
	attempts uint16
	status   uint16 // HTTP; 0 without an answer
}

// lastQuota is a quota that the provider stated in its headers, and when it did.
type lastQuota struct {
	grant.Quota
	at time.Time
}

// readResult is what became of a read of a token.
type readResult int

const (
	readHit    readResult = iota // a token that was in memory
	readWaited                   // a token that had to be minted, or loaded from storage
	readOld                      // the old token, because there is no new one yet
	readFailed                   // an error
	readResults
)

// readNames are the names of the results in status and metrics.
var readNames = []string{readHit: "hit", readWaited: "waited", readOld: "old", readFailed: "failed"}

// served returns how many tokens were handed out.
func (h *history) served() int64 {
	return h.reads[readHit].Load() + h.reads[readWaited].Load() + h.reads[readOld].Load()
}

// change changes the part of h that the lock guards.
func (h *history) change(to func(*past)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	to(&h.past)
}

// rare returns p.seldom for a change, and makes it if necessary.
func (p *past) rare() *seldom {
	if p.seldom == nil {
		p.seldom = &seldom{}
	}
	return p.seldom
}

// snapshot returns a copy of the part of h that the lock guards. In the copy, seldom
// is never nil.
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

// tell returns what status shows of h.
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

// quotaLasts is for how long a quota counts whose provider does not say when its
// window ends.
const quotaLasts = time.Hour

// holdsUntil returns when the quota is outdated: a new window has begun by then.
func (q *lastQuota) holdsUntil() time.Time {
	if q.Reset.IsZero() {
		return q.at.Add(quotaLasts)
	}
	return q.Reset
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

// keptDurations is the number of exchanges that the percentiles are computed from.
const keptDurations = 64

// asked records how long an exchange took that ended now.
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

// percentile returns the smallest of the sorted values that is at least as large as
// that percentage of them. There must be at least one value.
func percentile(sorted []uint32, percent int) int64 {
	return int64(sorted[(len(sorted)*percent+99)/100-1])
}

// latency counts exchanges by how long they took. There is one bucket for each of
// latencyBounds, and one for exchanges that took longer.
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

// windowMinutes is an hour and the minute that has just begun.
const windowMinutes = 61

// minutes counts events by minute, the oldest first. An event is counted for at least
// an hour, and for at most an hour and a minute.
type minutes []minute

// minute is the number of events in one minute.
type minute struct {
	at int32 // in minutes since the epoch
	n  uint32
}

func minuteOf(t time.Time) int32 { return int32(t.Unix() / 60) } //nolint:gosec // the year 6053

// advance removes the minutes that are older than an hour.
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

// sum returns the number of events in the last hour.
func (m *minutes) sum(now time.Time) int64 {
	m.advance(now)
	sum := int64(0)
	for _, one := range *m {
		sum += int64(one.n)
	}
	return sum
}
