// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// OIDCProvider is a running oidc-provider: an authorization server that is
// certified by the OpenID Foundation, and that nobody here wrote. It speaks TLS.
type OIDCProvider struct {
	tb     testing.TB
	cert   *certificate
	proc   *Process
	issuer string
	token  string // for registrations
	client *http.Client
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
	program, err := os.ReadFile(filepath.Join(root, "tests", "oidcprovider", "server.mjs"))
	if err != nil {
		tb.Fatal(err)
	}
	p := &OIDCProvider{tb: tb, cert: newCertificate(tb, dir), token: "registration-of-the-tests"}
	options, err := json.Marshal(map[string]string{
		"certificate": readFile(tb, p.cert.certPath), "key": readFile(tb, p.cert.keyPath),
		"clientAuthority": authority, "registrationToken": p.token,
	})
	if err != nil {
		tb.Fatal(err)
	}
	for name, content := range map[string][]byte{"server.mjs": program, "options.json": options} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		tb.Fatal(err)
	}
	log := filepath.Join(dir, "oidc-provider.log")
	p.proc = startProcess(tb, command{
		name: "oidc-provider", path: filepath.Join(modules, ".bin", "node"), dir: dir, log: log,
		args: []string{filepath.Join(dir, "server.mjs"), filepath.Join(dir, "options.json")},
		env:  append(baseEnv(dir), "NODE_EXTRA_CA_CERTS="+fetches),
	})
	transport := &http.Transport{TLSClientConfig: p.cert.clientConfig()}
	p.client = &http.Client{Transport: transport, Timeout: requestTimeout, CheckRedirect: useLastResponse}
	tb.Cleanup(func() {
		transport.CloseIdleConnections()
		p.proc.finish()
		keepLog(tb, "oidc-provider", log)
	})
	err = poll(tb.Context(), readyTimeout, func() error {
		if !p.proc.Running() {
			return stop(fmt.Errorf("it ended by itself (exit code %d)", p.proc.ExitCode()))
		}
		for _, e := range p.Events() {
			if e.Event == "ready" {
				p.issuer = e.Issuer
				return nil
			}
		}
		return errors.New("it is not ready")
	})
	if err != nil {
		tb.Fatalf("start oidc-provider: %v", err)
	}
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

func readFile(tb testing.TB, path string) string {
	tb.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return string(content)
}

// For returns a view of the same server that reports to another test, as
// [Vault.For] does.
func (p *OIDCProvider) For(tb testing.TB) *OIDCProvider {
	view := *p
	view.tb = tb
	return &view
}

// Issuer returns its issuer URL, without a trailing slash.
func (p *OIDCProvider) Issuer() string { return p.issuer }

// Authority returns the certificate (PEM) that vouches for its own.
func (p *OIDCProvider) Authority() string {
	p.tb.Helper()
	return readFile(p.tb, p.cert.caPath)
}

// Client returns an HTTP client that trusts it, and follows no redirects.
func (p *OIDCProvider) Client() *http.Client { return p.client }

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
	status, answer := p.send("/reg", "application/json", body, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+p.token) })
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
	form := url.Values{"token": {token}}
	status, answer := p.send("/token/introspection", "application/x-www-form-urlencoded", []byte(form.Encode()), func(r *http.Request) {
		r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	})
	if status != http.StatusOK {
		p.tb.Fatalf("introspect a token: %d %v", status, answer)
	}
	return answer
}

func (p *OIDCProvider) send(path, contentType string, body []byte, more func(*http.Request)) (int, map[string]any) {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(p.tb.Context(), requestTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.issuer+path, bytes.NewReader(body))
	if err != nil {
		p.tb.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	more(r)
	resp, err := p.client.Do(r)
	if err != nil {
		p.tb.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		p.tb.Fatal(err)
	}
	var answer map[string]any
	if err := json.Unmarshal(raw, &answer); err != nil {
		p.tb.Fatalf("POST %s: %d, and no JSON: %s", path, resp.StatusCode, raw)
	}
	return resp.StatusCode, answer
}
