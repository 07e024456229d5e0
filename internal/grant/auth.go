// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import "slices"

// AuthMethod is a token_endpoint_auth_method from RFC 7591 section 2, RFC 7523
// or RFC 8705.
type AuthMethod string

// The client authentication methods.
const (
	AuthBasic         AuthMethod = "client_secret_basic"
	AuthPost          AuthMethod = "client_secret_post"
	AuthSecretJWT     AuthMethod = "client_secret_jwt"
	AuthPrivateKeyJWT AuthMethod = "private_key_jwt"
	AuthTLS           AuthMethod = "tls_client_auth"
	AuthSelfSignedTLS AuthMethod = "self_signed_tls_client_auth"
	AuthNone          AuthMethod = "none"
)

// assertionType is the client_assertion_type of RFC 7523 section 2.2.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// method is one way for a client to authenticate.
type method struct {
	name  AuthMethod
	sends []string // standard parameters that the method may add to a request
	needs []need   // fields of a registration that the method requires
	show  func(Request, *attempt) error
}

// methods lists all client authentication methods.
var methods = []method{
	{AuthBasic, nil, []need{{"client_id"}, {"client_secret"}}, func(r Request, a *attempt) error {
		a.header.Set("Authorization", "Basic "+r.basicCredentials())
		return nil
	}},
	{AuthPost, []string{ParamClientID, ParamClientSecret}, []need{{"client_id"}, {"client_secret"}}, func(r Request, a *attempt) error {
		a.set(ParamClientSecret, r.ClientSecret)
		return showClientID(r, a)
	}},
	{AuthSecretJWT, assertionParameters, []need{{"client_id"}, {"client_secret"}}, showAssertion},
	{AuthPrivateKeyJWT, assertionParameters, []need{{"client_id"}, {"private_key", "signing_key"}}, showAssertion},
	{AuthTLS, []string{ParamClientID}, []need{{"client_id"}, {"tls_client_certificate", "tls_key"}, {"tls_client_key", "tls_key"}}, showClientID},
	{AuthSelfSignedTLS, []string{ParamClientID}, []need{{"client_id"}, {"tls_client_certificate", "tls_key"}, {"tls_client_key", "tls_key"}}, showClientID},
	{AuthNone, []string{ParamClientID}, nil, showClientID},
}

var assertionParameters = []string{ParamClientID, ParamClientAssertion, ParamClientAssertionType}

func showClientID(r Request, a *attempt) error {
	if r.ClientID != "" {
		a.set(ParamClientID, r.ClientID)
	}
	return nil
}

func showAssertion(r Request, a *attempt) error {
	text, err := r.ClientAssertion.Sign(a.now)
	if err != nil {
		return err
	}
	a.set(ParamClientAssertionType, assertionType)
	a.set(ParamClientAssertion, text)
	a.secrets = append(a.secrets, text)
	return showClientID(r, a)
}

// AuthMethods returns the names of the client authentication methods.
func AuthMethods() []string {
	var out []string
	for _, m := range methods {
		out = append(out, string(m.name))
	}
	return out
}

// methodOf returns the method with this name. For an unknown name, which a
// checked configuration does not have, it returns a method that sends nothing
// and fails with an error.
func methodOf(name AuthMethod) method {
	if i := slices.IndexFunc(methods, func(m method) bool { return m.name == name }); i >= 0 {
		return methods[i]
	}
	return method{name: name, show: func(Request, *attempt) error {
		return &Error{Kind: Misconfigured, Detail: "the token_endpoint_auth_method is unknown"}
	}}
}
