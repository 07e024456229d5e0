// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// certified is a Vault with the plugin, and an authorization server from
// another project, whose verdict decides.
type certified struct {
	v        *harness.Vault
	p        *harness.OIDCProvider
	observer fields // a client that introspects the others' tokens
}

func startCertified(t *testing.T) certified {
	t.Helper()
	v := harness.Start(t, harness.Options{TLS: true})
	p := harness.StartOIDCProvider(t, "", v.CACert())
	return certified{v: v, p: p, observer: p.Register(fields{"token_endpoint_auth_method": "client_secret_basic"})}
}

func (c certified) For(t *testing.T) certified {
	return certified{v: c.v.For(t), p: c.p.For(t), observer: c.observer}
}

// register registers a client that authenticates by that method, and writes a
// config for it. more is added to the config.
func (c certified) register(t *testing.T, config, method string, metadata, more fields) (client fields) {
	t.Helper()
	client = c.p.Register(with(fields{"token_endpoint_auth_method": method}, metadata))
	body := fields{
		"token_url": c.p.Issuer() + "/token", "revocation_url": c.p.Issuer() + "/token/revocation",
		"tls_ca_certificate":         c.p.Authority(),
		"token_endpoint_auth_method": method,
		"client_id":                  client["client_id"],
	}
	if secret, issued := client["client_secret"]; issued {
		body["client_secret"] = secret
	}
	write(t, c.v, "oauthcc/config/"+config, with(body, more))
	return client
}

// mints reads a token, and checks that the server knows it as an active token
// of that client. It returns the answer and what the server knows about the
// token.
func (c certified) mints(t *testing.T, path string, client fields) (answer reply, known fields) {
	t.Helper()
	answer = read(t, c.v, "oauthcc/token/"+path)
	known = c.p.Introspect(c.observer, answer.text(t, "access_token"))
	if known["active"] != true || known["client_id"] != client["client_id"] {
		t.Fatalf("the server says of the token of %s: %v", path, known)
	}
	return answer, known
}

// refused checks that a read of a token fails, that the error contains each
// text, and that the server refused for that reason.
func (c certified) refused(t *testing.T, config string, client fields, reason string, says ...string) {
	t.Helper()
	ask(t, c.v, http.MethodGet, "oauthcc/token/"+config, nil).wants(t, http.StatusBadRequest, says...)
	id, _ := client["client_id"].(string)
	events := c.p.EventsOf(id)
	if len(events) == 0 {
		t.Fatalf("the server saw no request of %s", config)
	}
	last := events[len(events)-1]
	if last.Event != "refused" || !strings.Contains(last.Description+"\n"+last.Detail+"\n"+last.Cause, reason) {
		t.Errorf("the server's last word is %+v, want a refusal because of %q", last, reason)
	}
}

// claims returns the claims of a JWT without verifying it.
func claims(t *testing.T, token string) fields {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("no JWT, but of %d parts", len(parts))
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	return rawObject(t, string(raw))
}
