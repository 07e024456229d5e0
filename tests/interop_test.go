// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"net/http"
	"slices"
	"testing"
)

const (
	ledger = "https://ledger.example/api" // a resource that the server knows
	stock  = "https://stock.example/api"  // another one, whose tokens are JWTs
)

// TestInteropSecrets tests the methods that send a secret or nothing. The
// server's client IDs and secrets contain many characters that must be encoded.
func TestInteropSecrets(t *testing.T) {
	t.Parallel()
	c := startCertified(t)
	for _, method := range []string{"client_secret_basic", "client_secret_post", "none"} {
		t.Run(method+" mints", func(t *testing.T) {
			c := c.For(t)
			client := c.register(t, method, method, nil, nil)
			answer, known := c.mints(t, method, client)
			if answer.text(t, "token_type") != "Bearer" || known["token_type"] != "Bearer" {
				t.Errorf("the token is of type %v, to the server of %v", answer.Data["token_type"], known["token_type"])
			}
			if in := answer.number(t, "expires_in"); in < 595 || in > 600 {
				t.Errorf("expires_in is %v, want the server's ten minutes", in)
			}
		})
	}
	for _, method := range []string{"client_secret_basic", "client_secret_post"} {
		t.Run(method+" with a wrong secret is refused", func(t *testing.T) {
			c := c.For(t)
			config := "wrong-" + method
			client := c.register(t, config, method, nil, fields{"client_secret": "not the secret"})
			c.refused(t, config, client, "invalid secret provided", "HTTP 401", "invalid_client", "check client_id, client_secret")
		})
	}
	t.Run("the fallback secret gets in when the first is refused", func(t *testing.T) {
		c := c.For(t)
		client := c.register(t, "fallback", "client_secret_basic", nil, fields{"client_secret": "the former one"})
		write(t, c.v, "oauthcc/config/fallback", fields{"fallback_client_secret": client["client_secret"]})
		c.mints(t, "fallback", client)
	})
	t.Run("a client that nobody registered is refused", func(t *testing.T) {
		c := c.For(t)
		c.register(t, "nobody", "client_secret_basic", nil, fields{"client_id": "nobody"})
		ask(t, c.v, http.MethodGet, "oauthcc/token/nobody", nil).wants(t, http.StatusBadRequest, "HTTP 401", "invalid_client", "check client_id")
	})
}

