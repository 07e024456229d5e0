// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// fields are the data of a request or an answer.
type fields = map[string]any

// reply is Vault's answer over HTTP.
type reply struct {
	status int
	header http.Header
	raw    string

	LeaseID       string   `json:"lease_id"`
	LeaseDuration int      `json:"lease_duration"`
	Renewable     bool     `json:"renewable"`
	Data          fields   `json:"data"`
	Errors        []string `json:"errors"`
	Warnings      []string `json:"warnings"`
}

// ask makes one request as root.
func ask(t *testing.T, v *harness.Vault, method, path string, body any) reply {
	t.Helper()
	return askAs(t, v, v.RootToken(), method, path, body)
}

func askAs(t *testing.T, v *harness.Vault, token, method, path string, body any) reply {
	t.Helper()
	status, header, raw := v.Do(method, path, body, token)
	r := reply{status: status, header: header, raw: string(raw)}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &r); err != nil {
			t.Fatalf("%s %s: %d, and no JSON: %s", method, path, status, raw)
		}
	}
	return r
}

// wants checks the status, and that the errors contain each text. For a success
// it checks the warnings instead.
func (r reply) wants(t *testing.T, status int, texts ...string) {
	t.Helper()
	if r.status != status {
		t.Errorf("status %d, want %d: %s", r.status, status, r.raw)
		return
	}
	said := strings.Join(append(r.Errors, r.Warnings...), "\n")
	for _, text := range texts {
		if !strings.Contains(said, text) {
			t.Errorf("%q does not say %q", said, text)
		}
	}
}

// text returns a string member of the data.
func (r reply) text(t *testing.T, name string) string {
	t.Helper()
	s, ok := r.Data[name].(string)
	if !ok {
		t.Fatalf("%s is %#v, want a string: %s", name, r.Data[name], r.raw)
	}
	return s
}

// number returns a numeric member of the data.
func (r reply) number(t *testing.T, name string) float64 {
	t.Helper()
	n, ok := r.Data[name].(float64)
	if !ok {
		t.Fatalf("%s is %#v, want a number: %s", name, r.Data[name], r.raw)
	}
	return n
}

// member returns the value at a path of names in decoded JSON, or nil if there
// is none.
func member(v any, names ...string) any {
	for _, name := range names {
		m, ok := v.(fields)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

// write writes as root, and ends the test if that fails.
func write(t *testing.T, v *harness.Vault, path string, data fields) reply {
	t.Helper()
	r := ask(t, v, http.MethodPost, path, data)
	if r.status != http.StatusOK && r.status != http.StatusNoContent {
		t.Fatalf("write %s: %d %s", path, r.status, r.raw)
	}
	return r
}

// read reads as root, and ends the test if that fails.
func read(t *testing.T, v *harness.Vault, path string) reply {
	t.Helper()
	r := ask(t, v, http.MethodGet, path, nil)
	if r.status != http.StatusOK {
		t.Fatalf("read %s: %d %s", path, r.status, r.raw)
	}
	return r
}

// with returns a copy of data with the members of more; a nil value removes a
// member.
func with(data, more fields) fields {
	out := maps.Clone(data)
	for name, value := range more {
		if value == nil {
			delete(out, name)
		} else {
			out[name] = value
		}
	}
	return out
}

// registration is the shortest config that an operator can write for that
// server.
func registration(d providertest.Dialect, s *providertest.Server) fields {
	c := s.Credentials()
	out := fields{
		"provider": string(d), "token_url": s.TokenURL(),
		"client_id": c.ClientID, "client_secret": c.ClientSecret,
	}
	switch d {
	case providertest.Antsomi:
		out["scopes"] = "item,event"
	case providertest.Cognito:
		out["scopes"] = "api/write"
	case providertest.Semansys:
		out["username"], out["password"] = c.Username, c.Password
	case providertest.RFC6749:
		out["provider"] = "generic"
	default: // needs nothing more
	}
	return out
}

// documented returns the dialects that come with the plugin.
func documented() []providertest.Dialect {
	return slices.DeleteFunc(providertest.Dialects(), func(d providertest.Dialect) bool {
		return d == providertest.RFC6749
	})
}

// standard starts a server that follows RFC 6749, and writes a config for it.
func standard(t *testing.T, v *harness.Vault, config string, o providertest.Options, more fields) *providertest.Server {
	t.Helper()
	s := providertest.Start(t, providertest.RFC6749, o)
	write(t, v, "oauthcc/config/"+config, with(registration(providertest.RFC6749, s), more))
	return s
}

// issuedBy checks that the server issued the token, and that the token is
// valid.
func issuedBy(t *testing.T, s *providertest.Server, token string) {
	t.Helper()
	if !s.Valid(token) {
		t.Errorf("token %q is none of those that the provider issued: %q", token, s.Issued())
	}
}

// lost returns how many seconds of its life a token may have lost by now if it was
// issued after that time: its age, and the part of a second that the engine cuts
// off.
func lost(since time.Time) int { return int(math.Ceil(time.Since(since).Seconds())) + 1 }

// commandJSON runs a vault command with -format=json.
func commandJSON(t *testing.T, v *harness.Vault, args ...string) any {
	t.Helper()
	words := 1 // of the command, before its flags
	if args[0] == "lease" {
		words = 2
	}
	out := v.MustCLI(slices.Insert(slices.Clone(args), words, "-format=json")...)
	var decoded any
	if err := json.Unmarshal([]byte(out), &decoded); err != nil {
		t.Fatalf("vault %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return decoded
}

// fails checks that a command fails, and that its standard error contains each
// text.
func fails(t *testing.T, r harness.Result, texts ...string) {
	t.Helper()
	if r.ExitCode == 0 {
		t.Errorf("the command succeeded: %s", r.Stdout)
	}
	for _, text := range texts {
		if !strings.Contains(r.Stderr, text) {
			t.Errorf("%q does not say %q", r.Stderr, text)
		}
	}
}

// same reports whether two values are the same as JSON.
func same(a, b any) bool {
	left, err1 := json.Marshal(a)
	right, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(left) == string(right)
}

// root returns the repository's directory.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// repositoryFile returns the content of a file, by the parts of its path in the
// repository.
func repositoryFile(t *testing.T, parts ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root(t), filepath.Join(parts...)))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// say writes the text as an answer. It ignores errors, because the client may
// have gone away.
func say(w io.Writer, text string) { _, _ = io.WriteString(w, text) }

// processCount returns an error if the server does not have exactly that many
// plugin processes.
func processCount(v *harness.Vault, want int) error {
	if pids := v.PluginPIDs(); len(pids) != want {
		return fmt.Errorf("plugin processes %v, want %d", pids, want)
	}
	return nil
}

func rawObject(t *testing.T, raw string) fields {
	t.Helper()
	var out fields
	if err := json.Unmarshal([]byte(raw), &out); err != nil {
		t.Fatalf("no JSON object: %v\n%s", err, raw)
	}
	return out
}
