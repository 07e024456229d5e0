// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// awkward returns secrets that encoders often get wrong.
func awkward() map[string]string {
	return map[string]string{
		"form syntax":       "a+b&c=d%41/e;f?g#h",
		"spaces and quotes": ` lead "double" 'single' trail `,
		"backslashes":       `back\slash \n \u0041 {brace} $(cmd)`,
		"umlauts":           "Größenwahn-ÄÖÜß-çé",
		"4-byte characters": "𝄞🔑-clef-key",
		"markup":            "<a href='x'>&amp;</a>",
		"everything":        "+ &=%/\"'ü🔑:\\%2B",
	}
}

// TestProviders does what the demo does: it uses each documented dialect
// through its built-in provider, on the command line.
func TestProviders(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	more := map[providertest.Dialect][]string{
		providertest.Antsomi: {"scopes=item,event"},
		providertest.Cognito: {"scopes=api/write"},
	}
	scopes := map[providertest.Dialect]string{
		providertest.Antsomi: "item event", providertest.Cognito: "api/write", providertest.Semansys: "api",
	}
	for _, d := range documented() {
		t.Run(string(d), func(t *testing.T) {
			v := v.For(t)
			s := providertest.Start(t, d, providertest.Options{})
			c := s.Credentials()
			args := append([]string{
				"write", "oauthcc/config/" + string(d), "provider=" + string(d), "token_url=" + s.TokenURL(),
				"client_id=" + c.ClientID, "client_secret=@" + harness.WriteFile(t, c.ClientSecret),
			}, more[d]...)
			if c.Username != "" {
				args = append(args, "username="+c.Username, "password=@"+harness.WriteFile(t, c.Password))
			}
			if out := v.MustCLI(args...); !strings.HasPrefix(out, "Success! Data written to:") {
				t.Errorf("vault write: %s", out)
			}

			token := v.MustCLI("read", "-field=access_token", "oauthcc/token/"+string(d))
			issuedBy(t, s, token)
			table := v.MustCLI("read", "oauthcc/token/"+string(d))
			for _, line := range []string{"lease_id ", "lease_duration ", "lease_renewable    false", "access_token ", "expires_at ", "expires_in ", "token_type "} {
				if !strings.Contains(table, "\n"+line) && !strings.HasPrefix(table, line) {
					t.Errorf("no line %q in:\n%s", line, table)
				}
			}
			answer := commandJSON(t, v, "read", "oauthcc/token/"+string(d))
			if got := member(answer, "data", "access_token"); got != token {
				t.Errorf("another reader got %v, not the shared token %s", got, token)
			}
			if got, _ := member(answer, "data", "token_type").(string); !strings.EqualFold(got, "bearer") {
				t.Errorf("token_type is %q", got)
			}
			want := any(nil)
			if scopes[d] != "" {
				want = scopes[d]
			}
			if got := member(answer, "data", "scope"); got != want {
				t.Errorf("scope is %v, want %v", got, want)
			}
			expires, _ := member(answer, "data", "expires_at").(string)
			if at, err := time.Parse(time.RFC3339, expires); err != nil || !strings.HasSuffix(expires, "Z") || time.Until(at) > time.Hour+5*time.Second || time.Until(at) < 59*time.Minute {
				t.Errorf("expires_at is %q, want an hour from now in UTC", expires)
			}
			if in, _ := member(answer, "data", "expires_in").(float64); in > 3600 || in < 3540 {
				t.Errorf("expires_in is %v, want about 3600", in)
			}
			if s.Requests() != 1 {
				t.Errorf("the provider saw %d requests, want 1", s.Requests())
			}
		})
	}

	t.Run("every config is in the list, and goes with delete", func(t *testing.T) {
		v := v.For(t)
		names := commandJSON(t, v, "list", "oauthcc/config")
		for _, d := range documented() {
			if list, _ := names.([]any); !slices.Contains(list, any(string(d))) {
				t.Errorf("%s is not in %v", d, names)
			}
		}
		v.MustCLI("delete", "oauthcc/config/fuuffy")
		fails(t, v.CLI("read", "oauthcc/config/fuuffy"), "No value found")
		fails(t, v.CLI("read", "oauthcc/token/fuuffy"), `"fuuffy"`, "Code: 400")
		if list := v.List("oauthcc/config"); slices.Contains(list, "fuuffy") {
			t.Errorf("fuuffy is still in %v", list)
		}
	})
	t.Run("the catalog is listed, readable, and fixed", func(t *testing.T) {
		v := v.For(t)
		listed := v.List("oauthcc/provider")
		for _, d := range append(documented(), "generic") {
			if !slices.Contains(listed, string(d)) {
				t.Errorf("%s is not in %v", d, listed)
			}
			p := read(t, v, "oauthcc/provider/"+string(d))
			if p.Data["built_in"] != true || !strings.HasPrefix(p.text(t, "documentation_url"), "https://") || p.text(t, "description") == "" {
				t.Errorf("%s reads %v", d, p.Data)
			}
		}
		fails(t, v.CLI("write", "oauthcc/provider/antsomi", "description=mine"), "Code: 400", "built in")
		fails(t, v.CLI("delete", "oauthcc/provider/antsomi"), "Code: 400", "built in")
	})
	for _, d := range []providertest.Dialect{providertest.Fuuffy, providertest.Semansys, providertest.XCover} {
		t.Run(string(d)+" publishes no host, so token_url is asked for", func(t *testing.T) {
			v := v.For(t)
			c := providertest.DefaultCredentials(d)
			data := fields{"provider": string(d), "client_id": c.ClientID, "client_secret": c.ClientSecret}
			if c.Username != "" {
				data["username"], data["password"] = c.Username, c.Password
			}
			ask(t, v, http.MethodPost, "oauthcc/config/hostless", data).wants(t, http.StatusBadRequest, "token_url")
			ask(t, v, http.MethodGet, "oauthcc/config/hostless", nil).wants(t, http.StatusNotFound)
		})
	}
}

