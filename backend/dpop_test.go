// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

// proved returns an engine with config/c at a server that requires proofs.
func proved(t *testing.T, more fields) (*engine, *proving) {
	t.Helper()
	e := mount(t, proofSecret)
	p := startProving(t, e)
	e.must(t, "config/c", p.config(more))
	return e, p
}

func TestATokenIsBoundToAKeyThatItsReadersSignCallsBy(t *testing.T) {
	for name, more := range map[string]fields{"leased": {}, "leased=false": {"leased": false}} {
		t.Run(name, func(t *testing.T) {
			e, p := proved(t, more)
			r := e.read(t, "token/c")
			wantMembers(t, r.data(t), fields{"token_type": "DPoP"})
			token := r.token(t)
			if p.Requests() != 2 { // the first of them lacked the nonce
				t.Errorf("%d requests for a token", p.Requests())
			}
			got := p.prove(t, e, "c", nil)
			wantMembers(t, got, fields{"ath": hashOf(token)})
			proof, _ := got["proof"].(string)
			for _, call := range []struct {
				path, method, token string
				status              int
				says                string
			}{
				{"/api/other", "GET", token, http.StatusUnauthorized, "htm or htu"},
				{"/api/users", "POST", token, http.StatusUnauthorized, "htm or htu"},
				{"/api/users?page=2", "GET", token, http.StatusOK, ""}, // a proof does not cover the query
				{"/api/users", "GET", token, http.StatusUnauthorized, "jti"},
			} {
				if status, text := p.call(t, call.method, call.path, call.token, proof); status != call.status || !strings.Contains(text, call.says) {
					t.Errorf("%s %s: %d %s, want %d %s", call.method, call.path, status, text, call.status, call.says)
				}
			}
			asked(t, p.Server, 6) // two token requests and four calls
		})
	}
}

func TestARotatedTokenStaysOfUseToWhoHoldsIt(t *testing.T) {
	e, p := proved(t, nil)
	old := e.read(t, "token/c").token(t)
	e.clock.advance(50 * time.Minute) // 50 of the token's 60 minutes
	next := e.read(t, "token/c").token(t)
	if next == old {
		t.Fatal("the token was not replaced")
	}
	if ath := p.prove(t, e, "c", nil)["ath"]; ath != hashOf(next) {
		t.Errorf("the proof is not for the token that a read gets")
	}
	p.works(t, e, "c", old, fields{"ath": hashOf(old)})
	p.works(t, e, "c", next, nil)
	p.works(t, e, "c", next, fields{"ath": hashOf(next)})
}

func TestATokenIsStillBoundToItsKeyAfterARestartAndAChange(t *testing.T) {
	e, p := proved(t, nil)
	token := e.read(t, "token/c").token(t)
	e = e.restart(t, proofSecret)
	p.works(t, e, "c", token, nil)
	if len(p.keys()) != 1 {
		t.Error("the restart cost a mint")
	}
	e.must(t, "config/c", fields{"parameters": "more=1"}) // another request for tokens, so another token
	if e.read(t, "token/c").token(t) == token {
		t.Fatal("the token was kept")
	}
	p.works(t, e, "c", token, fields{"ath": hashOf(token)})
}

func TestAVerifiedConfigIsBoundToTheKeyThatItIsStoredWith(t *testing.T) {
	e, p := proved(t, fields{"verify_connection": true})
	if len(p.keys()) != 1 {
		t.Fatalf("%d tokens were minted", len(p.keys()))
	}
	p.works(t, e, "c", e.read(t, "token/c").token(t), nil)
	if len(p.keys()) != 1 {
		t.Error("the token that it was verified by is not handed out")
	}
}

func TestRevokingEndsTheKey(t *testing.T) {
	e, p := proved(t, nil)
	token := e.read(t, "token/c").token(t)
	succeeded(t, e.write(t, "revoke/c", nil))
	proof, _ := p.prove(t, e, "c", fields{"ath": hashOf(token)})["proof"].(string)
	if status, text := p.call(t, "GET", "/api/users", token, proof); status != http.StatusUnauthorized || !strings.Contains(text, "another key") {
		t.Errorf("a token that was revoked here, and lives on at the provider: %d %s", status, text)
	}
	p.works(t, e, "c", e.read(t, "token/c").token(t), nil)
}

func TestEachRoleHasAKeyOfItsOwn(t *testing.T) {
	e, p := proved(t, nil)
	e.must(t, "role/c/r", fields{"description": "asks for the same as its config"})
	e.must(t, "role/c/narrow", fields{"parameters": "more=1"})
	tokens := map[string]string{}
	for _, path := range []string{"c", "c/r", "c/narrow"} {
		tokens[path] = e.read(t, "token/"+path).token(t)
		p.works(t, e, path, tokens[path], nil)
	}
	if keys := p.keys(); len(slices.Compact(keys)) != 3 {
		t.Errorf("the tokens are bound to the keys %v", keys)
	}
	stolen := tokens["c/narrow"]
	proof, _ := p.prove(t, e, "c/r", fields{"ath": hashOf(stolen)})["proof"].(string)
	if status, text := p.call(t, "GET", "/api/users", stolen, proof); status != http.StatusUnauthorized || !strings.Contains(text, "another key") {
		t.Errorf("a token of another role: %d %s", status, text)
	}
}

