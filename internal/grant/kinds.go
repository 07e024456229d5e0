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

// kind is one kind of grant.
type kind struct {
	name  string
	sends []string // the standard parameters that it may add to a request
	needs []need   // the fields of a registration that it cannot do without
	add   func(Request, *attempt) error
}

// kinds is the table of the grants that send parameters of their own. Any other
// literal is a grant that sends just its name.
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

// TypeAccessToken is the type of a token that is exchanged when nothing says
// another (RFC 8693 section 3).
const TypeAccessToken = "urn:ietf:params:oauth:token-type:access_token"

// Exchanged is a token that is given for another one (RFC 8693 section 2.1). The
// zero Exchanged is none: the parameters of the request may hold one.
type Exchanged struct {
	Token string
	Type  string // a URI; "" is TypeAccessToken, unless the parameters say one
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

// kindOfGrant gives the entry of that name, or one that adds nothing.
func kindOfGrant(name string) kind {
	if i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name }); i >= 0 {
		return kinds[i]
	}
	return kind{name: name, add: func(Request, *attempt) error { return nil }}
}

// Sends lists the standard parameters that a request by this grant and method
// may hold, beside grant_type and scope.
func Sends(grantType string, m AuthMethod) []string {
	return slices.Concat(kindOfGrant(grantType).sends, methodOf(m).sends)
}

// need is a field that has to be set, with others that serve in its place.
type need []string

// Need is a field of a registration that has to be set.
type Need struct {
	Fields []string // any one of them is enough; the first one is the usual one
	For    string   // whose need it is: a field of a dialect and its value
}

// Needs lists what this grant and method cannot do without.
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
