// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// anyHost lets a proxy connect to whatever host it is asked for.
func anyHost(host string) string { return host }

// connectProxy runs a proxy for CONNECT (RFC 9110 section 9.3.6). It wants the
// login, unless that is empty, and connects to the address that a host has. A
// host without one cannot be reached. It counts what it lets through.
func connectProxy(t *testing.T, login string, address func(host string) string) (proxy string, let func() int64) {
	t.Helper()
	var through atomic.Int64
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(login))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		if login != "" && r.Header.Get("Proxy-Authorization") != want {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		site, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", address(r.Host))
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer func() { _ = site.Close() }()
		// The server may have read the first byte of what the client sends next, once
		// it has an answer. So the connection is taken over before the answer, and
		// what follows is read from buffered.
		client, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = client.Close() }()
		through.Add(1)
		_, _ = io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n") // the client may have gone away
		go func() {
			_, _ = io.Copy(site, buffered) // until either side ends
			_ = site.Close()
		}()
		_, _ = io.Copy(client, site)
	}))
	t.Cleanup(s.Close)
	return s.URL, through.Load
}
