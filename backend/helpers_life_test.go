// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// restart returns another engine on the same storage, as after a crash: the old engine
// had no time to end anything, and changes nothing from now on.
func (e *engine) restart(t *testing.T, secrets ...string) *engine {
	t.Helper()
	e.process.ended.Store(true)
	next := mountVia(t, e.transport, e.storage, e.clock, e.system, secrets...)
	next.wire = e.wire
	return next
}

// token returns the access token of an answer.
func (r result) token(t *testing.T) string {
	t.Helper()
	token, ok := r.data(t)["access_token"].(string)
	if !ok || token == "" {
		t.Fatalf("no token: %s", r.text())
	}
	return token
}

// warned expects one warning for each of the words, in this order, and nothing else.
// Each warning must contain its word.
func warned(t *testing.T, r result, words ...string) {
	t.Helper()
	var got []string
	if r.resp != nil {
		got = r.resp.Warnings
	}
	if len(got) != len(words) {
		t.Fatalf("warnings %q, want %d: %s", got, len(words), r.text())
	}
	for i, w := range words {
		if !strings.Contains(got[i], w) {
			t.Errorf("the warning does not say %q: %s", w, got[i])
		}
	}
}

// asked expects that the provider got want token requests.
func asked(t *testing.T, s *providertest.Server, want int) {
	t.Helper()
	if got := s.Requests(); got != want {
		t.Errorf("%d requests at the provider, want %d", got, want)
	}
}

// eventually polls until f reports true, and fails the test if that takes too long.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not so: %s", what)
		}
	}
}

// readWith reads a path with a query.
func (e *engine) readWith(t *testing.T, path string, query fields) result {
	t.Helper()
	return e.request(t, logical.ReadOperation, path, query)
}

// revokeLease ends a lease in the way that Vault does.
func (e *engine) revokeLease(t *testing.T, secret *logical.Secret) result {
	t.Helper()
	return e.send(t, &logical.Request{Operation: logical.RevokeOperation, Path: "token/c", Secret: secret})
}

// aMinuteLater lets a minute pass, and runs what Vault runs every minute.
func (e *engine) aMinuteLater(t *testing.T) {
	t.Helper()
	e.clock.advance(time.Minute)
	e.periodic(t)
}

// periodic runs what Vault runs every minute.
func (e *engine) periodic(t *testing.T) {
	t.Helper()
	succeeded(t, e.send(t, &logical.Request{Operation: logical.RollbackOperation}))
}

// below returns what is stored below a prefix, by key.
func (e *engine) below(t *testing.T, prefix string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for key, value := range e.storage.snapshot(t) {
		if strings.HasPrefix(key, prefix) {
			out[key] = value
		}
	}
	return out
}

// chainsOf returns all that is stored for a config's chains.
func chainsOf(t *testing.T, e *engine, config string) string {
	t.Helper()
	var all strings.Builder
	for _, value := range e.below(t, "grant/"+config+"/") {
		all.WriteString(value)
	}
	return all.String()
}

// uses starts to count the operations on storage, and returns the counter.
func (e *engine) uses() *atomic.Int64 {
	n := &atomic.Int64{}
	e.storage.onUse(func(string, string) error { n.Add(1); return nil })
	return n
}

// soon sends one request in a goroutine of its own.
func soon(t *testing.T, do func() result) <-chan result {
	t.Helper()
	return later(t, 1, do)
}

// readAs sends a request with the given context.
func (e *engine) readAs(ctx context.Context, t *testing.T, op logical.Operation, path string) result {
	t.Helper()
	resp, err := e.backend.HandleRequest(ctx, e.cross(t, &logical.Request{Operation: op, Path: path}))
	return result{resp: resp, err: err, op: op}
}

// desk is a token endpoint for which the test gives every answer.
type desk struct {
	*providertest.Server
	visits chan visit
}

// visit is a request that waits for its answer.
type visit struct {
	form  url.Values
	reply chan<- string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	return newDeskOver(t, nil)
}

// newDeskOver returns a desk that is reached over the wire w.
func newDeskOver(t *testing.T, w *providertest.Wire) *desk {
	t.Helper()
	d := &desk{visits: make(chan visit, 100)}
	d.Server = inventedOver(t, w, func(_ *http.Request, body string) string {
		form, _ := url.ParseQuery(body) // the test checks the fields that it expects
		reply := make(chan string, 1)
		d.visits <- visit{form: form, reply: reply}
		select {
		case text := <-reply:
			return text
		case <-t.Context().Done():
			return ""
		}
	})
	return d
}

func (d *desk) next(t *testing.T) visit {
	t.Helper()
	select {
	case v := <-d.visits:
		return v
	case <-time.After(patience):
		t.Fatal("no request arrived")
		return visit{}
	}
}

// token answers with a token that lives for an hour. more are further members of the
// answer.
func (v visit) token(name string, more ...string) {
	v.reply <- `{"access_token":"` + name + `","expires_in":3600` + strings.Join(append([]string{""}, more...), ",") + `}`
}

func (d *desk) config() fields {
	return fields{"token_url": d.TokenURL(), "client_id": "c", "client_secret": secretOne}
}

// chainProvider accepts each refresh token once, except the last one: it accepts that
// one again until the next one is used. Providers that want their clients to survive a
// crash do this.
type chainProvider struct {
	*providertest.Server

	mu            sync.Mutex
	n             int
	current, last string
}

func newChainProvider(t *testing.T) *chainProvider {
	t.Helper()
	p := &chainProvider{current: "chain-r0"}
	p.Server = invented(t, func(_ *http.Request, body string) string {
		p.mu.Lock()
		defer p.mu.Unlock()
		form, _ := url.ParseQuery(body) // a request without refresh_token is refused below
		switch form.Get("refresh_token") {
		case p.current:
			p.last = p.current
			p.n++
			p.current = "chain-r" + string(rune('0'+p.n))
		case p.last:
		default:
			return `{"error":"invalid_grant"}`
		}
		return `{"access_token":"access-of-` + strings.TrimPrefix(p.current, "chain-") + `","refresh_token":"` + p.current + `","expires_in":3600}`
	})
	return p
}

func (p *chainProvider) config() fields {
	return fields{"token_url": p.TokenURL(), "client_id": "c", "client_secret": secretOne, "grant_type": "refresh_token", "refresh_token": "chain-r0"}
}

// chainAt returns a config with the refresh_token grant, at a standard server whose
// refresh tokens can be used once.
func chainAt(t *testing.T, s *providertest.Server) fields {
	t.Helper()
	return with(standard(s), fields{"grant_type": "refresh_token", "refresh_token": firstOf(t, s)})
}

// firstOf asks a standard server for a refresh token and returns it. Then it resets the
// server's record of requests.
func firstOf(t *testing.T, s *providertest.Server) string {
	t.Helper()
	c := s.Credentials()
	resp, err := s.Client().PostForm(s.TokenURL(), url.Values{
		"grant_type": {"password"}, "username": {c.Username}, "password": {c.Password},
		"client_id": {c.ClientID}, "client_secret": {c.ClientSecret},
	})
	if err != nil {
		t.Fatalf("ask for a refresh token: %v", err)
	}
	defer resp.Body.Close()
	text := readAll(t, resp.Body)
	_, after, found := strings.Cut(text, `"refresh_token":"`)
	token, _, _ := strings.Cut(after, `"`)
	if !found || token == "" {
		t.Fatalf("no refresh token: %s", text)
	}
	s.Reset()
	return token
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return string(b)
}
