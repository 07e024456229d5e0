// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func zoneNamed(t *testing.T, name string) *time.Location {
	t.Helper()
	zone, err := ZoneNamed(name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return zone
}

func TestMomentsAreReadInAnyStandard(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"2026-01-02T04:04:05Z":            "2026-01-02T04:04:05Z",
		"2026-01-02T04:04:05+01:00":       "2026-01-02T03:04:05Z",
		"2026-01-02T04:04:05.123456Z":     "2026-01-02T04:04:05.123456Z",
		"2026-01-02T04:04:05,5+0100":      "2026-01-02T03:04:05.5Z",
		"2026-01-02T04:04Z":               "2026-01-02T04:04:00Z",
		"20260102T040405Z":                "2026-01-02T04:04:05Z",
		"20260102T040405-0100":            "2026-01-02T05:04:05Z",
		"2026-01-02 04:04:05+01:00":       "2026-01-02T03:04:05Z",
		"2026-01-02 04:04:05 +0100":       "2026-01-02T03:04:05Z",
		"2026-01-02 04:04:05 UTC":         "2026-01-02T04:04:05Z",
		"Fri, 02 Jan 2026 04:04:05 GMT":   "2026-01-02T04:04:05Z",
		"Friday, 02-Jan-26 04:04:05 GMT":  "2026-01-02T04:04:05Z",
		"Fri, 02 Jan 2026 05:04:05 +0100": "2026-01-02T04:04:05Z",
		"Fri Jan  2 04:04:05 2026":        "2026-01-02T04:04:05Z",
		"Fri Jan 02 2026 05:04:05 GMT+0100 (Central European Standard Time)": "2026-01-02T04:04:05Z",
		"/Date(1767326645000)/":      "2026-01-02T04:04:05Z",
		"/Date(1767326645000+0100)/": "2026-01-02T04:04:05Z",
		"1767326645":                 "2026-01-02T04:04:05Z",
		"1767326645123":              "2026-01-02T04:04:05.123Z",
		// Times without a zone are in that of Berlin.
		"2026-01-02T04:04:05":  "2026-01-02T03:04:05Z",
		"2026-07-02T04:04:05":  "2026-07-02T02:04:05Z",
		"2026-01-02 04:04:05":  "2026-01-02T03:04:05Z",
		"2026-01-02T04:04":     "2026-01-02T03:04:00Z",
		"20260102T040405":      "2026-01-02T03:04:05Z",
		"20260102040405":       "2026-01-02T03:04:05Z",
		" 2026-01-02 04:04:05": "2026-01-02T03:04:05Z",
		"2026-10-25 02:30:00":  "2026-10-25T00:30:00Z", // this time occurs twice; the first is meant
		"2026-03-29 02:30:00":  "2026-03-29T01:30:00Z", // this time does not exist
		// The zone or the time is ambiguous or unknown.
		"2026-01-02 04:04:05 EST": "", "02/01/2026 04:04": "", "tomorrow": "", "": "", "1767326645000000": "", "/Date(soon)/": "",
	} {
		got, ok := Moment{Zone: zoneNamed(t, "Europe/Berlin")}.read(text)
		if ok != (want != "") || ok && got.UTC().Format(time.RFC3339Nano) != want {
			t.Errorf("%q: got %s, %t, want %s", text, got.UTC().Format(time.RFC3339Nano), ok, want)
		}
	}
}

