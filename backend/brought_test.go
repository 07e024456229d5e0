// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

const (
	jwtType   = "urn:ietf:params:oauth:token-type:jwt"
	jwtBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer"
)

// subjectOf returns a reader's own token. Its text may appear nowhere.
func subjectOf(name string) string { return "ey-subject-token-of:" + name + ":4f9a1c" }

func nameOf(token string) (string, bool) {
	name, begins := strings.CutPrefix(token, "ey-subject-token-of:")
	name, ends := strings.CutSuffix(name, ":4f9a1c")
	return name, begins && ends
}

// bringing returns an engine with a config whose readers bring the subject token. The
// engine's log must hold none of the secrets, which are the readers' tokens.
func bringing(t *testing.T, more fields, secrets ...string) (*engine, *providertest.Server) {
	t.Helper()
	e := mount(t, secrets...)
	e.extras = []string{"issued_token_type"}
	s := e.server(t, providertest.RFC6749, providertest.Options{Subjects: nameOf})
	e.must(t, "config/c", with(with(exchanging(s), fields{"reader_inputs": "subject_token", "revocation_url": s.RevocationURL()}), more))
	return e, s
}

func (e *engine) bring(t *testing.T, path string, data fields) result {
	t.Helper()
	return e.request(t, logical.UpdateOperation, path, data)
}

func TestReadersBringTheirSubject(t *testing.T) {
	alice, bob := subjectOf("alice"), subjectOf("bob")
	e, s := bringing(t, nil, alice, bob)
	r := e.bring(t, "token/c", fields{"subject_token": alice})
	if got := providertest.ReadExchanged(r.token(t)); got.Subject != "alice" {
		t.Errorf("alice gets a token of %+v", got)
	}
	if form := s.Last().Form(); form.Get("subject_token") != alice || form.Get("subject_token_type") != "urn:ietf:params:oauth:token-type:access_token" {
		t.Errorf("sent %v", form)
	}
	if got := providertest.ReadExchanged(e.bring(t, "token/c", fields{"subject_token": bob}).token(t)); got.Subject != "bob" {
		t.Errorf("bob gets a token of %+v", got)
	}
	for range 3 { // the same subject again, also with the newline that a file ends with
		if e.bring(t, "token/c", fields{"subject_token": alice + "\n"}).token(t) != r.token(t) {
			t.Error("the same subject gets another token")
		}
	}
	asked(t, s, 2)
	// The token is stored, but what it was made from is not.
	for _, text := range e.below(t, "") {
		withoutSecrets(t, "storage", text, alice, bob)
	}
	again := e.restart(t, alice)
	again.extras = e.extras
	if again.bring(t, "token/c", fields{"subject_token": alice}).token(t) != r.token(t) {
		t.Error("another token after a restart")
	}
	asked(t, s, 2)
	for _, path := range []string{"status/c", "config/c"} {
		withoutSecrets(t, path, e.read(t, path).text(), alice, bob)
	}
}

func TestWhatReadersBringIsPartOfTheKey(t *testing.T) {
	e, s := bringing(t, fields{"reader_inputs": "subject_token,subject_token_type,actor_token,actor_token_type"})
	e.must(t, "role/c/r", fields{"parameters": fields{"audience": "api"}})
	seen := map[string]bool{}
	for _, ask := range []struct {
		path string
		data fields
	}{
		{"token/c", fields{"subject_token": subjectOf("a")}},
		{"token/c", fields{"subject_token": subjectOf("b")}},
		{"token/c", fields{"subject_token": subjectOf("a"), "subject_token_type": jwtType}},
		{"token/c", fields{"subject_token": subjectOf("a"), "actor_token": subjectOf("b")}},
		{"token/c", fields{"subject_token": subjectOf("b"), "actor_token": subjectOf("a")}},
		{"token/c", fields{"subject_token": subjectOf("b"), "actor_token": subjectOf("a"), "actor_token_type": jwtType}},
		{"token/c/r", fields{"subject_token": subjectOf("a")}},
	} {
		token := e.bring(t, ask.path, ask.data).token(t)
		if seen[token] || e.bring(t, ask.path, ask.data).token(t) != token {
			t.Errorf("%s %v shares a token with another, or with nobody", ask.path, ask.data)
		}
		seen[token] = true
		name, _ := nameOf(ask.data["subject_token"].(string)) //nolint:forcetypeassert // of this table
		if got := providertest.ReadExchanged(token).Subject; got != name {
			t.Errorf("%v gets a token of %q", ask.data, got)
		}
	}
	asked(t, s, len(seen))
}

