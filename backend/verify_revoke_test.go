// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// A write can fail after its connection was verified with a token. Then no reader gets
// that token, so it is revoked.
func TestTokenThatAFailedWriteWasVerifiedByIsRevoked(t *testing.T) {
	for name, test := range map[string]struct {
		exists bool
		fails  string
	}{
		"a new config":                         {false, "config/"},
		"a new config, and nothing is stored":  {false, ""},
		"a change":                             {true, "config/"},
		"a change, and nothing else is stored": {true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{})
			config := with(standard(s), fields{"revocation_url": s.RevocationURL()})
			if test.exists {
				e.must(t, "config/c", config)
				succeeded(t, e.read(t, "token/c"))
			}
			before := s.IssuedCount()
			e.storage.onUse(failingOn(opPut, test.fails))
			r := e.write(t, "config/c", with(config, fields{"scopes": "read", "verify_connection": true}))
			refused(t, r, http.StatusInternalServerError, "the disk is on fire")
			eventually(t, "the token is revoked", func() bool { return s.IssuedCount() > before && !s.Valid(s.Issued()[before]) })
			e.storage.onUse(nil)
			if test.exists && !s.Valid(s.Issued()[0]) {
				t.Error("so is the readers' token")
			}
			eventually(t, "no entry is left", func() bool { return len(e.below(t, "lease/")) == 0 })
			withoutSecrets(t, "the error and the log", r.text()+e.log.String(), append(s.Issued(), s.Credentials().ClientSecret)...)
		})
	}
}

// counting is a provider that issues token-1, token-2 and so on, and has a revocation
// endpoint. It calls before with the number before it answers.
type counting struct {
	*providertest.Server
	before func(n int)

	mu      sync.Mutex
	issued  int
	revoked map[string]bool
}

func startCounting(t *testing.T) *counting {
	t.Helper()
	p := &counting{revoked: map[string]bool{}, before: func(int) {}}
	p.Server = providertest.StartFunc(t, "/", func(w http.ResponseWriter, r *http.Request, _ []byte) {
		if strings.HasSuffix(r.URL.Path, "/revoke") {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.revoked[r.FormValue("token")] = true
			return
		}
		p.mu.Lock()
		p.issued++
		n := p.issued
		p.mu.Unlock()
		p.before(n)
		_, _ = fmt.Fprintf(w, `{"access_token":"token-%d","expires_in":3600}`, n) // the client may be gone
	})
	return p
}

func (p *counting) isRevoked(n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.revoked[fmt.Sprintf("token-%d", n)]
}

func (p *counting) config() fields {
	return fields{"token_url": p.URL() + "/token", "revocation_url": p.URL() + "/revoke", "client_id": "c", "client_secret": secretOne}
}

// The token is also revoked if other writes overtake the write, or if its writer
// leaves.
func TestTokenThatAWriteIsNoLongerVerifiedByIsRevoked(t *testing.T) {
	for name, test := range map[string]struct {
		meanwhile func(t *testing.T, e *engine, n int, leave func())
		issued    int
		kept      int // the number of the token that readers get; 0 for none
	}{
		"one that is verified again": {func(t *testing.T, e *engine, n int, _ func()) {
			if n == 1 {
				e.must(t, "config/c", fields{"scopes": "s"})
			}
		}, 2, 2},
		"one that others always overtake": {func(t *testing.T, e *engine, n int, _ func()) {
			e.must(t, "config/c", fields{"scopes": fmt.Sprintf("s%d", n)})
		}, 5, 0},
		"one that need not be verified any more": {func(t *testing.T, e *engine, _ int, _ func()) {
			e.must(t, "config/c", fields{"verify_connection": false})
		}, 1, 0},
		"one whose writer leaves": {func(_ *testing.T, _ *engine, _ int, leave func()) { leave() }, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			e, p := mount(t, secretOne), startCounting(t)
			e.must(t, "config/c", p.config())
			write := fields{"parameters": fields{"p": "x"}, "verify_connection": true}
			first := 1
			if name == "one that need not be verified any more" {
				e.must(t, "config/c", write)
				p.Reset() // so that the requests until here do not count
				first, write = 2, fields{"parameters": fields{"p": "y"}}
			}
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			p.before = func(n int) { test.meanwhile(t, e, n, leave) }
			req := e.cross(t, &logical.Request{Operation: logical.UpdateOperation, Path: "config/c", Data: write})
			_, err := e.backend.HandleRequest(ctx, req)
			if stored := name == "one that is verified again" || name == "one that need not be verified any more"; stored != (err == nil) {
				t.Fatalf("stored: %v", err)
			}
			for n := first; n < first+test.issued; n++ {
				if n != test.kept {
					eventually(t, fmt.Sprintf("token %d is revoked", n), func() bool { return p.isRevoked(n) })
				}
			}
			asked(t, p.Server, 2*test.issued-min(test.kept, 1)) // each token is minted and revoked, but the kept one is only minted
			if test.kept > 0 {
				wantMembers(t, e.read(t, "token/c").data(t), fields{"access_token": fmt.Sprintf("token-%d", test.kept)})
			}
		})
	}
}

// Some providers return the same token while it lives, also to the verification of a
// write. Then readers share that token, and it is not revoked.
func TestTokenThatAFailedWriteWasVerifiedByAndReadersShareIsNotRevoked(t *testing.T) {
	e, p := repeating(t, fields{"reuse": true})
	succeeded(t, e.read(t, "token/c"))
	e.storage.onUse(failingOn(opPut, "config/"))
	refused(t, update(t, e, "config/c", fields{"verify_connection": true}), http.StatusInternalServerError)
	e.storage.onUse(nil)
	eventually(t, "no entry is left", func() bool { return len(e.below(t, "lease/")) == 0 })
	if len(p.revocations()) != 0 {
		t.Error("the readers' token is revoked")
	}
}

// Some providers end the refresh token when its access token is revoked. The next
// attempt to write needs that refresh token, so the access token is not revoked.
func TestTokenOfAChainThatAFailedWriteWasVerifiedByIsLeftToExpire(t *testing.T) {
	e, s, write := moved(t)
	e.must(t, "config/c", fields{"revocation_url": s.RevocationURL(), "refresh_token": "chain", "client_secret": s.Credentials().ClientSecret})
	e.storage.onUse(failingOn(opPut, "config/"))
	refused(t, update(t, e, "config/c", write), http.StatusInternalServerError)
	e.storage.onUse(nil)
	e.backend.Cleanup(t.Context()) // waits for the background jobs
	if s.RevocationRequests() != 0 {
		t.Error("the token is revoked")
	}
	e = e.restart(t)
	succeeded(t, update(t, e, "config/c", write))
	succeeded(t, e.read(t, "token/c"))
}
