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

// The headers of RFC 9449 sections 4.1 and 8.
const (
	headerDPoP  = "DPoP"
	headerNonce = "DPoP-Nonce"
)

const (
	maxNonces  = 1024     // servers whose nonces are kept
	maxNonce   = 1 << 10  // bytes of one
	maxRefusal = 64 << 10 // bytes of an answer that may ask for a nonce
)

// DPoP has a request show that it comes from whoever holds the key.
type DPoP struct {
	Key   signing.Key
	Token string // the access token that goes along; "" for none
}

// Proof is a DPoP proof (RFC 9449 section 4.2) to be signed: it is good for one
// request.
type Proof struct {
	Method    string
	URL       string // without query and fragment
	TokenHash string // of the access token that goes along; "" for none
	Nonce     string // the server's; "" for none
}

// Sign makes the proof, with a new jti. The key is one for ES256.
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
	text, err := k.Sign(signing.ES256, map[string]any{"typ": "dpop+jwt", "jwk": jwk}, claims)
	if err != nil {
		return "", &Error{Kind: Misconfigured, Detail: "the DPoP proof cannot be signed: " + err.Error()}
	}
	return text, nil
}

// TokenHash is the ath of a proof that goes along with that access token: its
// SHA-256 hash in base64url.
func TokenHash(accessToken string) string {
	sum := sha256.Sum256([]byte(accessToken))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// CheckNonce says whether text can be a server's nonce (RFC 9449 section 8.1).
func CheckNonce(text string) bool {
	return text != "" && len(text) <= maxNonce && !strings.ContainsFunc(text, func(c rune) bool {
		return c <= ' ' || c > '~' || c == '"' || c == '\\'
	})
}

// nonces holds the last nonce of each server, by its origin.
type nonces struct{ byOrigin *lru.Cache[string, string] }

func newNonces() nonces {
	byOrigin, err := lru.New[string, string](maxNonces)
	if err != nil { // only a size below one is an error
		panic(err)
	}
	return nonces{byOrigin: byOrigin}
}

func originOf(u *url.URL) string { return u.Scheme + "://" + strings.ToLower(u.Host) }

func (n nonces) of(u *url.URL) string {
	nonce, _ := n.byOrigin.Get(originOf(u))
	return nonce
}

// take keeps the nonce of an answer, if it brings one.
func (n nonces) take(u *url.URL, h http.Header) {
	if nonce := h.Get(headerNonce); CheckNonce(nonce) {
		n.byOrigin.Add(originOf(u), nonce)
	}
}

// prove adds the proof to a request that is about to be sent.
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
	req.Header[headerDPoP] = []string{text} // as RFC 9449 writes it
	a.secrets = append(a.secrets, text)
	return nil
}

// wantsNonce says whether the answer refuses a request for nothing but the nonce
// that it brings: then nothing has been done or used up (RFC 9449 sections 8
// and 9). The answer can be read as before.
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

// rejoined is a body of which a part has been read already.
type rejoined struct {
	io.Reader
	io.Closer
}

// failing is a reader that fails.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
