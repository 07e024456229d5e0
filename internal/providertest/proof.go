// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"time"
)

// proofAge is how long a proof is valid. RFC 9449 section 11.1 leaves this to
// the server: "on the order of seconds or minutes".
const proofAge = time.Minute

// proof checks the request's DPoP proof as in RFC 9449 section 4.3, and returns
// the thumbprint of its key. accessToken is "" if the request has no access
// token, and nonce is "" if the server demands none. missing is the error text
// for a request without a proof.
func (s *Server) proof(in Request, accessToken, nonce, missing string) (thumbprint string, refused *refusal) {
	bad := func(text string) (string, *refusal) {
		return "", &refusal{status: http.StatusBadRequest, code: "invalid_dpop_proof", text: text}
	}
	sent := in.Header.Values("DPoP")
	if len(sent) == 0 {
		return bad(missing)
	}
	t, ok := parseJWT(sent[0])
	if !ok || len(sent) > 1 {
		return bad("The DPoP proof must be one JWT.")
	}
	jwk, _ := t.header["jwk"].(map[string]any)
	key, thumbprint, ok := publicKey(jwk)
	issued, timed := t.time("iat")
	now := s.options.Now()
	hash := ""
	if accessToken != "" {
		sum := sha256.Sum256([]byte(accessToken))
		hash = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	switch {
	case text(t.header, "typ") != "dpop+jwt":
		return bad("The DPoP proof's typ must be dpop+jwt.")
	case !slices.Contains([]string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512"}, t.alg()):
		return bad("The DPoP proof's alg is not supported.")
	case !ok:
		return bad("The DPoP proof's jwk must be a public key.")
	case !t.verifiedBy(key):
		return bad("The DPoP proof's signature is not of its jwk.")
	case t.claim("htm") != in.Method:
		return bad("The DPoP proof's htm must be the method of the request.")
	case t.claim("htu") != s.known()+in.Path:
		return bad("The DPoP proof's htu must be the URL of the request.")
	case !timed || issued.After(now) || now.Sub(issued) > proofAge:
		return bad("The DPoP proof's iat must be the current time.")
	case t.claim("ath") != hash:
		return bad("The DPoP proof's ath must be the hash of the access token.")
	case nonce != "" && t.claim("nonce") != nonce:
		return "", &refusal{
			status: http.StatusBadRequest, code: "use_dpop_nonce", nonce: nonce,
			text: "Authorization server requires nonce in DPoP proof.",
		}
	case !s.firstUse("proof " + t.claim("jti")):
		return bad("The DPoP proof's jti must be there, and used once.")
	}
	return thumbprint, nil
}
