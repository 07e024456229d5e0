// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

func TestRoleCRUD(t *testing.T) {
	e := mount(t)
	e.must(t, "config/c", acme())
	e.must(t, "config/cc", acme())
	role := fields{
		"parameters": fields{"a": "b", "n": float64(1)}, "ttl": float64(60), "max_ttl": float64(120), "min_ttl": float64(5),
		"reuse": true, "leased": true, "renewable": true, "description": "for readers",
	}
	e.must(t, "role/c/r", role)
	if got := e.read(t, "role/c/r").data(t); !same(got, role) {
		t.Errorf("read %v, want %v", got, role)
	}
	e.must(t, "role/c/r", fields{"ttl": "30s", "parameters": "x=y"}) // the write replaces the fields that it sends, each map as a whole
	if got, want := e.read(t, "role/c/r").data(t), with(role, fields{"ttl": float64(30), "parameters": fields{"x": "y"}}); !same(got, want) {
		t.Errorf("read %v, want %v", got, want)
	}
	succeeded(t, e.patch(t, "role/c/r", fields{"max_ttl": nil, "parameters": fields{"z": 1}}))
	if got := e.read(t, "role/c/r").data(t); !same(got["parameters"], fields{"x": "y", "z": float64(1)}) || got["max_ttl"] != nil {
		t.Errorf("after a patch: %v", got)
	}
	e.must(t, "role/c/a", fields{})
	e.must(t, "role/cc/other", fields{})
	if got := e.list(t, "role/c/"); !slices.Equal(got, []string{"a", "r"}) {
		t.Errorf("list: %v", got)
	}
	if got := e.list(t, "role/none/"); len(got) != 0 {
		t.Errorf("list of none: %v", got)
	}
	succeeded(t, e.delete(t, "role/c/r"))
	succeeded(t, e.delete(t, "role/c/r"))
	if got := e.list(t, "role/c/"); !slices.Equal(got, []string{"a"}) {
		t.Errorf("list: %v", got)
	}
}

func TestRoleThatIsMissing(t *testing.T) {
	e := mount(t)
	e.must(t, "config/c", acme())
	if r := e.read(t, "role/c/none"); r.status() != http.StatusNotFound {
		t.Errorf("read: status %d", r.status())
	}
	refused(t, e.patch(t, "role/c/none", fields{"ttl": 5}), http.StatusNotFound, `role "none" of config "c"`)
	refused(t, e.read(t, "token/c/none"), http.StatusBadRequest, `no role "none" of config "c"`, "role/c/none")
	refused(t, e.write(t, "role/none/r", fields{"ttl": 5}), http.StatusBadRequest, `no config "none"`)
	refused(t, e.read(t, "token/none/r"), http.StatusBadRequest, `no config "none"`)
	if got := e.below(t, "role/"); len(got) != 0 {
		t.Errorf("stored: %v", got)
	}
}

func TestRoleScopesAreSomeOfTheConfigs(t *testing.T) {
	for name, test := range map[string]struct {
		provider, config, role any
		ok                     bool
		sent                   string
	}{
		"some of the config's":                      {nil, "read,write", "read", true, "read"},
		"all of the config's":                       {nil, "read,write", "write,read", true, "write read"},
		"one more than the config's":                {nil, "read,write", "read,admin", false, ""},
		"others than the config's":                  {nil, "read", "write", false, ""},
		"none of the config's":                      {nil, "read", "", false, ""},
		"unsaid":                                    {nil, "read,write", nil, true, "read write"},
		"any where the config names none":           {nil, nil, "admin", true, "admin"},
		"any where the config says none":            {"read", "", "admin", true, "admin"},
		"some of the provider's":                    {"read,write", nil, "read", true, "read"},
		"one more than the provider's":              {"read,write", nil, "admin", false, ""},
		"the config's count, not the provider's":    {"read,write", "read", "write", false, ""},
		"the config's, wider than the provider's":   {"read", "read,write", "write", true, "write"},
		"a part of a name is no scope of the class": {nil, "readers", "read", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{Scopes: []string{"read", "write", "admin", "readers"}})
			set := func(v any) fields {
				if v == nil {
					return fields{"description": "x"}
				}
				return fields{"scopes": v}
			}
			config := with(standard(s), fields{"provider": "p"})
			delete(config, "token_url")
			e.must(t, "provider/p", with(fields{"token_url": s.TokenURL()}, set(test.provider)))
			e.must(t, "config/c", with(config, set(test.config)))
			r := e.write(t, "role/c/r", set(test.role))
			if !test.ok {
				refused(t, r, http.StatusBadRequest, "scopes")
				if got := e.below(t, "role/"); len(got) != 0 {
					t.Errorf("stored: %v", got)
				}
				return
			}
			succeeded(t, r)
			succeeded(t, e.read(t, "token/c/r"))
			if got := s.Last().Form().Get("scope"); got != test.sent {
				t.Errorf("sent the scope %q, want %q", got, test.sent)
			}
		})
	}
}

