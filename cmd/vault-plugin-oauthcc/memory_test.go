// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

func TestCollectAt(t *testing.T) {
	const mb = 1 << 20
	for name, c := range map[string]struct {
		live uint64
		want int
	}{
		"before the first collection nothing is known to live": {0, 400},
		"a small heap lets the garbage be":                     {6 * mb, 400},
		"one of half of it is let grow to three times":         {12 * mb, 200},
		"steps are rounded down":                               {13 * mb, 175},
		"a large one doubles, as is usual":                     {24 * mb, 100},
		"a very large one as well":                             {500 * mb, 100},
	} {
		t.Run(name, func(t *testing.T) {
			if got := collectAt(c.live); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

func TestAfterEachCollection(t *testing.T) {
	var runs atomic.Int64
	afterEachCollection(func() { runs.Add(1) })
	for want := int64(1); want <= 3; want++ {
		for deadline := time.Now().Add(10 * time.Second); runs.Load() < want; runtime.Gosched() {
			runtime.GC()
			if time.Now().After(deadline) {
				t.Fatalf("called %d times", runs.Load())
			}
		}
	}
}
