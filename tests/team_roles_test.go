// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// TestTeamRoles manages roles with the vault command.
func TestTeamRoles(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	s := providertest.Start(t, providertest.RFC6749, providertest.Options{Scopes: []string{"read", "write"}, ExtraParameters: []string{"audience", "resource"}})
	write(t, v, "oauthcc/config/acme", with(registration(providertest.RFC6749, s), fields{"scopes": "read,write", "parameters": fields{"audience": "api"}}))

	t.Run("create, read, list, update, patch, delete", func(t *testing.T) {
		v := v.For(t)
		v.MustCLI("write", "oauthcc/role/acme/readers", "scopes=read", "ttl=15m", "description=the readers")
		got := commandJSON(t, v, "read", "oauthcc/role/acme/readers")
		if !same(member(got, "data"), fields{"scopes": []string{"read"}, "ttl": 900, "description": "the readers"}) {
			t.Errorf("the role reads as %v", member(got, "data"))
		}
		v.MustCLI("write", "oauthcc/role/acme/writers", "scopes=write")
		if got := commandJSON(t, v, "list", "oauthcc/role/acme"); !same(got, []string{"readers", "writers"}) {
			t.Errorf("the list is %v", got)
		}
		v.MustCLI("write", "oauthcc/role/acme/readers", "max_ttl=20m") // a field that is not sent keeps its value
		v.MustCLI("patch", "oauthcc/role/acme/readers", "description=patched")
		ask(t, v, http.MethodPatch, "oauthcc/role/acme/readers", fields{"ttl": nil}).wants(t, http.StatusNoContent)
		if got := read(t, v, "oauthcc/role/acme/readers"); !same(got.Data, fields{"scopes": []string{"read"}, "max_ttl": 1200, "description": "patched"}) {
			t.Errorf("the role reads as %v", got.Data)
		}
		if got := read(t, v, "oauthcc/token/acme/readers").LeaseDuration; got > 1200 || got < 1195 {
			t.Errorf("the lease lasts %d s, want the role's 1200", got)
		}
		v.MustCLI("delete", "oauthcc/role/acme/readers")
		ask(t, v, http.MethodGet, "oauthcc/role/acme/readers", nil).wants(t, http.StatusNotFound)
		ask(t, v, http.MethodGet, "oauthcc/token/acme/readers", nil).wants(t, http.StatusBadRequest, `no role "readers" of config "acme"`)
		v.MustCLI("delete", "oauthcc/role/acme/readers") // in Vault, a delete may be repeated
		v.MustCLI("delete", "oauthcc/role/acme/writers")
	})
	t.Run("refused", func(t *testing.T) {
		for name, test := range map[string]struct {
			path string
			body fields
			says string
		}{
			"a role of no config":               {"oauthcc/role/nothere/readers", fields{}, `no config "nothere"`},
			"credentials":                       {"oauthcc/role/acme/bad", fields{"client_secret": "x"}, "client_secret"},
			"another token_url":                 {"oauthcc/role/acme/bad", fields{"token_url": "https://login.example.com/"}, "token_url"},
			"a ttl longer than max_ttl":         {"oauthcc/role/acme/bad", fields{"ttl": "2h", "max_ttl": "1h"}, "max_ttl"},
			"renewable without a lease":         {"oauthcc/role/acme/bad", fields{"leased": false, "renewable": true}, "renewable"},
			"tokens of its own without a lease": {"oauthcc/role/acme/bad", fields{"leased": false, "reuse": false}, "reuse"},
			"a parameter the engine sends":      {"oauthcc/role/acme/bad", fields{"parameters": fields{"scope": "write"}}, "scope"},
			"a parameter of the config":         {"oauthcc/role/acme/bad", fields{"parameters": fields{"audience": "other"}}, "audience"},
			"a parameter removed":               {"oauthcc/role/acme/bad", fields{"parameters": fields{"audience": nil}}, "audience"},
			"a secret":                          {"oauthcc/role/acme/bad", fields{"parameters": fields{"resource": "{client_secret}"}}, "client_secret"},
		} {
			t.Run(name, func(t *testing.T) {
				ask(t, v.For(t), http.MethodPost, test.path, test.body).wants(t, http.StatusBadRequest, test.says)
			})
		}
	})
	t.Run("a role's shorter limit holds whatever the config's longer one", func(t *testing.T) {
		v := v.For(t)
		standard(t, v, "limits", providertest.Options{}, fields{"ttl": "10m"})
		write(t, v, "oauthcc/role/limits/short", fields{"max_ttl": "20m"})
		write(t, v, "oauthcc/config/limits", fields{"ttl": "30m"}) // a write to a config does not check its roles
		got := ask(t, v, http.MethodGet, "oauthcc/token/limits/short", nil)
		got.wants(t, http.StatusOK)
		if got.LeaseDuration > 1200 || got.LeaseDuration < 1195 {
			t.Errorf("the lease lasts %d s, want the role's 1200", got.LeaseDuration)
		}
		if got := read(t, v, "oauthcc/token/limits").LeaseDuration; got > 1800 || got < 1795 {
			t.Errorf("the config's own lease lasts %d s, want 1800", got)
		}
	})
	t.Run("a role's parameters join the config's, and are a token of their own", func(t *testing.T) {
		v := v.For(t)
		write(t, v, "oauthcc/role/acme/other", fields{"parameters": fields{"resource": "other"}})
		write(t, v, "oauthcc/role/acme/none", fields{"description": "the config's own"})
		seen := map[string]bool{}
		for path, want := range map[string]string{"acme": "", "acme/other": "other"} {
			token := read(t, v, "oauthcc/token/"+path).text(t, "access_token")
			form := s.Last().Form()
			if form.Get("audience") != "api" || form.Get("resource") != want || seen[token] {
				t.Errorf("%s asked for %v, want the audience api and the resource %q", path, form, want)
			}
			seen[token] = true
		}
		if token := read(t, v, "oauthcc/token/acme/none").text(t, "access_token"); !seen[token] {
			t.Error("a role without parameters of its own has a token of its own")
		}
		for _, role := range []string{"other", "none"} {
			v.Delete("oauthcc/role/acme/" + role)
		}
	})
	t.Run("deleting a config with roles takes force", func(t *testing.T) {
		v := v.For(t)
		prepare := func() {
			write(t, v, "oauthcc/config/doomed", registration(providertest.RFC6749, s))
			write(t, v, "oauthcc/role/doomed/one", fields{})
			write(t, v, "oauthcc/role/doomed/two", fields{})
		}
		gone := func() {
			t.Helper()
			ask(t, v, http.MethodGet, "oauthcc/config/doomed", nil).wants(t, http.StatusNotFound)
			ask(t, v, http.MethodGet, "oauthcc/role/doomed/one", nil).wants(t, http.StatusNotFound)
			if left := v.List("oauthcc/role/doomed"); len(left) != 0 {
				t.Errorf("roles are left: %v", left)
			}
		}
		prepare()
		fails(t, v.CLI("delete", "oauthcc/config/doomed"), "one, two", "force=true")
		// The body of a DELETE does not reach the plugin.
		ask(t, v, http.MethodDelete, "oauthcc/config/doomed", fields{"force": true}).wants(t, http.StatusBadRequest, "force=true")
		read(t, v, "oauthcc/token/doomed/one")
		v.MustCLI("delete", "oauthcc/config/doomed", "force=true")
		gone()
		prepare()
		ask(t, v, http.MethodDelete, "oauthcc/config/doomed?force=true", nil).wants(t, http.StatusNoContent)
		gone()
		prepare()
		v.MustCLI("delete", "oauthcc/role/doomed/one")
		v.MustCLI("delete", "oauthcc/role/doomed/two")
		v.MustCLI("delete", "oauthcc/config/doomed")
		gone()
		// A new config of the same name has no roles.
		write(t, v, "oauthcc/config/doomed", registration(providertest.RFC6749, s))
		ask(t, v, http.MethodGet, "oauthcc/token/doomed/one", nil).wants(t, http.StatusBadRequest, "no role")
	})
}

