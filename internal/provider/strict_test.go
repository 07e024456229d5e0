// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"errors"
	"strings"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// strict returns which server stands for which built-in provider, and which scopes the
// server knows. It covers the standard and the documents that the engine is measured
// against. All other providers have transcripts.
func strict() map[string]struct {
	dialect providertest.Dialect
	scopes  []string
} {
	return map[string]struct {
		dialect providertest.Dialect
		scopes  []string
	}{
		"antsomi":  {providertest.Antsomi, []string{"item", "event"}},
		"cognito":  {providertest.Cognito, []string{"api/write"}},
		"fuuffy":   {providertest.Fuuffy, nil},
		"generic":  {providertest.RFC6749, []string{"read", "write"}},
		"semansys": {providertest.Semansys, nil},
		"xcover":   {providertest.XCover, nil},
	}
}

func configFor(s *providertest.Server, scopes []string) map[string]any {
	c := s.Credentials()
	config := map[string]any{"token_url": s.TokenURL(), "client_id": c.ClientID, "client_secret": c.ClientSecret}
	if c.Username != "" {
		config["username"], config["password"] = c.Username, c.Password
	}
	if scopes != nil {
		config["scopes"] = scopes
	}
	return config
}

func mintBuiltin(t *testing.T, name string, s *providertest.Server, scopes []string) (*grant.Token, error) {
	t.Helper()
	request := effective(t, name, exchange{}, configFor(s, scopes))
	request.Timeout = 10e9
	client := grant.NewClient(grant.Options{})
	defer client.Close()
	return client.Mint(t.Context(), request)
}

func TestEveryBuiltinProviderMintsAtItsStrictServer(t *testing.T) {
	t.Parallel()
	for name, p := range strict() {
		for how, options := range map[string]providertest.Options{
			"": {}, " with data as a string": {DataAsString: true}, " with an expired JWT": {ExpiredJWT: true},
		} {
			t.Run(name+how, func(t *testing.T) {
				t.Parallel()
				s := providertest.Start(t, p.dialect, options)
				token, err := mintBuiltin(t, name, s, p.scopes)
				if err != nil {
					t.Fatal(err)
				}
				if !s.Valid(token.AccessToken) || s.Requests() != 1 || s.IssuedCount() != 1 {
					t.Errorf("valid: %t, requests: %d, issued: %d", s.Valid(token.AccessToken), s.Requests(), s.IssuedCount())
				}
				if left := token.ExpiresAt.Sub(token.IssuedAt); left < 3590e9 || left > 3610e9 {
					t.Errorf("lives %s", left)
				}
				if p.scopes != nil && token.Scope != strings.Join(p.scopes, " ") {
					t.Errorf("scope %q", token.Scope)
				}
			})
		}
	}
}

func TestAwkwardCredentialsReachEveryBuiltinProvider(t *testing.T) {
	t.Parallel()
	for name, p := range strict() {
		for what, secret := range map[string]string{
			"form syntax": "p+l&u=s%41%2Bp;l?u#s", "slashes and quotes": `sl/ash\back"quote'tick`,
			"spaces": " leading and  inner  and trailing ", "umlauts": "Größe-äöüß", "four-byte": "🔑key-𝒮-😀",
			"markup": `<b>&amp;"x"</b>&#43;`, "placeholders": "{tenant}{{x}}{client_id}", "a single brace": "a{b}c}d{",
			"colons": "a:b:c:", "control characters": "tab\there\nnew\rline", "digits": "12345678901234567890",
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				t.Parallel()
				options := providertest.Options{
					ClientID: "id " + secret, ClientSecret: secret, Username: "user " + secret, Password: "pw " + secret,
				}
				if name == "cognito" {
					options.ClientID = "id" // raw Basic splits at the first colon, so this ID has none
				}
				s := providertest.Start(t, p.dialect, options)
				if _, err := mintBuiltin(t, name, s, p.scopes); err != nil {
					t.Fatal(err)
				}
				s.Behave(providertest.Behavior{Times: -1, Echo: true})
				_, err := mintBuiltin(t, name, s, p.scopes)
				var e *grant.Error
				if !errors.As(err, &e) {
					t.Fatalf("got %v", err)
				}
				for i := 0; i+8 <= len(secret); i++ {
					if strings.Contains(e.Error(), secret[i:i+8]) {
						t.Errorf("shows %q: %s", secret[i:i+8], e)
					}
				}
			})
		}
	}
}

// A wrong secret is reported as the client's fault, however the provider words its
// error.
func TestEveryBuiltinProviderTellsARefusedClient(t *testing.T) {
	t.Parallel()
	for name, p := range strict() {
		for how, options := range map[string]providertest.Options{"": {}, " with flat errors": {FlatErrors: true}} {
			t.Run(name+how, func(t *testing.T) {
				t.Parallel()
				s := providertest.Start(t, p.dialect, options)
				config := configFor(s, p.scopes)
				config["client_secret"] = "wrong"
				request := effective(t, name, exchange{}, config)
				request.Timeout = 10e9
				client := grant.NewClient(grant.Options{})
				defer client.Close()
				_, err := client.Mint(t.Context(), request)
				var e *grant.Error
				if !errors.As(err, &e) || !e.ClientRefused() || e.Kind != grant.Refused {
					t.Errorf("got %v", err)
				}
			})
		}
	}
}

func TestARawBasicClientIDHasNoColon(t *testing.T) {
	t.Parallel()
	config := map[string]any{"token_url": "https://x.example/t", "client_id": "a:b", "client_secret": "secret-value"}
	_, err := resolveBuiltin("cognito", config)
	wantInvalid(t, err, "client_id", "a:b", "secret-value")
	if _, err = resolveBuiltin("generic", config); err != nil {
		t.Errorf("encoded it may: %v", err)
	}
}
