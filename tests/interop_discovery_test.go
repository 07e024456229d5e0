// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"crypto/x509/pkix"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// byIssuer returns a config with the issuer of the server and without its
// endpoints.
func byIssuer(issuer string, more fields) fields {
	return with(fields{"token_url": nil, "revocation_url": nil, "issuer": issuer}, more)
}

// TestInteropDiscovery uses the metadata of a server from another project.
func TestInteropDiscovery(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{TLS: true})
	a := newAuthority(t)
	p := harness.StartOIDCProvider(t, a.pem(), v.CACert())
	c := certified{v: v, p: p, observer: p.Register(fields{"token_endpoint_auth_method": "client_secret_basic"})}
	own := newKey(t, "P-256")
	certificate := a.certifies(t, pkix.Name{Organization: []string{"Example"}, CommonName: "service"}, own.Public(), time.Now().Add(time.Hour))

	for method, test := range map[string]struct{ metadata, config fields }{
		"client_secret_basic": {nil, fields{}},
		"client_secret_post":  {nil, fields{}},
		"private_key_jwt":     {with(jwks(jwk(t, own.Public(), "k-1")), fields{"rfc10070": true, "token_endpoint_auth_signing_alg": "ES256"}), fields{"private_key": pkcs8(t, own), "key_id": "k-1"}},
		"tls_client_auth":     {fields{"tls_client_auth_subject_dn": "CN=service,O=Example"}, shows(t, certificate, own)},
	} {
		t.Run("a client of the certified server mints by "+method+", by its issuer alone, and its lease's end revokes", func(t *testing.T) {
			c := c.For(t)
			client := c.register(t, method, method, test.metadata, byIssuer(c.p.Issuer(), with(test.config, fields{"reuse": false})))
			answer, _ := c.mints(t, method, client)
			c.v.MustCLI("lease", "revoke", "-sync", answer.LeaseID)
			if known := c.p.Introspect(c.observer, answer.text(t, "access_token")); known["active"] != false {
				t.Errorf("the server says of the revoked token: %v", known)
			}
			host := c.p.Issuer()
			if method == "tls_client_auth" { // clients with a certificate must use another host
				host = strings.Replace(host, "127.0.0.1", "localhost", 1)
			}
			for where, found := range map[string]any{
				"check":  write(t, c.v, "oauthcc/check/"+method, nil).Data["discovered"],
				"status": read(t, c.v, "oauthcc/status/"+method).Data["discovered"],
				"config": read(t, c.v, "oauthcc/config/"+method).Data["effective"],
			} {
				said, _ := found.(map[string]any)
				if said["issuer"] != c.p.Issuer() || said["token_url"] != host+"/token" || said["revocation_url"] != host+"/token/revocation" {
					t.Errorf("%s tells %v", where, found)
				}
			}
		})
	}
	t.Run("it has no metadata under another name", func(t *testing.T) {
		c := c.For(t)
		body := fields{"client_id": "c", "client_secret": "s", "tls_ca_certificate": c.p.Authority()}
		other := strings.Replace(c.p.Issuer(), "127.0.0.1", "localhost", 1)
		ask(t, c.v, http.MethodPost, "oauthcc/config/other", with(body, fields{"issuer": other})).
			wants(t, http.StatusBadRequest, "not written", "there is no metadata of issuer", fmt.Sprintf("is that of %q", c.p.Issuer()))
		ask(t, c.v, http.MethodPost, "oauthcc/config/other", with(body, fields{"issuer": c.p.Issuer() + "/"})).
			wants(t, http.StatusBadRequest, fmt.Sprintf("is that of %q", c.p.Issuer()))
		ask(t, c.v, http.MethodPost, "oauthcc/config/other", with(body, fields{"issuer": c.p.Issuer(), "tls_ca_certificate": nil})).
			wants(t, http.StatusBadGateway, "not written", "certificate")
	})
	t.Run("a resource names it, and gets tokens that are for nothing else", func(t *testing.T) {
		c := c.For(t)
		api := c.protects(t)
		client := c.register(t, "mcp", "client_secret_basic", nil, byIssuer(c.p.Issuer(), fields{"issuer": nil, "resource_url": api.TokenURL(), "scopes": "read"}))
		answer, known := c.mints(t, "mcp", client)
		if known["aud"] != api.TokenURL() {
			t.Errorf("the token is for %v", known["aud"])
		}
		if status := get(t, api.TokenURL(), answer.text(t, "access_token")); status != http.StatusOK {
			t.Errorf("the resource answers HTTP %d to its token", status)
		}
		other := c.register(t, "plain", "client_secret_basic", nil, byIssuer(c.p.Issuer(), fields{"scopes": "read"}))
		answer, _ = c.mints(t, "plain", other)
		if status := get(t, api.TokenURL(), answer.text(t, "access_token")); status != http.StatusForbidden {
			t.Errorf("the resource answers HTTP %d to a token of another", status)
		}
	})
}

