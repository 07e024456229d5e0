// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// TestLifeStampede: any number of simultaneous readers causes only one mint,
// even if the mint fails.
func TestLifeStampede(t *testing.T) {
	t.Parallel()
	const (
		n    = 1000
		busy = 10 * time.Second // extra time for a busy machine
	)
	v := harness.Start(t, harness.Options{LogLevel: "warn"})
	readers := newCrowd(t, v, n)

	// Measure how long Vault itself takes for that many reads.
	standard(t, v, "warm", providertest.Options{}, nil)
	read(t, v, "oauthcc/token/warm")
	_, own := readers.read(t.Context(), "oauthcc/token/warm")
	t.Logf("%d reads of a cached token took %s", n, own)

	t.Run("of a cold token is one request and one token", func(t *testing.T) {
		v := v.For(t)
		s := standard(t, v, "cold", providertest.Options{}, nil)
		const latency = time.Second
		s.Behave(providertest.Behavior{Delay: latency})
		got, took := readers.read(t.Context(), "oauthcc/token/cold")
		t.Logf("%d cold readers of a provider that takes %s: %s", n, latency, took)
		if s.Requests() != 1 {
			t.Errorf("the provider saw %d requests, want 1", s.Requests())
		}
		if all := statuses(got); all[http.StatusOK] != n {
			t.Errorf("statuses %v, want %d times 200", all, n)
		}
		issued := s.Issued()
		leases := map[string]bool{}
		for _, r := range got {
			if len(issued) != 1 || r.accessToken() != issued[0] {
				t.Fatalf("a reader got another token than the one of %d issued: %s", len(issued), r.raw)
			}
			leases[r.LeaseID] = true
		}
		if len(leases) != n {
			t.Errorf("%d leases, want one for each reader", len(leases))
		}
		if limit := latency*3/2 + 3*own + busy; took > limit {
			t.Errorf("it took %s, which is more than %s", took, limit)
		}
	})

	t.Run("of a provider that is down is one mint and as many errors", func(t *testing.T) {
		v := v.For(t)
		// Each answer is slow, so that many readers wait. The last one asks for so
		// long a wait that the engine remembers the failure for the readers who
		// arrive later, however busy the machine is.
		slow := providertest.Behavior{Times: 2, Status: http.StatusServiceUnavailable, Delay: 2 * time.Second}
		last := slow
		last.Times, last.Header = -1, http.Header{"Retry-After": {"3600"}}
		patient := fields{"request_timeout": "30s"}
		standard(t, v, "single", providertest.Options{}, patient).Behave(slow, last)
		single := tryRead(v, "oauthcc/token/single")
		single.wants(t, http.StatusBadGateway, "HTTP 503")

		s := standard(t, v, "down", providertest.Options{}, patient)
		s.Behave(slow, last)
		got, took := readers.read(t.Context(), "oauthcc/token/down")
		t.Logf("a failing read took %s, %d of them at once %s", single.took(), n, took)
		if s.Requests() > 3 {
			t.Errorf("the provider saw %d requests, want one mint with its two retries", s.Requests())
		}
		if all := statuses(got); all[http.StatusBadGateway] != n {
			t.Errorf("statuses %v, want %d times 502", all, n)
		}
		for _, r := range got {
			if len(r.Errors) == 0 || !strings.Contains(r.Errors[0], "next attempt from") {
				t.Fatalf("an error does not say when the next attempt is due: %s", r.raw)
			}
		}
		// Between its attempts a mint waits for a random time of at most three
		// seconds.
		if limit := single.took() + 3*time.Second + 3*own + busy; took > limit {
			t.Errorf("it took %s, which is more than %s", took, limit)
		}
	})
}

// TestLifeOneProviderHangs: a provider that hangs delays neither the cached
// tokens nor the mints of other providers.
func TestLifeOneProviderHangs(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{LogLevel: "warn"})
	good := standard(t, v, "good", providertest.Options{}, nil)
	mints := standard(t, v, "mints", providertest.Options{}, fields{"reuse": false})
	measure := func(path string, n int) []sample {
		var out []sample
		for range n {
			out = append(out, tryRead(v, path))
		}
		return out
	}
	measure("oauthcc/token/good", 20) // opens connections and mints the token
	cachedBefore, mintedBefore := measure("oauthcc/token/good", 200), measure("oauthcc/token/mints", 50)

	bad := standard(t, v, "bad", providertest.Options{}, fields{"request_timeout": "60s"})
	release := make(chan struct{})
	bad.Behave(providertest.Behavior{Times: -1, Until: release, Status: http.StatusInternalServerError}) // a status that is not retried at once
	stop := keepReading(v, "oauthcc/token/bad", 100, time.Millisecond)
	// Other readers of the same provider, whose mints hang too.
	write(t, v, "oauthcc/config/bad2", with(registration(providertest.RFC6749, bad), fields{"reuse": false, "request_timeout": "60s"}))
	stop2 := keepReading(v, "oauthcc/token/bad2", 30, time.Millisecond)
	wasAsked(t, bad, 1+16) // 16 is how many mints of unshared tokens run at a time

	cached, minted := measure("oauthcc/token/good", 200), measure("oauthcc/token/mints", 50)
	measured := time.Now()
	close(release)
	for _, r := range append(stop(), stop2()...) {
		if r.ended.Before(measured) {
			t.Errorf("the other reads took longer than the provider hung, which was %s: %d %s", r.took(), r.status, r.raw)
			break
		}
		if r.status != http.StatusBadGateway && r.status != http.StatusGatewayTimeout {
			t.Errorf("a read of the provider that hung ended with %d: %s", r.status, r.raw)
			break
		}
	}
	for name, got := range map[string][]sample{"cached": cached, "minted": minted} {
		if all := statuses(got); all[http.StatusOK] != len(got) {
			t.Errorf("%s reads of the other provider ended with %v", name, all)
		}
	}
	t.Logf("p99 of cached reads %s, before %s; of mints %s, before %s", p99(cached), p99(cachedBefore), p99(minted), p99(mintedBefore))
	// A machine that stalls delays some reads; the provider would delay most.
	if now := median(cached); now > max(10*median(cachedBefore), 500*time.Millisecond) {
		t.Errorf("half of the cached reads take more than %s, before %s", now, median(cachedBefore))
	}
	if now := median(minted); now > max(10*median(mintedBefore), time.Second) {
		t.Errorf("half of the mints at another provider take more than %s, before %s", now, median(mintedBefore))
	}
	if good.Requests() != 1 || mints.Requests() != 100 {
		t.Errorf("the other providers saw %d and %d requests, want 1 and 100", good.Requests(), mints.Requests())
	}
}
