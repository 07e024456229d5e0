// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

// keyPair is a private key in PEM, with a certificate for it.
type keyPair struct {
	key          signing.Key
	pem          string
	certificates signing.Certificates
}

func newKeyPair(t *testing.T, a signing.Algorithm) keyPair {
	t.Helper()
	k, err := signing.Generate(a)
	if err != nil {
		t.Fatal(err)
	}
	text, err := k.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	certificates, err := k.SelfSigned("c", time.Now(), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{k, text, certificates}
}

func TestKeysAreMatchedWhenWritten(t *testing.T) {
	t.Parallel()
	es, rs := newKeyPair(t, signing.ES256), newKeyPair(t, signing.RS256)
	long := strings.Repeat("s", 40)
	for name, test := range map[string]struct {
		config object
		says   string // "" is accepted
	}{
		"a private key":                        {object{"token_endpoint_auth_method": "private_key_jwt", "private_key": es.pem}, ""},
		"none":                                 {object{"token_endpoint_auth_method": "private_key_jwt"}, "private_key is required by token_endpoint_auth_method=private_key_jwt (or signing_key"},
		"what is no key":                       {object{"token_endpoint_auth_method": "private_key_jwt", "private_key": "hunter2"}, "private_key is neither PEM"},
		"two keys":                             {object{"private_key": es.pem, "signing_key": "k"}, "signing_key is set together with private_key"},
		"an algorithm of the key":              {object{"token_endpoint_auth_method": "private_key_jwt", "private_key": rs.pem, "signing_algorithm": "PS256"}, ""},
		"an algorithm of another key":          {object{"token_endpoint_auth_method": "private_key_jwt", "private_key": es.pem, "signing_algorithm": "RS256"}, "signing_algorithm does not fit the key (P-256)"},
		"its certificate":                      {object{"token_endpoint_auth_method": "private_key_jwt", "private_key": es.pem, "signing_certificate": es.certificates.PEM()}, ""},
		"another's certificate":                {object{"private_key": es.pem, "signing_certificate": rs.certificates.PEM()}, "signing_certificate is the certificate of another key"},
		"a certificate alone":                  {object{"signing_certificate": es.certificates.PEM()}, "signing_certificate belongs to private_key"},
		"a secret that is long enough":         {object{"token_endpoint_auth_method": "client_secret_jwt", "client_secret": long}, ""},
		"a secret that is too short":           {object{"token_endpoint_auth_method": "client_secret_jwt", "client_secret": "short"}, "client_secret is too short for HS256, which needs 32 bytes"},
		"a secret too short for the algorithm": {object{"token_endpoint_auth_method": "client_secret_jwt", "client_secret": long, "signing_algorithm": "HS512"}, "client_secret is too short for HS512"},
		"a fallback secret that is too short":  {object{"token_endpoint_auth_method": "client_secret_jwt", "client_secret": long, "fallback_client_secret": "short"}, "fallback_client_secret is too short"},
		"a key's algorithm for a secret":       {object{"token_endpoint_auth_method": "client_secret_jwt", "client_secret": long, "signing_algorithm": "RS256"}, "signing_algorithm must be one of HS256"},
		"a TLS certificate with its key":       {object{"token_endpoint_auth_method": "tls_client_auth", "tls_client_certificate": es.certificates.PEM(), "tls_client_key": es.pem}, ""},
		"one with any method":                  {object{"tls_client_certificate": es.certificates.PEM(), "tls_client_key": es.pem}, ""},
		"none where the method needs one":      {object{"token_endpoint_auth_method": "self_signed_tls_client_auth"}, "tls_client_certificate is required by token_endpoint_auth_method=self_signed_tls_client_auth"},
		"a TLS certificate without its key":    {object{"tls_client_certificate": es.certificates.PEM()}, "tls_client_key is required with tls_client_certificate"},
		"a TLS key without its certificate":    {object{"tls_client_key": es.pem}, "tls_client_certificate is required with tls_client_key"},
		"a TLS certificate with another key":   {object{"tls_client_certificate": es.certificates.PEM(), "tls_client_key": rs.pem}, "tls_client_certificate is the certificate of another key"},
		"a TLS key beside a named one":         {object{"tls_client_certificate": es.certificates.PEM(), "tls_client_key": es.pem, "tls_key": "k"}, "tls_key is set together with tls_client_key"},
		"an algorithm of the provider's":       {object{"token_endpoint_auth_method": "private_key_jwt", "private_key": rs.pem, "assertion_headers": object{"alg": "PS384"}}, ""},
		"one that does not fit the key":        {object{"token_endpoint_auth_method": "private_key_jwt", "private_key": es.pem, "assertion_headers": object{"alg": "RS384"}}, "assertion_headers.alg does not fit the key (P-256)"},
		"one that the config overrides":        {object{"token_endpoint_auth_method": "private_key_jwt", "private_key": es.pem, "signing_algorithm": "ES256", "assertion_headers": object{"alg": "RS384"}}, ""},
		"one that is none":                     {object{"assertion_headers": object{"alg": "none"}}, "assertion_headers holds an alg that is not one of HS256"},
		"a header of a certificate, and none":  {object{"token_endpoint_auth_method": "private_key_jwt", "private_key": es.pem, "assertion_headers": object{"x5c": true}}, "signing_certificate is required by assertion_headers.x5c (or signing_key"},
		"an unknown placeholder in a claim":    {object{"token_endpoint_auth_method": "private_key_jwt", "private_key": es.pem, "assertion_claims": object{"x": "{nothing}"}}, "assertion_claims holds a text"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := object{"client_id": "the-client", "client_secret": "s", "token_url": plainURL}
			for field, v := range test.config {
				config[field] = v
			}
			_, err := resolveConfig(Layer{}, config)
			if test.says == "" && err != nil || test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) {
				t.Errorf("got %v, want %q", err, test.says)
			}
		})
	}
}

