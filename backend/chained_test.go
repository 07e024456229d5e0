// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

const coreSecret = "core-token-of-the-source"

// core is a provider of the first link. Its answer names the host of the second link.
type core struct {
	*providertest.Server

	mu       sync.Mutex
	n        int
	instance string // the instance_url in its answers
	lifetime int    // seconds
	good     string // the only token that is valid now
}

func startCore(t *testing.T) *core {
	t.Helper()
	c := &core{instance: "https://localhost/", lifetime: 3600}
	c.Server = invented(t, func(*http.Request, string) string {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.n++
		c.good = fmt.Sprintf("%s-%d", coreSecret, c.n)
		return fmt.Sprintf(`{"access_token":%q,"expires_in":%d,"instance_url":%q,"org":"org-1","hidden":"the-hidden-extra"}`, c.good, c.lifetime, c.instance)
	})
	return c
}

func (c *core) set(f func(*core)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c)
}

func (c *core) config() fields {
	return fields{
		"token_url": c.TokenURL(), "client_id": "c", "client_secret": secretOne, "source_for": "cloud",
		"extra_fields": fields{"instance_url": "/instance_url", "org": "/org", "hidden": "/hidden"},
	}
}

// startCloud runs a provider of the second link. It accepts only the token that the
// first provider issued last.
func startCloud(t *testing.T, c *core) *providertest.Server {
	t.Helper()
	return providertest.StartFunc(t, "/", func(w http.ResponseWriter, r *http.Request, _ []byte) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if r.Header.Get("Authorization") != "Bearer "+c.good {
			http.Error(w, fmt.Sprintf(`{"error":"invalid_token","error_description":"no such session: %s"}`, r.Header.Get("Authorization")), http.StatusUnauthorized)
			return
		}
		_, _ = fmt.Fprintf(w, `{"access_token":"cloud-token-%d","expires_in":7200,"echo":%q,"org":"org-1"}`, c.n, r.Header.Get("Authorization")) // the client may be gone
	})
}

// atHost returns a config of the second link. The host of its token_url comes from the
// first link's answer.
func atHost(s *providertest.Server) fields {
	u, _ := url.Parse(s.URL())
	return fields{
		"token_url": "http://{source.instance_url|host}:" + u.Port() + "/{source.org}/token", "allow_insecure_http": true, "source_config": "core", "source_hosts": "localhost",
		"grant_type": "none", "token_endpoint_auth_method": "none", "request_headers": fields{"Authorization": "Bearer {source.access_token}"},
	}
}

func chainOfTwo(t *testing.T) (*engine, *core, *providertest.Server) {
	t.Helper()
	e := mount(t, coreSecret, "the-hidden-extra")
	e.extras = []string{"instance_url", "org", "hidden", "echo"}
	first := startCore(t)
	second := startCloud(t, first)
	e.must(t, "config/core", first.config())
	e.must(t, "config/cloud", atHost(second))
	return e, first, second
}

func TestChainedRequestCarriesTheSourcesToken(t *testing.T) {
	e, first, second := chainOfTwo(t)
	token := e.read(t, "token/cloud").token(t)
	if got := second.Last(); !strings.HasPrefix(got.Host, "localhost:") || got.Path != "/org-1/token" {
		t.Errorf("asked %s%s", got.Host, got.Path)
	}
	for range 3 {
		if e.read(t, "token/cloud").token(t) != token {
			t.Error("another token")
		}
	}
	if e.read(t, "token/core").token(t) != coreSecret+"-1" {
		t.Error("the source has another token than was sent")
	}
	e = e.restart(t, coreSecret)
	e.extras = []string{"instance_url", "org", "hidden"}
	if e.read(t, "token/cloud").token(t) != token {
		t.Error("another token after a restart")
	}
	e.read(t, "token/core")
	asked(t, first.Server, 1)
	asked(t, second, 1)
}

func TestChainedTokenEndsWithItsSource(t *testing.T) {
	e, first, _ := chainOfTwo(t)
	first.set(func(c *core) { c.lifetime = 1200 })
	e.read(t, "token/core")
	e.clock.advance(10 * time.Minute)
	if got := e.read(t, "token/cloud").data(t)["expires_in"]; fmt.Sprint(got) != "600" {
		t.Errorf("expires in %v, want the 600 s that are left of its source", got)
	}
}

