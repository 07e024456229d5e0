// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// protected returns a resource, such as an MCP server, the authorization server that
// the resource names, and a config for the resource.
func protected(t *testing.T, e *engine) (resource, s *providertest.Server, config fields) {
	t.Helper()
	s = e.server(t, providertest.RFC6749, providertest.Options{ExtraParameters: []string{"resource"}, Lifetime: 10 * time.Minute})
	describes(s, nil)
	resource = e.server(t, providertest.RFC6749, providertest.Options{})
	names(resource, s)
	config = byIssuer(s)
	delete(config, "issuer")
	return resource, s, with(config, fields{"resource_url": resource.URL() + "/mcp"})
}

// names makes a resource name these authorization servers.
func names(resource *providertest.Server, servers ...*providertest.Server) {
	issuers := []any{}
	for _, s := range servers {
		issuers = append(issuers, s.URL())
	}
	resource.Publish(providertest.WellKnownResource+"/mcp", fields{"resource": resource.URL() + "/mcp", "authorization_servers": issuers}, nil)
}

func TestAResourceIsAllThatAConfigHasToName(t *testing.T) {
	e := mount(t)
	resource, s, config := protected(t, e)
	e.must(t, "config/c", config)
	if token := e.read(t, "token/c").token(t); !s.Valid(token) {
		t.Error("a token of nobody")
	}
	if got := s.Last().Form()["resource"]; len(got) != 1 || got[0] != resource.URL()+"/mcp" {
		t.Errorf("the token is asked for %q", got)
	}
	asked(t, resource, 0)
	wantMembers(t, e.read(t, "config/c").object(t, "effective"), fields{
		"issuer": s.URL(), "token_url": s.TokenURL(), "resource_url": resource.URL() + "/mcp",
		"parameters": fields{"resource": resource.URL() + "/mcp"},
	})
	wantMembers(t, e.read(t, "status/c").object(t, "discovered"), fields{"issuer": s.URL(), "token_url": s.TokenURL()})
}

func TestAResourceThatCannotBeUsedIsExplained(t *testing.T) {
	for name, test := range map[string]struct {
		change func(resource, s *providertest.Server)
		more   fields
		says   []string // words of the error; nil if the config is written
	}{
		"it says nothing of itself": {func(resource, _ *providertest.Server) {
			resource.Publish(providertest.WellKnownResource+"/mcp", nil, nil)
		}, nil,
			[]string{"resource_url", "there is no metadata of resource", "answered HTTP 404"}},
		"it calls itself another": {func(resource, _ *providertest.Server) {
			resource.Publish(providertest.WellKnownResource+"/mcp", fields{"resource": resource.URL(), "authorization_servers": []any{"https://a.example"}}, nil)
		}, nil, []string{"if this is what the server calls itself, write it as resource_url"}},
		"it names no server":                           {func(resource, _ *providertest.Server) { names(resource) }, nil, []string{"resource_url leads to metadata that names no authorization server"}},
		"it names several":                             {func(resource, s *providertest.Server) { names(resource, s, resource) }, nil, []string{"resource_url leads to metadata that names several authorization servers", "as issuer"}},
		"it names several, and one of them is written": {func(resource, s *providertest.Server) { names(resource, s, resource) }, fields{"issuer": ""}, nil},
		"its server says nothing of itself":            {func(_, s *providertest.Server) { s.Publish(providertest.WellKnownServer, nil, nil) }, nil, []string{"there is no metadata of issuer"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			resource, s, config := protected(t, e)
			test.change(resource, s)
			if test.more != nil {
				config["issuer"] = s.URL()
			}
			r := e.write(t, "config/c", config)
			if test.says == nil {
				succeeded(t, r)
				succeeded(t, e.read(t, "token/c"))
				return
			}
			refused(t, r, http.StatusBadRequest, test.says...)
		})
	}
}

// If a resource starts to name another server, the credentials are not sent there.
func TestAResourceThatNamesAnotherServerIsHeld(t *testing.T) {
	e := mount(t)
	resource, s, config := protected(t, e)
	e.must(t, "config/c", config)
	succeeded(t, e.read(t, "token/c"))
	other := e.server(t, providertest.RFC6749, providertest.Options{ExtraParameters: []string{"resource"}})
	describes(other, nil)
	names(resource, other)
	e.clock.advance(time.Hour)
	e.read(t, "token/c") // starts a search for new metadata
	eventually(t, "the move is seen", func() bool { return e.read(t, "status/c").resp.Warnings != nil })
	refused(t, mints(t, e), http.StatusBadRequest, "the credentials are held", other.URL(), s.URL(), "write the config's secrets again")
	asked(t, other, 0)
	e.must(t, "config/c", config)
	if !other.Valid(e.read(t, "token/c").token(t)) {
		t.Error("the confirmed server was not asked")
	}
}

// A resource behind a gateway has no document at the well-known address. Its answer to
// a request says where the document is.
func TestAResourceMayPointToItsMetadata(t *testing.T) {
	e := mount(t)
	_, s, config := protected(t, e)
	resource := providertest.StartFunc(t, "/mcp", func(w http.ResponseWriter, r *http.Request, _ []byte) {
		w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="http://`+r.Host+`/gateway/meta"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	config["resource_url"] = resource.URL() + "/mcp"
	refused(t, e.write(t, "config/c", config), http.StatusBadRequest, "/gateway/meta answered HTTP 404")
	resource.Publish("/gateway/meta", fields{"resource": resource.URL() + "/mcp", "authorization_servers": []any{s.URL()}}, nil)
	e.must(t, "config/c", config)
	if token := e.read(t, "token/c").token(t); !s.Valid(token) {
		t.Error("a token of nobody")
	}
}
