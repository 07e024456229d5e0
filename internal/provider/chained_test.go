// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

const (
	chainedSecret = "the-token-of-the-source"
	chainedURL    = "https://{source.instance_url|host}/token"
)

// chainedConfig resolves a config with a source_config and these fields.
func chainedConfig(fields object) (*Effective, error) {
	config := object{"client_id": "c", "client_secret": "s", "token_url": plainURL, "source_config": "core"}
	maps.Copy(config, fields)
	maps.DeleteFunc(config, func(_ string, v any) bool { return v == nil })
	return resolveConfig(Layer{}, config)
}

// chainedRequest returns the request of such a config after its source has answered
// with these extra fields.
func chainedRequest(t *testing.T, fields, extra object) (grant.Request, error) {
	t.Helper()
	e, err := chainedConfig(fields)
	if err != nil {
		t.Fatal(err)
	}
	given, err := e.From("source_config", chainedSecret, extra)
	if err != nil {
		return grant.Request{}, err
	}
	return e.WithInputs(given).Request()
}

func TestARequestCarriesWhatItsSourceWasAnswered(t *testing.T) {
	t.Parallel()
	extra := object{"instance_url": "https://Acme.my.example.com/", "org": "o 1", "n": json.Number("12"), "ok": true, "b64": "aGk="}
	r, err := chainedRequest(t, object{
		"token_url":      "https://{source.instance_url|host}/orgs/{source.org}/token?t={source.access_token}",
		"source_hosts":   []any{"*.my.example.com"},
		"http_method":    "POST",
		"grant_type":     "none",
		"variables":      object{"both": object{"value": "{client_id}:{source.access_token}"}},
		"parameters":     object{"token": "{source.access_token}", "n": "{source.n|number}", "ok": "{source.ok}", "both": "{both|base64}", "raw": "{source.b64|base64_decode|hex}"},
		"request_format": "json", "token_endpoint_auth_method": "none",
		"request_headers": object{"Authorization": "Bearer {source.access_token}"},
	}, extra)
	if err != nil {
		t.Fatal(err)
	}
	if want := "https://acme.my.example.com/orgs/o%201/token?t=" + chainedSecret; r.URL != want {
		t.Errorf("asks %s, want %s", r.URL, want)
	}
	if want := (object{"token": chainedSecret, "n": json.Number("12"), "ok": "true", "both": "Yzp0aGUtdG9rZW4tb2YtdGhlLXNvdXJjZQ==", "raw": "6869"}); !reflect.DeepEqual(r.Parameters, want) {
		t.Errorf("parameters %v, want %v", r.Parameters, want)
	}
	if r.Headers["Authorization"] != "Bearer "+chainedSecret {
		t.Errorf("headers %v", r.Headers)
	}
	for _, secret := range []string{chainedSecret, "aGk="} {
		if !slices.Contains(r.Secrets, secret) {
			t.Errorf("an answer may repeat a secret of the source: %q", r.Secrets)
		}
	}
	// Values in a host or a path are not secret, because logs and proxies see them.
	for _, public := range []string{"https://Acme.my.example.com/", "o 1"} {
		if slices.Contains(r.Secrets, public) {
			t.Errorf("%q is taken for a secret, though it stands in the URL", public)
		}
	}
}

func TestABodyCarriesWhatItsSourceWasAnswered(t *testing.T) {
	t.Parallel()
	r, err := chainedRequest(t, object{
		"request_format": "template", "request_headers": object{"Content-Type": "application/json"}, "grant_type": "none", "token_endpoint_auth_method": "none",
		"request_body": `{{"token": {source.access_token|json}, "n": {source.n|number}, "host": {source.url|host|json}}}`,
	}, object{"n": "7", "url": "https://a.example.com:443/x"})
	if want := `{"token": "` + chainedSecret + `", "n": 7, "host": "a.example.com"}`; err != nil || r.Body != want {
		t.Errorf("body %s, %v; want %s", r.Body, err, want)
	}
	if !slices.Contains(r.Secrets, `"a.example.com"`) {
		t.Errorf("what a filter makes of a secret is none: %q", r.Secrets)
	}
}

