// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// patience is longer than any answer should take.
const patience = 90 * time.Second

// client sends requests with as little work as possible, because it shares the
// machine with what it measures.
type client struct {
	host  string // and port
	token string
}

func newClient(url, token string) client {
	return client{host: strings.TrimPrefix(url, "http://"), token: token}
}

// request returns the bytes of a whole request, which are made once and sent
// often.
func (c client) request(method, path, body string) []byte {
	return fmt.Appendf(nil, "%s /v1/%s HTTP/1.1\r\nHost: %s\r\nX-Vault-Token: %s\r\nContent-Length: %d\r\n\r\n%s",
		method, path, c.host, c.token, len(body), body)
}

func (c client) reads(paths []string) [][]byte {
	out := make([][]byte, len(paths))
	for i, path := range paths {
		out[i] = fmt.Appendf(nil, "GET /v1/%s HTTP/1.1\r\nHost: %s\r\nX-Vault-Token: %s\r\n\r\n", path, c.host, c.token)
	}
	return out
}

// requests returns writes of the body, or reads if the body is empty.
func (c client) requests(paths []string, body string) [][]byte {
	if body == "" {
		return c.reads(paths)
	}
	out := make([][]byte, len(paths))
	for i, path := range paths {
		out[i] = c.request(http.MethodPut, path, body)
	}
	return out
}

// conn is one keep-alive connection. It carries one request at a time.
type conn struct {
	net.Conn
	in *bufio.Reader
}

func (c client) dial(ctx context.Context) (*conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", c.host)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: nc, in: bufio.NewReader(nc)}, nil
}

func (c *conn) close() { _ = c.Close() } // no request is in progress

func (c *conn) do(request []byte) (status int, body string, err error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, "", err
	}
	if _, err := c.Write(request); err != nil {
		return 0, "", err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		_, err = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode, "", err
	}
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// load is the result of a steady load.
type load struct {
	answers []time.Duration // how long each took
	took    time.Duration
	cpu     cpu
}

// cpu is the processor time that the servers used during a load.
type cpu struct{ vault, plugin time.Duration }

func (l load) perSecond() float64 { return float64(len(l.answers)) / l.took.Seconds() }

// perRead returns the processor time of one read, in microseconds. Unlike the
// reads per second, it does not depend on what else the machine does.
func (l load) perRead() (vault, plugin float64) {
	n := float64(len(l.answers)) * float64(time.Microsecond)
	return float64(l.cpu.vault) / n, float64(l.cpu.plugin) / n
}

func (l load) plus(m load) load {
	return load{
		answers: append(l.answers, m.answers...), took: l.took + m.took,
		cpu: cpu{l.cpu.vault + m.cpu.vault, l.cpu.plugin + m.cpu.plugin},
	}
}

// quantile returns the latency that the given part of the requests did not
// exceed.
func (l load) quantile(part float64) time.Duration {
	if len(l.answers) == 0 {
		return 0
	}
	took := slices.Sorted(slices.Values(l.answers))
	return took[min(int(part*float64(len(took))), len(took)-1)]
}

// steady sends the requests in turn over 16 connections until the time is over.
// Each connection sends one request after another. last is the index of the
// last request sent, so that the next call goes on from there. Any answer other
// than 200 is an error.
func (c client) steady(ctx context.Context, requests [][]byte, last *atomic.Int64, d time.Duration) (load, error) {
	answers := make([][]time.Duration, connections)
	errs := make([]error, connections)
	conns := make([]*conn, connections)
	for i := range conns {
		var err error
		if conns[i], err = c.dial(ctx); err != nil {
			return load{}, err
		}
		defer conns[i].close()
	}
	began := time.Now()
	var wg sync.WaitGroup
	for i, conn := range conns {
		wg.Go(func() {
			for {
				at := time.Now()
				if at.Sub(began) >= d {
					return
				}
				n := int(last.Add(1)) % len(requests)
				status, text, err := conn.do(requests[n])
				if err == nil && status != http.StatusOK {
					line, _, _ := bytes.Cut(requests[n], []byte("\r\n"))
					err = fmt.Errorf("%s: %d %s", line, status, text)
				}
				if err != nil {
					errs[i] = err
					return
				}
				answers[i] = append(answers[i], time.Since(at))
			}
		})
	}
	wg.Wait()
	return load{answers: slices.Concat(answers...), took: time.Since(began)}, errors.Join(errs...)
}

// each sends all these requests once, over 16 connections.
func (c client) each(ctx context.Context, requests [][]byte) error {
	var next atomic.Int64
	errs := make([]error, connections)
	var wg sync.WaitGroup
	for i := range connections {
		wg.Go(func() {
			conn, err := c.dial(ctx)
			if err != nil {
				errs[i] = err
				return
			}
			defer conn.close()
			for {
				n := int(next.Add(1)) - 1
				if n >= len(requests) {
					return
				}
				status, text, err := conn.do(requests[n])
				if err == nil && status >= 300 {
					err = fmt.Errorf("%d %s", status, text)
				}
				if err != nil {
					errs[i] = err
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// crowded is the result of many simultaneous reads.
type crowded struct {
	took     time.Duration // until the last reader had its answer
	statuses map[int]int
	text     string // of one answer that was not 200
}

// atOnce sends the same request on every connection at the same moment.
func atOnce(conns []*conn, request []byte) (crowded, error) {
	out := crowded{statuses: map[int]int{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	errs := make([]error, len(conns))
	start := make(chan struct{})
	for i, conn := range conns {
		wg.Go(func() {
			<-start
			status, text, err := conn.do(request)
			mu.Lock()
			defer mu.Unlock()
			out.statuses[status]++
			if text != "" {
				out.text = text
			}
			errs[i] = err
		})
	}
	began := time.Now()
	close(start)
	wg.Wait()
	out.took = time.Since(began)
	return out, errors.Join(errs...)
}

// dialAll opens n connections and sends one request on each, so that all are
// fully set up.
func (c client) dialAll(ctx context.Context, n int) ([]*conn, error) {
	warm := c.request(http.MethodGet, "sys/seal-status", "")
	conns := make([]*conn, n)
	for i := range conns {
		var err error
		if conns[i], err = c.dial(ctx); err != nil {
			return nil, err
		}
		if _, _, err = conns[i].do(warm); err != nil {
			return nil, err
		}
	}
	return conns, nil
}
