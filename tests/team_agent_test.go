// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

const (
	agents     = 5
	agentWatch = 150 * time.Second
	agentToken = 40 * time.Second
	agentMints = 9 // at most, in that time
)

// agentTemplates render a token into an env file and a JSON file.
const agentTemplates = `
template {
  destination          = "token.env"
  error_on_missing_key = true
  contents             = <<EOT
{{ with secret "%[1]s" }}ACCESS_TOKEN={{ .Data.access_token }}
EXPIRES_AT={{ .Data.expires_at }}{{ end }}
EOT
}

template {
  destination          = "token.json"
  error_on_missing_key = true
  contents             = <<EOT
{{ with secret "%[1]s" }}{{ .Data | toJSON }}{{ end }}
EOT
}
`

// TestTeamAgents runs Vault Agent as services do.
func TestTeamAgents(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{LogLevel: "info"})
	v.MustCLI("auth", "enable", "approle")
	together(t, map[string]func(*testing.T){
		"no file ever holds an expired token, leased":     func(t *testing.T) { watchAgents(t, v.For(t), "leased", true) },
		"no file ever holds an expired token, lease-less": func(t *testing.T) { watchAgents(t, v.For(t), "lease-less", false) },
		"a program is restarted, leased":                  func(t *testing.T) { execAgent(t, v.For(t), "exec-leased", true) },
		"a program is restarted, lease-less":              func(t *testing.T) { execAgent(t, v.For(t), "exec-lease-less", false) },
		"the provider fails for a while":                  func(t *testing.T) { agentOutage(t, v.For(t)) },
	})
}

// watchAgents lets five Agents render tokens for 150 s, each with a lifetime of
// 40 s. No file may ever contain an expired token. An Agent reads again when up to
// 95 % of a lease have passed, which leaves a busy machine two seconds here.
func watchAgents(t *testing.T, v *harness.Vault, name string, leased bool) {
	t.Helper()
	s := standard(t, v, name, providertest.Options{Lifetime: agentToken}, fields{"leased": leased})
	path := "oauthcc/token/" + name
	service := newAppRole(t, v, name, path)
	var running []*harness.Process
	for range agents {
		running = append(running, harness.StartAgent(t, v, service.autoAuth()+fmt.Sprintf(agentTemplates, path)))
	}
	for _, agent := range running {
		harness.Eventually(t, time.Minute, func() error {
			_, err1 := rendered(agent.Dir(), "token.env")
			_, err2 := rendered(agent.Dir(), "token.json")
			return errors.Join(err1, err2)
		})
	}
	samples, expired := 0, 0
	tokens := map[string]bool{}
	during(t, agentWatch, 50*time.Millisecond, func() {
		for i, agent := range running {
			for _, file := range []string{"token.env", "token.json"} {
				token, err := rendered(agent.Dir(), file)
				if err != nil {
					t.Errorf("Agent %d: %v", i, err)
					continue
				}
				samples++
				tokens[token] = true
				if !s.Valid(token) {
					expired++
				}
			}
		}
	})
	t.Logf("%d samples, %d expired; %d mints, %d tokens seen", samples, expired, s.IssuedCount(), len(tokens))
	if expired > 0 {
		t.Errorf("%d of %d samples are of an expired token", expired, samples)
	}
	if n := s.IssuedCount(); n > agentMints || n < 4 {
		t.Errorf("the provider saw %d mints, want one for each rotation, at most %d", n, agentMints)
	}
	harness.Eventually(t, time.Minute, func() error { // one may be under way
		if refused := s.Requests() - s.IssuedCount(); refused != 0 {
			return fmt.Errorf("the provider refused %d requests", refused)
		}
		return nil
	})
	if leases := v.List("sys/leases/lookup/" + path); leased != (len(leases) > 0) {
		t.Errorf("there are %d leases", len(leases))
	}
	for i, agent := range running {
		if !agent.Running() || strings.Contains(agent.Log(), "panic") {
			t.Errorf("Agent %d did not survive", i)
		}
	}
}

