// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind says whose trouble an error is, and so what may help.
type Kind int

// The kinds of error.
const (
	Refused        Kind = iota + 1 // the provider refuses the client or the request
	Misconfigured                  // the request cannot be made, or its answer not used, as it is configured
	RateLimited                    // the provider limits the rate
	Unavailable                    // the provider cannot be reached or is out of order
	Unintelligible                 // the provider's answer cannot be understood
	TooSlow                        // no answer in time
)

// Error codes of RFC 6749 section 5.2 (and 4.1.2.1, which real token endpoints
// answer as well) and RFC 9449 section 12.2 that the engine acts upon.
const (
	CodeInvalidClient  = "invalid_client"
	CodeInvalidGrant   = "invalid_grant"
	CodeInvalidProof   = "invalid_dpop_proof"
	CodeUseNonce       = "use_dpop_nonce"
	codeServerError    = "server_error"
	codeUnavailable    = "temporarily_unavailable"
	codeRateLimited    = "slow_down" // RFC 8628 section 3.5
	codeInvalidRequest = "invalid_request"

	codeUnauthorizedClient = "unauthorized_client"
	codeAccessDenied       = "access_denied"
	codeUnsupportedGrant   = "unsupported_grant_type"
)

// registeredCodes are the token endpoint error codes of the IANA registry.
// They say nothing about a credential, whatever the credential is.
var registeredCodes = []string{
	codeInvalidRequest, CodeInvalidClient, CodeInvalidGrant, codeUnauthorizedClient, codeAccessDenied,
	codeUnsupportedGrant, "invalid_scope", "invalid_target", CodeInvalidProof, CodeUseNonce,
	codeServerError, codeUnavailable, codeRateLimited, "unsupported_token_type", "invalid_authorization_details",
	"authorization_pending", "expired_token", "unsupported_response_type",
}

// clientCodes are the words, in lower case, in which providers refuse a client.
var clientCodes = []string{
	CodeInvalidClient,
	"incorrect_client_credentials",            // GitHub
	"invalid_client_id",                       // Salesforce, Slack
	"bad_client_secret",                       // Slack, HubSpot
	"bad_client_id",                           // HubSpot
	"invalid_client_credentials",              // Keycloak of old
	"invalid_client_secret", "unknown_client", // what others make of it
}

// grantCodes are the words, in lower case, in which providers refuse a
// password, a code or a refresh token.
var grantCodes = []string{
	CodeInvalidGrant,
	"bad_verification_code",                 // GitHub
	"bad_refresh_token",                     // GitHub, HubSpot
	"invalid_refresh_token", "invalid_code", // Slack
}

// Error is a mint that failed. Its text is safe to show: it holds no credential
// and quotes no answer beyond the error code and description, printable, of at
// most 200 characters, and free of every credential of the request.
type Error struct {
	Kind        Kind
	Status      int           // HTTP status of the answer; 0 without one
	Code        string        // the provider's error code; "" without one
	Description string        // what the provider said about it
	RetryAfter  time.Duration // the provider's wish; 0 without one
	GrantType   string        // of the request; "" when it named none
	Proved      bool          // the request carried a DPoP proof
	Brought     bool          // the request held what one of many callers brought
	Page        bool          // the answer is a page for people (HTML), as a firewall's is
	Detail      string        // what this side has to say
	Showed      string        // what a refused client showed of itself, but for secrets
	Expired     bool          // there was a token, whose end has come

	cause Cause  // what else but the above tells, "" for nothing
	next  string // the refresh token of an answer that cannot be used otherwise
}

// NextRefreshToken is the refresh token that came with an answer which holds no
// usable access token; "" without one. A grant that has spent the one before
// goes on with it. It is secret, and no part of the error's text.
func (e *Error) NextRefreshToken() string { return e.next }

// Error says what the provider said and what this side makes of it.
func (e *Error) Error() string {
	var b strings.Builder
	sep := ""
	add := func(parts ...string) {
		b.WriteString(sep)
		for _, p := range parts {
			b.WriteString(p)
		}
		sep = ": "
	}
	if e.Status != 0 {
		add("the provider answered HTTP ", strconv.Itoa(e.Status))
	}
	if e.Code != "" {
		add(e.Code)
	}
	if e.Description != "" {
		add(e.Description)
	}
	if e.Detail != "" {
		add(e.Detail)
	}
	return b.String()
}

