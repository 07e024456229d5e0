// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"sync"
	"testing"
)

// A request may make a view from what is in memory while a write drops it. The old view
// must not stay in memory, because then a token that was forgotten would be handed out.
func TestNothingOfBeforeIsKeptAfterADrop(t *testing.T) {
	for name, drop := range map[string]func(*views){
		"of the config": func(v *views) { v.drop("c") },
		"of all":        (*views).dropAll,
	} {
		t.Run(name, func(t *testing.T) {
			on := target{config: "c"}
			for range 1000 {
				v := newViews()
				v.configs.Add(nameOf(on, inputs{}), &keyed{config: &config{target: on}})
				begun := make(chan struct{})
				var requests sync.WaitGroup
				requests.Go(func() {
					close(begun)
					for {
						generation := v.generation.Load()
						if _, ok := v.configs.Get(nameOf(on, inputs{})); !ok {
							return
						}
						v.keep(&view{target: on}, nil, generation)
					}
				})
				<-begun
				drop(v)
				requests.Wait()
				if v.find(nameOf(on, inputs{})) != nil {
					t.Fatal("a view of before is kept")
				}
			}
		})
	}
}
