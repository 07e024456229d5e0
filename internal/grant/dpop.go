// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

// TypeDPoP is the token_type of a token that is bound to a key (RFC 9449
// section 5).
const TypeDPoP = "DPoP"

// ProofAlgorithm is the algorithm that all proofs are signed with.
const ProofAlgorithm = signing.ES256

// The headers of RFC 9449 sections 4.1 and 8.
const (
	headerDPoP  = "DPoP"
	headerNonce = "DPoP-Nonce"
)

const (
	maxNonces  = 1024     // number of servers whose nonces are kept
	maxNonce   = 1 << 10  // bytes of one nonce
	maxRefusal = 64 << 10 // bytes of an answer that may ask for a nonce
)

// DPoP adds a proof to a request that its sender holds the key.
type DPoP struct {
	Key   signing.Key
	Token string // the access token that is sent with the request; "" for none
}

// Proof is an unsigned DPoP proof (RFC 9449 section 4.2). A proof is valid for
// one request.
type Proof struct {
	Method    string
	URL       string // without query or fragment
	TokenHash string // hash of the access token that is sent along; "" for none
	Nonce     string // the server's nonce; "" for none
}

// Sign signs the proof and gives it a new jti. The key must be one for
// ProofAlgorithm.
func (p Proof) Sign(k signing.Key, now time.Time) (string, error) {
	jwk, err := k.BareJWK()
	if err != nil {
		return "", &Error{Kind: Misconfigured, Detail: "the DPoP proof cannot be signed: " + err.Error()}
	}
	claims := map[string]any{"jti": rand.Text(), "htm": p.Method, "htu": p.URL, "iat": now.Unix()}
	if p.TokenHash != "" {
		claims["ath"] = p.TokenHash
	}
	if p.Nonce != "" {
		claims["nonce"] = p.Nonce
	}
	text, err := k.Sign(ProofAlgorithm, map[string]any{"typ": "dpop+jwt", "jwk": jwk}, claims)
	if err != nil {
		return "", &Error{Kind: Misconfigured, Detail: "the DPoP proof cannot be signed: " + err.Error()}
	}
	return text, nil
}

// TokenHash returns the ath claim of a proof that is sent with this access
// token: the token's SHA-256 hash in base64url.
func TokenHash(accessToken string) string {
	sum := sha256.Sum256([]byte(accessToken))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// CheckNonce reports whether the text can be a server's nonce (RFC 9449 section
// 8.1).
func CheckNonce(text string) bool {
	return text != "" && len(text) <= maxNonce && !strings.ContainsFunc(text, func(c rune) bool {
		return c <= ' ' || c > '~' || c == '"' || c == '\\'
	})
}

// nonces keeps the last nonce of each server, by the server's origin.
type nonces struct{ byOrigin *lru.Cache[string, string] }

func newNonces() nonces {
	byOrigin, err := lru.New[string, string](maxNonces)
	if err != nil { // fails only for a size below one
		panic(err)
	}
	return nonces{byOrigin: byOrigin}
}

func originOf(u *url.URL) string { return u.Scheme + "://" + strings.ToLower(u.Host) }

func (n nonces) of(u *url.URL) string {
	nonce, _ := n.byOrigin.Get(originOf(u))
	return nonce
}

// take stores the nonce of an answer, if the answer has one.
func (n nonces) take(u *url.URL, h http.Header) {
	if nonce := h.Get(headerNonce); CheckNonce(nonce) {
		n.byOrigin.Add(originOf(u), nonce)
	}
}

// prove adds a proof to a request that is about to be sent.
func (c *Client) prove(req *http.Request, d *DPoP, a *attempt) error {
	target := *req.URL
	target.RawQuery, target.ForceQuery, target.Fragment = "", false, ""
	p := Proof{Method: req.Method, URL: target.String(), Nonce: c.nonces.of(req.URL)}
	if d.Token != "" {
		p.TokenHash = TokenHash(d.Token)
	}
	text, err := p.Sign(d.Key, a.now)
	if err != nil {
		return err
	}
	req.Header[headerDPoP] = []string{text} // the case that RFC 9449 uses
	a.secrets = append(a.secrets, text)
	return nil
}

// wantsNonce reports whether the answer refuses the request only because the
// nonce that it brings was missing. In this case the server has done nothing and
// the grant is not used up (RFC 9449 sections 8 and 9). The answer's body can
// still be read in full afterwards.
func wantsNonce(r Request, resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusUnauthorized:
	default:
		return false
	}
	if !CheckNonce(resp.Header.Get(headerNonce)) {
		return false
	}
	for _, challenge := range resp.Header.Values("WWW-Authenticate") {
		if strings.Contains(challenge, CodeUseNonce) {
			return true
		}
	}
	head, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	whole := io.MultiReader(bytes.NewReader(head), resp.Body)
	if err != nil {
		whole = io.MultiReader(bytes.NewReader(head), failing{err})
	}
	resp.Body = &rejoined{Reader: whole, Closer: resp.Body}
	doc := reply{header: resp.Header, body: head}.document()
	code, _ := first(doc, append(slices.Clip(r.Answer.Error), "/error"), errorText)
	return code == CodeUseNonce
}

// rejoined is a body of which a part has already been read.
type rejoined struct {
	io.Reader
	io.Closer
}

// failing is a reader that always returns err.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
