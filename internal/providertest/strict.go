// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// A dialect answers requests as one provider does.
type dialect interface {
	// token answers a token request: it returns the body of a 200, or a
	// refusal.
	token(in Request) (any, *refusal)
	// errorBody returns the provider's error body for a refusal.
	errorBody(f *refusal) any
}

// A revoker is a dialect with a revocation endpoint.
type revoker interface {
	// authenticate reads a form and checks the client's credentials. It allows
	// only the parameters for those credentials and the named ones.
	authenticate(in Request, allowed ...string) (url.Values, *refusal)
}

// A resourceServer is a dialect that also serves a part of the provider's API.
type resourceServer interface {
	// resource answers a request to the API: it returns the body of a 200, or a
	// refusal.
	resource(in Request) (any, *refusal)
}

// refusal is the reason why a request is refused. Each dialect then writes it
// in its own format.
type refusal struct {
	status    int
	code      string // from RFC 6749, 5.2, where it has a fitting one
	text      string
	challenge string // WWW-Authenticate
	nonce     string // DPoP-Nonce
}

func badRequest(text string) *refusal {
	return &refusal{status: http.StatusBadRequest, code: "invalid_request", text: text}
}

func unsupportedGrant() *refusal {
	return &refusal{status: http.StatusBadRequest, code: "unsupported_grant_type", text: "Unsupported grant type"}
}

func invalidScope() *refusal {
	return &refusal{status: http.StatusBadRequest, code: "invalid_scope", text: "Invalid scope: Requested scope is invalid"}
}

func invalidGrant() *refusal {
	return &refusal{status: http.StatusBadRequest, code: "invalid_grant", text: "Invalid grant"}
}

const (
	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json"
)

// posted refuses everything except a POST of the media type to the endpoint's
// plain URL. No document here has parameters in the URL, and RFC 6749, 2.3.1
// forbids credentials there.
func (r Request) posted(mediaType string) *refusal {
	if r.Method != http.MethodPost {
		return &refusal{status: http.StatusMethodNotAllowed, code: "invalid_request", text: "Method must be POST"}
	}
	if r.RawQuery != "" {
		return badRequest("Parameters in the URL")
	}
	got, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || got != mediaType || len(r.Header.Values("Content-Type")) != 1 {
		return badRequest("Content-Type must be " + mediaType)
	}
	for name, value := range parameters {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return badRequest("Content-Type must be " + mediaType)
		}
	}
	return nil
}

// form reads a posted form. It refuses parameters that are neither allowed nor
// repeatable, and repeated ones that are not repeatable.
func (r Request) form(allowed, repeatable []string) (url.Values, *refusal) {
	if refused := r.posted(formType); refused != nil {
		return nil, refused
	}
	form, err := url.ParseQuery(r.Body)
	if err != nil {
		return nil, badRequest("Malformed form")
	}
	for name, values := range form {
		switch {
		case slices.Contains(repeatable, name):
		case !slices.Contains(allowed, name):
			return nil, badRequest("Unexpected parameter: " + name)
		case len(values) > 1:
			return nil, badRequest("Repeated parameter: " + name)
		}
	}
	return form, nil
}

// object reads a posted JSON object whose members are strings, by the same
// rules as form.
func (r Request) object(allowed ...string) (url.Values, *refusal) {
	if refused := r.posted(jsonType); refused != nil {
		return nil, refused
	}
	// Decoding into a map would hide a repeated member.
	decoder := json.NewDecoder(strings.NewReader(r.Body))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return nil, badRequest("Body must be a JSON object")
	}
	members := url.Values{}
	for decoder.More() {
		token, err := decoder.Token()
		name, isString := token.(string)
		if err != nil || !isString {
			return nil, badRequest("Malformed JSON")
		}
		var value any
		if err := decoder.Decode(&value); err != nil {
			return nil, badRequest("Malformed JSON")
		}
		text, isString := value.(string)
		switch {
		case !slices.Contains(allowed, name):
			return nil, badRequest("Unexpected parameter: " + name)
		case members.Has(name):
			return nil, badRequest("Repeated parameter: " + name)
		case !isString:
			return nil, badRequest("Parameter must be a string: " + name)
		}
		members.Set(name, text)
	}
	if _, err := decoder.Token(); err != nil {
		return nil, badRequest("Malformed JSON")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, badRequest("More than one JSON value")
	}
	return members, nil
}

// unauthorized refuses a request with an Authorization header. It is for
// dialects that expect the credentials in the body.
func (r Request) unauthorized() *refusal {
	if len(r.Header.Values("Authorization")) > 0 {
		return badRequest("Unexpected Authorization header")
	}
	return nil
}

// basic returns the two parts of an HTTP Basic header without decoding them
// further: whether they are form-urlencoded (RFC 6749, 2.3.1) depends on the
// dialect.
func (r Request) basic() (id, secret string, ok bool) {
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return "", "", false
	}
	scheme, encoded, _ := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, "Basic") {
		return "", "", false
	}
	plain, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(plain), ":")
}

// require refuses a form in which one of these parameters is missing or empty.
func require(form url.Values, names ...string) *refusal {
	for _, name := range names {
		if form.Get(name) == "" {
			return badRequest("Missing parameter: " + name)
		}
	}
	return nil
}

// postedClient is authenticate for the dialects that want client_id and
// client_secret in the form and nowhere else. wrong is the refusal of a wrong
// pair.
func (s *Server) postedClient(in Request, wrong *refusal, allowed ...string) (url.Values, *refusal) {
	form, refused := in.form(append(allowed, "client_id", "client_secret"), nil)
	if refused == nil {
		refused = in.unauthorized()
	}
	if refused == nil {
		refused = require(form, "client_id", "client_secret")
	}
	if refused == nil && !s.isClient(form.Get("client_id"), form.Get("client_secret")) {
		refused = wrong
	}
	return form, refused
}

func (s *Server) isClient(id, secret string) bool {
	c := s.Credentials()
	return id == c.ClientID && secret == c.ClientSecret
}

func (s *Server) isUser(name, password string) bool {
	c := s.Credentials()
	return name == c.Username && password == c.Password
}

// grantable splits a scope parameter, and reports whether the server knows
// every part.
func (s *Server) grantable(scope, separator string) ([]string, bool) {
	scopes := strings.Split(scope, separator)
	for _, name := range scopes {
		if !slices.Contains(s.options.Scopes, name) {
			return nil, false
		}
	}
	return scopes, true
}