// The fallback secret is used with the same token of the source.
func TestAFallbackKeepsTheSource(t *testing.T) {
	t.Parallel()
	e, err := chainedConfig(object{"fallback_client_secret": "s2", "token_url": chainedURL, "source_hosts": []any{"a.example.com"}, "parameters": object{"t": "{source.access_token}"}})
	if err != nil {
		t.Fatal(err)
	}
	given, err := e.From("source_config", chainedSecret, object{"instance_url": "https://a.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	other, ok, err := e.WithInputs(given).WithFallback()
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	r, err := other.Request()
	if err != nil || r.URL != "https://a.example.com/token" || r.Parameters["t"] != chainedSecret || slices.Contains(r.Secrets, "https://a.example.com") {
		t.Errorf("got %s, %v, %v", r.URL, r.Parameters, err)
	}
}

func TestAHostOutOfAnAnswerIsOneThatSourceHostsAllows(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		hosts, answer string
		refusal       string // "" if the host is asked
	}{
		"the host":                    {"a.example.com", "https://a.example.com", ""},
		"alone":                       {"a.example.com", "a.example.com", ""},
		"of several":                  {"x.example.com,a.example.com", "https://a.example.com/path?q#f", ""},
		"in capitals":                 {"a.example.com", "HTTPS://A.EXAMPLE.COM", ""},
		"with the port of https":      {"a.example.com", "https://a.example.com:443", ""},
		"below":                       {"*.example.com", "https://a.example.com", ""},
		"far below":                   {"*.example.com", "https://b.a.example.com", ""},
		"another host":                {"a.example.com", "https://b.example.com", "source_hosts does not allow"},
		"above":                       {"*.example.com", "https://example.com", "source_hosts does not allow"},
		"an end that is no label":     {"*.example.com", "https://evilexample.com", "source_hosts does not allow"},
		"an end that goes on":         {"a.example.com", "https://a.example.com.evil.test", "source_hosts does not allow"},
		"a beginning":                 {"*.example.com", "https://a.example.com.evil.test", "source_hosts does not allow"},
		"a dot at the end":            {"a.example.com", "https://a.example.com.", "no valid host"},
		"a user name":                 {"a.example.com", "https://a.example.com@evil.test", "without a login"},
		"a login of two":              {"a.example.com", `https://a.example.com\@evil.test`, "https URL"},
		"a backslash":                 {"a.example.com", `https://evil.test\.a.example.com`, "https URL"},
		"another port":                {"a.example.com", "https://a.example.com:8443", "without a port"},
		"http://":                     {"a.example.com", "http://a.example.com", "https URL"},
		"an address":                  {"a.example.com", "https://192.0.2.1", "IP address"},
		"a number":                    {"a.example.com", "https://3221225985", "https URL or a host"},
		"an address of IPv6":          {"a.example.com", "https://[2001:db8::1]", "lower-case letters"},
		"letters beyond ASCII":        {"a.example.com", "https://ａ.example.com", "https URL or a host"},
		"letters that ToLower maps":   {"k.example.com", "https://\u212a.example.com", "https URL or a host"},
		"an underscore":               {"*.example.com", "https://a_b.example.com", "lower-case letters"},
		"percent-encoded":             {"a.example.com", "https://a%2eexample.com", "https URL"},
		"nothing":                     {"a.example.com", "", "https URL or a host"},
		"this machine":                {"*.example.com", "https://localhost", "source_hosts does not allow"},
		"what stands for it at first": {"*.example.com", "https://source.invalid", "source_hosts does not allow"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var hosts []any
			for _, host := range strings.Split(tc.hosts, ",") {
				hosts = append(hosts, host)
			}
			r, err := chainedRequest(t, object{"token_url": chainedURL, "source_hosts": hosts}, object{"instance_url": tc.answer})
			if tc.refusal != "" {
				wantInvalid(t, err, tc.refusal, "evil.test", "8443", chainedSecret)
				return
			}
			if want := "https://" + map[bool]string{true: "b.a.example.com", false: "a.example.com"}[strings.Contains(tc.answer, "b.a.")] + "/token"; err != nil || r.URL != want {
				t.Errorf("asks %s, %v; want %s", r.URL, err, want)
			}
		})
	}
}

