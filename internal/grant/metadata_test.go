// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

type object = map[string]any

// publisher runs a server that publishes nothing at first.
func publisher(t *testing.T) *providertest.Server {
	t.Helper()
	return providertest.Start(t, providertest.RFC6749, providertest.Options{})
}

func serverMetadata(t *testing.T, issuer string) (*ServerMetadata, error) {
	t.Helper()
	c := NewClient(Options{Now: clock})
	defer c.Close()
	return c.ServerMetadata(t.Context(), issuer, MetadataRequest{Field: "issuer", Timeout: 5 * time.Second})
}

func TestAServerIsFoundAtTheWellKnownAddressesOfBothStandards(t *testing.T) {
	for name, test := range map[string]struct{ path, at string }{
		"RFC 8414, of a host":                      {"", providertest.WellKnownServer},
		"RFC 8414, of a path":                      {"/tenant/one", providertest.WellKnownServer + "/tenant/one"},
		"RFC 8414, of a path that ends in a slash": {"/tenant/", providertest.WellKnownServer + "/tenant"},
		"OpenID Connect, of a host":                {"", providertest.WellKnownOpenID},
		"OpenID Connect, of a host and a slash":    {"/", providertest.WellKnownOpenID},
		"OpenID Connect, of a path":                {"/realms/one", "/realms/one" + providertest.WellKnownOpenID},
		"OpenID Connect, as RFC 8414 has it":       {"/realms/one", providertest.WellKnownOpenID + "/realms/one"},
	} {
		t.Run(name, func(t *testing.T) {
			s := publisher(t)
			issuer := s.URL() + test.path
			s.Publish(test.at, object{
				"issuer": issuer, "token_endpoint": s.URL() + "/token", "revocation_endpoint": s.URL() + "/revoke",
				"mtls_endpoint_aliases":                            object{"token_endpoint": s.URL() + "/mtls/token"},
				"token_endpoint_auth_methods_supported":            []any{"private_key_jwt", "client_secret_basic"},
				"grant_types_supported":                            []any{"client_credentials"},
				"token_endpoint_auth_signing_alg_values_supported": []any{"RS256"}, "dpop_signing_alg_values_supported": []any{"ES256"},
				"jwks_uri": s.URL() + "/jwks",
			}, nil)
			got, err := serverMetadata(t, issuer)
			if err != nil {
				t.Fatal(err)
			}
			want := &ServerMetadata{
				Issuer: issuer, Endpoints: Endpoints{Token: s.URL() + "/token", Revocation: s.URL() + "/revoke"},
				MTLS:        Endpoints{Token: s.URL() + "/mtls/token"},
				AuthMethods: []string{"private_key_jwt", "client_secret_basic"}, GrantTypes: []string{"client_credentials"},
				AuthAlgorithms: []string{"RS256"}, DPoPAlgorithms: []string{"ES256"},
				Validity: Validity{ReadAt: clock(), FreshUntil: clock().Add(time.Hour)},
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestADocumentOfAnotherIsNotUsed(t *testing.T) {
	s := publisher(t)
	for name, other := range map[string]any{
		"another host":            "https://other.example",
		"another path":            s.URL() + "/tenant",
		"a slash more":            s.URL() + "/",
		"another case":            strings.ToUpper(s.URL()),
		"a list that it is among": []any{s.URL()},
		"none":                    nil,
	} {
		t.Run(name, func(t *testing.T) {
			s.Publish(providertest.WellKnownServer, object{"issuer": other, "token_endpoint": s.URL() + "/token"}, nil)
			got, err := serverMetadata(t, s.URL())
			var failed *Error
			if got != nil || !errors.As(err, &failed) || failed.Kind != Misconfigured {
				t.Fatalf("got %v, %v", got, err)
			}
			if text, isText := other.(string); isText && !strings.Contains(failed.Error(), fmt.Sprintf("is that of %q", text)) {
				t.Errorf("the error does not say whose document it is: %s", failed)
			}
		})
	}
	t.Run("and the right one is looked for further on", func(t *testing.T) {
		s.Publish(providertest.WellKnownServer, object{"issuer": "https://other.example", "token_endpoint": s.URL() + "/wrong"}, nil)
		s.Publish(providertest.WellKnownOpenID, object{"issuer": s.URL(), "token_endpoint": s.URL() + "/right"}, nil)
		if got, err := serverMetadata(t, s.URL()); err != nil || got.Token != s.URL()+"/right" {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

func TestWhatCannotBeFoundIsExplained(t *testing.T) {
	good := func(s *providertest.Server) object {
		return object{"issuer": s.URL(), "token_endpoint": s.URL() + "/token"}
	}
	for name, test := range map[string]struct {
		prepare func(s *providertest.Server)
		kind    Kind
		says    []string
	}{
		"nothing is published": {func(*providertest.Server) {}, Misconfigured,
			[]string{"/.well-known/oauth-authorization-server answered HTTP 404, and ", "/.well-known/openid-configuration answered HTTP 404", "check issuer, or write token_url"}},
		"no token endpoint": {func(s *providertest.Server) { s.Publish(providertest.WellKnownServer, object{"issuer": s.URL()}, nil) }, Misconfigured,
			[]string{"names no token_endpoint; write token_url"}},
		"a token endpoint longer than any": {func(s *providertest.Server) {
			s.Publish(providertest.WellKnownServer, object{"issuer": s.URL(), "token_endpoint": s.URL() + "/" + strings.Repeat("x", 2048)}, nil)
		}, Misconfigured, []string{"names no token_endpoint"}},
		"a token endpoint that is no text": {func(s *providertest.Server) {
			s.Publish(providertest.WellKnownServer, object{"issuer": s.URL(), "token_endpoint": []any{s.URL() + "/token"}}, nil)
		}, Misconfigured, []string{"names no token_endpoint"}},
		"a token endpoint with a line break": {func(s *providertest.Server) {
			s.Publish(providertest.WellKnownServer, object{"issuer": s.URL(), "token_endpoint": s.URL() + "/token\nx"}, nil)
		}, Misconfigured, []string{"names no token_endpoint"}},
		"a redirect, which is not followed": {func(s *providertest.Server) {
			s.Publish("/elsewhere", good(s), nil)
			s.Publish(providertest.WellKnownServer, good(s), nil)
			s.Behave(providertest.Behavior{Published: true, Redirect: s.URL() + "/elsewhere", Times: -1})
		}, Misconfigured, []string{"answered HTTP 307"}},
		"a page for people": {func(s *providertest.Server) {
			s.Publish(providertest.WellKnownServer, good(s), nil)
			s.Behave(providertest.Behavior{Published: true, Body: "<html>hello</html>", Times: -1})
		}, Misconfigured, []string{"answered HTTP 200 without a JSON object"}},
		"more than a megabyte": {func(s *providertest.Server) {
			s.Publish(providertest.WellKnownServer, good(s), nil)
			s.Behave(providertest.Behavior{Published: true, Body: `{"x":"` + strings.Repeat("x", 1<<20) + `"}`, Times: -1})
		}, Unintelligible, []string{"larger than 1 MiB"}},
		"more members than any": {func(s *providertest.Server) {
			s.Publish(providertest.WellKnownServer, good(s), nil)
			s.Behave(providertest.Behavior{Published: true, Body: `{"issuer":"` + s.URL() + `","x":[` + strings.Repeat("[],", 20_000) + `[]]}`, Times: -1})
		}, Misconfigured, []string{"without a JSON object"}},
		"the server is out of order": {func(s *providertest.Server) {
			s.Publish(providertest.WellKnownServer, good(s), nil)
			s.Behave(providertest.Behavior{Published: true, Status: http.StatusInternalServerError, Times: -1})
		}, Unavailable, []string{"answered HTTP 500"}},
		"the server limits the rate": {func(s *providertest.Server) {
			s.Publish(providertest.WellKnownServer, good(s), nil)
			s.Behave(providertest.Behavior{Published: true, Status: http.StatusTooManyRequests, Times: -1})
		}, RateLimited, []string{"answered HTTP 429"}},
		"nobody listens": {func(s *providertest.Server) { s.Close() }, Unavailable, []string{"check issuer's host and port"}},
		"it hangs": {func(s *providertest.Server) {
			s.Publish(providertest.WellKnownServer, good(s), nil)
			s.Behave(providertest.Behavior{Published: true, Hang: true, Times: -1})
		}, TooSlow, []string{"no answer within 1s (request_timeout)"}},
	} {
		t.Run(name, func(t *testing.T) {
			overAWire(t, func(t *testing.T, w *providertest.Wire) {
				s := providertest.Start(t, providertest.RFC6749, providertest.Options{Wire: w})
				test.prepare(s)
				c := NewClient(optionsOver(w.DialContext))
				defer c.Close()
				got, err := c.ServerMetadata(t.Context(), s.URL(), MetadataRequest{Field: "issuer", Timeout: time.Second})
				var failed *Error
				if got != nil || !errors.As(err, &failed) {
					t.Fatalf("got %v, %v", got, err)
				}
				if failed.Kind != test.kind {
					t.Errorf("kind %d, want %d: %s", failed.Kind, test.kind, failed)
				}
				for _, want := range test.says {
					if !strings.Contains(failed.Error(), want) {
						t.Errorf("%q says nothing of %q", failed, want)
					}
				}
			})
		})
	}
}

// The requests for metadata share one request_timeout. The error says how long that
// was, and whether there was a connection, as for any other request.
func TestMetadataThatTakesTooLongSaysSo(t *testing.T) {
	server := func(ctx context.Context, c *Client, url string, r MetadataRequest) error {
		_, err := c.ServerMetadata(ctx, url, r)
		return err
	}
	resource := func(ctx context.Context, c *Client, url string, r MetadataRequest) error {
		_, err := c.ResourceMetadata(ctx, url, r)
		return err
	}
	both := func(ctx context.Context, c *Client, url string, r MetadataRequest) error {
		ctx, cancel := WithTimeout(ctx, r.Timeout)
		defer cancel()
		return server(ctx, c, url, r)
	}
	nowhere := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for name, test := range map[string]struct {
		ask     func(ctx context.Context, c *Client, url string, r MetadataRequest) error
		dial    func(ctx context.Context, network, address string) (net.Conn, error)
		callers time.Duration // 0 for none
		detail  string
	}{
		"a server that hangs":             {ask: server, detail: "no answer within 1s (request_timeout)"},
		"a resource that hangs":           {ask: resource, detail: "no answer within 1s (request_timeout)"},
		"both in one limit":               {ask: both, detail: "no answer within 1s (request_timeout)"},
		"a host that is not there":        {ask: server, dial: nowhere, detail: "no connection within 1s (request_timeout): nothing answers there"},
		"a caller whose time ends before": {ask: server, callers: 750 * time.Millisecond, detail: "no answer in time"},
	} {
		t.Run(name, func(t *testing.T) {
			overAWire(t, func(t *testing.T, w *providertest.Wire) {
				s := providertest.Start(t, providertest.RFC6749, providertest.Options{Wire: w})
				s.Publish(providertest.WellKnownServer, object{}, nil)
				s.Publish(providertest.WellKnownResource, object{}, nil)
				s.Behave(providertest.Behavior{Published: true, Hang: true, Times: -1})
				dial := w.DialContext
				if test.dial != nil {
					dial = test.dial
				}
				ctx, cancel := context.WithTimeout(t.Context(), cmp.Or(test.callers, time.Hour))
				defer cancel()
				c := NewClient(optionsOver(dial))
				defer c.Close()
				err := test.ask(ctx, c, s.URL(), MetadataRequest{Field: "issuer", Timeout: time.Second})
				var failed *Error
				if !errors.As(err, &failed) || failed.Kind != TooSlow || failed.Detail != test.detail {
					t.Errorf("got %v, want %q", err, test.detail)
				}
			})
		})
	}
}

func TestAProtectedResourceIsFoundAtItsWellKnownAddress(t *testing.T) {
	for name, test := range map[string]struct{ path, at string }{
		"of a host":               {"", providertest.WellKnownResource},
		"of a path":               {"/mcp", providertest.WellKnownResource + "/mcp"},
		"of a path, for the host": {"/mcp", providertest.WellKnownResource},
	} {
		t.Run(name, func(t *testing.T) {
			s := publisher(t)
			resource := s.URL() + test.path
			s.Publish(test.at, object{"resource": resource, "authorization_servers": []any{"https://one.example", "https://two.example/x"}}, nil)
			c := NewClient(Options{Now: clock})
			defer c.Close()
			got, err := c.ResourceMetadata(t.Context(), resource, MetadataRequest{Field: "resource_url", Timeout: 5 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			if want := []string{"https://one.example", "https://two.example/x"}; got.Resource != resource || !reflect.DeepEqual(got.AuthorizationServers, want) {
				t.Errorf("got %+v", got)
			}
		})
	}
	t.Run("and one that names another resource is refused with that name", func(t *testing.T) {
		s := publisher(t)
		s.Publish(providertest.WellKnownResource, object{"resource": s.URL(), "authorization_servers": []any{"https://one.example"}}, nil)
		c := NewClient(Options{Now: clock})
		defer c.Close()
		got, err := c.ResourceMetadata(t.Context(), s.URL()+"/mcp", MetadataRequest{Field: "resource_url", Timeout: 5 * time.Second})
		if want := fmt.Sprintf("is that of %q (if this is what the server calls itself, write it as resource_url)", s.URL()); got != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

func TestADocumentIsKeptForAsLongAsItsServerSaysWithinBounds(t *testing.T) {
	at := func(d time.Duration) string { return clock().Add(d).Format(http.TimeFormat) }
	for name, test := range map[string]struct {
		header http.Header
		want   time.Duration
	}{
		"nothing is said":                   {http.Header{}, time.Hour},
		"max-age":                           {http.Header{"Cache-Control": {"public, max-age=7200"}}, 2 * time.Hour},
		"max-age, quoted and in capitals":   {http.Header{"Cache-Control": {`MAX-AGE="7200"`}}, 2 * time.Hour},
		"max-age, less what has passed":     {http.Header{"Cache-Control": {"max-age=7200"}, "Age": {"3600"}}, time.Hour},
		"max-age of no number":              {http.Header{"Cache-Control": {"max-age=long"}}, 5 * time.Minute},
		"max-age over Expires":              {http.Header{"Cache-Control": {"max-age=7200"}, "Expires": {at(time.Hour)}}, 2 * time.Hour},
		"Expires":                           {http.Header{"Expires": {at(3 * time.Hour)}}, 3 * time.Hour},
		"Expires, by the server's clock":    {http.Header{"Expires": {at(3 * time.Hour)}, "Date": {at(2 * time.Hour)}}, time.Hour},
		"Expires that is no date":           {http.Header{"Expires": {"0"}}, 5 * time.Minute},
		"Expires in the past":               {http.Header{"Expires": {at(-time.Hour)}}, 5 * time.Minute},
		"no-store":                          {http.Header{"Cache-Control": {"no-store", "max-age=7200"}}, 5 * time.Minute},
		"no-cache":                          {http.Header{"Cache-Control": {"no-cache"}}, 5 * time.Minute},
		"a moment is made five minutes":     {http.Header{"Cache-Control": {"max-age=1"}}, 5 * time.Minute},
		"a year is made a day":              {http.Header{"Cache-Control": {"max-age=31536000"}}, 24 * time.Hour},
		"more than any number is no number": {http.Header{"Cache-Control": {"max-age=99999999999999999999"}}, 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			if got := freshness(test.header, clock()); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
