// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/hashicorp/go-retryablehttp"
)

// The standard parameters, which a dialect may rename.
const (
	ParamGrantType    = "grant_type"
	ParamClientID     = "client_id"
	ParamClientSecret = "client_secret"
	ParamUsername     = "username"
	ParamPassword     = "password"
	ParamScope        = "scope"
	ParamRefreshToken = "refresh_token"
)

// StandardParameters lists the names that the engine itself may send, and that
// Names may rename.
func StandardParameters() []string {
	return []string{
		ParamGrantType, ParamClientID, ParamClientSecret,
		ParamUsername, ParamPassword, ParamScope, ParamRefreshToken,
	}
}

// parameters are the request's parameters under the names they are sent by.
func (r Request) parameters() map[string]any {
	out := make(map[string]any, len(r.Parameters)+6)
	for name, v := range r.Parameters {
		out[name] = v
	}
	set := func(name string, v any) {
		if as, renamed := r.Names[name]; renamed {
			name = as
		}
		if name != "" {
			out[name] = v
		}
	}
	if r.GrantType != "" {
		set(ParamGrantType, r.GrantType)
	}
	switch r.GrantType {
	case GrantPassword:
		set(ParamUsername, r.Username)
		set(ParamPassword, r.Password)
	case GrantRefreshToken:
		set(ParamRefreshToken, r.RefreshToken)
	}
	if r.Auth != AuthBasic && r.ClientID != "" {
		set(ParamClientID, r.ClientID)
	}
	if r.Auth == AuthPost {
		set(ParamClientSecret, r.ClientSecret)
	}
	switch {
	case len(r.Scopes) == 0:
	case r.ScopeSeparator == ScopeList:
		list := make([]any, len(r.Scopes))
		for i, s := range r.Scopes {
			list[i] = s
		}
		set(ParamScope, list)
	default:
		set(ParamScope, strings.Join(r.Scopes, r.ScopeSeparator))
	}
	return out
}

func encode(ctx context.Context, r Request, userAgent string) (*retryablehttp.Request, error) {
	target, body, contentType := r.URL, []byte(nil), ""
	if params := r.parameters(); len(params) > 0 {
		switch r.Format {
		case JSON:
			b, err := json.Marshal(params)
			if err != nil {
				return nil, &Error{Kind: Misconfigured, Detail: "the parameters cannot be written as JSON"}
			}
			body, contentType = b, "application/json"
		case Query:
			u, err := url.Parse(r.URL)
			if err != nil {
				return nil, &Error{Kind: Misconfigured, Detail: "token_url is no URL"}
			}
			query := formValues(params).Encode()
			if u.RawQuery != "" && query != "" {
				query = "&" + query
			}
			u.RawQuery += query
			target = u.String()
		default:
			body, contentType = []byte(formValues(params).Encode()), "application/x-www-form-urlencoded"
		}
	}

	var payload any // an untyped nil, so that an empty request has no body at all
	if body != nil {
		payload = body
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, r.Method, target, payload)
	if err != nil {
		return nil, &Error{Kind: Misconfigured, Detail: "token_url is no URL"}
	}
	req.Header.Set("Accept", "application/json")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if userAgent != "" {
		req.Header.Set("User-Agent", userAgent)
	}
	if r.Auth == AuthBasic {
		req.Header.Set("Authorization", "Basic "+r.basicCredentials())
	}
	for name, value := range r.Headers {
		req.Header.Set(name, value)
	}
	return req, nil
}

// basicCredentials is RFC 7617's token68, over the credentials encoded as
// RFC 6749 section 2.3.1 wants, or raw.
func (r Request) basicCredentials() string {
	id, secret := r.ClientID, r.ClientSecret
	if !r.BasicRaw {
		id, secret = url.QueryEscape(id), url.QueryEscape(secret)
	}
	return base64.StdEncoding.EncodeToString([]byte(id + ":" + secret))
}

// formValues writes parameters as form pairs: a list repeats the parameter
// (RFC 8707, RFC 8693), an object is JSON text (RFC 9396).
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
		if err != nil { // cannot happen for values that came out of JSON
			return fmt.Sprint(v)
		}
		return string(b)
	}
}
