// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"crypto"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// TestInteropDPoP mints tokens that are bound to a key of the engine (RFC
// 9449), at a server that requires its nonce in each proof.
func TestInteropDPoP(t *testing.T) {
	t.Parallel()
	c := startCertified(t)
	registered := fields{"dpop_bound_access_tokens": true}
	dpop := fields{"dpop": true, "dpop_resources": ledger, "reuse": false}

	for _, method := range []string{"client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none"} {
		t.Run(method+" mints, and keeps to the server's nonce", func(t *testing.T) {
			c := c.For(t)
			metadata, more := registered, dpop
			if method == "private_key_jwt" {
				key := newKey(t, "P-256")
				metadata = with(metadata, jwks(jwk(t, key.Public(), "k-1")))
				more = with(more, fields{"private_key": pkcs8(t, key), "key_id": "k-1"})
			}
			client := c.register(t, method, method, metadata, more)
			first, known := c.mints(t, method, client)
			_, again := c.mints(t, method, client)
			if first.text(t, "token_type") != "DPoP" || known["token_type"] != "DPoP" {
				t.Errorf("the token is of type %v, to the server of %v", first.Data["token_type"], known["token_type"])
			}
			if key := member(known, "cnf", "jkt"); key == nil || key != member(again, "cnf", "jkt") {
				t.Errorf("the tokens are bound to the keys %v and %v", key, member(again, "cnf", "jkt"))
			}
			// The first request cannot know the nonce, so it is repeated with
			// the nonce. The second mint takes only one request.
			id, _ := client["client_id"].(string)
			var heard []string
			for _, e := range c.p.EventsOf(id) {
				heard = append(heard, strings.TrimSpace(e.Event+" "+e.Error))
			}
			if got := strings.Join(heard, ", "); got != "refused use_dpop_nonce, issued, issued" && got != "issued, issued" {
				t.Errorf("the server's answers: %s", got)
			}
		})
	}
	t.Run("a client that is bound to DPoP and sends no proof is refused", func(t *testing.T) {
		c := c.For(t)
		client := c.register(t, "proofless", "client_secret_basic", registered, nil)
		c.refused(t, "proofless", client, "DPoP proof JWT not provided", "HTTP 400", "invalid_grant")
	})
	t.Run("a lease's end revokes a bound token", func(t *testing.T) {
		c := c.For(t)
		client := c.register(t, "ended", "client_secret_basic", registered, dpop)
		answer, _ := c.mints(t, "ended", client)
		c.v.MustCLI("lease", "revoke", "-sync", answer.LeaseID)
		if known := c.p.Introspect(c.observer, answer.text(t, "access_token")); known["active"] != false {
			t.Errorf("the server says of the revoked token: %v", known)
		}
	})
	t.Run("a role's proofs are bound to the config's key", func(t *testing.T) {
		c := c.For(t)
		client := c.register(t, "roles", "client_secret_basic", registered, with(dpop, fields{"reuse": true, "parameters": fields{"resource": ledger}, "scopes": "read,write"}))
		write(t, c.v, "oauthcc/role/roles/reader", fields{"scopes": "read"})
		_, known := c.mints(t, "roles/reader", client)
		proof := write(t, c.v, "oauthcc/proof/roles/reader", fields{"htm": "GET", "htu": ledger + "/books"}).text(t, "proof")
		if got := signer(t, proof); got != member(known, "cnf", "jkt") {
			t.Errorf("the proof is signed with the key %s, and the token bound to %v", got, member(known, "cnf", "jkt"))
		}
	})
}

