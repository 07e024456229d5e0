// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// garbage is how many bytes of garbage may accumulate before the collector
// runs, but never more than four times the live heap. With only a few tokens the
// live heap is so small that, by Go's default, the collector would run every few
// hundred reads, which takes a tenth of the plugin's processor time.
const garbage = 24 << 20

// spareCollector adapts the collector's target to the live heap: a small heap
// may grow to several times its live size, a large one to Go's default of twice
// the live size, so that many tokens do not take three times their memory. A
// fixed GOGC suits only one of the two cases, and under a GOMEMLIMIT the
// collector runs continuously once the limit is reached.
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

// afterEachCollection calls f after each run of the collector. It leaves an
// object without references for the collector to find, and leaves a new one each
// time.
func afterEachCollection(f func()) {
	type sentinel struct{ _ [64]byte } // Go packs smaller objects together, which would keep this one alive
	runtime.AddCleanup(&sentinel{}, func(f func()) {
		f()
		afterEachCollection(f)
	}, f)
}

// collectAt returns the collector's target (GOGC, in percent) for that many live
// bytes. It changes in steps, because each change stops the program for a moment.
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
