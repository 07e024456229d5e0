// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// build builds a plugin of that version, and returns its path.
func build(t *testing.T, version string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plugin-"+version)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -X main.version="+version+" -X main.commit=abc123 -X main.date=2026-01-02T03:04:05Z", "-o", path, "./cmd/"+harness.PluginName)
	cmd.Dir = root(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the plugin as %s: %v\n%s", version, err, out)
	}
	return path
}

// install copies a plugin into the plugin directory and returns its SHA-256.
func install(t *testing.T, v *harness.Vault, path, name string) string {
	t.Helper()
	executable, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(v.PluginDir(), name), executable, 0o700); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(executable)
	return hex.EncodeToString(sum[:])
}

func TestRegistration(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{NoPlugin: true})
	sum := install(t, v, harness.PluginBinary(t), harness.PluginName)

	// Vault accepts any sum, and checks it only when it runs the plugin.
	wrong := strings.Repeat("0", len(sum))
	v.CLI("plugin", "register", "-sha256="+wrong, "-command="+harness.PluginName, "secret", harness.PluginName)
	fails(t, v.CLI("secrets", "enable", "-path=oauthcc", harness.PluginName))
	if mounts := v.MustCLI("secrets", "list"); strings.Contains(mounts, "oauthcc/") {
		t.Fatalf("a plugin with a wrong sum was enabled:\n%s", mounts)
	}

	// The wrong entry must be removed. It has no version because it never ran,
	// so it would be listed beside the right one and be found first.
	v.MustCLI("plugin", "deregister", "secret", harness.PluginName)
	v.MustCLI("plugin", "register", "-sha256="+sum, "-command="+harness.PluginName, "secret", harness.PluginName)
	v.MustCLI("secrets", "enable", "-path=oauthcc", harness.PluginName)
	v.MustCLI("secrets", "enable", "-path=team/other", harness.PluginName)

	t.Run("two mounts have storage of their own", func(t *testing.T) {
		v := v.For(t)
		one := providertest.Start(t, providertest.Antsomi, providertest.Options{})
		two := providertest.Start(t, providertest.Antsomi, providertest.Options{ClientSecret: "another"})
		write(t, v, "oauthcc/config/a", registration(providertest.Antsomi, one))
		ask(t, v, http.MethodGet, "team/other/config/a", nil).wants(t, http.StatusNotFound)
		ask(t, v, http.MethodGet, "team/other/token/a", nil).wants(t, http.StatusBadRequest, `"a"`)
		write(t, v, "team/other/config/a", registration(providertest.Antsomi, two))
		issuedBy(t, one, read(t, v, "oauthcc/token/a").text(t, "access_token"))
		got := read(t, v, "team/other/token/a")
		issuedBy(t, two, got.text(t, "access_token"))
		if !strings.HasPrefix(got.LeaseID, "team/other/token/a/") {
			t.Errorf("the lease is %q", got.LeaseID)
		}
	})
	t.Run("two mounts share one process", func(t *testing.T) {
		if pids := v.For(t).PluginPIDs(); len(pids) != 1 {
			t.Errorf("processes %v, want one", pids)
		}
	})
	t.Run("info tells the build that the process is", func(t *testing.T) {
		v := v.For(t)
		out, err := exec.CommandContext(t.Context(), harness.PluginBinary(t), "-version").CombinedOutput()
		if err != nil {
			t.Fatalf("-version: %v\n%s", err, out)
		}
		for _, mount := range []string{"oauthcc", "team/other"} {
			info := read(t, v, mount+"/info")
			for _, name := range []string{"version", "commit", "build_date"} {
				if text := info.text(t, name); text == "" || !strings.Contains(string(out), text) {
					t.Errorf("%s is %q, and -version says %s", name, text, out)
				}
			}
		}
	})
}

// seen checks that a command's output shows the version on the line of the
// name.
func seen(t *testing.T, listing, name, version string) {
	t.Helper()
	line := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + `\s.*$`).FindString(listing)
	if !strings.Contains(line, version) {
		t.Errorf("%s does not show %s:\n%s", name, version, listing)
	}
}

func TestUpgrade(t *testing.T) {
	t.Parallel()
	old, next := build(t, "v0.1.0"), build(t, "v0.2.0")
	v := harness.Start(t, harness.Options{NoPlugin: true})
	name := harness.PluginName
	register := func(path, version string) {
		t.Helper()
		sum := install(t, v, path, name+"-"+version)
		v.MustCLI("plugin", "register", "-sha256="+sum, "-command="+name+"-"+version, "-version="+version, "secret", name)
	}
	register(old, "v0.1.0")
	v.MustCLI("secrets", "enable", "-path=oauthcc", "-plugin-version=v0.1.0", name)
	seen(t, v.MustCLI("plugin", "list", "secret"), name, "v0.1.0")
	seen(t, v.MustCLI("secrets", "list", "-detailed"), "oauthcc/", "v0.1.0")

	s := standard(t, v, "a", providertest.Options{}, nil)
	before := read(t, v, "oauthcc/token/a")

	// Vault refuses a plugin that reports another version than the registered
	// one.
	sum := install(t, v, old, name+"-v0.3.0")
	fails(t, v.CLI("plugin", "register", "-sha256="+sum, "-command="+name+"-v0.3.0", "-version=v0.3.0", "secret", name), "v0.1.0")

	register(next, "v0.2.0")
	v.MustCLI("secrets", "tune", "-plugin-version=v0.2.0", "oauthcc")
	if got := read(t, v, "oauthcc/info").text(t, "version"); got != "v0.1.0" {
		t.Errorf("before the reload %s runs, want v0.1.0", got)
	}
	v.MustCLI("plugin", "reload", "-plugin="+name)
	info := read(t, v, "oauthcc/info")
	if !same(info.Data, fields{"version": "v0.2.0", "commit": "abc123", "build_date": "2026-01-02T03:04:05Z"}) {
		t.Errorf("after the reload: %v", info.Data)
	}
	seen(t, v.MustCLI("secrets", "list", "-detailed"), "oauthcc/", "v0.2.0")

	// Nothing is lost, and nothing is minted again.
	after := read(t, v, "oauthcc/token/a")
	if after.text(t, "access_token") != before.text(t, "access_token") || s.Requests() != 1 {
		t.Errorf("the upgrade cost a mint: %d requests", s.Requests())
	}
	v.MustCLI("lease", "revoke", "-sync", before.LeaseID)

	// The old process ends when no mount uses it any more.
	harness.Eventually(t, time.Minute, func() error { return processCount(v, 1) })
}
