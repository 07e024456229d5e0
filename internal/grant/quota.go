// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"
)

// Quota is what an answer's headers say of how often the provider may be asked: of
// the window that has the fewest requests left, if they tell of several. Nothing
// but numbers and times is read: a header may hold anything, such as a part of the
// request.
type Quota struct {
	Limit     int64     // requests that the window allows; -1 when unsaid
	Remaining int64     // those of them that are left; -1 when unsaid
	Reset     time.Time // when the window ends; zero when unsaid
}

// unknownQuota is what an answer says that says nothing.
func unknownQuota() Quota { return Quota{Limit: -1, Remaining: -1} }

// Known says whether the answer said anything.
func (q Quota) Known() bool { return q != unknownQuota() }

// quotaOf reads the RateLimit fields of draft-ietf-httpapi-ratelimit-headers, of
// its present form and of earlier ones, and what came before them.
func quotaOf(h http.Header, now time.Time) Quota {
	said := false
	for name := range h {
		said = said || strings.HasPrefix(strings.TrimPrefix(name, "X-"), "Rate") // as all of them, in canonical form
	}
	if !said { // as by most
		return unknownQuota()
	}
	if q := structuredQuota(h, now); q.Known() {
		return q
	}
	there := now.Add(clockAhead(h, now, now))
	for _, family := range []string{"RateLimit-", "X-RateLimit-", "X-Rate-Limit-"} {
		q := Quota{Limit: count(h.Get(family + "Limit")), Remaining: count(h.Get(family + "Remaining"))}
		if wait, said := waitOf(h.Get(family+"Reset"), there, true); said {
			q.Reset = now.Add(wait)
		}
		if q.Known() {
			return q
		}
	}
	return unknownQuota()
}

// maxQuotaFields is far more bytes than a few windows and their policies take.
const maxQuotaFields = 4 << 10

// structuredQuota reads the RateLimit field, a list of windows of which each has
// the parameters r (remaining) and t (seconds to the reset); their limits are the
// parameters q of the RateLimit-Policy field. In the seventh draft it was a
// dictionary.
func structuredQuota(h http.Header, now time.Time) Quota {
	fields, policyFields := h.Values("RateLimit"), h.Values("RateLimit-Policy")
	if len(fields) == 0 || len(strings.Join(slices.Concat(fields, policyFields), ",")) > maxQuotaFields {
		return unknownQuota()
	}
	if dictionary, err := httpsfv.UnmarshalDictionary(fields); err == nil {
		member := func(name string) int64 {
			if m, found := dictionary.Get(name); found {
				if item, isItem := m.(httpsfv.Item); isItem {
					return integer(item.Value)
				}
			}
			return -1
		}
		if r := member("remaining"); r >= 0 {
			return newQuota(member("limit"), r, member("reset"), now)
		}
	}
	windows, _ := httpsfv.UnmarshalList(fields)
	policies, _ := httpsfv.UnmarshalList(policyFields)
	least := unknownQuota()
	for _, m := range windows {
		window, isItem := m.(httpsfv.Item)
		if !isItem {
			continue
		}
		q := newQuota(-1, parameter(window, "r"), parameter(window, "t"), now)
		for _, m := range policies {
			if policy, isItem := m.(httpsfv.Item); isItem && policy.Value == window.Value {
				q.Limit = parameter(policy, "q")
			}
		}
		if q.Remaining >= 0 && (!least.Known() || q.Remaining < least.Remaining || q.Remaining == least.Remaining && q.Reset.After(least.Reset)) {
			least = q
		}
	}
	return least
}

func newQuota(limit, remaining, seconds int64, now time.Time) Quota {
	q := Quota{Limit: limit, Remaining: remaining}
	if seconds >= 0 {
		q.Reset = now.Add(time.Duration(min(seconds, int64(maxLifetime/time.Second))) * time.Second)
	}
	return q
}

func parameter(of httpsfv.Item, name string) int64 {
	v, _ := of.Params.Get(name)
	return integer(v)
}

// integer is a number of requests or seconds, -1 when v is none.
func integer(v any) int64 {
	if n, isInteger := v.(int64); isInteger && n >= 0 {
		return n
	}
	return -1
}

// count reads a number of requests, -1 when there is none. Several windows may
// be behind the one that counts: "100, 100;w=60".
func count(text string) int64 {
	text, _, _ = strings.Cut(text, ",")
	text, _, _ = strings.Cut(text, ";")
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// wait is the time until a new window begins, when nothing is left of this one;
// otherwise 0.
func (q Quota) wait(now time.Time) time.Duration {
	if q.Remaining > 0 || q.Reset.IsZero() {
		return 0
	}
	return max(q.Reset.Sub(now), 0)
}

// maxRetryAfter bounds a provider's wish to be left alone.
const maxRetryAfter = 24 * time.Hour

// waitOf reads a time to wait: a number of seconds, a time, or the seconds or
// milliseconds since the epoch. It gives whole seconds, rounded up. With
// milliseconds, a number of more than a day is one of those, as some servers send
// it.
func waitOf(text string, now time.Time, milliseconds bool) (time.Duration, bool) {
	if text = strings.TrimSpace(text); text == "" {
		return 0, false
	}
	at, isTime := Moment{}.read(text)
	wait := at.Sub(now)
	if n, isNumber := number(text); isNumber {
		switch {
		case isTime && n >= 1e9 && (n < 1e11 || n >= 1e12): // a time from 2001 on
		case milliseconds && n > maxRetryAfter.Seconds():
			n /= 1000
			fallthrough
		default:
			wait = time.Duration(min(max(n, 0), maxLifetime.Seconds()) * float64(time.Second))
		}
	} else if !isTime {
		return 0, false
	}
	wait = min(max(wait, 0), maxLifetime)
	return (wait + time.Second - 1).Truncate(time.Second), true
}

// heed takes from an answer for how long the provider wants no further request.
// Where it refuses without saying so by Retry-After (RFC 9110 section 10.2.3), and
// has no requests left, it is until there are new ones.
func (e *Error) heed(h http.Header, now time.Time) {
	wait, _ := waitOf(h.Get("Retry-After"), now.Add(clockAhead(h, now, now)), false)
	if wait == 0 && (e.Kind == RateLimited || e.Kind == Unavailable) {
		wait = quotaOf(h, now).wait(now)
	}
	e.RetryAfter = min(wait, maxRetryAfter)
}

// asksToWait says whether the provider wants no further request at once.
func asksToWait(h http.Header, now time.Time) bool {
	return h.Get("Retry-After") != "" || quotaOf(h, now).wait(now) > 0
}
