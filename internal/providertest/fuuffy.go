// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

// fuuffy accepts a form with the credentials and nothing else, not even a
// grant_type. It wraps its answers in "data".
type fuuffy struct{ *Server }

func (f fuuffy) token(in Request) (any, *refusal) {
	if _, refused := f.authenticate(in); refused != nil {
		return nil, refused
	}
	token := "sk-" + randomHex(16)
	f.issue(token)
	var data any = bearer{AccessToken: token, TokenType: "Bearer", ExpiresIn: f.expiresIn()}
	if f.options.DataAsString {
		data = jsonString(data)
	}
	return map[string]any{"data": data}, nil
}

func (f fuuffy) authenticate(in Request, allowed ...string) (url.Values, *refusal) {
	wrong := &refusal{
		status: http.StatusUnauthorized, code: "invalid_client",
		text: "Invalid client_id, client_secret, or session_key",
	}
	return f.postedClient(in, wrong, allowed...)
}

func (f fuuffy) errorBody(refused *refusal) any {
	// These three codes are documented; the others are invented in the same
	// style.
	code := fmt.Sprintf("%d000", refused.status)
	switch refused.status {
	case http.StatusBadRequest:
		code = "400013"
	case http.StatusUnauthorized:
		code = "401021"
	case http.StatusInternalServerError:
		code = "500999"
	}
	members := map[string]string{"code": code, "code_reason": refused.code, "message": refused.text}
	switch {
	case refused.status == http.StatusForbidden || refused.status == http.StatusNotFound:
		// The document says "error: json-string" for these two.
		return map[string]any{"error": jsonString(members)}
	case f.options.FlatErrors:
		return members
	default:
		return map[string]any{"error": members}
	}
}

func jsonString(value any) string {
	raw, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return string(raw)
}
