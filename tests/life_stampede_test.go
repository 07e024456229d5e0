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
		// Each answer is so slow that all readers have arrived before the
		// engine forgets the failure, even on a busy machine.
		down := providertest.Behavior{Times: -1, Status: http.StatusServiceUnavailable, Delay: 2 * time.Second}
		patient := fields{"request_timeout": "30s"}
		standard(t, v, "single", providertest.Options{}, patient).Behave(down)
		single := tryRead(v, "oauthcc/token/single")
		single.wants(t, http.StatusBadGateway, "HTTP 503")

		s := standard(t, v, "down", providertest.Options{}, patient)
		s.Behave(down)
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
	cachedBefore, mintsBefore := p99(measure("oauthcc/token/good", 200)), p99(measure("oauthcc/token/mints", 50))

	bad := standard(t, v, "bad", providertest.Options{}, fields{"request_timeout": "30s"})
	bad.Behave(providertest.Behavior{Times: -1, Hang: true})
	stop := keepReading(v, "oauthcc/token/bad", 100, time.Millisecond)
	// Other readers of the same provider, whose mints hang too.
	write(t, v, "oauthcc/config/bad2", with(registration(providertest.RFC6749, bad), fields{"reuse": false, "request_timeout": "30s"}))
	stop2 := keepReading(v, "oauthcc/token/bad2", 30, time.Millisecond)
	wasAsked(t, bad, 1+16) // 16 is how many mints of unshared tokens run at a time

	cached, minted := measure("oauthcc/token/good", 200), measure("oauthcc/token/mints", 50)
	bad.Close() // so that the readers need not wait for their timeouts
	for _, r := range append(stop(), stop2()...) {
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
	t.Logf("p99 of cached reads %s, before %s; of mints %s, before %s", p99(cached), cachedBefore, p99(minted), mintsBefore)
	if now := p99(cached); now > max(10*cachedBefore, 500*time.Millisecond) {
		t.Errorf("cached reads take %s, before %s", now, cachedBefore)
	}
	if now := p99(minted); now > max(10*mintsBefore, time.Second) {
		t.Errorf("mints at another provider take %s, before %s", now, mintsBefore)
	}
	if good.Requests() != 1 || mints.Requests() != 100 {
		t.Errorf("the other providers saw %d and %d requests, want 1 and 100", good.Requests(), mints.Requests())
	}
}
