// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// byPassword returns a config with the password grant. Its server issues refresh tokens
// together with access tokens.
func byPassword(s *providertest.Server) fields {
	c := s.Credentials()
	return with(standard(s), fields{"grant_type": "password", "username": c.Username, "password": c.Password})
}

// grants returns the grant types of the requests that a server got, and the refresh
// tokens that they held.
func grants(s *providertest.Server) (types, shown []string) {
	for _, r := range s.All() {
		types = append(types, r.Form().Get("grant_type"))
		if token := r.Form().Get("refresh_token"); token != "" {
			shown = append(shown, token)
		}
	}
	return types, shown
}

// storedRefreshToken returns the refresh token that is stored with the only stored
// token.
func storedRefreshToken(t *testing.T, e *engine) string {
	t.Helper()
	stored := e.below(t, "token/")
	if len(stored) != 1 {
		t.Fatalf("%d stored tokens", len(stored))
	}
	for _, value := range stored {
		var entry struct {
			Token struct {
				RefreshToken string `json:"refresh_token"`
			} `json:"token"`
		}
		if err := json.Unmarshal([]byte(value), &entry); err != nil {
			t.Fatalf("the stored token: %v", err)
		}
		return entry.Token.RefreshToken
	}
	return ""
}

func TestRefreshTokenOfThePasswordGrant(t *testing.T) {
	for name, test := range map[string]struct {
		dialect providertest.Dialect
		rotates bool
		restart bool
	}{
		"rotates":                           {providertest.RFC6749, true, false},
		"stays, unsaid":                     {providertest.RFC6749, false, false},
		"rotates, with restarts":            {providertest.RFC6749, true, true},
		"stays, unsaid, with restarts":      {providertest.RFC6749, false, true},
		"stays, said":                       {providertest.Semansys, false, true},
		"rotates at a documented provider":  {providertest.Semansys, true, true},
		"rotates there also with no crash ": {providertest.Semansys, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			overAWire(t, func(t *testing.T, e *engine) {
				s := e.server(t, test.dialect, providertest.Options{RotateRefreshTokens: test.rotates})
				config := byPassword(s)
				if test.dialect == providertest.Semansys {
					config = registration(test.dialect, s)
				}
				e.must(t, "config/c", config)
				var kept, tokens []string
				var answers strings.Builder
				for range 4 {
					r := e.read(t, "token/c")
					tokens = append(tokens, r.token(t))
					warned(t, r)
					if kept = append(kept, storedRefreshToken(t, e)); kept[len(kept)-1] == "" {
						t.Fatal("no refresh token is stored")
					}
					answers.WriteString(r.text() + e.read(t, "status/c").text() + e.read(t, "config/c").text())
					e.clock.advance(50 * time.Minute)
					if test.restart {
						withoutSecrets(t, "the log", e.log.String(), kept...)
						e = e.restart(t)
					}
				}
				types, shown := grants(s)
				if !same(types, []string{"password", "refresh_token", "refresh_token", "refresh_token"}) {
					t.Errorf("grants: %v", types)
				}
				if !same(shown, kept[:3]) {
					t.Errorf("refresh tokens shown: %v, want those kept: %v", shown, kept[:3])
				}
				if test.rotates == (kept[0] == kept[3]) {
					t.Errorf("refresh tokens kept: %v", kept)
				}
				if tokens[0] == tokens[1] || !s.Valid(tokens[3]) {
					t.Errorf("tokens: %v", tokens)
				}
				withoutSecrets(t, "an answer", answers.String(), kept...)
				withoutSecrets(t, "the log", e.log.String(), kept...)
			})
		})
	}
}

func TestRefreshTokenThatIsRefusedFallsBackToThePassword(t *testing.T) {
	for name, answer := range map[string]providertest.Behavior{
		"invalid_grant":    {Grant: "refresh_token", Status: 400, Body: `{"error":"invalid_grant"}`},
		"a bare 403":       {Grant: "refresh_token", Status: 403},
		"a bare 400":       {Grant: "refresh_token", Status: 400},
		"unsupported":      {Grant: "refresh_token", Status: 400, Body: `{"error":"unsupported_grant_type"}`},
		"an echo of it":    {Grant: "refresh_token", Status: 400, Echo: true},
		"an error in 200s": {Grant: "refresh_token", Status: 200, Body: `{"error":"invalid_grant"}`},
	} {
		t.Run(name, func(t *testing.T) {
			overAWire(t, func(t *testing.T, e *engine) {
				s := e.server(t, providertest.RFC6749, providertest.Options{RotateRefreshTokens: true})
				e.must(t, "config/c", byPassword(s))
				succeeded(t, e.read(t, "token/c"))
				first := storedRefreshToken(t, e)
				s.Behave(answer)
				e.clock.advance(50 * time.Minute)
				r := e.read(t, "token/c")
				warned(t, r)
				if types, _ := grants(s); !same(types, []string{"password", "refresh_token", "password"}) {
					t.Errorf("grants: %v", types)
				}
				if second := storedRefreshToken(t, e); second == first || second == "" {
					t.Error("the new refresh token is not kept")
				}
				withoutSecrets(t, "the answer and the log", r.text()+e.log.String(), first)
			})
		})
	}
}

