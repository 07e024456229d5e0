// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// internet stands in for the internet that Vault and curl use. The providers
// have their real host names; a proxy connects to them, and a test authority
// has signed their certificates.
type internet struct {
	sites map[providertest.Dialect]*providertest.Server
	env   []string
}

// startInternet runs a strict server for each provider of the guides.
func startInternet(t *testing.T) internet {
	t.Helper()
	out := internet{sites: map[providertest.Dialect]*providertest.Server{}}
	addresses, authorities := map[string]string{}, ""
	for d, host := range map[providertest.Dialect]string{
		providertest.Okta: "acme.okta.com", providertest.Entra: "login.microsoftonline.com", providertest.Google: "oauth2.googleapis.com",
		providertest.Salesforce: "login.salesforce.com", providertest.ADP: "accounts.adp.com",
	} {
		s := providertest.Start(t, d, providertest.Options{Host: host})
		out.sites[d] = s
		addresses[host+":443"] = strings.TrimPrefix(s.URL(), "https://")
		authorities += s.CACertificate()
	}
	proxy, _ := connectProxy(t, "", func(host string) string { return addresses[host] })
	file := harness.WriteFile(t, authorities)
	out.env = []string{"HTTPS_PROXY=" + proxy, "SSL_CERT_FILE=" + file, "CURL_CA_BUNDLE=" + file}
	return out
}

// guides follows the five guides for providers whose clients have a key. The
// test does on the provider's server what a reader would click there, and runs
// everything else as it is written.
func guides(t *testing.T, v *harness.Vault, book *cookbook, run runner, there internet, dir string) {
	t.Helper()
	file := func(t *testing.T, name string) string {
		t.Helper()
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	// follow runs a guide's snippets and, between them, the steps at the
	// provider. It returns the provider's server and a token.
	follow := func(t *testing.T, d providertest.Dialect, name, config string, atProvider func(*testing.T, *providertest.Server, string) []string) (*providertest.Server, reply) {
		t.Helper()
		s := there.sites[d]
		shown := run(t, v.RootToken(), book.take(t, name+"-key"))
		run(t, v.RootToken(), book.take(t, name), atProvider(t, s, shown)...)
		got := read(t, v.For(t), "oauthcc/token/"+config)
		issuedBy(t, s, got.text(t, "access_token"))
		return s, got
	}
	upload := func(name, id string) func(*testing.T, *providertest.Server, string) []string {
		return func(t *testing.T, s *providertest.Server, _ string) []string {
			t.Helper()
			keyID, err := s.Upload(file(t, name+".crt"))
			if err != nil {
				t.Fatal(err)
			}
			return []string{id + "=" + s.Credentials().ClientID, "KEY_ID=" + keyID}
		}
	}
	// forgotten checks the error if a key was rotated and its certificate was
	// not uploaded.
	forgotten := func(t *testing.T, key, config string, says ...string) {
		t.Helper()
		write(t, v.For(t), "oauthcc/key/"+key+"/rotate", fields{"now": true})
		ask(t, v.For(t), http.MethodPost, "oauthcc/check/"+config, nil).wants(t, http.StatusBadRequest, says...)
	}

	t.Run("Okta", func(t *testing.T) {
		s, got := follow(t, providertest.Okta, "okta", "okta", func(t *testing.T, s *providertest.Server, shown string) []string {
			t.Helper()
			_, published, _ := strings.Cut(shown, "{") // vault's own output comes before it
			var set struct{ Keys []fields }
			if err := json.Unmarshal([]byte("{"+published), &set); err != nil || len(set.Keys) != 1 || set.Keys[0]["d"] != nil {
				t.Fatalf("the JWK set is %s (%v)", shown, err)
			}
			s.FetchKeys(v.Addr()+"/v1/oauthcc/jwks/okta", http.DefaultClient)
			return []string{"CLIENT_ID=" + s.Credentials().ClientID}
		})
		if got.text(t, "token_type") != "DPoP" || got.text(t, "scope") != "okta.users.read" {
			t.Errorf("the token is %s", got.raw)
		}
		call := book.take(t, "okta-call")
		v.Policy("okta", `path "oauthcc/token/okta" { capabilities = ["read"] } path "oauthcc/proof/okta" { capabilities = ["update"] }`)
		if users := run(t, v.TokenWith("okta"), call, there.env...); !strings.Contains(users, "ACTIVE") {
			t.Errorf("Okta's API answers %s", users)
		}
		if out, err := shell(t, v.For(t), v.TokenWith("okta"), dir, replace(t, call, "DPoP: $PROOF", "X: y"), there.env...); err == nil {
			t.Errorf("Okta's API takes the token without a proof: %s", out)
		}
		// Okta learns of the rotation by itself.
		before := s.IssuedCount()
		write(t, v.For(t), "oauthcc/key/okta/rotate", fields{"now": true})
		write(t, v.For(t), "oauthcc/check/okta", nil)
		if s.IssuedCount() != before+1 {
			t.Errorf("%d tokens after the rotation, want one more than %d", s.IssuedCount(), before)
		}
	})
	t.Run("Entra ID", func(t *testing.T) {
		_, got := follow(t, providertest.Entra, "entra", "graph", upload("entra", "CLIENT_ID"))
		if got.text(t, "scope") != "https://graph.microsoft.com/.default" {
			t.Errorf("the token is %s", got.raw)
		}
		forgotten(t, "entra", "graph", "AADSTS700027", "signed with PS256", `x5t#S256 "`)
	})
	t.Run("Google service account", func(t *testing.T) {
		follow(t, providertest.Google, "google", "google", upload("google", "SERVICE_ACCOUNT"))
		write(t, v.For(t), "oauthcc/config/google", fields{"variables": "subject=ada@acme.example"})
		ask(t, v.For(t), http.MethodPost, "oauthcc/check/google", nil).wants(t, http.StatusBadRequest, "unauthorized_client", `sub "ada@acme.example"`)
		write(t, v.For(t), "oauthcc/config/google", fields{"variables": fields{}})
		forgotten(t, "google", "google", "Invalid JWT Signature.", "signed with RS256", `kid "`)
	})
	t.Run("Salesforce", func(t *testing.T) {
		_, got := follow(t, providertest.Salesforce, "salesforce", "salesforce", upload("salesforce", "CONSUMER_KEY"))
		if got.text(t, "instance_url") != "https://acme.my.salesforce.com" || got.number(t, "expires_in") < 7100 {
			t.Errorf("the token is %s", got.raw)
		}
		forgotten(t, "salesforce", "salesforce", "invalid assertion", `aud "https://login.salesforce.com"`, `sub "integration@acme.example"`)
	})
	t.Run("ADP", func(t *testing.T) {
		follow(t, providertest.ADP, "adp", "adp", func(t *testing.T, s *providertest.Server, _ string) []string {
			t.Helper()
			certificate, err := s.SignCSR(file(t, "adp.csr"))
			if err != nil {
				t.Fatal(err)
			}
			put(t, dir, "adp.pem", certificate, 0o600)
			return []string{"CLIENT_ID=" + s.Credentials().ClientID, "CLIENT_SECRET=" + s.Credentials().ClientSecret}
		})
		forgotten(t, "adp", "adp", "proper client ssl certificate was not presented", `the certificate of "CN=adp"`)
	})
}
