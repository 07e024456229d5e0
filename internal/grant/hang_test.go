// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// Whatever a provider does with its connection, a request ends within its
// timeout.
func TestNothingOutlivesTheTimeout(t *testing.T) {
	t.Parallel()
	drip := func(head, drop string) func(net.Conn) {
		return func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1<<16))
			_, err := io.WriteString(c, head)
			for err == nil {
				_, err = io.WriteString(c, drop)
				time.Sleep(10 * time.Millisecond)
			}
		}
	}
	hang := func(head string) func(net.Conn) {
		return func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1<<16))
			_, _ = io.WriteString(c, head)
			_, _ = io.Copy(io.Discard, c) // until the other side closes the connection
		}
	}
	const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
	for name, tc := range map[string]struct {
		does   func(net.Conn)
		kind   Kind
		status int
	}{
		"101, then silence":             {hang(switching), Unintelligible, 101},
		"101, then drops":               {drip(switching, "x"), Unintelligible, 101},
		"a status line, then silence":   {hang("HTTP/1.1 200 OK\r\n"), TooSlow, 0},
		"a header that drips":           {drip("HTTP/1.1 200 OK\r\n", "X-Drop: x\r\n"), TooSlow, 0},
		"interim answers without end":   {drip("", "HTTP/1.1 103 Early Hints\r\n\r\n"), TooSlow, 0},
		"a body that drips":             {drip("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", "x"), TooSlow, 0},
		"a body without an end":         {drip("HTTP/1.1 200 OK\r\n\r\n", "x"), TooSlow, 0},
		"chunks without an end":         {drip("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"), TooSlow, 0},
		"a failure whose body drips":    {drip("HTTP/1.1 500 Oops\r\nContent-Length: 100000\r\n\r\n", "x"), TooSlow, 0},
		"a 503 whose body drips":        {drip("HTTP/1.1 503 Later\r\nContent-Length: 100000\r\n\r\n", "x"), TooSlow, 0},
		"a trailer without an end":      {drip("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", "X: x\r\n"), TooSlow, 0},
		"a redirect whose body hangs":   {hang("HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 9\r\n\r\n"), TooSlow, 0},
		"a connection that says no end": {hang("HTTP/1.1 200 OK\r\n\r\n{"), TooSlow, 0},
	} {
		for _, secure := range []bool{false, true} {
			if secure {
				name += ", over TLS"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r := standardRequest("http://" + listen(t, tc.does))
				if secure {
					r.URL, r.CACertificate = overTLS(t, nil, tc.does)
				}
				if r.Timeout = 250 * time.Millisecond; tc.status != 0 {
					r.Timeout = 10 * time.Second // so that the answer arrives in time on a busy machine too
				}
				c := NewClient(Options{Now: clock})
				defer c.Close()
				minted, revoked := make(chan error, 1), make(chan error, 1)
				go func() { _, err := c.Mint(t.Context(), r); minted <- err }()
				go func() { revoked <- c.Revoke(t.Context(), r) }()
				for _, over := range []chan error{minted, revoked} {
					select {
					case err := <-over:
						var e *Error
						if !errors.As(err, &e) || e.Kind != tc.kind || e.Status != tc.status {
							t.Errorf("got %v", err)
						}
					case <-time.After(20 * time.Second):
						t.Fatal("still waiting long after the time is over")
					}
				}
			})
		}
	}
}

// An error names request_timeout if that was over first, even if the caller's time
// is over too by the time that anybody looks.
func TestTheDeadlineThatWasFirstIsNamed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		callers time.Duration
		detail  string
	}{
		"the request's own": {1250 * time.Millisecond, "no answer within 1s (request_timeout)"},
		"the caller's":      {750 * time.Millisecond, "no answer in time"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			overAWire(t, func(t *testing.T, w *providertest.Wire) {
				s := grantingOver(t, w)
				s.Behave(providertest.Behavior{Hang: true})
				ctx, cancel := context.WithTimeout(t.Context(), test.callers)
				defer cancel()
				stall := func(httptrace.GotConnInfo) { time.Sleep(2 * time.Second) }
				r := standardRequest(s.TokenURL())
				r.Timeout = time.Second
				c := NewClient(optionsOver(w.DialContext))
				defer c.Close()
				_, err := c.Mint(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: stall}), r)
				var e *Error
				if !errors.As(err, &e) || e.Kind != TooSlow || e.Detail != test.detail {
					t.Errorf("got %v, want %q", err, test.detail)
				}
			})
		})
	}
}

// A request may get the connection of one that ends before it knows its answer. It is
// sent again then, unless it spends something.
func TestARequestOutlivesTheEndOfAnother(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		timeout time.Duration // of the first request; 0 if it is cancelled
		spends  bool
		want    string // the error; "" for a token
	}{
		"that is cancelled":                               {0, false, ""},
		"that takes too long":                             {time.Second, false, ""},
		"that takes too long, except a grant that spends": {time.Second, true, "the connection broke before the answer was complete"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			overAWire(t, func(t *testing.T, w *providertest.Wire) {
				s := grantingOver(t, w)
				s.Behave(providertest.Behavior{Status: http.StatusOK}) // without a body, to the first request
				c := NewClient(optionsOver(w.DialContext))
				defer c.Close()

				first, cancel := context.WithTimeout(t.Context(), cmp.Or(test.timeout, time.Hour))
				defer cancel()
				revoked, minted, sent := make(chan error, 1), make(chan error, 1), make(chan struct{}, 2)
				mint := func() {
					r := standardRequest(s.TokenURL())
					r.Timeout, r.Spends = time.Minute, test.spends
					ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
						WroteRequest: func(httptrace.WroteRequestInfo) { sent <- struct{}{} },
					})
					_, err := c.Mint(ctx, r)
					minted <- err
				}
				first = httptrace.WithClientTrace(first, &httptrace.ClientTrace{PutIdleConn: func(error) {
					go mint()
					<-sent
					if test.timeout == 0 {
						cancel()
					}
					if err := <-revoked; err == nil {
						t.Error("revoked, although the time was over")
					}
				}})
				r := standardRequest(s.TokenURL())
				r.GrantType, r.Parameters = "", map[string]any{"token": "a-token-to-revoke"}
				revoked <- c.Revoke(first, r)
				err := <-minted
				var e *Error
				if test.want == "" && err != nil || test.want != "" && (!errors.As(err, &e) || e.Detail != test.want) {
					t.Errorf("got %v, want %q", err, test.want)
				}
			})
		})
	}
}

// overTLS runs a TLS server that calls handle for each connection. It returns the
// server's URL and the certificate of its authority.
func overTLS(t *testing.T, change func(*tls.Config), handle func(net.Conn)) (url, authority string) {
	t.Helper()
	s := httptest.NewTLSServer(nil) // for its certificate
	s.Close()
	config := &tls.Config{Certificates: s.TLS.Certificates}
	if change != nil {
		change(config)
	}
	address := listen(t, func(c net.Conn) {
		secured := tls.Server(c, config)
		if secured.Handshake() == nil {
			handle(secured)
			_ = secured.Close()
		}
	})
	authority = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	return "https://" + address, authority
}
