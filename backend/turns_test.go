// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func TestTurns(t *testing.T) {
	t.Run("as many as there are places do it at a time, by name", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tt := turns{places: 2}
			enter := func(name string) func() {
				leave, err := tt.enter(t.Context(), name)
				if err != nil {
					t.Error(err)
				}
				return leave
			}
			first, second, other := enter("a"), enter("a"), enter("b")
			third := make(chan func(), 1)
			go func() { third <- enter("a") }()
			synctest.Wait()
			if len(third) != 0 {
				t.Fatal("a third has one of two places")
			}
			first()
			(<-third)()
			second()
			other()
			if len(tt.byName) != 0 {
				t.Errorf("%d names are kept that nobody uses", len(tt.byName))
			}
		})
	})
	t.Run("who gives up waiting takes no place", func(t *testing.T) {
		tt := turns{places: 1}
		leave, err := tt.enter(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := tt.enter(gone, "a"); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the context's error", err)
		}
		leave()
		if len(tt.byName) != 0 {
			t.Errorf("%d names are kept that nobody uses", len(tt.byName))
		}
	})
}
