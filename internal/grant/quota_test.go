// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// quotas returns the ways in which servers say that none of 100 requests is left until
// a minute has passed.
func quotas() map[string]http.Header {
	at := clock().Add(time.Minute)
	fields := func(family, reset string) http.Header {
		h := http.Header{}
		h.Set(family+"Limit", "100")
		h.Set(family+"Remaining", "0")
		h.Set(family+"Reset", reset)
		return h
	}
	return map[string]http.Header{
		"the fields of the sixth draft":           fields("RateLimit-", "60"),
		"with policies behind the limit":          {"Ratelimit-Limit": {"100, 100;w=60, 10000;w=86400"}, "Ratelimit-Remaining": {"0"}, "Ratelimit-Reset": {"60"}},
		"the dictionary of the seventh":           {"Ratelimit": {"limit=100, remaining=0, reset=60"}},
		"the list of the present one":             {"Ratelimit": {`"default";r=0;t=60`}, "Ratelimit-Policy": {`"default";q=100;w=3600`}},
		"of several windows the one that is used": {"Ratelimit": {`"burst";r=3;t=1, "hour";r=0;t=60`, `"day";r=1000;t=86400`}, "Ratelimit-Policy": {`"burst";q=10;w=1,"hour";q=100;w=3600`}},
		"of those the last to end":                {"Ratelimit": {`"hour";r=0;t=60, "burst";r=0;t=1`}, "Ratelimit-Policy": {`"hour";q=100`}},
		"before the older fields":                 {"Ratelimit": {`a;r=0;t=60`}, "Ratelimit-Policy": {"a;q=100"}, "X-Ratelimit-Remaining": {"50"}},
		"an epoch, as GitHub and Auth0 send it":   fields("X-RateLimit-", strconv.FormatInt(at.Unix(), 10)),
		"an epoch, as Okta sends it":              fields("X-Rate-Limit-", strconv.FormatInt(at.Unix(), 10)),
		"an epoch in milliseconds":                fields("X-RateLimit-", strconv.FormatInt(at.UnixMilli(), 10)),
		"seconds":                                 fields("X-RateLimit-", "60"),
		"a fraction of seconds":                   fields("X-RateLimit-", "59.2"),
		"RFC 3339":                                fields("X-RateLimit-", at.Format(time.RFC3339)),
		"a time of HTTP":                          fields("X-RateLimit-", at.Format(http.TimeFormat)),
	}
}

func TestTheQuotaOfAnAnswer(t *testing.T) {
	t.Parallel()
	for name, h := range quotas() {
		want := Quota{Limit: 100, Remaining: 0, Reset: clock().Add(time.Minute)}
		if got := quotaOf(h, clock()); got != want || !got.Known() {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
	for name, tc := range map[string]struct {
		header http.Header
		want   Quota
	}{
		"nothing":            {http.Header{"Retry-After": {"60"}}, unknownQuota()},
		"nothing readable":   {http.Header{"Ratelimit": {"x="}, "X-Ratelimit-Reset": {"soon"}, "X-Ratelimit-Limit": {"many"}, "X-Ratelimit-Remaining": {"-1"}, "Ratelimit-Limit": {"1e3"}}, unknownQuota()},
		"only a limit":       {http.Header{"X-Ratelimit-Limit": {"100"}}, Quota{Limit: 100, Remaining: -1}},
		"only what is left":  {http.Header{"Ratelimit": {"a;r=5"}}, Quota{Limit: -1, Remaining: 5}},
		"only the reset":     {http.Header{"X-Rate-Limit-Reset": {"60"}}, Quota{Limit: -1, Remaining: -1, Reset: clock().Add(time.Minute)}},
		"no number":          {http.Header{"Ratelimit": {`a;r="5";t=-1, (a b);r=1, b;t=1, c;r=7;t=1.5`}}, Quota{Limit: -1, Remaining: 7}},
		"a thousand windows": {http.Header{"Ratelimit": {strings.Repeat("a;r=1,", 1000) + "a;r=1"}}, unknownQuota()},
		"a far reset":        {http.Header{"Ratelimit": {"a;r=5;t=999999999999999"}}, Quota{Limit: -1, Remaining: 5, Reset: clock().Add(maxLifetime)}},
		"milliseconds":       {http.Header{"X-Ratelimit-Remaining": {"5"}, "X-Ratelimit-Reset": {"600000"}}, Quota{Limit: -1, Remaining: 5, Reset: clock().Add(10 * time.Minute)}},
	} {
		if got := quotaOf(tc.header, clock()); got != tc.want || got.Known() != (tc.want != unknownQuota()) {
			t.Errorf("%s: got %+v, want %+v", name, got, tc.want)
		}
	}
}

func TestTheQuotaSaysWhenToComeBack(t *testing.T) {
	t.Parallel()
	with := func(h http.Header, more http.Header) http.Header {
		h = h.Clone()
		for name, values := range more {
			h[name] = values
		}
		return h
	}
	plain := quotas()["seconds"]
	type row struct {
		status int
		header http.Header
		want   time.Duration
	}
	rows := map[string]row{
		"out of order":       {503, plain, time.Minute},
		"Retry-After counts": {429, with(plain, http.Header{"Retry-After": {"7"}}), 7 * time.Second},
		"a Retry-After that cannot be read is none": {429, with(plain, http.Header{"Retry-After": {"soon"}}), time.Minute},
		"the reset alone": {429, http.Header{"X-Rate-Limit-Reset": {"60"}}, time.Minute},
		"while there are requests left, the limit is another": {429, with(plain, http.Header{"X-Ratelimit-Remaining": {"1"}}), 0},
		"a refusal has nothing to do with it":                 {400, plain, 0},
		"a reset that is past":                                {429, with(plain, http.Header{"X-Ratelimit-Reset": {"1767322985"}}), 0},
		"a day at most":                                       {429, http.Header{"Ratelimit": {"a;r=0;t=2592000"}}, 24 * time.Hour},
	}
	for name, h := range quotas() {
		rows[fmt.Sprintf("by %s", name)] = row{429, h, time.Minute}
	}
	for name, tc := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := granting(t)
			s.Behave(providertest.Behavior{Times: -1, Status: tc.status, Header: tc.header, Body: `{"error":"x"}`})
			e := refusal(t, standardRequest(s.TokenURL()))
			if e.RetryAfter != tc.want || e.RetryHint() != tc.want {
				t.Errorf("got %s, want %s", e.RetryAfter, tc.want)
			}
			if n := s.Requests(); n != 1 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}
