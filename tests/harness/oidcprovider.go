// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"bufio"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// OIDCProvider is a running oidc-provider, an authorization server that the
// OpenID Foundation has certified.
type OIDCProvider struct {
	AuthServer
	token string // for registrations
}

// OIDCEvent is something that the server did; Event is "issued" or "refused".
// KID is the key ID of the assertion that a token was issued for. Detail and
// Cause are the reasons for a refusal that the server does not tell the client.
type OIDCEvent struct {
	Event, Client, Issuer, KID        string
	Error, Description, Detail, Cause string
}

// StartOIDCProvider starts a server that runs until the test ends. The server
// accepts client certificates signed by authority (PEM). It fetches clients'
// JWK sets only from servers whose certificate the CA in the file fetches has
// signed; fetches is "" if that is not needed.
func StartOIDCProvider(tb testing.TB, authority, fetches string) *OIDCProvider {
	tb.Helper()
	modules, err := findModules()
	if err != nil {
		tb.Fatalf("no oidc-provider to test against: %v\nRun scripts/oidc-provider.sh, which installs it, and see what it says.", err)
	}
	root, err := moduleRoot()
	if err != nil {
		tb.Fatal(err)
	}
	// The program runs from a copy next to a link to the modules that it
	// imports.
	dir := tempDir(tb)
	program := filepath.Join(dir, "server.mjs")
	if err := os.WriteFile(program, []byte(readFile(tb, filepath.Join(root, "tests", "oidcprovider", "server.mjs"))), 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		tb.Fatal(err)
	}
	p := &OIDCProvider{AuthServer: AuthServer{tb: tb}, token: "registration-of-the-tests"}
	p.start(dir, command{
		name: "oidc-provider", path: filepath.Join(modules, ".bin", "node"), args: []string{program},
		env: []string{"NODE_EXTRA_CA_CERTS=" + fetches},
	}, map[string]any{"clientAuthority": authority, "registrationToken": p.token})
	p.awaitIssuer(func() string {
		for _, e := range p.Events() {
			if e.Event == "ready" {
				return e.Issuer
			}
		}
		return ""
	})
	return p
}

// Found once per process, because it does not change while tests run.
var findModules = sync.OnceValues(func() (string, error) { return runScript("oidc-provider.sh") })

// For returns a view of the same server that reports to another test, as
// [Vault.For] does.
func (p *OIDCProvider) For(tb testing.TB) *OIDCProvider {
	view := *p
	view.tb = tb
	return &view
}

// Events returns what the server has done so far.
func (p *OIDCProvider) Events() []OIDCEvent {
	var out []OIDCEvent
	lines := bufio.NewScanner(strings.NewReader(p.proc.Log()))
	for lines.Scan() {
		var e OIDCEvent
		// Skip warnings at the start, which are text, and a last line that is
		// not complete yet.
		if json.Unmarshal(lines.Bytes(), &e) == nil {
			out = append(out, e)
		}
	}
	return out
}

// EventsOf returns what the server has done so far for one client.
func (p *OIDCProvider) EventsOf(client string) []OIDCEvent {
	var out []OIDCEvent
	for _, e := range p.Events() {
		if e.Client == client {
			out = append(out, e)
		}
	}
	return out
}

// Register registers a client (RFC 7591) for the client credentials grant, with
// this additional metadata, and returns the server's answer.
func (p *OIDCProvider) Register(metadata map[string]any) map[string]any {
	p.tb.Helper()
	all := map[string]any{
		"grant_types": []string{"client_credentials"}, "response_types": []string{}, "redirect_uris": []string{},
		"scope": "read write",
	}
	maps.Copy(all, metadata)
	body, err := json.Marshal(all)
	if err != nil {
		p.tb.Fatal(err)
	}
	status, answer := p.post("/reg", "application/json", body, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+p.token) })
	if status != http.StatusCreated {
		p.tb.Fatalf("register a client: %d %v", status, answer)
	}
	return answer
}

// Introspect asks, as the given client, what the server knows about a token
// (RFC 7662). The client authenticates by client_secret_basic.
func (p *OIDCProvider) Introspect(as map[string]any, token string) map[string]any {
	p.tb.Helper()
	id, _ := as["client_id"].(string)
	secret, _ := as["client_secret"].(string)
	return p.introspect("/token/introspection", id, secret, token)
}