func TestAwkwardSecrets(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	for _, d := range providertest.Dialects() {
		s := providertest.Start(t, d, providertest.Options{})
		for name, secret := range awkward() {
			t.Run(string(d)+": "+name, func(t *testing.T) {
				v := v.For(t)
				c := providertest.Credentials{ClientSecret: secret}
				if s.Credentials().Username != "" {
					c.Password = "pw " + secret
				}
				s.SetCredentials(c)
				path := string(d) + "-" + strings.ReplaceAll(name, " ", "-")
				write(t, v, "oauthcc/config/"+path, registration(d, s))
				issuedBy(t, s, read(t, v, "oauthcc/token/"+path).text(t, "access_token"))
			})
		}
	}

	// Every way in which a person can pass a secret to the command line.
	s := providertest.Start(t, providertest.RFC6749, providertest.Options{})
	for name, secret := range awkward() {
		encoded, err := json.Marshal(fields{
			"token_url": s.TokenURL(), "client_id": s.Credentials().ClientID, "client_secret": secret,
		})
		if err != nil {
			t.Fatal(err)
		}
		config := "oauthcc/config/cli"
		fixed := []string{"write", config, "token_url=" + s.TokenURL(), "client_id=" + s.Credentials().ClientID}
		for way, how := range map[string]func(v *harness.Vault) harness.Result{
			"as an argument": func(v *harness.Vault) harness.Result { return v.CLI(append(fixed, "client_secret="+secret)...) },
			"from a file": func(v *harness.Vault) harness.Result {
				return v.CLI(append(fixed, "client_secret=@"+harness.WriteFile(t, secret))...)
			},
			"from standard input": func(v *harness.Vault) harness.Result { return v.CLIStdin(secret, append(fixed, "client_secret=-")...) },
			"in JSON from stdin":  func(v *harness.Vault) harness.Result { return v.CLIStdin(string(encoded), "write", config, "-") },
			"in a JSON file": func(v *harness.Vault) harness.Result {
				return v.CLI("write", config, "@"+harness.WriteFile(t, string(encoded)))
			},
		} {
			t.Run("vault write "+way+": "+name, func(t *testing.T) {
				v := v.For(t)
				s.SetCredentials(providertest.Credentials{ClientSecret: secret})
				v.CLI("delete", config)
				if r := how(v); r.ExitCode != 0 {
					t.Fatalf("vault write: %+v", r)
				}
				r := v.CLI("read", "-field=access_token", "oauthcc/token/cli")
				if r.ExitCode != 0 {
					t.Fatalf("vault read: %+v", r)
				}
				issuedBy(t, s, r.Stdout)
			})
		}
	}
}

