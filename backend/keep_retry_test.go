// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// If a chain fails, the pauses between the attempts grow up to an hour. After a success
// they start from the beginning.
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

// The keeper looks at the configs without keep_alive in rounds, a limited number a
// minute. It does not remember them one by one.
func TestKeeperRounds(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var k keeper
	all := make([]string, 2*looksAMinute+1)
	for i := range all {
		all[i] = fmt.Sprintf("%05d", i)
	}
	looked := map[string]int{}
	look := func() (n int) {
		for _, config := range k.due(slices.Clone(all), now) {
			looked[config]++
			k.forget(config)
			n++
		}
		now = now.Add(time.Minute)
		return n
	}
	for round := 1; round <= 2; round++ {
		for _, want := range []int{looksAMinute, looksAMinute, 1, 0} {
			if got := look(); got != want {
				t.Errorf("round %d: %d at a time, want %d", round, got, want)
			}
		}
		for _, config := range all {
			if looked[config] != round {
				t.Fatalf("round %d: %s was looked at %d times", round, config, looked[config])
			}
		}
		now = now.Add(lookAgain)
	}
	if len(k.next) != 0 {
		t.Errorf("%d configs without keep_alive are remembered", len(k.next))
	}
	all = []string{"00000", "chain"}
	k.due(all, now)
	k.wait("chain", now.Add(time.Hour))
	for after, want := range map[time.Duration]bool{time.Hour - time.Second: false, time.Hour: true} {
		if got := slices.Contains(k.due(all, now.Add(after)), "chain"); got != want {
			t.Errorf("one that is due in an hour is looked at after %s: %t", after, got)
		}
	}
}
