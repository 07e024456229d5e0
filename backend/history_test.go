// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"slices"
	"testing"
	"time"
)

func TestWhatHappenedCountsForAnHour(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 30, 0, time.UTC)
	for rule, test := range map[string]struct {
		events []time.Duration // after the start
		at     time.Duration
		want   int64
	}{
		"nothing":                              {nil, 0, 0},
		"what happens now":                     {[]time.Duration{0, 0, 0}, 0, 3},
		"what happened an hour ago":            {[]time.Duration{0}, time.Hour, 1},
		"not what is an hour and a minute old": {[]time.Duration{0}, 61 * time.Minute, 0},
		"the later of two":                     {[]time.Duration{0, 30 * time.Minute}, 80 * time.Minute, 1},
		"after a day of silence":               {[]time.Duration{0, 24 * time.Hour}, 24 * time.Hour, 1},
		"a minute that comes round again":      {[]time.Duration{0, 61 * time.Minute}, 61 * time.Minute, 1},
		"a clock that is put back":             {[]time.Duration{10 * time.Minute, 0}, 10 * time.Minute, 2},
	} {
		var m minutes
		for _, after := range test.events {
			m.add(start.Add(after))
		}
		if got := m.sum(start.Add(test.at)); got != test.want {
			t.Errorf("%s: %d, want %d", rule, got, test.want)
		}
	}
}

func TestPercentiles(t *testing.T) {
	var d durations
	for ms := range 100 {
		d.add(time.Duration(ms) * time.Millisecond) // 36 to 99 are kept
	}
	sorted := d.sorted()
	for percent, want := range map[int]int64{1: 36, 50: 67, 90: 93, 99: 99, 100: 99} {
		if got := percentile(sorted, percent); got != want {
			t.Errorf("p%d is %d, want %d", percent, got, want)
		}
	}
	var one durations
	one.add(7 * time.Millisecond)
	if got := []int64{percentile(one.sorted(), 1), percentile(one.sorted(), 100)}; !slices.Equal(got, []int64{7, 7}) {
		t.Errorf("of one: %d", got)
	}
	one.add(-time.Second)
	one.add(10000 * time.Hour)
	if got := one.sorted(); !slices.Equal(got, []uint32{0, 7, 1<<32 - 1}) {
		t.Errorf("what does not fit: %d", got)
	}
}