func TestEachCallerHasAKeyOfItsOwn(t *testing.T) {
	e, _ := among(t)
	p := startProving(t, e)
	e.must(t, "config/d", p.config(nil))
	e.must(t, "role/d/r", fields{"parameters": fields{"user": "{{identity.entity.name}}"}})
	stolen := e.as(t, "e-1", "token/d/r").token(t)
	for entity, status := range map[string]int{"e-1": http.StatusOK, "e-2": http.StatusUnauthorized} {
		r := e.send(t, &logical.Request{Operation: logical.UpdateOperation, Path: "proof/d/r", EntityID: entity, Data: fields{
			"htm": "GET", "htu": p.URL() + "/api/users", "nonce": p.nonceOf(), "ath": hashOf(stolen),
		}})
		proof, _ := r.data(t)["proof"].(string)
		if got, text := p.call(t, "GET", "/api/users", stolen, proof); got != status {
			t.Errorf("%s calls with the token of e-1: %d %s", entity, got, text)
		}
	}
}

func TestTokensOfOneReaderEach(t *testing.T) {
	e, p := proved(t, fields{"reuse": false})
	one, other := e.read(t, "token/c").token(t), e.read(t, "token/c").token(t)
	p.works(t, e, "c", one, fields{"ath": hashOf(one)})
	p.works(t, e, "c", other, fields{"ath": hashOf(other)})
	r := e.write(t, "proof/c", fields{"htm": "GET", "htu": p.URL() + "/api/users"})
	refused(t, r, http.StatusBadRequest, "ath is required", "reuse=false")
}

func TestRefreshTokensAndTheirTokensAreBoundToOneKey(t *testing.T) {
	e, p := proved(t, fields{"grant_type": "refresh_token", "refresh_token": "first-refresh-token"})
	e.must(t, "role/c/r", fields{"parameters": "more=1"})
	of := e.read(t, "token/c").token(t)
	role := e.read(t, "token/c/r").token(t)
	p.works(t, e, "c", of, nil)
	p.works(t, e, "c/r", role, fields{"ath": hashOf(role)})
	succeeded(t, e.write(t, "revoke/c", nil))
	p.works(t, e, "c", e.read(t, "token/c").token(t), nil)
	if keys := p.keys(); len(keys) != 3 || len(slices.Compact(keys)) != 1 {
		t.Errorf("tokens of the keys %v, want three of one", keys)
	}
	r := e.write(t, "proof/c", fields{"htm": "GET", "htu": p.URL() + "/api/users", "ath": hashOf(role)})
	refused(t, r, http.StatusBadRequest, "ath must be the hash of the token", "read the token again")
}

func TestATokenThatIsBoundToNothingIsNotHandedOut(t *testing.T) {
	t.Run("it is an error that says so", func(t *testing.T) {
		e, p := proved(t, nil)
		p.kind = "Bearer"
		refused(t, e.read(t, "token/c"), http.StatusBadRequest, "another type than DPoP", "dpop=false")
		refused(t, e.write(t, "check/c", nil), http.StatusBadRequest, "another type than DPoP")
	})
	t.Run("it is revoked where that can be", func(t *testing.T) {
		e, p := proved(t, nil)
		e.must(t, "config/c", fields{"revocation_url": p.URL() + "/revoke", "client_secret": proofSecret})
		p.kind = "Bearer"
		refused(t, e.read(t, "token/c"), http.StatusBadRequest, "another type than DPoP")
		eventually(t, "the token is revoked", func() bool { return slices.Equal(p.revocations(), []string{"access-token-number-0"}) })
	})
	t.Run("whatever the case of the type", func(t *testing.T) {
		e, p := proved(t, nil)
		p.kind = "dpop"
		wantMembers(t, e.read(t, "token/c").data(t), fields{"token_type": "DPoP"})
	})
	t.Run("the refresh token that came along is kept", func(t *testing.T) {
		e, p := proved(t, fields{"grant_type": "refresh_token", "refresh_token": "first-refresh-token"})
		p.kind = "Bearer"
		refused(t, e.read(t, "token/c"), http.StatusBadRequest, "another type than DPoP")
		p.kind = "DPoP"
		succeeded(t, e.write(t, "check/c", nil))
	})
}

