// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

// Package grouped is a cache of bounded size. Its values belong to groups, and all
// values of one group are found without looking at those of other groups.
package grouped

import (
	"maps"
	"slices"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Cache holds a limited number of values. When it is full, a new value replaces the
// one that was used least recently. It is safe for concurrent use.
type Cache[K comparable, V any] struct {
	groupOf func(K, V) string
	values  *lru.Cache[K, V]

	mu     sync.Mutex // guards groups, and is held while a value is added or removed
	groups map[string]members[K]
}

// members are the keys of a group. Most groups have only one key, and there may be
// very many groups, so one key takes no map.
type members[K comparable] struct {
	one    K
	others map[K]struct{} // nil until there are any
}

// New returns an empty Cache for that many values. It panics if the size is below
// one. groupOf returns the group of a value, which must always be the same.
func New[K comparable, V any](size int, groupOf func(K, V) string) *Cache[K, V] {
	c := &Cache[K, V]{groupOf: groupOf, groups: map[string]members[K]{}}
	values, err := lru.NewWithEvict(size, c.gone)
	if err != nil {
		panic(err)
	}
	c.values = values
	return c
}

// Peek returns the value of that key. It takes no exclusive lock, and does not count
// as a use.
func (c *Cache[K, V]) Peek(key K) (V, bool) { return c.values.Peek(key) }

// Get returns the value of that key, and counts as a use.
func (c *Cache[K, V]) Get(key K) (V, bool) { return c.values.Get(key) }

// Add adds a value. It replaces the value with the same key, if there is one.
func (c *Cache[K, V]) Add(key K, value V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.values.Remove(key) // the old value may belong to another group
	group := c.groupOf(key, value)
	in, there := c.groups[group]
	switch {
	case !there:
		in.one = key
	case in.others == nil:
		in.others = map[K]struct{}{key: {}}
	default:
		in.others[key] = struct{}{}
	}
	c.groups[group] = in
	c.values.Add(key, value)
}

// Remove removes the value of that key.
func (c *Cache[K, V]) Remove(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.values.Remove(key)
}

// RemoveGroup removes all values of a group.
func (c *Cache[K, V]) RemoveGroup(group string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range c.keys(group) {
		c.values.Remove(key)
	}
}

// Purge removes all values.
func (c *Cache[K, V]) Purge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.values.Purge()
}

// Group returns the keys of a group's values, in no particular order.
func (c *Cache[K, V]) Group(group string) []K {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keys(group)
}

// keys is like Group, but the caller holds mu.
func (c *Cache[K, V]) keys(group string) []K {
	in, there := c.groups[group]
	if !there {
		return nil
	}
	return append(slices.Collect(maps.Keys(in.others)), in.one)
}

// Keys returns the keys of all values.
func (c *Cache[K, V]) Keys() []K { return c.values.Keys() }

// gone is called after a value was removed or replaced. mu is held.
func (c *Cache[K, V]) gone(key K, value V) {
	group := c.groupOf(key, value)
	in := c.groups[group]
	if in.one != key {
		delete(in.others, key)
		return
	}
	for other := range in.others { // takes its place
		in.one = other
		delete(in.others, other)
		c.groups[group] = in
		return
	}
	delete(c.groups, group)
}
