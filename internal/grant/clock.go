// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"net/http"
	"regexp"
	"strings"
	"time"
)

// maxAhead is the largest difference between the clocks that is corrected. A
// larger one is not clock drift: the Date is local time labelled as GMT, or the
// answer is old.
const maxAhead = 15 * time.Minute

// clockAhead returns how far the provider's clock is ahead of this one. It
// compares the Date of the answer (RFC 9110 section 6.6.1) and, if a cache
// answered, its Age (RFC 9111 section 5.1). Date has whole seconds and was
// written at some moment between sent and now, so the difference is only known
// within bounds. If the clocks may agree, the result is 0. Otherwise it is the
// upper bound, so that the provider's times come out too early here rather than
// too late.
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

// ofTime reports whether a server's words say that it does not accept the times
// of an assertion or a proof. It ignores RFC 6749's own sentence for
// invalid_grant ("invalid, expired, revoked, ..."), which says nothing about
// the times.
func ofTime(said string) bool {
	return timeWords.MatchString(said) && !strings.Contains(strings.ToLower(said), "revoked")
}

var timeWords = regexp.MustCompile(`(?i)expired|not yet valid|not before|nbf|issued in the future|clock|\biat\b|\bexp\b`)

// clockRemedy is what helps if the clocks differ.
const clockRemedy = "set the clock of Vault's host right, or have the provider set its own"

// clocks compares this clock with the provider's and adds the result to e. The
// clocks are the cause if they differ, or cannot be compared. ofAssertion is
// true if the provider refused the times of an assertion, and false if it
// refused those of a DPoP proof.
func (e *Error) clocks(h http.Header, now time.Time, ofAssertion bool) {
	_, err := http.ParseTime(h.Get("Date"))
	differ := clocksDiffer(h, now)
	switch {
	case err != nil:
		e.cause, e.Detail, e.Remedy = CauseClock, "the times are not accepted", "compare the clocks of Vault's host and of the provider"
	case differ != "":
		e.cause, e.Detail, e.Remedy = CauseClock, differ, clockRemedy
	case ofAssertion:
		e.Detail = "the clocks agree; see how long the provider lets an assertion live (assertion_lifetime)"
	default:
		e.Detail = "the clocks agree"
	}
}

// clocksDiffer describes by how much the clocks differ, according to the Date of
// an answer. It returns "" if they agree or the answer has no Date.
func clocksDiffer(h http.Header, now time.Time) string {
	date, err := http.ParseTime(h.Get("Date"))
	ahead := date.Sub(now).Round(time.Second)
	switch {
	case err != nil:
		return ""
	case ahead > time.Second:
		return "the provider's clock is " + InWords(ahead) + " ahead of this one"
	case ahead < -time.Second:
		return "the provider's clock is " + InWords(-ahead) + " behind this one"
	default:
		return ""
	}
}
