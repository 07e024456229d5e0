// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/backend"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// people is a Vault that knows the given entities.
type people struct {
	*logical.StaticSystemView
	known map[string]*logical.Entity
}

func (p people) EntityInfo(id string) (*logical.Entity, error) {
	if p.known[id] == nil {
		return nil, errors.New("no such entity")
	}
	return p.known[id], nil
}

// among mounts an engine in a Vault with three entities: alice, a mallory whose name
// and metadata are full of braces, and nobody, who has no metadata.
func among(t *testing.T) (*engine, *providertest.Server) {
	t.Helper()
	e := mount(t)
	system := people{e.system, map[string]*logical.Entity{
		"e-1": {ID: "e-1", Name: "alice", Metadata: map[string]string{"team": "red", "user": "{client_id}"}},
		"e-2": {ID: "e-2", Name: "mal{lo}ry{{x}}", Metadata: map[string]string{"team": `"},&a=b {client_secret}`, "user": "{{identity.entity.id}}"}},
		"e-3": {ID: "e-3", Name: "nobody"},
	}}
	e = e.in(t, system)
	s := e.server(t, providertest.RFC6749, providertest.Options{ExtraParameters: []string{"user", "more", "audience"}})
	e.must(t, "config/c", standard(s))
	return e, s
}

// in returns the engine in another Vault, which knows other entities.
func (e *engine) in(t *testing.T, system logical.SystemView) *engine {
	t.Helper()
	next := *e
	b, err := backend.Factory(backend.Options{Now: e.clock.Now})(t.Context(), &logical.BackendConfig{
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: e.log}), System: system, StorageView: e.storage,
	})
	if err != nil {
		t.Fatalf("make the backend: %v", err)
	}
	t.Cleanup(func() { b.Cleanup(t.Context()) })
	next.backend = b
	return &next
}

func (e *engine) as(t *testing.T, entity, path string) result {
	t.Helper()
	return e.send(t, &logical.Request{Operation: logical.ReadOperation, Path: path, EntityID: entity})
}

func TestIdentityInARolesParameters(t *testing.T) {
	e, s := among(t)
	e.must(t, "role/c/r", fields{"parameters": fields{
		"user": "{{identity.entity.name}}", "more": "{{ identity.entity.metadata.team }}/{client_id}/{{literal}}/{{identity.entity.id}}",
		"audience": []any{"x", "{{identity.entity.metadata.user}}"},
	}})
	id := s.Credentials().ClientID
	for entity, want := range map[string]fields{
		"e-1": {"user": "alice", "more": "red/" + id + "/{literal}/e-1", "audience": "{client_id}"},
		"e-2": {"user": "mal{lo}ry{{x}}", "more": `"},&a=b {client_secret}/` + id + "/{literal}/e-2", "audience": "{{identity.entity.id}}"},
	} {
		succeeded(t, e.as(t, entity, "token/c/r"))
		form := s.Last().Form()
		if got := []any{form.Get("user"), form.Get("more"), form["audience"][1]}; !same(got, []any{want["user"], want["more"], want["audience"]}) {
			t.Errorf("%s sent %v, want %v", entity, got, want)
		}
	}
	asked(t, s, 2)
}

func TestEachCallerHasATokenOfItsOwn(t *testing.T) {
	e, s := among(t)
	e.must(t, "role/c/r", fields{"parameters": fields{"user": "{{identity.entity.name}}"}})
	e.must(t, "role/c/same", fields{"parameters": fields{"user": "alice"}})
	alice, mallory := e.as(t, "e-1", "token/c/r").token(t), e.as(t, "e-2", "token/c/r").token(t)
	if alice == mallory {
		t.Fatal("two callers share a token")
	}
	for _, e := range []*engine{e, e.restartAmong(t)} {
		for range 2 {
			if e.as(t, "e-1", "token/c/r").token(t) != alice || e.as(t, "e-2", "token/c/r").token(t) != mallory {
				t.Error("a caller gets another token")
			}
		}
		if e.as(t, "e-3", "token/c/same").token(t) != alice {
			t.Error("an equal request does not share the token")
		}
		refused(t, e.as(t, "", "token/c/r"), http.StatusBadRequest, `role "r" of config "c"`, "identity")
	}
	asked(t, s, 2)
	r := e.send(t, &logical.Request{Operation: logical.UpdateOperation, Path: "check/c/r", EntityID: "e-3"})
	succeeded(t, r)
	if got := s.Last().Form().Get("user"); got != "nobody" {
		t.Errorf("the check is by %q", got)
	}
	succeeded(t, update(t, e, "revoke/c", nil))
	if e.as(t, "e-1", "token/c/r").token(t) == alice {
		t.Error("revoked and handed out")
	}
}

