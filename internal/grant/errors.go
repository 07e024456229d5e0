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

// Kind says who has to act on an error, and so what may help.
type Kind int

// The kinds of error.
const (
	Refused        Kind = iota + 1 // the provider refuses the client or the request
	Misconfigured                  // as configured, the request cannot be made or its answer not used
	RateLimited                    // the provider wants fewer requests
	Unavailable                    // the provider cannot be reached or is out of service
	Unintelligible                 // the provider's answer cannot be understood
	TooSlow                        // there is no answer in time
)

// Error codes that the engine acts on. They come from RFC 6749 section 5.2, from
// its section 4.1.2.1, whose codes real token endpoints answer as well, and from
// RFC 9449 section 12.2.
const (
	CodeInvalidClient  = "invalid_client"
	CodeInvalidGrant   = "invalid_grant"
	CodeInvalidProof   = "invalid_dpop_proof"
	CodeUseNonce       = "use_dpop_nonce"
	codeServerError    = "server_error"
	codeUnavailable    = "temporarily_unavailable"
	codeRateLimited    = "slow_down" // RFC 8628 section 3.5
	codeInvalidRequest = "invalid_request"
	codeInvalidToken   = "invalid_token" // RFC 6750 section 3.1

	codeUnauthorizedClient = "unauthorized_client"
	codeAccessDenied       = "access_denied"
	codeUnsupportedGrant   = "unsupported_grant_type"
)

// registeredCodes are the token endpoint error codes of the IANA registry. Such
// a code is shown even if a credential has the same text: it gives nothing away.
var registeredCodes = []string{
	codeInvalidRequest, CodeInvalidClient, CodeInvalidGrant, codeUnauthorizedClient, codeAccessDenied,
	codeUnsupportedGrant, "invalid_scope", "invalid_target", CodeInvalidProof, CodeUseNonce,
	codeServerError, codeUnavailable, codeRateLimited, "unsupported_token_type", "invalid_authorization_details",
	"authorization_pending", "expired_token", "unsupported_response_type",
}

// clientCodes are the error codes, in lower case, by which providers refuse a
// client.
var clientCodes = []string{
	CodeInvalidClient,
	"incorrect_client_credentials",            // GitHub
	"invalid_client_id",                       // Salesforce, Slack
	"bad_client_secret",                       // Slack, HubSpot
	"bad_client_id",                           // HubSpot
	"invalid_client_credentials",              // old versions of Keycloak
	"invalid_client_secret", "unknown_client", // others
}

// grantCodes are the error codes, in lower case, by which providers refuse a
// password, a code or a refresh token.
var grantCodes = []string{
	CodeInvalidGrant,
	"bad_verification_code",                 // GitHub
	"bad_refresh_token",                     // GitHub, HubSpot
	"invalid_refresh_token", "invalid_code", // Slack
}

// Error is a failed mint. Its text is safe to show. It quotes nothing of the
// answer except the error code and the description, with at most 200 printable
// characters each, and holds no credential of the request.
type Error struct {
	Kind        Kind
	Status      int           // HTTP status of the answer; 0 without an answer
	Code        string        // the provider's error code; "" if it sent none
	Description string        // the provider's description of the error
	RetryAfter  time.Duration // how long the provider wants no request; 0 if unsaid
	GrantType   string        // grant type of the request; "" if it named none
	Proved      bool          // the request carried a DPoP proof
	Brought     bool          // the request held a token that one of many callers brought
	Page        bool          // the answer is an HTML page, such as a firewall's
	Detail      string        // the engine's own explanation
	Remedy      string        // what may help; "" if the explanation needs none, or it depends on the config
	Showed      string        // what a refused client showed of itself, without secrets
	Expired     bool          // the answer held a token that has already expired

	cause Cause  // overrides the cause that the other fields tell; "" does not
	next  string // refresh token of an answer that is otherwise unusable
}