func TestAPartOfAHostOutOfAnAnswer(t *testing.T) {
	t.Parallel()
	fields := object{"token_url": "https://{source.tenant}.example.com/token", "source_hosts": []any{"*.example.com"}}
	if r, err := chainedRequest(t, fields, object{"tenant": "acme"}); err != nil || r.URL != "https://acme.example.com/token" {
		t.Errorf("got %s, %v", r.URL, err)
	}
	for _, tenant := range []string{"evil.test/", "evil.test#", "a@b", "", "-a", "A"} {
		_, err := chainedRequest(t, fields, object{"tenant": tenant})
		wantInvalid(t, err, "token_url", "evil.test")
	}
}

func TestASegmentOutOfAnAnswerIsOneSegment(t *testing.T) {
	t.Parallel()
	for _, org := range []string{"../x", "..", "a/b", "a?b", "a%2fb", ""} {
		_, err := chainedRequest(t, object{"token_url": plainURL + "/{source.org}"}, object{"org": org})
		wantInvalid(t, err, "one path segment")
	}
}

func TestWhatTheSourceDoesNotSay(t *testing.T) {
	t.Parallel()
	fields := object{"parameters": object{"p": "{source.org}"}}
	for says, extra := range map[string]object{
		"came without org": {"other": "x"}, "neither a text nor a number": {"org": object{"a": "hidden"}},
	} {
		_, err := chainedRequest(t, fields, extra)
		wantInvalid(t, err, says, "hidden")
	}
	e, err := chainedConfig(fields)
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Request() // before the source is asked
	wantInvalid(t, err, "not known before")
}

