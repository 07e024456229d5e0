// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"errors"
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
// answer as well) that the engine acts upon.
const (
	CodeInvalidClient  = "invalid_client"
	CodeInvalidGrant   = "invalid_grant"
	codeServerError    = "server_error"
	codeUnavailable    = "temporarily_unavailable"
	codeRateLimited    = "slow_down" // RFC 8628 section 3.5
	codeInvalidRequest = "invalid_request"
)

// registeredCodes are the token endpoint error codes of the IANA registry.
// They say nothing about a credential, whatever the credential is.
func registeredCodes() []string {
	return []string{
		codeInvalidRequest, CodeInvalidClient, CodeInvalidGrant, "unauthorized_client", "access_denied",
		"unsupported_grant_type", "invalid_scope", "invalid_target", "invalid_dpop_proof", "use_dpop_nonce",
		codeServerError, codeUnavailable, codeRateLimited, "unsupported_token_type", "invalid_authorization_details",
		"authorization_pending", "expired_token", "unsupported_response_type",
	}
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
	Detail      string        // what this side has to say
}

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

// ClientRefused says that the provider does not accept the client's
// credentials (RFC 6749 section 5.2: invalid_client, or a bare 401).
func (e *Error) ClientRefused() bool {
	if slices.Contains(registeredCodes(), e.Code) {
		return e.Code == CodeInvalidClient
	}
	return e.Kind == Refused && e.Status == http.StatusUnauthorized
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

// retryAfter reads both forms of RFC 9110 section 10.2.3.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseInt(v, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(max(seconds, 0), 24*60*60)) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return min(max(at.Sub(now), 0), 24*time.Hour)
	}
	return 0
}

// RetryHint is the time for which the provider wants no further request.
func (e *Error) RetryHint() time.Duration { return e.RetryAfter }