// NextRefreshToken returns the refresh token of an answer that holds no usable
// access token, or "" if there is none. If the grant has used up its previous
// refresh token, it continues with this one. It is secret and not part of the
// error's text.
func (e *Error) NextRefreshToken() string { return e.next }

// Error returns what the provider said, followed by the engine's explanation and
// what may help.
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
	if e.Remedy != "" {
		sep = "; "
		add(e.Remedy)
	}
	return b.String()
}

// ClientRefused reports whether the provider refuses the client: it does not
// know the client, or the client's secret is wrong. Providers say so in several
// ways:
//   - by invalid_client (RFC 6749 section 5.2);
//   - by a 401 without a code that means something else;
//   - by a 401 with unauthorized_client (Keycloak) or access_denied (Auth0);
//   - by codes of their own, even in a 200.
//
// With a 400, unauthorized_client means that the provider knows the client, but
// the client may not use the grant.
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

// GrantRefused reports whether the provider refuses what the grant is based on:
// the password, the code, the assertion or the refresh token. Providers say so
// by invalid_grant (RFC 6749 section 5.2) or by codes of their own.
func (e *Error) GrantRefused() bool {
	return e.Kind == Refused && slices.Contains(grantCodes, strings.ToLower(e.Code))
}

// TokenRefused reports whether the provider may refuse a token that the request
// carried: by invalid_token (RFC 6750 section 3.1), by a 401 that is not about the
// client, by invalid_grant, or, in a token exchange, by an invalid_request about
// the subject or the actor (RFC 8693 section 2.2.2).
func (e *Error) TokenRefused() bool {
	code := strings.ToLower(e.Code)
	switch {
	case e.Kind != Refused, code == codeUnauthorizedClient, slices.Contains(clientCodes, code):
		return false
	case e.Status == http.StatusUnauthorized, code == codeInvalidToken, e.GrantRefused():
		return true
	}
	about := strings.ToLower(e.Description)
	return e.GrantType == GrantTokenExchange && code == codeInvalidRequest && (strings.Contains(about, "subject") || strings.Contains(about, "actor"))
}

// WantsProof reports whether the provider asks for a DPoP proof (RFC 9449) and
// the request carried none. Servers ask by the registered codes or in words.
func (e *Error) WantsProof() bool {
	return e.Kind == Refused && !e.Proved && strings.Contains(strings.ToLower(e.Code+" "+e.Description), "dpop")
}

// Holds reports whether another request with the same credentials would only be
// refused again, and may lock an account. This is so if the provider refuses the
// client, the password or the refresh token. For a password, a code of the
// provider's own and a 403 without a code count as a refusal as well.
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

// OfRequest reports whether the failure concerns only this request, such as its
// scopes, its parameters or how its answer is read. Another request of the same
// client may then succeed. It is false if the failure concerns the client, the
// endpoint or the provider as a whole.
//
// If a caller brought a part of the request, that part is taken as the cause
// unless the provider clearly says otherwise. Otherwise one caller could make all
// others wait.
func (e *Error) OfRequest() bool {
	if e.Brought && e.Status == http.StatusInternalServerError {
		return true
	}
	switch e.Kind {
	case Misconfigured:
		return true
	case Unintelligible:
		return e.Status >= 200 && e.Status < 300 // otherwise it is a redirect
	case Refused:
		switch e.Status {
		case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone, http.StatusUnsupportedMediaType:
			return false // the endpoint is a different one
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

// Ended reports whether the token of the answer has already expired. The
// provider repeats its old token and is about to issue the next one.
func (e *Error) Ended() bool { return e.Expired }

// RetryHint returns for how long the provider wants no further request.
func (e *Error) RetryHint() time.Duration { return e.RetryAfter }

// InWords returns a duration as people write it: 5m, not 4m59.861148306s or
// 5m0s. From one second on, it is rounded to whole seconds. All texts write
// their durations this way.
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
