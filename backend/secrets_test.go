// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

// everySecret returns a value for each field that holds secrets. Extend it when another
// field comes to hold a secret.
func everySecret() fields {
	return fields{
		"client_secret":          secretOne,
		"fallback_client_secret": secretOne + "-old",
		"password":               secretTwo,
		"refresh_token":          secretTwo + "-refresh",
		"secret_parameters":      fields{"pin": secretThree, "tan": secretThree},
		"secret_variables":       fields{"key": secretFour, "more": secretFour},
		"private_key":            ownKey().key,
		"assertion":              secretOne + "-assertion",
		"tls_client_key":         ownKey().key,
		"proxy_password":         secretTwo + "-proxy",
	}
}

// ownKey returns a private key in PEM, and a certificate for it.
var ownKey = sync.OnceValue(func() struct{ key, certificate string } {
	k, err := signing.Generate(signing.ES256)
	if err != nil {
		panic(err)
	}
	text, err := k.MarshalPEM()
	if err != nil {
		panic(err)
	}
	certificate, err := k.SelfSigned("client", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		panic(err)
	}
	return struct{ key, certificate string }{text, certificate.PEM()}
})

func secretNames() []string { return slices.Sorted(maps.Keys(everySecret())) }

func allSecrets() []string { return []string{secretOne, secretTwo, secretThree, secretFour} }

// movable returns an engine with a config that holds every secret. The config inherits
// the URL that the secrets are sent to, and the URL's host has a variable.
func movable(t *testing.T) *engine {
	t.Helper()
	e := mount(t, allSecrets()...)
	for _, p := range []string{"acme", "evil"} {
		e.must(t, "provider/"+p, fields{
			"token_url": "https://{tenant}." + p + ".example.com/token",
			"variables": fields{"tenant": fields{}, "key": fields{"secret": true}, "more": fields{"secret": true, "optional": true}},
		})
	}
	e.must(t, "config/c", with(everySecret(), fields{
		"provider": "acme", "client_id": "id", "username": "me", "variables": "tenant=good", "tls_client_certificate": ownKey().certificate,
		"proxy_url": "http://proxy.example.com:3128", "proxy_username": "me",
	}))
	e.must(t, "config/local", with(everySecret(), fields{
		"token_url": "http://localhost:8080/token", "client_id": "id", "username": "me", "parameters": "a={key},b={more}", "tls_client_certificate": ownKey().certificate,
		"proxy_url": "http://proxy.example.com:3128", "proxy_username": "me", "allow_insecure_http": true, // because a proxy is used for a token_url on localhost
	}))
	e.must(t, "config/local", fields{"parameters": fields{"a": "{key}", "b": "{more}"}})
	return e
}

// moves returns writes of a config that would send its credentials to another place.
func moves(t *testing.T) map[string]struct {
	config string
	write  fields
} {
	t.Helper()
	authority, err := providertest.New(providertest.RFC6749, providertest.Options{TLS: true})
	if err != nil {
		t.Fatalf("make an authority: %v", err)
	}
	t.Cleanup(authority.Close)
	return map[string]struct {
		config string
		write  fields
	}{
		"the host of token_url":        {"c", fields{"token_url": "https://evil.example.com/token"}},
		"the port of token_url":        {"c", fields{"token_url": "https://good.acme.example.com:8443/token"}},
		"the scheme of token_url":      {"local", fields{"token_url": "https://localhost:8080/token"}},
		"another loopback host":        {"local", fields{"token_url": "http://127.0.0.1:8080/token"}},
		"the default port of a scheme": {"local", fields{"token_url": "http://localhost/token"}},
		"tls_ca_certificate":           {"c", fields{"tls_ca_certificate": authority.CACertificate()}},
		"allow_insecure_http":          {"c", fields{"allow_insecure_http": true}},
		"a proxy":                      {"c", fields{"proxy_url": "http://evil.example.com:3128"}},
		"the provider":                 {"c", fields{"provider": "evil"}},
		"a variable in the host":       {"c", fields{"variables": fields{"tenant": "evil"}}},
		"a new revocation_url":         {"c", fields{"revocation_url": "https://evil.example.com/revoke"}},
		"a variable as text":           {"c", fields{"variables": `{"tenant":"evil"}`}},
	}
}

func TestSecretsDoNotFollowAMoveWithoutBeingWrittenAgain(t *testing.T) {
	for name, move := range moves(t) {
		for _, op := range []logical.Operation{logical.UpdateOperation, logical.PatchOperation} {
			t.Run(string(op)+" of "+name, func(t *testing.T) {
				e := movable(t)
				before := e.storage.snapshot(t)
				r := e.request(t, op, "config/"+move.config, move.write)
				refused(t, r, http.StatusBadRequest, append(secretNames(), "again")...)
				withoutSecrets(t, "the refusal", r.text(), allSecrets()...)

				for _, missing := range secretNames() {
					some := with(everySecret(), move.write)
					delete(some, missing)
					r := e.request(t, op, "config/"+move.config, some)
					refused(t, r, http.StatusBadRequest, "write "+missing+" again")
				}
				if after := e.storage.snapshot(t); !same(before, after) {
					t.Error("a refused write stored something")
				}
				succeeded(t, e.request(t, op, "config/"+move.config, with(everySecret(), move.write)))
			})
		}
	}
}

