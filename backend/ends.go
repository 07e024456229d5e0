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

// endsSoon is how long before a secret or certificate expires the operator is
// warned.
const endsSoon = 30 * 24 * time.Hour

// ending is a secret or certificate of a config that expires.
type ending struct {
	what   string // the field that holds it, or the certificate of that field's key
	at     time.Time
	remedy string
}

// daysLeft returns the whole days until the end; negative after it.
func (e ending) daysLeft(now time.Time) int64 { return int64(math.Floor(e.at.Sub(now).Hours() / 24)) }

// endings lists the secrets and certificates of a config that expire, the earliest
// first.
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

// endWarnings returns a warning for each thing that has expired or will soon.
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

// secretEnd reads client_secret_expires_at and reports whether it names a time.
// 0 means never (RFC 7591 section 3.2.1).
func secretEnd(text string) (time.Time, bool) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Unix(n, 0).UTC(), n > 0
	}
	at, err := time.Parse(time.RFC3339, text)
	return at.UTC(), err == nil
}

// checkSecretEnd refuses a client_secret_expires_at that is not a time.
func checkSecretEnd(text string) error {
	if _, ok := secretEnd(text); !ok && text != "" && text != "0" {
		return refuse("client_secret_expires_at must be a time: RFC 3339, such as 2027-01-31T00:00:00Z, or epoch seconds (0 for never)")
	}
	return nil
}

// tellEnds returns what status shows of the things that expire.
func tellEnds(ends []ending, now time.Time) []map[string]any {
	shown := make([]map[string]any, 0, len(ends))
	for _, e := range ends {
		shown = append(shown, map[string]any{
			"what": e.what, "ends_at": stamp(e.at), "days_left": e.daysLeft(now),
		})
	}
	return shown
}
