// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
)

// Wire is a separate network within the process. Servers that have it in their
// options can be reached only through its DialContext. It takes no time, and in
// a bubble of testing/synctest a goroutine that waits for it counts as durably
// blocked. A test can therefore tell exactly how long something takes, even on
// a busy machine.
//
// The zero value is usable.
type Wire struct {
	mu      sync.Mutex
	servers map[string]*wired // by address
}

// DialContext connects to the server at that address.
func (w *Wire) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	server := w.servers[address]
	w.mu.Unlock()
	refused := &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	if server == nil {
		return nil, refused
	}
	near, far := net.Pipe()
	select {
	case server.arriving <- far:
		return near, nil
	case <-server.closed:
		return nil, refused
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (w *Wire) listen() net.Listener {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.servers == nil {
		w.servers = map[string]*wired{}
	}
	address := fmt.Sprintf("127.0.0.1:%d", 1024+len(w.servers))
	server := &wired{address: address, arriving: make(chan net.Conn), closed: make(chan struct{})}
	w.servers[address] = server
	return server
}

// wired is the server's end of a Wire.
type wired struct {
	address  string
	arriving chan net.Conn
	closing  sync.Once
	closed   chan struct{}
}

func (s *wired) Accept() (net.Conn, error) {
	select {
	case conn := <-s.arriving:
		return conn, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *wired) Close() error {
	s.closing.Do(func() { close(s.closed) })
	return nil
}

func (s *wired) Addr() net.Addr { return wiredAddress(s.address) }

type wiredAddress string

func (wiredAddress) Network() string  { return "wire" }
func (a wiredAddress) String() string { return string(a) }
