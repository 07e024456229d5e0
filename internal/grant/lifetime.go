// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// maxLifetime limits lifetimes so that arithmetic with them stays within
// time.Duration.
const maxLifetime = 100 * 365 * 24 * time.Hour

// longestLife is longer than any token lives. A "lifetime" of at least this
// length is read as a time instead, if that time lies between one day ago and
// longestLife from now.
const longestLife = 30 * 365 * 24 * time.Hour

// maxSpelled is the maximum length of a lifetime or a time in bytes. It is far
// more than any real one needs.
const maxSpelled = 256

// expire sets when t expires. It takes the lifetime that the answer states,
// else the expiry in a JWT, else the configured default. A statement that
// cannot be read is skipped; it is an error only if no other source has a
// lifetime. Times are corrected by the difference between the provider's clock
// and this one.
func (a Answer) expire(t *Token, doc document, now time.Time, f *filter) *Error {
	lifetime := func(v any) (time.Duration, bool) {
		if f.repeatsWithin(v) {
			return 0, false
		}
		d, ok := durationOf(v, a.ExpiresInUnit)
		if at, isMoment := (Moment{}).read(v); d >= longestLife && isMoment {
			if left := at.Add(-doc.ahead()).Sub(now); left > -24*time.Hour && left < longestLife {
				return left, true // some servers send a time instead of a lifetime
			}
		}
		return d, ok
	}
	moment := func(v any) (time.Time, bool) {
		if f.repeatsWithin(v) {
			return time.Time{}, false
		}
		return a.Moment.read(v)
	}
	if d, found := first(doc, a.ExpiresIn, lifetime); found {
		t.ExpiresAt, t.Lifetime = now.Add(d), LifetimeExpiresIn
	} else if at, found := first(doc, a.ExpiresAt, moment); found {
		t.ExpiresAt, t.Lifetime = at.Add(-doc.ahead()), LifetimeExpiresAt
	} else if at, ok := jwtExpiry(t.AccessToken); ok {
		t.ExpiresAt, t.Lifetime = at.Add(-doc.ahead()), LifetimeJWT
	} else if a.DefaultLifetime > 0 {
		t.ExpiresAt, t.Lifetime = now.Add(a.DefaultLifetime), LifetimeDefault
	} else {
		return a.withoutLifetime(doc)
	}
	if limit := now.Add(maxLifetime); t.ExpiresAt.After(limit) {
		t.ExpiresAt = limit
	}
	t.ExpiresAt = t.ExpiresAt.UTC()
	if !t.ExpiresAt.After(now) {
		failed := &Error{
			Kind: Unintelligible, Expired: true, Detail: fmt.Sprintf("the token has already expired by its %s", t.Lifetime),
			Remedy: "if that does not mean an expiry, set expires_in_pointer=[] and default_token_lifetime",
		}
		if differ := clocksDiffer(doc.header, now); differ != "" && t.Lifetime != LifetimeExpiresIn {
			failed.Detail, failed.Remedy, failed.cause = failed.Detail+", and "+differ, clockRemedy, CauseClock
		}
		return failed
	}
	return nil
}

// withoutLifetime returns an error that explains why the answer's lifetime
// cannot be read, or that the answer states none.
func (a Answer) withoutLifetime(doc document) *Error {
	const remedy = "set default_token_lifetime, or the pointer where it stands"
	if _, found := first(doc, a.ExpiresIn, present); found {
		return &Error{Kind: Unintelligible, Remedy: remedy, Detail: fmt.Sprintf(
			"the lifetime at %s is neither a number of %s nor a duration such as 3600s, 1h30m, PT1H or 01:00:00",
			list(a.ExpiresIn), unitName(a.ExpiresInUnit))}
	}
	if _, found := first(doc, a.ExpiresAt, present); found {
		wanted := "a time (RFC 3339 or epoch), for any other notation of which there is expires_at_format"
		if a.Moment.Format != "" {
			wanted = "a time as expires_at_format says"
		}
		return &Error{Kind: Unintelligible, Remedy: remedy, Detail: fmt.Sprintf("the lifetime at %s is not %s", list(a.ExpiresAt), wanted)}
	}
	return &Error{Kind: Misconfigured, Remedy: remedy, Detail: fmt.Sprintf(
		"the answer states no lifetime (looked at %s and %s)", list(a.ExpiresIn), list(a.ExpiresAt))}
}

