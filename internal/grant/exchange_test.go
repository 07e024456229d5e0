// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"net/http"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

func TestWhatAnExchangeWasLike(t *testing.T) {
	t.Parallel()
	none := Quota{-1, -1, -1}
	for name, tc := range map[string]struct {
		behavior []providertest.Behavior
		nobody   bool
		want     Exchange
	}{
		"a token":                             {nil, false, Exchange{200, 1, 0, none}},
		"a refusal":                           {[]providertest.Behavior{{Status: 401}}, false, Exchange{401, 1, 0, none}},
		"a token at the second attempt":       {[]providertest.Behavior{{Status: 503}}, false, Exchange{200, 2, 0, none}},
		"out of order three times":            {[]providertest.Behavior{{Times: -1, Status: 502}}, false, Exchange{502, 3, 0, none}},
		"no connection":                       {nil, true, Exchange{0, 3, 0, none}},
		"a quota, also of what is refused":    {[]providertest.Behavior{{Status: 429, Header: http.Header{"Ratelimit-Remaining": {"0"}}}}, false, Exchange{429, 1, 0, Quota{-1, 0, -1}}},
		"the quota of the answer that counts": {[]providertest.Behavior{{Status: 503, Header: http.Header{"Ratelimit-Remaining": {"7"}}}}, false, Exchange{200, 2, 0, none}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := granting(t)
			s.Behave(tc.behavior...)
			if tc.nobody {
				s.Close()
			}
			var got []Exchange
			r := standardRequest(s.TokenURL())
			r.Observed = func(x Exchange) { got = append(got, x) }
			_, _ = mint(t, r) // however it ends
			if len(got) != 1 || got[0] != tc.want {
				t.Errorf("got %+v, want %+v once", got, tc.want)
			}
		})
	}
}

func TestAnExchangeTakesAsLongAsItsAttempts(t *testing.T) {
	t.Parallel()
	s := granting(t)
	s.Behave(providertest.Behavior{Times: 1, Status: 503}, providertest.Behavior{Times: 1, Delay: 20 * time.Millisecond})
	r := standardRequest(s.TokenURL())
	var took time.Duration
	r.Observed = func(x Exchange) { took = x.Took }
	if _, err := NewClient(Options{}).Mint(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if took < retryWait+20*time.Millisecond {
		t.Errorf("it took %s, and less than the pause and the delay", took)
	}
}

func TestQuotaHeaders(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		header http.Header
		want   Quota
	}{
		"none":                         {http.Header{"Content-Type": {"application/json"}}, Quota{-1, -1, -1}},
		"of the IETF's draft":          {http.Header{"RateLimit-Limit": {"100"}, "RateLimit-Remaining": {"7"}, "RateLimit-Reset": {"30"}}, Quota{100, 7, 30}},
		"with their windows":           {http.Header{"RateLimit-Limit": {"100, 100;w=60"}}, Quota{100, -1, -1}},
		"one header for all":           {http.Header{"RateLimit": {"limit=100, remaining=7, reset=30"}}, Quota{100, 7, 30}},
		"one header of a later draft":  {http.Header{"RateLimit": {`"default";r=7;t=30`}}, Quota{-1, 7, 30}},
		"as GitHub sends them":         {http.Header{"X-RateLimit-Limit": {"5000"}, "X-RateLimit-Remaining": {"0"}, "X-RateLimit-Reset": {"1767323105"}}, Quota{5000, 0, 1767323105}},
		"as Okta sends them":           {http.Header{"X-Rate-Limit-Limit": {"600"}, "X-Rate-Limit-Remaining": {"599"}, "X-Rate-Limit-Reset": {"1767323105"}}, Quota{600, 599, 1767323105}},
		"nothing but numbers is taken": {http.Header{"RateLimit-Limit": {"the-secret-of-the-client"}, "RateLimit-Remaining": {"-1"}, "RateLimit-Reset": {"1e99"}}, Quota{-1, -1, -1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := http.Header{}
			for k, v := range tc.header {
				h.Set(k, v[0])
			}
			if got := quotaOf(h); got != tc.want || got.Known() != (tc.want != Quota{-1, -1, -1}) {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}
