// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// TestLifeStatusAndCheck tests what an operator sees about tokens with the
// vault command.
func TestLifeStatusAndCheck(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	status := func(t *testing.T, config string) fields {
		t.Helper()
		data, _ := member(commandJSON(t, v.For(t), "read", "oauthcc/status/"+config), "data").(fields)
		if data == nil {
			t.Fatal("no data")
		}
		return data
	}
	numbers := func(t *testing.T, data fields, mints, failures, served float64) {
		t.Helper()
		if data["mints"] != mints || data["failures"] != failures || data["served"] != served {
			t.Errorf("%v mints, %v failures, %v served; want %v, %v, %v", data["mints"], data["failures"], data["served"], mints, failures, served)
		}
	}
	at := func(t *testing.T, data fields, name string) time.Time {
		t.Helper()
		text, _ := data[name].(string)
		at, err := time.Parse(time.RFC3339, text)
		if err != nil || !strings.HasSuffix(text, "Z") {
			t.Errorf("%s is %#v, want a time in UTC", name, data[name])
		}
		return at
	}
	s := standard(t, v, "a", providertest.Options{}, fields{"scopes": "read,write"})
	begun := time.Now().Truncate(time.Second)

	t.Run("nothing was read yet", func(t *testing.T) {
		data := status(t, "a")
		numbers(t, data, 0, 0, 0)
		if tokens, _ := data["tokens"].([]any); len(tokens) != 0 || data["minting"] != false || data["last_mint"] != nil || data["last_error"] != nil {
			t.Errorf("status says %v", data)
		}
	})
	t.Run("the token of a check is kept", func(t *testing.T) {
		check, _ := member(commandJSON(t, v.For(t), "write", "-force", "oauthcc/check/a"), "data").(fields)
		if check["status"] != "ok" || check["expires_in"] != 3600.0 || check["scope"] != "read write" || check["token_type"] != "Bearer" || check["lifetime"] != "expires_in" {
			t.Errorf("check says %v", check)
		}
		if took, ok := check["duration_ms"].(float64); !ok || took < 0 || took > 10_000 {
			t.Errorf("it took %v ms", check["duration_ms"])
		}
		if tokens, _ := status(t, "a")["tokens"].([]any); len(tokens) != 1 || s.Requests() != 1 {
			t.Errorf("check left %v after %d requests", tokens, s.Requests())
		}
	})
	t.Run("tokens are told by scope and expiry", func(t *testing.T) {
		v := v.For(t)
		for range 3 {
			read(t, v, "oauthcc/token/a")
		}
		read(t, v, "oauthcc/token/a?scopes=read")
		data := status(t, "a")
		numbers(t, data, 2, 0, 4)
		tokens, _ := data["tokens"].([]any)
		scopes := map[any]bool{}
		for _, token := range tokens {
			token, _ := token.(fields)
			scopes[token["scope"]] = true
			if left := at(t, token, "expires_at").Sub(begun); left < 3590*time.Second || left > 3700*time.Second {
				t.Errorf("it expires %s after it was read", left)
			}
			if leeway := at(t, token, "expires_at").Sub(at(t, token, "usable_until")); leeway < 9*time.Second || leeway > 11*time.Second {
				t.Errorf("it is usable until %s before it expires", leeway)
			}
		}
		if len(tokens) != 2 || !scopes["read"] || !scopes["read write"] {
			t.Errorf("tokens %v, want one of each of two scope sets", tokens)
		}
		if at(t, data, "last_mint").Before(begun) {
			t.Errorf("the last mint was at %v", data["last_mint"])
		}
		out := v.MustCLI("read", "oauthcc/status/a") + v.MustCLI("read", "-format=json", "oauthcc/status/a")
		for _, token := range s.Issued() {
			if strings.Contains(out, token) {
				t.Error("status tells a token")
			}
		}
	})
	t.Run("status outlives a crash, but for the counters", func(t *testing.T) {
		before := status(t, "a")
		crash(t, v.For(t))
		after := status(t, "a")
		if !same(after["tokens"], before["tokens"]) {
			t.Errorf("tokens %v, before %v", after["tokens"], before["tokens"])
		}
		numbers(t, after, 0, 0, 0)
	})
	t.Run("a failure is told with its cause and what comes next", func(t *testing.T) {
		v := v.For(t)
		s := standard(t, v, "fails", providertest.Options{}, nil)
		s.Behave(providertest.Behavior{Times: -1, Status: 500, Body: `{"error":"server_error","error_description":"on fire"}`})
		fails(t, v.CLI("read", "oauthcc/token/fails"), "502", "on fire", "next attempt from")
		data := status(t, "fails")
		numbers(t, data, 0, 1, 0)
		if said, _ := data["last_error"].(string); !strings.Contains(said, "on fire") {
			t.Errorf("last_error is %q", said)
		}
		if next, last := at(t, data, "next_attempt"), at(t, data, "last_failure"); next.Before(last) || next.Sub(last) > 5*time.Second {
			t.Errorf("it failed at %s, and the next attempt is at %s", last, next)
		}
		fails(t, v.CLI("write", "-force", "oauthcc/check/fails"), "502", "on fire")
		s.Behave()
		// A successful check lets readers through, even if a failure was
		// remembered.
		v.MustCLI("write", "-force", "oauthcc/check/fails")
		issuedBy(t, s, read(t, v, "oauthcc/token/fails").text(t, "access_token"))
		if data := status(t, "fails"); data["next_attempt"] != nil {
			t.Errorf("there is a next attempt still: %v", data)
		}
	})
	t.Run("a mint under way is told", func(t *testing.T) {
		v := v.For(t)
		s := standard(t, v, "slow", providertest.Options{}, nil)
		s.Behave(providertest.Behavior{Delay: 2 * time.Second})
		reader := readLater(v, "oauthcc/token/slow")
		wasAsked(t, s, 1)
		if data := status(t, "slow"); s.IssuedCount() == 0 && data["minting"] != true {
			t.Errorf("status says %v", data)
		}
		<-reader
		if data := status(t, "slow"); data["minting"] != false {
			t.Errorf("status says %v", data)
		}
	})
	t.Run("what is not there is named", func(t *testing.T) {
		v := v.For(t)
		fails(t, v.CLI("read", "oauthcc/status/nobody"), "400", `"nobody"`)
		fails(t, v.CLI("write", "-force", "oauthcc/check/nobody"), "400", `"nobody"`)
		fails(t, v.CLI("write", "-force", "oauthcc/check/a/nobody"), "400", `"nobody"`)
	})
}

