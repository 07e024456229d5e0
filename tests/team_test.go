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

// TestTeamPolicies tests what a team may and may not do with its own role.
func TestTeamPolicies(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	s := providertest.Start(t, providertest.Antsomi, providertest.Options{})
	write(t, v, "oauthcc/config/antsomi", registration(providertest.Antsomi, s)) // scopes=item,event
	write(t, v, "oauthcc/role/antsomi/readers", fields{"scopes": "item"})
	write(t, v, "oauthcc/role/antsomi/writers", fields{"scopes": "event"})
	v.Policy("readers", `path "oauthcc/token/antsomi/readers" { capabilities = ["read"] }`)
	team := v.TokenWith("readers")

	t.Run("a team gets the token of its role and nothing else", func(t *testing.T) {
		v := v.For(t)
		got := askAs(t, v, team, http.MethodGet, "oauthcc/token/antsomi/readers", nil)
		got.wants(t, http.StatusOK)
		if scope := got.text(t, "scope"); scope != "item" {
			t.Errorf("scope is %q, want item", scope)
		}
		if asked := s.Last().Form().Get("scope"); asked != "item" {
			t.Errorf("the provider was asked for %q, want item", asked)
		}
		issuedBy(t, s, got.text(t, "access_token"))
		for _, denied := range []struct {
			method, path string
			body         any
		}{
			{"GET", "token/antsomi", nil}, {"GET", "token/antsomi?scopes=item", nil}, {"POST", "token/antsomi", fields{"scopes": "item"}},
			{"GET", "token/antsomi/writers", nil}, {"GET", "token/antsomi/nothere", nil}, {"POST", "token/antsomi/readers", fields{"fresh": true}},
			{"GET", "config/antsomi", nil}, {"POST", "config/antsomi", fields{"scopes": "item"}}, {"PATCH", "config/antsomi", fields{"ttl": 60}},
			{"DELETE", "config/antsomi", nil}, {"DELETE", "config/antsomi?force=true", nil}, {"LIST", "config", nil},
			{"GET", "role/antsomi/readers", nil}, {"POST", "role/antsomi/readers", fields{"scopes": "event"}}, {"DELETE", "role/antsomi/readers", nil},
			{"POST", "role/antsomi/new", fields{}}, {"LIST", "role/antsomi", nil}, {"GET", "status/antsomi", nil},
			{"POST", "check/antsomi", nil}, {"POST", "check/antsomi/readers", nil}, {"POST", "revoke/antsomi", nil},
			{"GET", "provider/antsomi", nil}, {"GET", "info", nil},
		} {
			if r := askAs(t, v, team, denied.method, "oauthcc/"+denied.path, denied.body); r.status != http.StatusForbidden {
				t.Errorf("%s %s is %d, want 403: %s", denied.method, denied.path, r.status, r.raw)
			}
		}
	})
	t.Run("nobody widens a role", func(t *testing.T) {
		v := v.For(t)
		// Try it through another role.
		for _, scopes := range []any{"item,profile", "profile", []string{"item", "event", "promotion"}, ""} {
			ask(t, v, http.MethodPost, "oauthcc/role/antsomi/wide", fields{"scopes": scopes}).wants(t, http.StatusBadRequest, "scopes")
		}
		ask(t, v, http.MethodGet, "oauthcc/role/antsomi/wide", nil).wants(t, http.StatusNotFound)
		ask(t, v, http.MethodPatch, "oauthcc/role/antsomi/readers", fields{"scopes": []string{"profile"}}).wants(t, http.StatusBadRequest, "scopes")
		// Try it through the read's parameter, which the policy allows.
		for _, query := range []string{"scopes=event", "scopes=item,event", "scopes=item&scopes=event", "scopes=profile"} {
			askAs(t, v, team, http.MethodGet, "oauthcc/token/antsomi/readers?"+query, nil).wants(t, http.StatusBadRequest, "scopes")
		}
		// Try it through a parameter that a policy allows by name.
		v.Policy("generous", `path "oauthcc/token/antsomi/readers" {
			capabilities       = ["read", "update"]
			allowed_parameters = { "scopes" = ["item", "event", "item,event"] }
		}`)
		generous := v.TokenWith("generous")
		askAs(t, v, generous, http.MethodPost, "oauthcc/token/antsomi/readers", fields{"scopes": "item"}).wants(t, http.StatusOK)
		for _, scopes := range []string{"event", "item,event"} {
			askAs(t, v, generous, http.MethodPost, "oauthcc/token/antsomi/readers", fields{"scopes": scopes}).wants(t, http.StatusBadRequest, "scopes")
			askAs(t, v, generous, http.MethodGet, "oauthcc/token/antsomi/readers?scopes="+scopes, nil).wants(t, http.StatusBadRequest, "scopes")
		}
		askAs(t, v, generous, http.MethodPost, "oauthcc/token/antsomi/readers", fields{"parameters": fields{"scope": "event"}}).wants(t, http.StatusForbidden)
		for _, request := range s.All() {
			if scope := request.Form().Get("scope"); scope != "item" {
				t.Errorf("the provider was asked for %q", scope)
			}
		}
	})
	t.Run("a policy narrows without a role", func(t *testing.T) {
		v := v.For(t)
		v.Policy("narrow", `path "oauthcc/token/antsomi" {
			capabilities        = ["read"]
			required_parameters = ["scopes"]
			allowed_parameters  = { "scopes" = ["item"] }
		}`)
		narrow := v.TokenWith("narrow")
		got := askAs(t, v, narrow, http.MethodGet, "oauthcc/token/antsomi?scopes=item", nil)
		got.wants(t, http.StatusOK)
		if got.text(t, "scope") != "item" {
			t.Errorf("scope is %q, want item", got.text(t, "scope"))
		}
		for _, query := range []string{"", "?scopes=event", "?scopes=item,event", "?scopes=item&scopes=event", "?scopes=item&min_ttl=1h"} {
			askAs(t, v, narrow, http.MethodGet, "oauthcc/token/antsomi"+query, nil).wants(t, http.StatusForbidden)
		}
	})
	t.Run("a role never outgrows a config that was narrowed later", func(t *testing.T) {
		v := v.For(t)
		other := providertest.Start(t, providertest.Antsomi, providertest.Options{})
		write(t, v, "oauthcc/config/shrinks", registration(providertest.Antsomi, other))
		write(t, v, "oauthcc/role/shrinks/events", fields{"scopes": "event"})
		read(t, v, "oauthcc/token/shrinks/events")
		write(t, v, "oauthcc/config/shrinks", fields{"scopes": "item"})
		ask(t, v, http.MethodGet, "oauthcc/token/shrinks/events", nil).wants(t, http.StatusBadRequest, "events", "item")
		if other.Requests() != 1 {
			t.Errorf("%d requests, want the 1 before", other.Requests())
		}
		if warned := read(t, v, "oauthcc/role/shrinks/events").Warnings; len(warned) == 0 {
			t.Error("reading the role does not warn that it gives no token")
		}
	})
}

