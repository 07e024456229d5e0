// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// describes lets a server publish its metadata, with the endpoints that it really has.
// more adds members or replaces them.
func describes(s *providertest.Server, more fields) {
	s.Publish(providertest.WellKnownServer, with(fields{
		"issuer": s.URL(), "token_endpoint": s.TokenURL(), "revocation_endpoint": s.RevocationURL(),
	}, more), nil)
}

// byIssuer returns a config that names the server by its issuer, and no endpoint.
func byIssuer(s *providertest.Server) fields {
	c := s.Credentials()
	return fields{"issuer": s.URL(), "client_id": c.ClientID, "client_secret": c.ClientSecret}
}

// discovering returns an engine whose config/c found its endpoints from metadata. The
// server allows its metadata to be kept for an hour.
func discovering(t *testing.T, more fields) (*engine, *providertest.Server) {
	t.Helper()
	e := mount(t)
	return e, e.discovering(t, more)
}

func (e *engine) discovering(t *testing.T, more fields) *providertest.Server {
	t.Helper()
	s := e.server(t, providertest.RFC6749, providertest.Options{Lifetime: 10 * time.Minute})
	describes(s, nil)
	e.must(t, "config/c", with(byIssuer(s), more))
	return s
}

// reads returns how often the server was asked for its metadata.
func reads(s *providertest.Server) int { return s.PublishedReads(providertest.WellKnownServer) }

// mints lets the last token expire, so that the read mints another one, and returns
// what the reader gets.
func mints(t *testing.T, e *engine) result {
	t.Helper()
	e.clock.advance(10 * time.Minute)
	return e.read(t, "token/c")
}

func TestAConfigIsKnownByItsIssuerAlone(t *testing.T) {
	e, s := discovering(t, nil)
	if token := e.read(t, "token/c").token(t); !s.Valid(token) {
		t.Error("a token of nobody")
	}
	effective := e.read(t, "config/c").object(t, "effective")
	wantMembers(t, effective, fields{"issuer": s.URL(), "token_url": s.TokenURL(), "revocation_url": s.RevocationURL()})
	found := fields{
		"issuer": s.URL(), "token_url": s.TokenURL(), "revocation_url": s.RevocationURL(),
		"read_at": "2026-01-02T03:04:05Z", "fresh_until": "2026-01-02T04:04:05Z",
	}
	wantMembers(t, e.read(t, "status/c").object(t, "discovered"), found)
	e.clock.advance(4 * time.Second)
	wantMembers(t, update(t, e, "check/c", nil).object(t, "discovered"), found) // was read when the config was written
	if got := reads(s); got != 1 {
		t.Errorf("the metadata was asked for %d times", got)
	}
	r := e.read(t, "config/c").data(t)
	if r["token_url"] != nil || r["discovered"] != nil {
		t.Errorf("the config's own fields hold what was found: %v", r)
	}
}

func TestAWrittenTokenURLWinsOverTheIssuersMetadata(t *testing.T) {
	e, s := discovering(t, nil)
	describes(s, fields{"token_endpoint": s.URL() + "/wrong"})
	before := reads(s)
	e.must(t, "config/c", with(byIssuer(s), fields{"token_url": s.TokenURL()}))
	succeeded(t, e.read(t, "token/c"))
	if reads(s) != before || e.read(t, "status/c").data(t)["discovered"] != nil {
		t.Error("it was asked for all the same")
	}
}

func TestTokensAreRevokedWhereTheMetadataSays(t *testing.T) {
	e, s := discovering(t, fields{"reuse": false})
	r := e.read(t, "token/c")
	succeeded(t, e.revokeLease(t, r.resp.Secret))
	if s.Valid(r.token(t)) || s.RevocationRequests() != 1 {
		t.Errorf("%d requests", s.RevocationRequests())
	}
}

