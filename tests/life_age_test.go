// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// TestLifeOfATokenOnVault tests the promises that can be seen only over a
// token's whole life.
func TestLifeOfATokenOnVault(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{LogLevel: "warn"})
	v.MustCLI("secrets", "tune", "-allowed-response-headers=Retry-After", "oauthcc")
	together(t, map[string]func(*testing.T){
		"a token is served to its end while its provider is down": func(t *testing.T) { servedToItsEnd(t, v.For(t)) },
		"a refresh that hangs slows nobody":                       func(t *testing.T) { hangingRefresh(t, v.For(t)) },
		"a token of three seconds is never handed out dead":       func(t *testing.T) { neverDead(t, v.For(t)) },
		"Retry-After in seconds is honoured": func(t *testing.T) {
			retryAfter(t, v.For(t), "seconds", func(now time.Time) (string, time.Time) { return "4", now.Add(4 * time.Second) })
		},
		"Retry-After as a date is honoured": func(t *testing.T) {
			retryAfter(t, v.For(t), "date", func(now time.Time) (string, time.Time) {
				at := now.Add(5 * time.Second).Truncate(time.Second)
				return at.UTC().Format(http.TimeFormat), at
			})
		},
		"min_ttl replaces a token that has less left": func(t *testing.T) { minTTL(t, v.For(t)) },
		"the refresh token of a password grant":       func(t *testing.T) { passwordsRefreshToken(t, v.For(t)) },
	})
}

func servedToItsEnd(t *testing.T, v *harness.Vault) {
	const life = 20 * time.Second
	s := standard(t, v, "stale", providertest.Options{Lifetime: life}, nil)
	earliest := time.Now() // possible time of issue
	old := read(t, v, "oauthcc/token/stale").text(t, "access_token")
	latest := time.Now()
	s.Behave(providertest.Behavior{Times: -1, Status: http.StatusInternalServerError}) // a status that is not retried at once

	stop := keepReading(v, "oauthcc/token/stale", 2, 50*time.Millisecond)
	harness.Eventually(t, 2*life, func() error {
		if r := tryRead(v, "oauthcc/token/stale"); !r.warned("HTTP 500") {
			return fmt.Errorf("no reader knows of a failed refresh yet: %d %s", r.status, r.raw)
		}
		return nil
	})
	failed := time.Now()
	wait(t, latest.Add(life+2*time.Second))
	samples := stop()

	// The token is usable for 95 % of its life. With less than a second left it
	// already counts as expired.
	served, dead := earliest.Add(life*95/100-time.Second), latest.Add(life*95/100)
	var before, warned, after int
	for _, r := range samples {
		age := r.begun.Sub(latest)
		switch {
		case r.status == http.StatusOK && r.accessToken() != old:
			t.Fatalf("at the age of %s a token that nobody issued: %s", age, r.raw)
		case r.ended.Before(served):
			before++
			if r.status != http.StatusOK {
				t.Errorf("at the age of %s the token is usable, and not served: %d %s", age, r.status, r.raw)
			}
			if r.begun.After(failed) {
				warned++
				if !r.warned("HTTP 500") || !r.warned("next attempt from") {
					t.Errorf("at the age of %s, after a failed refresh, the warnings are %q", age, r.Warnings)
				}
			}
		case r.begun.After(dead):
			after++
			if r.status != http.StatusBadGateway {
				t.Errorf("at the age of %s the token is not usable, and the status %d: %s", age, r.status, r.raw)
			}
		case r.status != http.StatusOK && r.status != http.StatusBadGateway:
			t.Errorf("at the age of %s: %d %s", age, r.status, r.raw)
		}
	}
	if before == 0 || warned == 0 || after == 0 {
		t.Errorf("the test has seen too little: %d reads of the usable token, %d of them after a failure, %d after its end", before, warned, after)
	}
	// The engine asks once at 70 % of the token's life. It asks again after 1,
	// 2, 4 s and so on, or up to a quarter sooner. The reads end eight seconds
	// after the first attempt, two seconds after the token's end.
	if n := s.Requests() - 1; n < 2 || n > 6 {
		t.Errorf("the provider that is down saw %d requests", n)
	}

	s.Behave() // the provider works again
	back := time.Now()
	var fresh string
	harness.Eventually(t, 60*time.Second, func() error {
		r := tryRead(v, "oauthcc/token/stale")
		if r.status != http.StatusOK {
			return fmt.Errorf("%d %s", r.status, r.raw)
		}
		fresh = r.accessToken()
		if len(r.Warnings) != 0 {
			t.Errorf("the new token comes with warnings: %q", r.Warnings)
		}
		return nil
	})
	if fresh == old {
		t.Error("the old token was served again after its end")
	}
	issuedBy(t, s, fresh)
	if took := time.Since(back); took > 35*time.Second {
		t.Errorf("a new token came %s after the provider was back, want its backoff of 30 s at most", took)
	}
}

