// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

func TestWhatHappenedCountsForAnHour(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 30, 0, time.UTC)
	for rule, test := range map[string]struct {
		events []time.Duration // each as the time since the start
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
	sorted := func(took ...time.Duration) []uint32 {
		var p past
		for _, d := range took {
			p.asked(grant.Exchange{Took: d}, time.Time{})
		}
		return slices.Sorted(slices.Values(p.took))
	}
	var many []time.Duration
	for ms := range 100 {
		many = append(many, time.Duration(ms)*time.Millisecond) // the values from 36 to 99 are kept
	}
	for percent, want := range map[int]int64{1: 36, 50: 67, 90: 93, 99: 99, 100: 99} {
		if got := percentile(sorted(many...), percent); got != want {
			t.Errorf("p%d is %d, want %d", percent, got, want)
		}
	}
	one := sorted(7 * time.Millisecond)
	if got := []int64{percentile(one, 1), percentile(one, 100)}; !slices.Equal(got, []int64{7, 7}) {
		t.Errorf("of one: %d", got)
	}
	if got := sorted(-time.Second, 10000*time.Hour); !slices.Equal(got, []uint32{0, 1<<32 - 1}) {
		t.Errorf("what does not fit: %d", got)
	}
}

// There is one history for each config, so it must be small.
func TestAHistoryIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(history{}); size > 176 {
		t.Errorf("a history takes %d bytes by itself", size)
	}
	if size := unsafe.Sizeof(facts{}); size > 80 {
		t.Errorf("facts take %d bytes", size)
	}
}
