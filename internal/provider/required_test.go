// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

func TestAProviderSaysWhatAConfigHasToSet(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		definition Layer
		want       []string
		example    string
	}{
		"the credentials of HTTP Basic": {
			Layer{"token_url": "https://a.example/t"},
			[]string{"client_id", "client_secret"},
			"vault write oauthcc/config/p provider=p client_id=CLIENT_ID client_secret=@client_secret.txt",
		},
		"the token_url, where none is published": {
			Layer{"token_endpoint_auth_method": "none"},
			[]string{"token_url"},
			"vault write oauthcc/config/p provider=p token_url=TOKEN_URL",
		},
		"variables, but for those with a default, computed, optional or unused": {
			Layer{
				"token_url": "https://{tenant}.a.example/{area}", "token_endpoint_auth_method": "none",
				"parameters": map[string]any{"a": "{key}", "b": "{maybe}", "c": "{made}"},
				"variables": map[string]any{
					"tenant": map[string]any{"example": "acme"}, "area": map[string]any{"default": "eu"}, "key": map[string]any{"secret": true},
					"maybe": map[string]any{"optional": true}, "made": map[string]any{"value": "{inner}-{username}"},
					"inner": map[string]any{}, "unused": map[string]any{},
				},
			},
			[]string{"variables.inner", "secret_variables.key", "variables.tenant", "username"},
			"vault write oauthcc/config/p provider=p variables=inner=INNER secret_variables=key=KEY variables=tenant=acme username=USERNAME",
		},
		"a credential that a parameter names": {
			Layer{"token_url": "https://a.example/t", "token_endpoint_auth_method": "none", "parameters": map[string]any{"apikey": "{client_secret}"}},
			[]string{"client_secret"},
			"vault write oauthcc/config/p provider=p client_secret=@client_secret.txt",
		},
		"what a signed assertion names": {
			Layer{
				"token_url": "https://a.example/t", "token_endpoint_auth_method": "none", "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
				"assertion_claims":  map[string]any{"sub": "{username}", "scope": "{scope}", "act": map[string]any{"sub": "{actor}"}},
				"assertion_headers": map[string]any{"kid": "{fingerprint}"},
				"variables":         map[string]any{"actor": map[string]any{}, "fingerprint": map[string]any{"secret": true}},
			},
			[]string{"variables.actor", "secret_variables.fingerprint", "private_key", "username"},
			"vault write oauthcc/config/p provider=p variables=actor=ACTOR secret_variables=fingerprint=FINGERPRINT private_key=@private_key.txt username=USERNAME",
		},
		"the user of the password grant, and scopes that are required": {
			Layer{"token_url": "https://a.example/t", "token_endpoint_auth_method": "none", "grant_type": "password", "scopes_required": true},
			[]string{"password", "username", "scopes"},
			"vault write oauthcc/config/p provider=p password=@password.txt username=USERNAME scopes=SCOPES",
		},
		"a certificate and its key": {
			Layer{"token_url": "https://a.example/t", "token_endpoint_auth_method": "tls_client_auth"},
			[]string{"client_id", "tls_client_certificate", "tls_client_key"},
			"vault write oauthcc/config/p provider=p client_id=CLIENT_ID tls_client_certificate=@tls_client_certificate.txt tls_client_key=@tls_client_key.txt",
		},
		"the certificate that an assertion names": {
			Layer{"token_url": "https://a.example/t", "token_endpoint_auth_method": "private_key_jwt", "assertion_headers": map[string]any{"x5t": true}},
			[]string{"client_id", "private_key", "signing_certificate"},
			"vault write oauthcc/config/p provider=p client_id=CLIENT_ID private_key=@private_key.txt signing_certificate=@signing_certificate.txt",
		},
		"what the provider requires beyond its method": {
			Layer{"token_url": "https://a.example/t", "token_endpoint_auth_method": "private_key_jwt", "requires": []any{"key_id", "client_id", "tls_client_certificate", "tls_client_key"}},
			[]string{"client_id", "key_id", "private_key", "tls_client_certificate", "tls_client_key"},
			"vault write oauthcc/config/p provider=p client_id=CLIENT_ID key_id=KEY_ID private_key=@private_key.txt tls_client_certificate=@tls_client_certificate.txt tls_client_key=@tls_client_key.txt",
		},
		"the refresh token of a chain": {
			Layer{"token_url": "https://a.example/t", "token_endpoint_auth_method": "none", "grant_type": "refresh_token"},
			[]string{"refresh_token"},
			"vault write oauthcc/config/p provider=p refresh_token=@refresh_token.txt",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Required(test.definition)
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("got %q, %v\nwant %q", got, err, test.want)
			}
			if got := Example("oauthcc/", "p", test.definition, got); got != test.example {
				t.Errorf("\n got %s\nwant %s", got, test.example)
			}
		})
	}
}

