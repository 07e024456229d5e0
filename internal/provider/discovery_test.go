// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"slices"
	"strings"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

const (
	theIssuer   = "https://login.example/tenant"
	theResource = "https://api.example/mcp"
)

// metadata returns the issuer's metadata. Its endpoints are on its own host unless
// they are given.
func metadata(source Source, change func(*grant.ServerMetadata)) *Discovered {
	d := &Discovered{Source: source, ServerMetadata: grant.ServerMetadata{
		Issuer: theIssuer, Endpoints: grant.Endpoints{Token: "https://login.example/token", Revocation: "https://login.example/revoke"},
	}}
	if change != nil {
		change(&d.ServerMetadata)
	}
	return d
}

// discovering resolves a config whose endpoints were found in d.
func discovering(t *testing.T, definition Layer, config object, r Registration, d *Discovered) (*Effective, error) {
	t.Helper()
	own, err := Canonical(Fields(), config)
	if err != nil {
		t.Fatal(err)
	}
	if r.ClientID == "" {
		r.ClientID, r.ClientSecret = "the-client", "the-secret"
	}
	r.Discovered = d
	return Resolve(definition, own, r)
}

func discovered(t *testing.T, config object, r Registration, d *Discovered) *Effective {
	t.Helper()
	e, err := discovering(t, Layer{}, config, r, d)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestWhatIsWrittenNeedsNoDiscovery(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		config object
		want   Source
	}{
		"a token_url":                          {object{"token_url": plainURL}, Source{}},
		"a token_url beside an issuer":         {object{"token_url": plainURL, "issuer": theIssuer}, Source{}},
		"a token_url beside a resource":        {object{"token_url": plainURL, "resource_url": theResource}, Source{}},
		"an issuer is asked":                   {object{"issuer": theIssuer}, Source{Issuer: theIssuer}},
		"an issuer is asked, and no resource":  {object{"issuer": theIssuer, "resource_url": theResource}, Source{Issuer: theIssuer}},
		"a resource is asked where alone":      {object{"resource_url": theResource}, Source{Resource: theResource}},
		"an issuer is asked with no token_url": {object{"issuer": theIssuer, "token_url": ""}, Source{Issuer: theIssuer}},
		"a name is kept as it is written":      {object{"issuer": "https://Login.example/a%2Fb/"}, Source{Issuer: "https://Login.example/a%2Fb/"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := discovered(t, test.config, Registration{}, nil)
			if got := e.Source(); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			_, err := e.Request()
			if test.want != (Source{}) {
				wantInvalid(t, err, "token_url is not known yet: it has to be read from "+test.want.Field())
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestANameHoldsThePlaceholdersOfAURL(t *testing.T) {
	t.Parallel()
	definition := Layer{
		"issuer":    "https://{region}.login.example/{tenant}",
		"variables": object{"region": object{"default": "eu"}, "tenant": object{}, "key": object{"secret": true, "optional": true}},
	}
	e, err := discovering(t, definition, object{}, Registration{Credentials: Credentials{Variables: map[string]any{"tenant": "acme"}}}, nil)
	if err != nil || e.Source() != (Source{Issuer: "https://eu.login.example/acme"}) {
		t.Errorf("got %v, %v", e, err)
	}
	_, err = discovering(t, definition, object{}, Registration{}, nil)
	wantInvalid(t, err, `issuer needs the variable "tenant"`)
	_, err = discovering(t, Layer{}, object{"issuer": "http://login.example"}, Registration{}, nil)
	wantInvalid(t, err, "issuer uses http://, which would show the credentials to the network")
	if got, err := Required(definition); err != nil || !slices.Equal(got, []string{"variables.tenant", "client_id", "client_secret"}) {
		t.Errorf("required: %v, %v", got, err)
	}

	for name, test := range map[string]struct{ field, value, says string }{
		"a query in an issuer":              {"issuer", "https://login.example/?a=b", "has a query"},
		"a fragment":                        {"issuer", "https://login.example/#a", "holds a fragment"},
		"a user":                            {"resource_url", "https://user@api.example/", "holds a user"},
		"another scheme":                    {"resource_url", "ftp://api.example/", "must start with https://"},
		"a text":                            {"issuer", "login.example", "must start with https://"},
		"an unknown placeholder":            {"resource_url", "https://api.example/{tenat}", "names {tenat}, which is not defined; did you mean {tenant}?"},
		"a secret":                          {"issuer", "https://login.example/{key}", "names the secret {key}"},
		"the time":                          {"issuer", "https://login.example/{now|unix}", "names a placeholder that differs for each request"},
		"a secret in a query":               {"resource_url", "https://api.example/?key={key}", "names a secret"},
		"a number that may be this machine": {"issuer", "https://127.1/", "has a number as its host"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantInvalid(t, Check(Overlay(definition, Layer{test.field: test.value, "token_url": plainURL})), test.field+" "+test.says)
		})
	}
}

func TestEndpointsAreThoseOfTheMetadata(t *testing.T) {
	t.Parallel()
	key := newKeyPair(t, signing.ES256)
	shown := Registration{Connection: Connection{ClientCertificate: key.certificates.PEM(), ClientKey: key.pem}}
	aliases := func(m *grant.ServerMetadata) { m.MTLS = grant.Endpoints{Token: "https://mtls.login.example/token"} }
	of := Source{Issuer: theIssuer}
	for name, test := range map[string]struct {
		config       object
		registration Registration
		found        *Discovered
		token        string
		revocation   string // "" if there is none
	}{
		"both of them":                             {object{}, Registration{}, metadata(of, nil), "https://login.example/token", "https://login.example/revoke"},
		"no revocation where there is none":        {object{}, Registration{}, metadata(of, func(m *grant.ServerMetadata) { m.Revocation = "" }), "https://login.example/token", ""},
		"a revocation_url that is written":         {object{"revocation_url": "https://own.example/r"}, Registration{}, metadata(of, nil), "https://login.example/token", "https://own.example/r"},
		"no revocation where that is written":      {object{"revocation_url": ""}, Registration{}, metadata(of, nil), "https://login.example/token", ""},
		"aliases for a client with a certificate":  {object{}, shown, metadata(of, aliases), "https://mtls.login.example/token", "https://login.example/revoke"},
		"no aliases for one without":               {object{}, Registration{}, metadata(of, aliases), "https://login.example/token", "https://login.example/revoke"},
		"a query of the metadata's, which is kept": {object{}, Registration{}, metadata(of, func(m *grant.ServerMetadata) { m.Token += "?p=policy" }), "https://login.example/token?p=policy", "https://login.example/revoke"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := discovered(t, Overlay(object{"issuer": theIssuer}, test.config), test.registration, test.found)
			r, err := e.Request()
			if err != nil || r.URL != test.token || e.Dialect.TokenURL != test.token {
				t.Errorf("token_url: %s, %v", r.URL, err)
			}
			r, revokes, err := e.RevocationRequest("a-token")
			if err != nil || r.URL != test.revocation || revokes != (test.revocation != "") || e.Dialect.RevocationURL != test.revocation {
				t.Errorf("revocation_url: %s, %t, %v", r.URL, revokes, err)
			}
			shown, err := e.Describe()
			if err != nil || shown["token_url"] != test.token || shown["revocation_url"] != test.revocation || shown["issuer"] != theIssuer {
				t.Errorf("described as %v, %v, %v: %v", shown["token_url"], shown["revocation_url"], shown["issuer"], err)
			}
		})
	}
	t.Run("what was found elsewhere is nothing", func(t *testing.T) {
		t.Parallel()
		e := discovered(t, object{"issuer": theIssuer}, Registration{}, metadata(Source{Resource: theResource}, nil))
		if e.Dialect.TokenURL != "" || e.Discovered() != nil {
			t.Errorf("got %q", e.Dialect.TokenURL)
		}
	})
}

func TestMetadataLeadsNowhereThatAWrittenURLDoesNot(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ url, issuer, says string }{
		"http://":                            {"http://login.example/token", theIssuer, "uses http://"},
		"plain http to this machine":         {"http://127.0.0.1/token", theIssuer, "uses http://"},
		"this machine":                       {"https://localhost/token", theIssuer, "leads to this machine"},
		"this machine by its IPv6 address":   {"https://[::1]/token", theIssuer, "leads to this machine"},
		"this machine by a mapped address":   {"https://[::ffff:127.0.0.1]/token", theIssuer, "leads to this machine"},
		"this machine, spelled as a number":  {"https://2130706433/token", theIssuer, "has a number as its host"},
		"a user":                             {"https://a:b@login.example/token", theIssuer, "holds a user"},
		"a fragment":                         {"https://login.example/token#x", theIssuer, "holds a fragment"},
		"a placeholder":                      {"https://{client_secret}.evil.example/", theIssuer, "holds braces"},
		"another scheme":                     {"file:///etc/passwd", theIssuer, "must start with https://"},
		"a path alone":                       {"/token", theIssuer, "must start with https://"},
		"a host that IDNA changes":           {"https://lоgin.example/token", theIssuer, "has a host that is not ASCII"},
		"a parameter that the engine sends":  {"https://login.example/token?grant_type=x", theIssuer, `token_url has "grant_type" in its query`},
		"a server on this machine may":       {"http://localhost:1/token", "http://127.0.0.1:8080", ""},
		"another host, as some providers do": {"https://oauth2.other.example/token", theIssuer, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := metadata(Source{Issuer: test.issuer}, func(m *grant.ServerMetadata) { m.Issuer, m.Token, m.Revocation = test.issuer, test.url, "" })
			_, err := discovering(t, Layer{}, object{"issuer": test.issuer}, Registration{}, found)
			if test.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantInvalid(t, err, test.says)
			if own := "issuer leads to metadata whose token_url cannot be used: it "; !strings.HasPrefix(test.says, "token_url") && !strings.HasPrefix(err.Error(), own) {
				t.Errorf("does not say whose fault it is: %v", err)
			}
		})
	}
}

func TestAnOriginIsWhereWhatWasFoundGetsCredentials(t *testing.T) {
	t.Parallel()
	origins := func(change func(*grant.ServerMetadata)) (string, string) {
		e := discovered(t, object{"issuer": theIssuer}, Registration{}, metadata(Source{Issuer: theIssuer}, change))
		where, err := e.Origin()
		if err != nil {
			t.Fatal(err)
		}
		id, err := e.Identity()
		if err != nil {
			t.Fatal(err)
		}
		return where, string(id)
	}
	first, firstID := origins(nil)
	for name, test := range map[string]struct {
		change func(*grant.ServerMetadata)
		same   bool
	}{
		"another path":                          {func(m *grant.ServerMetadata) { m.Token = "https://login.example/other" }, true},
		"no revocation any more":                {func(m *grant.ServerMetadata) { m.Revocation = "" }, true},
		"other methods":                         {func(m *grant.ServerMetadata) { m.AuthMethods = []string{"private_key_jwt"} }, true},
		"aliases that this client does not use": {func(m *grant.ServerMetadata) { m.MTLS.Token = "https://mtls.example/token" }, true},
		"another host":                          {func(m *grant.ServerMetadata) { m.Token = "https://evil.example/token" }, false},
		"another port":                          {func(m *grant.ServerMetadata) { m.Token = "https://login.example:8443/token" }, false},
		"another host for revocation":           {func(m *grant.ServerMetadata) { m.Revocation = "https://evil.example/revoke" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			where, id := origins(test.change)
			if (where == first) != test.same || (id == firstID) != test.same {
				t.Errorf("got %s\nwas %s", where, first)
			}
		})
	}
	t.Run("another issuer of a resource", func(t *testing.T) {
		t.Parallel()
		at := func(issuer string) string {
			e := discovered(t, object{"resource_url": theResource}, Registration{}, metadata(Source{Resource: theResource}, func(m *grant.ServerMetadata) { m.Issuer = issuer }))
			where, err := e.Origin()
			if err != nil {
				t.Fatal(err)
			}
			return where
		}
		if at(theIssuer) == at("https://login.example/other") {
			t.Error("another realm at the same host is the same")
		}
	})
}

func TestAResourceIsNamedInTheRequest(t *testing.T) {
	t.Parallel()
	found := metadata(Source{Resource: theResource}, nil)
	sent := func(config object, r Registration, roles ...Layer) (any, error) {
		own, err := Canonical(Fields(), config)
		if err != nil {
			t.Fatal(err)
		}
		r.ClientID, r.ClientSecret, r.Discovered = "the-client", "the-secret", found
		e, err := Resolve(Layer{}, own, r, roles...)
		if err != nil {
			return nil, err
		}
		request, err := e.Request()
		return request.Parameters["resource"], err
	}
	for name, test := range map[string]struct {
		config       object
		registration Registration
		want         any
	}{
		"found by it":                          {object{"resource_url": theResource}, Registration{}, theResource},
		"beside a token_url":                   {object{"resource_url": theResource, "token_url": plainURL}, Registration{}, theResource},
		"unless parameters say otherwise":      {object{"resource_url": theResource, "parameters": object{"resource": "urn:other"}}, Registration{}, "urn:other"},
		"unless secret_parameters do":          {object{"resource_url": theResource}, Registration{Credentials: Credentials{SecretParameters: object{"resource": "x"}}}, "x"},
		"not where there is none":              {object{"token_url": plainURL}, Registration{}, nil},
		"with literal braces, as it is":        {object{"resource_url": theResource + "/{{x}}", "token_url": plainURL}, Registration{}, theResource + "/%7Bx%7D"},
		"and with the issuer that is written":  {object{"resource_url": theResource, "issuer": theIssuer, "token_url": plainURL}, Registration{}, theResource},
		"with a slash at its end where it has": {object{"resource_url": "https://api.example/", "token_url": plainURL}, Registration{}, "https://api.example/"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := sent(test.config, test.registration); err != nil || asJSON(t, got) != asJSON(t, test.want) {
				t.Errorf("got %v, %v; want %v", got, err, test.want)
			}
		})
	}
	t.Run("and no role names another", func(t *testing.T) {
		t.Parallel()
		_, err := sent(object{"resource_url": theResource}, Registration{}, Layer{"parameters": object{"resource": "urn:other"}})
		wantInvalid(t, err, "which resource_url decides: a role can add parameters")
	})
}

