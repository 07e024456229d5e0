// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package harness_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// TestServer tests the harness itself, on a server without the plugin. If it fails, the
// failures of other tests say nothing about the plugin.
func TestServer(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{NoPlugin: true, TLS: true})
	v.Mount("kv", "kv")
	v.Write("kv/team/a", map[string]any{"colour": "blue"})

	v.Policy("a", `path "kv/team/a" { capabilities = ["read"] }`)
	token := v.TokenWith("a")
	if r := v.CLIAs(token, "read", "-field=colour", "kv/team/a"); r.Stdout != "blue" || r.ExitCode != 0 {
		t.Errorf("vault read: %+v", r)
	}
	if r := v.CLIAs(token, "list", "kv/team"); r.ExitCode != 2 || !strings.Contains(r.Stderr, "403") {
		t.Errorf("vault list with a token that may not: %+v", r)
	}
	if r := v.CLIStdin("from stdin", "write", "kv/team/b", "colour=-"); r.ExitCode != 0 {
		t.Errorf("vault write from stdin: %+v", r)
	}
	if got := v.List("kv/team"); len(got) != 2 {
		t.Errorf("list: %v", got)
	}

	v.Seal()
	if status, body := v.Status(http.MethodGet, "kv/team/a", nil, v.RootToken()); status != http.StatusServiceUnavailable {
		t.Errorf("reading from a sealed server: %d %s", status, body)
	}
	v.Unseal()
	if got := v.Read("kv/team/b").Data["colour"]; got != "from stdin" {
		t.Errorf("after unsealing: %v", got)
	}
	if log := v.AuditLog(); !strings.Contains(log, "kv/team/a") {
		t.Errorf("the audit log does not have the request: %s", log)
	}
	if pids := v.PluginPIDs(); len(pids) != 0 {
		t.Errorf("plugin processes without a plugin: %v", pids)
	}
}

func TestAgent(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{NoPlugin: true})
	v.Mount("kv", "kv")
	v.Write("kv/a", map[string]any{"colour": "blue"})
	out := filepath.Join(t.TempDir(), "out")
	harness.StartAgent(t, v, fmt.Sprintf(`
		auto_auth {
			method "token_file" { config = { token_file_path = %q } }
		}
		template {
			contents    = "{{ with secret \"kv/a\" }}{{ .Data.colour }}{{ end }}"
			destination = %q
		}`, harness.WriteFile(t, v.RootToken()), out))
	harness.Eventually(t, time.Minute, func() error {
		got, err := os.ReadFile(out)
		if err == nil && string(got) != "blue" {
			err = fmt.Errorf("rendered %q", got)
		}
		return err
	})
}
