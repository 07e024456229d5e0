// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// xcover accepts JSON, requires the documented Accept header, and answers with
// a JWT. Its errors are not documented. These are RFC 6749's bodies, with 401
// for a refused client and 406 for a missing Accept header; the statuses are
// plausible guesses.
type xcover struct{ *Server }

func (x xcover) token(in Request) (any, *refusal) {
	if refused := in.posted(jsonType); refused != nil {
		return nil, refused
	}
	if !accepts(in.Header, jsonType) {
		return nil, &refusal{status: http.StatusNotAcceptable, code: "invalid_request", text: "Accept must be " + jsonType}
	}
	body, refused := x.authenticate(in, "grant_type")
	if refused == nil {
		refused = require(body, "grant_type")
	}
	if refused != nil {
		return nil, refused
	}
	if body.Get("grant_type") != "client_credentials" {
		return nil, unsupportedGrant()
	}
	token, err := x.jwt(body.Get("client_id"))
	if err != nil {
		return nil, &refusal{status: http.StatusInternalServerError, code: "server_error", text: err.Error()}
	}
	x.issue(token)
	return bearer{TokenType: "Bearer", ExpiresIn: x.expiresIn(), AccessToken: token}, nil
}

func (x xcover) authenticate(in Request, allowed ...string) (url.Values, *refusal) {
	body, refused := in.object(append(allowed, "client_id", "client_secret")...)
	if refused == nil {
		refused = in.unauthorized()
	}
	if refused == nil {
		refused = require(body, "client_id", "client_secret")
	}
	if refused == nil && !x.isClient(body.Get("client_id"), body.Get("client_secret")) {
		refused = invalidClient(http.StatusUnauthorized)
	}
	return body, refused
}

func (xcover) errorBody(f *refusal) any { return rfcError(f) }

// jwt returns a token like the document's sample: its times have fractions, and
// its scopes concern only the API. The signature is random bytes.
func (x xcover) jwt(audience string) (string, error) {
	issued := x.options.Now()
	if x.options.ExpiredJWT {
		issued = issued.Add(-2 * x.options.Lifetime)
	}
	claims, err := json.Marshal(map[string]any{
		"aud":     audience,
		"jti":     randomHex(40),
		"iat":     numericDate(issued),
		"nbf":     numericDate(issued.Add(2 * time.Microsecond)),
		"exp":     numericDate(issued.Add(x.options.Lifetime)),
		"sub":     "",
		"scopes":  []string{"bookings:create", "bookings:delete"},
		"is_test": true,
	})
	if err != nil {
		return "", err
	}
	signature := make([]byte, 256)
	_, _ = rand.Read(signature) // It never fails.
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"typ":"JWT","alg":"RS256"}`)) + "." + encode(claims) + "." + encode(signature), nil
}

// numericDate keeps the decimal point even if the fraction is 0. It does not
// divide a float64 of microseconds, because that would round.
func numericDate(t time.Time) json.Number {
	micros := strconv.FormatInt(1_000_000+int64(t.Nanosecond()/1000), 10)
	return json.Number(strconv.FormatInt(t.Unix(), 10) + "." + micros[1:])
}

// accepts reports whether the client names the media type itself. "*/*" does
// not count: it is what clients send whose authors have not read the document.
func accepts(h http.Header, mediaType string) bool {
	for part := range strings.SplitSeq(strings.Join(h.Values("Accept"), ","), ",") {
		if got, _, err := mime.ParseMediaType(part); err == nil && got == mediaType {
			return true
		}
	}
	return false
}
