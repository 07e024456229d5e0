// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/tokencache"
)

// userError says why a request cannot be served, and what to do about it.
type userError struct{ text string }

func (e *userError) Error() string { return e.text }

// OfRequest reports that the error concerns this request only, so that it
// delays no other request of the config.
func (e *userError) OfRequest() bool { return true }

// busyError is the error of a reader that waited too long for its turn to mint a
// token that it shares with nobody (reuse=false).
type busyError struct {
	target target
	wait   time.Duration
}

func (e *busyError) Error() string {
	return fmt.Sprintf("%s: as many tokens of their own (reuse=false) as may be are being minted, and none of them was done in time: come back in %s", e.target, grant.InWords(e.wait))
}

func refuse(format string, args ...any) error {
	return &userError{text: fmt.Sprintf(format, args...)}
}

// errNotFound is the error for a missing object on its own path, a 404.
var errNotFound = errors.New("not found")

// errOvertaken is the error of a write during which other writes kept changing
// the config.
var errOvertaken = errors.New("write it again")

// respond turns a handler's result into what crosses the plugin boundary. It is
// the one place that decides the HTTP status. The SDK carries a status only in a
// bare logical.CodedError, and only beside a response that holds nothing but
// headers.
func (b *backend) respond(resp *logical.Response, err error) (*logical.Response, error) {
	if err == nil {
		return resp, nil
	}
	switch err { //nolint:errorlint // these keep their meaning only when they are bare
	case logical.ErrUnsupportedOperation, logical.ErrUnsupportedPath, logical.ErrReadOnly, logical.ErrInvalidRequest:
		return nil, err
	}
	var (
		user    *userError
		invalid *provider.InvalidError
		failed  *grant.Error
		failure *tokencache.Failure
		busy    *busyError
		budget  *budgetError
	)
	switch {
	case errors.As(err, &budget):
		wait := budget.wait
		if errors.As(err, &failure) {
			wait = failure.Next.Sub(b.now())
		}
		return retryAfter(wait), logical.CodedError(http.StatusTooManyRequests, err.Error())
	case errors.As(err, &failed):
		var headers *logical.Response
		if failed.Kind == grant.RateLimited {
			wait := failed.RetryAfter
			if errors.As(err, &failure) {
				wait = failure.Next.Sub(b.now())
			}
			headers = retryAfter(wait)
		}
		return headers, logical.CodedError(grantStatus(failed), explained(err))
	case errors.As(err, &busy):
		return retryAfter(busy.wait), logical.CodedError(http.StatusTooManyRequests, err.Error())
	case errors.Is(err, tokencache.ErrRepeats):
		return nil, logical.CodedError(http.StatusBadGateway, err.Error())
	case errors.As(err, &user), errors.As(err, &invalid):
		return nil, logical.CodedError(http.StatusBadRequest, err.Error())
	case errors.Is(err, errNotFound):
		return nil, logical.CodedError(http.StatusNotFound, err.Error())
	case errors.Is(err, tokencache.ErrClosed):
		return nil, logical.CodedError(http.StatusServiceUnavailable, err.Error())
	case errors.Is(err, errOvertaken):
		return nil, logical.CodedError(http.StatusConflict, err.Error())
	case errors.Is(err, tokencache.ErrTimeout), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return nil, logical.CodedError(http.StatusGatewayTimeout, err.Error())
	default:
		return nil, logical.CodedError(http.StatusInternalServerError, err.Error())
	}
}

// retryAfter returns how long to wait before the next request.
func retryAfter(wait time.Duration) *logical.Response {
	seconds := max(int(math.Ceil(wait.Seconds())), 1)
	return &logical.Response{Headers: map[string][]string{"Retry-After": {strconv.Itoa(seconds)}}}
}

// grantStatus returns the HTTP status of each kind of failure. A mistake of the
// operator is a 400, never a 429 or 5xx, because Vault's clients repeat those.
func grantStatus(e *grant.Error) int {
	switch e.Kind {
	case grant.Refused, grant.Misconfigured:
		return http.StatusBadRequest
	case grant.RateLimited:
		return http.StatusTooManyRequests
	case grant.TooSlow:
		return http.StatusGatewayTimeout
	default: // grant.Unavailable, grant.Unintelligible
		return http.StatusBadGateway
	}
}