func TestMomentsAreReadInTheirFormat(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ format, zone, text, want string }{
		{"%d/%m/%Y %I:%M %p", "Asia/Kolkata", "30/09/2026 08:20 PM", "2026-09-30T14:50:00Z"}, // the form of Oracle Primavera Unifier
		{"%d/%m/%Y %I:%M %p", "", "30/09/2026 12:20 am", "2026-09-30T00:20:00Z"},
		{"%d.%m.%Y %H:%M:%S", "Europe/Berlin", "2.1.2026 04:04:05", "2026-01-02T03:04:05Z"},
		{"%d.%m.%Y %H:%M:%S", "+01:00", "02.07.2026 04:04:05.25", "2026-07-02T03:04:05.25Z"},
		{"%Y%m%d%H%M%S", "-05:30", "20260102040405", "2026-01-02T09:34:05Z"},
		{"%Y%m%d%H%M%S%z", "Europe/Berlin", "20260102040405+0300", "2026-01-02T01:04:05Z"},
		{"%b %e %Y %T %:z", "", "Jan  2 2026 04:04:05 -02:00", "2026-01-02T06:04:05Z"},
		{"%A, %d %B %Y %R", "", "friday, 02 JANUARY 2026 04:04", "2026-01-02T04:04:00Z"},
		{"%y%j", "", "26002", "2026-01-02T00:00:00Z"},
		{"%F", "America/New_York", "2026-01-02", "2026-01-02T05:00:00Z"},
		{"%F %T", "Europe/Berlin", "2026-10-25 02:30:00", "2026-10-25T00:30:00Z"},
		{"%F %T %Z", "Europe/Berlin", "2026-10-25 02:30:00 CEST", "2026-10-25T00:30:00Z"},
		{"%F %T %Z", "Europe/Berlin", "2026-10-25 02:30:00 CET", "2026-10-25T01:30:00Z"},
		{"%F %T %Z", "Europe/Berlin", "2026-01-02 04:04:05 UTC", "2026-01-02T04:04:05Z"},
		{"%F %T %Z", "Europe/Berlin", "2026-01-02 04:04:05 GMT", "2026-01-02T04:04:05Z"},
		{"%F %T %Z", "America/New_York", "2026-01-02 04:04:05 EST", "2026-01-02T09:04:05Z"},
		{"until %F%%z %T", "Europe/Berlin", "until 2026-01-02%z 04:04:05", "2026-01-02T03:04:05Z"},
		// The name of another zone is ambiguous, and no other format is tried.
		{"%F %T %Z", "Europe/Berlin", "2026-01-02 04:04:05 EST", ""}, {"%F %T %Z", "", "2026-01-02 04:04:05 CET", ""},
		{"%F %T", "", "2026-01-02T04:04:05Z", ""}, {"%F %T", "", "1767326645", ""}, {"%F %T", "", "", ""}, {"%d/%m/%Y", "", "01/13/2026", ""},
		{"%F %T", "", "2026-02-30 04:04:05", ""}, {"%F", "", "2026-01-02 04:04:05", ""},
	} {
		m := Moment{Format: tc.format, Zone: zoneNamed(t, tc.zone)}
		if err := m.Check(); err != nil {
			t.Errorf("%q in %q: %v", tc.format, tc.zone, err)
		}
		got, ok := m.read(tc.text)
		if ok != (tc.want != "") || ok && got.UTC().Format(time.RFC3339Nano) != tc.want {
			t.Errorf("%q by %q in %q: got %s, %t, want %s", tc.text, tc.format, tc.zone, got.UTC().Format(time.RFC3339Nano), ok, tc.want)
		}
	}
	if got, ok := (Moment{Format: "%Y%m%d%H%M%S"}).read(jsonNumber("20260102040405")); !ok || !got.Equal(clock().Add(time.Hour)) {
		t.Errorf("a number: got %s, %t", got, ok)
	}
}

func TestFormatsByWhichNoMomentCanBeRead(t *testing.T) {
	t.Parallel()
	for format, says := range map[string]string{
		"%Q": "is not a date format", "%s": "is not a date format", "%": "does not give the day", "hidden": "does not give the day", "%Y-%m-%d 12:00": "is not a date format", "%Y-%m-%d %u": "is not a date format",
		"%F" + strings.Repeat(" ", 256) + ".": "is not a date format", "%H:%M": "does not give the day", "%Y": "does not give the day", "%Y-%m": "does not give the day", "%d.%m. %T": "does not give the day", "%d/%m/%Y %I:%M": "",
	} {
		err := Moment{Format: format}.Check()
		if (err != nil) != (says != "") || err != nil && (!strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hidden")) {
			t.Errorf("%q: %v", format, err)
		}
	}
	for _, name := range []string{"Local", "Berlin", "CEST", "+2", "02:00", "../../etc/passwd", "/etc/localtime", "+25:00"} {
		if zone, err := ZoneNamed(name); err == nil {
			t.Errorf("%s is the zone %s", name, zone)
		}
	}
}

func TestAnExpiryInAFormatOfItsOwn(t *testing.T) {
	t.Parallel()
	r := standardRequest("")
	r.Answer.Moment = Moment{Format: "%d.%m.%Y %H:%M", Zone: zoneNamed(t, "Europe/Berlin")}
	for body, want := range map[string]string{
		`{"access_token":"tok","expires_at":"02.01.2026 05:04"}`:                                    "",
		`{"access_token":"tok","expires_at":"2026-01-02T05:04:05Z"}`:                                `the lifetime at "/expires_at" is not a time as expires_at_format says; set default_token_lifetime`,
		`<r><access_token>tok</access_token><expires_at zone="x">02.01.2026 05:04</expires_at></r>`: "",
	} {
		if strings.HasPrefix(body, "<") {
			r.Answer.AccessToken, r.Answer.ExpiresAt = []Pointer{"/r/access_token"}, []Pointer{"/r/expires_at"}
		} else {
			r.Answer.AccessToken, r.Answer.ExpiresAt = []Pointer{"/access_token"}, []Pointer{"/expires_at"}
		}
		got, err := readAnswer(r, reply{status: http.StatusOK, body: []byte(body)}, clock(), redactorFor(r))
		switch {
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: got %v", body, err)
		case want == "" && (err != nil || !got.ExpiresAt.Equal(time.Date(2026, 1, 2, 4, 4, 0, 0, time.UTC)) || got.Lifetime != LifetimeExpiresAt):
			t.Errorf("%s: got %+v, %v", body, got, err)
		}
	}
}
