// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

func TestTheParameterOfAChallenge(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		lines []string
		want  string
	}{
		"quoted":                          {[]string{`Bearer resource_metadata="https://a.example/m"`}, "https://a.example/m"},
		"unquoted":                        {[]string{`Bearer resource_metadata=https://a.example/m`}, "https://a.example/m"},
		"of another scheme":               {[]string{`DPoP algs="ES256", resource_metadata="m"`}, "m"},
		"in another case, with spaces":    {[]string{"bearer  Resource_Metadata =\t\"m\""}, "m"},
		"among others":                    {[]string{`Bearer realm="x, y", error="invalid_token", resource_metadata="m", scope="a b"`}, "m"},
		"with escapes":                    {[]string{`Bearer realm="\"", resource_metadata="m\\\"n"`}, `m\"n`},
		"in a later challenge":            {[]string{`Basic realm="x", Bearer resource_metadata="m"`}, "m"},
		"after a scheme alone":            {[]string{`Negotiate, Bearer resource_metadata="m"`}, "m"},
		"after a token68":                 {[]string{`Negotiate YII/a+b==, Bearer resource_metadata="m"`}, "m"},
		"in a later line":                 {[]string{`Basic realm="x"`, `Bearer resource_metadata="m"`}, "m"},
		"the first of two":                {[]string{`Bearer resource_metadata="m", resource_metadata="n"`}, "m"},
		"after a line that is none":       {[]string{`"`, `Bearer resource_metadata="m"`}, "m"},
		"with nothing between parameters": {[]string{`Bearer realm="x"resource_metadata="m"`}, "m"},
		"empty":                           {[]string{`Bearer resource_metadata=, x=y`}, ""},
		"within another value":            {[]string{`Bearer realm="resource_metadata=\"m\", resource_metadata=m"`}, ""},
		"a longer name":                   {[]string{`Bearer x_resource_metadata="m", resource_metadata_x="n"`}, ""},
		"a value that does not end":       {[]string{`Bearer resource_metadata="m`}, ""},
		"a value that ends in an escape":  {[]string{`Bearer resource_metadata="m\`}, ""},
		"a scheme of that name":           {[]string{`resource_metadata`}, ""},
		"nothing":                         {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := metadataIn(http.Header{"Www-Authenticate": test.lines}); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// FuzzChallenge checks that text in one parameter's value is never read as another
// parameter, and that each value is read as it was meant.
func FuzzChallenge(f *testing.F) {
	f.Add(`x", resource_metadata="y`, `https://a.example/m?"\`, "Negotiate abc==,")
	f.Add("", "", "Basic realm=")
	f.Fuzz(func(t *testing.T, realm, value, line string) {
		quoted := func(s string) string { return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"` }
		lines := []string{`Negotiate a/b==, Bearer realm=` + quoted(realm) + `, resource_metadata=` + quoted(value)}
		if got := metadataIn(http.Header{"Www-Authenticate": lines}); got != value {
			t.Errorf("got %q of %q", got, lines)
		}
		if got := metadataIn(http.Header{"Www-Authenticate": {line}}); len(got) > len(line) {
			t.Errorf("got %q of %q", got, line)
		}
	})
}

func TestAProtectedResourceSaysWhereItsMetadataIs(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		challenge func(url string) string
		document  func(resource string) object // at /meta
		says      string                       // why nothing is found; "" if it is found
	}{
		"by a challenge": {
			func(url string) string { return `Bearer error="invalid_token", resource_metadata="` + url + `/meta"` },
			func(resource string) object { return object{"resource": resource} }, "",
		},
		"but that is another's": {
			func(url string) string { return `Bearer resource_metadata="` + url + `/meta"` },
			func(resource string) object { return object{"resource": resource + "/x"} }, "/meta is that of ",
		},
		"but there is none": {
			func(url string) string { return `Bearer resource_metadata="` + url + `/elsewhere"` }, nil, "/elsewhere answered HTTP 404",
		},
		"at another host, which is not asked": {
			func(string) string { return `Bearer resource_metadata="https://other.example/meta"` }, nil, "not a URL of its own scheme and host",
		},
		"at another port, which is not asked": {
			func(string) string { return `Bearer resource_metadata="http://127.0.0.1:1/meta"` }, nil, "not a URL of its own scheme and host",
		},
		"with a login, which is not sent": {
			func(url string) string {
				return `Bearer resource_metadata="` + strings.Replace(url, "://", "://a:b@", 1) + `/meta"`
			}, nil, "not a URL of its own scheme and host",
		},
		"by a path":   {func(string) string { return `Bearer resource_metadata="/meta"` }, nil, "not a URL of its own scheme and host"},
		"to nobody":   {func(string) string { return "Bearer" }, nil, "the resource itself was asked as well, and answered HTTP 401 without resource_metadata"},
		"but no more": {func(string) string { return "" }, nil, "/.well-known/oauth-protected-resource/mcp answered HTTP 404"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.StartFunc(t, "/mcp", func(w http.ResponseWriter, r *http.Request, _ []byte) {
				if r.Method != http.MethodGet || r.Header.Get("Authorization") != "" {
					t.Errorf("was asked by %s with %v", r.Method, r.Header)
				}
				w.Header().Set("WWW-Authenticate", test.challenge("http://"+r.Host))
				w.WriteHeader(http.StatusUnauthorized)
			})
			resource := s.URL() + "/mcp"
			if test.document != nil {
				document := test.document(resource)
				document["authorization_servers"] = []any{"https://as.example"}
				s.Publish("/meta", document, nil)
			}
			c := NewClient(Options{Now: clock})
			defer c.Close()
			got, err := c.ResourceMetadata(t.Context(), resource, MetadataRequest{Field: "resource_url", Timeout: 5 * time.Second})
			switch {
			case test.says == "" && (err != nil || got.Resource != resource || len(got.AuthorizationServers) != 1):
				t.Errorf("got %+v, %v", got, err)
			case test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)):
				t.Errorf("got %+v, %v, want %q", got, err, test.says)
			}
		})
	}
}