func TestRoleParameters(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{ExtraParameters: []string{"audience", "tenant", "more", "p"}})
	e.must(t, "provider/p", fields{"token_url": s.TokenURL(), "parameters": fields{"p": "of the provider"}})
	config := with(standard(s), fields{"provider": "p", "parameters": fields{"audience": "of the config", "tenant": "t"}})
	delete(config, "token_url")
	e.must(t, "config/c", config)
	for name, test := range map[string]struct{ role, want fields }{
		"none of its own":      {fields{"description": "x"}, fields{"audience": "of the config", "tenant": "t", "p": "of the provider"}},
		"its own join":         {fields{"parameters": fields{"more": "x"}}, fields{"audience": "of the config", "tenant": "t", "p": "of the provider", "more": "x"}},
		"an empty text is one": {fields{"parameters": fields{"more": ""}}, fields{"audience": "of the config", "more": ""}},
		"placeholders":         {fields{"parameters": fields{"more": "{client_id}-{{x}}"}}, fields{"more": s.Credentials().ClientID + "-{x}"}},
	} {
		t.Run(name, func(t *testing.T) {
			e.must(t, "role/c/r", test.role)
			succeeded(t, e.read(t, "token/c/r"))
			form := s.Last().Form()
			for name, want := range test.want {
				if want == nil && form.Has(name) || want != nil && (!form.Has(name) || form.Get(name) != want) {
					t.Errorf("%s is %q, want %v", name, form[name], want)
				}
			}
			succeeded(t, e.delete(t, "role/c/r"))
			e.clock.advance(2 * time.Hour)
		})
	}
	for _, name := range []string{"grant_type", "client_secret", "scope"} {
		r := e.write(t, "role/c/r", fields{"parameters": fields{name: secretTwo}})
		refused(t, r, http.StatusBadRequest, "parameters", name)
		withoutSecrets(t, "the error", r.text(), secretTwo)
	}
	for name, value := range map[string]any{"audience": "mine", "tenant": nil, "p": "mine", "Audience": "mine", "p[]": "mine"} {
		for _, r := range []result{e.write(t, "role/c/r", fields{"parameters": fields{name: value}}), e.write(t, "role/c/r", fields{"parameters": fields{"more": "x", name: value}})} {
			refused(t, r, http.StatusBadRequest, "parameters holds", "a role can add parameters", "Leave it out of the role")
		}
	}
	refused(t, e.write(t, "role/c/r", fields{"parameters": fields{"more": "{no_such}"}}), http.StatusBadRequest, "parameters", "no_such")
}

// A role cannot use a secret. If the provider copied a parameter into its tokens,
// someone who may write a role and read its token would see the secret.
func TestRoleCannotNameASecret(t *testing.T) {
	e := mount(t, secretOne, secretTwo)
	s := e.server(t, providertest.RFC6749, providertest.Options{ExtraParameters: []string{"audience", "v"}})
	e.must(t, "config/c", with(standard(s), fields{"secret_variables": fields{"key": secretTwo}, "parameters": fields{"v": "{key}"}}))
	for _, text := range []string{"{client_secret}", "x{client_secret|hex}", "{password}", "{key}", "{key|base64}"} {
		for _, write := range []result{
			e.write(t, "role/c/r", fields{"parameters": fields{"audience": text}}),
			e.write(t, "role/c/r", fields{"parameters": fields{"audience": fields{"deep": []any{text}}}}),
		} {
			refused(t, write, http.StatusBadRequest, "parameters", "audience", "cannot name a secret", "on the config")
		}
	}
	e.must(t, "role/c/r", fields{"parameters": fields{"audience": "mine"}})
	refused(t, e.patch(t, "role/c/r", fields{"parameters": fields{"audience": "{key}"}}), http.StatusBadRequest, "cannot name a secret")
	succeeded(t, e.read(t, "token/c/r"))
	if got := s.Last().Form().Get("audience"); got != "mine" {
		t.Errorf("sent the audience %q", got)
	}
}