func hangingRefresh(t *testing.T, v *harness.Vault) {
	const life = 40 * time.Second
	s := standard(t, v, "hang", providertest.Options{Lifetime: life}, fields{"request_timeout": "60s"})
	born := time.Now()
	old := read(t, v, "oauthcc/token/hang").text(t, "access_token")
	release := make(chan struct{})
	s.Behave(providertest.Behavior{Until: release})

	stop := keepReading(v, "oauthcc/token/hang", 2, 20*time.Millisecond)
	wait(t, born.Add(10*time.Second))
	before := stop()
	stop = keepReading(v, "oauthcc/token/hang", 2, 20*time.Millisecond)
	wasAsked(t, s, 2)
	begun := time.Now()
	// Readers are told from 80 % of the token's life on, and need not wait.
	harness.Eventually(t, time.Minute, func() error {
		if r := tryRead(v, "oauthcc/token/hang"); !r.warned("takes long") {
			return fmt.Errorf("no reader was told that the refresh takes long: %d %s", r.status, r.raw)
		}
		return nil
	})
	wait(t, born.Add(life*88/100))
	during, mints := stop(), s.Requests()
	close(release)

	var hung []sample
	for _, r := range during {
		if r.begun.After(born.Add(life * 90 / 100)) {
			continue // the machine stalls, and the token is about to end
		}
		if r.status != http.StatusOK || r.accessToken() != old {
			t.Fatalf("while the refresh hung a reader got %d, not the usable token: %s", r.status, r.raw)
		}
		if r.begun.After(begun) {
			hung = append(hung, r)
		}
	}
	t.Logf("p99 while the refresh hung %s (%d reads), before %s (%d)", p99(hung), len(hung), p99(before), len(before))
	if now, was := p99(hung), p99(before); len(hung) < 50 || now > max(10*was, 700*time.Millisecond) {
		t.Errorf("%d reads while the refresh hung took %s, before %s", len(hung), now, was)
	}
	if mints != 2 {
		t.Errorf("the provider saw %d requests, want the first and the one that hangs", mints)
	}
	harness.Eventually(t, 30*time.Second, func() error {
		if r := tryRead(v, "oauthcc/token/hang"); r.status != http.StatusOK || r.accessToken() == old {
			return fmt.Errorf("no new token yet: %d %s", r.status, r.raw)
		}
		return nil
	})
	if s.Requests() != 2 {
		t.Errorf("the provider saw %d requests, want 2", s.Requests())
	}
}

func neverDead(t *testing.T, v *harness.Vault) {
	s := standard(t, v, "three", providertest.Options{Lifetime: 3 * time.Second}, nil)
	begun := time.Now()
	reads, wrong := 0, map[string]int{}
	for time.Since(begun) < 15*time.Second {
		r := tryRead(v, "oauthcc/token/three")
		good := s.Valid(r.accessToken())
		took := time.Since(r.begun)
		reads++
		switch {
		case r.status != http.StatusOK:
			wrong[strconv.Itoa(r.status)+" "+strings.Join(r.Errors, " ")]++
		case !good && took < time.Second: // after a slow read, the token may have expired on the way
			wrong["a dead token"]++
		case r.LeaseDuration < 1 || r.LeaseDuration > 2:
			wrong[fmt.Sprintf("a lease of %d s", r.LeaseDuration)]++
		}
	}
	if len(wrong) != 0 {
		t.Errorf("of %d reads in 15 s: %v", reads, wrong)
	}
	if n := s.Requests(); n < 5 || n > 12 {
		t.Errorf("the provider saw %d requests in 15 s", n)
	}
}

func retryAfter(t *testing.T, v *harness.Vault, config string, after func(now time.Time) (string, time.Time)) {
	s := standard(t, v, config, providertest.Options{}, nil)
	header, due := after(time.Now())
	s.Behave(providertest.Behavior{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {header}}})
	first := tryRead(v, "oauthcc/token/"+config)
	first.wants(t, http.StatusTooManyRequests, "next attempt from")
	if got, err := strconv.Atoi(first.header.Get("Retry-After")); err != nil || got < 1 || got > 5 {
		t.Errorf("the reader is told Retry-After %q, the provider said %q", first.header.Get("Retry-After"), header)
	}
	harness.Eventually(t, 30*time.Second, func() error {
		r := tryRead(v, "oauthcc/token/"+config)
		if r.status == http.StatusOK {
			issuedBy(t, s, r.accessToken())
			return nil
		}
		r.wants(t, http.StatusTooManyRequests, "next attempt from")
		return fmt.Errorf("%d %s", r.status, r.raw)
	})
	all := s.All()
	if len(all) != 2 {
		t.Fatalf("the provider saw %d requests, want 2", len(all))
	}
	if all[1].Time.Before(due) {
		t.Errorf("the provider was asked again %s before it wanted that", due.Sub(all[1].Time))
	}
}

