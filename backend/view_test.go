// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// unread returns an engine that has to read its config and token from storage. Each
// read of the config is counted, and waits until goOn is closed.
func unread(t *testing.T) (e *engine, reads *atomic.Int64, goOn chan struct{}) {
	t.Helper()
	e, reads, goOn = mount(t), &atomic.Int64{}, make(chan struct{})
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	succeeded(t, e.read(t, "token/c"))
	e = e.restart(t)
	e.storage.onUse(func(op, key string) error {
		if op == opGet && key == "config/c" {
			reads.Add(1)
			<-goOn
		}
		return nil
	})
	return e, reads, goOn
}

// All readers share one view of the config, unless a role names its callers.
func TestManyReadersOfOneConfigLoadItOnce(t *testing.T) {
	e, reads, goOn := unread(t)
	var n atomic.Int64
	answers := later(t, 50, func() result { return e.as(t, fmt.Sprintf("e-%d", n.Add(1)), "token/c") })
	eventually(t, "the config is being read", func() bool { return reads.Load() > 0 })
	close(goOn)
	for range 50 {
		succeeded(t, wait(t, answers))
	}
	if got := reads.Load(); got != 1 {
		t.Errorf("%d reads of the config, want 1", got)
	}
}

func TestAReaderLeavesALoadThatHangs(t *testing.T) {
	e, reads, goOn := unread(t)
	ctx, cancel := context.WithCancel(t.Context())
	leaves := soon(t, func() result { return e.readAs(ctx, t, logical.ReadOperation, "token/c") })
	eventually(t, "the config is being read", func() bool { return reads.Load() > 0 })
	stays := soon(t, func() result { return e.read(t, "token/c") })
	cancel()
	refused(t, wait(t, leaves), http.StatusGatewayTimeout, `"c"`)
	close(goOn)
	succeeded(t, wait(t, stays))
}

// A role that names its callers has a view for each caller. When it stops naming them,
// they share one view again.
func TestViewOfARoleThatNamesItsCallers(t *testing.T) {
	e, s := among(t)
	sent := func() string { return s.Last().Form().Get("user") }
	e.must(t, "role/c/r", fields{"parameters": fields{"user": "{{identity.entity.name}}"}})
	first := e.as(t, "e-1", "token/c/r").token(t)
	if sent() != "alice" {
		t.Errorf("asked for %q", sent())
	}
	if e.as(t, "e-3", "token/c/r").token(t) == first || sent() != "nobody" {
		t.Errorf("asked for %q, or another's token", sent())
	}
	if e.as(t, "e-1", "token/c/r").token(t) != first {
		t.Error("another token for the same caller")
	}
	e.must(t, "role/c/r", fields{"parameters": fields{"user": "everybody"}})
	shared := e.as(t, "e-1", "token/c/r").token(t)
	if shared == first || e.as(t, "e-3", "token/c/r").token(t) != shared {
		t.Error("it is not shared")
	}
}

// A config is loaded again if something that it depends on was written during the load.
func TestWritesDuringALoad(t *testing.T) {
	for name, test := range map[string]struct {
		path  string
		write fields
		again bool
	}{
		"of another config":       {"config/other", fields{"ttl": "1m"}, false},
		"of a role of another":    {"role/other/r", fields{"ttl": "1m"}, false},
		"of a role of the config": {"role/b/r", fields{"ttl": "1m"}, true},
		"of its source":           {"config/a", fields{"ttl": "1m"}, true},
		"of a provider":           {"provider/p", fields{"token_url": "https://p.example.com/token"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			e, _, _ := linked(t, time.Hour)
			e.must(t, "config/other", acme())
			e.extras = []string{"issued_token_type"}
			succeeded(t, e.read(t, "token/b"))
			e = e.restart(t)
			e.extras = []string{"issued_token_type"}
			loads := 0
			e.storage.onUse(func(op, key string) error {
				if op == opGet && key == "config/b" {
					if loads++; loads == 1 {
						e.must(t, test.path, test.write)
						loads = 1 // so that the reads by the write itself do not count
					}
				}
				return nil
			})
			for range 2 {
				succeeded(t, e.read(t, "token/b"))
			}
			if again := loads > 1; again != test.again {
				t.Errorf("it was loaded %d times", loads)
			}
		})
	}
}
