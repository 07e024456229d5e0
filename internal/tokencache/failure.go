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
)

// Failure is a mint that failed, as it is remembered until the next attempt.
type Failure struct {
	Err   error
	At    time.Time // when it failed
	Next  time.Time // before then the provider is not asked again
	Count int       // failures since the last success
}

// Error is the cause, with when it happened and when the next attempt is due.
func (f *Failure) Error() string {
	return fmt.Sprintf("%s (at %s; next attempt from %s on)", f.Err, f.At.UTC().Format(time.RFC3339), f.Next.UTC().Format(time.RFC3339))
}

// Unwrap gives the cause.
func (f *Failure) Unwrap() error { return f.Err }

// after is the failure that follows f: exponential backoff with jitter, or
// what the provider wants if that is later.
func (f *Failure) after(err error, now time.Time) *Failure {
	next := &Failure{Err: err, At: now, Count: 1}
	if f != nil {
		next.Count = f.Count + 1
	}
	wait := min(firstBackoff<<min(next.Count-1, 10), maxBackoff)
	wait = wait*3/4 + rand.N(wait/4) //nolint:gosec // jitter needs no secrecy
	var hint interface{ RetryHint() time.Duration }
	if errors.As(err, &hint) {
		wait = max(wait, hint.RetryHint())
	}
	next.Next = now.Add(wait)
	return next
}
