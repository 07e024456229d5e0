// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// reminded expects so many lines of the log that say so, soon after Vault's call
// of every minute.
func reminded(t *testing.T, e *engine, says string, want int) {
	t.Helper()
	e.periodic(t)
	count := func() int { return strings.Count(e.log.String(), says) }
	eventually(t, fmt.Sprintf("the log says %d times %q", want, says), func() bool { return count() >= want })
	e.backend.Cleanup(t.Context()) // waits for what runs
	if got := count(); got != want {
		t.Errorf("the log says %d times %q, want %d: %s", got, says, want, e.log)
	}
}

func ending(e *engine, in time.Duration) fields {
	return with(acme(), fields{"client_secret_expires_at": e.clock.Now().Add(in).Format(time.RFC3339)})
}

func TestWhatEndsSoonIsInTheLogOnceADay(t *testing.T) {
	e := mount(t, secretOne)
	e.must(t, "config/soon", ending(e, 20*day+time.Hour))
	e.must(t, "config/ended", ending(e, -time.Hour))
	e.must(t, "config/later", ending(e, 31*day))
	e.must(t, "config/never", acme())
	const soon = "a secret or certificate ends soon"
	e.periodic(t)
	eventually(t, "the log tells of both", func() bool {
		return strings.Contains(e.log.String(), soon) && strings.Contains(e.log.String(), "has ended")
	})
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
	reminded(t, e, soon, 1) // the same as before: "later" is 30 days and a minute away
	e = e.restart(t)
	e.clock.advance(time.Minute)
	reminded(t, e, soon, 2)
}

func TestRemindersGoOnDayByDay(t *testing.T) {
	e := mount(t)
	e.must(t, "config/soon", ending(e, 20*day))
	for n := range 3 {
		e.periodic(t)
		eventually(t, "the log tells of it", func() bool { return strings.Count(e.log.String(), "ends soon") == n+1 })
		e.aMinuteLater(t)
		e.clock.advance(day)
	}
	if got := strings.Count(e.log.String(), "ends soon"); got != 3 {
		t.Errorf("%d lines in three days", got)
	}
}

func TestRemindersAreBounded(t *testing.T) {
	e := mount(t)
	for i := range 120 {
		e.must(t, fmt.Sprintf("config/c%03d", i), ending(e, day))
	}
	e.periodic(t)
	eventually(t, "the log tells of more", func() bool { return strings.Contains(e.log.String(), "more=20") })
	if got := strings.Count(e.log.String(), "ends soon: "); got != 100 {
		t.Errorf("%d lines", got)
	}
}

// The survey reads each config once a day, and what was written since.
func TestSurveyReadsConfigsOnce(t *testing.T) {
	e := mount(t)
	for i := range 5 {
		e.must(t, fmt.Sprintf("config/c%d", i), ending(e, day))
	}
	e.periodic(t)
	eventually(t, "the log tells of all", func() bool { return strings.Count(e.log.String(), "ends soon") == 5 })
	e.must(t, "config/c3", fields{"description": "x"})
	uses := e.uses()
	succeeded(t, e.read(t, "status"))
	if n := uses.Load(); n > 3 { // a list, c3, and its tokens
		t.Errorf("a status after the survey touched storage %d times", n)
	}
}