func TestRoleTakesNoFieldsOfAConfig(t *testing.T) {
	e := mount(t)
	e.must(t, "config/c", acme())
	for _, name := range []string{"client_secret", "token_url", "provider", "request_headers", "secret_parameters", "variables", "request_timeout", "verify_connection"} {
		refused(t, e.write(t, "role/c/r", fields{name: "x"}), http.StatusBadRequest, "unknown field", name)
	}
}

func TestRoleSettingsThatContradict(t *testing.T) {
	bare := fields{"token_url": "https://acme.example.com/token", "client_id": "c", "client_secret": "s"}
	for name, test := range map[string]struct {
		config, role fields
		says         []string
	}{
		"renewable without a lease":         {fields{}, fields{"leased": false, "renewable": true}, []string{"renewable", "leased"}},
		"renewable where the config is not": {fields{"leased": false}, fields{"renewable": true}, []string{"renewable", "leased"}},
		"reuse=false without a lease":       {fields{}, fields{"leased": false, "reuse": false}, []string{"reuse", "leased"}},
		"without a lease of its own":        {fields{"reuse": false}, fields{"leased": false}, []string{"reuse", "leased"}},
		"a ttl without a lease":             {fields{"leased": false}, fields{"ttl": 5}, []string{"ttl", "leased"}},
		"a max_ttl without a lease":         {fields{"leased": false}, fields{"max_ttl": 5}, []string{"ttl", "leased"}},
		"a ttl beyond its max_ttl":          {fields{}, fields{"ttl": 10, "max_ttl": 5}, []string{"ttl", "max_ttl"}},
		"a config's ttl without a lease":    {fields{"ttl": 5}, fields{"leased": false}, []string{"ttl", "leased"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			e.must(t, "config/c", with(bare, test.config))
			refused(t, e.write(t, "role/c/r", test.role), http.StatusBadRequest, test.says...)
		})
	}
	e := mount(t)
	e.must(t, "config/c", with(bare, fields{"ttl": 5, "reuse": false, "renewable": true}))
	e.must(t, "role/c/r", fields{"leased": false, "ttl": 0, "reuse": true, "renewable": false}) // the role may undo what the config sets
}

func TestRoleLimitsHoldBesideTheConfigs(t *testing.T) {
	for name, test := range map[string]struct {
		config, role fields
		want         time.Duration
		says         string
	}{
		"the role's ttl":                          {fields{}, fields{"ttl": 60}, time.Minute, "role's ttl"},
		"the role's shorter ttl":                  {fields{"ttl": "1h"}, fields{"ttl": 60}, time.Minute, "role's ttl"},
		"the config's shorter ttl":                {fields{"ttl": 60}, fields{"ttl": "30m"}, time.Minute, "config's ttl"},
		"the role's shorter max_ttl":              {fields{"max_ttl": "30m"}, fields{"max_ttl": 60}, time.Minute, "role's max_ttl"},
		"the config's shorter max_ttl":            {fields{"max_ttl": 60}, fields{"max_ttl": "30m"}, time.Minute, "config's max_ttl"},
		"the config's, which the role has undone": {fields{"ttl": 60}, fields{"ttl": 0}, time.Minute, "config's ttl"},
		"the role's ttl below the config's max":   {fields{"max_ttl": "30m"}, fields{"ttl": 60}, time.Minute, "role's ttl"},
		"the role's max_ttl below the config's ttl": {
			fields{"ttl": "30m"}, fields{"max_ttl": 60}, time.Minute, "role's max_ttl",
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{})
			e.must(t, "config/c", with(standard(s), test.config))
			e.must(t, "role/c/r", test.role)
			r := e.read(t, "token/c/r")
			r.token(t)
			if got := r.resp.Secret; got.TTL != test.want || got.MaxTTL < got.TTL {
				t.Errorf("TTL %s, MaxTTL %s, want %s", got.TTL, got.MaxTTL, test.want)
			}
			warned(t, r, test.says)
		})
	}
}

// If a config's limits become tighter, its roles stay valid, and get the tighter
// limits.
func TestConfigThatTightensItsLimitsKeepsItsRoles(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", with(standard(s), fields{"max_ttl": "1h"}))
	e.must(t, "role/c/r", fields{"ttl": "30m"})
	succeeded(t, e.read(t, "token/c/r"))
	e.must(t, "config/c", fields{"max_ttl": 60})
	r := e.read(t, "token/c/r")
	r.token(t)
	if got := r.resp.Secret.TTL; got != time.Minute {
		t.Errorf("TTL %s", got)
	}
}

