// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"maps"
	"net/url"
	"strings"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

func TestAnAudienceMayHoldPlaceholders(t *testing.T) {
	t.Parallel()
	key := newKeyPair(t, signing.ES256)
	own := Registration{Credentials: Credentials{PrivateKey: key.pem, ClientSecret: "hunter2", Variables: object{"tenant": "acme"}}}
	named := Registration{Credentials: Credentials{SigningKey: "k", Variables: object{"tenant": "acme"}}, Signing: Material{Key: key.key}}
	const tenant = "https://{tenant}.example/oauth"
	for name, test := range map[string]struct {
		audience     any
		registration Registration
		want         any
		says         string // why it is refused; "" is accepted
	}{
		"one":                         {tenant, own, "https://acme.example/oauth", ""},
		"several":                     {[]any{tenant, "{client_id}"}, own, []string{"https://acme.example/oauth", "the-client"}, ""},
		"literal braces":              {"{tenant}{{x}}", own, "acme{x}", ""},
		"of nothing":                  {"{tenant}{tenan}", own, nil, "did you mean {tenant}?"},
		"of a secret":                 {"{tenant}{client_secret}", own, nil, "names a secret"},
		"of what is made of a secret": {"{tenant}{client_secret|sha256|hex}", own, nil, "names a secret"},
		"of what is not set":          {"{tenant}{username}", own, nil, "needs username, which is not set"},
		"that is not closed":          {[]any{"{tenant}", "{"}, own, nil, "has a single brace"},
		"of the server that is asked, signed by a key of the engine": {"https://login.example/{tenant}", named, "https://login.example/acme", ""},
		"of another server, signed by a key of the engine":           {tenant, named, nil, "names another host than token_url"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, err := assertion(t, object{"assertion_audience": test.audience}, test.registration)
			if test.says != "" {
				wantInvalid(t, err, test.says, "hunter2", "acme")
				return
			}
			if err != nil || asJSON(t, a.Audience) != asJSON(t, test.want) {
				t.Errorf("%v: %+v", err, a)
			}
		})
	}
}

// The shape is that of Atlassian's apps that act for a user.
func TestTheClientSecretSignsTheGrantsAssertion(t *testing.T) {
	t.Parallel()
	key, secret := newKeyPair(t, signing.RS256), strings.Repeat("s", 48)
	base := object{
		"grant_type": grant.GrantJWTBearer, "token_endpoint_auth_method": "none", "client_id": "c", "client_secret": secret, "parameter_names": object{"client_id": ""},
		"assertion_claims": object{"iss": "urn:connect:clientid:{client_id}", "sub": "urn:connect:useraccountid:{user}", "nbf": nil, "jti": nil},
		"variables":        object{"user": object{"value": "u-1"}}, "assertion_audience": "https://as.example", "scopes": "READ ACT_AS_USER",
	}
	issued := float64(sampleTime().Add(-grant.Skew).Unix())
	claims := object{"iss": "urn:connect:clientid:c", "sub": "urn:connect:useraccountid:u-1", "aud": "https://as.example", "iat": issued, "exp": issued + 300}
	for name, test := range map[string]struct {
		more   object
		header object
		says   string // why it is refused; "" is accepted
	}{
		"HS256":                           {object{"signing_algorithm": "HS256"}, object{"alg": "HS256", "typ": "JWT"}, ""},
		"HS384, as the provider has it":   {object{"assertion_headers": object{"alg": "HS384"}}, object{"alg": "HS384", "typ": "JWT"}, ""},
		"with the name of the secret":     {object{"signing_algorithm": "HS256", "key_id": "k"}, object{"alg": "HS256", "typ": "JWT", "kid": "k"}, ""},
		"a secret that is too short":      {object{"signing_algorithm": "HS512"}, nil, "client_secret is too short for HS512, which needs 64 bytes"},
		"a fallback that is too short":    {object{"signing_algorithm": "HS256", "fallback_client_secret": "short"}, nil, "fallback_client_secret is too short for HS256"},
		"no secret":                       {object{"signing_algorithm": "HS256", "client_secret": nil}, nil, "client_secret is required by grant_type=" + grant.GrantJWTBearer},
		"a secret, and nothing that says": {object{}, nil, "private_key is required by grant_type=" + grant.GrantJWTBearer},
		"a secret beside a key":           {object{"signing_algorithm": "HS256", "private_key": key.pem}, nil, "signing_algorithm does not fit the key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := maps.Clone(base)
			maps.Copy(config, test.more)
			got, err := sentTo(t, anyGrant(t), nil, config)
			if test.says != "" {
				wantInvalid(t, err, test.says, secret)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			text, err := assertionIn(got.Body, "assertion={assertion}&grant_type="+url.QueryEscape(grant.GrantJWTBearer)+"&scope=READ+ACT_AS_USER")
			if err == nil {
				err = signedJWT{Header: test.header, Claims: claims}.check(text, config)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}