// assertion returns the assertion that a config's client sends.
func assertion(t *testing.T, config object, r Registration) (*grant.Assertion, error) {
	t.Helper()
	own, err := Canonical(Fields(), config)
	if err != nil {
		t.Fatal(err)
	}
	r.ClientID = "the-client"
	e, err := Resolve(Layer{"token_url": "https://login.example/token", "token_endpoint_auth_method": "private_key_jwt"}, own, r)
	if err != nil {
		return nil, err
	}
	request, err := e.Request()
	if err != nil {
		t.Fatal(err)
	}
	return request.ClientAssertion, nil
}

func TestTheAudienceIsTheIssuerOrElseTheTokenEndpoint(t *testing.T) {
	t.Parallel()
	key := newKeyPair(t, signing.ES256)
	for name, test := range map[string]struct {
		config   object
		audience any
		kind     string
	}{
		"the token endpoint":               {object{}, "https://login.example/token", ""},
		"the issuer, by the type for that": {object{"issuer": "https://issuer.example"}, "https://issuer.example", "client-authentication+jwt"},
		"what assertion_audience says":     {object{"issuer": "https://issuer.example", "assertion_audience": "https://other.example"}, "https://other.example", "client-authentication+jwt"},
		"a list":                           {object{"assertion_audience": []any{"a", "b"}}, []string{"a", "b"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, err := assertion(t, test.config, Registration{Credentials: Credentials{PrivateKey: key.pem}})
			if err != nil || asJSON(t, a.Audience) != asJSON(t, test.audience) || a.Type != test.kind {
				t.Errorf("%v: %+v", err, a)
			}
		})
	}
}

