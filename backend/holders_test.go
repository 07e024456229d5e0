// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// repeater is a provider that issues the same token until that token is revoked.
type repeater struct {
	*providertest.Server

	mu      sync.Mutex
	current int
	revoked []string
}

func (p *repeater) revocations() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.revoked
}

// repeating returns an engine whose config/c mints for each read, at a repeater.
func repeating(t *testing.T, more fields) (*engine, *repeater) {
	t.Helper()
	e, p := mount(t), &repeater{}
	p.Server = providertest.StartFunc(t, "/", func(w http.ResponseWriter, r *http.Request, body []byte) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if strings.HasSuffix(r.URL.Path, "/revoke") {
			p.revoked = append(p.revoked, string(body))
			p.current++
			return
		}
		_, _ = fmt.Fprintf(w, `{"access_token":"repeated-%d","expires_in":3600}`, p.current) // the client may be gone
	})
	e.must(t, "config/c", with(fields{
		"token_url": p.URL() + "/token", "revocation_url": p.URL() + "/revoke", "client_id": "c", "client_secret": secretOne, "reuse": false,
	}, more))
	return e, p
}

func TestTokenIsRevokedWhenItsLastHolderEnds(t *testing.T) {
	e, p := repeating(t, nil)
	var leases []*logical.Secret
	for range 3 {
		leases = append(leases, e.read(t, "token/c").resp.Secret)
	}
	for i, lease := range leases {
		if len(p.revocations()) != 0 {
			t.Fatalf("the end of lease %d of 3 revoked the token of the others", i)
		}
		e = e.restart(t)
		succeeded(t, e.revokeLease(t, lease))
		succeeded(t, e.revokeLease(t, lease)) // Vault may ask twice
	}
	if got := p.revocations(); len(got) != 1 || !strings.Contains(got[0], "token=repeated-0") {
		t.Errorf("revoked %v", got)
	}
}

func TestHoldersThatEndAtOnceRevokeTheirTokenOnce(t *testing.T) {
	e, p := repeating(t, nil)
	var all sync.WaitGroup
	var leases []*logical.Secret
	for range 20 {
		leases = append(leases, e.read(t, "token/c").resp.Secret)
	}
	// The delay lets every lease look for the others before one deletes its entry.
	e.storage.onUse(func(op, key string) error {
		if op == opDelete && strings.HasPrefix(key, "lease/") {
			time.Sleep(20 * time.Millisecond)
		}
		return nil
	})
	for _, lease := range leases {
		all.Go(func() { succeeded(t, e.revokeLease(t, lease)) })
	}
	all.Wait()
	if n := len(p.revocations()); n != 1 || len(e.below(t, "lease/")) != 0 {
		t.Errorf("%d revocations", n)
	}
}

func TestEndOfALeaseSparesATokenThatReadersShare(t *testing.T) {
	e, p := repeating(t, fields{"reuse": true})
	e.must(t, "role/c/own", fields{"reuse": false})
	succeeded(t, e.read(t, "token/c"))
	for range 2 { // the shared token is in memory, then only in storage
		succeeded(t, e.revokeLease(t, e.read(t, "token/c/own").resp.Secret))
		e = e.restart(t)
	}
	if len(p.revocations()) != 0 {
		t.Error("the shared token was revoked")
	}
	succeeded(t, update(t, e, "revoke/c", nil))
	if len(p.revocations()) != 1 {
		t.Error("the kill switch revoked nothing")
	}
}

// A token is sent back only to the provider that issued it. It is not sent to the host
// that the config has now, although whoever moved the config knew its secrets.
func TestTokensAreNotSentToAnotherProvider(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, e *engine, secret *logical.Secret) string{
		"by the end of a lease": func(t *testing.T, e *engine, secret *logical.Secret) string {
			succeeded(t, e.revokeLease(t, secret))
			return e.log.String()
		},
		"by the kill switch": func(t *testing.T, e *engine, _ *logical.Secret) string {
			r := update(t, e, "revoke/c", nil)
			succeeded(t, r)
			return r.text()
		},
		"by the deletion of the config": func(t *testing.T, e *engine, _ *logical.Secret) string {
			r := e.delete(t, "config/c")
			succeeded(t, r)
			return r.text()
		},
		"by the next process": func(t *testing.T, e *engine, _ *logical.Secret) string {
			for key, value := range e.below(t, "lease/") {
				e.storage.put(t, key, strings.Replace(value, `"leased":true`, `"leased":false`, 1))
			}
			e = e.restart(t)
			e.aMinuteLater(t)
			eventually(t, "the entry is gone", func() bool { return len(e.below(t, "lease/")) == 0 })
			return e.log.String()
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, old := ownTokens(t, nil)
			r := e.read(t, "token/c")
			eventually(t, "the entry is left to the lease", func() bool { return leased(t, e) })
			moved := e.server(t, providertest.RFC6749, providertest.Options{})
			e.must(t, "config/c", with(standard(moved), fields{"revocation_url": moved.RevocationURL()}))
			said := test(t, e, r.resp.Secret)
			if moved.RevocationRequests() != 0 || old.RevocationRequests() != 0 {
				t.Errorf("%d requests at the new provider, %d at the old", moved.RevocationRequests(), old.RevocationRequests())
			}
			for _, what := range []string{"to another place", "2026-01-02T04:04:05Z"} {
				if !strings.Contains(said, what) {
					t.Errorf("it does not say %q: %s", what, said)
				}
			}
		})
	}
}

