// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// link is a provider that issues a token for the token of the link before it,
// which the request carries as a Bearer token, and revokes it for the same. The
// first link wants none. Each answer leads to a host.
type link struct {
	*providertest.Server
	before *link

	mu       sync.Mutex
	instance string          // the host that its answers lead to
	good     map[string]bool // its tokens
	all      []string
	stalled  chan struct{} // holds requests back until it is closed; nil holds none
}

func startLink(t *testing.T, before *link) *link {
	t.Helper()
	l := &link{before: before, instance: "https://localhost", good: map[string]bool{}}
	l.Server = providertest.StartFunc(t, "/", func(w http.ResponseWriter, r *http.Request, body []byte) {
		if before != nil && !before.valid(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")) {
			http.Error(w, `{"error":"invalid_token"}`, http.StatusUnauthorized)
			return
		}
		if stalled := l.stall(); stalled != nil {
			<-stalled
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if r.URL.Path == "/revoke" {
			form, _ := url.ParseQuery(string(body)) // it then names no token
			delete(l.good, form.Get("token"))
			return
		}
		token := "link-" + rand.Text()
		l.good[token], l.all = true, append(l.all, token)
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token":%q,"expires_in":3600,"instance_url":%q}`, token, l.instance) // the client may be gone
	})
	return l
}

func (l *link) valid(token string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.good[token]
}

func (l *link) tokens() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string{}, l.all...)
}

func (l *link) stall() chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stalled
}

func (l *link) set(f func(*link)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l)
}

// asked returns how many tokens were asked for.
func (l *link) asked() int {
	n := 0
	for _, r := range l.All() {
		if strings.HasPrefix(r.Path, "/token") {
			n++
		}
	}
	return n
}

// config is the link's config. It has the next one's allowance.
func (l *link) config(source, next string) fields {
	out := fields{
		"token_url": l.URL() + "/token", "revocation_url": l.URL() + "/revoke", "grant_type": "none", "token_endpoint_auth_method": "none",
		"extra_fields": fields{"instance_url": "/instance_url"}, "source_for": next,
	}
	if source != "" {
		out["source_config"], out["request_headers"] = source, fields{"Authorization": "Bearer {source.access_token}"}
	}
	return out
}

// atItsHost is l's config, at the host that the answer before it leads to.
func (l *link) atItsHost(source, hosts string) fields {
	u, _ := url.Parse(l.URL()) // it is one
	return with(l.config(source, ""), fields{
		"token_url": "http://{source.instance_url|host}:" + u.Port() + "/token", "allow_insecure_http": true, "source_hosts": hosts, "revocation_url": nil,
	})
}

// startChain writes the configs a, b and c, each of which is the source of the
// next; c is at the host that the answer to b leads to.
func startChain(t *testing.T, v *harness.Vault) []*link {
	t.Helper()
	first := startLink(t, nil)
	second := startLink(t, first)
	third := startLink(t, second)
	write(t, v, "oauthcc/config/a", first.config("", "b"))
	write(t, v, "oauthcc/config/b", second.config("a", "c"))
	write(t, v, "oauthcc/config/c", third.atItsHost("b", "localhost"))
	return []*link{first, second, third}
}

func wereAsked(t *testing.T, when string, links []*link, want ...int) {
	t.Helper()
	for i, l := range links {
		if got := l.asked(); got != want[i] {
			t.Errorf("%s: link %d was asked for %d tokens, want %d", when, i+1, got, want[i])
		}
	}
}

// Three links by source_config: each is cached on its own, a killed plugin loses
// none of them, and what happens to the first one happens to all.
func TestAChainBySourceConfig(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{Storage: harness.Raft})
	links := startChain(t, v)

	read(t, v, "oauthcc/token/b")
	crash(t, v) // between the second link and the third
	old := read(t, v, "oauthcc/token/c").text(t, "access_token")
	wereAsked(t, "after a kill between two links", links, 1, 1, 1)

	v.KillPlugin()
	v.Restart()
	if got := read(t, v, "oauthcc/token/c").text(t, "access_token"); got != old {
		t.Error("another token after a crash and a restart")
	}
	wereAsked(t, "after a crash and a restart", links, 1, 1, 1)

	// Killed while the third link answers: the first two have been asked, and are not again.
	write(t, v, "oauthcc/revoke/a", nil)
	for i, l := range links[:2] {
		if l.valid(l.tokens()[0]) {
			t.Errorf("the token of link %d lives on, though the first one was revoked", i+1)
		}
	}
	stalled := make(chan struct{})
	links[2].set(func(l *link) { l.stalled = stalled })
	before := []int{links[0].asked(), links[1].asked(), links[2].asked()}
	reading := make(chan sample, 1)
	go func() { reading <- tryRead(v, "oauthcc/token/c") }()
	harness.Eventually(t, time.Minute, func() error {
		if links[2].asked() == before[2] {
			return fmt.Errorf("the third link was not asked")
		}
		return nil
	})
	between := []int{links[0].asked(), links[1].asked()}
	v.KillPlugin()
	links[2].set(func(l *link) { l.stalled = nil })
	close(stalled)
	<-reading
	var next string
	harness.Eventually(t, time.Minute, func() error {
		r := tryRead(v, "oauthcc/token/c")
		if next = r.accessToken(); next == "" {
			return fmt.Errorf("%d %s", r.status, r.raw)
		}
		return nil
	})
	if next == old || !links[2].valid(next) {
		t.Error("handed out though the first link was revoked")
	}
	wereAsked(t, "after a kill in the middle of a mint", links[:2], between...)

	for i, l := range links {
		for _, token := range l.tokens() {
			if strings.Contains(v.Log(), token) {
				t.Errorf("the server's log holds a token of link %d", i+1)
			}
		}
	}
}