// TestTeamModes tests the ways to hand out tokens. Each way is a role of the
// same config, and all roles share its token.
func TestTeamModes(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	s := standard(t, v, "acme", providertest.Options{Lifetime: 100 * time.Second}, nil) // usable for 95 s
	write(t, v, "oauthcc/role/acme/plain", fields{"leased": false})
	write(t, v, "oauthcc/role/acme/renewable", fields{"renewable": true, "ttl": "30s"})
	leased := read(t, v, "oauthcc/token/acme")

	t.Run("lease-less", func(t *testing.T) {
		v := v.For(t)
		got := read(t, v, "oauthcc/token/acme/plain")
		if got.LeaseID != "" || got.LeaseDuration != 0 || got.Renewable {
			t.Errorf("there is a lease: %s", got.raw)
		}
		for _, name := range []string{"ttl", "rotation_period"} { // Agent panics if it is a string, and stops renewing if it is a fraction
			if !regexp.MustCompile(`"` + name + `":\d+[,}]`).MatchString(got.raw) {
				t.Errorf("%s is not a whole number: %s", name, got.raw)
			}
		}
		if ttl := got.number(t, "ttl"); ttl > 80 || ttl < 70 || got.number(t, "rotation_period") != 80 {
			t.Errorf("ttl %v and rotation_period %v, want at most 80 and 80", ttl, got.Data["rotation_period"])
		}
		if got.text(t, "access_token") != leased.text(t, "access_token") {
			t.Error("with and without a lease there are two tokens")
		}
		if leases := v.List("sys/leases/lookup/oauthcc/token/acme/plain"); len(leases) != 0 {
			t.Errorf("there are leases: %v", leases)
		}
		for name, value := range leased.Data {
			if got.Data[name] == nil {
				t.Errorf("%s is missing, which is %v with a lease", name, value)
			}
		}
	})
	t.Run("renewable, and never beyond the token", func(t *testing.T) {
		v := v.For(t)
		got := read(t, v, "oauthcc/token/acme/renewable")
		if !got.Renewable || got.LeaseDuration > 30 {
			t.Errorf("the lease is for %d s, renewable %t", got.LeaseDuration, got.Renewable)
		}
		ends, err := time.Parse(time.RFC3339, got.text(t, "expires_at"))
		if err != nil {
			t.Fatal(err)
		}
		for _, increment := range []string{"0", "10s", "24h"} {
			begun := time.Now()
			renewed := commandJSON(t, v, "lease", "renew", "-increment="+increment, got.LeaseID)
			length, _ := member(renewed, "lease_duration").(float64)
			if length < 1 || begun.Add(time.Duration(length)*time.Second).After(ends) {
				t.Errorf("renewed by %s, the lease lasts %v s, and the token until %s", increment, length, ends)
			}
		}
		if got.text(t, "access_token") != leased.text(t, "access_token") || s.Requests() != 1 {
			t.Errorf("%d mints for one token", s.Requests())
		}
	})
	t.Run("a lease cannot be renewed once its token is not usable", func(t *testing.T) {
		v := v.For(t)
		standard(t, v, "brief", providertest.Options{Lifetime: 6 * time.Second}, fields{"renewable": true})
		got := read(t, v, "oauthcc/token/brief")
		until := time.Now().Add(6 * time.Second)
		harness.Eventually(t, 60*time.Second, func() error {
			begun := time.Now()
			r := v.CLI("lease", "renew", "-format=json", got.LeaseID)
			if r.ExitCode != 0 {
				return nil
			}
			length, _ := rawObject(t, r.Stdout)["lease_duration"].(float64)
			if ends := begun.Add(time.Duration(length) * time.Second); ends.After(until) {
				t.Errorf("renewed until %s, the token lives until %s", ends, until)
			}
			return fmt.Errorf("renewed for %v s", length)
		})
	})
}