// The config moves while a token is minted at the old provider. Nobody gets that token,
// and it is revoked at the old provider.
func TestMintUnderWayIsNotSentToAnotherProvider(t *testing.T) {
	for name, move := range map[string]func(t *testing.T, e *engine, to *providertest.Server){
		"by its config": func(t *testing.T, e *engine, to *providertest.Server) {
			e.must(t, "config/c", with(standard(to), fields{"revocation_url": to.RevocationURL()}))
		},
		"by its provider": func(t *testing.T, e *engine, to *providertest.Server) {
			warned(t, e.write(t, "provider/p", fields{"token_url": to.TokenURL(), "revocation_url": to.RevocationURL()}), "to another place")
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			old, moved := e.server(t, providertest.RFC6749, providertest.Options{}), e.server(t, providertest.RFC6749, providertest.Options{})
			e.must(t, "provider/p", fields{"token_url": old.TokenURL(), "revocation_url": old.RevocationURL()})
			config := with(standard(old), fields{"provider": "p"})
			delete(config, "token_url")
			e.must(t, "config/c", config)
			answer := make(chan struct{})
			old.Behave(providertest.Behavior{Until: answer})
			reader := soon(t, func() result { return e.read(t, "token/c") })
			eventually(t, "the provider is asked", func() bool { return old.Requests() == 1 })
			move(t, e, moved)
			close(answer)
			r := wait(t, reader)
			eventually(t, "the token is revoked", func() bool { return !old.Valid(old.Issued()[0]) })
			if moved.RevocationRequests() != 0 {
				t.Error("the new provider was sent the old one's token")
			}
			withoutSecrets(t, "the answer and the log", r.text()+e.log.String(), old.Issued()[0])
		})
	}
}

func TestDeletionOfAConfigRevokesItsTokens(t *testing.T) {
	e, s := ownTokens(t, nil)
	e.must(t, "role/c/shared", fields{"reuse": true})
	own := e.read(t, "token/c")
	for _, path := range []string{"token/c/shared", "token/c"} {
		succeeded(t, e.read(t, path))
	}
	r := e.request(t, logical.DeleteOperation, "config/c", fields{"force": true})
	succeeded(t, r)
	if r.resp != nil || len(s.Revoked()) != 3 {
		t.Errorf("%d of 3 revoked: %s", len(s.Revoked()), r.text())
	}
	succeeded(t, e.revokeLease(t, own.resp.Secret))
	if s.RevocationRequests() != 3 || len(e.storage.snapshot(t)) != 0 {
		t.Errorf("left: %v", e.storage.snapshot(t))
	}
}

func TestDeletionOfAConfigSaysWhatLivesOn(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(t *testing.T, e *engine, s *providertest.Server)
		says string
	}{
		"the provider fails":   {func(_ *testing.T, _ *engine, s *providertest.Server) { s.Behave(revokesNothing) }, "500"},
		"the provider is gone": {func(_ *testing.T, _ *engine, s *providertest.Server) { s.Close() }, "2 of the config's tokens"},
		"the config gives no token": {func(t *testing.T, e *engine, _ *providertest.Server) {
			for key, value := range e.below(t, "config/") {
				e.storage.put(t, key, strings.Replace(value, `"reuse"`, `"provider":"gone","reuse"`, 1))
			}
			*e = *e.restart(t)
		}, `"gone"`},
	} {
		t.Run(name, func(t *testing.T) {
			overAWire(t, func(t *testing.T, e *engine) {
				s := e.ownTokens(t, nil)
				e.must(t, "role/c/shared", fields{"reuse": true})
				secret := e.read(t, "token/c").resp.Secret
				succeeded(t, e.read(t, "token/c/shared"))
				test.do(t, e, s)
				r := e.request(t, logical.DeleteOperation, "config/c", fields{"force": true})
				succeeded(t, r)
				warned(t, r, test.says)
				warned(t, r, "2 of the config's tokens were not revoked at the provider, and may live on there until 2026-01-02T04:04:05Z")
				withoutSecrets(t, "the warning and the log", r.text()+e.log.String(), s.Issued()...)
				succeeded(t, e.revokeLease(t, secret)) // otherwise the lease would stay forever
				if len(e.storage.snapshot(t)) != 0 {
					t.Errorf("left: %v", e.storage.snapshot(t))
				}
			})
		})
	}
}