func TestRefusedReaderInputs(t *testing.T) {
	alice := subjectOf("alice")
	ended := "e30." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"sub":"a","exp":%d}`, newClock().Now().Unix())) + ".c2ln"
	e, s := bringing(t, nil, alice, ended)
	e.must(t, "config/plain", standard(s))
	for name, test := range map[string]struct {
		op   logical.Operation
		path string
		data fields
		says []string
	}{
		"a read":                     {logical.ReadOperation, "token/c", nil, []string{`config "c"`, "subject_token", "vault write oauthcc/token/c"}},
		"a write without":            {logical.UpdateOperation, "token/c", nil, []string{"subject_token", "reader_inputs"}},
		"a check without":            {logical.UpdateOperation, "check/c", nil, []string{"subject_token", "reader_inputs"}},
		"in the URL":                 {logical.ReadOperation, "token/c", fields{"subject_token": alice}, []string{"subject_token", "URL", "body of a write"}},
		"where no config allows it":  {logical.UpdateOperation, "token/plain", fields{"subject_token": alice}, []string{`config "plain"`, "subject_token", "reader_inputs"}},
		"another than those allowed": {logical.UpdateOperation, "token/c", fields{"subject_token": alice, "actor_token": alice}, []string{"actor_token", "reader_inputs"}},
		"an empty one":               {logical.UpdateOperation, "token/c", fields{"subject_token": ""}, []string{"subject_token is empty"}},
		"no text":                    {logical.UpdateOperation, "token/c", fields{"subject_token": fields{"secret": alice}}, []string{"subject_token must be a string"}},
		"one that has ended":         {logical.UpdateOperation, "token/c", fields{"subject_token": ended}, []string{"subject_token expired at 2026-01-02T03:04:05Z"}},
		"a large one":                {logical.UpdateOperation, "token/c", fields{"subject_token": strings.Repeat("x", 64<<10+1)}, []string{"subject_token", "64 KiB"}},
		"one with control bytes":     {logical.UpdateOperation, "token/c", fields{"subject_token": "a\x00b"}, []string{"subject_token", "control characters"}},
		"a type that is no URI":      {logical.UpdateOperation, "token/c", fields{"subject_token": alice, "subject_token_type": "jwt"}, []string{"subject_token_type must be a URI"}},
		"a type alone":               {logical.UpdateOperation, "token/c", fields{"actor_token_type": jwtType}, []string{"actor_token_type", "send both"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := e.request(t, test.op, test.path, test.data)
			refused(t, r, http.StatusBadRequest, test.says...)
			withoutSecrets(t, "the error", r.text(), alice, ended)
		})
	}
	asked(t, s, 0)
	for name, test := range map[string]struct {
		write fields
		says  []string
	}{
		"unknown":                 {fields{"reader_inputs": "client_secret"}, []string{"reader_inputs", "subject_token"}},
		"of another grant":        {fields{"reader_inputs": "assertion"}, []string{"reader_inputs", "assertion"}},
		"a type without token":    {fields{"reader_inputs": "subject_token_type"}, []string{"reader_inputs", "subject_token_type without subject_token"}},
		"and the config's own":    {fields{"secret_parameters": fields{"subject_token": "x"}}, []string{"secret_parameters", "subject_token"}},
		"and another config's":    {fields{"subject_config": "plain"}, []string{"subject_config", "reader_inputs"}},
		"and verification":        {fields{"verify_connection": true}, []string{"verify_connection", "subject_token", "check/c"}},
		"a template without room": {fields{"request_format": "template", "request_body": "x", "request_headers": fields{"Content-Type": "text/plain"}, "token_endpoint_auth_method": "none"}, []string{"request_format"}},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, e.write(t, "config/c", test.write), http.StatusBadRequest, test.says...)
		})
	}
	refused(t, e.write(t, "role/c/r", fields{"parameters": fields{"subject_token_type": jwtType}}), http.StatusBadRequest, "subject_token_type")
	refused(t, e.write(t, "config/d", with(exchanging(s), fields{"subject_config": "c"})), http.StatusBadRequest, "subject_config")
}

// This is Microsoft's on-behalf-of flow.
func TestReadersBringAnAssertion(t *testing.T) {
	alice := subjectOf("alice")
	e, s := bringing(t, fields{
		"grant_type": jwtBearer, "reader_inputs": "assertion", "parameters": fields{"requested_token_use": "on_behalf_of"}, "scopes": "read",
	}, alice)
	got := e.bring(t, "token/c", fields{"assertion": alice}).token(t)
	if of := providertest.ReadExchanged(got).Subject; of != "alice" {
		t.Errorf("a token of %q", of)
	}
	if e.bring(t, "token/c", fields{"assertion": alice}).token(t) != got {
		t.Error("another token")
	}
	refused(t, e.read(t, "token/c"), http.StatusBadRequest, "assertion")
	asked(t, s, 1)
}

// If one reader brings a bad subject, other readers still get their tokens.
func TestBadSubjectHoldsUpNobodyElse(t *testing.T) {
	good := subjectOf("alice")
	e, s := bringing(t, nil, good, "a-subject-that-is-bad")
	for _, says := range []providertest.Behavior{
		{}, {Status: http.StatusUnauthorized, Body: "{}"}, {Status: http.StatusUnauthorized, Body: `{"error":"access_denied"}`}, {Status: http.StatusInternalServerError, Body: "{}"},
	} {
		before := s.Requests()
		if says.Status != 0 {
			s.Behave(says)
		}
		bad := fields{"subject_token": fmt.Sprintf("a-subject-that-is-bad-%d", says.Status+len(says.Body))}
		for range 5 {
			r := e.bring(t, "token/c", bad)
			if r.err == nil {
				t.Fatal("a bad subject gets a token")
			}
			withoutSecrets(t, "the error", r.text(), "a-subject-that-is-bad")
		}
		if got := s.Requests() - before; got != 1 {
			t.Errorf("%d requests for one bad subject, want 1", got)
		}
		succeeded(t, update(t, e, "revoke/c", nil)) // so that the next read mints
		e.bring(t, "token/c", fields{"subject_token": good}).token(t)
	}
}

func TestBroughtTokensGoWithTheirConfig(t *testing.T) {
	alice := fields{"subject_token": subjectOf("alice")}
	for name, end := range map[string]func(*testing.T, *engine){
		"revoked": func(t *testing.T, e *engine) { t.Helper(); succeeded(t, update(t, e, "revoke/c", nil)) },
		"changed": func(t *testing.T, e *engine) { t.Helper(); e.must(t, "config/c", fields{"scopes": "read"}) },
		"forbidden": func(t *testing.T, e *engine) {
			t.Helper()
			e.must(t, "config/c", fields{"reader_inputs": "subject_token,actor_token"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, s := bringing(t, nil)
			old := e.bring(t, "token/c", alice).token(t)
			end(t, e)
			if name == "revoked" && s.Valid(old) {
				t.Error("not revoked at the provider")
			}
			if e.bring(t, "token/c", alice).token(t) == old {
				t.Error("handed out again")
			}
		})
	}
	e, s := bringing(t, fields{"reuse": false})
	r := e.bring(t, "token/c", alice)
	if e.bring(t, "token/c", alice).token(t) == r.token(t) {
		t.Error("two leases share a token with reuse=false")
	}
	succeeded(t, e.revokeLease(t, r.resp.Secret))
	eventually(t, "the lease's token is revoked", func() bool { return !s.Valid(r.token(t)) })
	succeeded(t, e.bring(t, "check/c", alice))
	succeeded(t, e.delete(t, "config/c"))
	for _, token := range s.Issued() {
		if s.Valid(token) {
			t.Error("a token outlives its config")
		}
	}
}

func TestBroughtTokenIsRenewedByWhoBringsTheSame(t *testing.T) {
	alice := fields{"subject_token": subjectOf("alice")}
	e, s := bringing(t, nil)
	old := e.bring(t, "token/c", alice).token(t)
	e.clock.advance(45 * time.Minute) // the read below starts a renewal in the background
	if e.bring(t, "token/c", alice).token(t) != old {
		t.Error("not the one that is there")
	}
	eventually(t, "it is renewed", func() bool { return s.IssuedCount() == 2 })
	eventually(t, "it is handed out", func() bool { return e.bring(t, "token/c", alice).token(t) != old })
	if got := providertest.ReadExchanged(s.Issued()[1]).Subject; got != "alice" {
		t.Errorf("renewed for %q", got)
	}
}

// A thousand callers ask for their tokens in random order, while the config is revoked
// and written. No caller ever gets another caller's token.
func TestAThousandCallersEachGetTheirOwn(t *testing.T) {
	const callers, reads = 1000, 4
	e, s := bringing(t, fields{"scopes": "read,write", "request_timeout": "60s"})
	e.must(t, "role/c/r", fields{"scopes": "read"})
	order := make([]int, 0, callers*reads)
	for n := range callers * reads {
		order = append(order, n%callers)
	}
	rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })

	done := make(chan struct{})
	var disturbing sync.WaitGroup
	disturbing.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			default:
			}
			switch n % 3 {
			case 0:
				succeeded(t, update(t, e, "revoke/c", nil))
			case 1:
				succeeded(t, e.request(t, logical.UpdateOperation, "config/c", fields{"parameters": fields{"audience": fmt.Sprint(n)}}))
			case 2:
				succeeded(t, e.request(t, logical.UpdateOperation, "role/c/r", fields{"description": fmt.Sprint(n)}))
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	var wrong, served, overtaken atomic.Int64
	var all sync.WaitGroup
	for w := range 32 {
		all.Go(func() {
			for i := w; i < len(order); i += 32 {
				name := fmt.Sprintf("caller-%d", order[i])
				r := e.bring(t, []string{"token/c", "token/c/r"}[i%2], fields{"subject_token": subjectOf(name)})
				switch {
				case r.status() == http.StatusOK:
					served.Add(1)
					token, _ := r.resp.Data["access_token"].(string)
					if got := providertest.ReadExchanged(token).Subject; got != name {
						wrong.Add(1)
						t.Errorf("%s got a token of %q", name, got)
					}
				case r.status() == http.StatusGatewayTimeout && strings.Contains(r.text(), "changes faster"):
					overtaken.Add(1)
				default:
					t.Errorf("%s: %d %s", name, r.status(), r.text())
				}
			}
		})
	}
	all.Wait()
	close(done)
	disturbing.Wait()
	t.Logf("%d served, %d overtaken by changes, %d requests at the provider", served.Load(), overtaken.Load(), s.Requests())
	if served.Load() < callers*reads*9/10 {
		t.Errorf("only %d of %d are served", served.Load(), callers*reads)
	}
	// Afterwards, when nothing changes any more, each caller still gets its own token
	// from memory.
	for _, caller := range slices.Compact(slices.Sorted(slices.Values(order))) {
		name := fmt.Sprintf("caller-%d", caller)
		token := e.bring(t, "token/c", fields{"subject_token": subjectOf(name)}).token(t)
		if providertest.ReadExchanged(token).Subject != name || !s.Valid(token) {
			t.Fatalf("%s has no token of its own that is good", name)
		}
	}
	for _, text := range e.below(t, "token/") {
		withoutSecrets(t, "storage", text, "ey-subject-token-of")
	}
	if strings.Contains(e.log.String(), "ey-subject-token-of") {
		t.Error("the log holds what readers brought")
	}
}