// TestLifeOfItsOwn: with reuse=false, a token begins and ends with its lease.
func TestLifeOfItsOwn(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	s := providertest.Start(t, providertest.RFC6749, providertest.Options{})
	write(t, v, "oauthcc/config/own", with(registration(providertest.RFC6749, s), fields{"reuse": false, "revocation_url": s.RevocationURL()}))

	readers := newCrowd(t, v, 30)
	got, _ := readers.read(t.Context(), "oauthcc/token/own")
	tokens := map[string]bool{}
	for _, r := range got {
		r.wants(t, http.StatusOK)
		tokens[r.accessToken()] = true
	}
	if len(tokens) != len(got) || s.Requests() != len(got) {
		t.Fatalf("%d readers got %d tokens by %d requests", len(got), len(tokens), s.Requests())
	}
	first, second := got[0], got[1]
	v.MustCLI("lease", "revoke", "-sync", first.LeaseID)
	if s.Valid(first.accessToken()) || !s.Valid(second.accessToken()) {
		t.Errorf("after a lease's revocation its token is good: %v, another: %v", s.Valid(first.accessToken()), s.Valid(second.accessToken()))
	}
	crash(t, v)
	v.MustCLI("lease", "revoke", "-sync", second.LeaseID)
	if s.Valid(second.accessToken()) {
		t.Error("after a crash a lease's revocation leaves its token good")
	}
	v.MustCLI("lease", "revoke", "-sync", "-prefix", "oauthcc/token/own")
	for token := range tokens {
		if s.Valid(token) {
			t.Error("a token outlived its lease")
		}
	}
	if n := len(s.Revoked()); n != len(got) {
		t.Errorf("%d tokens were revoked, want %d", n, len(got))
	}
}