// rendered returns the token in a file that an Agent rendered.
func rendered(dir, file string) (string, error) {
	path := filepath.Join(dir, file)
	if strings.HasSuffix(file, ".env") {
		return fileLine(path, "ACCESS_TOKEN=")
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var data struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(content, &data); err != nil || data.AccessToken == "" {
		return "", fmt.Errorf("%s holds no token: %s", file, content)
	}
	return data.AccessToken, nil
}

// agentOutage tests what an Agent does while the provider fails, and
// afterwards.
func agentOutage(t *testing.T, v *harness.Vault) {
	t.Helper()
	s := standard(t, v, "outage", providertest.Options{Lifetime: 20 * time.Second}, nil)
	agent := harness.StartAgent(t, v, newAppRole(t, v, "outage", "oauthcc/token/outage").autoAuth()+fmt.Sprintf(agentTemplates, "oauthcc/token/outage"))
	var first string
	harness.Eventually(t, time.Minute, func() (err error) {
		first, err = rendered(agent.Dir(), "token.env")
		return err
	})
	s.Behave(providertest.Behavior{Status: http.StatusInternalServerError, Times: -1})
	// Wait for the token's whole life, so that the Agent has asked in vain.
	harness.Eventually(t, 90*time.Second, func() error {
		if s.Valid(first) || s.Requests() < 3 {
			return fmt.Errorf("the token is valid: %t; %d requests", s.Valid(first), s.Requests())
		}
		return nil
	})
	if got, err := rendered(agent.Dir(), "token.env"); err != nil || got != first {
		t.Errorf("during the outage the file holds %q (%v), want what it held", got, err)
	}
	if !agent.Running() {
		t.Fatal("the Agent gave up")
	}
	s.Behave(providertest.Behavior{})
	harness.Eventually(t, 3*time.Minute, func() error {
		got, err := rendered(agent.Dir(), "token.env")
		if err == nil && !s.Valid(got) {
			err = errors.New("the file still holds the old token")
		}
		return err
	})
}

// execAgent lets an Agent run a program with the token in its environment. The
// Agent must restart the program when it gets the next token.
func execAgent(t *testing.T, v *harness.Vault, name string, leased bool) {
	t.Helper()
	s := standard(t, v, name, providertest.Options{Lifetime: 50 * time.Second}, fields{"leased": leased})
	agent := harness.StartAgent(t, v, newAppRole(t, v, name, "oauthcc/token/"+name).autoAuth()+fmt.Sprintf(`
env_template "ACCESS_TOKEN" {
  contents             = "{{ with secret \"oauthcc/token/%s\" }}{{ .Data.access_token }}{{ end }}"
  error_on_missing_key = true
}

exec {
  command                   = ["sh", "-c", "printf '%%s %%s\\n' $$ \"$ACCESS_TOKEN\" >> runs; exec sleep 600"]
  restart_on_secret_changes = "always"
  restart_stop_signal       = "SIGTERM"
}
`, name))
	var runs []string
	stale := 0
	harness.Eventually(t, 4*time.Minute, func() error {
		content, err := os.ReadFile(filepath.Join(agent.Dir(), "runs"))
		if err != nil {
			return err
		}
		if !strings.HasSuffix(string(content), "\n") {
			return errors.New("the program writes its line")
		}
		runs = strings.Split(strings.TrimSpace(string(content)), "\n")
		if _, token, _ := strings.Cut(runs[len(runs)-1], " "); !s.Valid(token) {
			stale++
		}
		if len(runs) < 3 {
			return fmt.Errorf("the program ran %d times, want it started and restarted twice:\n%s", len(runs), content)
		}
		return nil
	})
	if stale > 0 {
		t.Errorf("the program was seen with an expired token %d times", stale)
	}
	seen := map[string]bool{}
	for i, run := range runs {
		pid, token, _ := strings.Cut(run, " ")
		if seen[pid] || seen[token] || token == "" {
			t.Errorf("run %d is not a new process with a new token: %q", i, runs)
		}
		seen[pid], seen[token] = true, true
		_, err := os.Stat("/proc/" + pid)
		if alive := err == nil; alive != (i == len(runs)-1) {
			t.Errorf("run %d is alive: %t", i, alive)
		}
	}
}
