// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// The edition that runs here has no subscribers. It takes the events, and what
// they say is tested without it.
func TestVaultTakesTheEvents(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	s := standard(t, v, "mine", providertest.Options{}, nil)
	v.Read("oauthcc/token/mine")
	s.Behave(providertest.Behavior{Times: -1, Status: 401, Body: `{"error":"invalid_client"}`})
	askAs(t, v, v.RootToken(), http.MethodPost, "oauthcc/check/mine", nil).wants(t, http.StatusBadRequest)
	counts := func() (out string) {
		_, _, text := v.Do(http.MethodGet, "oauthcc/metrics", nil, v.RootToken())
		for _, m := range regexp.MustCompile(`oauthcc_events_total{outcome="([a-z]+)"} ([0-9]+)`).FindAllStringSubmatch(string(text), -1) {
			out += fmt.Sprintf("%s=%s ", m[1], m[2])
		}
		return out
	}
	harness.Eventually(t, time.Minute, func() error {
		if got := counts(); got != "dropped=0 failed=0 sent=2 " {
			return errors.New(got)
		}
		return nil
	})
}
