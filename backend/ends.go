// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// endsSoon is how long before the end of a secret or certificate its operator
// is told.
const endsSoon = 30 * 24 * time.Hour

// ending is something of a config that stops being accepted one day.
type ending struct {
	what   string // the field, with the key's name where it names one
	at     time.Time
	remedy string
}

// daysLeft are whole days until the end, and negative after it.
func (e ending) daysLeft(now time.Time) int64 { return int64(math.Floor(e.at.Sub(now).Hours() / 24)) }

// endings are what ends of a config, the first to end first.
func (c *config) endings() []ending {
	var out []ending
	if at, ok := secretEnd(c.ClientSecretExpiresAt); ok {
		out = append(out, ending{"client_secret", at, "have the provider issue another, and write it with the old one as fallback_client_secret"})
	}
	for _, e := range c.effective.CertificateEnds() {
		remedy := "write a new one"
		if e.Key != "" {
			remedy = fmt.Sprintf("rotate key %q, or write a new one to key/%s/certificate", e.Key, e.Key)
		}
		out = append(out, ending{"the certificate of " + e.Field, e.At, remedy})
	}
	slices.SortStableFunc(out, func(a, b ending) int { return a.at.Compare(b.at) })
	return out
}

// endWarnings tell of what has ended, or soon will.
func endWarnings(endings []ending, now time.Time) []string {
	var out []string
	for _, e := range endings {
		switch left := e.at.Sub(now); {
		case left <= 0:
			out = append(out, fmt.Sprintf("%s ended on %s: %s", e.what, e.at.Format(time.DateOnly), e.remedy))
		case left <= endsSoon:
			out = append(out, fmt.Sprintf("%s ends on %s, in %d days: %s", e.what, e.at.Format(time.DateOnly), int(left/(24*time.Hour)), e.remedy))
		}
	}
	return out
}

// secretEnd reads a client_secret_expires_at, and says whether it names a time:
// 0 is RFC 7591's word for never.
func secretEnd(text string) (time.Time, bool) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Unix(n, 0).UTC(), n > 0
	}
	at, err := time.Parse(time.RFC3339, text)
	return at.UTC(), err == nil
}

// checkSecretEnd refuses a client_secret_expires_at that is no time.
func checkSecretEnd(text string) error {
	if _, ok := secretEnd(text); !ok && text != "" && text != "0" {
		return refuse("client_secret_expires_at must be a time: RFC 3339, such as 2027-01-31T00:00:00Z, or epoch seconds (0 for never)")
	}
	return nil
}

// tellEnds is what status shows of what ends.
func tellEnds(ends []ending, now time.Time) []map[string]any {
	shown := make([]map[string]any, 0, len(ends))
	for _, e := range ends {
		shown = append(shown, map[string]any{
			"what": e.what, "ends_at": stamp(e.at), "days_left": e.daysLeft(now),
		})
	}
	return shown
}
