// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

const tokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange"

// Callers of two teams bring tokens of their own to the roles of their teams,
// while the config is revoked: each gets its own, and what they brought is in no
// log and no storage.
func TestReadersExchangeTheirTokens(t *testing.T) {
	t.Parallel()
	v, d := harness.Start(t, harness.Options{Storage: harness.Raft}), newDetective()
	const callers = 60
	subjects, names := map[string]string{}, map[string]string{}
	for n := range callers {
		name := fmt.Sprintf("caller %d", n)
		names[name] = d.secret("the subject token of " + name)
		subjects[names[name]] = name
	}
	s := standard(t, v, "backend", providertest.Options{Subjects: func(token string) (string, bool) { name, known := subjects[token]; return name, known }},
		fields{"grant_type": tokenExchange, "reader_inputs": "subject_token,subject_token_type", "scopes": "read"})
	teams := map[string]string{}
	for _, team := range []string{"red", "blue"} {
		write(t, v, "oauthcc/role/backend/"+team, fields{"parameters": fields{"audience": team}})
		v.Policy(team, `path "oauthcc/token/backend/`+team+`" { capabilities = ["update"] }`)
		teams[team] = v.TokenWith(team)
	}
	askAs(t, v, teams["red"], http.MethodPost, "oauthcc/token/backend/blue", fields{"subject_token": names["caller 1"]}).wants(t, http.StatusForbidden)
	askAs(t, v, teams["red"], http.MethodGet, "oauthcc/token/backend/red", nil).wants(t, http.StatusForbidden)
	ask(t, v, http.MethodGet, "oauthcc/token/backend/red", nil).wants(t, http.StatusBadRequest, "subject_token", "vault write oauthcc/token/backend/red")

	var served atomic.Int64
	var all sync.WaitGroup
	for n := range callers {
		all.Go(func() {
			name, team := fmt.Sprintf("caller %d", n), []string{"red", "blue"}[n%2]
			bring := func() sample {
				begun := time.Now()
				status, header, raw := v.Do(http.MethodPost, "oauthcc/token/backend/"+team, fields{"subject_token": names[name]}, teams[team])
				return answered(begun, status, header, raw)
			}
			for range 5 {
				r := bring()
				for r.status == http.StatusGatewayTimeout && strings.Contains(r.raw, "changes faster than tokens can be minted") {
					r = bring() // three revocations in a row have overtaken its mint
				}
				if r.status != http.StatusOK {
					t.Errorf("%s: %d %s", name, r.status, r.raw)
					continue
				}
				d.search(t, "the answer to "+name, r.raw)
				served.Add(1)
				if got := providertest.ReadExchanged(r.accessToken()); got.Subject != name || !slices.Equal(got.Audience, []string{team}) {
					t.Errorf("%s of %s gets a token of %+v", name, team, got)
				}
			}
		})
	}
	for range 5 {
		write(t, v, "oauthcc/revoke/backend", nil)
	}
	all.Wait()
	if served.Load() != callers*5 {
		t.Errorf("%d of %d were served", served.Load(), callers*5)
	}
	before := s.Requests()
	get := func() string {
		r := askAs(t, v, teams["red"], http.MethodPost, "oauthcc/token/backend/red", fields{"subject_token": names["caller 0"]})
		r.wants(t, http.StatusOK)
		return r.text(t, "access_token")
	}
	token := get()
	before = max(before, s.Requests())
	v.KillPlugin()
	v.Restart()
	if get() != token || s.Requests() != before {
		t.Error("another token, or another mint, after a crash and a restart")
	}
	for _, path := range []string{"oauthcc/config/backend", "oauthcc/status/backend"} {
		d.ask(t, v, http.MethodGet, path, nil).wants(t, http.StatusOK)
	}
	d.ask(t, v, http.MethodPost, "oauthcc/token/backend/red", fields{"subject_token": d.secret("a bad subject token")}).wants(t, http.StatusBadRequest)
	d.command(t, v, "write", "oauthcc/token/backend/red", "subject_token="+d.secret("another bad one"))
	d.searchLogs(t, v)
	if !strings.Contains(v.AuditLog(), `"subject_token":"hmac-sha256:`) {
		t.Error("the audit log does not tell that a subject was brought, by its hash")
	}
}