func (e *engine) restartAmong(t *testing.T) *engine {
	t.Helper()
	return e.in(t, people{e.system, map[string]*logical.Entity{
		"e-1": {ID: "e-1", Name: "alice"}, "e-2": {ID: "e-2", Name: "mal{lo}ry{{x}}"}, "e-3": {ID: "e-3", Name: "nobody"},
	}})
}

func TestCallerWithoutWhatTheRoleNamesIsRefused(t *testing.T) {
	e, s := among(t)
	for name, test := range map[string]struct{ text, entity, says string }{
		"no entity":                    {"{{identity.entity.name}}", "", "has none"},
		"an entity that Vault forgot":  {"{{identity.entity.name}}", "e-9", "identity.entity.name"},
		"no such metadata":             {"{{identity.entity.metadata.team}}", "e-3", "identity.entity.metadata.team"},
		"no alias at that mount":       {"{{identity.entity.aliases.auth_x.name}}", "e-1", "identity.entity.aliases"},
		"not in the group":             {"{{identity.groups.names.ops.id}}", "e-1", "identity.groups"},
		"one of two that are not both": {"{{identity.entity.name}}{{identity.entity.metadata.team}}", "e-3", "team"},
	} {
		t.Run(name, func(t *testing.T) {
			e.must(t, "role/c/r", fields{"parameters": fields{"user": test.text}})
			for _, op := range []logical.Operation{logical.ReadOperation, logical.UpdateOperation} {
				r := e.send(t, &logical.Request{Operation: op, Path: "token/c/r", EntityID: test.entity})
				refused(t, r, http.StatusBadRequest, `role "r" of config "c"`, test.says)
			}
			r := e.send(t, &logical.Request{Operation: logical.UpdateOperation, Path: "check/c/r", EntityID: test.entity})
			refused(t, r, http.StatusBadRequest, test.says)
			r = e.read(t, "role/c/r") // a read of the role does not depend on the caller
			r.data(t)
			warned(t, r)
		})
	}
	asked(t, s, 0)
}

func TestIdentityTemplatesAreCheckedWhenWritten(t *testing.T) {
	e, _ := among(t)
	for _, text := range []string{
		"{{identity.entity.nmae}}", "{{identity.nothing}}", "{{identity.entity.metadata.}}", "{{identity.}}", "x{{identity.groups.names}}",
	} {
		refused(t, e.write(t, "role/c/r", fields{"parameters": fields{"user": text}}), http.StatusBadRequest, "parameters")
		refused(t, e.write(t, "role/c/r", fields{"parameters": fields{"user": fields{"deep": []any{text}}}}), http.StatusBadRequest, "parameters")
	}
	for _, text := range []string{
		"{{identity.entity.id}}", "{{ identity.entity.name }}", "{{identity.entity.metadata.team}}", "{{identity.entity.aliases.auth_x.metadata.y}}",
		"{{identity.groups.ids.abc.name}}", "{{literal}}", "{client_id}",
	} {
		e.must(t, "role/c/r", fields{"parameters": fields{"user": text}})
		if got := e.read(t, "role/c/r").object(t, "parameters")["user"]; got != text {
			t.Errorf("reads %v, want %s", got, text)
		}
	}
}

// Only a role's parameters are templates. The same text in a config is sent as it is.
func TestIdentityIsNoneOfAConfigsBusiness(t *testing.T) {
	e, s := among(t)
	e.must(t, "config/c", fields{"parameters": fields{"user": "{{identity.entity.name}}"}})
	succeeded(t, e.as(t, "e-1", "token/c"))
	succeeded(t, e.as(t, "", "token/c"))
	if got := s.Last().Form().Get("user"); got != "{identity.entity.name}" {
		t.Errorf("sent %q", got)
	}
	asked(t, s, 1)
}
