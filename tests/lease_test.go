// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

func TestLeaseLength(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	tests := map[string]struct {
		lifetime time.Duration
		config   fields
		want     int    // seconds at most; the test's own duration makes it less
		warns    string // "" means no warning
	}{
		"is the token's usable life: an hour less ten seconds":        {time.Hour, nil, 3590, ""},
		"is the token's usable life: a minute less five percent":      {time.Minute, nil, 57, ""},
		"is the token's usable life: thirty days are not the mount's": {30 * 24 * time.Hour, nil, 30*24*3600 - 10, ""},
		"is capped by ttl":                             {time.Hour, fields{"ttl": "15m"}, 900, "ttl"},
		"is capped by max_ttl":                         {time.Hour, fields{"max_ttl": "15m"}, 900, "max_ttl"},
		"is capped by the shorter of ttl and max_ttl":  {time.Hour, fields{"ttl": "10m", "max_ttl": "15m"}, 600, "ttl"},
		"is not stretched by ttl, nor is there a word": {time.Minute, fields{"ttl": "1h", "max_ttl": "2h"}, 57, ""},
		"is not capped by a ttl of zero":               {time.Hour, fields{"ttl": 0, "max_ttl": "0s"}, 3590, ""},
	}
	i := 0
	for name, test := range tests {
		i++
		config := fmt.Sprintf("length%d", i)
		t.Run(name, func(t *testing.T) {
			v := v.For(t)
			standard(t, v, config, providertest.Options{Lifetime: test.lifetime}, test.config)
			begun := time.Now()
			for range 2 { // first minted, then from memory
				got := read(t, v, "oauthcc/token/"+config)
				late := lost(begun)
				if got.LeaseDuration > test.want || got.LeaseDuration < test.want-late {
					t.Errorf("the lease lasts %d s, want %d", got.LeaseDuration, test.want)
				}
				if got.Renewable {
					t.Error("the lease says that it can be renewed")
				}
				if !strings.HasPrefix(got.LeaseID, "oauthcc/token/"+config+"/") {
					t.Errorf("the lease is %q", got.LeaseID)
				}
				in := got.number(t, "expires_in")
				if all := test.lifetime.Seconds(); in > all || in < all-float64(late) {
					t.Errorf("expires_in is %v, want the provider's %v", in, all)
				}
				said := strings.Join(got.Warnings, "\n")
				if test.warns == "" && said != "" || !strings.Contains(said, "config's "+test.warns) && test.warns != "" {
					t.Errorf("warnings %q, want one about %q", said, test.warns)
				}
			}
		})
	}

	t.Run("is capped by the mount's max_lease_ttl, whose warning is Vault's", func(t *testing.T) {
		v := v.For(t)
		v.Mount("short", harness.PluginName)
		v.MustCLI("secrets", "tune", "-max-lease-ttl=5m", "-default-lease-ttl=1m", "short")
		s := providertest.Start(t, providertest.RFC6749, providertest.Options{})
		write(t, v, "short/config/a", registration(providertest.RFC6749, s))
		got := read(t, v, "short/token/a")
		if got.LeaseDuration > 300 || got.LeaseDuration < 297 {
			t.Errorf("the lease lasts %d s, want 300: neither the token's life nor the mount's default", got.LeaseDuration)
		}
		if len(got.Warnings) != 1 || strings.Contains(got.Warnings[0], "config's") {
			t.Errorf("warnings %q, want Vault's alone", got.Warnings)
		}
		if got.number(t, "expires_in") < 3590 {
			t.Errorf("expires_in is %v: that is the token's, whatever the lease", got.Data["expires_in"])
		}
	})
	t.Run("contradicting caps are refused when written", func(t *testing.T) {
		s := providertest.Start(t, providertest.RFC6749, providertest.Options{})
		ask(t, v.For(t), http.MethodPost, "oauthcc/config/contradiction", with(registration(providertest.RFC6749, s), fields{"ttl": "2h", "max_ttl": "1h"})).
			wants(t, http.StatusBadRequest, "ttl", "max_ttl")
	})
}

