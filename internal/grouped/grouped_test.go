// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grouped_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grouped"
)

// ofPrefix returns a cache whose groups are the part of a value before the slash.
func ofPrefix(size int) *grouped.Cache[int, string] {
	return grouped.New(size, func(_ int, value string) string {
		group, _, _ := strings.Cut(value, "/")
		return group
	})
}

func TestAGroupIsWhatIsLeftOfIt(t *testing.T) {
	type cache = *grouped.Cache[int, string]
	for name, test := range map[string]struct {
		change func(cache)
		a, b   []int
	}{
		"as entered":                    {func(cache) {}, []int{1, 3}, []int{2}},
		"one removed":                   {func(c cache) { c.Remove(1) }, []int{3}, []int{2}},
		"one removed that is not there": {func(c cache) { c.Remove(9) }, []int{1, 3}, []int{2}},
		"the group removed":             {func(c cache) { c.RemoveGroup("a") }, nil, []int{2}},
		"another group removed":         {func(c cache) { c.RemoveGroup("b") }, []int{1, 3}, nil},
		"all removed":                   {func(c cache) { c.Purge() }, nil, nil},
		"one replaced":                  {func(c cache) { c.Add(1, "a/other") }, []int{1, 3}, []int{2}},
		"one moved to another group":    {func(c cache) { c.Add(1, "b/1") }, []int{3}, []int{1, 2}},
		"the oldest crowded out":        {func(c cache) { c.Add(4, "b/4") }, []int{3}, []int{2, 4}},
		"the oldest used meanwhile":     {func(c cache) { c.Get(1); c.Add(4, "b/4") }, []int{1, 3}, []int{4}},
		"peeking is no use":             {func(c cache) { c.Peek(1); c.Add(4, "b/4") }, []int{3}, []int{2, 4}},
	} {
		t.Run(name, func(t *testing.T) {
			c := ofPrefix(3)
			for key, value := range []string{1: "a/1", 2: "b/2", 3: "a/3"} {
				if value != "" {
					c.Add(key, value)
				}
			}
			test.change(c)
			for group, want := range map[string][]int{"a": test.a, "b": test.b, "c": nil} {
				if got := slices.Sorted(slices.Values(c.Group(group))); !slices.Equal(got, want) {
					t.Errorf("group %s is %v, want %v", group, got, want)
				}
			}
		})
	}
}

// After many changes at the same time, the groups hold exactly the values in the cache.
func TestGroupsStayTrue(t *testing.T) {
	const groups, keys = 4, 200
	c := ofPrefix(keys / 2)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 2000 {
				key := rand.IntN(keys)
				group := fmt.Sprint(rand.IntN(groups))
				switch rand.IntN(20) {
				case 0:
					c.RemoveGroup(group)
				case 1:
					c.Purge()
				case 2, 3:
					c.Remove(key)
				case 4, 5:
					c.Get(key)
				default:
					c.Add(key, group+"/x")
				}
			}
		})
	}
	all.Wait()
	found := 0
	for g := range groups {
		for _, key := range c.Group(fmt.Sprint(g)) {
			if value, ok := c.Peek(key); !ok || value != fmt.Sprintf("%d/x", g) {
				t.Errorf("group %d holds %d, which is %q", g, key, value)
			}
			found++
		}
	}
	if found != len(c.Keys()) {
		t.Errorf("%d values in groups, %d in all", found, len(c.Keys()))
	}
}
