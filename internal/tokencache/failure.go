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

	// For a refusal of the credentials: each further attempt may lock the account.
	firstHold = 30 * time.Second
	maxHold   = time.Hour
)

// Failure is a failed mint, remembered until the next attempt.
type Failure struct {
	Err  error
	At   time.Time // when it failed
	Next time.Time // the provider is not asked before then

	backoffs, holds int // failures of each kind since the last success
}

// Error returns the cause, when it happened, and when the next attempt is due.
func (f *Failure) Error() string {
	return fmt.Sprintf("%s (at %s; next attempt from %s on)", f.Err, f.At.UTC().Format(time.RFC3339), f.Next.UTC().Format(time.RFC3339))
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

func (f *Failure) waits(now time.Time) bool { return f != nil && now.Before(f.Next) }

// after returns the failure that follows f, for a mint that began at started. The
// wait grows exponentially with jitter, or is what the provider asks for if that is
// longer. A mint that began no later than f does not count as a further attempt.
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

// What an error may report, beside how long the provider wants us to wait
// (RetryHint).
type (
	// holds: the provider refuses the credentials, so that asking again with the same
	// credentials is useless.
	holds interface{ Holds() bool }

	// ofRequest: only this request fails, not its client.
	ofRequest interface{ OfRequest() bool }

	// ended: the provider returns a token that has expired.
	ended interface{ Ended() bool }
)

func says[E any](err error, what func(E) bool) bool {
	var e E
	return errors.As(err, &e) && what(e)
}
