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
)

// Held is a token with the time that it lives.
type Held[T any] struct {
	Value   T
	Born    time.Time // when the provider's answer was there
	Expires time.Time // the provider's word
}

func (h Held[T]) length() time.Duration { return h.Expires.Sub(h.Born) }

func (h Held[T]) at(part float64) time.Time {
	return h.Born.Add(time.Duration(part * float64(h.length())))
}

// UsableUntil is the moment from which the token is never handed out: ten
// seconds before it expires, or 5 % of its length where that is less.
func (h Held[T]) UsableUntil() time.Time {
	return h.Expires.Add(-min(maxLeeway, time.Duration(leewayPart*float64(h.length()))))
}

// RenewsAt is the moment from which a reader waits for the next token.
func (h Held[T]) RenewsAt() time.Time { return h.at(renewAt) }

func (h Held[T]) usable(now time.Time) bool { return now.Before(h.UsableUntil()) }

// lasts says whether the token has min left; one that never could counts as
// lasting, or each read would mint.
func (h Held[T]) lasts(minLeft time.Duration, now time.Time) bool {
	return h.UsableUntil().Sub(now) >= minLeft || !h.canLast(minLeft)
}

func (h Held[T]) canLast(minLeft time.Duration) bool { return h.UsableUntil().Sub(h.Born) > minLeft }
