// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"strings"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// mcpServer follows the cookbook's recipe for a resource that names the server
// of its tokens.
func mcpServer(t *testing.T, v *harness.Vault, book *cookbook, run runner) {
	t.Helper()
	server := providertest.Start(t, providertest.RFC6749, providertest.Options{ExtraParameters: []string{"resource"}})
	server.Publish(providertest.WellKnownServer, fields{"issuer": server.URL(), "token_endpoint": server.TokenURL()}, nil)
	resource := providertest.Start(t, providertest.RFC6749, providertest.Options{})
	resource.Publish(providertest.WellKnownResource+"/mcp", fields{"resource": resource.URL() + "/mcp", "authorization_servers": []any{server.URL()}}, nil)

	c := server.Credentials()
	snippet := replace(t, book.take(t, "resource"), "https://mcp.example.com", resource.URL())
	out := run(t, v.RootToken(), snippet, "CLIENT_ID="+c.ClientID, "CLIENT_SECRET="+c.ClientSecret)
	if !strings.Contains(out, server.TokenURL()) {
		t.Errorf("the check does not tell the endpoint: %s", out)
	}
	if got := server.Last().Form().Get("resource"); got != resource.URL()+"/mcp" {
		t.Errorf("the token is asked for %q", got)
	}
	if token := read(t, v, "oauthcc/token/mcp").text(t, "access_token"); !server.Valid(token) {
		t.Error("a token of nobody")
	}
}