// TestTeamChoices tests what a reader may choose: scopes, lifetime, a fresh
// token.
func TestTeamChoices(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})

	t.Run("each set of scopes has one token, whoever names it and how", func(t *testing.T) {
		v := v.For(t)
		s := providertest.Start(t, providertest.Antsomi, providertest.Options{})
		write(t, v, "oauthcc/config/sets", registration(providertest.Antsomi, s)) // scopes=item,event
		write(t, v, "oauthcc/role/sets/all", fields{"description": "nothing of its own", "ttl": "5m"})
		write(t, v, "oauthcc/role/sets/swapped", fields{"scopes": "event,item"})
		write(t, v, "oauthcc/role/sets/item", fields{"scopes": "item"})

		tokens := map[string]string{} // scopes to token
		check := func(scopes string, got reply) {
			t.Helper()
			got.wants(t, http.StatusOK)
			token := got.text(t, "access_token")
			if had, ok := tokens[scopes]; ok && had != token {
				t.Errorf("two tokens for the scopes %s", scopes)
			}
			tokens[scopes] = token
			granted := slices.Sorted(slices.Values(strings.FieldsFunc(got.text(t, "scope"), func(r rune) bool { return r == ' ' || r == ',' })))
			if strings.Join(granted, ",") != scopes {
				t.Errorf("scope is %q, want %s", got.text(t, "scope"), scopes)
			}
		}
		check("event,item", read(t, v, "oauthcc/token/sets"))
		check("event,item", read(t, v, "oauthcc/token/sets/all"))
		check("event,item", read(t, v, "oauthcc/token/sets/swapped"))
		check("event,item", read(t, v, "oauthcc/token/sets?scopes=item,event"))
		check("event,item", read(t, v, "oauthcc/token/sets?scopes=event&scopes=item"))
		check("event,item", ask(t, v, http.MethodPost, "oauthcc/token/sets/swapped", fields{"scopes": []string{"event", "item"}}))
		check("item", read(t, v, "oauthcc/token/sets?scopes=item"))
		check("item", read(t, v, "oauthcc/token/sets/item"))
		check("item", ask(t, v, http.MethodPost, "oauthcc/token/sets", fields{"scopes": "item"}))
		check("event", read(t, v, "oauthcc/token/sets?scopes=event"))
		if s.Requests() != 3 {
			t.Errorf("%d mints for three sets of scopes", s.Requests())
		}
		got := commandJSON(t, v, "read", "oauthcc/token/sets", "scopes=item")
		if member(got, "data", "access_token") != tokens["item"] {
			t.Errorf("vault read … scopes=item gives %v", got)
		}
		got = commandJSON(t, v, "write", "oauthcc/token/sets", "scopes=item", "min_ttl=10m")
		if member(got, "data", "access_token") != tokens["item"] {
			t.Errorf("vault write … scopes=item gives %v", got)
		}
	})
	t.Run("where nothing names scopes a reader may name none", func(t *testing.T) {
		v := v.For(t)
		s := standard(t, v, "scopeless", providertest.Options{}, nil)
		write(t, v, "oauthcc/role/scopeless/plain", fields{"ttl": "5m"})
		for _, path := range []string{"scopeless", "scopeless/plain"} {
			ask(t, v, http.MethodGet, "oauthcc/token/"+path+"?scopes=read", nil).wants(t, http.StatusBadRequest, "scopes")
			ask(t, v, http.MethodPost, "oauthcc/token/"+path, fields{"scopes": "read"}).wants(t, http.StatusBadRequest, "scopes")
		}
		if s.Requests() != 0 {
			t.Errorf("the provider was asked: %+v", s.Last())
		}
	})
	t.Run("min_ttl", func(t *testing.T) {
		v := v.For(t)
		s := standard(t, v, "life", providertest.Options{Lifetime: time.Minute}, nil) // usable for 57 s
		first := read(t, v, "oauthcc/token/life").text(t, "access_token")
		if again := read(t, v, "oauthcc/token/life?min_ttl=30").text(t, "access_token"); again != first || s.Requests() != 1 {
			t.Errorf("a token with enough life was replaced (%d mints)", s.Requests())
		}
		// Longer than the token's remaining life, but shorter than a new
		// token's.
		harness.Eventually(t, time.Minute, func() error {
			if got := read(t, v, "oauthcc/token/life?min_ttl=55s"); got.text(t, "access_token") == first {
				return fmt.Errorf("still the old token, with %v s", got.Data["expires_in"])
			} else if got.number(t, "expires_in") < 55 {
				t.Errorf("the new token lives for %v s", got.Data["expires_in"])
			}
			return nil
		})
		read(t, v, "oauthcc/token/life?min_ttl=10m").wants(t, http.StatusOK, "min_ttl")
		ask(t, v, http.MethodGet, "oauthcc/token/life?min_ttl=soon", nil).wants(t, http.StatusBadRequest, "min_ttl")
		if s.Requests() != 2 {
			t.Errorf("%d mints, want 2: what no token can fulfil must not mint at each read", s.Requests())
		}
	})
	t.Run("fresh=true replaces a token that the provider rejects", func(t *testing.T) {
		v := v.For(t)
		s := standard(t, v, "fresh", providertest.Options{}, nil)
		first := read(t, v, "oauthcc/token/fresh").text(t, "access_token")
		young := ask(t, v, http.MethodPost, "oauthcc/token/fresh", fields{"fresh": true})
		young.wants(t, http.StatusOK, "the token was not replaced, since it is younger than ten seconds")
		if young.text(t, "access_token") != first {
			t.Error("a token was replaced within ten seconds")
		}
		ask(t, v, http.MethodGet, "oauthcc/token/fresh?fresh=true", nil).wants(t, http.StatusBadRequest, "fresh")
		v.Policy("fresh-reader", `path "oauthcc/token/fresh" { capabilities = ["read"] }`)
		v.Policy("fresh-writer", `path "oauthcc/token/fresh" { capabilities = ["update"] }`)
		reader, writer := v.TokenWith("fresh-reader"), v.TokenWith("fresh-writer")
		askAs(t, v, reader, http.MethodPost, "oauthcc/token/fresh", fields{"fresh": true}).wants(t, http.StatusForbidden)
		var second string
		harness.Eventually(t, time.Minute, func() error {
			got := askAs(t, v, writer, http.MethodPost, "oauthcc/token/fresh", fields{"fresh": true})
			got.wants(t, http.StatusOK)
			if second = got.text(t, "access_token"); second == first {
				return fmt.Errorf("still the old token: %v", got.Warnings)
			}
			return nil
		})
		if after := askAs(t, v, reader, http.MethodGet, "oauthcc/token/fresh", nil); after.text(t, "access_token") != second {
			t.Error("the next reader did not get the fresh token")
		}
		again := ask(t, v, http.MethodPost, "oauthcc/token/fresh", fields{"fresh": "true"})
		again.wants(t, http.StatusOK, "the token was not replaced, since it is younger than ten seconds")
		if again.text(t, "access_token") != second || s.Requests() != 2 {
			t.Errorf("%d mints, want 2", s.Requests())
		}
	})
}
