// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

func TestStorageThatFailsUnderARoleIsA500WithoutPartialWrites(t *testing.T) {
	for name, test := range map[string]struct {
		op, prefix string
		do         func(t *testing.T, e *engine) result
	}{
		"get for a read":              {opGet, "role/", func(t *testing.T, e *engine) result { return e.read(t, "role/c/r") }},
		"get for a token":             {opGet, "role/", func(t *testing.T, e *engine) result { return e.read(t, "token/c/r") }},
		"get for a check":             {opGet, "role/", func(t *testing.T, e *engine) result { return update(t, e, "check/c/r", nil) }},
		"get for an update":           {opGet, "role/", func(t *testing.T, e *engine) result { return update(t, e, "role/c/r", fields{"ttl": 5}) }},
		"get for a patch":             {opGet, "role/", func(t *testing.T, e *engine) result { return e.patch(t, "role/c/r", fields{"ttl": 5}) }},
		"get of the config":           {opGet, "config/", func(t *testing.T, e *engine) result { return update(t, e, "role/c/r", fields{"ttl": 5}) }},
		"put for an update":           {opPut, "role/", func(t *testing.T, e *engine) result { return update(t, e, "role/c/r", fields{"ttl": 5}) }},
		"put for a new one":           {opPut, "role/", func(t *testing.T, e *engine) result { return update(t, e, "role/c/new", fields{"ttl": 5}) }},
		"list":                        {opList, "role/", func(t *testing.T, e *engine) result { return e.request(t, logical.ListOperation, "role/c/", nil) }},
		"list for a config's delete":  {opList, "role/", func(t *testing.T, e *engine) result { return e.delete(t, "config/c") }},
		"delete":                      {opDelete, "role/", func(t *testing.T, e *engine) result { return e.delete(t, "role/c/r") }},
		"get of the config to revoke": {opGet, "config/", func(t *testing.T, e *engine) result { return update(t, e, "revoke/c", nil) }},
		"delete with the config": {opDelete, "role/", func(t *testing.T, e *engine) result {
			return e.request(t, logical.DeleteOperation, "config/c", fields{"force": true})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t, secretOne)
			s := e.server(t, providertest.RFC6749, providertest.Options{ClientSecret: secretOne})
			e.must(t, "config/c", standard(s))
			e.must(t, "role/c/r", fields{"ttl": 60})
			before := e.storage.snapshot(t)
			e.storage.onUse(failingOn(test.op, test.prefix))
			r := test.do(t, e)
			e.storage.onUse(nil)
			refused(t, r, http.StatusInternalServerError, "the disk is on fire")
			withoutSecrets(t, "the error", r.text(), secretOne)
			if !same(before, e.storage.snapshot(t)) {
				t.Error("a request that failed changed what is stored")
			}
			asked(t, s, 0)
			e.clock.advance(time.Minute)
			succeeded(t, e.read(t, "token/c/r"))
		})
	}
}

// Writers of one config wait for each other. A writer may stop waiting at any time.
func TestWriterWhoWaitsMayLeave(t *testing.T) {
	e := mount(t)
	e.must(t, "config/c", acme())
	inside, release := make(chan struct{}), make(chan struct{})
	e.storage.onUse(func(op, key string) error {
		if op == opPut && key == "config/c" {
			close(inside)
			<-release
		}
		return nil
	})
	first := soon(t, func() result { return update(t, e, "config/c", fields{"description": "first"}) })
	<-inside
	for _, path := range []string{"config/c", "role/c/r", "revoke/c"} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		r := e.readAs(ctx, t, logical.UpdateOperation, path)
		cancel()
		refused(t, r, http.StatusGatewayTimeout)
	}
	close(release)
	succeeded(t, wait(t, first))
	e.storage.onUse(nil)
	if got := e.read(t, "config/c").data(t)["description"]; got != "first" || strings.Contains(e.log.String(), "bug") {
		t.Errorf("description %v; log: %s", got, e.log)
	}
}