// TestTeamIdentity uses roles that name the caller.
func TestTeamIdentity(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	s := providertest.Start(t, providertest.RFC6749, providertest.Options{ExtraParameters: []string{"audience", "team", "details"}})
	write(t, v, "oauthcc/config/acme", registration(providertest.RFC6749, s))
	v.MustCLI("auth", "enable", "userpass")
	v.Policy("callers", `path "oauthcc/token/acme/*" { capabilities = ["read", "update"] }`)
	mounts := v.Read("sys/auth").Data
	accessor, _ := member(mounts, "userpass/", "accessor").(string)
	entities := map[string]string{}
	login := func(name string, metadata fields) string {
		v.Write("auth/userpass/users/"+name, fields{"password": "a password", "token_policies": "callers"})
		entity := v.Write("identity/entity", fields{"name": name, "metadata": metadata})
		entities[name], _ = entity.Data["id"].(string)
		v.Write("identity/entity-alias", fields{"name": name, "canonical_id": entities[name], "mount_accessor": accessor})
		return v.Write("auth/userpass/login/"+name, fields{"password": "a password"}).Auth.ClientToken
	}
	alice := login("alice", fields{"team": "blue {client_secret} {{x}} ✓"})
	bob := login("bob", nil)
	take := func(t *testing.T, token, role string) (accessToken string, asked fields) {
		t.Helper()
		before := s.Requests()
		got := askAs(t, v.For(t), token, http.MethodGet, "oauthcc/token/acme/"+role, nil)
		got.wants(t, http.StatusOK)
		if s.Requests() > before {
			asked = fields{}
			for name, values := range s.Last().Form() {
				asked[name] = values[0]
			}
		}
		return got.text(t, "access_token"), asked
	}

	t.Run("each caller has a token of its own", func(t *testing.T) {
		v := v.For(t)
		write(t, v, "oauthcc/role/acme/named", fields{"parameters": fields{"audience": "urn:{{identity.entity.name}}/{{identity.entity.id}}"}})
		first, asked := take(t, alice, "named")
		if want := "urn:alice/" + entities["alice"]; asked["audience"] != want {
			t.Errorf("the provider was asked for the audience %v, want %s", asked["audience"], want)
		}
		second, asked := take(t, bob, "named")
		if want := "urn:bob/" + entities["bob"]; asked["audience"] != want {
			t.Errorf("the provider was asked for the audience %v, want %s", asked["audience"], want)
		}
		if first == second {
			t.Error("two callers share a token")
		}
		for caller, want := range map[string]string{alice: first, bob: second} {
			for range 3 {
				if got, asked := take(t, caller, "named"); got != want || asked != nil {
					t.Errorf("a caller's second read gave another token, by %v", asked)
				}
			}
		}
	})
	t.Run("a caller without an identity is told so", func(t *testing.T) {
		v := v.For(t)
		before := s.Requests()
		ask(t, v, http.MethodGet, "oauthcc/token/acme/named", nil).wants(t, http.StatusBadRequest, "identity", "auth method")
		askAs(t, v, v.TokenWith("callers"), http.MethodGet, "oauthcc/token/acme/named", nil).wants(t, http.StatusBadRequest, "identity")
		if s.Requests() != before {
			t.Errorf("the provider was asked: %+v", s.Last())
		}
	})
	t.Run("what an identity holds is never expanded", func(t *testing.T) {
		v := v.For(t)
		write(t, v, "oauthcc/role/acme/team", fields{"parameters": fields{"team": "{client_id}: {{identity.entity.metadata.team}}"}})
		_, asked := take(t, alice, "team")
		if want := s.Credentials().ClientID + ": blue {client_secret} {{x}} ✓"; asked["team"] != want {
			t.Errorf("the provider was sent team=%v, want %s", asked["team"], want)
		}
		askAs(t, v, bob, http.MethodGet, "oauthcc/token/acme/team", nil).wants(t, http.StatusBadRequest, "identity.entity.metadata.team")
	})
	t.Run("also inside of objects and lists", func(t *testing.T) {
		v := v.For(t)
		write(t, v, "oauthcc/role/acme/deep", fields{"parameters": fields{"details": fields{"who": []string{"{{identity.entity.name}}"}}}})
		_, asked := take(t, alice, "deep")
		text, _ := asked["details"].(string)
		var details any
		if err := json.Unmarshal([]byte(text), &details); err != nil || !same(details, fields{"who": []string{"alice"}}) {
			t.Errorf("the provider was sent details=%q", text)
		}
	})
	t.Run("an identity that changes is another request", func(t *testing.T) {
		v := v.For(t)
		before, _ := take(t, alice, "team")
		v.Write("identity/entity/id/"+entities["alice"], fields{"metadata": fields{"team": "green"}})
		after, asked := take(t, alice, "team")
		if team, _ := asked["team"].(string); after == before || !strings.HasSuffix(team, ": green") {
			t.Errorf("after the change the provider was sent %v", maps.Clone(asked))
		}
	})
	t.Run("what identity templating does not know is refused when written", func(t *testing.T) {
		ask(t, v.For(t), http.MethodPost, "oauthcc/role/acme/typo", fields{"parameters": fields{"audience": "{{identity.entity.nmae}}"}}).
			wants(t, http.StatusBadRequest, "identity")
	})
}
