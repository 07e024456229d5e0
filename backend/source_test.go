// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

const tokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange"

// linked returns an engine with config a and config b. The token of a is the subject of
// b's exchange.
func linked(t *testing.T, lifetime time.Duration) (e *engine, first, second *providertest.Server) {
	t.Helper()
	e = mount(t)
	e.extras = []string{"issued_token_type"}
	first = e.server(t, providertest.RFC6749, providertest.Options{Lifetime: lifetime})
	second = e.server(t, providertest.RFC6749, providertest.Options{
		Lifetime: 2 * time.Hour, Subjects: func(token string) (string, bool) { return "of " + token[:8], first.Valid(token) },
	})
	e.must(t, "config/a", with(standard(first), fields{"revocation_url": first.RevocationURL(), "source_for": "b"}))
	e.must(t, "config/b", with(exchanging(second), fields{"subject_config": "a", "revocation_url": second.RevocationURL()}))
	return e, first, second
}

// exchanging returns a config that exchanges tokens at a server.
func exchanging(s *providertest.Server) fields {
	return with(standard(s), fields{"grant_type": tokenExchange})
}

func TestTokenOfAnotherConfigIsExchanged(t *testing.T) {
	e, first, second := linked(t, time.Hour)
	r := e.read(t, "token/b")
	subject := e.read(t, "token/a").token(t)
	if got := providertest.ReadExchanged(r.token(t)).Subject; got != "of "+subject[:8] {
		t.Errorf("the token is of %q, want that of the current token of a", got)
	}
	form := second.Last().Form()
	if form.Get("subject_token") != subject || form.Get("subject_token_type") != "urn:ietf:params:oauth:token-type:access_token" || form.Has("actor_token_type") {
		t.Errorf("sent %v", form)
	}
	if got := r.data(t)["issued_token_type"]; got != "urn:ietf:params:oauth:token-type:access_token" {
		t.Errorf("issued_token_type is %v", got)
	}
	for range 3 {
		if e.read(t, "token/b").token(t) != r.token(t) {
			t.Error("another token")
		}
	}
	asked(t, first, 1)
	asked(t, second, 1)
	e = e.restart(t)
	e.extras = []string{"issued_token_type"}
	if e.read(t, "token/b").token(t) != r.token(t) {
		t.Error("another token after a restart")
	}
	asked(t, second, 1)
}

func TestExchangedTokenEndsWithItsSubject(t *testing.T) {
	e, _, _ := linked(t, 20*time.Minute)
	e.read(t, "token/a")
	e.clock.advance(10 * time.Minute)
	got := e.read(t, "token/b").data(t)["expires_in"]
	if fmt.Sprint(got) != "600" {
		t.Errorf("expires in %v, want the 600 s that are left of its subject", got)
	}
	e.clock.advance(11 * time.Minute)
	next := e.read(t, "token/b") // the subject is now a new token
	if fmt.Sprint(next.data(t)["expires_in"]) != "1200" {
		t.Errorf("expires in %v, want 1200 s", next.data(t)["expires_in"])
	}
}

func TestWhatIsMadeOfATokenGoesWithIt(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *engine){
		"revoked": func(t *testing.T, e *engine) { t.Helper(); succeeded(t, update(t, e, "revoke/a", nil)) },
		"changed": func(t *testing.T, e *engine) { t.Helper(); e.must(t, "config/a", fields{"scopes": "read"}) },
	} {
		t.Run(name, func(t *testing.T) {
			e, first, second := linked(t, time.Hour)
			e.must(t, "config/b", fields{"source_for": "c"})
			e.must(t, "config/c", with(exchanging(second), fields{"subject_config": "b"})) // the source of c is b, whose source is a
			old := e.read(t, "token/b").token(t)
			end(t, e)
			if e.read(t, "token/b").token(t) == old {
				t.Error("handed out though its subject has gone")
			}
			asked(t, first, 2)
			asked(t, second, 2)
			if revoked := !second.Valid(old); revoked != (name == "revoked") {
				t.Errorf("revoked at its provider: %v", revoked)
			}
			if n := len(e.below(t, "token/b/")); n != 1 {
				t.Errorf("%d tokens of b are stored, want the new one", n)
			}
		})
	}
	e, first, second := linked(t, time.Hour)
	old := e.read(t, "token/b").token(t)
	e.must(t, "config/a", fields{"source_for": ""})
	refused(t, e.read(t, "token/b"), http.StatusBadRequest, "source_for=b")
	e.must(t, "config/a", fields{"source_for": "b"})
	e.must(t, "config/a", fields{"description": "x", "ttl": 60})
	if e.read(t, "token/b").token(t) != old {
		t.Error("forgotten though its subject stays")
	}
	asked(t, first, 1)
	asked(t, second, 1)
}