func TestDPoPIsADifferenceOfTheTokensIdentity(t *testing.T) {
	e, p := proved(t, fields{"default_token_type": "DPoP"})
	p.optional = true
	token := e.read(t, "token/c").token(t)
	e.must(t, "config/c", fields{"dpop_resources": p.URL() + "/api/users"})
	if e.read(t, "token/c").token(t) != token {
		t.Error("where a token is used made another one of it")
	}
	refused(t, e.write(t, "proof/c", fields{"htm": "GET", "htu": p.URL() + "/api/other"}), http.StatusBadRequest, "dpop_resources")
	e.must(t, "config/c", fields{"dpop": false})
	r := e.read(t, "token/c")
	if r.status() == http.StatusOK && r.token(t) == token {
		t.Error("a bound token is handed out as one that is not")
	}
}

func TestACheckUsesABoundToken(t *testing.T) {
	e, p := proved(t, nil)
	e.must(t, "config/c", fields{"check_url": p.URL() + "/api/me?x=1", "client_secret": proofSecret})
	r := e.write(t, "check/c", nil)
	wantMembers(t, r.data(t), fields{"token_type": "DPoP", "check_status": float64(200)})
	warned(t, r)
}

// A provider can start to require DPoP after configs of it were written.
func TestAProviderCanTurnDPoPOn(t *testing.T) {
	e := mount(t, proofSecret)
	p := startProving(t, e)
	config := p.config(fields{"provider": "acme"})
	e.must(t, "provider/acme", fields{"token_url": config["token_url"], "token_endpoint_auth_method": "client_secret_post"})
	for _, field := range []string{"dpop", "dpop_resources", "token_url", "token_endpoint_auth_method"} {
		delete(config, field)
	}
	e.must(t, "config/c", config)
	old := e.below(t, "config/c")["config/c"]
	e.must(t, "provider/acme", fields{"dpop": true, "dpop_resources": []any{p.URL() + "/api"}})
	p.works(t, e, "c", e.read(t, "token/c").token(t), nil)

	var entry map[string]any // the entry as an earlier version stored it, without a seed
	if err := json.Unmarshal([]byte(old), &entry); err != nil {
		t.Fatal(err)
	}
	delete(entry, "seed")
	stored, err := logical.StorageEntryJSON("config/c", entry)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.storage.Put(t.Context(), stored); err != nil {
		t.Fatal(err)
	}
	e = e.restart(t, proofSecret)
	refused(t, e.read(t, "token/c"), http.StatusBadRequest, `config "c"`, "write any of its fields again")
	e.must(t, "config/c", fields{"description": "again"})
	p.works(t, e, "c", e.read(t, "token/c").token(t), nil)
}

// Neither the seed nor a key that is derived from it appears in anything that a caller,
// an operator or a reader of the log can see.
func TestNoKeyOfATokenComesOut(t *testing.T) {
	e, p := proved(t, nil)
	var entry struct{ Seed []byte }
	if err := json.Unmarshal([]byte(e.below(t, "config/c")["config/c"]), &entry); err != nil || len(entry.Seed) != 32 {
		t.Fatalf("%v, a seed of %d bytes", err, len(entry.Seed))
	}
	k, err := signing.Derive(entry.Seed, `DPoP ["" ""]`)
	if err != nil {
		t.Fatal(err)
	}
	token := e.read(t, "token/c").token(t)
	if keys := p.keys(); !slices.Equal(keys, []string{k.Thumbprint()}) {
		t.Fatalf("tokens are bound to %v, want %s", keys, k.Thumbprint())
	}
	private, ok := k.Signer().(*ecdsa.PrivateKey)
	if !ok {
		t.Fatalf("a key of type %T", k.Signer())
	}
	scalar, err := private.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	hidden := []string{base64.StdEncoding.EncodeToString(entry.Seed), base64.RawURLEncoding.EncodeToString(entry.Seed), string(entry.Seed),
		base64.StdEncoding.EncodeToString(scalar), base64.RawURLEncoding.EncodeToString(scalar), string(scalar)}
	call := fields{"htm": "GET", "htu": p.URL() + "/api/users"}
	p.mu.Lock()
	p.nonce++
	p.kind = "Bearer"
	p.mu.Unlock()
	e.clock.advance(time.Minute)
	for name, r := range map[string]result{
		"config": e.read(t, "config/c"), "status": e.read(t, "status/c"), "token": e.read(t, "token/c"),
		"proof": e.write(t, "proof/c", call), "a proof of a hash": e.write(t, "proof/c", with(call, fields{"ath": hashOf(token)})),
		"a refused proof": e.write(t, "proof/c", fields{"htm": []any{"GET"}}), "a failed mint": e.write(t, "token/c", fields{"fresh": true}),
		"check": e.write(t, "check/c", nil),
	} {
		withoutSecrets(t, name, r.text(), hidden...)
	}
	withoutSecrets(t, "the log", e.log.String(), hidden...)
	for _, sent := range p.All() {
		raw, err := json.Marshal(sent)
		if err != nil {
			t.Fatal(err)
		}
		withoutSecrets(t, "a request", string(raw), hidden...)
	}
}
