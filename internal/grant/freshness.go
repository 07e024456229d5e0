// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// How long a document is used without asking again: as its server says, within
// bounds. A server that forbids to keep it is still not asked for it by every
// mint, and one that lets it be kept for a year can move within a day.
const (
	leastFresh = 5 * time.Minute
	usualFresh = time.Hour // where the server says nothing
	mostFresh  = 24 * time.Hour
)

// freshness is for how long an answer may be used from now on (RFC 9111 section
// 4.2.1), within bounds.
func freshness(h http.Header, now time.Time) time.Duration {
	life, said := usualFresh, false
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return leastFresh
		case "max-age":
			life, said = seconds(value), true
		}
	}
	if expires := h.Values("Expires"); !said && len(expires) > 0 {
		life = 0 // what is no date has passed (RFC 9111 section 5.3)
		if at, err := http.ParseTime(expires[0]); err == nil {
			life = at.Sub(dated(h, now))
		}
	}
	return min(max(life-seconds(h.Get("Age")), leastFresh), mostFresh)
}

// dated is when the answer was made by its server's clock, now without a date.
func dated(h http.Header, now time.Time) time.Time {
	if at, err := http.ParseTime(h.Get("Date")); err == nil {
		return at
	}
	return now
}

// seconds reads a delta-seconds (RFC 9111 section 1.2.2), as none what is not.
func seconds(text string) time.Duration {
	n, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(text), `"`), 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}
