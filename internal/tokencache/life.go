// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tokencache

import "time"

// The life of a token, as parts of its length L.
const (
	refreshAt  = 0.70 // from here on one reader's request starts a refresh behind its back
	renewAt    = 0.80 // from here on readers wait for the new token
	leewayPart = 0.05
	maxLeeway  = 10 * time.Second

	// leastLease is what the least lease takes: with less left, no token is
	// handed out.
	leastLease = time.Second
)

// Held is a token with the time that it lives.
type Held[T any] struct {
	Value   T
	Born    time.Time // when the provider's answer was there
	Expires time.Time // the provider's word

	// Repeated is when the provider last handed out this very token again,
	// zero when it never did. A repeat changes neither Born nor Expires.
	Repeated time.Time

	// Late says that a new token ends this one, so that it is replaced no
	// earlier than it must be.
	Late bool
}

func (h Held[T]) length() time.Duration { return h.Expires.Sub(h.Born) }

func (h Held[T]) at(part float64) time.Time {
	return h.Born.Add(time.Duration(part * float64(h.length())))
}

// UsableUntil is the moment from which the token is not handed out, unless
// there is none better: ten seconds before it expires, or 5 % of its length
// where that is less.
func (h Held[T]) UsableUntil() time.Time {
	return h.Expires.Add(-min(maxLeeway, time.Duration(leewayPart*float64(h.length()))))
}

// RefreshesAt is the moment from which a reader's request starts a refresh. A
// provider that repeats the token is asked again when half of what was left is
// over, so that it is asked a few times more, however long the token lives.
func (h Held[T]) RefreshesAt() time.Time {
	at := h.at(refreshAt)
	if h.Late {
		at = h.UsableUntil()
	}
	if h.Repeated.IsZero() {
		return at
	}
	return later(at, h.Repeated.Add(max(h.Expires.Sub(h.Repeated)/2, time.Second)))
}

// RenewsAt is the moment from which a reader waits for the next token. Nobody
// waits for one that the provider has just been asked for in vain.
func (h Held[T]) RenewsAt() time.Time {
	switch {
	case !h.Repeated.IsZero():
		return later(h.UsableUntil(), h.RefreshesAt())
	case h.Late:
		return h.UsableUntil()
	}
	return h.at(renewAt)
}

// until is how far a lease that is given now may reach: a token that the
// provider repeats is the best that there is in its last seconds as well.
func (h Held[T]) until(now time.Time) time.Time {
	if until := h.UsableUntil(); h.Repeated.IsZero() || until.Sub(now) >= leastLease {
		return until
	}
	return h.Expires
}

func (h Held[T]) usable(now time.Time) bool {
	if h.Repeated.IsZero() {
		return now.Before(h.UsableUntil())
	}
	return h.Expires.Sub(now) >= leastLease
}

// young says that the token was fetched too short a time ago to be replaced on
// demand, and is not due either.
func (h Held[T]) young(now time.Time) bool {
	return now.Sub(later(h.Born, h.Repeated)) < youth && now.Before(h.RenewsAt()) && h.leases(now)
}

// serves says whether the token is good for a reader who would otherwise wait
// for another one.
func (h Held[T]) serves(fresh bool, minLeft time.Duration, now time.Time) bool {
	if !h.usable(now) || !now.Before(h.RenewsAt()) {
		return false
	}
	return h.young(now) || !fresh && h.lasts(minLeft, now)
}

// lasts says whether the token has minLeft left. One that never could counts as
// lasting, or each read would mint; so does one whose successor would end it
// for everybody else.
func (h Held[T]) lasts(minLeft time.Duration, now time.Time) bool {
	return h.UsableUntil().Sub(now) >= minLeft || !h.canLast(minLeft) || h.Late && h.leases(now)
}

// leases says whether the least lease can be given.
func (h Held[T]) leases(now time.Time) bool { return h.until(now).Sub(now) >= leastLease }

func (h Held[T]) canLast(minLeft time.Duration) bool { return h.UsableUntil().Sub(h.Born) > minLeft }

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
