// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

func TestATokenExchangeIsExactlyThis(t *testing.T) {
	t.Parallel()
	const jwt = "urn:ietf:params:oauth:token-type:jwt"
	for name, test := range map[string]struct {
		config object
		given  map[string]string
		want   url.Values // all but the grant_type
		kind   string
	}{
		"the least": {
			object{"reader_inputs": []any{"subject_token"}}, map[string]string{"subject_token": "good-ada"},
			url.Values{"subject_token": {"good-ada"}, "subject_token_type": {grant.TypeAccessToken}}, "Bearer",
		},
		"all there is": {
			object{
				"reader_inputs": []any{"subject_token", "subject_token_type", "actor_token", "actor_token_type"}, "scopes": []any{"read"},
				"parameters": object{"requested_token_type": jwt, "audience": []any{"a", "b"}, "resource": "https://api.example.com"},
			},
			map[string]string{"subject_token": "good-ada", "subject_token_type": jwt, "actor_token": "good-app", "actor_token_type": jwt},
			url.Values{
				"subject_token": {"good-ada"}, "subject_token_type": {jwt}, "actor_token": {"good-app"}, "actor_token_type": {jwt}, "scope": {"read"},
				"requested_token_type": {jwt}, "audience": {"a", "b"}, "resource": {"https://api.example.com"},
			}, "N_A",
		},
		"the config's own type": {
			object{"reader_inputs": []any{"subject_token"}, "parameters": object{"subject_token_type": jwt}}, map[string]string{"subject_token": "good-ada"},
			url.Values{"subject_token": {"good-ada"}, "subject_token_type": {jwt}}, "Bearer",
		},
		"a subject that is always the same": {
			object{"secret_parameters": object{"subject_token": "good-ada"}, "parameters": object{"subject_token_type": jwt}}, nil,
			url.Values{"subject_token": {"good-ada"}, "subject_token_type": {jwt}}, "Bearer",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.Start(t, providertest.RFC6749, providertest.Options{Subjects: func(token string) (string, bool) { return strings.CutPrefix(token, "good-") }})
			config := configFor(s, nil)
			delete(config, "username")
			delete(config, "password")
			config["grant_type"] = grant.GrantTokenExchange
			for field, v := range test.config {
				config[field] = v
			}
			e, err := resolveBuiltin("generic", config)
			if err != nil {
				t.Fatal(err)
			}
			request, err := e.WithInputs(test.given).Request()
			if err != nil {
				t.Fatal(err)
			}
			request.Timeout = 10e9
			client := grant.NewClient(grant.Options{})
			defer client.Close()
			token, err := client.Mint(t.Context(), request)
			if err != nil {
				t.Fatal(err)
			}
			test.want.Set("grant_type", grant.GrantTokenExchange)
			if got := s.Last().Form(); got.Encode() != test.want.Encode() {
				t.Errorf("sent %v, want %v", got, test.want)
			}
			audience := slices.Concat(test.want["audience"], test.want["resource"])
			if got := providertest.ReadExchanged(token.AccessToken); got.Subject != "ada" || !slices.Equal(got.Audience, audience) {
				t.Errorf("a token of %+v, want ada's for %v", got, audience)
			}
			if token.TokenType != test.kind || token.Extra["issued_token_type"] == nil {
				t.Errorf("token_type %q, issued_token_type %v", token.TokenType, token.Extra["issued_token_type"])
			}
		})
	}
}