func TestChainedTokenGoesWithItsSource(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *engine){
		"revoked": func(t *testing.T, e *engine) { t.Helper(); e.must(t, "revoke/core", nil) },
		"changed": func(t *testing.T, e *engine) { t.Helper(); e.must(t, "config/core", fields{"scopes": "read"}) },
	} {
		t.Run(name, func(t *testing.T) {
			e, first, second := chainOfTwo(t)
			old := e.read(t, "token/cloud").token(t)
			end(t, e)
			if n := len(e.below(t, "token/cloud/")); n != 0 {
				t.Errorf("%d tokens are stored that were made of one that is gone", n)
			}
			if e.read(t, "token/cloud").token(t) == old {
				t.Error("handed out though its source has gone")
			}
			asked(t, first.Server, 2)
			asked(t, second, 2)
		})
	}
	e, _, second := chainOfTwo(t)
	e.read(t, "token/cloud")
	refused(t, e.delete(t, "config/core"), http.StatusBadRequest, `"core" is the source of the configs cloud`)
	e.must(t, "config/core", fields{"source_for": ""})
	refused(t, e.read(t, "token/cloud"), http.StatusBadRequest, "source_for=cloud")
	asked(t, second, 1)
}

func TestRefusedChains(t *testing.T) {
	e, first, second := chainOfTwo(t)
	e.must(t, "config/cloud", fields{"source_for": "core"})
	for name, test := range map[string]struct {
		path  string
		write fields
		says  []string
	}{
		"itself":                     {"config/cloud", fields{"source_config": "cloud"}, []string{"source_config", "itself"}},
		"a circle":                   {"config/core", fields{"source_config": "cloud", "parameters": fields{"t": "{source.access_token}"}}, []string{"source_config", "core, cloud"}},
		"none of that name":          {"config/cloud", fields{"source_config": "nobody"}, []string{"source_config", `no config "nobody"`}},
		"one that does not allow it": {"config/other", with(atHost(second), nil), []string{"source_config", "source_for=other"}},
		"an extra that it lacks":     {"config/cloud", fields{"parameters": fields{"p": "{source.tenant}"}}, []string{"source_config", "without tenant", "extra_fields"}},
		"a role with the token":      {"role/cloud/r", fields{"parameters": fields{"p": "{source.access_token}"}}, []string{"parameters", "role cannot name a secret"}},
		"a role with an extra":       {"role/cloud/r", fields{"parameters": fields{"p": "{source.org}"}}, []string{"parameters", "role cannot name a secret"}},
	} {
		t.Run(name, func(t *testing.T) { refused(t, e.write(t, test.path, test.write), http.StatusBadRequest, test.says...) })
	}
	asked(t, first.Server, 0)
	asked(t, second, 0)
}

// If the source's answer leads to a host that source_hosts does not allow, no request
// is made.
func TestHostThatSourceHostsDoesNotAllowGetsNoRequest(t *testing.T) {
	e, first, second := chainOfTwo(t)
	e.must(t, "config/cloud", fields{"source_hosts": "cloud.example.com,*.cloud.example.com"})
	r := e.read(t, "token/cloud")
	refused(t, r, http.StatusBadRequest, `config "cloud"`, "source_hosts")
	withoutSecrets(t, "the error", r.text(), coreSecret, "localhost")
	for _, instance := range []string{"https://localhost@cloud.example.com", "https://localhost:1", "http://cloud.example.com", "https://127.0.0.1", "localhost#.cloud.example.com", ""} {
		first.set(func(c *core) { c.instance = instance })
		e.must(t, "revoke/core", nil)
		refused(t, e.read(t, "token/cloud"), http.StatusBadRequest, "token_url")
	}
	asked(t, second, 0)
	first.set(func(c *core) { c.instance = "https://localhost" })
	e.must(t, "config/cloud", fields{"source_hosts": "localhost"})
	e.must(t, "revoke/core", nil)
	e.read(t, "token/cloud").token(t)
	asked(t, second, 1)
}

// source_hosts decides where secrets may go, so only someone who knows the secrets can
// change it.
func TestSourceHostsAreOfTheOrigin(t *testing.T) {
	e, _, second := chainOfTwo(t)
	e.must(t, "config/cloud", fields{"client_id": "c", "client_secret": secretOne, "token_endpoint_auth_method": "client_secret_post"})
	for field, value := range map[string]any{"source_hosts": "localhost,*.evil.example", "token_url": "http://{source.org|host}:1/token"} {
		refused(t, e.write(t, "config/cloud", fields{field: value}), http.StatusBadRequest, "client_secret")
	}
	e.must(t, "config/cloud", fields{"source_hosts": "localhost,*.good.example", "client_secret": secretOne})
	e.must(t, "config/cloud", fields{"source_hosts": "*.good.example,localhost"}) // the same list in another order
	e.read(t, "token/cloud")
	asked(t, second, 1)
}

