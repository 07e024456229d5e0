// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// TestDemo runs the script of `make demo` with output that is not a terminal.
// The script must show everything and end by itself.
func TestDemo(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	cmd := exec.CommandContext(t.Context(), filepath.Join(root(t), "scripts", "demo.sh"))
	cmd.Dir = t.TempDir() // the script must find its files from any directory
	// The settings of a user's own Vault must not affect the demo.
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "PLUGIN_BIN="+harness.PluginBinary(t), "VAULT_BIN="+harness.VaultBinary(t),
		"VAULT_ADDR=http://127.0.0.1:1", "VAULT_TOKEN=nonsense", "VAULT_NAMESPACE=nowhere", "VAULT_FORMAT=json")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, stdout.String(), stderr.String())
	}
	out := stdout.String()
	if n := len(regexp.MustCompile(`(?m)^access_token +\S+$`).FindAllString(out, -1)); n != 5 {
		t.Errorf("%d lines with an access token, want 5:\n%s", n, out)
	}
	for _, text := range []string{
		"vault plugin register -sha256=", "vault secrets enable -path=oauthcc", "vault lease lookup oauthcc/token/antsomi/", "vault lease revoke",
		"vault read oauthcc/token/antsomi", "vault read oauthcc/token/cognito", "vault read oauthcc/token/fuuffy",
		"vault read oauthcc/token/semansys", "vault read oauthcc/token/xcover", "export VAULT_ADDR=http://127.0.0.1:",
	} {
		if !strings.Contains(out, text) {
			t.Errorf("%q is not in:\n%s", text, out)
		}
	}
	if strings.Contains(out, "\x1b[") {
		t.Error("colours where no terminal is")
	}
	for _, part := range []string{"secret+", "secret&", "password&"} { // parts of the samples' credentials
		if strings.Contains(out, part) {
			t.Errorf("a secret is shown:\n%s", out)
		}
	}
	if left := processesOf(tmp); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
		t.Errorf("left behind in the temporary directory: %v %v", left, err)
	}
}
