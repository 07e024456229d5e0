// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// garbage is how many bytes of garbage may pile up before the collector runs. It is
// less only if that would be more than four times the live memory. A few tokens take so
// little memory that the collector would otherwise run every few hundred reads, which
// is a tenth of the plugin's processor time.
const garbage = 24 << 20

// spareCollector sets the collector's target by the size of the live heap. A small heap
// may grow to several times its size, so that the collector runs rarely. A large heap
// may double, as is usual in Go, so that many tokens do not take several times their
// memory. A fixed GOGC could do only one of the two, and with a GOMEMLIMIT the
// collector would run all the time once the limit is reached.
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

// afterEachCollection calls f whenever the collector has run. It does so by an object
// that nobody refers to: the collector finds it, and then a new one takes its place.
func afterEachCollection(f func()) {
	type sentinel struct{ _ [64]byte } // the smallest objects share a place
	runtime.AddCleanup(&sentinel{}, func(f func()) {
		f()
		afterEachCollection(f)
	}, f)
}

// collectAt returns the target (GOGC) for a heap with that many live bytes. It changes
// in steps, because each change stops the program for a moment.
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
