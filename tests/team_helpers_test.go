// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// appRole is a service that logs in by AppRole. Its two credentials are in
// files, as on a real machine.
type appRole struct{ roleIDFile, secretIDFile string }

// newAppRole creates an AppRole whose policy allows reading one path.
func newAppRole(t *testing.T, v *harness.Vault, name, path string) appRole {
	t.Helper()
	if v.Read("sys/auth").Data["approle/"] == nil {
		v.MustCLI("auth", "enable", "approle")
	}
	v.Policy(name, fmt.Sprintf(`path %q { capabilities = ["read"] }`, path))
	v.Write("auth/approle/role/"+name, fields{"token_policies": name, "token_ttl": "1h"})
	roleID, _ := v.Read("auth/approle/role/" + name + "/role-id").Data["role_id"].(string)
	secretID, _ := v.Write("auth/approle/role/"+name+"/secret-id", nil).Data["secret_id"].(string)
	return appRole{harness.WriteFile(t, roleID), harness.WriteFile(t, secretID)}
}

// autoAuth returns the stanza with which an Agent or Proxy logs in. Several may
// share the files, so none of them removes the files.
func (a appRole) autoAuth() string {
	return fmt.Sprintf(`
auto_auth {
  method "approle" {
    config = {
      role_id_file_path                   = %q
      secret_id_file_path                 = %q
      remove_secret_id_file_after_reading = false
    }
  }
}
`, a.roleIDFile, a.secretIDFile)
}

// during calls sample repeatedly until length has passed. Tests use it to check
// that something holds all the time.
func during(t *testing.T, length, pause time.Duration, sample func()) {
	t.Helper()
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for end := time.After(length); ; {
		sample()
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-end:
			return
		case <-ticker.C:
		}
	}
}

// audited counts the requests with that operation and path that reached Vault.
func audited(v *harness.Vault, operation, path string) int {
	n := 0
	for line := range strings.Lines(v.AuditLog()) {
		var entry struct {
			Type    string `json:"type"`
			Request struct {
				Operation string `json:"operation"`
				Path      string `json:"path"`
			} `json:"request"`
		}
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Type == "request" &&
			entry.Request.Operation == operation && entry.Request.Path == path {
			n++
		}
	}
	return n
}

// noLeases returns an error if there are leases below the path.
func noLeases(t *testing.T, v *harness.Vault, path string) error {
	t.Helper()
	if leases := v.List("sys/leases/lookup/" + path); len(leases) > 0 {
		return fmt.Errorf("%d leases of %s are left", len(leases), path)
	}
	return nil
}

// noIrrevocable checks that Vault has marked no lease as irrevocable.
func noIrrevocable(t *testing.T, v *harness.Vault) {
	t.Helper()
	got := read(t, v, "sys/leases?type=irrevocable")
	if got.number(t, "lease_count") != 0 {
		t.Errorf("there are irrevocable leases: %s", got.raw)
	}
}

// via makes one request through an Agent's or Proxy's listener.
func via(t *testing.T, client *http.Client, addr, method, path string) (reply, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+"/v1/"+path, nil)
	if err != nil {
		return reply{}, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{}, err
	}
	r := reply{status: resp.StatusCode, header: resp.Header, raw: string(raw)}
	if len(raw) > 0 {
		err = json.Unmarshal(raw, &r)
	}
	return r, err
}

// shell runs a script as a reader of the documentation would: with vault on the
// PATH, and with Vault's address and a token in the environment. It returns the
// script's standard output.
func shell(t *testing.T, v *harness.Vault, token, dir, script string, env ...string) (string, error) {
	t.Helper()
	bin := t.TempDir()
	if err := os.Symlink(harness.VaultBinary(t), filepath.Join(bin, "vault")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = dir
	cmd.Env = append([]string{
		"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + os.Getenv("TMPDIR"),
		"VAULT_ADDR=" + v.Addr(), "VAULT_TOKEN=" + token,
	}, env...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%w\n%s\n%s", err, script, stderr.String())
	}
	return stdout.String(), nil
}

// mustShell is like shell, for scripts that must succeed.
func mustShell(t *testing.T, v *harness.Vault, token, dir, script string, env ...string) string {
	t.Helper()
	out, err := shell(t, v, token, dir, script, env...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// fileLine reads a rendered file, and returns the text after prefix on its
// first line.
func fileLine(path, prefix string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(content), "\n")
	value, ok := strings.CutPrefix(line, prefix)
	if !ok || value == "" {
		return "", errors.New(filepath.Base(path) + " holds no token: " + string(content))
	}
	return value, nil
}
