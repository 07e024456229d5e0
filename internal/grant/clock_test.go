// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// ofClock returns an answer from a clock that is this far ahead of this one.
func ofClock(ahead time.Duration, more ...string) http.Header {
	h := http.Header{"Date": {clock().Add(ahead).Format(http.TimeFormat)}}
	for i := 0; i < len(more); i += 2 {
		h.Set(more[i], more[i+1])
	}
	return h
}

func TestTheClockThatAnswered(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		header http.Header
		took   time.Duration // how long the request took
		want   time.Duration
	}{
		"the same second":                       {ofClock(0), 0, 0},
		"a second that has just begun":          {ofClock(-500 * time.Millisecond), 0, 0},
		"no Date":                               {http.Header{}, 0, 0},
		"no readable Date":                      {http.Header{"Date": {"today"}}, 0, 0},
		"a Date from while the request was out": {ofClock(-7 * time.Second), 8 * time.Second, 0},
		"ahead":                                 {ofClock(time.Minute), 0, 61 * time.Second},
		"ahead, after a while":                  {ofClock(time.Minute), 8 * time.Second, 69 * time.Second},
		"behind":                                {ofClock(-time.Minute), 0, -59 * time.Second},
		"behind, after a while":                 {ofClock(-time.Minute), 8 * time.Second, -51 * time.Second},
		"behind, but for a cache":               {ofClock(-time.Minute, "Age", "60"), 0, 0},
		"behind, and from a cache":              {ofClock(-2*time.Minute, "Age", "60"), 0, -59 * time.Second},
		"an Age that cannot be read":            {ofClock(-time.Minute, "Age", "old"), 0, -59 * time.Second},
		"a quarter of an hour ahead":            {ofClock(15 * time.Minute), 0, 15*time.Minute + time.Second},
		"more than that":                        {ofClock(15*time.Minute + time.Second), 0, 0},
		"more than that behind":                 {ofClock(-15*time.Minute - 2*time.Second), 0, 0},
		"another zone called GMT":               {ofClock(-5 * time.Hour), 0, 0},
	} {
		if got := clockAhead(tc.header, clock().Add(-tc.took), clock()); got != tc.want {
			t.Errorf("%s: got %s, want %s", name, got, tc.want)
		}
	}
}

func TestAMomentIsOneOfTheProvidersClock(t *testing.T) {
	t.Parallel()
	at := func(d time.Duration) string { return clock().Add(d).Format(time.RFC3339) }
	for name, tc := range map[string]struct {
		ahead   time.Duration
		members string
		want    time.Duration // the lifetime of the token
	}{
		"clocks that agree":                        {0, `"expires_at":"` + at(time.Hour) + `"`, time.Hour},
		"a clock ahead":                            {5 * time.Minute, `"expires_at":"` + at(time.Hour) + `"`, 55*time.Minute - time.Second},
		"a clock behind":                           {-5 * time.Minute, `"expires_at":"` + at(55*time.Minute) + `"`, time.Hour - time.Second},
		"a token that seems to have expired":       {-5 * time.Minute, `"expires_at":"` + at(-time.Minute) + `"`, 4*time.Minute - time.Second},
		"a token that only seems to live":          {5 * time.Minute, `"expires_at":"` + at(4*time.Minute) + `"`, 0},
		"a JWT":                                    {5 * time.Minute, `"access_token":"` + jwt(`{"exp":1767326645}`) + `"`, 55*time.Minute - time.Second},
		"a lifetime is one on any clock":           {5 * time.Minute, `"expires_in":3600,"expires_at":"` + at(time.Hour) + `"`, time.Hour},
		"a clock that is too far off to be one":    {-5 * time.Hour, `"expires_at":"` + at(time.Hour) + `"`, time.Hour},
		"too far off, with a moment by this clock": {5 * time.Hour, `"expires_at":"` + at(time.Hour) + `"`, time.Hour},
	} {
		body := strings.Replace(`{"access_token":"tok",`+tc.members+`}`, `"access_token":"tok","access_token"`, `"access_token"`, 1)
		got, err := readAnswer(standardRequest(""), reply{status: http.StatusOK, header: ofClock(tc.ahead), body: []byte(body)}, clock(), redactorFor(standardRequest("")))
		switch {
		case tc.want == 0:
			if err == nil || !strings.Contains(err.Error(), "already expired by its expires_at") || !strings.HasSuffix(err.Error(), "the provider's clock is 5m ahead of this one; "+clockRemedy) {
				t.Errorf("%s: got %+v, %v", name, got, err)
			}
		case err != nil || got.ExpiresAt.Sub(clock()) != tc.want:
			t.Errorf("%s: got %+v, %v; want %s", name, got, err, tc.want)
		}
	}
}

// If a provider says at what time it may be asked again, that time is on the provider's
// clock as well.
func TestAWaitIsOneOnTheProvidersClock(t *testing.T) {
	t.Parallel()
	reset := "1767323105" // a minute later
	for name, h := range map[string]http.Header{
		"Retry-After": ofClock(-30*time.Second, "Retry-After", "Fri, 02 Jan 2026 03:05:05 GMT"),
		"the quota":   ofClock(-30*time.Second, "X-RateLimit-Reset", reset),
	} {
		e := &Error{Kind: RateLimited}
		if e.heed(h, clock()); e.RetryAfter != 89*time.Second {
			t.Errorf("%s: got %s", name, e.RetryAfter)
		}
	}
	e := &Error{Kind: RateLimited}
	if e.heed(ofClock(time.Minute, "Retry-After", "20"), clock()); e.RetryAfter != 20*time.Second {
		t.Errorf("seconds are those of any clock: got %s", e.RetryAfter)
	}
}