// durationOf reads a lifetime: either a number of units, or a text that states
// its own units.
func durationOf(v any, unit time.Duration) (time.Duration, bool) {
	if unit == 0 {
		unit = time.Second
	}
	n, ok := number(v)
	n *= float64(unit)
	if text, isText := v.(string); isText && !ok && len(text) <= maxSpelled {
		n, ok = spelledDuration(strings.TrimSpace(text))
	}
	return time.Duration(min(max(n, 0), float64(maxLifetime))), ok
}

const decimal = `(\d+(?:[.,]\d+)?)`

// The notations of a duration. Each has groups for weeks, days, hours, minutes and
// seconds.
var (
	// ISO 8601. Years and months are left out, because their length varies.
	isoDuration = regexp.MustCompile(`^P(?:` + decimal + `W)?(?:` + decimal + `D)?(?:T(?:` + decimal + `H)?(?:` + decimal + `M)?(?:` + decimal + `S)?)?$`)
	// As written by Go, by protocol buffers and by people.
	unitDuration = regexp.MustCompile(`(?i)^(?:` + decimal + ` ?w(?:eeks?)?)?,? ?(?:` + decimal + ` ?d(?:ays?)?)?,? ?(?:` + decimal + ` ?h(?:(?:ou)?rs?)?)?,? ?(?:` +
		decimal + ` ?m(?:in(?:ute)?s?)?)?,? ?(?:` + decimal + ` ?s(?:ec(?:ond)?s?)?)?$`)
	// D:HH:MM:SS and HH:MM:SS, also as .NET writes them.
	clockDuration = regexp.MustCompile(`^()(?:(\d{1,6})[:.])?(\d{1,4}):([0-5]?\d):([0-5]?\d(?:[.,]\d+)?)$`)
)

// spelledDuration reads a duration in any of these forms and returns
// nanoseconds.
func spelledDuration(text string) (float64, bool) {
	for _, form := range []*regexp.Regexp{isoDuration, unitDuration, clockDuration} {
		m := form.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		total, said := 0.0, false
		for i, unit := range []time.Duration{7 * 24 * time.Hour, 24 * time.Hour, time.Hour, time.Minute, time.Second} {
			if n, err := strconv.ParseFloat(strings.Replace(m[i+1], ",", ".", 1), 64); err == nil {
				total, said = total+n*float64(unit), true
			}
		}
		return total, said
	}
	return 0, false
}

func unitName(unit time.Duration) string {
	switch unit {
	case time.Millisecond:
		return "milliseconds"
	case time.Minute:
		return "minutes"
	default:
		return "seconds"
	}
}

// JWTEnd returns when a JWT expires, according to its exp claim (RFC 7519 section
// 4.1.4). It returns false if the token is not a JWT or has no such claim. The
// claim is not verified.
func JWTEnd(token string) (time.Time, bool) { return jwtExpiry(token) }

// jwtExpiry reads the exp claim (RFC 7519 section 4.1.4) without verifying the
// JWT: the result only decides when to ask for the next token.
func jwtExpiry(token string) (time.Time, bool) {
	parts := strings.SplitN(token, ".", 4)
	if len(parts) != 3 {
		return time.Time{}, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return time.Time{}, false
	}
	doc, _ := parseJSON(string(payload))
	exp, found := Pointer("/exp").lookup(doc, readText)
	if !found {
		return time.Time{}, false
	}
	if _, isNumber := exp.(json.Number); !isNumber {
		return time.Time{}, false
	}
	return Moment{}.read(exp)
}