// ClientRefused says that the provider does not accept the client: it does not
// know it, or its secret is wrong. That is invalid_client (RFC 6749 section
// 5.2), a 401 that says nothing else, and what real providers say instead:
// unauthorized_client (Keycloak) or access_denied (Auth0) with a 401, and words
// of their own, also inside a 200. With a 400, unauthorized_client is a client
// that is known and may not use the grant.
func (e *Error) ClientRefused() bool {
	code := strings.ToLower(e.Code)
	switch {
	case e.Kind != Refused:
		return false
	case code == codeUnauthorizedClient, code == codeAccessDenied:
		return e.Status == http.StatusUnauthorized
	case slices.Contains(clientCodes, code):
		return true
	case slices.Contains(registeredCodes, code), slices.Contains(grantCodes, code):
		return false
	default:
		return e.Status == http.StatusUnauthorized
	}
}

// GrantRefused says that the provider does not accept what the grant rests
// upon: the password, the code, the assertion or the refresh token. That is
// invalid_grant (RFC 6749 section 5.2), or what real providers say instead.
func (e *Error) GrantRefused() bool {
	return e.Kind == Refused && slices.Contains(grantCodes, strings.ToLower(e.Code))
}

// WantsProof says that the provider asks for a DPoP proof (RFC 9449) where the
// request carried none. Servers say so by the registered codes, or in words.
func (e *Error) WantsProof() bool {
	return e.Kind == Refused && !e.Proved && strings.Contains(strings.ToLower(e.Code+" "+e.Description), "dpop")
}

// Holds says that asking again with the same credentials can only be refused
// again, and may lock an account: the client is refused, or the password or
// refresh token is. A provider that refuses a password in words of its own, or
// with a bare 403, counts as well.
func (e *Error) Holds() bool {
	if e.ClientRefused() {
		return true
	}
	switch e.GrantType {
	case GrantRefreshToken:
		return e.GrantRefused()
	case GrantPassword:
		bare := e.Code == "" && e.Status == http.StatusForbidden && !e.Page
		own := e.Code != "" && !slices.Contains(registeredCodes, strings.ToLower(e.Code))
		return e.Kind == Refused && (e.GrantRefused() || bare || own)
	}
	return false
}

// OfRequest says that the failure belongs to this one request, such as to its
// scopes or its parameters, or to how its answer is to be read. Another request
// of the same client may fare better. It is false when the client, the endpoint
// or the provider as a whole is the matter. What a caller brought is the matter
// unless the provider says clearly that it is not: else one caller could have
// the others wait.
func (e *Error) OfRequest() bool {
	if e.Brought && e.Status == http.StatusInternalServerError {
		return true
	}
	switch e.Kind {
	case Misconfigured:
		return true
	case Unintelligible:
		return e.Status >= 200 && e.Status < 300 // else a redirect
	case Refused:
		switch e.Status {
		case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone, http.StatusUnsupportedMediaType:
			return false // the endpoint is another
		}
		if code := strings.ToLower(e.Code); e.Brought && e.Status == http.StatusUnauthorized && code != codeUnauthorizedClient && !slices.Contains(clientCodes, code) {
			return true
		}
		return !e.Holds() && !e.Page && e.Code != codeUnsupportedGrant && e.Code != codeUnauthorizedClient
	default:
		return false
	}
}

// kindOf classifies an answer that holds no token.
func kindOf(status int, code string) Kind {
	switch {
	case status == http.StatusTooManyRequests, code == codeRateLimited:
		return RateLimited
	case status >= 500, code == codeServerError, code == codeUnavailable:
		return Unavailable
	case status == http.StatusRequestTimeout:
		return TooSlow
	case status >= 400:
		return Refused
	case status >= 200 && status < 300 && code != "":
		return Refused
	default:
		return Unintelligible
	}
}

// Ended says that the answer's token has ended: the provider repeats it, and is
// about to issue the next one.
func (e *Error) Ended() bool { return e.Expired }

// RetryHint is the time for which the provider wants no further request.
func (e *Error) RetryHint() time.Duration { return e.RetryAfter }

// InWords is a time as people say it: 5m, not 4m59.861148306s or 5m0s. From a
// second on it is rounded to seconds. All texts say their times so.
func InWords(d time.Duration) string {
	if d >= time.Second {
		d = d.Round(time.Second)
	}
	text := d.String()
	if trimmed, ok := strings.CutSuffix(text, "m0s"); ok {
		text = trimmed + "m"
	}
	if trimmed, ok := strings.CutSuffix(text, "h0m"); ok {
		text = trimmed + "h"
	}
	return text
}
