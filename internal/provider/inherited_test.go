// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"slices"
	"testing"
)

// A definition's other endpoints belong to the host of its token_url. They must
// not see the tokens of another server that the operator chooses.
func TestOtherEndpointsAreInheritedAtTheProvidersHostOnly(t *testing.T) {
	t.Parallel()
	at := func(tokenURL string) Layer {
		return Layer{
			"token_url": tokenURL, "revocation_url": "https://{host}/revoke", "check_url": "https://api.example.com/me",
			"variables": map[string]any{"host": map[string]any{"pattern": "[a-z.]+"}},
		}
	}
	templated := at("https://{host}/token")
	for name, test := range map[string]struct {
		definition Layer
		config     map[string]any
		want       []string
	}{
		"as defined":                  {templated, object{"variables": object{"host": "id.example.com"}}, []string{"check_url", "revocation_url", "token_url"}},
		"another path":                {templated, object{"variables": object{"host": "id.example.com"}, "token_url": "https://id.example.com/v2/token"}, []string{"check_url", "revocation_url", "token_url"}},
		"another port, another case":  {templated, object{"variables": object{"host": "id.example.com"}, "token_url": "https://ID.example.com:8443/token"}, []string{"check_url", "revocation_url", "token_url"}},
		"another host":                {templated, object{"variables": object{"host": "id.example.com"}, "token_url": "https://id.example.net/token"}, []string{"token_url"}},
		"its own instead of a host":   {templated, object{"token_url": "https://id.example.net/token"}, []string{"token_url"}},
		"another host, its own check": {templated, object{"token_url": "https://id.example.net/token", "check_url": "https://id.example.net/me"}, []string{"check_url", "token_url"}},
		"none is defined": {
			Layer{"revocation_url": "https://id.example.com/revoke"}, object{"token_url": "https://id.example.net/token"}, []string{"revocation_url", "token_url"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := object{"client_id": "id", "client_secret": "secret"}
			for k, v := range test.config {
				config[k] = v
			}
			e, err := resolveConfig(test.definition, config)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for field := range e.urls {
				got = append(got, field)
			}
			slices.Sort(got)
			if _, err := e.Origin(); err != nil || !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v (%v)", got, test.want, err)
			}
		})
	}
}
