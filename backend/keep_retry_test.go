// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"slices"
	"testing"
	"time"
)

// The pauses between the attempts of a chain that fails grow to an hour, and
// start anew after a success.
func TestKeeperPauses(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var k keeper
	expect := func(when string, pause time.Duration) {
		t.Helper()
		for after, want := range map[time.Duration]bool{pause - time.Second: false, pause: true} {
			if got := slices.Contains(k.due([]string{"c"}, now.Add(after)), "c"); got != want {
				t.Errorf("%s: due after %s: %t, want %t", when, after, got, want)
			}
		}
	}
	for n, minutes := range []int{1, 2, 4, 8, 16, 32, 60, 60} {
		k.failed("c", now, time.Time{})
		expect("failure "+string(rune('1'+n)), time.Duration(minutes)*time.Minute)
	}
	k.failed("c", now, now.Add(2*time.Hour))
	expect("when the provider wants to be left alone", 2*time.Hour)
	k.wait("c", time.Time{})
	k.failed("c", now, time.Time{})
	expect("when it was looked at in between", time.Hour)
	k.succeeded("c")
	k.failed("c", now, time.Time{})
	expect("after a success", time.Minute)
	k.due(nil, now)
	if len(k.next) != 0 {
		t.Error("a config that is gone is kept in mind")
	}
}
