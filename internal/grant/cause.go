// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import "strings"

// Cause is one word for why a mint failed. It serves as a label for metrics and
// as a term to search for.
type Cause string

// The causes. Each one calls for a different remedy.
const (
	CauseClient     Cause = "client_refused"  // the provider does not know the client, or its secret is wrong
	CauseGrant      Cause = "grant_refused"   // the provider refuses the password, the assertion or the refresh token
	CauseScope      Cause = "scope_refused"   // the client may not have these scopes
	CauseRequest    Cause = "request_refused" // any other refusal
	CausePage       Cause = "blocked"         // the answer is a page for people, such as a firewall's, or a redirect to one
	CauseClock      Cause = "clock"           // the clocks of both sides differ
	CauseRate       Cause = "rate_limited"
	CauseOutage     Cause = "provider_down" // the provider answers that it is out of service
	CauseName       Cause = "dns"           // the provider's host name does not resolve
	CauseConnection Cause = "connection"    // no connection was made, or it broke
	CauseTLS        Cause = "tls"
	CauseProxy      Cause = "proxy"
	CauseTimeout    Cause = "timeout"
	CauseAnswer     Cause = "answer_not_understood"
	CauseConfig     Cause = "misconfigured" // as configured, the request cannot be made or its answer not used
)

// Cause returns why the mint failed.
func (e *Error) Cause() Cause {
	switch {
	case e.cause != "":
		return e.cause
	case e.Kind == RateLimited:
		return CauseRate
	case e.Kind == TooSlow:
		return CauseTimeout
	case e.Kind == Unintelligible:
		return CauseAnswer
	case e.Kind == Misconfigured:
		return CauseConfig
	case e.Kind == Unavailable && e.Status != 0:
		return CauseOutage
	case e.Kind == Unavailable:
		return CauseConnection
	case e.Page:
		return CausePage
	case e.ClientRefused():
		return CauseClient
	case e.GrantRefused():
		return CauseGrant
	case strings.Contains(e.Code, "scope"):
		return CauseScope
	default:
		return CauseRequest
	}
}