func TestRefusedChains(t *testing.T) {
	t.Parallel()
	hosts := []any{"*.example.com"}
	for name, tc := range map[string]struct {
		fields  object
		refusal string
	}{
		"a source of which nothing is sent":  {nil, "source_config names a config of whose answer nothing is sent"},
		"no source":                          {object{"source_config": nil, "parameters": object{"p": "{source.access_token}"}}, "source_config is required by {source.access_token}"},
		"a host and no hosts":                {object{"token_url": chainedURL}, "source_hosts is required by token_url"},
		"hosts and no host":                  {object{"parameters": object{"p": "{source.access_token}"}, "source_hosts": hosts}, "source_hosts is for a host that comes out of an answer"},
		"the token in the host":              {object{"token_url": "https://{source.access_token}.example.com", "source_hosts": hosts}, "names the secret {source.access_token}"},
		"the token in the path":              {object{"token_url": plainURL + "/{source.access_token}"}, "names the secret {source.access_token}"},
		"the token behind a variable":        {object{"token_url": plainURL + "/{v}", "variables": object{"v": object{"value": "{source.access_token}"}}}, "names the secret {v}"},
		"an extra behind a variable":         {object{"token_url": "https://{v}.example.com", "variables": object{"v": object{"value": "{source.x}"}}, "source_hosts": hosts}, "{v} in its host"},
		"a key in the path":                  {object{"token_url": plainURL + "/{client_id|hmac_sha256:source.x|hex}"}, "names the secret {source.x}"},
		"the scheme":                         {object{"token_url": "{source.url}/token"}, "https://"},
		"the port":                           {object{"token_url": "https://a.example.com:{source.port}/token"}, "is not a URL"},
		"revocation elsewhere":               {object{"parameters": object{"p": "{source.access_token}"}, "revocation_url": "https://a.example.com/r?t={source.access_token}"}, "revocation_url names {source.access_token}, which is known"},
		"a check elsewhere":                  {object{"token_url": plainURL + "/{source.x}", "check_url": "https://a.example.com/{source.x}"}, "check_url names"},
		"a check's headers":                  {object{"parameters": object{"p": "{source.access_token}"}, "check_url": "https://a.example.com", "check_headers": object{"X": "{source.access_token}"}}, "check_headers names {source.access_token}"},
		"a check's headers, behind variable": {object{"variables": object{"v": object{"value": "{source.access_token}"}}, "check_url": "https://a.example.com", "check_headers": object{"X": "{v}"}}, "check_headers names {source.access_token}"},
		"an issuer":                          {object{"token_url": nil, "issuer": "https://{source.x}.example.com", "source_hosts": hosts}, "issuer"},
		"proofs":                             {object{"token_url": plainURL + "/{source.x}", "dpop": true}, "dpop"},
		"a name that no extra field has":     {object{"parameters": object{"p": "{source.Access}", "q": "{source.access_token}"}}, "parameters"},
		"an address":                         {object{"token_url": chainedURL, "source_hosts": []any{"192.0.2.1"}}, "source_hosts holds an IP address"},
		"everything":                         {object{"token_url": chainedURL, "source_hosts": []any{"*"}}, "source_hosts holds an item"},
		"all of a top-level domain":          {object{"token_url": chainedURL, "source_hosts": []any{"*.com"}}, "top-level domain"},
		"an asterisk elsewhere":              {object{"token_url": chainedURL, "source_hosts": []any{"a.*.com"}}, "source_hosts holds an item"},
		"capitals":                           {object{"token_url": chainedURL, "source_hosts": []any{"A.example.com"}}, "lower case"},
		"a dot at the end":                   {object{"token_url": chainedURL, "source_hosts": []any{"a.example.com."}}, "without a dot"},
		"letters beyond ASCII":               {object{"token_url": chainedURL, "source_hosts": []any{"ä.example.com"}}, "punycode"},
		"a URL":                              {object{"token_url": chainedURL, "source_hosts": []any{"https://a.example.com"}}, "source_hosts holds an item"},
		"http://":                            {object{"token_url": "http://{source.x|host}", "source_hosts": hosts}, "http://"},
		"a body that is no JSON":             {object{"request_format": "template", "request_headers": object{"Content-Type": "application/json"}, "grant_type": "none", "token_endpoint_auth_method": "none", "request_body": `{{"a": {source.x|json}`}, "not JSON"},
	} {
		_, err := chainedConfig(tc.fields)
		t.Run(name, func(t *testing.T) { wantInvalid(t, err, tc.refusal) })
	}
}

// A role cannot use the source's token, because the role's writer may not be trusted
// with it.
func TestARoleNamesNothingOfASource(t *testing.T) {
	t.Parallel()
	own := Layer{"token_url": plainURL + "/{source.org}", "parameters": map[string]any{"p": "{source.access_token}"}}
	r := Registration{Credentials: Credentials{ClientID: "c", ClientSecret: "s", SourceConfig: "core"}}
	if _, err := Resolve(Layer{}, own, r, Layer{"parameters": map[string]any{"q": "x"}}); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"{source.access_token}", "{source.other}", "{source.org}", "{client_id|hmac_sha256:source.access_token|hex}"} {
		_, err := Resolve(Layer{}, own, r, Layer{"parameters": map[string]any{"q": text}})
		wantInvalid(t, err, "a role cannot name a secret")
	}
}

