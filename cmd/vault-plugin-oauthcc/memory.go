// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// garbage is how much of it, in bytes, may pile up before the collector runs:
// less only where that would be more than four times what is alive. A few tokens
// take up so little memory that it would run every few hundred reads otherwise,
// which is a tenth of the plugin's processor time.
const garbage = 24 << 20

// spareCollector sets the collector's target by what is alive: much more than
// that for a small heap, and Go's usual twice as much for a large one, so that
// many tokens are not paid for three times. A fixed GOGC does only one of the
// two, and a GOMEMLIMIT has the collector run all the time once it is reached.
func spareCollector() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	now := 0
	afterEachCollection(func() {
		metrics.Read(live)
		if percent := collectAt(live[0].Value.Uint64()); percent != now {
			debug.SetGCPercent(percent)
			now = percent
		}
	})
}

// afterEachCollection calls f whenever the collector has run: each time it finds
// an object that nobody refers to, which is then replaced.
func afterEachCollection(f func()) {
	type sentinel struct{ _ [64]byte } // the smallest objects share a place
	runtime.AddCleanup(&sentinel{}, func(f func()) {
		f()
		afterEachCollection(f)
	}, f)
}

// collectAt is the target (GOGC) for a heap of that many bytes alive, in steps,
// since each change stops the program for a moment.
func collectAt(live uint64) (percent int) {
	const (
		usual = 100
		most  = 400
		step  = 25
	)
	percent = most
	for percent > usual && live*uint64(percent) > garbage*usual {
		percent -= step
	}
	return percent
}