// A key of the engine signs only for the host that the assertion is sent to. Otherwise
// the writer of a config could choose another server as the audience, and have the
// assertion for it sent to a host of their own.
func TestAKeyOfTheEngineSignsForWhomItIsSentTo(t *testing.T) {
	t.Parallel()
	const bank = "https://bank.example/token"
	own, bankToo := object{"token_url": "https://login.example/token"}, []string{bank}
	for name, test := range map[string]struct {
		config  object
		allowed []string
		says    string // "" is accepted
	}{
		"the token endpoint":               {object{}, nil, ""},
		"another name at its host":         {object{"assertion_audience": "https://login.example/"}, nil, ""},
		"a claim of its host":              {object{"assertion_claims": object{"aud": []any{"https://login.example/"}}}, nil, ""},
		"another host":                     {object{"assertion_audience": bank}, nil, "allowed_audiences"},
		"another host by a claim":          {object{"assertion_claims": object{"aud": bank}}, nil, "allowed_audiences"},
		"another host by a claim's list":   {object{"assertion_claims": object{"aud": []any{"https://login.example/", bank}}}, nil, "allowed_audiences"},
		"another host among several":       {object{"assertion_audience": []any{"https://login.example/", bank}}, nil, "allowed_audiences"},
		"another host as the issuer":       {object{"issuer": "https://bank.example"}, nil, "allowed_audiences"},
		"another host as a user":           {object{"assertion_audience": "https://bank.example@login.example/"}, nil, "allowed_audiences"},
		"another host that the key allows": {object{"assertion_audience": bank}, bankToo, ""},
		"to a host of the config's own":    {Overlay(own, object{"assertion_audience": bank}), bankToo, "and the config itself sets token_url"},
		"nobody":                           {object{"assertion_claims": object{"aud": nil}}, nil, "assertion_audience must be a text"},
		"nobody in a list":                 {object{"assertion_claims": object{"aud": []any{}}}, nil, "assertion_audience must be a text"},
		"what is no text":                  {object{"assertion_claims": object{"aud": true}}, nil, "assertion_audience must be a text"},
		"what is no text among texts":      {object{"assertion_claims": object{"aud": []any{"https://login.example/", object{"x": bank}}}}, nil, "assertion_audience must be a text"},
		"by another spelling of aud":       {object{"assertion_claims": object{"Aud": bank}}, bankToo, `assertion_claims holds "Aud"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := assertion(t, test.config, madeHere(t, test.allowed...))
			if test.says == "" && err != nil || test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) {
				t.Errorf("got %v, want %q", err, test.says)
			}
		})
	}
}

// madeHere returns a registration that signs with a key of the engine.
func madeHere(t *testing.T, allowed ...string) Registration {
	t.Helper()
	key := newKeyPair(t, signing.ES256)
	return Registration{
		Credentials: Credentials{ClientID: "the-client", SigningKey: "k"},
		Signing:     Material{Key: key.key, ID: "kid", Certificates: key.certificates, Audiences: allowed},
	}
}

// The writer of a config has no secret that would prove a right to the tokens of such a
// key. So the tokens, and the assertions that revoke them, must not go to a host that
// the writer chooses.
func TestWhatAKeyOfTheEngineGivesAccessToStaysWithTheProvider(t *testing.T) {
	t.Parallel()
	for _, field := range []string{"revocation_url", "check_url"} {
		for name, test := range map[string]struct {
			definition, config object
			ok                 bool
		}{
			"the config's, at the token endpoint":    {object{}, object{field: "https://login.example/x"}, true},
			"the config's, at its usual port":        {object{}, object{field: "https://login.example:443/x"}, true},
			"the config's, elsewhere":                {object{}, object{field: "https://evil.example/x"}, false},
			"the config's, at another port":          {object{}, object{field: "https://login.example:8443/x"}, false},
			"the provider's, elsewhere":              {object{field: "https://api.example/x"}, object{}, true},
			"the provider's, with a label to choose": {object{field: "https://{v}.api.example/x", "variables": object{"v": object{}}}, object{"variables": object{"v": "x"}}, true},
			"the provider's, with a host to choose":  {object{field: "https://{v}/x", "variables": object{"v": object{"pattern": ".*"}}}, object{"variables": object{"v": "evil.example"}}, false},
			"the provider's, with a name to choose":  {object{field: "https://{v}.example/x", "variables": object{"v": object{}}}, object{"variables": object{"v": "evil"}}, false},
			"the provider's, with the same choice":   {object{"token_url": "https://{v}/t", field: "https://{v}/x", "variables": object{"v": object{"pattern": ".*"}}}, object{"variables": object{"v": "login.example"}}, true},
		} {
			t.Run(field+": "+name, func(t *testing.T) {
				t.Parallel()
				for key, r := range map[string]Registration{"signing_key": madeHere(t), "tls_key": {Credentials: Credentials{ClientID: "the-client"}, Connection: Connection{TLSKey: "k"}}, "": {Credentials: Credentials{ClientID: "the-client"}}} {
					definition := object{"token_url": "https://login.example/token", "token_endpoint_auth_method": "none"}
					if key == "signing_key" {
						definition["token_endpoint_auth_method"] = "private_key_jwt"
					}
					values, _ := test.config["variables"].(object)
					r.Variables = values
					_, err := Resolve(Overlay(definition, test.definition), Layer(test.config).Only(Fields()), r)
					if ok := test.ok || key == ""; (err == nil) != ok || err != nil && !strings.Contains(err.Error(), field+" has another host than token_url") {
						t.Errorf("with %s: %v", key, err)
					}
				}
			})
		}
	}
}

func TestClaimsAndHeadersAreFilledIn(t *testing.T) {
	t.Parallel()
	key := newKeyPair(t, signing.ES256)
	a, err := assertion(t, object{
		"scopes": "a b", "assertion_lifetime": 60, "assertion_claims": object{"scope": "{scope}", "sub": nil, "deep": object{"id": "{client_id}"}}, "assertion_headers": object{"x5t": true},
	}, Registration{Credentials: Credentials{PrivateKey: key.pem, KeyID: "k-1", SigningCertificate: key.certificates.PEM()}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := asJSON(t, a.Claims), `{"deep":{"id":"the-client"},"scope":"a b","sub":null}`; got != want {
		t.Errorf("claims %s, want %s", got, want)
	}
	if a.Headers["x5t"] != true || a.KeyID != "k-1" || a.Lifetime != time.Minute || a.Issuer != "the-client" {
		t.Errorf("%+v", a)
	}
}

// A scope claim is one text or a list, whichever the provider requires.
func TestScopesAreClaimedInTheProvidersForm(t *testing.T) {
	t.Parallel()
	key := newKeyPair(t, signing.ES256)
	for name, test := range map[string]struct {
		config object
		claims string
	}{
		"with spaces":              {object{"assertion_claims": object{"scope": "{scope}"}}, `{"scope":"a b"}`},
		"with the separator":       {object{"scope_separator": "comma", "assertion_claims": object{"scope": "{scope}"}}, `{"scope":"a,b"}`},
		"beside a list":            {object{"scope_separator": "list", "assertion_claims": object{"scope": "{scope}"}}, `{"scope":"a b"}`},
		"as a list":                {object{"assertion_claims": object{"scope": []any{"{scope}"}}}, `{"scope":["a","b"]}`},
		"as a text of a long list": {object{"assertion_claims": object{"scope": []any{"{scope}", "c"}}}, `{"scope":["a b","c"]}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.config["scopes"] = []any{"a", "b"}
			a, err := assertion(t, test.config, Registration{Credentials: Credentials{PrivateKey: key.pem}})
			if err != nil {
				t.Fatal(err)
			}
			if got := asJSON(t, a.Claims); got != test.claims {
				t.Errorf("claims %s, want %s", got, test.claims)
			}
		})
	}
}

