// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// reminded runs what Vault runs every minute, and waits until the engine's background
// jobs are done. It expects that the log then holds the text says want times. Call it in
// a bubble of testing/synctest.
func reminded(t *testing.T, e *engine, says string, want int) {
	t.Helper()
	e.periodic(t)
	synctest.Wait()
	if got := strings.Count(e.log.String(), says); got != want {
		t.Errorf("the log says %d times %q, want %d: %s", got, says, want, e.log)
	}
}

func ending(e *engine, in time.Duration) fields {
	return with(acme(), fields{"client_secret_expires_at": e.clock.Now().Add(in).Format(time.RFC3339)})
}

func TestWhatEndsSoonIsInTheLogOnceADay(t *testing.T) {
	overAWire(t, func(t *testing.T, e *engine) {
		e.must(t, "config/soon", ending(e, 20*day+time.Hour))
		e.must(t, "config/ended", ending(e, -time.Hour))
		e.must(t, "config/later", ending(e, 31*day))
		e.must(t, "config/never", acme())
		const soon = "a secret or certificate ends soon"
		reminded(t, e, soon, 1)
		for _, says := range []string{
			"ends soon: mount=oauthcc/ config=soon what=client_secret ends_at=2026-01-22T04:04:05Z days_left=20 remedy=\"have the provider issue another",
			"has ended: mount=oauthcc/ config=ended what=client_secret ends_at=2026-01-02T02:04:05Z days_left=-1",
		} {
			if !strings.Contains(e.log.String(), says) {
				t.Errorf("the log does not say %q: %s", says, e.log)
			}
		}
		e.clock.advance(day - time.Minute)
		reminded(t, e, soon, 1)

		e = e.restart(t)
		reminded(t, e, soon, 1) // no new reminder: the config "later" ends in 30 days and a minute
		e = e.restart(t)
		e.clock.advance(time.Minute)
		reminded(t, e, soon, 2)
	}, secretOne)
}

func TestRemindersGoOnDayByDay(t *testing.T) {
	overAWire(t, func(t *testing.T, e *engine) {
		e.must(t, "config/soon", ending(e, 20*day))
		for n := range 3 {
			reminded(t, e, "ends soon", n+1)
			e.clock.advance(time.Minute)
			reminded(t, e, "ends soon", n+1)
			e.clock.advance(day)
		}
	})
}

func TestRemindersAreBounded(t *testing.T) {
	overAWire(t, func(t *testing.T, e *engine) {
		for i := range 120 {
			e.must(t, fmt.Sprintf("config/c%03d", i), ending(e, day))
		}
		reminded(t, e, "ends soon: ", 100)
		if !strings.Contains(e.log.String(), "more=20") {
			t.Errorf("the log does not tell of more: %s", e.log)
		}
	})
}

// The survey reads each config once a day. A config that was written since is read
// again.
func TestSurveyReadsConfigsOnce(t *testing.T) {
	overAWire(t, func(t *testing.T, e *engine) {
		for i := range 5 {
			e.must(t, fmt.Sprintf("config/c%d", i), ending(e, day))
		}
		reminded(t, e, "ends soon", 5)
		e.must(t, "config/c3", fields{"description": "x"})
		uses := e.uses()
		succeeded(t, e.read(t, "status"))
		if n := uses.Load(); n > 3 { // a list, c3, and c3's tokens
			t.Errorf("a status after the survey touched storage %d times", n)
		}
	})
}
