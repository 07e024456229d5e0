// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// The grants by which one token is given for another, and the types of tokens
// (RFC 8693 sections 2.1 and 3).
const (
	exchangeGrant   = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeAccessToken = "urn:ietf:params:oauth:token-type:access_token"
	typeJWT         = "urn:ietf:params:oauth:token-type:jwt"
)

// Exchanged is what an exchanged token says of itself.
type Exchanged struct {
	Subject  string   `json:"sub"`
	Actor    string   `json:"act,omitempty"`
	Audience []string `json:"aud,omitempty"`
}

// ReadExchanged reads a token that an exchange issued; the zero value for any
// other.
func ReadExchanged(token string) Exchanged {
	said, _, _ := strings.Cut(token, ".")
	var out Exchanged
	raw, err := base64.RawURLEncoding.DecodeString(said)
	if err != nil || json.Unmarshal(raw, &out) != nil {
		return Exchanged{}
	}
	return out
}

// exchangedBearer is the answer of RFC 8693 section 2.2.1.
type exchangedBearer struct {
	bearer
	IssuedTokenType string `json:"issued_token_type"`
}

// exchange is RFC 8693, with its errors: a bad token is an invalid_request
// (section 2.2.2).
func (b rfc6749) exchange(in Request) (any, *refusal) {
	repeatable := []string{"audience", "resource"}
	form, refused := b.authenticateRepeating(in, repeatable, "grant_type", "scope", "requested_token_type",
		"subject_token", "subject_token_type", "actor_token", "actor_token_type", "audience", "resource")
	if refused == nil {
		refused = require(form, "subject_token", "subject_token_type")
	}
	if refused != nil {
		return nil, refused
	}
	out := Exchanged{Audience: slices.Concat(form["audience"], form["resource"])}
	if out.Subject, refused = b.subject(form, "subject_token"); refused != nil {
		return nil, refused
	}
	switch {
	case form.Has("actor_token"):
		if refused = require(form, "actor_token_type"); refused == nil {
			out.Actor, refused = b.subject(form, "actor_token")
		}
		if refused != nil {
			return nil, refused
		}
	case form.Has("actor_token_type"):
		return nil, badRequest("actor_token_type without actor_token")
	}
	for _, resource := range form["resource"] {
		if u, err := url.Parse(resource); err != nil || !u.IsAbs() || u.Fragment != "" {
			return nil, &refusal{status: 400, code: "invalid_target", text: "resource must be an absolute URI"}
		}
	}
	scopes, refused := b.scopes(form, b.options.Scopes)
	if refused != nil {
		return nil, refused
	}
	issued, kind := form.Get("requested_token_type"), "Bearer"
	switch issued {
	case "":
		issued = typeAccessToken
	case typeAccessToken:
	case typeJWT:
		kind = "N_A"
	default:
		return nil, badRequest("requested_token_type is not supported")
	}
	answer := exchangedBearer{b.issueExchanged(out, scopes), issued}
	answer.TokenType = kind
	return answer, nil
}

// onBehalfOf is Microsoft's on-behalf-of flow, by the RFC 7523 grant.
func (b rfc6749) onBehalfOf(in Request) (any, *refusal) {
	form, refused := b.authenticate(in, "grant_type", "scope", "assertion", "requested_token_use")
	if refused == nil {
		refused = require(form, "assertion", "requested_token_use", "scope")
	}
	if refused != nil {
		return nil, refused
	}
	if form.Get("requested_token_use") != "on_behalf_of" {
		return nil, badRequest("requested_token_use must be on_behalf_of")
	}
	subject, ok := b.options.Subjects(form.Get("assertion"))
	if !ok {
		return nil, invalidGrant()
	}
	scopes, refused := b.scopes(form, b.options.Scopes)
	if refused != nil {
		return nil, refused
	}
	return b.issueExchanged(Exchanged{Subject: subject}, scopes), nil
}

// subject is whom a token of that parameter is of.
func (b rfc6749) subject(form url.Values, parameter string) (string, *refusal) {
	if kind := form.Get(parameter + "_type"); kind != typeAccessToken && kind != typeJWT {
		return "", badRequest(parameter + "_type is not supported")
	}
	name, ok := b.options.Subjects(form.Get(parameter))
	if !ok {
		return "", badRequest(parameter + " is not valid")
	}
	return name, nil
}

func (b rfc6749) issueExchanged(of Exchanged, scopes []string) bearer {
	said, _ := json.Marshal(of)
	token := base64.RawURLEncoding.EncodeToString(said) + "." + rand.Text()
	b.issue(token)
	return bearer{AccessToken: token, TokenType: "Bearer", ExpiresIn: b.expiresIn(), Scope: strings.Join(scopes, " ")}
}