func TestAResourceNamesOneAuthorizationServer(t *testing.T) {
	t.Parallel()
	e := discovered(t, object{"resource_url": theResource}, Registration{}, nil)
	for name, test := range map[string]struct {
		servers []string
		says    string
	}{
		"one":                      {[]string{theIssuer}, ""},
		"none":                     {nil, "names no authorization server"},
		"several, of which to say": {[]string{theIssuer, "https://two.example"}, "leads to metadata that names several authorization servers: write the one at which the client is registered as issuer: " + theIssuer + ", https://two.example"},
		"one on this machine":      {[]string{"https://127.0.0.1/x"}, "leads to this machine"},
		"one of plain http":        {[]string{"http://login.example"}, "uses http://"},
		"one with a query":         {[]string{"https://login.example/?a"}, "has a query"},
		"no URL":                   {[]string{"login"}, "must start with https://"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := e.AuthorizationServer(&grant.ResourceMetadata{Resource: theResource, AuthorizationServers: test.servers})
			if test.says == "" {
				if err != nil || got != theIssuer {
					t.Errorf("got %q, %v", got, err)
				}
				return
			}
			wantInvalid(t, err, test.says)
		})
	}
}

// A config must not redirect what a key of the engine signs. Otherwise its writer could
// name a server of their own, whose metadata names other servers.
func TestAKeyOfTheEngineGoesByWhoNamesTheSource(t *testing.T) {
	t.Parallel()
	elsewhere := func(m *grant.ServerMetadata) { m.Token, m.Revocation = "https://tokens.example/token", "" }
	revoking := func(m *grant.ServerMetadata) { m.Revocation = "https://evil.example/revoke" }
	signs := object{"token_endpoint_auth_method": "private_key_jwt"}
	of := Source{Issuer: theIssuer}
	for name, test := range map[string]struct {
		definition Layer
		config     object
		found      *Discovered
		allowed    []string
		says       string // "" is accepted
	}{
		"for the issuer at the endpoint it names":    {Layer{}, object{"issuer": theIssuer}, metadata(of, elsewhere), nil, ""},
		"for others nowhere that a config finds":     {Layer{}, object{"issuer": theIssuer, "assertion_audience": "https://bank.example"}, metadata(of, nil), []string{"https://bank.example"}, "and the config itself sets token_url"},
		"for others where a provider has the issuer": {Layer{"issuer": theIssuer}, object{"assertion_audience": "https://bank.example"}, metadata(of, nil), []string{"https://bank.example"}, ""},
		"no tokens to a host that a config finds":    {Layer{}, object{"issuer": theIssuer}, metadata(of, revoking), nil, "revocation_url has another host than token_url"},
		"tokens to a host that a provider's has":     {Layer{"issuer": theIssuer}, object{}, metadata(of, revoking), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := discovering(t, test.definition, Overlay(signs, test.config), madeHere(t, test.allowed...), test.found)
			if test.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantInvalid(t, err, test.says)
		})
	}
}

