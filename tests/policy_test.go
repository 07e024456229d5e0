// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

func TestPolicies(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	s := standard(t, v, "mine", providertest.Options{}, nil)
	standard(t, v, "theirs", providertest.Options{}, nil)
	good := registration(providertest.RFC6749, s)

	t.Run("a token that may read one path may do nothing else", func(t *testing.T) {
		v := v.For(t)
		v.Policy("reader", `path "oauthcc/token/mine" { capabilities = ["read"] }`)
		reader := v.TokenWith("reader")
		askAs(t, v, reader, http.MethodGet, "oauthcc/token/mine", nil).wants(t, http.StatusOK)
		r := v.CLIAs(reader, "read", "-field=access_token", "oauthcc/token/mine")
		if r.ExitCode != 0 {
			t.Errorf("vault read: %+v", r)
		}
		issuedBy(t, s, r.Stdout)
		for _, denied := range []struct {
			method, path string
			body         any
		}{
			{"GET", "token/theirs", nil}, {"POST", "token/mine", nil}, {"GET", "token/mine/role", nil}, {"GET", "token/nothere", nil},
			{"GET", "config/mine", nil}, {"POST", "config/mine", good}, {"PATCH", "config/mine", fields{"ttl": 1}}, {"DELETE", "config/mine", nil},
			{"POST", "config/new", good}, {"LIST", "config/", nil}, {"LIST", "token/", nil}, {"LIST", "provider/", nil},
			{"GET", "provider/antsomi", nil}, {"POST", "provider/new", fields{}}, {"GET", "status/mine", nil},
			{"POST", "check/mine", nil}, {"POST", "revoke/mine", nil}, {"GET", "info", nil},
		} {
			if r := askAs(t, v, reader, denied.method, "oauthcc/"+denied.path, denied.body); r.status != http.StatusForbidden {
				t.Errorf("%s %s is %d, want 403: %s", denied.method, denied.path, r.status, r.raw)
			}
		}
		fails(t, v.CLIAs(reader, "list", "oauthcc/config"), "permission denied")
	})
	t.Run("no token at all reads nothing", func(t *testing.T) {
		for _, path := range []string{"token/mine", "config/mine", "provider/antsomi", "info", "status/mine"} {
			askAs(t, v.For(t), "", http.MethodGet, "oauthcc/"+path, nil).wants(t, http.StatusForbidden)
		}
	})
	t.Run("create is for what is not there, update for what is", func(t *testing.T) {
		v := v.For(t)
		for _, path := range []string{"config", "provider"} {
			body := good
			if path == "provider" {
				body = fields{"token_url": s.TokenURL()}
			}
			v.Policy("creator", `path "oauthcc/`+path+`/*" { capabilities = ["create"] }`)
			v.Policy("updater", `path "oauthcc/`+path+`/*" { capabilities = ["update"] }`)
			creator, updater := v.TokenWith("creator"), v.TokenWith("updater")
			askAs(t, v, updater, http.MethodPost, "oauthcc/"+path+"/fresh", body).wants(t, http.StatusForbidden)
			askAs(t, v, creator, http.MethodPost, "oauthcc/"+path+"/fresh", body).wants(t, http.StatusNoContent)
			askAs(t, v, creator, http.MethodPost, "oauthcc/"+path+"/fresh", fields{"description": "x"}).wants(t, http.StatusForbidden)
			askAs(t, v, updater, http.MethodPost, "oauthcc/"+path+"/fresh", fields{"description": "x"}).wants(t, http.StatusNoContent)
			askAs(t, v, updater, http.MethodPatch, "oauthcc/"+path+"/fresh", fields{"description": "y"}).wants(t, http.StatusForbidden)
			if got := read(t, v, "oauthcc/"+path+"/fresh").text(t, "description"); got != "x" {
				t.Errorf("the description is %q", got)
			}
		}
	})
	t.Run("patch has a capability of its own", func(t *testing.T) {
		v := v.For(t)
		v.Policy("patcher", `path "oauthcc/config/*" { capabilities = ["patch"] }`)
		patcher := v.TokenWith("patcher")
		askAs(t, v, patcher, http.MethodPatch, "oauthcc/config/mine", fields{"description": "patched"}).wants(t, http.StatusNoContent)
		askAs(t, v, patcher, http.MethodPost, "oauthcc/config/mine", fields{"description": "written"}).wants(t, http.StatusForbidden)
		askAs(t, v, patcher, http.MethodGet, "oauthcc/config/mine", nil).wants(t, http.StatusForbidden)
	})
	t.Run("whoever may only change a config cannot have its secrets sent elsewhere", func(t *testing.T) {
		v := v.For(t)
		thief := providertest.StartFunc(t, "/token", func(http.ResponseWriter, *http.Request, []byte) {})
		v.Policy("changer", `path "oauthcc/config/*" { capabilities = ["update", "patch"] } path "oauthcc/check/*" { capabilities = ["update"] } path "oauthcc/token/*" { capabilities = ["read"] }`)
		changer := v.TokenWith("changer")
		for _, change := range []fields{
			{"token_url": thief.TokenURL()},
			{"token_url": thief.TokenURL(), "verify_connection": true},
			{"token_url": "{where}", "variables": fields{"where": thief.TokenURL()}},
			{"token_url": strings.Replace(s.URL(), "http://", "http://evil@", 1)},
			{"provider": "fuuffy", "token_url": thief.TokenURL()},
			{"token_url": thief.TokenURL(), "client_secret": nil},
		} {
			for _, method := range []string{http.MethodPost, http.MethodPatch} {
				askAs(t, v, changer, method, "oauthcc/config/mine", change).wants(t, http.StatusBadRequest)
			}
			askAs(t, v, changer, http.MethodPost, "oauthcc/check/mine", nil)
			askAs(t, v, changer, http.MethodGet, "oauthcc/token/mine", nil)
		}
		if thief.Requests() != 0 {
			t.Errorf("the thief was sent %+v", thief.Last())
		}
	})
	t.Run("a policy may limit what is written", func(t *testing.T) {
		v := v.For(t)
		v.Policy("limited", `path "oauthcc/config/limited" {
			capabilities = ["create", "update"]
			denied_parameters = { "token_url" = ["http://*"], "allow_insecure_http" = [] }
		}`)
		limited := v.TokenWith("limited")
		askAs(t, v, limited, http.MethodPost, "oauthcc/config/limited", good).wants(t, http.StatusForbidden)
		askAs(t, v, limited, http.MethodPost, "oauthcc/config/limited", with(good, fields{"token_url": "https://login.example.com/token"})).wants(t, http.StatusNoContent)
	})
	t.Run("a token can be handed on wrapped", func(t *testing.T) {
		v := v.For(t)
		wrapped := commandJSON(t, v, "read", "-wrap-ttl=60s", "oauthcc/token/mine")
		wrapping, ok := member(wrapped, "wrap_info", "token").(string)
		if !ok || member(wrapped, "data") != nil {
			t.Fatalf("not wrapped: %v", wrapped)
		}
		if path := member(wrapped, "wrap_info", "creation_path"); path != "oauthcc/token/mine" {
			t.Errorf("the wrap is of %v", path)
		}
		client := v.ClientWith(wrapping)
		secret, err := client.Logical().UnwrapWithContext(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		token, _ := secret.Data["access_token"].(string)
		issuedBy(t, s, token)
		if secret.LeaseDuration < 3500 || !strings.HasPrefix(secret.LeaseID, "oauthcc/token/mine/") {
			t.Errorf("the lease within is %q for %d s", secret.LeaseID, secret.LeaseDuration)
		}
		if _, err := client.Logical().UnwrapWithContext(t.Context(), ""); err == nil {
			t.Error("it was unwrapped twice")
		}
		if r := v.CLI("lease", "lookup", secret.LeaseID); r.ExitCode != 0 {
			t.Errorf("the lease within is none: %+v", r)
		}
	})
	t.Run("an answer can be told apart by who reads it in the audit log", func(t *testing.T) {
		v := v.For(t)
		read(t, v, "oauthcc/token/mine")
		if log := v.AuditLog(); !strings.Contains(log, `"path":"oauthcc/token/mine"`) || !strings.Contains(log, `"mount_class":"secret"`) {
			t.Error("the audit log does not have the read")
		}
	})
	t.Run("a mount may let the audit log show what is no secret", func(t *testing.T) {
		v := v.For(t)
		v.MustCLI("secrets", "tune", "-audit-non-hmac-response-keys=expires_at", "oauthcc")
		expires := read(t, v, "oauthcc/token/mine").text(t, "expires_at")
		if !strings.Contains(v.AuditLog(), expires) {
			t.Error("expires_at is not in the audit log")
		}
	})
}