// U+0130 becomes an i in lower case. So the host looks unchanged, but a connection goes
// to another host.
func TestSecretsDoNotFollowAHostThatOnlyLooksTheSame(t *testing.T) {
	for _, host := range []string{"goo\u0130d.acme.example.com", "good.acme.example.com\u3002", "good%C2%AD.acme.example.com"} {
		for _, field := range []string{"token_url", "revocation_url"} {
			e := movable(t)
			before := e.storage.snapshot(t)
			r := e.write(t, "config/c", fields{field: "https://" + host + "/token"})
			refused(t, r, http.StatusBadRequest, field, "not ASCII", "xn--")
			if after := e.storage.snapshot(t); !same(before, after) {
				t.Error("a refused write stored something")
			}
		}
	}
	e := movable(t)
	e.must(t, "config/named", with(everySecret(), fields{
		"token_url": "https://login.provider.example/token", "client_id": "id", "username": "me", "parameters": fields{"a": "{key}", "b": "{more}"},
		"tls_client_certificate": ownKey().certificate, "proxy_url": "http://proxy.example.com:3128", "proxy_username": "me",
	}))
	refused(t, e.write(t, "config/named", fields{"token_url": "https://login.prov\u0130der.example/token"}), http.StatusBadRequest, "not ASCII")
}

func TestSecretsMayBeReplacedOrDroppedWithAMove(t *testing.T) {
	moved := fields{"token_url": "https://evil.example.com/token", "token_endpoint_auth_method": "none"}
	for name, write := range map[string]fields{
		"replaced": {"client_secret": "a", "fallback_client_secret": "f", "password": "b", "refresh_token": "r", "secret_parameters": fields{"c": "d"}, "secret_variables": fields{"key": "e"}, "private_key": ownKey().key, "tls_client_key": ownKey().key, "assertion": "s", "proxy_password": "p"},
		"emptied":  {"client_secret": "", "fallback_client_secret": "", "password": "", "refresh_token": "", "secret_parameters": fields{}, "secret_variables": fields{}, "private_key": "", "tls_client_key": "", "tls_client_certificate": "", "assertion": "", "proxy_password": ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := movable(t)
			succeeded(t, e.write(t, "config/c", with(moved, write)))
		})
	}
	t.Run("dropped by a patch", func(t *testing.T) {
		e := movable(t)
		dropped := maps.Clone(moved)
		for _, name := range secretNames() {
			dropped[name] = nil
		}
		dropped["tls_client_certificate"] = nil
		succeeded(t, e.patch(t, "config/c", dropped))
		wantMembers(t, e.read(t, "config/c").data(t), fields{"secrets_set": []any{}})
	})
}

func TestSecretMapsMustBeCarriedWhole(t *testing.T) {
	for name, partial := range map[string]fields{
		"a patch with one key of two":          {"secret_parameters": fields{"pin": "x"}},
		"a patch with no key":                  {"secret_parameters": fields{}},
		"a patch with a new key":               {"secret_parameters": fields{"new": "x"}},
		"a patch that removes one, keeps one":  {"secret_parameters": fields{"pin": nil}},
		"a patch with one variable of two":     {"secret_variables": fields{"key": "x"}},
		"a patch as text with one key of two":  {"secret_parameters": "pin=x"},
		"a patch with an empty text for a map": {"secret_parameters": ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := movable(t)
			for field := range partial {
				r := e.patch(t, "config/c", with(with(everySecret(), fields{"provider": "evil"}), partial))
				refused(t, r, http.StatusBadRequest, field, "again")
			}
		})
	}
	t.Run("a patch that sends one and removes the other", func(t *testing.T) {
		e := movable(t)
		write := with(everySecret(), fields{"provider": "evil", "secret_parameters": fields{"pin": "x", "tan": nil}})
		succeeded(t, e.patch(t, "config/c", write))
	})
}

