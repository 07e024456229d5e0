// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	firstBackoff = time.Second
	maxBackoff   = 30 * time.Second

	// Of a refusal that holds: each further attempt may lock an account.
	firstHold = 30 * time.Second
	maxHold   = time.Hour
)

// Failure is a mint that failed, as it is remembered until the next attempt.
type Failure struct {
	Err  error
	At   time.Time // when it failed
	Next time.Time // before then the provider is not asked again

	backoffs, holds int // failures of either sort since the last success
}

// Error is the cause, with when it happened and when the next attempt is due.
func (f *Failure) Error() string {
	return fmt.Sprintf("%s (at %s; next attempt from %s on)", f.Err, f.At.UTC().Format(time.RFC3339), f.Next.UTC().Format(time.RFC3339))
}

// Unwrap gives the cause.
func (f *Failure) Unwrap() error { return f.Err }

func (f *Failure) waits(now time.Time) bool { return f != nil && now.Before(f.Next) }

// after is the failure that follows f, of a mint that began at started:
// exponential backoff with jitter, or what the provider wants if that is later.
// A mint that began no later than f is no further attempt.
func (f *Failure) after(err error, started, now time.Time) *Failure {
	next := &Failure{Err: err, At: now}
	if f != nil {
		next.backoffs, next.holds = f.backoffs, f.holds
	}
	first, longest, count := firstBackoff, maxBackoff, &next.backoffs
	if says(err, holds.Holds) {
		first, longest, count = firstHold, maxHold, &next.holds
	}
	together := f != nil && !started.After(f.At)
	if !together || *count == 0 {
		*count++
	}
	wait := min(first<<min(*count-1, 10), longest)
	wait = wait*3/4 + rand.N(wait/4) //nolint:gosec // jitter needs no secrecy
	var hint interface{ RetryHint() time.Duration }
	if errors.As(err, &hint) {
		wait = max(wait, hint.RetryHint())
	}
	next.Next = now.Add(wait)
	if together {
		next.Next = later(next.Next, f.Next)
	}
	return next
}

// What an error may say of itself, beside the provider's wish (RetryHint).
type (
	// holds: the provider refuses the credentials, so that asking again with
	// the same ones helps nobody.
	holds interface{ Holds() bool }

	// ofRequest: it is this one request that fails, and not its client.
	ofRequest interface{ OfRequest() bool }

	// ended: the provider hands out a token whose end has come.
	ended interface{ Ended() bool }
)

func says[E any](err error, what func(E) bool) bool {
	var e E
	return errors.As(err, &e) && what(e)
}
