// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The standard parameters. A dialect may rename them.
const (
	ParamGrantType           = "grant_type"
	ParamClientID            = "client_id"
	ParamClientSecret        = "client_secret"
	ParamClientAssertion     = "client_assertion"
	ParamClientAssertionType = "client_assertion_type"
	ParamAssertion           = "assertion"
	ParamUsername            = "username"
	ParamPassword            = "password"
	ParamScope               = "scope"
	ParamRefreshToken        = "refresh_token"

	// The parameters of a token exchange (RFC 8693 section 2.1).
	ParamSubjectToken     = "subject_token"
	ParamSubjectTokenType = "subject_token_type"
	ParamActorToken       = "actor_token"
	ParamActorTokenType   = "actor_token_type"
)

// StandardParameters returns the names of the parameters that the engine itself
// may send, and that Names may rename.
func StandardParameters() []string {
	return []string{
		ParamGrantType, ParamClientID, ParamClientSecret, ParamClientAssertion, ParamClientAssertionType, ParamAssertion,
		ParamUsername, ParamPassword, ParamScope, ParamRefreshToken,
		ParamSubjectToken, ParamSubjectTokenType, ParamActorToken, ParamActorTokenType,
	}
}

// attempt is one attempt at a request. It holds what is made anew for each
// attempt, such as an assertion.
type attempt struct {
	now        time.Time
	names      map[string]string
	parameters map[string]any // under the names that are sent
	header     http.Header
	secrets    []string // secrets of the request, and those made for this attempt
	composed   []string // texts that contain a secret
}

// set sets a standard parameter, under its new name if it is renamed. If the new
// name is empty, the parameter is left out.
func (a *attempt) set(name string, v any) {
	if as, renamed := a.names[name]; renamed {
		name = as
	}
	if name != "" {
		a.parameters[name] = v
	}
}

// setMissing is like set, but does nothing if the request already has a parameter
// with this name.
func (a *attempt) setMissing(name string, v any) {
	as, renamed := a.names[name]
	if !renamed {
		as = name
	}
	if _, there := a.parameters[as]; !there {
		a.set(name, v)
	}
}

// attempt prepares an attempt at r.
func (r Request) attempt(now time.Time) (*attempt, error) {
	if r.known != nil {
		a := r.known.attempt
		a.now, a.header, a.secrets = now, maps.Clone(a.header), slices.Clip(a.secrets)
		return &a, nil
	}
	a := &attempt{now: now, names: r.Names, parameters: make(map[string]any, len(r.Parameters)+6), header: http.Header{}, secrets: slices.Clone(r.Secrets), composed: r.Composed}
	maps.Copy(a.parameters, r.Parameters)
	if r.GrantType != "" {
		a.set(ParamGrantType, r.GrantType)
	}
	switch {
	case len(r.Scopes) == 0:
	case r.ScopeSeparator == ScopeList:
		list := make([]any, len(r.Scopes))
		for i, s := range r.Scopes {
			list[i] = s
		}
		a.set(ParamScope, list)
	default:
		a.set(ParamScope, strings.Join(r.Scopes, r.ScopeSeparator))
	}
	if err := kindOfGrant(r.GrantType).add(r, a); err != nil {
		return nil, err
	}
	if err := methodOf(r.Auth).show(r, a); err != nil {
		return nil, err
	}
	if r.Format == Template {
		clear(a.parameters) // the body is sent alone
	}
	return a, nil
}

// encode builds the HTTP request of an attempt.
func encode(ctx context.Context, r Request, a *attempt, userAgent string) (*http.Request, error) {
	target, body, contentType := r.URL, []byte(nil), ""
	if r.Format == Template && r.Body != "" {
		body = []byte(r.Body)
	}
	if len(a.parameters) > 0 {
		switch r.Format {
		case JSON:
			b, err := json.Marshal(a.parameters)
			if err != nil {
				return nil, &Error{Kind: Misconfigured, Detail: "the parameters cannot be written as JSON"}
			}
			body, contentType = b, "application/json"
		case Query:
			u, err := url.Parse(r.URL)
			if err != nil {
				return nil, &Error{Kind: Misconfigured, Detail: "token_url is not a URL"}
			}
			query := r.form(a.parameters)
			if u.RawQuery != "" && query != "" {
				query = "&" + query
			}
			u.RawQuery += query
			target = u.String()
		default:
			body, contentType = []byte(r.form(a.parameters)), "application/x-www-form-urlencoded"
		}
	}

	var payload io.Reader // must be an untyped nil: an empty request then has no body
	if body != nil {
		payload = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, target, payload)
	if err != nil {
		return nil, &Error{Kind: Misconfigured, Detail: "token_url is not a URL"}
	}
	req.Header = a.header
	req.Header.Set("Accept", "application/json")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if userAgent != "" {
		req.Header.Set("User-Agent", userAgent)
	}
	for name, value := range r.Headers {
		canonical := http.CanonicalHeaderKey(name)
		req.Header.Del(canonical)
		if canonical == "User-Agent" {
			name = canonical // otherwise net/http would send its own as well
		}
		req.Header[name] = []string{value}
	}
	return req, nil
}

// form encodes parameters as a form or a query.
func (r Request) form(params map[string]any) string {
	text := formValues(params).Encode()
	if r.PercentSpaces {
		text = strings.ReplaceAll(text, "+", "%20")
	}
	return text
}

// basicCredentials returns the token68 of RFC 7617 section 2. The credentials
// are encoded as RFC 6749 section 2.3.1 requires, or left raw (BasicRaw).
func (r Request) basicCredentials() string {
	id, secret := r.ClientID, r.ClientSecret
	if !r.BasicRaw {
		id, secret = url.QueryEscape(id), url.QueryEscape(secret)
	}
	return base64.StdEncoding.EncodeToString([]byte(id + ":" + secret))
}

// formValues converts parameters to form pairs. A list repeats the parameter
// (RFC 8707, RFC 8693), and an object becomes JSON text (RFC 9396).
func formValues(params map[string]any) url.Values {
	out := make(url.Values, len(params))
	for name, v := range params {
		list, isList := v.([]any)
		if !isList {
			list = []any{v}
		}
		for _, item := range list {
			out.Add(name, formText(item))
		}
	}
	return out
}

func formText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case json.Number:
		return v.String()
	default:
		b, err := json.Marshal(v)
		if err != nil { // cannot happen for values that were read from JSON
			return fmt.Sprint(v)
		}
		return string(b)
	}
}
