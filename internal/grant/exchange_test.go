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
	none := unknownQuota()
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
		"a quota, also of what is refused":    {[]providertest.Behavior{{Status: 429, Header: http.Header{"Ratelimit-Remaining": {"0"}}}}, false, Exchange{429, 1, 0, Quota{Limit: -1}}},
		"the quota of the answer that counts": {[]providertest.Behavior{{Status: 503, Header: http.Header{"Ratelimit-Remaining": {"7"}}}}, false, Exchange{200, 2, 0, none}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := granting(t)
			s.Behave(tc.behavior...)
			var got []Exchange
			r := standardRequest(s.TokenURL())
			if tc.nobody {
				r.URL = "http://" + providertest.Nobody
			}
			r.Observed = func(x Exchange) { got = append(got, x) }
			_, _ = mint(t, r) // whether it fails does not matter here
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