func minTTL(t *testing.T, v *harness.Vault) {
	s := standard(t, v, "min", providertest.Options{Lifetime: 100 * time.Second}, nil) // usable for 95 s
	first := read(t, v, "oauthcc/token/min").text(t, "access_token")
	if got := read(t, v, "oauthcc/token/min?min_ttl=60").text(t, "access_token"); got != first {
		t.Error("a token with a minute left was replaced for a reader who wants that minute")
	}
	harness.Eventually(t, 30*time.Second, func() error {
		r := read(t, v, "oauthcc/token/min?min_ttl=80")
		if r.LeaseDuration < 79 { // not 80: a partial second counts as a whole one
			t.Errorf("the lease lasts %d s, want 80", r.LeaseDuration)
		}
		if r.accessToken() == first {
			return fmt.Errorf("the first token still has %d s left", r.LeaseDuration)
		}
		return nil
	})
	if s.Requests() != 2 {
		t.Errorf("the provider saw %d requests, want 2", s.Requests())
	}
	// The other readers get the new token too.
	if got := read(t, v, "oauthcc/token/min").text(t, "access_token"); got == first || s.Requests() != 2 {
		t.Errorf("the other readers got the older token, or another: %d requests", s.Requests())
	}
	// A min_ttl that no token can meet causes a warning, but not a mint on
	// every read.
	for range 3 {
		if r := read(t, v, "oauthcc/token/min?min_ttl=1h"); !r.warned("min_ttl") {
			t.Errorf("warnings %q, want one about min_ttl", r.Warnings)
		}
	}
	if n := s.Requests(); n > 3 {
		t.Errorf("a min_ttl that no token has cost %d mints", n-2)
	}
	// The config's own min_ttl applies to all readers.
	own := standard(t, v, "minown", providertest.Options{Lifetime: 100 * time.Second}, fields{"min_ttl": "80s"})
	harness.Eventually(t, 30*time.Second, func() error {
		r := read(t, v, "oauthcc/token/minown")
		if r.LeaseDuration < 79 {
			t.Errorf("the lease lasts %d s, want 80", r.LeaseDuration)
		}
		if own.Requests() < 2 {
			return fmt.Errorf("the first token still has %d s left", r.LeaseDuration)
		}
		return nil
	})
}

// passwordsRefreshToken: the password is sent once. After that the refresh
// token from each answer is sent, for as long as the provider accepts it.
func passwordsRefreshToken(t *testing.T, v *harness.Vault) {
	s := providertest.Start(t, providertest.Semansys, providertest.Options{Lifetime: 5 * time.Second, RotateRefreshTokens: true})
	write(t, v, "oauthcc/config/semansys", registration(providertest.Semansys, s))
	until := func(what string, enough func(grants map[string]int) bool) {
		t.Helper()
		harness.Eventually(t, 60*time.Second, func() error {
			r := tryRead(v, "oauthcc/token/semansys")
			if r.status != http.StatusOK {
				t.Errorf("%s: %d %s", what, r.status, r.raw)
			}
			if seen := grants(s); !enough(seen) {
				return fmt.Errorf("%s: the provider saw %v", what, seen)
			}
			return nil
		})
	}
	until("renewed by refresh tokens", func(g map[string]int) bool { return g["refresh_token"] >= 3 })
	if seen := grants(s); seen["password"] != 1 {
		t.Errorf("the provider saw %v, want the password once", seen)
	}
	// If the provider no longer accepts the refresh token, the password is used
	// again.
	s.Behave(providertest.Behavior{Grant: "refresh_token", Status: http.StatusBadRequest, Body: `{"error":"invalid_grant"}`})
	until("the password again", func(g map[string]int) bool { return g["password"] >= 2 })
	now := grants(s)["refresh_token"]
	until("renewed by the new refresh token", func(g map[string]int) bool { return g["refresh_token"] > now })
	if seen := grants(s); seen["password"] != 2 {
		t.Errorf("the provider saw %v, want the password twice", seen)
	}
}