func TestRefusedSources(t *testing.T) {
	e, first, second := linked(t, time.Hour)
	e.must(t, "config/own", with(standard(first), fields{"reuse": false, "source_for": "b"}))
	e.must(t, "config/private", with(standard(first), fields{"source_for": "somebody"}))
	e.must(t, "config/b", fields{"source_for": "a,b"})
	for name, test := range map[string]struct {
		path  string
		write fields
		says  []string
	}{
		"itself":                     {"config/b", fields{"subject_config": "b"}, []string{"subject_config", "itself"}},
		"a circle":                   {"config/a", with(exchanging(first), fields{"subject_config": "b"}), []string{"subject_config", "a, b"}},
		"none of that name":          {"config/b", fields{"subject_config": "nobody"}, []string{"subject_config", `no config "nobody"`}},
		"one of many tokens":         {"config/b", fields{"subject_config": "own"}, []string{"subject_config", "reuse=true"}},
		"one that does not allow it": {"config/b", fields{"subject_config": "private"}, []string{"subject_config", "source_for=b"}},
		"another grant":              {"config/d", with(standard(second), fields{"subject_config": "a"}), []string{"subject_config", tokenExchange}},
		"a subject of its own":       {"config/b", fields{"secret_parameters": fields{"subject_token": "x"}}, []string{"secret_parameters", "subject_token"}},
		"the subject in parameters":  {"config/b", fields{"parameters": fields{"subject_token": "x"}}, []string{"parameters", "subject_token"}},
		"a role with another type":   {"role/b/r", fields{"parameters": fields{"subject_token_type": "urn:x"}}, []string{"parameters", "subject_token_type"}},
		"a role with a subject":      {"role/b/r", fields{"parameters": fields{"subject_token": "x"}}, []string{"parameters", "subject_token"}},
	} {
		t.Run(name, func(t *testing.T) { refused(t, e.write(t, test.path, test.write), http.StatusBadRequest, test.says...) })
	}
	refused(t, e.delete(t, "config/a"), http.StatusBadRequest, `"a" is the source of the configs b`)
	e.must(t, "config/b", fields{"parameters": fields{"subject_token_type": "urn:ietf:params:oauth:token-type:jwt"}})
	e.read(t, "token/b")
	if got := second.Last().Form()["subject_token_type"]; len(got) != 1 || got[0] != "urn:ietf:params:oauth:token-type:jwt" {
		t.Errorf("the config's own type was not sent: %v", got)
	}
	succeeded(t, e.delete(t, "config/b"))
	succeeded(t, e.delete(t, "config/a"))
	if left := e.below(t, "source/"); len(left) != 0 {
		t.Errorf("notes are left: %v", left)
	}
}

func TestConfigsThatCloseACircleAtOnce(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	for _, name := range []string{"a", "b"} {
		e.must(t, "config/"+name, with(standard(s), fields{"source_for": "a,b"}))
	}
	done := make(chan result)
	for _, pair := range [][2]string{{"a", "b"}, {"b", "a"}} {
		go func() {
			done <- e.request(t, logical.UpdateOperation, "config/"+pair[0], fields{"grant_type": tokenExchange, "subject_config": pair[1]})
		}()
	}
	written := 0
	for range 2 {
		if r := <-done; r.err == nil {
			written++
		} else {
			refused(t, r, http.StatusBadRequest, "subject_config")
		}
	}
	if written != 1 {
		t.Errorf("%d of two writes that close a circle were stored, want one", written)
	}
}

// If the source fails, the dependant reports the source's error.
func TestSourceThatFails(t *testing.T) {
	e, first, second := linked(t, time.Hour)
	first.SetCredentials(providertest.Credentials{ClientSecret: "another"})
	refused(t, e.read(t, "token/b"), http.StatusBadRequest, `config "b"`, `subject_config "a"`, "invalid_client")
	asked(t, second, 0)
	e.must(t, "config/a", fields{"client_secret": "another"})
	e.read(t, "token/b").token(t)

	succeeded(t, update(t, e, "revoke/a", nil))
	first.SetCredentials(providertest.Credentials{ClientSecret: "a third"})
	refused(t, e.read(t, "token/b"), http.StatusBadRequest, "invalid_client")
	first.SetCredentials(providertest.Credentials{ClientSecret: "another"}) // the mistake was the provider's, not b's
	succeeded(t, update(t, e, "check/a", nil))
	e.clock.advance(2 * time.Second)
	e.read(t, "token/b").token(t)
}