func TestAConfigIsNotWrittenWithoutItsEndpoints(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(s *providertest.Server)
		status  int
		says    []string
	}{
		"no metadata":             {func(*providertest.Server) {}, 400, []string{`config "c": not written`, "there is no metadata of issuer", "answered HTTP 404", "write token_url"}},
		"another's metadata":      {func(s *providertest.Server) { describes(s, fields{"issuer": "https://other.example"}) }, 400, []string{`is that of "https://other.example"`}},
		"endpoints of plain http": {func(s *providertest.Server) { describes(s, fields{"token_endpoint": "http://192.0.2.1/token"}) }, 400, []string{"uses http://"}},
		"a server out of order": {func(s *providertest.Server) {
			describes(s, nil)
			s.Behave(providertest.Behavior{Published: true, Status: 500, Times: -1})
		}, 502, []string{"answered HTTP 500"}},
		"nobody there": {func(s *providertest.Server) { s.Close() }, 502, []string{"check issuer's host and port"}},
		"a server that hangs": {func(s *providertest.Server) {
			describes(s, nil)
			s.Behave(providertest.Behavior{Published: true, Hang: true, Times: -1})
		}, 504, []string{"no answer within 10s (request_timeout)"}},
	} {
		t.Run(name, func(t *testing.T) {
			overAWire(t, func(t *testing.T, e *engine) {
				s := e.server(t, providertest.RFC6749, providertest.Options{})
				test.prepare(s)
				refused(t, e.write(t, "config/c", byIssuer(s)), test.status, test.says...)
				if len(e.list(t, "config/")) != 0 {
					t.Error("it was written")
				}
				asked(t, s, 0)
			})
		})
	}
}

// The engine uses a server's metadata for as long as the server allows. Then it asks
// for the metadata again in the background, and readers do not wait.
func TestMetadataIsReadAgainBehindTheReaders(t *testing.T) {
	e, s := discovering(t, nil)
	succeeded(t, e.read(t, "token/c"))
	for range 5 {
		succeeded(t, mints(t, e))
	}
	if got := reads(s); got != 1 {
		t.Errorf("asked %d times within the hour", got)
	}
	s.Behave(providertest.Behavior{Published: true, Hang: true})
	e.clock.advance(time.Hour)
	succeeded(t, e.read(t, "token/c")) // the server does not answer the request for metadata, and the reader does not wait for it
	eventually(t, "the metadata is asked for", func() bool { return reads(s) == 2 })
	succeeded(t, mints(t, e))
	if got := reads(s); got != 2 {
		t.Errorf("asked %d times at once", got)
	}
}

func TestOldEndpointsAreUsedWhileTheServerGivesNone(t *testing.T) {
	for name, trouble := range map[string]providertest.Behavior{
		"an error":           {Status: 500},
		"a page":             {Body: "<html>"},
		"another's metadata": {Body: `{"issuer":"https://other.example","token_endpoint":"https://other.example/token"}`},
	} {
		t.Run(name, func(t *testing.T) {
			overAWire(t, func(t *testing.T, e *engine) {
				s := e.discovering(t, fields{"reuse": false})
				trouble.Published, trouble.Times = true, -1
				s.Behave(trouble)
				e.clock.advance(time.Hour)
				succeeded(t, e.read(t, "token/c"))
				eventually(t, "the failure is told", func() bool { return e.read(t, "status/c").data(t)["discovery_error"] != nil })
				told := e.read(t, "status/c")
				if text, _ := told.data(t)["discovery_error"].(string); !strings.Contains(text, "cannot be found") || !strings.Contains(text, s.URL()) {
					t.Errorf("got %q", text)
				}
				wantMembers(t, told.object(t, "discovered"), fields{"token_url": s.TokenURL()})

				e = e.restart(t) // also with a process that has never read the metadata
				succeeded(t, mints(t, e))
				r := update(t, e, "check/c", nil)
				wantMembers(t, r.data(t), fields{"status": "ok"})
				warned(t, r, "those that were found before are used")

				synctest.Wait() // for the metadata that is read in the background
				before := reads(s)
				e.clock.advance(metadataAgain - time.Second)
				succeeded(t, e.read(t, "token/c"))
				synctest.Wait()
				if reads(s) != before {
					t.Error("asked again at once")
				}
				s.Reset()
				e.clock.advance(time.Second)
				succeeded(t, e.read(t, "token/c"))
				eventually(t, "the failure is over", func() bool { return e.read(t, "status/c").data(t)["discovery_error"] == nil })
			})
		})
	}
}