// A config may change so that its roles become invalid. Then a read of the role's token
// says what is wrong.
func TestConfigChangeThatMakesARoleInvalid(t *testing.T) {
	for name, test := range map[string]struct {
		role, change fields
		says         []string
	}{
		"scopes that are gone":                    {fields{"scopes": "write"}, fields{"scopes": "read"}, []string{`role "r" of config "c"`, "scopes"}},
		"leases that are gone":                    {fields{"renewable": true}, fields{"leased": false}, []string{`role "r" of config "c"`, "leased"}},
		"a parameter that the config decides now": {fields{"parameters": "tenant=x"}, fields{"parameters": "tenant=y"}, []string{`role "r" of config "c"`, "tenant", "Leave it out of the role"}},
		"a variable that is secret now": {
			fields{"parameters": "tenant={zone}"}, fields{"secret_variables": fields{"zone": "z"}}, []string{`role "r" of config "c"`, "tenant", "{zone}", "cannot name a secret"},
		},
		"a parameter that is secret now":  {fields{"parameters": "tenant=x"}, fields{"secret_parameters": "tenant=y"}, []string{`role "r" of config "c"`, "tenant"}},
		"a variable that is gone already": {fields{"parameters": "tenant={zone}"}, fields{"provider": "q"}, []string{`role "r" of config "c"`, "zone"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{ExtraParameters: []string{"tenant"}})
			e.must(t, "provider/p", fields{"token_url": s.TokenURL(), "variables": fields{"zone": fields{"default": "z"}}})
			e.must(t, "provider/q", fields{"token_url": s.TokenURL()})
			config := with(standard(s), fields{"provider": "p", "scopes": "read,write"})
			delete(config, "token_url")
			e.must(t, "config/c", config)
			e.must(t, "role/c/r", test.role)
			succeeded(t, e.read(t, "token/c/r"))
			e.must(t, "role/c/sound", fields{"min_ttl": 60})
			changed := e.write(t, "config/c", test.change)
			succeeded(t, changed)
			warned(t, changed, `roles of config "c" without tokens: "r"; of the first`)
			succeeded(t, e.read(t, "token/c/sound"))
			succeeded(t, e.delete(t, "role/c/sound"))
			succeeded(t, e.read(t, "token/c"))
			refused(t, e.read(t, "token/c/r"), http.StatusBadRequest, test.says...)
			r := e.read(t, "role/c/r")
			r.data(t)
			warned(t, r, "gives no token")
			succeeded(t, e.delete(t, "role/c/r"))
		})
	}
}

func TestConfigWithRolesIsDeletedOnlyByForce(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	e.must(t, "config/cc", standard(s))
	e.must(t, "role/cc/mine", fields{})
	for _, name := range []string{"a", "b"} {
		e.must(t, "role/c/"+name, fields{"description": name})
		succeeded(t, e.read(t, "token/c/"+name))
	}
	refused(t, e.delete(t, "config/c"), http.StatusBadRequest, `"c"`, "a, b", "force=true")
	refused(t, e.request(t, logical.DeleteOperation, "config/c", fields{"force": "false"}), http.StatusBadRequest, "a, b")
	succeeded(t, e.read(t, "token/c/a"))
	asked(t, s, 1)
	succeeded(t, e.request(t, logical.DeleteOperation, "config/c", fields{"force": "true"}))
	for key := range e.storage.snapshot(t) {
		if key != "config/cc" && key != "role/cc/mine" {
			t.Errorf("%s is left behind", key)
		}
	}
	refused(t, e.read(t, "token/c/a"), http.StatusBadRequest, `no config "c"`)
	e.must(t, "config/c", standard(s))
	refused(t, e.read(t, "token/c/a"), http.StatusBadRequest, `no role "a"`)
	succeeded(t, e.delete(t, "config/c"))
}

func TestProviderChangeThatMakesARoleInvalid(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{ExtraParameters: []string{"tenant"}})
	dialect := fields{"token_url": s.TokenURL(), "variables": fields{"zone": fields{"default": "z"}}}
	e.must(t, "provider/p", dialect)
	config := with(standard(s), fields{"provider": "p"})
	delete(config, "token_url")
	e.must(t, "config/c", config)
	e.must(t, "role/c/r", fields{"parameters": "tenant={zone}"})
	r := e.write(t, "provider/p", with(dialect, fields{"variables": fields{"area": fields{"default": "z"}}}))
	succeeded(t, r)
	warned(t, r, `roles of config "c" without tokens: "r"; of the first`)
	r = e.write(t, "provider/p", dialect)
	succeeded(t, r)
	warned(t, r)
}
