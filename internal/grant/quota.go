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

// Quota says how often the provider may be asked, according to the headers of
// an answer. If they describe several windows, it is the one with the fewest
// requests left. Only numbers and times are read, because a header may hold
// anything, such as a part of the request.
type Quota struct {
	Limit     int64     // requests that the window allows; -1 if unsaid
	Remaining int64     // requests that are left; -1 if unsaid
	Reset     time.Time // when the window ends; zero if unsaid
}

// unknownQuota returns the quota of an answer that states none.
func unknownQuota() Quota { return Quota{Limit: -1, Remaining: -1} }

// Known reports whether the answer stated anything.
func (q Quota) Known() bool { return q != unknownQuota() }

// quotaOf reads the RateLimit fields of draft-ietf-httpapi-ratelimit-headers,
// in its current and earlier forms, and the older headers that came before the
// draft.
func quotaOf(h http.Header, now time.Time) Quota {
	said := false
	for name := range h {
		said = said || strings.HasPrefix(strings.TrimPrefix(name, "X-"), "Rate") // all these headers begin this way in canonical form
	}
	if !said { // most answers have none of them
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

// maxQuotaFields is the maximum length of the fields in bytes. It is far more
// than a few windows and their policies need.
const maxQuotaFields = 4 << 10

// structuredQuota reads the RateLimit field. It is a list of windows, each with
// the parameters r (remaining requests) and t (seconds until the reset). Their
// limits are the q parameters of the RateLimit-Policy field. In the seventh
// draft, the RateLimit field was a dictionary.
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

// integer returns a number of requests or seconds, or -1 if v is not one.
func integer(v any) int64 {
	if n, isInteger := v.(int64); isInteger && n >= 0 {
		return n
	}
	return -1
}

// count reads a number of requests, or returns -1 if there is none. Other
// windows may follow the number: "100, 100;w=60". They are ignored.
func count(text string) int64 {
	text, _, _ = strings.Cut(text, ",")
	text, _, _ = strings.Cut(text, ";")
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// wait returns the time until the window ends, if no requests are left in it.
// Otherwise it returns 0.
func (q Quota) wait(now time.Time) time.Duration {
	if q.Remaining > 0 || q.Reset.IsZero() {
		return 0
	}
	return max(q.Reset.Sub(now), 0)
}

// maxRetryAfter limits how long a provider's request to wait is obeyed.
const maxRetryAfter = 24 * time.Hour

// waitOf reads a time to wait: a number of seconds, a time, or the seconds or
// milliseconds since the epoch. The result is rounded up to whole seconds. If
// milliseconds is true, a number of more than a day in seconds is read as
// milliseconds, because some servers send these.
func waitOf(text string, now time.Time, milliseconds bool) (time.Duration, bool) {
	if text = strings.TrimSpace(text); text == "" {
		return 0, false
	}
	at, isTime := Moment{}.read(text)
	wait := at.Sub(now)
	if n, isNumber := number(text); isNumber {
		switch {
		case isTime && n >= 1e9 && (n < 1e11 || n >= 1e12): // a time since the epoch, from 2001 on
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

// heed reads from an answer for how long the provider wants no further request.
// Retry-After (RFC 9110 section 10.2.3) decides. Without it, if the provider
// limits the rate or is unavailable and no requests are left, the wait lasts
// until the window ends.
func (e *Error) heed(h http.Header, now time.Time) {
	wait, _ := waitOf(h.Get("Retry-After"), now.Add(clockAhead(h, now, now)), false)
	if wait == 0 && (e.Kind == RateLimited || e.Kind == Unavailable) {
		wait = quotaOf(h, now).wait(now)
	}
	e.RetryAfter = min(wait, maxRetryAfter)
}

// asksToWait reports whether the provider wants no further request right now.
func asksToWait(h http.Header, now time.Time) bool {
	return h.Get("Retry-After") != "" || quotaOf(h, now).wait(now) > 0
}