func TestLeaseCommands(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	s := standard(t, v, "shared", providertest.Options{}, nil)
	other := standard(t, v, "other", providertest.Options{}, nil)
	take := func(t *testing.T, config string) (lease, token string) {
		t.Helper()
		got := read(t, v.For(t), "oauthcc/token/"+config)
		return got.LeaseID, got.text(t, "access_token")
	}
	gone := func(t *testing.T, lease string) {
		t.Helper()
		fails(t, v.For(t).CLI("lease", "lookup", lease), "invalid lease")
	}

	t.Run("lookup shows the time left, and that it cannot be renewed", func(t *testing.T) {
		lease, _ := take(t, "shared")
		got := commandJSON(t, v.For(t), "lease", "lookup", lease)
		ttl, _ := member(got, "data", "ttl").(float64)
		if ttl > 3590 || ttl < 3580 || member(got, "data", "renewable") != false {
			t.Errorf("lookup says %v", got)
		}
	})
	t.Run("renew is refused", func(t *testing.T) {
		lease, _ := take(t, "shared")
		fails(t, v.For(t).CLI("lease", "renew", lease), "not renewable")
		fails(t, v.For(t).CLI("lease", "renew", "-increment=24h", lease), "not renewable")
	})
	t.Run("revoking one lease leaves the token to the others", func(t *testing.T) {
		v := v.For(t)
		first, token := take(t, "shared")
		second, again := take(t, "shared")
		if first == second || token != again {
			t.Errorf("leases %s and %s, tokens %s and %s: want two leases of one token", first, second, token, again)
		}
		v.MustCLI("lease", "revoke", "-sync", first)
		gone(t, first)
		v.MustCLI("lease", "lookup", second)
		_, third := take(t, "shared")
		if third != token || !s.Valid(token) || s.Requests() != 1 {
			t.Errorf("after the revocation the token is %s, was %s; %d requests", third, token, s.Requests())
		}
	})
	t.Run("revoke by prefix ends one config's leases and no other's", func(t *testing.T) {
		v := v.For(t)
		a, _ := take(t, "shared")
		b, _ := take(t, "shared")
		c, _ := take(t, "other")
		v.MustCLI("lease", "revoke", "-sync", "-prefix", "oauthcc/token/shared")
		gone(t, a)
		gone(t, b)
		v.MustCLI("lease", "lookup", c)
		take(t, "shared")
	})
	t.Run("revoke by prefix of the whole mount", func(t *testing.T) {
		v := v.For(t)
		a, _ := take(t, "shared")
		b, _ := take(t, "other")
		v.MustCLI("lease", "revoke", "-sync", "-prefix", "oauthcc/")
		gone(t, a)
		gone(t, b)
		if other.Requests() != 1 {
			t.Errorf("other's provider saw %d requests, want 1", other.Requests())
		}
	})
	t.Run("a lease outlives its config, and can be revoked then", func(t *testing.T) {
		v := v.For(t)
		standard(t, v, "brief", providertest.Options{}, nil)
		lease, _ := take(t, "brief")
		v.Delete("oauthcc/config/brief")
		v.MustCLI("lease", "lookup", lease)
		v.MustCLI("lease", "revoke", "-sync", lease)
		gone(t, lease)
	})
	t.Run("leases end with the token of Vault's that took them", func(t *testing.T) {
		v := v.For(t)
		v.Policy("shared", `path "oauthcc/token/shared" { capabilities = ["read"] }`)
		reader := v.TokenWith("shared")
		got := askAs(t, v, reader, http.MethodGet, "oauthcc/token/shared", nil)
		got.wants(t, http.StatusOK)
		v.MustCLI("token", "revoke", reader)
		harness.Eventually(t, time.Minute, func() error {
			if r := v.CLI("lease", "lookup", got.LeaseID); r.ExitCode == 0 {
				return fmt.Errorf("the lease is still there: %s", r.Stdout)
			}
			return nil
		})
		if !s.Valid(got.text(t, "access_token")) {
			t.Error("the shared token died with one reader")
		}
	})
	t.Run("revoke/ forgets the token at once", func(t *testing.T) {
		v := v.For(t)
		_, before := take(t, "shared")
		v.MustCLI("write", "-force", "oauthcc/revoke/shared")
		if _, after := take(t, "shared"); after == before {
			t.Error("the forgotten token was served again")
		}
	})
	t.Run("reuse=false gives each reader a token of its own", func(t *testing.T) {
		v := v.For(t)
		single := standard(t, v, "single", providertest.Options{}, fields{"reuse": false})
		_, a := take(t, "single")
		_, b := take(t, "single")
		if a == b || single.IssuedCount() != 2 {
			t.Errorf("tokens %s and %s, %d issued", a, b, single.IssuedCount())
		}
	})
}

