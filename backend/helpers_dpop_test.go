// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

const proofSecret = "the-client's-secret-at-the-server"

// proving is an authorization server, and an API at /api, that follow RFC 9449
// strictly. Each of the two requires its own nonce and accepts no proof twice. The API
// accepts a token only from the holder of the key that the token is bound to.
type proving struct {
	*providertest.Server
	clock *clock

	mu       sync.Mutex
	tokens   map[string]string // each token, with the thumbprint of its key
	revoked  []string
	spent    map[string]bool // refresh tokens that were used
	seen     map[string]bool // the jti of each proof
	nonce    int
	optional bool   // no proof of a token request needs the nonce
	kind     string // the token_type of its answers
}

func startProving(t *testing.T, e *engine) *proving {
	t.Helper()
	p := &proving{clock: e.clock, tokens: map[string]string{}, spent: map[string]bool{}, seen: map[string]bool{}, kind: "DPoP"}
	p.Server = providertest.StartFunc(t, "/", func(w http.ResponseWriter, r *http.Request, _ []byte) {
		p.mu.Lock()
		defer p.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasPrefix(r.URL.Path, "/api"):
			p.serveAPI(w, r)
		case r.URL.Path == "/revoke":
			p.revoked = append(p.revoked, r.PostFormValue("token"))
		default:
			p.issue(w, r)
		}
	})
	return p
}

// config returns a config of a client at this server.
func (p *proving) config(more fields) fields {
	return with(fields{
		"token_url": p.URL() + "/token", "client_id": "me", "client_secret": proofSecret, "token_endpoint_auth_method": "client_secret_post",
		"dpop": true, "dpop_resources": p.URL() + "/api",
	}, more)
}

func (p *proving) issue(w http.ResponseWriter, r *http.Request) {
	thumbprint, err := p.verify(r, "", "as")
	if err != nil {
		p.refuse(w, http.StatusBadRequest, "as", err)
		return
	}
	answer := fields{"token_type": p.kind, "expires_in": 3600}
	switch {
	case r.PostFormValue("client_secret") != proofSecret:
		p.refuse(w, http.StatusUnauthorized, "as", errors.New("invalid_client"))
		return
	case r.PostFormValue("grant_type") == "refresh_token":
		current := r.PostFormValue("refresh_token")
		if p.spent[current] {
			p.refuse(w, http.StatusBadRequest, "as", errors.New("invalid_grant"))
			return
		}
		p.spent[current] = true
		answer["refresh_token"] = fmt.Sprintf("next-refresh-token-%d", len(p.spent))
	}
	token := fmt.Sprintf("access-token-number-%d", len(p.tokens))
	p.tokens[token] = thumbprint
	answer["access_token"] = token
	_ = json.NewEncoder(w).Encode(answer) // the client may be gone
}

func (p *proving) serveAPI(w http.ResponseWriter, r *http.Request) {
	token, isDPoP := strings.CutPrefix(r.Header.Get("Authorization"), "DPoP ")
	key, known := p.tokens[token]
	if !isDPoP || !known {
		p.refuse(w, http.StatusUnauthorized, "api", errors.New("invalid_token"))
		return
	}
	thumbprint, err := p.verify(r, token, "api")
	if err == nil && thumbprint != key {
		err = errors.New("invalid_token: the proof is of another key")
	}
	if err != nil {
		p.refuse(w, http.StatusUnauthorized, "api", err)
		return
	}
	_, _ = w.Write([]byte(`{"ok":true}`))
}

func (p *proving) revocations() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.revoked)
}

func (p *proving) refuse(w http.ResponseWriter, status int, who string, err error) {
	code, description, _ := strings.Cut(err.Error(), ": ")
	if code == "use_dpop_nonce" {
		w.Header().Set("DPoP-Nonce", p.current(who))
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`DPoP error=%q, algs="ES256"`, code))
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(fields{"error": code, "error_description": description}) // the client may be gone
}

func (p *proving) current(who string) string { return fmt.Sprintf("nonce-of-%s-%d", who, p.nonce) }

// verify checks a proof as RFC 9449 section 4.3 says. It returns the thumbprint of the
// proof's key.
func (p *proving) verify(r *http.Request, token, who string) (string, error) {
	bad := func(what string) (string, error) { return "", errors.New("invalid_dpop_proof: " + what) }
	proofs := r.Header.Values("DPoP")
	if len(proofs) != 1 {
		return bad("not one proof")
	}
	parsed, err := jose.ParseSigned(proofs[0], []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return bad("no JWS of ES256")
	}
	header := parsed.Signatures[0].Header
	if header.ExtraHeaders["typ"] != "dpop+jwt" || header.JSONWebKey == nil || !header.JSONWebKey.IsPublic() {
		return bad("typ or jwk")
	}
	payload, err := parsed.Verify(header.JSONWebKey)
	if err != nil {
		return bad("signature")
	}
	var claims struct {
		Jti, Htm, Htu, Ath, Nonce string
		Iat                       int64
	}
	if json.Unmarshal(payload, &claims) != nil {
		return bad("claims")
	}
	ath := ""
	if token != "" {
		ath = hashOf(token)
	}
	age := p.clock.Now().Sub(time.Unix(claims.Iat, 0))
	switch {
	case claims.Htm != r.Method || claims.Htu != p.URL()+r.URL.Path:
		return bad("htm or htu")
	case age < 0 || age > time.Minute:
		return bad("iat")
	case claims.Ath != ath:
		return bad("ath")
	case claims.Jti == "" || p.seen[claims.Jti]:
		return bad("jti")
	case claims.Nonce != p.current(who) && !p.optional:
		return "", errors.New("use_dpop_nonce: a nonce is wanted")
	}
	p.seen[claims.Jti] = true
	sum, err := header.JSONWebKey.Thumbprint(crypto.SHA256)
	return base64.RawURLEncoding.EncodeToString(sum), err
}

func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// nonceOf returns the nonce that the API sends as DPoP-Nonce.
func (p *proving) nonceOf() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current("api")
}

// call uses a token with a proof. It returns the status and the error.
func (p *proving) call(t *testing.T, method, path, token, proof string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, p.URL()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "DPoP "+token)
	r.Header.Set("DPoP", proof)
	resp, err := p.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Error       string
		Description string `json:"error_description"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, answer.Error + " " + answer.Description
}

// prove asks the engine for a proof of a call to the API. more adds to the request or
// replaces its fields.
func (p *proving) prove(t *testing.T, e *engine, path string, more fields) fields {
	t.Helper()
	return e.write(t, "proof/"+path, with(fields{"htm": "GET", "htu": p.URL() + "/api/users", "nonce": p.nonceOf()}, more)).data(t)
}

// works expects that the API accepts the token with a proof of that path.
func (p *proving) works(t *testing.T, e *engine, path, token string, more fields) {
	t.Helper()
	proof, _ := p.prove(t, e, path, more)["proof"].(string)
	if status, text := p.call(t, "GET", "/api/users", token, proof); status != http.StatusOK {
		t.Fatalf("the API answers %d %s", status, text)
	}
}

// keys returns the thumbprints that tokens are bound to.
func (p *proving) keys() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(maps.Values(p.tokens))
}
