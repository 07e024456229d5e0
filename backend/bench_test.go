// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"fmt"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// BenchmarkMint measures a read that mints, with the provider in this process.
func BenchmarkMint(b *testing.B) {
	for _, test := range []struct {
		name   string
		config fields
		before fields // written before each read; nil for no write
	}{
		{"for one reader", fields{"reuse": false}, nil},
		{"the first shared", fields{}, fields{}},
	} {
		b.Run(test.name, func(b *testing.B) {
			e := mount(b)
			s := e.server(b, providertest.RFC6749, providertest.Options{})
			do := func(op logical.Operation, path string, data fields) {
				req := &logical.Request{Operation: op, Path: path, Data: data, Storage: e.storage, MountPoint: "oauthcc/"}
				if _, err := e.backend.HandleRequest(b.Context(), req); err != nil {
					b.Fatal(err)
				}
			}
			do(logical.CreateOperation, "config/c", with(standard(s), test.config))
			do(logical.ReadOperation, "token/c", nil)
			b.ReportAllocs()
			for b.Loop() {
				if test.before != nil {
					b.StopTimer()
					do(logical.UpdateOperation, "revoke/c", nil)
					b.StartTimer()
				}
				do(logical.ReadOperation, "token/c", nil)
			}
		})
	}
}

// BenchmarkConfigWrite measures a write that changes a config's request for tokens.
func BenchmarkConfigWrite(b *testing.B) {
	for _, tokens := range []int{50, 5000} {
		b.Run(fmt.Sprintf("beside %d tokens", tokens), func(b *testing.B) {
			e := mount(b)
			s := e.server(b, providertest.RFC6749, providertest.Options{})
			do := func(op logical.Operation, path string, data fields) {
				req := &logical.Request{Operation: op, Path: path, Data: data, Storage: e.storage, MountPoint: "oauthcc/"}
				if _, err := e.backend.HandleRequest(b.Context(), req); err != nil {
					b.Fatal(err)
				}
			}
			for i := range tokens {
				do(logical.CreateOperation, fmt.Sprintf("config/c%d", i), standard(s))
				do(logical.ReadOperation, fmt.Sprintf("token/c%d", i), nil)
			}
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				n++
				do(logical.UpdateOperation, "config/c7", fields{"request_headers": fields{"X-N": fmt.Sprint(n)}})
			}
		})
	}
}
