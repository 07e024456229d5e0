// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// TestTeamCookbook follows docs/cookbook.md.
func TestTeamCookbook(t *testing.T) {
	t.Parallel()
	book := openCookbook(t)
	there := startInternet(t)
	v := harness.Start(t, harness.Options{NoPlugin: true, LogLevel: "info", Env: there.env})
	v.RegisterPlugin(harness.PluginName, harness.PluginBinary(t), "")
	dir := t.TempDir()
	s := providertest.Start(t, providertest.Antsomi, providertest.Options{})
	// The recipes use the provider's real address.
	here := []string{"provider=antsomi", "provider=antsomi token_url=" + s.TokenURL()}
	credentials := []string{"CLIENT_ID=" + s.Credentials().ClientID, "CLIENT_SECRET=" + s.Credentials().ClientSecret}
	run := func(t *testing.T, token, snippet string, env ...string) string {
		t.Helper()
		return mustShell(t, v.For(t), token, dir, snippet, env...)
	}
	good := func(t *testing.T, token string) {
		t.Helper()
		issuedBy(t, s, strings.TrimSpace(token))
	}

	run(t, v.RootToken(), replace(t, book.take(t, "setup"), here...), credentials...)
	for _, path := range []string{"antsomi", "antsomi/readers"} {
		good(t, read(t, v, "oauthcc/token/"+path).text(t, "access_token"))
	}

	t.Run("policies", func(t *testing.T) {
		v := v.For(t)
		for _, name := range []string{"readers", "narrow", "operators", "wrapped"} {
			v.Policy("antsomi-"+name, book.take(t, "policy-"+name))
		}
		reader, narrow, operator := v.TokenWith("antsomi-readers"), v.TokenWith("antsomi-narrow"), v.TokenWith("antsomi-operators")
		for _, test := range []struct {
			token, method, path string
			body                any
			want                int
		}{
			{reader, "GET", "token/antsomi/readers", nil, 200}, {reader, "GET", "token/antsomi/readers?min_ttl=10m", nil, 200},
			{reader, "GET", "token/antsomi/readers?scopes=event", nil, 400}, {reader, "POST", "token/antsomi/readers", fields{"fresh": true}, 403},
			{reader, "GET", "token/antsomi", nil, 403}, {reader, "GET", "config/antsomi", nil, 403}, {reader, "GET", "status/antsomi", nil, 403},
			{narrow, "GET", "token/antsomi?scopes=item", nil, 200}, {narrow, "GET", "token/antsomi", nil, 403},
			{narrow, "GET", "token/antsomi?scopes=event", nil, 403}, {narrow, "GET", "token/antsomi?scopes=item&min_ttl=1m", nil, 403},
			{operator, "LIST", "config", nil, 200}, {operator, "GET", "config/antsomi", nil, 200}, {operator, "POST", "config/antsomi", fields{"description": "x"}, 204},
			{operator, "PATCH", "config/antsomi", fields{"description": nil}, 204}, {operator, "POST", "config/new", registration(providertest.Antsomi, s), 204},
			{operator, "DELETE", "config/new", nil, 204}, {operator, "POST", "role/antsomi/new", fields{"scopes": "event"}, 204},
			{operator, "LIST", "role/antsomi", nil, 200}, {operator, "DELETE", "role/antsomi/new", nil, 204},
			{operator, "POST", "check/antsomi", nil, 200}, {operator, "POST", "check/antsomi/readers", nil, 200}, {operator, "GET", "status/antsomi", nil, 200},
			{operator, "GET", "token/antsomi", nil, 403}, {operator, "GET", "token/antsomi/readers", nil, 403},
			{operator, "POST", "config/antsomi", fields{"token_url": "https://thief.example.com/"}, 400},
			{operator, "POST", "revoke/antsomi", nil, 200},
		} {
			askAs(t, v, test.token, test.method, "oauthcc/"+test.path, test.body).wants(t, test.want)
		}
	})
	t.Run("response wrapping", func(t *testing.T) {
		v := v.For(t)
		wrapped := v.TokenWith("antsomi-wrapped")
		good(t, run(t, wrapped, book.take(t, "wrapping")+`echo "$ACCESS_TOKEN"`))
		askAs(t, v, wrapped, http.MethodGet, "oauthcc/token/antsomi/readers", nil).wants(t, http.StatusForbidden)
		if _, err := shell(t, v, wrapped, dir, strings.Replace(book.take(t, "wrapping"), "2m", "1h", 1)); err == nil {
			t.Error("a ticket for an hour was given")
		}
		if _, err := shell(t, v, wrapped, dir, book.take(t, "wrapping")+`VAULT_TOKEN=$TICKET vault unwrap`); err == nil {
			t.Error("the ticket was good twice")
		}
	})
	t.Run("AppRole", func(t *testing.T) {
		put(t, dir, "policy-readers.hcl", book.take(t, "policy-readers"), 0o600)
		run(t, v.RootToken(), book.take(t, "approle"))
		token := run(t, "", `vault write -field=token auth/approle/login role_id=@role-id secret_id=@secret-id`)
		good(t, askAs(t, v.For(t), token, http.MethodGet, "oauthcc/token/antsomi/readers", nil).text(t, "access_token"))
		askAs(t, v.For(t), token, http.MethodGet, "oauthcc/token/antsomi", nil).wants(t, http.StatusForbidden)
	})
	t.Run("Agent: a file", func(t *testing.T) {
		etc, app := t.TempDir(), t.TempDir()
		for _, name := range []string{"role-id", "secret-id"} {
			content, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			put(t, etc, name, string(content), 0o600)
		}
		put(t, etc, "reload-shop", "#!/bin/sh\ncp "+app+"/antsomi.env "+app+"/reloaded\n", 0o700)
		harness.StartAgent(t, v.For(t), replace(t, book.take(t, "agent-file"), "/etc/vault-agent/", etc+"/", "/run/shop/", app+"/"))
		harness.Eventually(t, time.Minute, func() error {
			token, err := rendered(app, "antsomi.env")
			again, err2 := rendered(app, "antsomi.json")
			reloaded, err3 := fileLine(filepath.Join(app, "reloaded"), "ACCESS_TOKEN=")
			if err := errors.Join(err, err2, err3); err != nil {
				return err
			}
			if token != again || token != reloaded || !s.Valid(token) {
				return fmt.Errorf("the files hold %q, %q and %q", token, again, reloaded)
			}
			return nil
		})
		if info, err := os.Stat(filepath.Join(app, "antsomi.env")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the file's mode: %v %v", info, err)
		}
		// The file can be sourced.
		good(t, run(t, "", `. `+app+`/antsomi.env; test -n "$EXPIRES_AT"; echo "$ACCESS_TOKEN"`))
	})
	t.Run("Agent: a program", func(t *testing.T) {
		app := t.TempDir()
		put(t, app, "shop", "#!/bin/sh\necho \"ACCESS_TOKEN=$ACCESS_TOKEN\" > "+app+"/environment\nexec sleep 600\n", 0o700)
		harness.StartAgent(t, v.For(t), replace(t, book.take(t, "agent-program"), "/etc/vault-agent/", dir+"/", "/usr/local/bin/", app+"/"))
		harness.Eventually(t, time.Minute, func() error {
			token, err := fileLine(filepath.Join(app, "environment"), "ACCESS_TOKEN=")
			if err == nil && !s.Valid(token) {
				err = fmt.Errorf("the program has the token %q", token)
			}
			return err
		})
	})
	t.Run("Proxy", func(t *testing.T) {
		v := v.For(t)
		run(t, v.RootToken(), book.take(t, "proxy-role"))
		v.Policy("antsomi-readers", `path "oauthcc/token/antsomi/+" { capabilities = ["read"] }`)
		addr := harness.FreeAddr(t)
		harness.StartProxy(t, v, replace(t, book.take(t, "proxy"), "/etc/vault-agent/", dir+"/", "127.0.0.1:8100", addr))
		proxyLogsIn(t, addr)
		reader := replace(t, book.take(t, "proxy-reader"), "127.0.0.1:8100", addr)
		first := run(t, "", reader)
		good(t, first)
		if again := run(t, "", reader); again != first {
			t.Error("the second reader got another token")
		}
		if leases := v.List("sys/leases/lookup/oauthcc/token/antsomi/proxied"); len(leases) != 1 {
			t.Errorf("%d leases, want 1", len(leases))
		}
		// The provider rejects the old token.
		fresh := book.take(t, "proxy-fresh")
		harness.Eventually(t, time.Minute, func() error {
			if out := run(t, v.RootToken(), fresh); strings.Contains(out, "not honoured") || strings.Contains(out, strings.TrimSpace(first)) {
				return errors.New("still the old token: " + out)
			}
			return nil
		})
		if cached := run(t, "", reader); cached != first {
			t.Error("the Proxy dropped the rejected token by itself, which the cookbook should say")
		}
		m := regexp.MustCompile(`^curl -X POST -d '(.*)' (http://\S+)\n$`).FindStringSubmatch(replace(t, book.take(t, "proxy-clear"), "127.0.0.1:8100", addr))
		if m == nil {
			t.Fatal("the snippet proxy-clear is no such command")
		}
		post(t, m[2], m[1])
		harness.Eventually(t, time.Minute, func() error {
			next, err := shell(t, v, "", dir, reader)
			if err == nil && next == first {
				err = errors.New("still the rejected token")
			}
			if err == nil {
				good(t, next)
			}
			return err
		})
	})
	t.Run("a CI job", func(t *testing.T) {
		v := v.For(t)
		login := run(t, v.RootToken(), `echo "ROLE_ID=$(cat role-id)"; echo "SECRET_ID=$(cat secret-id)"`)
		env := strings.Split(strings.TrimSpace(login), "\n")
		job := book.take(t, "ci")
		put(t, dir, "deploy", "#!/bin/sh\nprintf '%s\\n%s\\n' \"$ACCESS_TOKEN\" \"$VAULT_TOKEN\"\nexit $FAIL\n", 0o700)
		for _, fail := range []string{"0", "1"} {
			before := s.IssuedCount()
			out, err := shell(t, v, "", dir, job, append(env, "FAIL="+fail)...)
			if (err != nil) != (fail == "1") {
				t.Fatalf("a deployment that ends with %s: %v", fail, err)
			}
			lines := strings.Split(out, "\n")
			good(t, lines[0])
			askAs(t, v, lines[1], http.MethodGet, "auth/token/lookup-self", nil).wants(t, http.StatusForbidden)
			if s.IssuedCount() != before {
				t.Error("the job cost a mint")
			}
		}
	})
	t.Run("tokens of one's own, and one for each caller", func(t *testing.T) {
		v := v.For(t)
		p := providertest.Start(t, providertest.RFC6749, providertest.Options{ExtraParameters: []string{"audience"}})
		c := p.Credentials()
		run(t, v.RootToken(), book.take(t, "own-token"), "TOKEN_URL="+p.TokenURL(), "REVOCATION_URL="+p.RevocationURL(), "CLIENT_ID="+c.ClientID, "CLIENT_SECRET="+c.ClientSecret)
		first, second := read(t, v, "oauthcc/token/acme-ci"), read(t, v, "oauthcc/token/acme-ci")
		v.MustCLI("lease", "revoke", "-sync", first.LeaseID)
		if p.Valid(first.text(t, "access_token")) || !p.Valid(second.text(t, "access_token")) {
			t.Error("a lease's end does not end its own token alone")
		}

		write(t, v, "oauthcc/config/acme", registration(providertest.RFC6749, p))
		put(t, dir, "role.json", book.take(t, "identity"), 0o600)
		run(t, v.RootToken(), book.take(t, "identity-role"))
		entity := v.Write("identity/entity", fields{"name": "till"})
		roleID, _ := v.Read("auth/approle/role/shop/role-id").Data["role_id"].(string)
		accessor, _ := member(v.Read("sys/auth").Data, "approle/", "accessor").(string)
		v.Write("identity/entity-alias", fields{"name": roleID, "canonical_id": entity.Data["id"], "mount_accessor": accessor})
		v.Policy("antsomi-readers", `path "oauthcc/token/acme/per-caller" { capabilities = ["read"] }`)
		caller := run(t, "", `vault write -field=token auth/approle/login role_id=@role-id secret_id=@secret-id`)
		askAs(t, v, caller, http.MethodGet, "oauthcc/token/acme/per-caller", nil).wants(t, http.StatusOK)
		if audience := p.Last().Form().Get("audience"); audience != "urn:shop:till" {
			t.Errorf("the audience is %q", audience)
		}
		ask(t, v, http.MethodGet, "oauthcc/token/acme/per-caller", nil).wants(t, http.StatusBadRequest, "identity")
	})
	t.Run("on behalf of a user", func(t *testing.T) { onBehalfOf(t, v.For(t), book, run) })
	t.Run("a token that is made of another", func(t *testing.T) { madeOfAnother(t, v.For(t), book, run) })
	t.Run("an MCP server", func(t *testing.T) { mcpServer(t, v.For(t), book, run) })
	t.Run("mounts per environment", func(t *testing.T) {
		v := v.For(t)
		run(t, v.RootToken(), replace(t, book.take(t, "mounts"), here...),
			"DEV_"+credentials[0], "DEV_"+credentials[1], "PROD_"+credentials[0], "PROD_"+credentials[1])
		dev := v.TokenWith("dev-antsomi")
		got := askAs(t, v, dev, http.MethodGet, "dev/oauthcc/token/antsomi", nil)
		got.wants(t, http.StatusOK)
		if got.text(t, "scope") != "item" || !strings.HasPrefix(got.LeaseID, "dev/oauthcc/token/antsomi/") {
			t.Errorf("development got %s", got.raw)
		}
		askAs(t, v, dev, http.MethodGet, "prod/oauthcc/token/antsomi", nil).wants(t, http.StatusForbidden)
		askAs(t, v, v.TokenWith("prod-antsomi"), http.MethodGet, "prod/oauthcc/token/antsomi", nil).wants(t, http.StatusOK)
	})
	guides(t, v, book, run, there, dir)
	t.Run("External Secrets Operator", func(t *testing.T) { externalSecrets(t, v.For(t), book, run, s) })
	t.Run("Vault Secrets Operator", func(t *testing.T) { vaultSecrets(t, v.For(t), book, s) })
	t.Run("Terraform", func(t *testing.T) { terraform(t, v.For(t), book, run, s) })
	t.Run("when something goes wrong", func(t *testing.T) {
		v := v.For(t)
		before := read(t, v, "oauthcc/token/antsomi").text(t, "access_token")
		fresh := book.take(t, "fresh")
		harness.Eventually(t, time.Minute, func() error {
			got := run(t, v.RootToken(), fresh)
			if got == before {
				return errors.New("still the old token")
			}
			good(t, got)
			return nil
		})
		run(t, v.RootToken(), book.take(t, "leak"))
		harness.Eventually(t, time.Minute, func() error { return noLeases(t, v, "oauthcc/token/antsomi") })
		put(t, dir, "new-secret", "not yet known there", 0o600)
		put(t, dir, "old-secret", s.Credentials().ClientSecret, 0o600)
		if out := run(t, v.RootToken(), book.take(t, "rotate")); strings.Contains(out, before) {
			t.Errorf("a check shows a token: %s", out)
		}
		good(t, read(t, v, "oauthcc/token/antsomi").text(t, "access_token"))
		if out := run(t, v.RootToken(), book.take(t, "status")); !strings.Contains(out, "last_mint") {
			t.Errorf("the status is %s", out)
		}
		run(t, v.RootToken(), book.take(t, "delete"))
		ask(t, v, http.MethodGet, "oauthcc/config/antsomi", nil).wants(t, http.StatusNotFound)
	})
	for name := range book.unused {
		t.Errorf("no test has used %s", name)
	}
}

// post makes one request, which must succeed.
func post(t *testing.T, url, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if content, err := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK || err != nil {
		t.Fatalf("POST %s: %d %s (%v)", url, resp.StatusCode, content, err)
	}
}
