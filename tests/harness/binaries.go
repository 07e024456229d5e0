// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const modulePath = "github.com/oauthcc/vault-plugin-oauthcc"

// VaultBinary returns the path of a Vault (or OpenBao) server. It is
// $VAULT_BIN, which the Makefile sets; without that, it is the one that
// scripts/vault-bin.sh finds or builds. The first build on a slow machine can
// take longer than go test's default timeout; `make acceptance` has no such
// limit.
func VaultBinary(tb testing.TB) string {
	tb.Helper()
	path, err := findVault()
	if err != nil {
		tb.Fatalf("no Vault server to test against: %v\n"+
			"Run `make acceptance`, which builds one, or set VAULT_BIN to a Vault 1.21 or OpenBao binary.", err)
	}
	return path
}

// PluginBinary returns the path of the plugin. It is $PLUGIN_BIN, which the
// Makefile sets; without that, the plugin is built from this source tree, once
// per process.
func PluginBinary(tb testing.TB) string {
	tb.Helper()
	path, err := findPlugin()
	if err != nil {
		tb.Fatalf("no plugin to test: %v\nRun `make build`, or set PLUGIN_BIN to the plugin's executable.", err)
	}
	return path
}

// Determined once per process, because the binaries do not change while tests
// run.
var (
	findVault  = sync.OnceValues(locateVault)
	findPlugin = sync.OnceValues(locatePlugin)
	isOpenBao  = sync.OnceValues(askVersion)
)

func locateVault() (string, error) {
	if path := os.Getenv("VAULT_BIN"); path != "" {
		return executable("VAULT_BIN", path)
	}
	return runScript("vault-bin.sh")
}

func locatePlugin() (string, error) {
	if path := os.Getenv("PLUGIN_BIN"); path != "" {
		return executable("PLUGIN_BIN", path)
	}
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, ".cache", "test")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", err
	}
	// The test binaries of several packages may build at the same time, and
	// each must only see a complete file. So build in a separate directory,
	// then rename.
	tmp, err := os.MkdirTemp(dir, "build")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	built := filepath.Join(tmp, PluginName)
	cmd := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-o", built, "./cmd/"+PluginName)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build ./cmd/%s: %w\n%s", PluginName, err, out)
	}
	path := filepath.Join(dir, PluginName)
	return path, os.Rename(built, path)
}

// runScript returns what a script of the repository prints.
func runScript(name string) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	var stdout bytes.Buffer
	cmd := exec.Command(filepath.Join(root, "scripts", name))
	cmd.Stdout, cmd.Stderr = &stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("scripts/%s: %w", name, err)
	}
	return strings.TrimSpace(stdout.String()), nil
}

func executable(variable, path string) (string, error) {
	found, err := exec.LookPath(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", variable, err)
	}
	return filepath.Abs(found)
}

// askVersion reports whether the server is OpenBao, which needs a few settings
// that Vault does not have.
func askVersion() (bool, error) {
	path, err := findVault()
	if err != nil {
		return false, err
	}
	out, err := exec.Command(path, "version").Output()
	return strings.HasPrefix(string(out), "OpenBao"), err
}

// moduleRoot finds the repository from a test's working directory, which is the
// directory of the test's package.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(mod), "module "+modulePath+"\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod of %s above the working directory", modulePath)
		}
	}
}
