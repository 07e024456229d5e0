// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

func TestSecondReadTouchesNoStorage(t *testing.T) {
	for name, test := range map[string]struct {
		config, role fields
		path         string
		query        fields
		op           logical.Operation
	}{
		"of a config":                 {nil, nil, "token/c", nil, logical.ReadOperation},
		"of a config without leases":  {fields{"leased": false}, nil, "token/c", nil, logical.ReadOperation},
		"of a config that renews":     {fields{"renewable": true}, nil, "token/c", nil, logical.ReadOperation},
		"of a role":                   {nil, fields{"scopes": "read"}, "token/c/r", nil, logical.ReadOperation},
		"of a role without leases":    {nil, fields{"leased": false}, "token/c/r", nil, logical.ReadOperation},
		"with a min_ttl of the role":  {nil, fields{"min_ttl": 60}, "token/c/r", nil, logical.ReadOperation},
		"with an own choice":          {nil, nil, "token/c", fields{"scopes": "read", "min_ttl": 5}, logical.ReadOperation},
		"with a choice within a role": {nil, nil, "token/c/r", fields{"scopes": "read"}, logical.ReadOperation},
		"by a write":                  {nil, nil, "token/c", fields{"scopes": "write"}, logical.UpdateOperation},
		"by a write too soon":         {nil, nil, "token/c", fields{"fresh": true}, logical.UpdateOperation},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{})
			e.must(t, "config/c", with(standard(s), with(fields{"scopes": "read,write"}, test.config)))
			e.must(t, "role/c/r", with(fields{"description": "x"}, test.role))
			first := e.request(t, test.op, test.path, test.query)
			first.token(t)
			uses := e.uses()
			for range 5 {
				r := e.request(t, test.op, test.path, test.query)
				if r.token(t) != s.Issued()[0] {
					t.Error("another token")
				}
				e.clock.advance(time.Second)
			}
			if n := uses.Load(); n != 0 {
				t.Errorf("five reads touched storage %d times", n)
			}
			asked(t, s, 1)
		})
	}
}

// A read from memory has the same answer as any other read. The lease and everything
// else must not depend on the path that the read took through the code.
func TestHotAnswerIsTheColdOne(t *testing.T) {
	for name, config := range map[string]fields{
		"leased": {}, "without leases": {"leased": false}, "renewable": {"renewable": true, "ttl": 60}, "capped": {"max_ttl": 60},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{})
			e.must(t, "config/c", with(standard(s), config))
			e.must(t, "role/c/r", fields{"description": "x"})
			for _, path := range []string{"token/c", "token/c/r"} {
				first, hot := e.read(t, path), e.read(t, path)
				byWrite := update(t, e, path, nil)
				cold := e.restart(t).read(t, path)
				for _, r := range []result{hot, byWrite, cold} {
					if r.text() != first.text() {
						t.Errorf("%s\nafter\n%s", r.text(), first.text())
					}
				}
			}
			wantMembers(t, e.read(t, "status/c").data(t), fields{"served": float64(6)})
		})
	}
}

func TestColdReadOfAWarmEngineTouchesLittle(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	succeeded(t, e.read(t, "token/c"))
	e = e.restart(t)
	var used []string
	e.storage.onUse(func(op, key string) error {
		prefix, _, _ := strings.Cut(key, "/")
		used = append(used, op+" "+prefix)
		return nil
	})
	succeeded(t, e.read(t, "token/c"))
	e.storage.onUse(nil)
	for _, use := range used {
		if !strings.HasPrefix(use, opGet) {
			t.Errorf("a token that is stored costs a %s", use)
		}
	}
	if len(used) > 4 {
		t.Errorf("a token that is stored costs %v", used)
	}
}

// benched returns an engine with some tokens in memory, and a request that reads one of
// them.
func benched(b *testing.B, config fields) (*engine, *logical.Request) {
	b.Helper()
	e := mount(b)
	s := e.server(b, providertest.RFC6749, providertest.Options{ExtraParameters: []string{"resource"}})
	request := func(op logical.Operation, path string, data fields) {
		b.Helper()
		req := &logical.Request{Operation: op, Path: path, Data: data, Storage: e.storage, MountPoint: "oauthcc/"}
		if _, err := e.backend.HandleRequest(b.Context(), req); err != nil {
			b.Fatalf("%s %s: %v", op, path, err)
		}
	}
	for i := range 100 {
		request(logical.CreateOperation, fmt.Sprintf("config/c%d", i), with(standard(s), config))
		request(logical.ReadOperation, fmt.Sprintf("token/c%d", i), nil)
	}
	request(logical.CreateOperation, "role/c7/r", fields{"ttl": 0})
	request(logical.ReadOperation, "token/c7/r", nil)
	e.system.EntityVal = &logical.Entity{ID: "e-1", Name: "alice"}
	request(logical.CreateOperation, "role/c7/callers", fields{"parameters": fields{"resource": "{{identity.entity.name}}"}})
	request(logical.ReadOperation, "token/c7", nil)
	return e, &logical.Request{Operation: logical.ReadOperation, Path: "token/c7", Storage: e.storage, MountPoint: "oauthcc/"}
}

func BenchmarkCachedRead(b *testing.B) {
	for _, test := range []struct {
		name, path string
		config     fields
		query      bool
	}{
		{"leased", "token/c7", fields{}, false},
		{"lease-less", "token/c7", fields{"leased": false}, false},
		{"role", "token/c7/r", fields{}, false},
		{"role that names its callers", "token/c7/callers", fields{}, false},
		{"with a choice", "token/c7", fields{}, true},
	} {
		b.Run(test.name, func(b *testing.B) {
			e, req := benched(b, test.config)
			req.Path, req.EntityID = test.path, "e-1"
			if _, err := e.backend.HandleRequest(b.Context(), req); err != nil {
				b.Fatal(err)
			}
			e.storage.onUse(func(op, key string) error {
				b.Errorf("%s %s", op, key)
				return nil
			})
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				if test.query {
					req.Data = fields{"min_ttl": "60"}
				}
				resp, err := e.backend.HandleRequest(b.Context(), req)
				if err != nil || resp.Data["access_token"] == nil {
					b.Fatalf("%v, %v", resp, err)
				}
			}
			e.storage.onUse(nil)
		})
	}
}

func BenchmarkCachedReadInParallel(b *testing.B) {
	for name, config := range map[string]fields{"leased": {}, "lease-less": {"leased": false}} {
		b.Run(name, func(b *testing.B) {
			e, req := benched(b, config)
			b.ReportAllocs()
			b.ResetTimer()
			var failed sync.Once
			b.RunParallel(func(pb *testing.PB) {
				mine := *req
				for pb.Next() {
					if resp, err := e.backend.HandleRequest(b.Context(), &mine); err != nil || resp == nil {
						failed.Do(func() { b.Errorf("%v, %v", resp, err) })
					}
				}
			})
		})
	}
}