// protects runs an API that accepts only tokens of the server whose audience is
// this API. The API publishes this in its metadata (RFC 9728).
func (c certified) protects(t *testing.T) *providertest.Server {
	t.Helper()
	var api *providertest.Server
	api = providertest.StartFunc(t, "/mcp", func(w http.ResponseWriter, r *http.Request, _ []byte) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if known := c.p.Introspect(c.observer, token); known["active"] != true || known["aud"] != api.TokenURL() {
			w.WriteHeader(http.StatusForbidden)
		}
	})
	api.Publish(providertest.WellKnownResource+"/mcp", fields{"resource": api.TokenURL(), "authorization_servers": []any{c.p.Issuer()}}, nil)
	return api
}

// get requests an API with a token, and returns the status.
func get(t *testing.T, url, token string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// TestInteropDiscoveryFosite uses the other server, which expects its token
// endpoint as the audience of an assertion.
func TestInteropDiscoveryFosite(t *testing.T) {
	t.Parallel()
	const secret = "p a+s%s:w&o=r?d/ for fosite"
	v := harness.Start(t, harness.Options{TLS: true})
	own := newKey(t, "P-256")
	grants := fields{"grant_types": []string{"client_credentials"}, "scopes": []string{"read"}}
	clients := map[string]map[string]any{
		"svc:basic": with(grants, fields{"token_endpoint_auth_method": "client_secret_basic", "secret": secret}),
		"own": with(grants, fields{
			"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "ES256",
			"jwks": fields{"keys": []fields{with(jwk(t, own.Public(), "k-1"), fields{"use": "sig"})}},
		}),
	}
	s := harness.StartFosite(t, harness.FositeOptions{Clients: clients}, v.CACert())
	for client, more := range map[string]fields{
		"svc:basic": {"client_secret": secret},
		"own":       {"token_endpoint_auth_method": "private_key_jwt", "private_key": pkcs8(t, own), "key_id": "k-1", "assertion_audience": s.Issuer() + "/token"},
	} {
		t.Run(client+" mints by the issuer alone, and its lease's end revokes", func(t *testing.T) {
			v, s, name := v.For(t), s.For(t), "c-"+client[len(client)-3:]
			write(t, v, "oauthcc/config/"+name, with(fields{"issuer": s.Issuer(), "tls_ca_certificate": s.Authority(), "client_id": client, "scopes": "read", "reuse": false}, more))
			answer := read(t, v, "oauthcc/token/"+name)
			if known := s.Introspect("svc:basic", secret, answer.text(t, "access_token")); known["active"] != true || known["client_id"] != client {
				t.Errorf("the server says of the token: %v", known)
			}
			v.MustCLI("lease", "revoke", "-sync", answer.LeaseID)
			if known := s.Introspect("svc:basic", secret, answer.text(t, "access_token")); known["active"] != false {
				t.Errorf("the server says of the revoked token: %v", known)
			}
		})
	}
	t.Run("a method that it does not list is told where it refuses", func(t *testing.T) {
		v := v.For(t)
		says := "lists client_secret_post, client_secret_basic, private_key_jwt, none for token_endpoint_auth_method, and not client_secret_jwt"
		write(t, v, "oauthcc/config/unlisted", fields{
			"issuer": s.Issuer(), "tls_ca_certificate": s.For(t).Authority(), "client_id": "svc:basic", "scopes": "read",
			"token_endpoint_auth_method": "client_secret_jwt", "client_secret": strings.Repeat(secret, 2),
		})
		ask(t, v, http.MethodGet, "oauthcc/token/unlisted", nil).wants(t, http.StatusBadRequest, "HTTP 401", says)
	})
}

// TestDiscoveryOutlives shows that discovered endpoints stay usable while the
// server publishes no metadata, and that credentials never go to a discovered
// host that nobody confirmed.
func TestDiscoveryOutlives(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{Storage: harness.Raft})
	s := providertest.Start(t, providertest.RFC6749, providertest.Options{})
	thief := providertest.Start(t, providertest.RFC6749, providertest.Options{})
	says := func(tokenURL string) {
		s.Publish(providertest.WellKnownOpenID, fields{"issuer": s.URL(), "token_endpoint": tokenURL}, nil)
	}
	says(s.TokenURL())
	config := with(registration(providertest.RFC6749, s), byIssuer(s.URL(), fields{"reuse": false}))
	write(t, v, "oauthcc/config/c", config)
	mints := func(t *testing.T) {
		t.Helper()
		if !s.Valid(read(t, v.For(t), "oauthcc/token/c").text(t, "access_token")) {
			t.Error("a token of nobody")
		}
	}
	for name, end := range map[string]func(*harness.Vault){
		"a kill -9 of the plugin": (*harness.Vault).KillPlugin,
		"a restart of Vault":      (*harness.Vault).Restart,
	} {
		t.Run("tokens are minted after "+name+" while the issuer says nothing", func(t *testing.T) {
			s.Publish(providertest.WellKnownOpenID, nil, nil)
			end(v.For(t))
			harness.Eventually(t, 30*time.Second, func() error {
				if got := ask(t, v.For(t), http.MethodGet, "oauthcc/token/c", nil); got.status != http.StatusOK {
					return fmt.Errorf("status %d: %s", got.status, got.raw)
				}
				return nil
			})
			mints(t)
			answer := write(t, v.For(t), "oauthcc/check/c", nil)
			if len(answer.Warnings) != 1 || !strings.Contains(answer.Warnings[0], "those that were found before are used") {
				t.Errorf("a check warns %q", answer.Warnings)
			}
			says(s.TokenURL())
		})
	}
	t.Run("another host gets nothing until it is confirmed", func(t *testing.T) {
		v := v.For(t)
		write(t, v, "oauthcc/check/c", nil)
		says(thief.TokenURL())
		harness.Eventually(t, 30*time.Second, func() error { // a document that was read a moment ago is still used
			if got := ask(t, v, http.MethodPost, "oauthcc/check/c", nil); got.status != http.StatusBadRequest {
				return fmt.Errorf("status %d: %s", got.status, got.raw)
			}
			return nil
		})
		ask(t, v, http.MethodGet, "oauthcc/token/c", nil).wants(t, http.StatusBadRequest, "the credentials are held", thief.URL(), "write the config's secrets again")
		write(t, v, "oauthcc/config/c", fields{"description": "confirms nothing"})
		ask(t, v, http.MethodGet, "oauthcc/token/c", nil).wants(t, http.StatusBadRequest, "the credentials are held")
		if len(thief.All()) != 0 {
			t.Errorf("the other host was sent %v", thief.All())
		}
		thief.SetCredentials(s.Credentials())
		write(t, v, "oauthcc/config/c", config)
		if !thief.Valid(read(t, v, "oauthcc/token/c").text(t, "access_token")) {
			t.Error("a token of the wrong server")
		}
	})
	t.Run("another's metadata is refused", func(t *testing.T) {
		liar := providertest.Start(t, providertest.RFC6749, providertest.Options{})
		liar.Publish(providertest.WellKnownOpenID, fields{"issuer": "https://other.example", "token_endpoint": s.TokenURL()}, nil)
		ask(t, v.For(t), http.MethodPost, "oauthcc/config/other", with(config, fields{"issuer": liar.URL()})).
			wants(t, http.StatusBadRequest, "not written", `is that of "https://other.example"`)
	})
}
