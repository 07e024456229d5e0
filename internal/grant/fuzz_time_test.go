// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"net/http"
	"testing"
	"time"
)

// FuzzMoment reads arbitrary text in every format that Check accepts. The
// result must be a time that can be stored, and no token may expire at a time
// that has already passed.
func FuzzMoment(f *testing.F) {
	for _, format := range []string{"", "%d/%m/%Y %I:%M %p", "%Y%m%d%H%M%S%z", "%F %T %Z", "%A, %e %b %y %R", "%c", "%D", "%", "%%", "%-d.%-m.%Y", "%j %Y", "%F.%f"} {
		for _, zone := range []string{"", "Europe/Berlin", "+05:30", "Local", "../x"} {
			for _, text := range []string{"30/09/2026 08:20 PM", "20260102040405+0300", "2026-10-25 02:30:00 CEST", "/Date(1767326645000+0100)/", "1767326645.5", "2026-01-02T04:04:05Z", "Fri Jan 02 2026 05:04:05 GMT+0100 (CET)"} {
				f.Add(format, zone, text)
			}
		}
	}
	f.Fuzz(func(t *testing.T, format, name, text string) {
		zone, err := ZoneNamed(name)
		if err != nil {
			return
		}
		m := Moment{Format: format, Zone: zone}
		if m.Check() != nil {
			return
		}
		if at, ok := m.read(text); ok {
			a := Answer{ExpiresAt: []Pointer{""}, Moment: m}
			token := &Token{AccessToken: "tok"}
			if a.expire(token, document{body: text, within: readTextOnce()}, clock(), redactor{}.filter()) != nil {
				return
			}
			if _, err := token.ExpiresAt.MarshalText(); err != nil || !token.ExpiresAt.After(clock()) {
				t.Errorf("%q is %s, and the token lives until %s, %v", text, at, token.ExpiresAt, err)
			}
		}
	})
}

// FuzzHeaders reads times and quotas from arbitrary headers. The results must
// be within bounds.
func FuzzHeaders(f *testing.F) {
	for _, h := range quotas() {
		f.Add(h.Get("Retry-After"), h.Get("RateLimit"), h.Get("RateLimit-Policy"), h.Get("X-RateLimit-Reset"), "Fri, 02 Jan 2026 03:04:00 GMT", "1")
	}
	f.Add("120", `"a\"b";r=1;t=2, (a b);r=1`, "x;q=1.5", "1e9", "Fri, 02 Jan 2026 03:09:00 GMT", "-1")
	f.Fuzz(func(t *testing.T, retry, limit, policy, reset, date, age string) {
		h := http.Header{
			"Retry-After": {retry}, "Ratelimit": {limit}, "Ratelimit-Policy": {policy}, "X-Ratelimit-Reset": {reset}, "X-Ratelimit-Limit": {reset}, "Date": {date}, "Age": {age},
		}
		e := &Error{Kind: RateLimited}
		if e.heed(h, clock()); e.RetryAfter < 0 || e.RetryAfter > maxRetryAfter || e.RetryAfter%time.Second != 0 {
			t.Errorf("waits %s", e.RetryAfter)
		}
		q := quotaOf(h, clock())
		if q.Limit < -1 || q.Remaining < -1 || !q.Reset.IsZero() && (q.Reset.Before(clock()) || q.Reset.Sub(clock()) > maxLifetime+time.Second) {
			t.Errorf("got %+v", q)
		}
		if ahead := clockAhead(h, clock().Add(-time.Minute), clock()); ahead.Abs() > maxAhead+time.Minute+time.Second {
			t.Errorf("is %s ahead", ahead)
		}
	})
}
