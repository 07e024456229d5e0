// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"context"
	"errors"
	"testing"
	"time"
)

// pollInterval is short compared with the events that tests wait for, and long
// compared with the cost of a check.
const pollInterval = 50 * time.Millisecond

// Eventually calls check until it returns nil. If that takes longer than
// timeout, it ends the test with check's last error. Tests use it for all
// waiting.
func Eventually(tb testing.TB, timeout time.Duration, check func() error) {
	tb.Helper()
	if err := poll(tb.Context(), timeout, check); err != nil {
		tb.Fatalf("after %s: %v", timeout, err)
	}
}

// poll calls check until it returns nil. When time is up, it returns check's
// last error. If check returns an error made by stop, poll returns the error
// inside it at once.
func poll(ctx context.Context, timeout time.Duration, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		if stopped := new(stopError); errors.As(err, &stopped) {
			return stopped.err
		}
		select {
		case <-ctx.Done():
			return err
		case <-ticker.C:
		}
	}
}

// stopError means that waiting any longer is pointless.
type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }

func stop(err error) error { return &stopError{err: err} }