// TestInteropResources shows that resource indicators (RFC 8707) and scopes
// reach the server as intended.
func TestInteropResources(t *testing.T) {
	t.Parallel()
	c := startCertified(t)
	resource := func(values ...string) fields {
		if len(values) == 1 {
			return fields{"resource": values[0]}
		}
		return fields{"resource": values}
	}

	t.Run("a resource is what the token is for, and bounds its life and scopes", func(t *testing.T) {
		c := c.For(t)
		client := c.register(t, "ledger", "client_secret_basic", nil, fields{"parameters": resource(ledger), "scopes": "read,write"})
		answer, known := c.mints(t, "ledger", client)
		if known["aud"] != ledger || known["scope"] != "read write" || answer.Data["scope"] != "read write" {
			t.Errorf("the token is for %v with scope %v, and the reader is told %v", known["aud"], known["scope"], answer.Data["scope"])
		}
		if in := answer.number(t, "expires_in"); in < 1795 || in > 1800 {
			t.Errorf("expires_in is %v, want the resource's half an hour", in)
		}
	})
	t.Run("a role adds a resource and narrows the scopes", func(t *testing.T) {
		c := c.For(t)
		client := c.register(t, "both", "client_secret_post", nil, fields{"scopes": "read,write"})
		write(t, c.v, "oauthcc/role/both/books", fields{"scopes": "read", "parameters": resource(ledger)})
		if _, known := c.mints(t, "both/books", client); known["aud"] != ledger || known["scope"] != "read" {
			t.Errorf("the token is for %v with scope %v", known["aud"], known["scope"])
		}
	})
	t.Run("tokens that are JWTs are handed out as they are", func(t *testing.T) {
		c := c.For(t)
		client := c.register(t, "stock", "client_secret_basic", nil, fields{"parameters": resource(stock), "scopes": "read"})
		answer := read(t, c.v, "oauthcc/token/stock")
		got := claims(t, answer.text(t, "access_token"))
		if got["aud"] != stock || got["client_id"] != client["client_id"] || got["iss"] != c.p.Issuer() {
			t.Errorf("the token says %v", got)
		}
		if in := answer.number(t, "expires_in"); in < 895 || in > 900 {
			t.Errorf("expires_in is %v, want the resource's quarter of an hour", in)
		}
	})
	for name, test := range map[string]struct {
		resources []string
		config    string
		says      string
	}{
		"a resource that the server does not know is refused":     {[]string{"https://nowhere.example/api"}, "nowhere", "no such resource"},
		"two resources are two parameters, of which it takes one": {[]string{ledger, stock}, "two", "only a single resource indicator value is supported"},
		"a resource that is no absolute URI is refused":           {[]string{"ledger"}, "relative", "must be an absolute URI"},
	} {
		t.Run(name, func(t *testing.T) {
			c := c.For(t)
			client := c.register(t, test.config, "client_secret_basic", nil, fields{"parameters": resource(test.resources...), "scopes": "read"})
			c.refused(t, test.config, client, test.says, "invalid_target", test.says)
		})
	}
	t.Run("a scope that the client may not have is refused", func(t *testing.T) {
		c := c.For(t)
		client := c.register(t, "greedy", "client_secret_basic", fields{"scope": "read"}, fields{"parameters": resource(ledger), "scopes": "write"})
		c.refused(t, "greedy", client, "requested scope is not allowed", "invalid_scope", "check the scopes")
	})
}

// TestInteropRevocation shows that a revocation in Vault ends the token at the
// server (RFC 7009), and only that token.
func TestInteropRevocation(t *testing.T) {
	t.Parallel()
	c := startCertified(t)
	active := func(t *testing.T, tokens ...string) []bool {
		t.Helper()
		var out []bool
		for _, token := range tokens {
			out = append(out, c.p.For(t).Introspect(c.observer, token)["active"] == true)
		}
		return out
	}
	for _, method := range []string{"client_secret_basic", "client_secret_post"} {
		t.Run(method+": a lease of its own token ends it", func(t *testing.T) {
			c := c.For(t)
			client := c.register(t, method, method, nil, fields{"reuse": false})
			first, _ := c.mints(t, method, client)
			second, _ := c.mints(t, method, client)
			c.v.MustCLI("lease", "revoke", "-sync", first.LeaseID)
			tokens := []string{first.text(t, "access_token"), second.text(t, "access_token")}
			if got := active(t, tokens...); !slices.Equal(got, []bool{false, true}) {
				t.Errorf("the revoked token and the other are active: %v", got)
			}
		})
	}
	t.Run("a lease of a token that others hold does not", func(t *testing.T) {
		c := c.For(t)
		client := c.register(t, "shared", "client_secret_basic", nil, nil)
		answer, _ := c.mints(t, "shared", client)
		c.v.MustCLI("lease", "revoke", "-sync", answer.LeaseID)
		c.mints(t, "shared", client)
		if got := active(t, answer.text(t, "access_token")); !got[0] {
			t.Error("the token is not active any more")
		}
	})
	t.Run("the kill switch does", func(t *testing.T) {
		c := c.For(t)
		client := c.register(t, "killed", "client_secret_basic", nil, nil)
		answer, _ := c.mints(t, "killed", client)
		write(t, c.v, "oauthcc/revoke/killed", nil)
		if got := active(t, answer.text(t, "access_token")); got[0] {
			t.Error("the token is still active")
		}
	})
}