// A chain of three configs: each token is made of the one before. What happens
// to the first of them happens to all.
func TestAChainOfConfigs(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	first := standard(t, v, "a", providertest.Options{Lifetime: 30 * time.Minute}, fields{"source_for": "b"})
	var tokens sync.Map
	exchanger := func(from *providertest.Server) providertest.Options {
		return providertest.Options{Subjects: func(token string) (string, bool) { tokens.Store(token, true); return "it", from.Valid(token) }}
	}
	second := standard(t, v, "b", exchanger(first), fields{"grant_type": tokenExchange, "subject_config": "a", "source_for": "c"})
	third := standard(t, v, "c", exchanger(second), fields{"grant_type": tokenExchange, "subject_config": "b"})
	for name, s := range map[string]*providertest.Server{"a": first, "b": second, "c": third} {
		write(t, v, "oauthcc/config/"+name, fields{"revocation_url": s.RevocationURL(), "client_secret": s.Credentials().ClientSecret})
	}
	ask(t, v, http.MethodPost, "oauthcc/config/a", fields{"grant_type": tokenExchange, "subject_config": "c"}).wants(t, http.StatusBadRequest, "subject_config")
	write(t, v, "oauthcc/config/c", fields{"source_for": "a"})
	ask(t, v, http.MethodPost, "oauthcc/config/a", fields{"grant_type": tokenExchange, "subject_config": "c"}).wants(t, http.StatusBadRequest, "leads back")

	r := read(t, v, "oauthcc/token/c")
	old := r.text(t, "access_token")
	if left := r.number(t, "expires_in"); left > 1800 {
		t.Errorf("the token lives for %v s, and the first of its chain for 1800", left)
	}
	v.KillPlugin() // what each link had is found again
	harness.Eventually(t, time.Minute, func() error {
		if got := tryRead(v, "oauthcc/token/c"); got.accessToken() != old {
			return fmt.Errorf("not the token from before the crash: %d", got.status)
		}
		return nil
	})
	read(t, v, "oauthcc/token/b")
	for name, s := range map[string]*providertest.Server{"a": first, "b": second, "c": third} {
		if n := s.Requests(); n != 1 {
			t.Errorf("%d requests by %s, want 1", n, name)
		}
	}
	write(t, v, "oauthcc/revoke/a", nil)
	if first.Valid(first.Issued()[0]) || second.Valid(second.Issued()[0]) || third.Valid(old) {
		t.Error("a token lives on that was made of a revoked one")
	}
	if read(t, v, "oauthcc/token/c").text(t, "access_token") == old {
		t.Error("handed out though revoked")
	}
	ask(t, v, http.MethodDelete, "oauthcc/config/a", nil).wants(t, http.StatusBadRequest, "source of the configs b")
	for _, name := range []string{"c", "b", "a"} {
		ask(t, v, http.MethodDelete, "oauthcc/config/"+name, nil)
	}
	tokens.Range(func(token, _ any) bool {
		if text, _ := json.Marshal(token); strings.Contains(v.Log(), strings.Trim(string(text), `"`)) {
			t.Error("the server's log holds a subject token")
		}
		return true
	})
}

// onBehalfOf follows the recipe of that name.
func onBehalfOf(t *testing.T, v *harness.Vault, book *cookbook, run runner) {
	t.Helper()
	p := providertest.Start(t, providertest.RFC6749, providertest.Options{
		Scopes:   []string{"https://graph.microsoft.com/user.read"},
		Subjects: func(token string) (string, bool) { return "ada", token == "the-token-of-ada" },
	})
	c := p.Credentials()
	env := []string{"TOKEN_URL=" + p.TokenURL(), "CLIENT_ID=" + c.ClientID, "CLIENT_SECRET=" + c.ClientSecret, "USER_TOKEN=the-token-of-ada"}
	obo := replace(t, book.take(t, "on-behalf-of"), "https://login.microsoftonline.com/$TENANT/oauth2/v2.0/token", "$TOKEN_URL")
	for name, snippet := range map[string]string{"backend": book.take(t, "exchange"), "graph": obo} {
		lines := strings.Split(strings.TrimSpace(run(t, v.RootToken(), snippet, env...)), "\n")
		got := lines[len(lines)-1] // after what the write of the config says
		if providertest.ReadExchanged(got).Subject != "ada" {
			t.Errorf("%s: a token of %+v, want ada's", name, providertest.ReadExchanged(got))
		}
	}
	ask(t, v, http.MethodPost, "oauthcc/check/backend", fields{"subject_token": "the-token-of-ada"}).wants(t, http.StatusOK)
	ask(t, v, http.MethodGet, "oauthcc/token/backend", nil).wants(t, http.StatusBadRequest, "subject_token")
}
