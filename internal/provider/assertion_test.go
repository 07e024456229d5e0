// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"testing"

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
		"of another server, signed by a key of the engine":           {tenant, named, nil, "names another host than token_url's"},
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