func TestShortTokens(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})

	t.Run("tokens of three seconds are leased for two, and replaced in time", func(t *testing.T) {
		v := v.For(t)
		s := standard(t, v, "three", providertest.Options{Lifetime: 3 * time.Second}, nil)
		harness.Eventually(t, time.Minute, func() error {
			got := read(t, v, "oauthcc/token/three")
			// Whether it lives is not judged here: the test may be slower than the token.
			if token := got.text(t, "access_token"); !slices.Contains(s.Issued(), token) {
				t.Errorf("token %q is none of those that the provider issued: %q", token, s.Issued())
			}
			if got.LeaseDuration < 1 || got.LeaseDuration > 2 {
				t.Errorf("the lease lasts %d s, want 1 or 2", got.LeaseDuration)
			}
			if n := s.IssuedCount(); n < 4 {
				return fmt.Errorf("%d tokens so far", n)
			}
			return nil
		})
		if n := s.Requests(); n > 5 {
			t.Errorf("the provider saw %d requests for 4 tokens", n)
		}
	})
	t.Run("a token with less than a second left is not blamed when its refresh fails", func(t *testing.T) {
		v := v.For(t)
		s := standard(t, v, "fails", providertest.Options{Lifetime: 3 * time.Second}, nil)
		read(t, v, "oauthcc/token/fails")
		s.Behave(providertest.Behavior{Times: -1, Status: 400, Body: `{"error":"invalid_client"}`})
		harness.Eventually(t, time.Minute, func() error {
			r := ask(t, v, http.MethodGet, "oauthcc/token/fails", nil)
			if r.status == http.StatusOK {
				return fmt.Errorf("still served")
			}
			r.wants(t, http.StatusBadRequest, "invalid_client")
			return nil
		})
	})
	t.Run("a lease of such a token ends by itself", func(t *testing.T) {
		v := v.For(t)
		standard(t, v, "ends", providertest.Options{Lifetime: 3 * time.Second}, nil)
		lease := read(t, v, "oauthcc/token/ends").LeaseID
		harness.Eventually(t, time.Minute, func() error {
			if r := v.CLI("lease", "lookup", lease); r.ExitCode == 0 {
				return fmt.Errorf("the lease is still there: %s", r.Stdout)
			}
			return nil
		})
	})
	t.Run("a token that lives less than a second is an error, and no lease", func(t *testing.T) {
		v := v.For(t)
		s := providertest.StartFunc(t, "/token", func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			say(w, `{"access_token":"blink","expires_in":1}`)
		})
		write(t, v, "oauthcc/config/blink", fields{"token_url": s.TokenURL(), "client_id": "a", "client_secret": "b"})
		ask(t, v, http.MethodGet, "oauthcc/token/blink", nil).wants(t, http.StatusBadGateway, `"blink"`, "too short")
	})
	t.Run("a token whose life nobody knows is an error that says what to set", func(t *testing.T) {
		v := v.For(t)
		s := providertest.StartFunc(t, "/token", func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			say(w, `{"access_token":"opaque"}`)
		})
		write(t, v, "oauthcc/config/opaque", fields{"token_url": s.TokenURL(), "client_id": "a", "client_secret": "b"})
		ask(t, v, http.MethodGet, "oauthcc/token/opaque", nil).wants(t, http.StatusBadRequest, "default_token_lifetime")
		write(t, v, "oauthcc/config/opaque", fields{"default_token_lifetime": "10m"})
		got := read(t, v, "oauthcc/token/opaque")
		if got.LeaseDuration > 590 || got.LeaseDuration < 585 || len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "default_token_lifetime") {
			t.Errorf("the lease lasts %d s, with warnings %q", got.LeaseDuration, got.Warnings)
		}
	})
}
