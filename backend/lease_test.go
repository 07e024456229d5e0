// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

func TestLeaseIsTheUsableLifeOfTheToken(t *testing.T) {
	tests := map[string]struct {
		lifetime time.Duration
		config   fields
		age      time.Duration
		want     time.Duration
		warns    []string // words in each warning
	}{
		"an hour, less the leeway of ten seconds": {time.Hour, nil, 0, 3590 * time.Second, nil},
		"a short one, less a leeway of 5 %":       {100 * time.Second, nil, 0, 95 * time.Second, nil},
		"truncated to whole seconds":              {30 * time.Second, nil, 0, 28 * time.Second, nil},
		"what is left of a cached one":            {time.Hour, nil, 10*time.Minute + 100*time.Millisecond, 2989 * time.Second, nil},
		"capped by ttl":                           {time.Hour, fields{"ttl": 60}, 0, time.Minute, []string{"ttl"}},
		"capped by max_ttl":                       {time.Hour, fields{"max_ttl": "2m"}, 0, 2 * time.Minute, []string{"max_ttl"}},
		"capped by the shorter of both":           {time.Hour, fields{"max_ttl": "2m", "ttl": "1m"}, 0, time.Minute, []string{"ttl"}},
		"both the same":                           {time.Hour, fields{"max_ttl": "1m", "ttl": "1m"}, 0, time.Minute, []string{"ttl"}},
		"caps that are longer do not count":       {time.Hour, fields{"max_ttl": "2h", "ttl": "1h"}, 0, 3590 * time.Second, nil},
		"a cap longer than what is left":          {time.Hour, fields{"ttl": "50m"}, 30 * time.Minute, 1790 * time.Second, nil},
		"an absurd life":                          {200 * 365 * 24 * time.Hour, nil, 0, 100*365*24*time.Hour - 10*time.Second, nil},
		"two seconds":                             {2 * time.Second, nil, 0, time.Second, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{Lifetime: test.lifetime})
			e.must(t, "config/c", with(standard(s), test.config))
			r := e.read(t, "token/c")
			if test.age > 0 {
				e.clock.advance(test.age)
				r = e.read(t, "token/c")
			}
			secret := r.resp.Secret
			if secret == nil {
				t.Fatalf("no lease: %s", r.text())
			}
			if secret.TTL != test.want || secret.MaxTTL <= 0 || secret.MaxTTL < secret.TTL || secret.Renewable {
				t.Errorf("TTL %s, MaxTTL %s, renewable %t; want a TTL of %s", secret.TTL, secret.MaxTTL, secret.Renewable, test.want)
			}
			if len(r.resp.Warnings) != len(test.warns) {
				t.Fatalf("warnings %q, want %d", r.resp.Warnings, len(test.warns))
			}
			for i, words := range test.warns {
				if !strings.Contains(r.resp.Warnings[i], words) {
					t.Errorf("the warning does not say %q: %s", words, r.resp.Warnings[i])
				}
			}
			if s.Requests() != 1 {
				t.Errorf("%d requests", s.Requests())
			}
		})
	}
}

func TestLeaseOfLessThanASecondIsNeverGiven(t *testing.T) {
	for name, lifetime := range map[string]time.Duration{"nothing": 0, "a second": time.Second} {
		e := mount(t)
		s := invented(t, func(*http.Request, string) string {
			return `{"access_token":"t","expires_in":` + map[bool]string{true: "0", false: "1"}[lifetime == 0] + `}`
		})
		e.must(t, "config/c", with(standard(s), fields{"client_id": "c", "client_secret": "s"}))
		r := e.read(t, "token/c")
		if r.err == nil || r.resp != nil {
			t.Errorf("a token that lives for %s: %s", name, r.text())
		}
	}
}

func TestLeaseOfAnAssumedLifetimeWarns(t *testing.T) {
	e := mount(t)
	s := invented(t, func(*http.Request, string) string { return `{"access_token":"t"}` })
	e.must(t, "config/c", fields{"token_url": s.TokenURL(), "client_id": "c", "client_secret": "s"})
	refused(t, e.read(t, "token/c"), http.StatusBadRequest, `"c"`, "default_token_lifetime", "/expires_in")
	e.must(t, "config/c", fields{"default_token_lifetime": "10m"})
	r := e.read(t, "token/c")
	if r.data(t); r.resp.Secret.TTL != 590*time.Second || len(r.resp.Warnings) != 1 || !strings.Contains(r.resp.Warnings[0], "default_token_lifetime") {
		t.Errorf("TTL %s, warnings %q", r.resp.Secret.TTL, r.resp.Warnings)
	}
}

func TestLeaseCannotBeRenewedAndIsRevokedWithoutAskingTheProvider(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	secret := e.read(t, "token/c").resp.Secret
	if secret.InternalData["secret_type"] != "oauth_token" {
		t.Errorf("internal data: %v", secret.InternalData)
	}
	for _, v := range secret.InternalData {
		if text, isText := v.(string); isText && strings.Contains(text, s.Issued()[0]) {
			t.Errorf("a lease of a shared token stores it: %v", secret.InternalData)
		}
	}
	r := e.send(t, &logical.Request{Operation: logical.RenewOperation, Path: "token/c", Secret: secret})
	if r.err == nil && (r.resp == nil || r.resp.Secret == nil || r.resp.Secret.TTL <= 0) {
		t.Errorf("a renewal without a TTL, which would become the mount's default: %s", r.text())
	}
	succeeded(t, e.send(t, &logical.Request{Operation: logical.RevokeOperation, Path: "token/c", Secret: secret}))
	succeeded(t, e.delete(t, "config/c"))
	succeeded(t, e.send(t, &logical.Request{Operation: logical.RevokeOperation, Path: "token/c", Secret: secret}))
	if s.Requests() != 1 || s.RevocationRequests() != 0 || !s.Valid(s.Issued()[0]) {
		t.Error("ending one lease of a shared token reached the provider")
	}
}