// causeOf returns one word for why a mint failed: a grant.Cause, or a cause that does
// not lie with the provider.
func causeOf(err error) string {
	var (
		failed  *grant.Error
		user    *userError
		invalid *provider.InvalidError
		budget  *budgetError
	)
	switch {
	case errors.As(err, &failed):
		return string(failed.Cause())
	case errors.As(err, &budget):
		return "budget"
	case errors.As(err, &user), errors.As(err, &invalid):
		return string(grant.CauseConfig)
	case errors.Is(err, tokencache.ErrRepeats):
		return "token_repeated"
	case errors.Is(err, tokencache.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return string(grant.CauseTimeout)
	default:
		return "internal"
	}
}

// briefly says in a few words why a mint failed, and what the operator can do.
func briefly(err error) string {
	text := strings.ReplaceAll(causeOf(err), "_", " ")
	var (
		failed  *grant.Error
		user    *userError
		invalid *provider.InvalidError
		budget  *budgetError
	)
	remedy := ""
	switch {
	case errors.As(err, &failed):
		if failed.Status != 0 {
			text += fmt.Sprintf(" (HTTP %d", failed.Status)
			if failed.Code != "" {
				text += ", " + failed.Code
			}
			text += ")"
		}
		remedy = remedyOf(failed)
	case errors.As(err, &budget):
		remedy = budgetRemedy
	case errors.As(err, &user), errors.As(err, &invalid):
		remedy = err.Error() // it is hardly longer than what is to be done
	}
	if remedy == "" {
		return text
	}
	return text + ": " + remedy
}

// explained returns the text of a mint's error, with what the operator can do.
func explained(err error) string {
	var failed *grant.Error
	if !errors.As(err, &failed) || failed.Remedy != "" {
		return err.Error() // which holds the remedy
	}
	if remedy := remedyOf(failed); remedy != "" {
		return err.Error() + "; " + remedy
	}
	return err.Error()
}

// remedyOf returns what the operator can do.
func remedyOf(e *grant.Error) string {
	switch {
	case e.Remedy != "":
		return e.Remedy
	case e.Kind == grant.RateLimited && e.RetryAfter > 0:
		return "the provider asked to be left alone for " + grant.InWords(e.RetryAfter) + "; if it happens often, have it raise the limit, and see who else uses this client"
	case e.Kind == grant.RateLimited:
		return "come back later; if it happens often, have the provider raise the limit, and see who else uses this client"
	case e.Kind == grant.Unavailable && e.Status != 0:
		return "the provider is out of order: come back later, and see what it says of its service"
	case e.Kind == grant.TooSlow:
		return "the provider is slow: come back later"
	case e.Kind != grant.Refused:
		return ""
	case e.Page && e.Status != http.StatusUnauthorized:
		return "a page for people came, not the answer of a token endpoint: check token_url, and whether a firewall or gateway lets Vault's address through"
	case e.WantsProof():
		return "the provider binds tokens of this client to a key (RFC 9449): write dpop=true to the config, and to dpop_resources the URLs that its readers call"
	case e.Code == grant.CodeUseNonce:
		return "the proof held the provider's latest nonce, or there is none: see that whatever is before the provider lets the DPoP-Nonce header through, and that its servers take each other's nonces"
	case e.Code == grant.CodeInvalidProof:
		return "see that token_url is the address by which the provider knows itself, that both clocks are right, and that it takes proofs signed with ES256"
	case e.Showed != "":
		return "the client showed " + e.Showed + ": check that against its registration at the provider, and client_id, token_endpoint_auth_method and the key, certificate and assertion_… fields of the config"
	case e.ClientRefused():
		return "check client_id, client_secret (or the key and its key_id) and token_endpoint_auth_method of the config"
	case e.GrantType == grant.GrantRefreshToken && e.GrantRefused():
		return "the refresh token is spent, expired or revoked: write a new refresh_token to the config"
	case e.GrantType == grant.GrantPassword && e.Holds():
		return "check username and password of the config"
	case strings.Contains(e.Code, "scope"):
		return "check the scopes that the config asks for"
	case e.Status == http.StatusNotFound, e.Status == http.StatusMethodNotAllowed, e.Status == http.StatusGone:
		return "check token_url: this is not the provider's token endpoint, or not any more"
	case e.Code == "" && e.Status == http.StatusForbidden:
		return "check what the client is allowed at the provider, and whether a firewall lets Vault's address through"
	default:
		return "check the config against the provider's documentation"
	}
}
