// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"net/url"
	"strings"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

func bound(t *testing.T, resources ...string) ProofScope {
	t.Helper()
	e, err := Resolve(Layer{}, Layer{
		"token_url": "https://api.example/oauth2/v1/token", "dpop": true, "dpop_resources": resources,
	}, Registration{Credentials: Credentials{ClientID: "id", ClientSecret: "secret"}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := e.ProofScope()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestProofsAreForURLsAtAndBelowTheResources(t *testing.T) {
	t.Parallel()
	s := bound(t, "https://api.example/v1/users", "https://b.example:8443", "http://localhost:8080/", "https://[::1]/x", "https://c.example/a%2Fb/")
	for htu, want := range map[string]string{
		"https://api.example/v1/users":                 "https://api.example/v1/users",
		"https://api.example/v1/users/":                "https://api.example/v1/users/",
		"https://api.example/v1/users/7/groups":        "https://api.example/v1/users/7/groups",
		"https://api.example/v1/users?limit=2#top":     "https://api.example/v1/users",
		"https://api.example/v1/users?next=../../x":    "https://api.example/v1/users",
		"HTTPS://API.example:443/v1/users":             "https://api.example/v1/users",
		"https://api.example/v1/%75sers/a%20b":         "https://api.example/v1/%75sers/a%20b",
		"https://api.example/v1/users/group%2Fproject": "https://api.example/v1/users/group%2Fproject",
		"https://api.example/v1/users/..a/b..;x=1":     "https://api.example/v1/users/..a/b..;x=1",
		"https://api.example/v1/users//7":              "https://api.example/v1/users//7",
		"https://b.example:8443":                       "https://b.example:8443/",
		"https://b.example:8443/anything":              "https://b.example:8443/anything",
		"http://localhost:8080/x":                      "http://localhost:8080/x",
		"https://[::1]/x":                              "https://[::1]/x",
		"https://c.example/a%2fb/c":                    "https://c.example/a%2fb/c",
	} {
		if got, err := s.Target(htu); got != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", htu, got, err, want)
		}
	}
	const outside, dots, noURL = "is not at or below", `"." or ".."`, "absolute URL"
	for htu, says := range map[string]string{
		"https://api.example/v1":                            outside,
		"https://api.example/v1/usersx":                     outside,
		"https://api.example/v1/Users":                      outside,
		"https://api.example/v1//users":                     outside,
		"https://api.example/v1/users%2F7":                  outside,
		"https://api.example/v1/users;x=1":                  outside,
		"https://api.example/":                              outside,
		"https://api.example":                               outside,
		"http://api.example/v1/users":                       outside,
		"https://api.example:8443/v1/users":                 outside,
		"https://api.example./v1/users":                     outside,
		"https://api.example.evil.example/v1/users":         outside,
		"https://evil.example/https://api.example/v1/users": outside,
		"https://b.example/x":                               outside,
		"https://c.example/a/b":                             outside,
		"http://127.0.0.1:8080/x":                           outside,
		"//api.example/v1/users":                            outside,
		"https://api.example//v1/users":                     "two slashes",
		"https://api.example/v1/users/../admin":             dots,
		"https://api.example/v1/users/.":                    dots,
		"https://api.example/v1/users/%2e%2E/admin":         dots,
		"https://api.example/v1/users/%252e%252e/admin":     dots,
		"https://api.example/v1/users/x%2F..%2F..%2Fadmin":  dots,
		"https://api.example/v1/users/x%5c..%5cadmin":       dots,
		"https://api.example/v1/users/..;/admin":            dots,
		"https://api.example/v1/users/..%3Bx/admin":         dots,
		"https://me:pass@api.example/v1/users":              "holds a user",
		"https://api.example/v1/users/\u00fc":               "visible ASCII",
		"https://api.example/v1/users/a b":                  "visible ASCII",
		"https://api.example/v1/users/\n":                   "visible ASCII",
		"https://api.example/v1/users/%zz":                  noURL,
		"https:api.example/v1/users":                        noURL,
		"/v1/users":                                         noURL,
		"":                                                  noURL,
	} {
		_, err := s.Target(htu)
		wantInvalid(t, err, says, "evil.example", "admin", "pass")
		if err != nil && !strings.HasPrefix(err.Error(), "htu ") {
			t.Errorf("%s: the error does not name the field: %v", htu, err)
		}
	}
}

func TestNoReaderGetsAProofForTheTokenEndpoint(t *testing.T) {
	t.Parallel()
	s := bound(t, "https://api.example")
	for _, htu := range []string{
		"https://api.example/oauth2/v1/token", "https://api.example/oauth2/v1/token/", "https://api.example/oauth2/v1/token?x=1", "https://api.example/OAuth2/v1/Token",
		"https://api.example/oauth2//v1/token", "https://api.example/oauth2/v1/token;x=1", "https://api.example/oauth2%2Fv1/token", "https://api.example/oauth2/v1/%74oken",
	} {
		_, err := s.Target(htu)
		wantInvalid(t, err, "is the token endpoint")
	}
	if _, err := s.Target("https://api.example/oauth2/v1/tokens"); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNoResourceIsRefused(t *testing.T) {
	t.Parallel()
	for resource, says := range map[string]string{
		"api.example/v1":                   "must start with https://",
		"https://api.example/v1?x=1":       "holds a URL with a query",
		"https://api.example/v1#x":         "fragment",
		"http://api.example/v1":            "http://",
		"https://api.example/v1/../x":      `"." or ".."`,
		"https://api.example/{secret}":     "",
		"https://{nothing}.example/v1":     "{nothing}",
		"https://api.example/{given}/%2e.": `"." or ".."`,
	} {
		_, err := Resolve(Layer{"variables": map[string]any{"secret": map[string]any{"secret": true}, "given": map[string]any{}}}, Layer{
			"token_url": "https://api.example/token", "dpop": true, "dpop_resources": []string{resource},
		}, Registration{Credentials: Credentials{
			ClientID: "id", ClientSecret: "secret", Variables: map[string]any{"given": "x"}, SecretVariables: map[string]string{"secret": "hidden"},
		}})
		wantInvalid(t, err, says, "hidden")
		if err != nil && !strings.HasPrefix(err.Error(), "dpop_resources ") && resource != "https://{nothing}.example/v1" {
			t.Errorf("%s: %v", resource, err)
		}
	}
}

func TestResourcesAndKeysAreOfTheConfig(t *testing.T) {
	t.Parallel()
	definition := Layer{
		"token_url": "https://{tenant}.example/token", "dpop": true, "dpop_resources": []string{"https://{tenant}.example/api"},
		"variables": map[string]any{"tenant": map[string]any{}},
	}
	r := Registration{Credentials: Credentials{ClientID: "id", ClientSecret: "secret", Variables: map[string]any{"tenant": "acme"}}}
	e, err := Resolve(definition, Layer{}, r)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := e.Describe()
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := shown["dpop_resources"].([]string); len(got) != 1 || got[0] != "https://acme.example/api" {
		t.Errorf("effective shows %v", shown["dpop_resources"])
	}
	identity := func(e *Effective) string {
		t.Helper()
		id, err := e.Identity()
		if err != nil {
			t.Fatal(err)
		}
		return string(id)
	}
	key := func(purpose string) signing.Key {
		k, err := signing.Derive(make([]byte, 32), purpose)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	unbound, err := Resolve(definition, Layer{"dpop": false}, r)
	if err != nil {
		t.Fatal(err)
	}
	moved, err := Resolve(definition, Layer{"dpop_resources": []string{"https://other.example"}}, r)
	if err != nil {
		t.Fatal(err)
	}
	one := identity(e.Bound(key("a")))
	if one == identity(e.Bound(key("b"))) || one == identity(unbound.Bound(key("a"))) {
		t.Error("a token of another key, or of none, passes for this one")
	}
	if one != identity(moved.Bound(key("a"))) {
		t.Error("where the token is used changes which token it is")
	}
}

func TestDPoPIsTheEnginesOwnHeader(t *testing.T) {
	t.Parallel()
	for _, field := range []string{"request_headers", "check_headers"} {
		_, err := Resolve(Layer{}, Layer{"token_url": "https://api.example/token", "dpop": true, field: map[string]any{"dpop": "x"}},
			Registration{Credentials: Credentials{ClientID: "id", ClientSecret: "secret"}})
		wantInvalid(t, err, "holds DPoP")
	}
}

// Every URL that is signed is below a resource, both for a server that normalizes
// URLs (RFC 3986 section 6.2.2) and for one that does not.
func FuzzProofTarget(f *testing.F) {
	for _, seed := range []string{
		"https://api.example/v1/users/7", "https://api.example/v1/users/%2e%2e/x", "https://api.example:443/v1/users;a/..;b/c",
		"https://api.example/v1/users/%252e%252e%252fx", `https://api.example/v1/users/\..\x`, "https://api.example/v1/users//..//x",
	} {
		f.Add(seed)
	}
	base, err := url.Parse("https://api.example/v1/users")
	if err != nil {
		f.Fatal(err)
	}
	s := ProofScope{below: []*url.URL{base}, never: &url.URL{Scheme: "https", Host: "api.example", Path: "/token"}}
	f.Fuzz(func(t *testing.T, htu string) {
		got, err := s.Target(htu)
		if err != nil {
			return
		}
		for path := got; ; {
			u, err := url.Parse(strings.ReplaceAll(path, `\`, "/"))
			if err != nil {
				break // nothing more can be decoded
			}
			if reached := u.JoinPath(); !strings.HasPrefix(got, "https://api.example/") ||
				reached.Path != "/v1/users" && !strings.HasPrefix(reached.Path, "/v1/users/") {
				t.Fatalf("%q is signed as %q, which reaches %q", htu, got, reached)
			}
			again, err := url.PathUnescape(path)
			if err != nil || again == path || strings.ContainsAny(again, "?#") {
				break
			}
			path = again
		}
		if again, err := s.Target(got); again != got || err != nil {
			t.Fatalf("%q is signed as %q, and that as %q, %v", htu, got, again, err)
		}
	})
}