// A header that identifies a certificate needs a certificate, also if the key is one of
// the engine.
func TestAKeyWithoutACertificateIsNotNamedByOne(t *testing.T) {
	t.Parallel()
	r := madeHere(t)
	config := object{"assertion_headers": object{"x5t": true}}
	if _, err := assertion(t, config, r); err != nil {
		t.Error(err)
	}
	r.Signing.Certificates = nil
	_, err := assertion(t, config, r)
	wantInvalid(t, err, "signing_key has no certificate yet, and assertion_headers.x5t needs one")
}

// The subject is the client by default. If it is an optional variable that is not
// set, the assertion has no subject.
func TestAClaimOfAnOptionalVariableIsLeftOutWithIt(t *testing.T) {
	t.Parallel()
	key := newKeyPair(t, signing.ES256)
	definition := Layer{
		"token_url": plainURL, "token_endpoint_auth_method": "private_key_jwt", "assertion_claims": object{"sub": "{subject}"},
		"variables": object{"subject": object{"optional": true}},
	}
	for subject, want := range map[string]string{"": `{"sub":null}`, "someone": `{"sub":"someone"}`} {
		r := Registration{Credentials: Credentials{ClientID: "c", PrivateKey: key.pem}}
		if subject != "" {
			r.Variables = map[string]any{"subject": subject}
		}
		e, err := Resolve(definition, Layer{}, r)
		if err != nil {
			t.Fatal(err)
		}
		request, err := e.Request()
		if err != nil {
			t.Fatal(err)
		}
		if got := asJSON(t, request.ClientAssertion.Claims); got != want {
			t.Errorf("claims %s, want %s", got, want)
		}
	}
}