func TestProviderTLS(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	for _, d := range documented() {
		t.Run(string(d), func(t *testing.T) {
			v := v.For(t)
			s := providertest.Start(t, d, providertest.Options{TLS: true})
			config := registration(d, s)

			write(t, v, "oauthcc/config/unknown-"+string(d), config)
			ask(t, v, http.MethodGet, "oauthcc/token/unknown-"+string(d), nil).
				wants(t, http.StatusBadGateway, "certificate", "tls_ca_certificate")
			if s.Requests() != 0 {
				t.Error("an unknown authority's server was asked")
			}

			config["tls_ca_certificate"] = s.CACertificate()
			write(t, v, "oauthcc/config/own-"+string(d), config)
			issuedBy(t, s, read(t, v, "oauthcc/token/own-"+string(d)).text(t, "access_token"))
		})
	}
	t.Run("from a file, as a user writes it", func(t *testing.T) {
		v := v.For(t)
		s := providertest.Start(t, providertest.Fuuffy, providertest.Options{TLS: true})
		v.MustCLI("write", "oauthcc/config/file", "provider=fuuffy", "token_url="+s.TokenURL(), "client_id="+s.Credentials().ClientID,
			"client_secret=@"+harness.WriteFile(t, s.Credentials().ClientSecret), "tls_ca_certificate=@"+harness.WriteFile(t, s.CACertificate()))
		issuedBy(t, s, v.MustCLI("read", "-field=access_token", "oauthcc/token/file"))
	})
	t.Run("another provider's authority does not count", func(t *testing.T) {
		v := v.For(t)
		s := providertest.Start(t, providertest.XCover, providertest.Options{TLS: true})
		other := providertest.Start(t, providertest.XCover, providertest.Options{TLS: true})
		write(t, v, "oauthcc/config/other", with(registration(providertest.XCover, s), fields{"tls_ca_certificate": other.CACertificate()}))
		ask(t, v, http.MethodGet, "oauthcc/token/other", nil).wants(t, http.StatusBadGateway, "certificate")
	})
	t.Run("a certificate that is none is refused when written", func(t *testing.T) {
		s := providertest.Start(t, providertest.XCover, providertest.Options{TLS: true})
		ask(t, v.For(t), http.MethodPost, "oauthcc/config/none", with(registration(providertest.XCover, s), fields{"tls_ca_certificate": "no PEM"})).
			wants(t, http.StatusBadRequest, "tls_ca_certificate", "PEM")
	})
	t.Run("plain http on a TLS port is told", func(t *testing.T) {
		v := v.For(t)
		s := providertest.Start(t, providertest.Fuuffy, providertest.Options{})
		write(t, v, "oauthcc/config/scheme", with(registration(providertest.Fuuffy, s), fields{
			"token_url": strings.Replace(s.TokenURL(), "http:", "https:", 1),
		}))
		ask(t, v, http.MethodGet, "oauthcc/token/scheme", nil).wants(t, http.StatusBadGateway, "TLS", "token_url")
	})
}