// A config may use something else instead of what the provider requires, as it may
// elsewhere: a key of the engine, or a key that contains its own ID.
func TestWhatAProviderRequiresIsAskedOfAConfig(t *testing.T) {
	t.Parallel()
	es := newKeyPair(t, signing.ES256)
	jwk, err := json.Marshal(jose.JSONWebKey{Key: es.key.Signer(), KeyID: "own"})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		requires string
		config   object
		r        Registration
		says     string // "" is accepted
	}{
		"a key's ID":                      {"key_id", object{"private_key": es.pem}, Registration{}, "key_id is required by the provider (or signing_key)"},
		"set":                             {"key_id", object{"private_key": es.pem, "key_id": "k-1"}, Registration{}, ""},
		"said by a JWK":                   {"key_id", object{"private_key": string(jwk)}, Registration{}, ""},
		"that of a key that is made here": {"key_id", nil, madeHere(t), ""},
		"a certificate":                   {"tls_client_certificate", object{"private_key": es.pem}, Registration{}, "tls_client_certificate is required by the provider (or tls_key)"},
		"a user":                          {"username", object{"private_key": es.pem}, Registration{}, "username is required by the provider"},
		"what nobody knows":               {"luck", object{"private_key": es.pem}, Registration{}, "requires holds something that cannot be required"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			definition := Layer{"token_url": "https://login.example/token", "token_endpoint_auth_method": "private_key_jwt", "requires": []string{test.requires}}
			var err error
			if test.config != nil {
				test.config["client_id"] = "c"
				_, err = resolveConfig(definition, test.config)
			} else {
				_, err = Resolve(definition, Layer{}, test.r)
			}
			if test.says == "" && err != nil || test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) {
				t.Errorf("got %v, want %q", err, test.says)
			}
		})
	}
}

// The list of what is required is exact: with all of it a request can be made, and
// with any part missing it cannot.
func TestEveryBuiltinProviderMakesARequestOfWhatItRequires(t *testing.T) {
	t.Parallel()
	var keys providertest.Keys
	for _, name := range BuiltinNames() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			definition, _, err := Builtin(name)
			if err != nil {
				t.Fatal(err)
			}
			required, err := Required(definition)
			if err != nil {
				t.Fatal(err)
			}
			declared, err := declarations(mapOf(definition["variables"]))
			if err != nil {
				t.Fatal(err)
			}
			whole, err := keys.Fill(sample(t, declared, required, algorithmOf(definition)))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := resolveBuiltin(name, whole); err != nil {
				t.Errorf("with %q: %v", required, err)
			}
			for i, field := range required {
				if field == "scopes" {
					continue // an error only when a token is requested
				}
				less, err := keys.Fill(sample(t, declared, slices.Delete(slices.Clone(required), i, i+1), algorithmOf(definition)))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := resolveBuiltin(name, less); err == nil {
					t.Errorf("it does without %s", field)
				}
			}
		})
	}
}

// algorithmOf returns the algorithm with which a provider wants assertions signed.
func algorithmOf(definition Layer) string {
	if alg, _ := mapOf(definition["assertion_headers"])["alg"].(string); alg != "" {
		return alg
	}
	return "RS256"
}

func mapOf(v any) map[string]any { m, _ := v.(map[string]any); return m }

// sample returns a config that sets these fields, each to a value that its
// declaration accepts. A key fits the algorithm.
func sample(t *testing.T, declared map[string]Variable, required []string, algorithm string) map[string]any {
	t.Helper()
	out := map[string]any{}
	for _, field := range required {
		group, variable, isVariable := strings.Cut(field, ".")
		switch {
		case field == "token_url":
			out[field] = "https://token.example/token"
		case field == "scopes":
			out[field] = []string{"a"}
		case field == "source_hosts":
			out[field] = []string{"*.example.com"}
		case field == "private_key", field == "tls_client_key":
			out[field] = "generated " + algorithm
		case field == "signing_certificate", field == "tls_client_certificate":
			out[field] = "generated"
		case !isVariable:
			out[field] = "sample-" + field
		default:
			values, _ := out[group].(map[string]any)
			if values == nil {
				values = map[string]any{}
				out[group] = values
			}
			values[variable] = acceptable(t, variable, declared[variable])
		}
	}
	return out
}

// acceptable returns a value that the declaration accepts: its example, or one of
// the usual values.
func acceptable(t *testing.T, name string, d Variable) string {
	t.Helper()
	for _, v := range slices.Concat([]string{d.Example}, d.Enum, []string{
		"sample", "sample.example.com", "eu-west-1", "eu", "1", "123456", "f47ac10b-58cc-4372-a567-0e02b2c3d479",
	}) {
		if v != "" && d.accepts(v) == nil {
			return v
		}
	}
	t.Fatalf("variable %s takes none of the usual values: give it an example", name)
	return ""
}
