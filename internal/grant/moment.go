// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // a plugin's container may have no zones of its own

	"github.com/ncruces/go-strftime"
)

// Moment says how an answer writes times.
type Moment struct {
	Format string         // format for C's strptime; "" accepts any standard format
	Zone   *time.Location // zone of times that state none; nil is UTC
}

// zoneless returns the layouts of times without a zone: those of ISO 8601 and
// common deviations from it.
func zoneless() []string {
	return []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "20060102T150405", "20060102150405"}
}

// zoned returns the layouts of times with a zone.
func zoned() []string {
	return []string{
		time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05 Z0700", "2006-01-02 15:04:05 UTC",
		"2006-01-02T15:04Z07:00", "20060102T150405Z0700", time.RFC1123Z, "Mon Jan 02 2006 15:04:05 GMT-0700", // the last is JavaScript's
	}
}

// compactTime matches a date and time without separators. Such a number is not
// a time since the epoch: as that, it would be in the year 2600.
var compactTime = regexp.MustCompile(`^20\d{12}$`)

// dotnetDate matches the way in which .NET used to write times in JSON:
// milliseconds since the epoch.
var dotnetDate = regexp.MustCompile(`^/Date\((\d+)(?:[+-]\d{4})?\)/$`)

// read reads a time in m's format. Without a format, it accepts ISO 8601, RFC
// 3339, HTTP dates, and seconds or milliseconds since the epoch.
func (m Moment) read(v any) (time.Time, bool) {
	text, isText := errorText(v)
	text = strings.TrimSpace(text)
	switch {
	case !isText, len(text) > maxSpelled:
		return time.Time{}, false
	case m.Format != "":
		return m.formatted(text)
	}
	if parts := dotnetDate.FindStringSubmatch(text); parts != nil {
		v = parts[1]
	}
	if n, ok := number(v); ok && !compactTime.MatchString(text) {
		if n > 1e11 { // the year 5138 in seconds, 1973 in milliseconds
			n /= 1000
		}
		return epoch(n), n <= 253402300799 // the last second of 9999
	}
	text, _, _ = strings.Cut(text, " (") // without the zone's name behind the offset
	for _, layout := range zoned() {
		if at, err := time.Parse(layout, text); err == nil {
			return at, true
		}
	}
	for _, layout := range zoneless() {
		if at, err := time.Parse(layout, text); err == nil {
			return m.there(at, "")
		}
	}
	at, err := http.ParseTime(text)
	return at, err == nil
}

var (
	zoneOffset = regexp.MustCompile(`%:?z`)
	zoneName   = regexp.MustCompile(`%[Z+]`)
)

// formatted reads a time in the format of m.
func (m Moment) formatted(text string) (time.Time, bool) {
	at, err := strftime.Parse(m.Format, text)
	if err != nil {
		at, err = strftime.Parse(m.Format, strings.ToUpper(text)) // %p may be in either case
	}
	if err != nil {
		return time.Time{}, false
	}
	format := strings.ReplaceAll(m.Format, "%%", "")
	switch name, _ := at.Zone(); {
	case zoneOffset.MatchString(format):
		return at, true
	case !zoneName.MatchString(format):
		return m.there(at, "")
	case name == "UTC" || name == "GMT":
		return Moment{}.there(at, "")
	default:
		return m.there(at, name)
	}
}

// there returns the moment at which the clocks in m's zone show the date and
// time of at. If they show it twice, it returns the moment at which the zone
// has the given name, or the first one if name is "". It returns false if the
// zone never uses that name: what EST means depends on the place.
func (m Moment) there(at time.Time, name string) (time.Time, bool) {
	zone := m.Zone
	if zone == nil {
		zone = time.UTC
	}
	shown := func(t time.Time) string { return t.Format("2006-01-02T15:04:05.999999999") }
	there := time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second(), at.Nanosecond(), zone)
	for _, turn := range []time.Duration{-time.Hour, 0, time.Hour} { // summer time may shift the clocks by an hour
		t := there.Add(turn)
		if has, _ := t.Zone(); shown(t) == shown(at) && (name == "" || name == has) {
			return t, true
		}
	}
	return there, name == ""
}

// Check returns an error if the format cannot be used. A time that is written
// in the format must be readable by it, at least to the correct day.
func (m Moment) Check() error {
	if m.Format == "" {
		return nil
	}
	zone := m.Zone
	if zone == nil {
		zone = time.UTC
	}
	sample := time.Date(2026, 11, 25, 13, 14, 15, 0, zone)
	at, ok := m.read(strftime.Format(m.Format[:min(len(m.Format), maxSpelled)], sample))
	if !ok {
		return errors.New("is not a date format: write it as for strptime, such as %Y-%m-%d %H:%M:%S, with %Y %y %m %b %B %d %e %j %H %I %M %S %p %a %A %z %Z %T %F and %%; a fraction of a second needs no sign of its own")
	}
	if off := sample.Sub(at); off < 0 || off >= 24*time.Hour {
		return errors.New("does not give the day: write year, month and day, such as %Y-%m-%d")
	}
	return nil
}

// ZoneNamed returns the time zone with this name: an IANA name such as
// Europe/Berlin, or an offset from UTC such as +02:00. "" is UTC.
func ZoneNamed(name string) (*time.Location, error) {
	if at, err := time.Parse("-07:00", name); err == nil {
		_, offset := at.Zone()
		return time.FixedZone(name, offset), nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil || zone == time.Local {
		return nil, errors.New("is not a time zone: write a name such as Europe/Berlin, or an offset such as +02:00")
	}
	return zone, nil
}

func number(v any) (float64, bool) {
	var text string
	switch v := v.(type) {
	case json.Number:
		text = v.String()
	case string:
		text = strings.TrimSpace(v)
	default:
		return 0, false
	}
	if strings.ContainsAny(text, "xXpP_nN") { // Go's own notations, NaN, Inf
		return 0, false
	}
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil
}

func epoch(seconds float64) time.Time {
	return time.UnixMilli(int64(min(max(seconds, 0), 1e11) * 1000))
}
