// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Fosite is a running server based on Ory's fosite, the OAuth library that
// Hydra uses.
type Fosite struct{ AuthServer }

// FositeOptions name the clients, users and bearers that the server knows.
type FositeOptions struct {
	Clients map[string]map[string]any // metadata by client ID; "secret" is the secret
	Users   map[string]string         // password by name
	Bearers map[string]map[string]any // public JWK, by name, of a signer of JWTs (RFC 7523)
}

// StartFosite starts a server that runs until the test ends. The server fetches
// clients' JWK sets only from servers whose certificate the CA in the file
// fetches has signed.
func StartFosite(tb testing.TB, o FositeOptions, fetches string) *Fosite {
	tb.Helper()
	path, err := findFosite()
	if err != nil {
		tb.Fatalf("no fosite to test against: %v", err)
	}
	s := &Fosite{AuthServer{tb: tb}}
	s.start(tempDir(tb), command{name: "fosite", path: path, env: []string{"SSL_CERT_FILE=" + fetches}}, map[string]any{"clients": o.Clients, "users": o.Users, "bearers": o.Bearers})
	s.awaitIssuer(func() string {
		line, _, whole := strings.Cut(s.proc.Log(), "\n")
		if !whole || !strings.HasPrefix(line, "https://") {
			return ""
		}
		return line
	})
	return s
}

// Built once per process, because it does not change while tests run.
var findFosite = sync.OnceValues(buildFosite)

// buildFosite builds the server into the temporary directory of the test run.
// That takes seconds, because `make test` fills Go's build cache beforehand.
func buildFosite() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	path := filepath.Join(os.TempDir(), "fosite")
	cmd := exec.Command("go", "build", "-trimpath", "-o", path, ".")
	cmd.Dir = filepath.Join(root, "tests", "fosite")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build tests/fosite: %w\n%s", err, out)
	}
	return path, nil
}

// For returns a view of the same server that reports to another test.
func (s *Fosite) For(tb testing.TB) *Fosite {
	view := *s
	view.tb = tb
	return &view
}

// Introspect asks, as the given client, what the server knows about a token
// (RFC 7662).
func (s *Fosite) Introspect(id, secret, token string) map[string]any {
	s.tb.Helper()
	return s.introspect("/introspect", id, secret, token)
}
