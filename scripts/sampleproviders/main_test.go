// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

func TestShellReadsBackWhatIsQuoted(t *testing.T) {
	for _, value := range []string{"", "plain", "a b", `it's`, "''", `+&=%/\`, "$HOME `id` \"x\" !#*", "ü\nß", `end\`} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "v="+quote(value)+`; printf %s. "$v"`).Output()
		if err != nil || string(out) != value+"." {
			t.Errorf("%q came back as %q (%v)", value, out, err)
		}
	}
}

func TestRunServesUntilItsContextEnds(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, envFile)
	if err := os.WriteFile(path, []byte("ANTSOMI_TOKEN_URL='stale'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, dir, false, io.Discard) }()

	var env string
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		raw, err := os.ReadFile(path)
		if env = string(raw); err == nil && !strings.Contains(env, "stale") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no file")
		}
	}
	semansys := providertest.DefaultCredentials(providertest.Semansys)
	for name, want := range map[string]string{
		"ANTSOMI_CLIENT_SECRET": providertest.DefaultCredentials(providertest.Antsomi).ClientSecret,
		"XCOVER_CLIENT_SECRET":  providertest.DefaultCredentials(providertest.XCover).ClientSecret,
		"SEMANSYS_USERNAME":     semansys.Username,
		"SEMANSYS_PASSWORD":     semansys.Password,
		"FUUFFY_USERNAME":       "",
	} {
		if got := sourced(t, path, name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"ANTSOMI", "COGNITO", "FUUFFY", "SEMANSYS", "XCOVER"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, sourced(t, path, name+"_STATS_URL"), nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || strings.TrimSpace(string(body)) != `{"issued":0,"requests":0}` {
			t.Errorf("%s: %s (%v)", name, body, err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

func sourced(t *testing.T, file, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-c", `. "$1"; eval "printf %s \"\${$2-}\""`, "sh", file, name).Output()
	if err != nil {
		t.Fatalf("source %s: %v", file, err)
	}
	return string(out)
}
