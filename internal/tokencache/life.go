// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tokencache

import "time"

// The stages of a token's life, as fractions of its length L.
const (
	refreshAt  = 0.70 // from here on a read starts a refresh in the background
	renewAt    = 0.80 // from here on readers wait for the new token
	leewayPart = 0.05
	maxLeeway  = 10 * time.Second

	// leastLease is the usable life that the shortest lease needs. A token with less
	// is not handed out.
	leastLease = time.Second
)

// Held is a token with its lifetime.
type Held[T any] struct {
	Value   T
	Born    time.Time // when the provider's answer arrived
	Expires time.Time // as stated by the provider

	// Repeated is when the provider last returned this same token again, zero if it
	// never did. A repeat changes neither Born nor Expires.
	Repeated time.Time

	// Late means that a new token ends this one, so that it is replaced as late as
	// possible.
	Late bool
}

func (h Held[T]) length() time.Duration { return h.Expires.Sub(h.Born) }

func (h Held[T]) at(part float64) time.Time {
	return h.Born.Add(time.Duration(part * float64(h.length())))
}

// UsableUntil returns when the token stops being handed out, unless there is no
// better one: ten seconds before it expires, or 5 % of its length if that is less.
func (h Held[T]) UsableUntil() time.Time {
	return h.Expires.Add(-min(maxLeeway, time.Duration(leewayPart*float64(h.length()))))
}

// RefreshesAt returns when a read starts a refresh. A provider that returned the
// same token again is asked again after half of the remaining time, so that it is
// asked only a few times, however long the token lives.
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

// RenewsAt returns when a reader waits for the next token. Readers do not wait if
// the provider has just returned the same token again.
func (h Held[T]) RenewsAt() time.Time {
	switch {
	case !h.Repeated.IsZero():
		return later(h.UsableUntil(), h.RefreshesAt())
	case h.Late:
		return h.UsableUntil()
	}
	return h.at(renewAt)
}

// until returns how far a lease that begins now may reach. If the provider repeats
// a token, that token is the best there is, also in its last seconds.
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

// young reports whether the token was minted too recently to be replaced on
// demand, and is not due for replacement either.
func (h Held[T]) young(now time.Time) bool {
	return now.Sub(later(h.Born, h.Repeated)) < youth && now.Before(h.RenewsAt()) && h.leases(now)
}

// serves reports whether the token is good enough for a reader that would otherwise
// wait for another one.
func (h Held[T]) serves(fresh bool, minLeft time.Duration, now time.Time) bool {
	if !h.usable(now) || !now.Before(h.RenewsAt()) {
		return false
	}
	return h.young(now) || !fresh && h.lasts(minLeft, now)
}

// lasts reports whether the token has minLeft left. It also does so for a token that
// could never have as much, because each read would mint otherwise, and for a token
// whose successor would end it for all other readers.
func (h Held[T]) lasts(minLeft time.Duration, now time.Time) bool {
	return h.UsableUntil().Sub(now) >= minLeft || !h.canLast(minLeft) || h.Late && h.leases(now)
}

// leases reports whether the token lasts for the shortest lease.
func (h Held[T]) leases(now time.Time) bool { return h.until(now).Sub(now) >= leastLease }

func (h Held[T]) canLast(minLeft time.Duration) bool { return h.UsableUntil().Sub(h.Born) > minLeft }

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