// metadataAgain is how long after a failed request the engine asks a server for its
// metadata again.
const metadataAgain = time.Minute

func TestEndpointsThatMoveWithinTheirHostAreFollowed(t *testing.T) {
	e, s := discovering(t, nil)
	succeeded(t, e.read(t, "token/c"))
	describes(s, fields{"token_endpoint": s.URL() + "/moved", "revocation_endpoint": nil})
	s.Publish("/moved", fields{}, nil) // this path answers 405 to a POST
	e.clock.advance(time.Hour)
	succeeded(t, e.read(t, "token/c")) // at the old endpoint; the new one is found in the background
	eventually(t, "the move is seen", func() bool {
		found, _ := e.read(t, "status/c").data(t)["discovered"].(map[string]any)
		return found["token_url"] == s.URL()+"/moved" && found["revocation_url"] == nil
	})
	refused(t, mints(t, e), http.StatusBadRequest, "HTTP 405")
}

// An endpoint that fails may have moved. So the engine reads the metadata that named it
// again at once.
func TestAFailingEndpointHasItsMetadataReadAnew(t *testing.T) {
	e, s := discovering(t, nil)
	e.clock.advance(2 * metadataAgain)
	s.Behave(providertest.Behavior{Status: http.StatusNotFound, Body: "{}"})
	refused(t, e.read(t, "token/c"), http.StatusBadRequest, "HTTP 404")
	eventually(t, "the metadata is read anew", func() bool { return reads(s) == 2 })
}

// Whoever controls the metadata must not control where the credentials go. A host that
// the operator did not confirm gets none.
func TestCredentialsAreHeldFromAHostThatTheOperatorDidNotConfirm(t *testing.T) {
	for name, change := range map[string]func(thief *providertest.Server) fields{
		"of the token endpoint":      func(thief *providertest.Server) fields { return fields{"token_endpoint": thief.TokenURL()} },
		"of the revocation endpoint": func(thief *providertest.Server) fields { return fields{"revocation_endpoint": thief.RevocationURL()} },
	} {
		t.Run(name, func(t *testing.T) {
			e, s := discovering(t, nil)
			token := e.read(t, "token/c").token(t)
			thief := e.server(t, providertest.RFC6749, providertest.Options{})
			describes(s, change(thief))
			e.clock.advance(5 * time.Minute)
			warned(t, update(t, e, "config/c", byIssuer(s))) // the write holds the secrets, so it confirms the new host
			describes(s, nil)
			e.clock.advance(5 * time.Minute)
			warned(t, update(t, e, "config/c", byIssuer(s)))
			if again := e.read(t, "token/c").token(t); again == token {
				t.Error("a token outlived two moves")
			}
			s.Reset()

			describes(s, change(thief))
			held := []string{"the credentials are held", thief.URL(), s.URL(), "write the config's secrets again"}
			e.clock.advance(time.Minute)
			refused(t, update(t, e, "check/c", nil), http.StatusBadRequest, held...)
			e.clock.advance(time.Hour)
			refused(t, e.read(t, "token/c"), http.StatusBadRequest, held...)
			for _, told := range []result{e.read(t, "config/c"), e.read(t, "status/c"), update(t, e, "config/c", fields{"description": "d"})} {
				warned(t, told, "this config gives no token as it stands: the credentials are held")
			}
			wantMembers(t, e.read(t, "config/c").object(t, "effective"), fields{"token_url": s.TokenURL()})
			if len(thief.All()) != 0 {
				t.Errorf("the other host was sent %v", thief.All())
			}

			describes(s, nil) // the metadata was a mistake, and is repaired
			e.clock.advance(2 * metadataAgain)
			e.read(t, "token/c")
			eventually(t, "it is repaired", func() bool { e.clock.advance(time.Minute); return e.read(t, "token/c").err == nil })

			describes(s, change(thief)) // or the move was intended, and is confirmed
			e.clock.advance(time.Minute)
			e.must(t, "config/c", byIssuer(s))
			r := e.read(t, "token/c")
			if name == "of the token endpoint" && !thief.Valid(r.token(t)) || name != "of the token endpoint" && !s.Valid(r.token(t)) {
				t.Error("a token of the wrong server")
			}
		})
	}
}

