// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"maps"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// exchanging runs a server that knows the tokens "good-<name>".
func exchanging(t *testing.T) *Server {
	t.Helper()
	return Start(t, RFC6749, Options{Subjects: func(token string) (string, bool) { return strings.CutPrefix(token, "good-") }})
}

// exchangeForm returns a complete exchange with changes. A change to "" leaves the
// parameter out.
func exchangeForm(changes map[string]string) ask {
	c := DefaultCredentials(RFC6749)
	fields := map[string]string{"client_id": c.ClientID, "client_secret": c.ClientSecret, "grant_type": exchangeGrant, "subject_token": "good-alice", "subject_token_type": typeAccessToken}
	maps.Copy(fields, changes)
	var list []string
	for name, value := range fields {
		if value != "" {
			list = append(list, name, value)
		}
	}
	return posted(pairs(list...))
}

func TestTokensAreExchanged(t *testing.T) {
	s := exchanging(t)
	got := mustSend(t, s, s.TokenURL(), exchangeForm(map[string]string{
		"actor_token": "good-app", "actor_token_type": typeJWT, "audience": "api", "resource": "https://api.example.com/x", "requested_token_type": typeJWT,
	}))
	want := Exchanged{Subject: "alice", Actor: "app", Audience: []string{"api", "https://api.example.com/x"}}
	if token := got.member(t, "access_token"); got.status != http.StatusOK || !reflect.DeepEqual(ReadExchanged(token), want) || !s.Valid(token) {
		t.Errorf("HTTP %d, a token of %+v, want one of %+v", got.status, ReadExchanged(token), want)
	}
	if kind, issued := got.member(t, "token_type"), got.member(t, "issued_token_type"); kind != "N_A" || issued != typeJWT {
		t.Errorf("token_type %q, issued_token_type %q", kind, issued)
	}
	if other := mustSend(t, s, s.TokenURL(), good(RFC6749)); !reflect.DeepEqual(ReadExchanged(other.member(t, "access_token")), Exchanged{}) {
		t.Error("a token of another grant reads as an exchanged one")
	}
}

func TestWhatRFC8693RefusesIsRefused(t *testing.T) {
	s := exchanging(t)
	for name, test := range map[string]struct {
		change map[string]string
		code   string
	}{
		"no subject":                          {map[string]string{"subject_token": ""}, "invalid_request"},
		"no type of the subject":              {map[string]string{"subject_token_type": ""}, "invalid_request"},
		"an unknown type":                     {map[string]string{"subject_token_type": "jwt"}, "invalid_request"},
		"a bad subject":                       {map[string]string{"subject_token": "bad"}, "invalid_request"},
		"an actor without its type":           {map[string]string{"actor_token": "good-app"}, "invalid_request"},
		"the type of an actor who is missing": {map[string]string{"actor_token_type": typeJWT}, "invalid_request"},
		"a bad actor":                         {map[string]string{"actor_token": "bad", "actor_token_type": typeJWT}, "invalid_request"},
		"a relative resource":                 {map[string]string{"resource": "/x"}, "invalid_target"},
		"a type that is not issued":           {map[string]string{"requested_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid_request"},
		"a scope that is not on offer":        {map[string]string{"scope": "root"}, "invalid_scope"},
		"what is no parameter of it":          {map[string]string{"assertion": "x"}, "invalid_request"},
		"a wrong secret":                      {map[string]string{"client_secret": "x"}, "invalid_client"},
		"on behalf of without a use":          {map[string]string{"grant_type": bearerGrant, "subject_token": "", "subject_token_type": "", "assertion": "good-alice", "scope": "read"}, "invalid_request"},
		"on behalf of a bad assertion":        {map[string]string{"grant_type": bearerGrant, "subject_token": "", "subject_token_type": "", "assertion": "bad", "scope": "read", "requested_token_use": "on_behalf_of"}, "invalid_grant"},
	} {
		t.Run(name, func(t *testing.T) {
			got := mustSend(t, s, s.TokenURL(), exchangeForm(test.change))
			if got.status < 400 || got.member(t, "error") != test.code {
				t.Errorf("HTTP %d %s, want %s", got.status, got.body, test.code)
			}
		})
	}
	plain := Start(t, RFC6749, Options{})
	if got := mustSend(t, plain, plain.TokenURL(), exchangeForm(nil)); got.member(t, "error") != "unsupported_grant_type" {
		t.Errorf("a server that does not exchange tokens answers %s", got.body)
	}
}