func TestTheOriginOfAChain(t *testing.T) {
	t.Parallel()
	of := func(fields object) string {
		t.Helper()
		e, err := chainedConfig(fields)
		if err != nil {
			t.Fatal(err)
		}
		text, err := e.Origin()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	seen := map[string]string{}
	for name, fields := range map[string]object{
		"a host":             {"token_url": chainedURL, "source_hosts": []any{"a.example.com"}},
		"another":            {"token_url": chainedURL, "source_hosts": []any{"b.example.com"}},
		"both":               {"token_url": chainedURL, "source_hosts": []any{"a.example.com", "b.example.com"}},
		"by another extra":   {"token_url": "https://{source.other|host}/token", "source_hosts": []any{"a.example.com"}},
		"at another port":    {"token_url": "https://{source.instance_url|host}:8443/token", "source_hosts": []any{"a.example.com"}},
		"a host of its own":  {"token_url": "https://a.example.com/token", "parameters": object{"t": "{source.access_token}"}},
		"the name of no one": {"token_url": "https://source.invalid/token", "parameters": object{"t": "{source.access_token}"}},
	} {
		text := of(fields)
		if other, twice := seen[text]; twice {
			t.Errorf("%s and %s are one origin: %s", name, other, text)
		}
		seen[text] = name
	}
	if of(object{"token_url": chainedURL, "source_hosts": []any{"b.example.com", "a.example.com"}}) != of(object{"token_url": chainedURL + "/x", "source_hosts": []any{"a.example.com", "b.example.com", "a.example.com"}}) {
		t.Error("the order of the hosts, or the path, makes another origin")
	}
}

// A chained config is shown with its placeholders, as it is written.
func TestAChainIsShownAsItIsWritten(t *testing.T) {
	t.Parallel()
	e, err := chainedConfig(object{
		"token_url": chainedURL, "source_hosts": []any{"a.example.com"}, "grant_type": "none", "token_endpoint_auth_method": "none",
		"request_headers": object{"Authorization": "Bearer {source.access_token}"}, "parameters": object{"h": "{source.access_token|sha256|hex}"},
	})
	if err != nil {
		t.Fatal(err)
	}
	given, err := e.From("source_config", chainedSecret, object{"instance_url": "https://a.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]*Effective{"before": e, "with its values": e.WithInputs(given)} {
		got, err := e.Describe()
		if err != nil {
			t.Fatal(name, err)
		}
		if got["token_url"] != chainedURL {
			t.Errorf("%s: token_url is shown as %v", name, got["token_url"])
		}
		if want := map[string]string{"Authorization": "Bearer {source.access_token}"}; !reflect.DeepEqual(got["request_headers"], want) {
			t.Errorf("%s: headers %v", name, got["request_headers"])
		}
		if want := (object{"h": "{source.access_token|sha256|hex}"}); !reflect.DeepEqual(got["parameters"], want) {
			t.Errorf("%s: parameters %v", name, got["parameters"])
		}
	}
}

// If a config takes its host from an answer, its server is another one than its
// provider's. So the config does not inherit the provider's other endpoints.
func TestAHostOutOfAnAnswerInheritsNoOtherServer(t *testing.T) {
	t.Parallel()
	definition := Layer{"token_url": plainURL, "revocation_url": "https://api.example.com/revoke", "check_url": "https://api.example.com/me"}
	r := Registration{Credentials: Credentials{ClientID: "c", ClientSecret: "s", SourceConfig: "core", SourceHosts: []string{"b.example.com"}}}
	e, err := Resolve(definition, Layer{"token_url": chainedURL}, r)
	if err != nil {
		t.Fatal(err)
	}
	if e.Dialect.RevocationURL+e.Dialect.CheckURL != "" {
		t.Error("its tokens would be shown to its provider's server")
	}
	definition["token_url"] = chainedURL
	if e, err = Resolve(definition, Layer{"token_url": chainedURL}, r); err != nil || e.Dialect.RevocationURL == "" {
		t.Errorf("the same host, and nothing is inherited: %v", err)
	}
}

func TestWhatAProviderRequiresOfAChain(t *testing.T) {
	t.Parallel()
	definition, err := Canonical(DefinitionFields(), object{
		"token_url": chainedURL, "grant_type": "none", "token_endpoint_auth_method": "none", "request_headers": object{"Authorization": "Bearer {source.access_token}"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(definition); err != nil {
		t.Fatal(err)
	}
	required, err := Required(definition)
	if want := []string{"source_config", "source_hosts"}; err != nil || !slices.Equal(required, want) {
		t.Errorf("requires %q, %v; want %q", required, err, want)
	}
	if got, want := Example("oauthcc/", "acme", definition, required), "vault write oauthcc/config/acme provider=acme source_config=SOURCE_CONFIG source_hosts=SOURCE_HOSTS"; got != want {
		t.Errorf("example %s, want %s", got, want)
	}
}