// A write without the secrets does not confirm a move, also if the engine has not seen
// the move yet.
func TestAWriteWithoutTheSecretsConfirmsNothing(t *testing.T) {
	e, s := discovering(t, nil)
	thief := e.server(t, providertest.RFC6749, providertest.Options{})
	describes(s, fields{"token_endpoint": thief.TokenURL()})
	e.clock.advance(2 * time.Hour)
	before := reads(s)
	warned(t, e.patch(t, "config/c", fields{"ttl": 60}))
	if reads(s) != before {
		t.Error("it was asked for though nothing depends on it")
	}
	e.read(t, "token/c")
	eventually(t, "the move is seen", func() bool { return e.read(t, "status/c").resp.Warnings != nil })
	refused(t, mints(t, e), http.StatusBadRequest, "the credentials are held")
	asked(t, thief, 0)

	other := e.server(t, providertest.RFC6749, providertest.Options{})
	describes(other, nil)
	refused(t, e.patch(t, "config/c", fields{"issuer": other.URL()}), http.StatusBadRequest, "what issuer or resource_url leads to", "client_secret")
	asked(t, other, 0)
}

// Configs that ask the same server share its metadata.
func TestMetadataIsSharedAmongConfigs(t *testing.T) {
	e, s := discovering(t, nil)
	for _, name := range []string{"config/d", "config/e"} {
		e.must(t, name, byIssuer(s))
	}
	e.clock.advance(2 * time.Hour)
	for _, name := range []string{"token/c", "token/d", "token/e"} {
		succeeded(t, e.read(t, name))
	}
	eventually(t, "it is asked for", func() bool { return reads(s) == 2 })
	for _, name := range []string{"token/c", "token/d", "token/e"} {
		e.clock.advance(10 * time.Minute)
		succeeded(t, e.read(t, name))
	}
	if got := reads(s); got != 2 {
		t.Errorf("asked %d times", got)
	}
}

func TestWhatTheServerDoesNotListIsWarnedOf(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	describes(s, fields{"token_endpoint_auth_methods_supported": []any{"private_key_jwt"}})
	says := "lists private_key_jwt for token_endpoint_auth_method, and not client_secret_basic"
	warned(t, e.write(t, "config/c", byIssuer(s)), says)
	warned(t, e.read(t, "config/c"), says)
	succeeded(t, e.read(t, "token/c")) // the server may accept what it does not list
	s.SetCredentials(providertest.Credentials{ClientSecret: "another-secret"})
	refused(t, update(t, e, "check/c", nil), http.StatusBadRequest, "HTTP 401", says)
}

func TestAProviderMayHaveTheIssuer(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	s.Publish(providertest.WellKnownServer+"/acme", fields{"issuer": s.URL() + "/acme", "token_endpoint": s.TokenURL()}, nil)
	e.must(t, "provider/p", fields{"issuer": s.URL() + "/{tenant}", "variables": fields{"tenant": fields{"description": "d"}}})
	required, _ := e.read(t, "provider/p").data(t)["required"].([]any)
	if slices.Contains(required, any("token_url")) || !slices.Contains(required, any("variables.tenant")) {
		t.Errorf("required: %v", required)
	}
	config := with(byIssuer(s), fields{"provider": "p", "variables": fields{"tenant": "acme"}})
	delete(config, "issuer")
	e.must(t, "config/c", config)
	succeeded(t, e.read(t, "token/c"))

	// If the provider comes to name another server, the credentials are held back as
	// well.
	e.must(t, "provider/p", fields{"issuer": "https://other.example/{tenant}"})
	refused(t, e.read(t, "token/c"), http.StatusBadRequest, "now sends credentials to another place")
}
