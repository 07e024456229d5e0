// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestTheLifetimeOfAToken(t *testing.T) {
	t.Parallel()
	in := func(d time.Duration) time.Time { return clock().Add(d) }
	const century = 100 * 365 * 24 * time.Hour
	for name, tc := range map[string]struct {
		members string // members of the answer, after the token
		token   string // "tok" when empty
		change  func(*Answer)
		want    time.Time // zero for an error
		source  LifetimeSource
		detail  string // a part of the error
	}{
		"expires_in as an integer":                          {members: `"expires_in":3600`, want: in(time.Hour), source: LifetimeExpiresIn},
		"expires_in as a string":                            {members: `"expires_in":"3600"`, want: in(time.Hour), source: LifetimeExpiresIn},
		"expires_in as a string with space":                 {members: `"expires_in":" 3600 "`, want: in(time.Hour), source: LifetimeExpiresIn},
		"expires_in as a float":                             {members: `"expires_in":3600.5`, want: in(time.Hour + 500*time.Millisecond), source: LifetimeExpiresIn},
		"expires_in as a float that is whole":               {members: `"expires_in":3600.0`, want: in(time.Hour), source: LifetimeExpiresIn},
		"expires_in as a float in a string":                 {members: `"expires_in":"3.6e3"`, want: in(time.Hour), source: LifetimeExpiresIn},
		"expires_in in milliseconds":                        {members: `"expires_in":3600000`, change: unit(time.Millisecond), want: in(time.Hour), source: LifetimeExpiresIn},
		"expires_in in minutes":                             {members: `"expires_in":60`, change: unit(time.Minute), want: in(time.Hour), source: LifetimeExpiresIn},
		"no unit is seconds":                                {members: `"expires_in":60`, change: unit(0), want: in(time.Minute), source: LifetimeExpiresIn},
		"less than a second":                                {members: `"expires_in":0.25`, want: in(250 * time.Millisecond), source: LifetimeExpiresIn},
		"absurdly long is a century":                        {members: `"expires_in":99999999999999999999`, want: in(century), source: LifetimeExpiresIn},
		"more than a float can say is no number":            {members: `"expires_in":1e999`, detail: `the lifetime at "/expires_in" is neither a number of seconds nor a duration such as 3600s, 1h30m, PT1H or 01:00:00; set default_token_lifetime`},
		"1e300 in minutes is a century":                     {members: `"expires_in":1e300`, change: unit(time.Minute), want: in(century), source: LifetimeExpiresIn},
		"zero has expired":                                  {members: `"expires_in":0`, detail: "already expired by its expires_in"},
		"negative has expired":                              {members: `"expires_in":-5`, detail: "already expired by its expires_in"},
		"-0 has expired":                                    {members: `"expires_in":-0`, detail: "already expired by its expires_in"},
		"less than a nanosecond has expired":                {members: `"expires_in":1e-12`, detail: "already expired by its expires_in"},
		"NaN is no number":                                  {members: `"expires_in":"NaN"`, detail: "is neither a number of seconds"},
		"Infinity is no number":                             {members: `"expires_in":"Infinity"`, detail: "is neither a number of seconds"},
		"Go's hexadecimal is no number":                     {members: `"expires_in":"0x1p4"`, detail: "is neither a number of seconds"},
		"Go's digit separators are no number":               {members: `"expires_in":"3_600"`, detail: "is neither a number of seconds"},
		"words are no number":                               {members: `"expires_in":"one hour"`, detail: "is neither a number of seconds"},
		"a truth is no number":                              {members: `"expires_in":true`, detail: "is neither a number of seconds"},
		"an object is no number":                            {members: `"expires_in":{}`, detail: "is neither a number of seconds"},
		"the unit is in the error":                          {members: `"expires_in":"x"`, change: unit(time.Millisecond), detail: "is neither a number of milliseconds"},
		"a null expires_in is none":                         {members: `"expires_in":null,"expires_at":"2026-01-02T04:04:05Z"`, want: in(time.Hour), source: LifetimeExpiresAt},
		"an empty expires_in is none":                       {members: `"expires_in":"","expires_at":"2026-01-02T04:04:05Z"`, want: in(time.Hour), source: LifetimeExpiresAt},
		"expires_in comes before expires_at":                {members: `"expires_in":60,"expires_at":"2026-01-02T04:04:05Z"`, want: in(time.Minute), source: LifetimeExpiresIn},
		"no pointer to expires_in passes it over":           {members: `"expires_in":60,"expires_at":"2026-01-02T04:04:05Z"`, change: func(a *Answer) { a.ExpiresIn = nil }, want: in(time.Hour), source: LifetimeExpiresAt},
		"expires_at with a zone":                            {members: `"expires_at":"2026-01-02T05:04:05+01:00"`, want: in(time.Hour), source: LifetimeExpiresAt},
		"expires_at with a zone without a colon":            {members: `"expires_at":"2026-01-02T05:04:05+0100"`, want: in(time.Hour), source: LifetimeExpiresAt},
		"expires_at with milliseconds":                      {members: `"expires_at":"2026-01-02T04:04:05.643Z"`, want: in(time.Hour + 643*time.Millisecond), source: LifetimeExpiresAt},
		"expires_at without a zone is UTC":                  {members: `"expires_at":"2026-01-02T04:04:05"`, want: in(time.Hour), source: LifetimeExpiresAt},
		"expires_at without a zone, with fractions":         {members: `"expires_at":"2026-01-02T04:04:05.5"`, want: in(time.Hour + 500*time.Millisecond), source: LifetimeExpiresAt},
		"expires_at with a space":                           {members: `"expires_at":"2026-01-02 04:04:05"`, want: in(time.Hour), source: LifetimeExpiresAt},
		"expires_at with a space and a zone":                {members: `"expires_at":"2026-01-02 04:04:05Z"`, want: in(time.Hour), source: LifetimeExpiresAt},
		"expires_at as HTTP writes it":                      {members: `"expires_at":"Fri, 02 Jan 2026 04:04:05 GMT"`, want: in(time.Hour), source: LifetimeExpiresAt},
		"expires_at in seconds":                             {members: `"expires_at":1767326645`, want: in(time.Hour), source: LifetimeExpiresAt},
		"expires_at in seconds in a string":                 {members: `"expires_at":"1767326645"`, want: in(time.Hour), source: LifetimeExpiresAt},
		"expires_at in seconds with a fraction":             {members: `"expires_at":1767326645.25`, want: in(time.Hour + 250*time.Millisecond), source: LifetimeExpiresAt},
		"expires_at in milliseconds":                        {members: `"expires_at":1767326645250`, want: in(time.Hour + 250*time.Millisecond), source: LifetimeExpiresAt},
		"expires_at in microseconds is not guessed":         {members: `"expires_at":1767326645250000`, detail: `the lifetime at "/expires_at" is not a time (RFC 3339 or epoch)`},
		"expires_at in the past":                            {members: `"expires_at":"2023-08-10T12:41:57.643Z"`, detail: "already expired by its expires_at"},
		"expires_at now":                                    {members: `"expires_at":"2026-01-02T03:04:05Z"`, detail: "already expired by its expires_at"},
		"expires_at 0":                                      {members: `"expires_at":0`, detail: "already expired by its expires_at"},
		"expires_at negative":                               {members: `"expires_at":-1}`, detail: "neither JSON, XML nor a form"},
		"expires_at before 1970":                            {members: `"expires_at":-1`, detail: "already expired by its expires_at"},
		"expires_at as a day":                               {members: `"expires_at":"tomorrow"`, detail: "is not a time (RFC 3339 or epoch)"},
		"expires_at at the end of time":                     {members: `"expires_at":"9999-12-31T23:59:59-14:00"`, want: in(century), source: LifetimeExpiresAt},
		"expires_at at the end of time in ms":               {members: `"expires_at":253402300799000`, want: in(century), source: LifetimeExpiresAt},
		"a JWT's exp":                                       {token: jwt(`{"exp":1767326645}`), want: in(time.Hour), source: LifetimeJWT},
		"a JWT's fractional exp":                            {token: jwt(`{"exp":1767326645.577478}`), want: in(time.Hour + 577*time.Millisecond), source: LifetimeJWT},
		"a JWT's exp in milliseconds":                       {token: jwt(`{"exp":1767326645000}`), want: in(time.Hour), source: LifetimeJWT},
		"a JWT's exp as a string is none (RFC 7519)":        {token: jwt(`{"exp":"1767326645"}`), detail: "states no lifetime"},
		"a JWT's exp that has passed":                       {token: jwt(`{"exp":1710223631.577478}`), detail: "already expired by its jwt"},
		"a JWT with padding":                                {token: strings.Replace(jwt(`{"exp":1767326645} `), ".c2ln", "==.c2ln", 1), want: in(time.Hour), source: LifetimeJWT},
		"a JWT never shortens expires_in":                   {token: jwt(`{"exp":1710223631.577478}`), members: `"expires_in":3600`, want: in(time.Hour), source: LifetimeExpiresIn},
		"a JWT never lengthens expires_in":                  {token: jwt(`{"exp":1999999999}`), members: `"expires_in":3600`, want: in(time.Hour), source: LifetimeExpiresIn},
		"a JWT never shortens expires_at":                   {token: jwt(`{"exp":1710223631}`), members: `"expires_at":1767326645`, want: in(time.Hour), source: LifetimeExpiresAt},
		"a JWT comes before the default":                    {token: jwt(`{"exp":1767326645}`), change: otherwise(time.Minute), want: in(time.Hour), source: LifetimeJWT},
		"a JWT without exp leaves the default":              {token: jwt(`{}`), change: otherwise(time.Minute), want: in(time.Minute), source: LifetimeDefault},
		"a JWT that is none leaves the default":             {token: "a.!!!.c", change: otherwise(time.Minute), want: in(time.Minute), source: LifetimeDefault},
		"a JWT of garbage leaves the default":               {token: "a.Z2FyYmFnZQ.c", change: otherwise(time.Minute), want: in(time.Minute), source: LifetimeDefault},
		"an encrypted JWT leaves the default":               {token: "a.b.c.d.e", change: otherwise(time.Minute), want: in(time.Minute), source: LifetimeDefault},
		"the default":                                       {change: otherwise(time.Minute), want: in(time.Minute), source: LifetimeDefault},
		"the default is also for words that cannot be read": {members: `"expires_in":"soon","expires_at":"then"`, change: otherwise(time.Minute), want: in(time.Minute), source: LifetimeDefault},
		"what cannot be read leaves the next source":        {members: `"expires_in":"soon","expires_at":"2026-01-02T04:04:05Z"`, change: otherwise(time.Minute), want: in(time.Hour), source: LifetimeExpiresAt},
		"what cannot be read leaves the JWT":                {members: `"expires_in":"soon"`, token: jwt(`{"exp":1767326645}`), want: in(time.Hour), source: LifetimeJWT},
		"what cannot be read leaves the next candidate":     {members: `"expires_in":"soon","ttl":60`, change: func(a *Answer) { a.ExpiresIn = append(a.ExpiresIn, "/ttl") }, want: in(time.Minute), source: LifetimeExpiresIn},
		"the default is not for a token that has expired":   {members: `"expires_in":0`, change: otherwise(time.Minute), detail: "already expired by its expires_in"},
		"expires_in with its unit":                          {members: `"expires_in":"3600s"`, want: in(time.Hour), source: LifetimeExpiresIn},
		"expires_in with a fraction and its unit":           {members: `"expires_in":"3600.5s"`, want: in(time.Hour + 500*time.Millisecond), source: LifetimeExpiresIn},
		"its own unit counts":                               {members: `"expires_in":"3600s"`, change: unit(time.Minute), want: in(time.Hour), source: LifetimeExpiresIn},
		"expires_in in hours":                               {members: `"expires_in":"1h"`, want: in(time.Hour), source: LifetimeExpiresIn},
		"expires_in in hours and minutes":                   {members: `"expires_in":"1h30m"`, want: in(90 * time.Minute), source: LifetimeExpiresIn},
		"expires_in in all units":                           {members: `"expires_in":" 1d 2h 3m 4s "`, want: in(26*time.Hour + 3*time.Minute + 4*time.Second), source: LifetimeExpiresIn},
		"a moment in expires_in":                            {members: `"expires_in":1767326645`, want: in(time.Hour), source: LifetimeExpiresIn},
		"a moment in expires_in, in milliseconds":           {members: `"expires_in":"1767326645000"`, change: unit(time.Millisecond), want: in(time.Hour), source: LifetimeExpiresIn},
		"a moment in expires_in that has passed":            {members: `"expires_in":1767323000`, detail: "already expired by its expires_in"},
		"fifty years in seconds":                            {members: `"expires_in":1576800000`, want: in(50 * 365 * 24 * time.Hour), source: LifetimeExpiresIn},
		"a month in milliseconds":                           {members: `"expires_in":2592000000`, change: unit(time.Millisecond), want: in(30 * 24 * time.Hour), source: LifetimeExpiresIn},
		"expires_in in words":                               {members: `"expires_in":"60 minutes"`, want: in(time.Hour), source: LifetimeExpiresIn},
		"expires_in in words, as jsonwebtoken takes them":   {members: `"expires_in":"2 days"`, want: in(48 * time.Hour), source: LifetimeExpiresIn},
		"expires_in in words, several":                      {members: `"expires_in":"1 Week, 2 days 3 hrs, 4 min 5.5 secs"`, want: in(9*24*time.Hour + 3*time.Hour + 4*time.Minute + 5500*time.Millisecond), source: LifetimeExpiresIn},
		"expires_in in other words":                         {members: `"expires_in":"an hour"`, detail: "is neither a number of seconds"},
		"milliseconds could be months":                      {members: `"expires_in":"5ms"`, detail: "is neither a number of seconds"},
		"expires_in in days":                                {members: `"expires_in":"7d"`, want: in(7 * 24 * time.Hour), source: LifetimeExpiresIn},
		"expires_in of ISO 8601":                            {members: `"expires_in":"PT1H"`, want: in(time.Hour), source: LifetimeExpiresIn},
		"expires_in of ISO 8601, days and all":              {members: `"expires_in":"P1DT2H3M4.5S"`, want: in(26*time.Hour + 3*time.Minute + 4500*time.Millisecond), source: LifetimeExpiresIn},
		"expires_in of ISO 8601, weeks":                     {members: `"expires_in":"P2W"`, want: in(14 * 24 * time.Hour), source: LifetimeExpiresIn},
		"expires_in of ISO 8601, a decimal comma":           {members: `"expires_in":"PT0,5H"`, want: in(30 * time.Minute), source: LifetimeExpiresIn},
		"expires_in as HH:MM:SS":                            {members: `"expires_in":"01:00:00"`, want: in(time.Hour), source: LifetimeExpiresIn},
		"expires_in as HH:MM:SS, more than a day":           {members: `"expires_in":"48:00:30"`, want: in(48*time.Hour + 30*time.Second), source: LifetimeExpiresIn},
		"expires_in as D:HH:MM:SS":                          {members: `"expires_in":"1:02:03:04"`, want: in(26*time.Hour + 3*time.Minute + 4*time.Second), source: LifetimeExpiresIn},
		"expires_in as .NET writes it":                      {members: `"expires_in":"1.02:03:04.5000000"`, want: in(26*time.Hour + 3*time.Minute + 4500*time.Millisecond), source: LifetimeExpiresIn},
		"centuries of ISO 8601 are one":                     {members: `"expires_in":"P99999999999999999999W"`, want: in(century), source: LifetimeExpiresIn},
		"no time in any form has expired":                   {members: `"expires_in":"PT0S"`, detail: "already expired by its expires_in"},
		"a month is of no certain length":                   {members: `"expires_in":"P1M"`, detail: "is neither a number of seconds"},
		"ISO 8601 without anything":                         {members: `"expires_in":"PT"`, detail: "is neither a number of seconds"},
		"MM:SS could be HH:MM":                              {members: `"expires_in":"60:00"`, detail: "is neither a number of seconds"},
		"a minute has 60 seconds":                           {members: `"expires_in":"00:00:60"`, detail: "is neither a number of seconds"},
		"a unit by itself":                                  {members: `"expires_in":"s"`, detail: "is neither a number of seconds"},
		"nothing at all":                                    {detail: `the answer states no lifetime (looked at "/expires_in" and "/expires_at"); set default_token_lifetime`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.token == "" {
				tc.token = "tok"
			}
			if tc.members != "" {
				tc.members = "," + tc.members
			}
			r := standardRequest(answering(t, http.StatusOK, asJSON, `{"access_token":"`+tc.token+`"`+tc.members+`}`).TokenURL())
			if tc.change != nil {
				tc.change(&r.Answer)
			}
			if tc.want.IsZero() {
				if e := refusal(t, r); !strings.Contains(e.Error(), tc.detail) || strings.Contains(e.Detail, "tomorrow") {
					t.Errorf("got %q, want %q in it", e.Detail, tc.detail)
				}
				return
			}
			got, err := mint(t, r)
			if err != nil {
				t.Fatal(err)
			}
			if !got.ExpiresAt.Equal(tc.want) || got.Lifetime != tc.source {
				t.Errorf("got %s by %s, want %s by %s", got.ExpiresAt, got.Lifetime, tc.want, tc.source)
			}
			if got.ExpiresAt.Location() != time.UTC || !got.IssuedAt.Equal(clock()) {
				t.Errorf("expires in zone %s, issued at %s", got.ExpiresAt.Location(), got.IssuedAt)
			}
			if _, err := json.Marshal(got); err != nil {
				t.Errorf("cannot be stored: %v", err)
			}
		})
	}
}

func unit(d time.Duration) func(*Answer)      { return func(a *Answer) { a.ExpiresInUnit = d } }
func otherwise(d time.Duration) func(*Answer) { return func(a *Answer) { a.DefaultLifetime = d } }

// jwt returns a token with these claims. Nothing checks its signature.
func jwt(claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none"}`)) + "." + encode([]byte(claims)) + ".c2ln"
}
