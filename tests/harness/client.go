// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
)

// requestTimeout ends a request or a command that hangs. Working ones take far
// less time.
const requestTimeout = 90 * time.Second

// Client returns an API client with the root token. It never retries, so that
// a test sees each status.
func (v *Vault) Client() *api.Client {
	v.tb.Helper()
	return v.ClientWith(v.s.rootToken)
}

// ClientWith returns an API client with the given token. It never retries
// either.
func (v *Vault) ClientWith(token string) *api.Client {
	v.tb.Helper()
	// Not api.DefaultConfig: it takes the address and other settings from the
	// environment of the user who runs the tests.
	client, err := api.NewClient(&api.Config{
		Address:    v.Addr(),
		HttpClient: &http.Client{Transport: v.s.transport, CheckRedirect: useLastResponse},
		Timeout:    requestTimeout,
	})
	if err != nil {
		v.tb.Fatalf("make an API client: %v", err)
	}
	client.SetMaxRetries(0)
	client.ClearNamespace()
	client.SetToken(token)
	return client
}

func useLastResponse(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Read reads a path as root. It ends the test if that fails or finds nothing.
func (v *Vault) Read(path string) *api.Secret {
	v.tb.Helper()
	secret, err := v.Client().Logical().ReadWithContext(v.tb.Context(), path)
	if err != nil {
		v.tb.Fatalf("read %s: %v", path, err)
	}
	if secret == nil {
		v.tb.Fatalf("read %s: nothing there", path)
	}
	return secret
}

// Write writes to a path as root, and ends the test if that fails. The result
// is nil if the answer has no body.
func (v *Vault) Write(path string, data map[string]any) *api.Secret {
	v.tb.Helper()
	secret, err := v.Client().Logical().WriteWithContext(v.tb.Context(), path, data)
	if err != nil {
		v.tb.Fatalf("write %s: %v", path, err)
	}
	return secret
}

// List lists a path as root. It returns no names if nothing is there.
func (v *Vault) List(path string) []string {
	v.tb.Helper()
	secret, err := v.Client().Logical().ListWithContext(v.tb.Context(), path)
	if err != nil {
		v.tb.Fatalf("list %s: %v", path, err)
	}
	if secret == nil {
		return nil
	}
	keys, ok := secret.Data["keys"].([]any)
	if !ok {
		v.tb.Fatalf("list %s: keys is %T, not a list", path, secret.Data["keys"])
	}
	names := make([]string, len(keys))
	for i, key := range keys {
		if names[i], ok = key.(string); !ok {
			v.tb.Fatalf("list %s: a key is %T, not a string", path, key)
		}
	}
	return names
}

// Delete deletes a path as root. It ends the test if that fails.
func (v *Vault) Delete(path string) {
	v.tb.Helper()
	if _, err := v.Client().Logical().DeleteWithContext(v.tb.Context(), path); err != nil {
		v.tb.Fatalf("delete %s: %v", path, err)
	}
}

// Policy writes an ACL policy.
func (v *Vault) Policy(name, hcl string) {
	v.tb.Helper()
	if err := v.Client().Sys().PutPolicyWithContext(v.tb.Context(), name, hcl); err != nil {
		v.tb.Fatalf("write policy %s: %v", name, err)
	}
}

// TokenWith creates a token with these policies and the default policy.
func (v *Vault) TokenWith(policies ...string) string {
	v.tb.Helper()
	secret, err := v.Client().Auth().Token().CreateWithContext(v.tb.Context(), &api.TokenCreateRequest{Policies: policies})
	if err != nil {
		v.tb.Fatalf("create a token: %v", err)
	}
	return secret.Auth.ClientToken
}

// Status makes one HTTP request, without retries and without following
// redirects, and returns the status and body of the answer. The path is an API
// path without /v1/ and may have a query. A body that is a string or []byte is
// sent as it is; any other body is sent as JSON, and nil sends none. If there
// is no answer, the status is 0 and the body says why. It may be called from
// any goroutine.
func (v *Vault) Status(method, path string, body any, token string) (int, []byte) {
	status, _, data := v.Do(method, path, body, token)
	return status, data
}

// Do is like [Vault.Status], and also returns the answer's headers.
func (v *Vault) Do(method, path string, body any, token string) (int, http.Header, []byte) {
	ctx, cancel := context.WithTimeout(v.tb.Context(), requestTimeout)
	defer cancel()
	content, err := encodeBody(body)
	if err != nil {
		return 0, nil, []byte(err.Error())
	}
	req, err := http.NewRequestWithContext(ctx, method, v.Addr()+"/v1/"+strings.TrimPrefix(path, "/"), content)
	if err != nil {
		return 0, nil, []byte(err.Error())
	}
	if token != "" {
		req.Header.Set("X-Vault-Token", token)
	}
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json") // Vault requires this type
	}
	// RoundTrip, because unlike a client it follows no redirects.
	resp, err := v.s.transport.RoundTrip(req)
	if err != nil {
		return 0, nil, []byte(err.Error())
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, []byte(err.Error())
	}
	return resp.StatusCode, resp.Header, data
}

func encodeBody(body any) (io.Reader, error) {
	switch b := body.(type) {
	case nil:
		return http.NoBody, nil
	case string:
		return strings.NewReader(b), nil
	case []byte:
		return bytes.NewReader(b), nil
	default:
		data, err := json.Marshal(b)
		return bytes.NewReader(data), err
	}
}

// Result is the outcome of a command.
type Result struct {
	Stdout, Stderr string
	// ExitCode is the command's exit code. For vault, 0 is success, 1 an error
	// in the arguments, and 2 an error from the server.
	ExitCode int
}

// CLI runs the vault binary with the root token, as a user would type it:
//
//	v.CLI("read", "-format=json", "oauthcc/token/acme")
//
// It may be called from any goroutine.
func (v *Vault) CLI(args ...string) Result { return v.runCLI(v.s.rootToken, "", args) }

// CLIAs is like [Vault.CLI], with another token.
func (v *Vault) CLIAs(token string, args ...string) Result { return v.runCLI(token, "", args) }

// CLIStdin is like [Vault.CLI], with text on standard input for an argument
// that is "-" or ends in "=-".
func (v *Vault) CLIStdin(stdin string, args ...string) Result {
	return v.runCLI(v.s.rootToken, stdin, args)
}

// MustCLI is like [Vault.CLI] for commands that must succeed. It returns their
// standard output.
func (v *Vault) MustCLI(args ...string) string {
	v.tb.Helper()
	r := v.CLI(args...)
	if r.ExitCode != 0 {
		v.tb.Fatalf("vault %s: exit code %d\n%s%s", strings.Join(args, " "), r.ExitCode, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

func (v *Vault) runCLI(token, stdin string, args []string) Result {
	v.tb.Helper()
	ctx, cancel := context.WithTimeout(v.tb.Context(), requestTimeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, v.s.bin, args...)
	cmd.Dir = v.s.home
	cmd.Env = append(v.clientEnv(), "VAULT_TOKEN="+token)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		v.tb.Errorf("run vault %s: %v", strings.Join(args, " "), err)
		return Result{Stderr: err.Error(), ExitCode: -1}
	}
	return Result{Stdout: stdout.String(), Stderr: stderr.String(), ExitCode: cmd.ProcessState.ExitCode()}
}

// clientEnv is the environment of a command that talks to this server.
func (v *Vault) clientEnv() []string {
	env := append(baseEnv(v.s.home), "VAULT_ADDR="+v.Addr())
	if ca := v.CACert(); ca != "" {
		env = append(env, "VAULT_CACERT="+ca)
	}
	return env
}
