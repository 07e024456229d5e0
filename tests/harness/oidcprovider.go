// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// OIDCProvider is a running oidc-provider, which is certified by the OpenID
// Foundation.
type OIDCProvider struct {
	AuthServer
	token string // for registrations
}

// OIDCEvent is something that the server did: "issued" or "refused". KID is that
// of the assertion that a token was issued for. Detail and Cause are its reasons
// for a refusal, which it does not tell the client.
type OIDCEvent struct {
	Event, Client, Issuer, KID        string
	Error, Description, Detail, Cause string
}

// StartOIDCProvider starts one, for as long as the test lasts. It takes client
// certificates that authority (PEM) signed, and fetches the JWK sets of clients
// from servers that fetches (a CA certificate's path, or "") vouches for.
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
	// The program is run from a copy beside a link to what it imports.
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

// Once per process, since it does not change while tests run.
var findModules = sync.OnceValues(locateModules)

func locateModules() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	var stdout bytes.Buffer
	cmd := exec.Command(filepath.Join(root, "scripts", "oidc-provider.sh"))
	cmd.Stdout, cmd.Stderr = &stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("scripts/oidc-provider.sh: %w", err)
	}
	return strings.TrimSpace(stdout.String()), nil
}

// For returns a view of the same server that reports to another test, as
// [Vault.For] does.
func (p *OIDCProvider) For(tb testing.TB) *OIDCProvider {
	view := *p
	view.tb = tb
	return &view
}

// Events returns what it has done so far.
func (p *OIDCProvider) Events() []OIDCEvent {
	var out []OIDCEvent
	lines := bufio.NewScanner(strings.NewReader(p.proc.Log()))
	for lines.Scan() {
		var e OIDCEvent
		// Warnings at the start are text, and the last line may be half written.
		if json.Unmarshal(lines.Bytes(), &e) == nil {
			out = append(out, e)
		}
	}
	return out
}

// EventsOf returns what it has done so far for one client.
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
// this metadata besides, and returns what the server made of it.
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

// Introspect asks as that client (which authenticates by client_secret_basic)
// what the server knows of a token (RFC 7662).
func (p *OIDCProvider) Introspect(as map[string]any, token string) map[string]any {
	p.tb.Helper()
	id, _ := as["client_id"].(string)
	secret, _ := as["client_secret"].(string)
	return p.introspect("/token/introspection", id, secret, token)
}