// A merge patch changes single members of objects. If a patch sends an outer key, the
// secrets below that key may still be the stored ones.
func TestSecretMapsMustBeCarriedWholeAlsoBelowTheirKeys(t *testing.T) {
	e := movable(t)
	e.must(t, "config/c", fields{"secret_parameters": fields{"outer": fields{"inner": secretThree}}})
	good := e.read(t, "config/c").object(t, "effective")["token_url"]
	for _, sent := range []any{fields{}, fields{"other": "x"}} {
		write := with(everySecret(), fields{"provider": "evil", "secret_parameters": fields{"outer": sent}})
		r := e.patch(t, "config/c", write)
		if r.status() != http.StatusBadRequest {
			t.Errorf("a patch with %v moved the secret below it to another host: status %d", sent, r.status())
		}
		if got := e.read(t, "config/c").object(t, "effective")["token_url"]; got != good {
			t.Fatalf("the config now sends to %v", got)
		}
	}
}

func TestWritesThatMoveNothingNeedNoSecrets(t *testing.T) {
	for name, write := range map[string]fields{
		"a path on the same host": {"token_url": "https://good.acme.example.com/other?x=1"},
		"the port said":           {"token_url": "https://good.acme.example.com:443/token"},
		"capitals in the host":    {"token_url": "https://GOOD.Acme.example.com/token"},
		"the same variables":      {"variables": fields{"tenant": "good"}},
		"the same flag":           {"allow_insecure_http": false},
		"no authority":            {"tls_ca_certificate": ""},
		"another client":          {"client_id": "other"},
		"scopes and parameters":   {"scopes": "a", "parameters": fields{"x": "{key}"}},
		"one new secret":          {"password": "new"},
	} {
		for _, op := range []logical.Operation{logical.UpdateOperation, logical.PatchOperation} {
			t.Run(string(op)+" of "+name, func(t *testing.T) {
				e := movable(t)
				succeeded(t, e.request(t, op, "config/c", write))
			})
		}
	}
}

func TestProviderThatMovesLeavesItsConfigsWithoutTokens(t *testing.T) {
	e := mount(t, providertest.DefaultCredentials(providertest.RFC6749).ClientSecret)
	home := e.server(t, providertest.RFC6749, providertest.Options{})
	away := e.server(t, providertest.RFC6749, providertest.Options{})
	secret := home.Credentials().ClientSecret
	e.must(t, "provider/acme", fields{"token_url": home.TokenURL()})
	e.must(t, "config/c", fields{"provider": "acme", "client_id": home.Credentials().ClientID, "client_secret": secret})
	succeeded(t, e.read(t, "token/c"))

	r := e.write(t, "provider/acme", fields{"token_url": away.TokenURL()})
	if r.status() != http.StatusOK || len(r.resp.Warnings) != 1 || !strings.Contains(r.resp.Warnings[0], `"c"`) {
		t.Errorf("the move does not warn of the config that it strands: %s", r.text())
	}
	for range 2 {
		refused(t, e.read(t, "token/c"), http.StatusBadRequest, `"c"`, `"acme"`, "secrets again")
	}
	if n := home.Requests() + away.Requests(); n != 1 {
		t.Errorf("%d requests reached the providers, want the first alone", n)
	}
	read := e.read(t, "config/c")
	if read.status() != http.StatusOK || len(read.resp.Warnings) != 1 {
		t.Errorf("reading the config: %s", read.text())
	}

	// A write of another field does not confirm it either.
	refused(t, e.write(t, "config/c", fields{"description": "x"}), http.StatusBadRequest, "client_secret")
	refused(t, e.patch(t, "config/c", fields{"ttl": 5}), http.StatusBadRequest, "client_secret")
	refused(t, e.read(t, "token/c"), http.StatusBadRequest, "secrets again")

	e.must(t, "config/c", fields{"client_secret": secret})
	succeeded(t, e.read(t, "token/c"))
	if away.IssuedCount() != 1 || home.Requests() != 1 {
		t.Errorf("%d tokens at the new host, %d requests at the old one; want 1 each", away.IssuedCount(), home.Requests())
	}
}

func TestProviderThatMovesAndReturnsNeedsNothing(t *testing.T) {
	e := mount(t)
	home := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "provider/acme", fields{"token_url": home.TokenURL()})
	config := standard(home)
	delete(config, "token_url")
	e.must(t, "config/c", with(config, fields{"provider": "acme"}))
	succeeded(t, e.write(t, "provider/acme", fields{"token_url": "https://elsewhere.example.com/"}))
	refused(t, e.read(t, "token/c"), http.StatusBadRequest, "secrets again")
	succeeded(t, e.write(t, "provider/acme", fields{"token_url": home.TokenURL()}))
	succeeded(t, e.read(t, "token/c"))
}

func TestVerifyConnectionSendsNothingToAnUnconfirmedHost(t *testing.T) {
	e := mount(t)
	home := e.server(t, providertest.RFC6749, providertest.Options{})
	away := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(home))
	refused(t, e.write(t, "config/c", fields{"token_url": away.TokenURL(), "verify_connection": true}), http.StatusBadRequest, "client_secret")
	if away.Requests() != 0 {
		t.Error("the stored secret was sent to a host that nobody confirmed")
	}
}
