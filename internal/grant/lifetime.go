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

// maxLifetime keeps arithmetic with absurd lifetimes within time.Duration.
const maxLifetime = 100 * 365 * 24 * time.Hour

// longestLife is what no token lives: a lifetime of more is a moment in its place,
// if that is one of these years.
const longestLife = 30 * 365 * 24 * time.Hour

// maxSpelled is far more bytes than any lifetime or moment takes.
const maxSpelled = 256

// expire finds out until when t lives: the answer's word, else the JWT's, else
// the configured default. A word that cannot be read counts as none, and is an
// error when nothing else says it. A moment is one of the provider's clock, which
// need not agree with this one.
func (a Answer) expire(t *Token, doc document, now time.Time, f *filter) *Error {
	lifetime := func(v any) (time.Duration, bool) {
		if f.repeatsWithin(v) {
			return 0, false
		}
		d, ok := durationOf(v, a.ExpiresInUnit)
		if at, isMoment := (Moment{}).read(v); d >= longestLife && isMoment {
			if left := at.Add(-doc.ahead).Sub(now); left > -24*time.Hour && left < longestLife {
				return left, true // a moment in the place of a lifetime, as some servers have it
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
		t.ExpiresAt, t.Lifetime = at.Add(-doc.ahead), LifetimeExpiresAt
	} else if at, ok := jwtExpiry(t.AccessToken); ok {
		t.ExpiresAt, t.Lifetime = at.Add(-doc.ahead), LifetimeJWT
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
		detail := fmt.Sprintf("the token has already expired by its %s; if that does not mean an expiry, set expires_in_pointer=[] and default_token_lifetime", t.Lifetime)
		failed := &Error{Kind: Unintelligible, Expired: true, Detail: detail}
		if differ := clocksDiffer(doc.header, now); differ != "" && t.Lifetime != LifetimeExpiresIn {
			failed.Detail, failed.cause = failed.Detail+"; "+differ, CauseClock
		}
		return failed
	}
	return nil
}

// withoutLifetime says what was wrong with what the answer says of the token's
// lifetime, if anything.
func (a Answer) withoutLifetime(doc document) *Error {
	const remedy = "; set default_token_lifetime, or the pointer where it stands"
	if _, found := first(doc, a.ExpiresIn, present); found {
		return &Error{Kind: Unintelligible, Detail: fmt.Sprintf(
			"the lifetime at %s is neither a number of %s nor a duration such as 3600s, 1h30m, PT1H or 01:00:00%s",
			list(a.ExpiresIn), unitName(a.ExpiresInUnit), remedy)}
	}
	if _, found := first(doc, a.ExpiresAt, present); found {
		wanted := "a time (RFC 3339 or epoch), for any other notation of which there is expires_at_format"
		if a.Moment.Format != "" {
			wanted = "a time as expires_at_format says"
		}
		return &Error{Kind: Unintelligible, Detail: fmt.Sprintf("the lifetime at %s is not %s%s", list(a.ExpiresAt), wanted, remedy)}
	}
	return &Error{Kind: Misconfigured, Detail: fmt.Sprintf(
		"the answer states no lifetime (looked at %s and %s)%s", list(a.ExpiresIn), list(a.ExpiresAt), remedy)}
}

// durationOf reads a lifetime: a number of units, or a text that states its
// units itself.
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

// The ways to spell a duration, each with the groups weeks, days, hours, minutes
// and seconds.
var (
	// ISO 8601. Years and months are of no certain length.
	isoDuration = regexp.MustCompile(`^P(?:` + decimal + `W)?(?:` + decimal + `D)?(?:T(?:` + decimal + `H)?(?:` + decimal + `M)?(?:` + decimal + `S)?)?$`)
	// As Go and protocol buffers write it, and people do.
	unitDuration = regexp.MustCompile(`(?i)^(?:` + decimal + ` ?w(?:eeks?)?)?,? ?(?:` + decimal + ` ?d(?:ays?)?)?,? ?(?:` + decimal + ` ?h(?:(?:ou)?rs?)?)?,? ?(?:` +
		decimal + ` ?m(?:in(?:ute)?s?)?)?,? ?(?:` + decimal + ` ?s(?:ec(?:ond)?s?)?)?$`)
	// D:HH:MM:SS and HH:MM:SS, also as .NET writes them.
	clockDuration = regexp.MustCompile(`^()(?:(\d{1,6})[:.])?(\d{1,4}):([0-5]?\d):([0-5]?\d(?:[.,]\d+)?)$`)
)

// spelledDuration reads a duration in any of those forms, as nanoseconds.
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

// JWTEnd is when a JWT says that it ends (RFC 7519 section 4.1.4), and false for
// what is no JWT or does not say. Nothing vouches for what it says.
func JWTEnd(token string) (time.Time, bool) { return jwtExpiry(token) }

// jwtExpiry reads exp (RFC 7519 section 4.1.4), unverified: it is only asked
// when to come back.
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
