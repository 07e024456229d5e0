// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"net/http"
	"regexp"
	"strings"
	"time"
)

// maxAhead is how far a clock may be off for the Date of its answers to be used.
// What is further off is no clock that drifts, but local time called GMT, or an
// old answer.
const maxAhead = 15 * time.Minute

// clockAhead is how far the clock that answered is ahead of this one, by the Date
// of the answer (RFC 9110 section 6.6.1) and, where a cache answered, its Age
// (RFC 9111 section 5.1). A Date is of whole seconds, and was written at some
// moment between the sending of the request and now. So it is 0 for clocks that
// may agree, and else the largest difference that there may be, by which times of
// the provider come out too early here rather than too late.
func clockAhead(h http.Header, sent, now time.Time) time.Duration {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0
	}
	date = date.Add(seconds(h.Get("Age")))
	least, most := date.Sub(now), date.Add(time.Second).Sub(sent)
	if least <= 0 && most >= 0 || max(least, -most) > maxAhead {
		return 0
	}
	return most
}

// ofTime is what servers say of an assertion whose times they do not accept. It
// passes over RFC 6749's own sentence for invalid_grant ("invalid, expired,
// revoked, ..."), which says nothing of the time.
func ofTime(said string) bool {
	return timeWords.MatchString(said) && !strings.Contains(strings.ToLower(said), "revoked")
}

var timeWords = regexp.MustCompile(`(?i)expired|not yet valid|not before|nbf|issued in the future|clock|\biat\b|\bexp\b`)

// clocks compares this clock with the one that answered, and says whether they
// differ, as far as can be told. ofAssertion says that the times that were refused
// are an assertion's, and not a proof's.
func clocks(h http.Header, now time.Time, ofAssertion bool) (said string, unlike bool) {
	_, err := http.ParseTime(h.Get("Date"))
	differ := clocksDiffer(h, now)
	switch {
	case err != nil:
		return "the times are not accepted; compare the clocks of both sides", true
	case differ != "":
		return differ, true
	case ofAssertion:
		return "the clocks agree; see how long the provider lets an assertion live (assertion_lifetime)", false
	default:
		return "the clocks agree", false
	}
}

// clocksDiffer says by how much, by the Date of an answer; "" when they do not, or
// the answer has none.
func clocksDiffer(h http.Header, now time.Time) string {
	date, err := http.ParseTime(h.Get("Date"))
	ahead := date.Sub(now).Round(time.Second)
	switch {
	case err != nil:
		return ""
	case ahead > time.Second:
		return "the provider's clock is " + InWords(ahead) + " ahead of this one; set the clocks right"
	case ahead < -time.Second:
		return "the provider's clock is " + InWords(-ahead) + " behind this one; set the clocks right"
	default:
		return ""
	}
}
