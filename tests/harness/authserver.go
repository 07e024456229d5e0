// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
)

// AuthServer is a running authorization server from another project. It serves
// TLS on loopback.
type AuthServer struct {
	tb     testing.TB
	name   string
	cert   *certificate
	proc   *Process
	issuer string
	client *http.Client
}

// Issuer returns the issuer URL, without a trailing slash.
func (s *AuthServer) Issuer() string { return s.issuer }

// Authority returns the CA certificate (PEM) that vouches for the server's
// certificate.
func (s *AuthServer) Authority() string {
	s.tb.Helper()
	return readFile(s.tb, s.cert.caPath)
}

// Client returns an HTTP client that trusts the server and follows no
// redirects.
func (s *AuthServer) Client() *http.Client { return s.client }

// start runs the server's program in dir until the test ends. The program's
// last argument is the path of a file with these options and the server's
// certificate and key.
func (s *AuthServer) start(dir string, c command, options map[string]any) {
	s.tb.Helper()
	s.name, s.cert = c.name, newCertificate(s.tb, dir)
	options = maps.Clone(options)
	options["certificate"], options["key"] = readFile(s.tb, s.cert.certPath), readFile(s.tb, s.cert.keyPath)
	raw, err := json.Marshal(options)
	if err != nil {
		s.tb.Fatal(err)
	}
	file := filepath.Join(dir, "options.json")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		s.tb.Fatal(err)
	}
	c.dir, c.log = dir, filepath.Join(dir, "server.log")
	c.args, c.env = append(c.args, file), append(baseEnv(dir), c.env...)
	s.proc = startProcess(s.tb, c)
	transport := &http.Transport{TLSClientConfig: s.cert.clientConfig()}
	s.client = &http.Client{Transport: transport, Timeout: requestTimeout, CheckRedirect: useLastResponse}
	tb := s.tb // a view may report to another test later
	tb.Cleanup(func() {
		transport.CloseIdleConnections()
		s.proc.finish()
		keepLog(tb, c.name, c.log)
	})
}

// awaitIssuer waits until the server prints its issuer.
func (s *AuthServer) awaitIssuer(issuer func() string) {
	s.tb.Helper()
	err := poll(s.tb.Context(), readyTimeout, func() error {
		if !s.proc.Running() {
			return stop(fmt.Errorf("it ended by itself (exit code %d)", s.proc.ExitCode()))
		}
		if s.issuer = issuer(); s.issuer == "" {
			return errors.New("it is not ready")
		}
		return nil
	})
	if err != nil {
		s.tb.Fatalf("start %s: %v", s.name, err)
	}
}

func (s *AuthServer) introspect(path, id, secret, token string) map[string]any {
	s.tb.Helper()
	form := url.Values{"token": {token}}
	status, answer := s.post(path, "application/x-www-form-urlencoded", []byte(form.Encode()), func(r *http.Request) {
		r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	})
	if status != http.StatusOK {
		s.tb.Fatalf("introspect a token: %d %v", status, answer)
	}
	return answer
}

func (s *AuthServer) post(path, contentType string, body []byte, more func(*http.Request)) (int, map[string]any) {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(s.tb.Context(), requestTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.issuer+path, bytes.NewReader(body))
	if err != nil {
		s.tb.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	more(r)
	resp, err := s.client.Do(r)
	if err != nil {
		s.tb.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		s.tb.Fatal(err)
	}
	var answer map[string]any
	if err := json.Unmarshal(raw, &answer); err != nil {
		s.tb.Fatalf("POST %s: %d, and no JSON: %s", path, resp.StatusCode, raw)
	}
	return resp.StatusCode, answer
}

func readFile(tb testing.TB, path string) string {
	tb.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return string(content)
}