func TestRefreshThatFailsOtherwiseIsAFailureAndNoPassword(t *testing.T) {
	for name, answer := range map[string]providertest.Behavior{
		"a failure":      {Times: -1, Status: 500},
		"a 503":          {Times: -1, Status: 503},
		"a rate limit":   {Times: -1, Status: 429},
		"invalid_client": {Times: -1, Status: 401, Body: `{"error":"invalid_client"}`},
		"a lost line":    {Times: -1, Drop: true},
	} {
		t.Run(name, func(t *testing.T) {
			overAWire(t, func(t *testing.T, e *engine) {
				s := e.server(t, providertest.RFC6749, providertest.Options{RotateRefreshTokens: true})
				e.must(t, "config/c", byPassword(s))
				old := e.read(t, "token/c").token(t)
				kept := storedRefreshToken(t, e)
				s.Behave(answer)
				e.clock.advance(50 * time.Minute)
				r := e.read(t, "token/c")
				if r.token(t) != old {
					t.Error("another token")
				}
				warned(t, r, "could not be refreshed")
				asked(t, s, 2) // not repeated, because the provider may have used up the refresh token
				withoutSecrets(t, "the answer and the log", r.text()+e.log.String(), kept)
				s.Behave(providertest.Behavior{})
				e.clock.advance(time.Minute)
				if r := e.read(t, "token/c"); r.token(t) == old {
					t.Error("the old token")
				}
				if _, shown := grants(s); len(shown) != 2 || shown[1] != kept {
					t.Error("the refresh token is not used again")
				}
			})
		})
	}
}

func TestRefreshTokenIsUsedLongAfterItsAccessTokenExpired(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{RotateRefreshTokens: true})
	e.must(t, "config/c", byPassword(s))
	succeeded(t, e.read(t, "token/c"))
	e.clock.advance(6 * 24 * time.Hour)
	e.periodic(t)
	e = e.restart(t)
	succeeded(t, e.read(t, "token/c"))
	if types, _ := grants(s); !same(types, []string{"password", "refresh_token"}) {
		t.Errorf("grants: %v", types)
	}
}

func TestRefreshTokenIsForgottenWithItsToken(t *testing.T) {
	for name, do := range map[string]func(t *testing.T, e *engine){
		"by a config write that changes the request": func(t *testing.T, e *engine) { e.must(t, "config/c", fields{"scopes": "read"}) },
		"by a revoke": func(t *testing.T, e *engine) { succeeded(t, update(t, e, "revoke/c", nil)) },
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{RotateRefreshTokens: true})
			e.must(t, "config/c", byPassword(s))
			succeeded(t, e.read(t, "token/c"))
			do(t, e)
			succeeded(t, e.read(t, "token/c"))
			if types, _ := grants(s); !same(types, []string{"password", "password"}) {
				t.Errorf("grants: %v", types)
			}
		})
	}
}

// A check must find out whether the password is right. Only a request with the password
// can show that, not one with the refresh token.
func TestCheckOfAPasswordGrantAsksByPassword(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{RotateRefreshTokens: true})
	e.must(t, "config/c", byPassword(s))
	wantMembers(t, update(t, e, "check/c", nil).data(t), fields{"refresh_token": true})
	kept := storedRefreshToken(t, e)
	wantMembers(t, update(t, e, "check/c", nil).data(t), fields{"refresh_token": true})
	if storedRefreshToken(t, e) == kept {
		t.Error("the refresh token is not the one of the token that readers get")
	}
	if types, _ := grants(s); !same(types, []string{"password", "password"}) {
		t.Errorf("grants: %v", types)
	}
	s.SetCredentials(providertest.Credentials{Password: "changed"})
	refused(t, update(t, e, "check/c", nil), http.StatusBadRequest, "invalid_grant", "check username and password")
}