// The cases have the claims of a service account (Google) and of a connected app
// (Salesforce).
func TestTheJWTBearerGrantSendsWhatItsFieldsSay(t *testing.T) {
	t.Parallel()
	key := newKeyPair(t, signing.RS256)
	base := object{
		"token_url": plainURL, "grant_type": grant.GrantJWTBearer, "token_endpoint_auth_method": "none", "client_id": "me@project", "private_key": key.pem, "key_id": "k-1",
		"scopes": "a b", "parameter_names": object{"client_id": "", "scope": ""},
	}
	for name, test := range map[string]struct {
		more   object
		claims string
		client bool // the client shows an assertion of its own, too
	}{
		"iss and sub are the client":       {object{}, "{}", false},
		"a scope claim, and no sub":        {object{"assertion_claims": object{"scope": "{scope}", "sub": nil}}, `{"scope":"a b","sub":null}`, false},
		"another subject":                  {object{"username": "someone", "assertion_claims": object{"sub": "{username}"}}, `{"sub":"someone"}`, false},
		"and the client's own, by its key": {object{"token_endpoint_auth_method": "private_key_jwt", "assertion_claims": object{"sub": "x"}}, `{"sub":"x"}`, true},
		"or by a secret":                   {object{"token_endpoint_auth_method": "client_secret_jwt", "client_secret": strings.Repeat("s", 32), "assertion_claims": object{"sub": "x"}}, `{"sub":"x"}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := maps.Clone(base)
			maps.Copy(config, test.more)
			e, err := resolveConfig(Layer{}, config)
			if err != nil {
				t.Fatal(err)
			}
			r, err := e.Request()
			if err != nil {
				t.Fatal(err)
			}
			if got := asJSON(t, r.GrantAssertion.Claims); got != test.claims {
				t.Errorf("claims %s, want %s", got, test.claims)
			}
			if r.GrantAssertion.Issuer != "me@project" || r.GrantAssertion.Audience != plainURL || r.GrantAssertion.KeyID != "k-1" || r.GrantAssertion.Algorithm != signing.RS256 {
				t.Errorf("%+v", r.GrantAssertion)
			}
			if (r.ClientAssertion != nil) != test.client || test.client && (len(r.ClientAssertion.Claims) != 0 || r.ClientAssertion.Subject != "me@project") {
				t.Errorf("the client shows %+v", r.ClientAssertion)
			}
		})
	}
	for grantType, says := range map[string]string{
		grant.GrantJWTBearer:   "private_key is required by grant_type=" + grant.GrantJWTBearer + " (or signing_key, or assertion)",
		grant.GrantSAML2Bearer: "assertion is required by grant_type=" + grant.GrantSAML2Bearer,
	} {
		_, err := resolveConfig(Layer{}, object{"token_url": plainURL, "grant_type": grantType, "token_endpoint_auth_method": "none"})
		wantInvalid(t, err, says)
		e, err := resolveConfig(Layer{}, object{"token_url": plainURL, "grant_type": grantType, "token_endpoint_auth_method": "none", "assertion": "made-elsewhere"})
		if err != nil {
			t.Fatal(err)
		}
		if r, err := e.Request(); err != nil || r.Assertion != "made-elsewhere" || r.GrantAssertion != nil {
			t.Errorf("%v: %+v", err, r)
		}
	}
}

// The contents of an assertion count as sent. So the variables in it count as used, and
// a value that is made from a secret is a secret.
func TestClaimsMayNameVariablesAndSecrets(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("s", 40)
	r, err := asked(t, object{}, object{
		"token_url": plainURL, "token_endpoint_auth_method": "client_secret_jwt", "client_secret": long, "variables": object{"tenant": "acme"},
		"assertion_claims": object{"tid": "{tenant}", "deep": []any{"{client_secret|base64|upper}"}}, "assertion_headers": object{"h": "v {scope} {client_secret|base64|lower}"}, "scopes": "a b",
	})
	if err != nil {
		t.Fatal(err)
	}
	base64ed := base64.StdEncoding.EncodeToString([]byte(long))
	if !slices.Contains(r.Secrets, strings.ToUpper(base64ed)) || !slices.Contains(r.Composed, "v a b "+strings.ToLower(base64ed)) {
		t.Errorf("what is made of the secret is none: %q, %q", r.Secrets, r.Composed)
	}
	if r.ClientAssertion.Claims["tid"] != "acme" {
		t.Errorf("claims %v", r.ClientAssertion.Claims)
	}
}
