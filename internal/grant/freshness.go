// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Bounds for how long a document is used before the server is asked again. Within
// them, the server decides. The lower bound avoids a request for each mint when
// the server forbids caching. The upper bound lets a server that allows caching
// for a year move within a day.
const (
	leastFresh = 5 * time.Minute
	usualFresh = time.Hour // if the server states nothing
	mostFresh  = 24 * time.Hour
)

// freshness returns how long an answer may be used from now on (RFC 9111 section
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
		life = 0 // an invalid date counts as past (RFC 9111 section 5.3)
		if at, err := http.ParseTime(expires[0]); err == nil {
			life = at.Sub(dated(h, now))
		}
	}
	return min(max(life-seconds(h.Get("Age")), leastFresh), mostFresh)
}

// dated returns when the answer was made, according to its server's clock. It
// returns now if the answer has no date.
func dated(h http.Header, now time.Time) time.Time {
	if at, err := http.ParseTime(h.Get("Date")); err == nil {
		return at
	}
	return now
}

// seconds reads delta-seconds (RFC 9111 section 1.2.2). Any other text counts as
// 0.
func seconds(text string) time.Duration {
	n, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(text), `"`), 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}
