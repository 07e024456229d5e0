// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import "slices"

// Grant types that send more than the client's own credentials.
const (
	GrantPassword      = "password"
	GrantRefreshToken  = "refresh_token"
	GrantJWTBearer     = "urn:ietf:params:oauth:grant-type:jwt-bearer"     // RFC 7523 section 2.1
	GrantSAML2Bearer   = "urn:ietf:params:oauth:grant-type:saml2-bearer"   // RFC 7522 section 2.1
	GrantTokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange" // RFC 8693 section 2.1
)

// kind describes one grant type.
type kind struct {
	name  string
	sends []string // standard parameters that the grant may add to a request
	needs []need   // fields of a registration that the grant requires
	add   func(Request, *attempt) error
}

// kinds lists the grant types that send parameters of their own. Any other
// grant type sends only its name.
var kinds = []kind{
	{GrantPassword, []string{ParamUsername, ParamPassword, ParamRefreshToken}, []need{{"username"}, {"password"}}, func(r Request, a *attempt) error {
		a.set(ParamUsername, r.Username)
		a.set(ParamPassword, r.Password)
		return nil
	}},
	{GrantRefreshToken, []string{ParamRefreshToken}, []need{{"refresh_token"}}, func(r Request, a *attempt) error {
		a.set(ParamRefreshToken, r.RefreshToken)
		return nil
	}},
	{GrantJWTBearer, []string{ParamAssertion}, []need{{"private_key", "signing_key", "assertion"}}, func(r Request, a *attempt) error {
		text := r.Assertion
		if r.GrantAssertion != nil {
			var err error
			if text, err = r.GrantAssertion.Sign(a.now); err != nil {
				return err
			}
			a.secrets = append(a.secrets, text)
		}
		a.set(ParamAssertion, text)
		return nil
	}},
	{GrantSAML2Bearer, []string{ParamAssertion}, []need{{"assertion"}}, func(r Request, a *attempt) error {
		a.set(ParamAssertion, r.Assertion)
		return nil
	}},
	{GrantTokenExchange, []string{ParamSubjectToken, ParamSubjectTokenType, ParamActorToken, ParamActorTokenType}, nil, func(r Request, a *attempt) error {
		r.Subject.add(a, ParamSubjectToken, ParamSubjectTokenType)
		r.Actor.add(a, ParamActorToken, ParamActorTokenType)
		return nil
	}},
}

// TypeAccessToken is the default type of a token that is exchanged (RFC 8693
// section 3).
const TypeAccessToken = "urn:ietf:params:oauth:token-type:access_token"

// Exchanged is a token that is exchanged for another one (RFC 8693 section 2.1).
// The zero Exchanged sends nothing: the request's parameters may hold the token.
type Exchanged struct {
	Token string
	Type  string // a URI; "" is TypeAccessToken, unless the parameters hold a type
}

func (x Exchanged) add(a *attempt, token, tokenType string) {
	switch {
	case x.Token == "":
		return
	case x.Type == "":
		a.setMissing(tokenType, TypeAccessToken)
	default:
		a.set(tokenType, x.Type)
	}
	a.set(token, x.Token)
}

// kindOfGrant returns the entry with this name, or one that adds nothing.
func kindOfGrant(name string) kind {
	if i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name }); i >= 0 {
		return kinds[i]
	}
	return kind{name: name, add: func(Request, *attempt) error { return nil }}
}

// Sends lists the standard parameters that a request with this grant type and
// method may hold, besides grant_type and scope.
func Sends(grantType string, m AuthMethod) []string {
	return slices.Concat(kindOfGrant(grantType).sends, methodOf(m).sends)
}

// need is a required field, followed by fields that can be set instead of it.
type need []string

// Need is a required field of a registration.
type Need struct {
	Fields []string // one of them is enough; the first one is the usual one
	For    string   // what requires it: a field of a dialect and its value
}

// Needs lists the fields that this grant type and method require.
func Needs(grantType string, m AuthMethod) []Need {
	var out []Need
	for _, n := range methodOf(m).needs {
		out = append(out, Need{Fields: n, For: "token_endpoint_auth_method=" + string(m)})
	}
	for _, n := range kindOfGrant(grantType).needs {
		out = append(out, Need{Fields: n, For: "grant_type=" + grantType})
	}
	return out
}