func TestLeaseThatIsNoneOfOurs(t *testing.T) {
	e := mount(t)
	for name, secret := range map[string]*logical.Secret{
		"none": nil, "without a type": {}, "of another type": {InternalData: fields{"secret_type": "other"}},
	} {
		r := e.send(t, &logical.Request{Operation: logical.RevokeOperation, Path: "token/c", Secret: secret})
		if r.status() != http.StatusInternalServerError {
			t.Errorf("a lease %s: status %d: %s", name, r.status(), r.text())
		}
	}
}

// requestsAfter reads the token, calls something, and reads the token again. It returns
// how many requests the provider got.
func requestsAfter(t *testing.T, e *engine, s *providertest.Server, something func()) int {
	t.Helper()
	succeeded(t, e.read(t, "token/c"))
	something()
	succeeded(t, e.read(t, "token/c"))
	return s.Requests()
}

func TestWritesThatChangeTheRequestForgetTheToken(t *testing.T) {
	tests := map[string]struct {
		write fields
		patch bool
		want  int // requests at the provider
	}{
		"the same again":              {nil, false, 1},
		"nothing":                     {fields{}, false, 1},
		"a new description":           {fields{"description": "x"}, false, 1},
		"a new ttl":                   {fields{"ttl": 60, "max_ttl": 120}, false, 1},
		"a new request_timeout":       {fields{"request_timeout": 5}, false, 1},
		"a default said":              {fields{"grant_type": "client_credentials", "provider": "generic"}, false, 1},
		"an empty map":                {fields{"request_headers": fields{}}, false, 1},
		"a patch to nothing new":      {fields{"scopes": []any{"read", "write"}, "description": nil}, true, 1},
		"a patch of the same map":     {fields{"parameters": fields{"audience": "a"}}, true, 1},
		"other scopes":                {fields{"scopes": "read"}, false, 2},
		"other parameters":            {fields{"parameters": fields{"audience": "b"}}, false, 2},
		"a patch of one parameter":    {fields{"parameters": fields{"audience": "b"}}, true, 2},
		"another header":              {fields{"request_headers": "X-A=b"}, false, 2},
		"another path":                {nil, false, 2}, // see the switch below
		"another way to authenticate": {fields{"token_endpoint_auth_method": "client_secret_post"}, false, 2},
		"another reading":             {fields{"default_token_type": "MAC"}, false, 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{ExtraParameters: []string{"audience"}})
			config := with(standard(s), fields{"scopes": "read,write", "parameters": fields{"audience": "a"}})
			e.must(t, "config/c", config)
			got := requestsAfter(t, e, s, func() {
				switch {
				case name == "another path":
					e.must(t, "config/c", fields{"token_url": s.TokenURL() + "?"})
					e.must(t, "config/c", fields{"token_url": s.TokenURL(), "scopes": "write"})
				case test.write == nil:
					e.must(t, "config/c", config)
				case test.patch:
					succeeded(t, e.patch(t, "config/c", test.write))
				default:
					e.must(t, "config/c", test.write)
				}
			})
			if got != test.want {
				t.Errorf("%d requests, want %d", got, test.want)
			}
		})
	}
}

func TestNewSecretForgetsTheToken(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	got := requestsAfter(t, e, s, func() {
		s.SetCredentials(providertest.Credentials{ClientSecret: "the next one"})
		e.must(t, "config/c", fields{"client_secret": "the next one"})
	})
	if got != 2 {
		t.Errorf("%d requests, want 2", got)
	}
}

func TestDeleteForgetsTheToken(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	got := requestsAfter(t, e, s, func() {
		succeeded(t, e.delete(t, "config/c"))
		refused(t, e.read(t, "token/c"), http.StatusBadRequest, `"c"`)
		e.must(t, "config/c", standard(s))
	})
	if got != 2 {
		t.Errorf("%d requests, want 2", got)
	}
}

func TestProviderChangesForgetTheTokensOfItsConfigs(t *testing.T) {
	for name, test := range map[string]struct {
		write fields
		want  int
	}{
		"another scope":            {fields{"scopes": "read"}, 2},
		"a variable's description": {fields{"variables": fields{"x": fields{"description": "y", "default": "d"}}}, 1},
		"a description":            {fields{"description": "x"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{})
			e.must(t, "provider/p", fields{"token_url": s.TokenURL(), "variables": fields{"x": fields{"default": "d"}}})
			config := with(standard(s), fields{"provider": "p"})
			delete(config, "token_url")
			e.must(t, "config/c", config)
			if got := requestsAfter(t, e, s, func() { e.must(t, "provider/p", test.write) }); got != test.want {
				t.Errorf("%d requests, want %d", got, test.want)
			}
		})
	}
}

func TestConfigsShareNoToken(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	for _, name := range []string{"a", "b"} {
		e.must(t, "config/"+name, standard(s))
		succeeded(t, e.read(t, "token/"+name))
	}
	if s.IssuedCount() != 2 {
		t.Errorf("%d tokens for two configs", s.IssuedCount())
	}
}