// Someone who may see only the dependant's token sees neither the source's token nor
// the rest of the source's answer.
func TestSourcesTokenComesOutNowhere(t *testing.T) {
	e, first, second := chainOfTwo(t)
	secrets := []string{coreSecret, "the-hidden-extra"}
	e.must(t, "config/cloud", fields{"extra_fields": fields{"echo": "/echo", "org": "/org"}, "parameters": fields{"h": "{source.hidden}"}, "request_format": "query"})
	r := e.read(t, "token/cloud")
	if got := r.data(t)["org"]; got != "org-1" {
		t.Errorf("org is %v, and what stands in the URL is no secret", got)
	}
	withoutSecrets(t, "the answer", r.text(), secrets...)
	for _, path := range []string{"config/cloud", "status/cloud"} {
		withoutSecrets(t, path, e.read(t, path).text(), secrets...)
	}
	withoutSecrets(t, "the check", e.write(t, "check/cloud", nil).text(), secrets...)
	effective := e.read(t, "config/cloud").object(t, "effective")
	if got := effective["token_url"]; !strings.Contains(fmt.Sprint(got), "{source.instance_url|host}") {
		t.Errorf("effective shows %v", got)
	}
	second.Behave(providertest.Behavior{Times: -1, Echo: true})
	first.set(func(c *core) { c.n = 7 })
	e.must(t, "revoke/core", nil)
	withoutSecrets(t, "the error", e.read(t, "token/cloud").text(), secrets...)
	second.Behave(providertest.Behavior{Times: -1, Echo: true, Status: 401})
	e.clock.advance(time.Hour)
	withoutSecrets(t, "the error", e.write(t, "check/cloud", nil).text(), secrets...)
}

// If a provider has ended the source's token early, the source mints another one. The
// reader does not notice.
func TestRefusedTokenOfASourceIsReplacedOnce(t *testing.T) {
	e, first, second := chainOfTwo(t)
	e.read(t, "token/core")
	first.set(func(c *core) { c.good = "another" })
	e.clock.advance(11 * time.Second)
	e.read(t, "token/cloud").token(t)
	asked(t, first.Server, 2)
	asked(t, second, 2)

	e.must(t, "config/cloud", fields{"description": "x", "scopes": "read"}) // this changes the key of cloud's token
	first.set(func(c *core) { c.good = "another" })
	refused(t, e.read(t, "token/cloud"), http.StatusBadRequest, "invalid_token") // the source's token is too young to be replaced
	asked(t, first.Server, 2)
	asked(t, second, 3)
}

func TestRefusedSubjectIsReplacedOnce(t *testing.T) {
	e := mount(t)
	e.extras = []string{"issued_token_type"}
	var ended string
	first := e.server(t, providertest.RFC6749, providertest.Options{})
	second := e.server(t, providertest.RFC6749, providertest.Options{Subjects: func(token string) (string, bool) { return "it", token != ended }})
	e.must(t, "config/a", with(standard(first), fields{"source_for": "b"}))
	e.must(t, "config/b", with(exchanging(second), fields{"subject_config": "a"}))
	ended = e.read(t, "token/a").token(t)
	e.clock.advance(11 * time.Second)
	e.read(t, "token/b").token(t)
	asked(t, first, 2)
	asked(t, second, 2)
	e.must(t, "config/b", fields{"parameters": fields{"audience": "x"}})
	e.clock.advance(11 * time.Second)
	second.Behave(providertest.Behavior{Status: http.StatusBadRequest, Body: `{"error":"invalid_target"}`})
	refused(t, e.read(t, "token/b"), http.StatusBadRequest, "invalid_target") // this error is not about the subject token
	asked(t, first, 2)
	asked(t, second, 3)
}

// When a chained client got a token, it revokes that token in the same way, with the
// token of its source.
func TestChainedClientRevokesItsTokens(t *testing.T) {
	e, first, _ := chainOfTwo(t)
	second := providertest.StartFunc(t, "/", func(w http.ResponseWriter, r *http.Request, _ []byte) {
		c := first
		c.mu.Lock()
		defer c.mu.Unlock()
		if r.Header.Get("Authorization") != "Bearer "+c.good {
			http.Error(w, "{}", http.StatusUnauthorized)
			return
		}
		_, _ = fmt.Fprint(w, `{"access_token":"cloud-token","expires_in":7200}`) // the client may be gone
	})
	e.must(t, "config/cloud", with(atHost(second), fields{"revocation_url": second.URL() + "/revoke"}))
	e.read(t, "token/cloud")
	succeeded(t, e.write(t, "revoke/cloud", nil))
	if got := second.Last(); got.Path != "/revoke" || got.Form().Get("token") != "cloud-token" {
		t.Errorf("%s %s was sent last, and no revocation", got.Path, got.Body)
	}
	e.read(t, "token/cloud")
	r := e.write(t, "revoke/core", nil)
	if got := second.Last(); got.Path != "/revoke" {
		t.Errorf("what was made of a revoked token was not revoked: %s", r.text())
	}
}

func TestExchangeWithoutASubjectIsWarnedOf(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	warned(t, e.write(t, "config/x", exchanging(s)), "subject_token")
	for _, more := range []fields{
		{"reader_inputs": "subject_token"}, {"secret_parameters": fields{"subject_token": "x"}}, {"parameters": fields{"subject_token": "{client_id}"}},
	} {
		succeeded(t, e.write(t, "config/y", with(exchanging(s), more)))
		succeeded(t, e.delete(t, "config/y"))
	}
}