// signer returns the thumbprint of the key that signed a proof.
func signer(t *testing.T, proof string) string {
	t.Helper()
	parsed, err := jose.ParseSigned(proof, []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	key := parsed.Signatures[0].Header.JSONWebKey
	if key == nil {
		t.Fatal("the proof names no key")
	}
	if _, err := parsed.Verify(key); err != nil {
		t.Fatal(err)
	}
	sum, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

// TestInteropProofs calls a resource of the server with a person's bound token
// and with proofs from the engine, which the server verifies.
func TestInteropProofs(t *testing.T) {
	t.Parallel()
	c := startCertified(t)
	client := c.person(t)
	me := c.p.Issuer() + "/me"
	write(t, c.v, "oauthcc/config/person", fields{
		"token_url": c.p.Issuer() + "/token", "tls_ca_certificate": c.p.Authority(), "token_endpoint_auth_method": "none",
		"grant_type": "refresh_token", "client_id": client["client_id"], "refresh_token": c.consent(t, client),
		"dpop": true, "dpop_resources": me,
	})
	answer, known := c.mints(t, "person", client)
	token := answer.text(t, "access_token")
	if answer.text(t, "token_type") != "DPoP" {
		t.Fatalf("the token is of type %v", answer.Data["token_type"])
	}
	prove := func(t *testing.T, in fields) string {
		t.Helper()
		return write(t, c.v.For(t), "oauthcc/proof/person", in).text(t, "proof")
	}
	call := func(t *testing.T, proof string) (status int, nonce, body string) {
		t.Helper()
		return c.For(t).call(t, me, token, proof)
	}

	// The server sends its nonce when it refuses the first proof.
	status, nonce, body := call(t, prove(t, fields{"htm": "GET", "htu": me}))
	if status != http.StatusUnauthorized || nonce == "" {
		t.Fatalf("without its nonce the server says %d %s", status, body)
	}
	t.Run("a proof for the call lets it through, once", func(t *testing.T) {
		proof := prove(t, fields{"htm": "GET", "htu": me, "nonce": nonce})
		if got := signer(t, proof); got != member(known, "cnf", "jkt") {
			t.Errorf("the proof is signed with the key %s, and the token bound to %v", got, member(known, "cnf", "jkt"))
		}
		if status, _, body := call(t, proof); status != http.StatusOK || rawObject(t, body)["sub"] != "ada" {
			t.Errorf("the server says %d %s", status, body)
		}
		if status, _, body := call(t, proof); status == http.StatusOK {
			t.Errorf("the second time the server says %d %s", status, body)
		}
	})
	t.Run("a query is no part of what is proved", func(t *testing.T) {
		if status, _, body := call(t, prove(t, fields{"htm": "GET", "htu": me + "?fields=sub", "nonce": nonce})); status != http.StatusOK {
			t.Errorf("the server says %d %s", status, body)
		}
	})
	t.Run("a proof of another method does not", func(t *testing.T) {
		if status, _, body := call(t, prove(t, fields{"htm": "POST", "htu": me, "nonce": nonce})); status != http.StatusUnauthorized {
			t.Errorf("the server says %d %s", status, body)
		}
	})
	t.Run("the token alone does not", func(t *testing.T) {
		if status, _, body := call(t, ""); status == http.StatusOK {
			t.Errorf("the server says %d %s", status, body)
		}
	})
	t.Run("no proof is given for what is not below dpop_resources", func(t *testing.T) {
		for _, elsewhere := range []string{c.p.Issuer() + "/token", "https://elsewhere.example/me", me + "a"} {
			ask(t, c.v.For(t), http.MethodPost, "oauthcc/proof/person", fields{"htm": "GET", "htu": elsewhere}).
				wants(t, http.StatusBadRequest, "dpop_resources")
		}
	})
	t.Run("a token of the next refresh is bound to the same key", func(t *testing.T) {
		write(t, c.v.For(t), "oauthcc/check/person", nil) // mints, however young the token is
		renewed, again := c.For(t).mints(t, "person", client)
		if renewed.text(t, "access_token") == token {
			t.Error("the token was not refreshed")
		}
		if member(again, "cnf", "jkt") != member(known, "cnf", "jkt") {
			t.Errorf("the tokens are bound to the keys %v and %v", member(known, "cnf", "jkt"), member(again, "cnf", "jkt"))
		}
	})
}

// call reads a resource with a bound token and a proof (RFC 9449 section 7.1).
func (c certified) call(t *testing.T, address, token, proof string) (status int, nonce, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "DPoP "+token)
	if proof != "" {
		r.Header.Set("DPoP", proof)
	}
	resp, err := c.p.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("DPoP-Nonce"), string(raw)
}