func TestWhatAServerDoesNotListIsTold(t *testing.T) {
	t.Parallel()
	signed := object{"token_endpoint_auth_method": "private_key_jwt"}
	registration := Registration{Credentials: Credentials{ClientID: "c", PrivateKey: newKeyPair(t, signing.ES256).pem, ClientSecret: strings.Repeat("s", 40)}}
	for name, test := range map[string]struct {
		change func(*grant.ServerMetadata)
		config object
		want   string
	}{
		"nothing is listed": {nil, object{}, ""},
		"what is used is":   {func(m *grant.ServerMetadata) { m.AuthMethods = []string{"client_secret_basic"} }, object{}, ""},
		"another method":    {func(m *grant.ServerMetadata) { m.AuthMethods = []string{"private_key_jwt", "none"} }, object{}, `the metadata of issuer "` + theIssuer + `" lists private_key_jwt, none for token_endpoint_auth_method, and not client_secret_basic`},
		"another grant":     {func(m *grant.ServerMetadata) { m.GrantTypes = []string{"authorization_code"} }, object{}, "lists authorization_code for grant_type, and not client_credentials"},
		"no grant at all":   {func(m *grant.ServerMetadata) { m.GrantTypes = []string{"authorization_code"} }, object{"grant_type": "none"}, ""},
		"another algorithm": {func(m *grant.ServerMetadata) { m.AuthAlgorithms = []string{"RS256", "HS256"} }, signed, "lists RS256, HS256 for the algorithm of the client's assertions (signing_algorithm), and not ES256"},
		"that algorithm":    {func(m *grant.ServerMetadata) { m.AuthAlgorithms = []string{"RS256", "ES256"} }, signed, ""},
		"one for a secret":  {func(m *grant.ServerMetadata) { m.AuthAlgorithms = []string{"HS512"} }, object{"token_endpoint_auth_method": "client_secret_jwt"}, "and not HS256"},
		"none is needed":    {func(m *grant.ServerMetadata) { m.AuthAlgorithms = []string{"RS256"} }, object{}, ""},
		"other proofs":      {func(m *grant.ServerMetadata) { m.DPoPAlgorithms = []string{"EdDSA"} }, object{"dpop": true}, "lists EdDSA for the algorithm of proofs (dpop), and not ES256"},
		"those proofs":      {func(m *grant.ServerMetadata) { m.DPoPAlgorithms = []string{"EdDSA", "ES256"} }, object{"dpop": true}, ""},
		"no proofs at all":  {func(m *grant.ServerMetadata) { m.DPoPAlgorithms = []string{"EdDSA"} }, object{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := discovered(t, Overlay(object{"issuer": theIssuer}, test.config), registration, metadata(Source{Issuer: theIssuer}, test.change))
			if got := strings.Join(e.Mismatches(), "\n"); test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
