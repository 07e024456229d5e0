// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"context"
	"errors"
	"testing"
	"time"
)

// pollInterval is short beside what is waited for, and long beside what
// asking costs.
const pollInterval = 50 * time.Millisecond

// Eventually calls check until it returns nil, and ends the test with its last
// error when that takes longer than timeout. It is how a test waits for
// anything.
func Eventually(tb testing.TB, timeout time.Duration, check func() error) {
	tb.Helper()
	if err := poll(tb.Context(), timeout, check); err != nil {
		tb.Fatalf("after %s: %v", timeout, err)
	}
}

// poll returns check's last error when time is up, or at once the one that
// check passed to stop.
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

// stopError says that there is nothing to wait for any more.
type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }

func stop(err error) error { return &stopError{err: err} }
