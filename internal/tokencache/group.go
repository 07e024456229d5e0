// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Held returns the usable token of that key in memory, nil without one.
func (c *Cache[T]) Held(key string) *Held[T] {
	s, ok := c.slots.Peek(key)
	if !ok {
		return nil
	}
	h := s.held.Load()
	if h == nil || !h.usable(c.now()) {
		return nil
	}
	return h
}

// ofGroup returns the slots of a group, or of all groups for "", with the key by
// which memory holds each. The key is "" for a slot that exists only for the mint
// under way.
func (c *Cache[T]) ofGroup(group string) map[*slot[T]]string {
	out := map[*slot[T]]string{}
	c.mu.Lock()
	for s := range c.flying {
		if group == "" || s.group == group {
			out[s] = ""
		}
	}
	c.mu.Unlock()
	keys := c.slots.Keys
	if group != "" {
		keys = func() []string { return c.slots.Group(group) }
	}
	for _, key := range keys() {
		if s, ok := c.slots.Peek(key); ok {
			out[s] = key
		}
	}
	return out
}

// Forget drops all tokens of the group (of all groups, for ""), except that of one
// key, and all tokens that are being minted, which are then neither kept nor
// handed out. The excepted key is the one that the group uses from now on; a
// reader may have asked for it already. Forget returns the dropped tokens. A token
// that is being minted goes to Discard instead.
func (c *Cache[T]) Forget(group, except string) []Held[T] {
	var dropped []Held[T]
	for name, cl := range c.ofClients(group) {
		cl.forgetChoices()
		if except == "" {
			c.forgetClient(name)
		}
	}
	for s, key := range c.ofGroup(group) {
		if s.key == except {
			continue
		}
		if key != "" {
			c.slots.Remove(key)
		}
		s.mu.Lock()
		s.dead = true
		h := s.held.Swap(nil)
		s.mu.Unlock()
		if h != nil {
			dropped = append(dropped, *h)
		}
	}
	return dropped
}

// ofClients returns the client of a group, or all clients for "".
func (c *Cache[T]) ofClients(group string) map[string]*client {
	c.mu.Lock()
	defer c.mu.Unlock()
	if group == "" {
		return maps.Clone(c.clients)
	}
	out := map[string]*client{}
	if cl := c.clients[group]; cl != nil {
		out[group] = cl
	}
	return out
}

// forgetClient removes a client. A group that is still in use gets a new one.
func (c *Cache[T]) forgetClient(group string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.clients, group)
}

// Seed puts a token that another node minted and stored into memory, if it is fresh
// enough to be handed out without a mint.
func (c *Cache[T]) Seed(key, group string, h Held[T], minLeft time.Duration) bool {
	now := c.now()
	if !now.Before(h.RenewsAt()) || !h.usable(now) || !h.lasts(minLeft, now) {
		return false
	}
	s := c.slot(Ask[T]{Key: key, Group: group})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return false
	}
	s.held.Store(&h)
	return true
}

// Put enters a token that was minted elsewhere, unless a later one is there.
func (c *Cache[T]) Put(key, group string, h Held[T]) {
	s := c.slot(Ask[T]{Key: key, Group: group})
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.held.Load(); !s.dead && (now == nil || !h.Born.Before(now.Born)) {
		s.held.Store(&h)
	}
}

// Drop removes the token of that key from memory, so that it is loaded again. It is
// called when another node has stored a newer one.
func (c *Cache[T]) Drop(key string) {
	if s, ok := c.slots.Peek(key); ok {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.held.Store(nil)
		s.looked = false
	}
}

// Forgive clears the failures of the group, so that the next read asks the
// provider.
func (c *Cache[T]) Forgive(group string) {
	for _, cl := range c.ofClients(group) {
		cl.failure.Store(nil)
	}
	for s := range c.ofGroup(group) {
		s.failure.Store(nil)
	}
}

// Status describes one token.
type Status[T any] struct {
	Key     string
	Held    *Held[T] // nil if it is not in memory
	Failure *Failure // of the last attempt, if it failed
	Minting bool
}

// Status describes the tokens of the group that are in memory.
func (c *Cache[T]) Status(group string) []Status[T] {
	var out []Status[T]
	for s := range c.ofGroup(group) {
		c.mu.Lock()
		minting := c.flying[s] > 0
		c.mu.Unlock()
		out = append(out, Status[T]{Key: s.key, Held: s.held.Load(), Failure: s.lastFailure(), Minting: minting})
	}
	slices.SortFunc(out, func(a, b Status[T]) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// begin counts a mint, unless the cache is closed.
func (c *Cache[T]) begin(s *slot[T]) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle != nil {
		return false
	}
	c.flying[s]++
	return true
}

func (c *Cache[T]) leave(s *slot[T]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flying[s]--; c.flying[s] == 0 {
		delete(c.flying, s)
	}
	if len(c.flying) == 0 && c.idle != nil {
		close(c.idle)
	}
}

// Close waits up to the given time for mints under way, and then ends them, except
// those that spend something. No mint starts afterwards.
func (c *Cache[T]) Close(wait time.Duration) {
	c.mu.Lock()
	if c.idle == nil {
		c.idle = make(chan struct{})
		if len(c.flying) == 0 {
			close(c.idle)
		}
	}
	idle := c.idle
	c.mu.Unlock()

	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for stop := range c.stops {
		(*stop)()
	}
}