func TestACircleBySourceConfigIsRefused(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	links := startChain(t, v)
	circle := fields{"source_config": "c", "request_headers": fields{"Authorization": "Bearer {source.access_token}"}}
	write(t, v, "oauthcc/config/c", fields{"source_for": "a"})
	ask(t, v, http.MethodPost, "oauthcc/config/a", circle).wants(t, http.StatusBadRequest, "source_config leads back")
	ask(t, v, http.MethodPost, "oauthcc/config/a", with(circle, fields{"source_config": "a"})).wants(t, http.StatusBadRequest, "source_config")
	ask(t, v, http.MethodDelete, "oauthcc/config/a", nil).wants(t, http.StatusBadRequest, "source of the configs b")
	read(t, v, "oauthcc/token/c")
	wereAsked(t, "after refused writes", links, 1, 1, 1)
}

// A host that comes out of an answer gets no request that source_hosts does not
// allow it.
func TestAnAnswerLeadsOnlyWhereSourceHostsAllows(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	links := startChain(t, v)
	for _, hosts := range []string{"api.example.com", "*.localhost.example", "*.example.com"} {
		write(t, v, "oauthcc/config/c", fields{"source_hosts": hosts})
		ask(t, v, http.MethodGet, "oauthcc/token/c", nil).wants(t, http.StatusBadRequest, "source_hosts")
		wereAsked(t, hosts, links, 1, 1, 0)
	}
	for _, instance := range []string{"https://127.0.0.1", "http://localhost", "https://localhost:8200", "https://localhost@evil.example.com", "https://localhost/../evil"} {
		links[1].set(func(l *link) { l.instance = instance })
		write(t, v, "oauthcc/config/c", fields{"source_hosts": "evil.example.com"})
		write(t, v, "oauthcc/revoke/b", nil)
		ask(t, v, http.MethodGet, "oauthcc/token/c", nil).wants(t, http.StatusBadRequest, "token_url")
	}
	if n := len(links[2].All()); n != 0 {
		t.Errorf("%d requests reached a host that is not allowed", n)
	}
	links[1].set(func(l *link) { l.instance = "https://LOCALHOST/" })
	write(t, v, "oauthcc/config/c", fields{"source_hosts": "localhost"})
	write(t, v, "oauthcc/revoke/b", nil)
	read(t, v, "oauthcc/token/c")
	if n := len(links[2].All()); n != 1 {
		t.Errorf("%d requests reached the host that is allowed, want 1", n)
	}
}

// madeOfAnother follows the recipe of that name.
func madeOfAnother(t *testing.T, v *harness.Vault, book *cookbook, run runner) {
	t.Helper()
	org := startLink(t, nil)
	cloud := startLink(t, org)
	u, _ := url.Parse(cloud.URL()) // it is one
	write(t, v, "oauthcc/config/core", fields{
		"provider": "salesforce", "token_url": org.URL() + "/token", "client_id": "c", "client_secret": "a-secret",
	})
	snippet := replace(t, book.take(t, "chain"), "provider=salesforce-data-cloud", "provider=salesforce-data-cloud allow_insecure_http=true token_url='http://{source.instance_url|host}:"+u.Port()+"/token' "+
		"request_headers=Authorization='Bearer {source.access_token}'", "*.my.salesforce.com", "localhost")
	out := run(t, v.RootToken(), snippet)
	tokens := cloud.tokens()
	if len(tokens) != 1 || !strings.Contains(out, tokens[0]) || strings.Contains(out, org.tokens()[0]) {
		t.Errorf("%d tokens were issued, and the recipe says %s", len(tokens), out)
	}
	form := cloud.Last().Form()
	if form.Get("subject_token") != org.tokens()[0] || form.Get("grant_type") != "urn:salesforce:grant-type:external:cdp" {
		t.Errorf("sent %v", form)
	}
	ask(t, v, http.MethodPost, "oauthcc/revoke/core", nil).wants(t, http.StatusOK)
	if got := read(t, v, "oauthcc/token/data-cloud").text(t, "access_token"); got == tokens[0] {
		t.Error("the token outlived the one that it was made of")
	}
}
