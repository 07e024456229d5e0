// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

const (
	maxBrought     = 64 << 10 // bytes of a token or an assertion that a reader brings
	maxBroughtType = 1 << 10  // bytes of the type of one
)

// issuedTokenType says what was issued in an exchange (RFC 8693 section 2.2.1).
// Readers get it by that name.
const issuedTokenType = "issued_token_type"

// typeInputs are the inputs of readers that are no secrets.
var typeInputs = namesOf(ReaderInputs(), func(f Field) bool { return !f.Secret }) //nolint:gochecknoglobals // a constant table

// ReaderInputs declares what readers may bring to a request where a config
// allows it.
func ReaderInputs() []Field {
	return []Field{
		{Name: grant.ParamSubjectToken, Type: Text, Secret: true, Description: "The token to exchange for another one (RFC 8693), if reader_inputs of the config allows it. Never stored."},
		{Name: grant.ParamSubjectTokenType, Type: Word, Description: "What the subject_token is: a URI (" + grant.TypeAccessToken + ")."},
		{Name: grant.ParamActorToken, Type: Text, Secret: true, Description: "The token of the party that acts for the subject (RFC 8693), if reader_inputs allows it. Never stored."},
		{Name: grant.ParamActorTokenType, Type: Word, Description: "What the actor_token is: a URI (" + grant.TypeAccessToken + ")."},
		{Name: grant.ParamAssertion, Type: Text, Secret: true, Description: "The assertion of the grant (RFC 7523, RFC 7522), if reader_inputs allows it. Never stored."},
	}
}

// CheckReaderInput refuses a value that no reader can mean. Its errors are
// *InvalidError and repeat no value.
func CheckReaderInput(name, value string) error {
	isType := typeInputs[name]
	u, err := url.Parse(value)
	switch {
	case value == "":
		return invalid(name, "is empty: send its value, or leave it out")
	case isType && (err != nil || u.Scheme == "" || len(value) > maxBroughtType || strings.ContainsFunc(value, func(c rune) bool { return c <= ' ' || c > '~' })):
		return invalid(name, "must be a URI, such as %s, …:jwt, …:id_token or …:saml2 (RFC 8693 section 3)", grant.TypeAccessToken)
	case len(value) > maxBrought:
		return invalid(name, "is longer than %s", inBytes(maxBrought))
	case strings.ContainsFunc(value, func(c rune) bool { return unicode.IsControl(c) && c != '\n' && c != '\r' && c != '\t' }):
		return invalid(name, "holds control characters, which are not part of a token: check how it was read")
	}
	return nil
}

// brought says whether readers bring that parameter.
func (r Registration) brought(name string) bool { return slices.Contains(r.ReaderInputs, name) }

// ReaderInputs are those that readers of e may bring.
func (e *Effective) ReaderInputs() []string { return e.registration.ReaderInputs }

// RequiredInputs are those that no request of e can do without.
func (e *Effective) RequiredInputs() []string {
	var out []string
	for _, name := range []string{grant.ParamSubjectToken, grant.ParamAssertion} {
		if e.registration.brought(name) {
			out = append(out, name)
		}
	}
	return out
}

// SubjectConfig names the config whose token is the subject of e's; "" without.
func (e *Effective) SubjectConfig() string { return e.registration.SubjectConfig }

// exchanges says whether the engine itself sends that parameter of a token
// exchange: else the parameters may hold it.
func (e *Effective) exchanges(name string) bool {
	r := e.registration
	return r.brought(name) || name == grant.ParamSubjectToken && r.SubjectConfig != ""
}

// LacksSubject reports whether e is a token exchange without a subject_token from
// anywhere.
func (e *Effective) LacksSubject() bool {
	name := grant.ParamSubjectToken
	if renamed, is := e.Dialect.ParameterNames[name].(string); is {
		name = renamed
	}
	_, written := e.Dialect.Parameters[name]
	_, secret := e.registration.SecretParameters[name]
	return e.Dialect.GrantType == grant.GrantTokenExchange && e.Dialect.RequestFormat != string(grant.Template) &&
		!e.exchanges(grant.ParamSubjectToken) && !written && !secret
}

// checkExchange refuses inputs that the grant has no place for, and those that
// stand elsewhere already.
func (e *Effective) checkExchange() error {
	r := e.registration
	sends := grant.Sends(e.Dialect.GrantType, grant.AuthNone)
	var known []string
	for _, f := range ReaderInputs() {
		known = append(known, f.Name)
	}
	for _, name := range r.ReaderInputs {
		switch token, isType := strings.CutSuffix(name, "_type"); {
		case !slices.Contains(known, name):
			return invalid("reader_inputs", "holds a name that readers cannot bring: choose from %s", strings.Join(known, ", "))
		case !slices.Contains(sends, name):
			return invalid("reader_inputs", "holds %s, which this grant_type does not send: subject_token, actor_token and their types go with %s, assertion with %s or %s",
				name, grant.GrantTokenExchange, grant.GrantJWTBearer, grant.GrantSAML2Bearer)
		case isType && !r.brought(token):
			return invalid("reader_inputs", "holds %s without %s, whose type it is: list both", name, token)
		}
	}
	switch {
	case e.Dialect.RequestFormat == string(grant.Template) && e.exchanges(grant.ParamSubjectToken), e.Dialect.RequestFormat == string(grant.Template) && r.brought(grant.ParamActorToken):
		return invalid("request_format", "must not be template when the tokens of an exchange come from readers or from another config, because a template sends no parameters: choose form or json, and rename them with parameter_names")
	case r.brought(grant.ParamAssertion) && r.Assertion != "":
		return invalid("reader_inputs", "holds assertion, which the config already sets itself: unset that with a patch to null")
	case r.SubjectConfig == "":
		return nil
	case e.Dialect.GrantType != grant.GrantTokenExchange:
		return invalid("subject_config", "needs grant_type=%s, and this config has another", grant.GrantTokenExchange)
	case r.brought(grant.ParamSubjectToken):
		return invalid("subject_config", "gives the subject_token, and so does reader_inputs: leave one of them out")
	}
	return nil
}

// WithInputs is e with what a reader brings, which is secret. What comes from
// another config is among them: the subject, and what From returns.
func (e *Effective) WithInputs(given map[string]string) *Effective {
	out := *e
	out.given = given
	if text := given[grant.ParamAssertion]; text != "" {
		out.registration.Assertion = text
	}
	return &out
}

// sampled is e as a reader with inputs, and a config that it takes something from,
// would have it send its request.
func (e *Effective) sampled() *Effective {
	sample := map[string]string{}
	for _, name := range e.registration.ReaderInputs {
		sample[name] = "sample"
	}
	out := e.WithInputs(sample)
	if len(e.chainedNames()) > 0 {
		env := *e.env
		env.sampling = true
		env.settle()
		out.env = &env
	}
	return out
}

// exchange has r send what was brought, and its readers told what was issued.
func (e *Effective) exchange(r *grant.Request) {
	if _, elsewhere := r.Answer.Extra[issuedTokenType]; !elsewhere && e.Dialect.GrantType == grant.GrantTokenExchange {
		r.Answer.Extra[issuedTokenType] = "/" + issuedTokenType
	}
	r.Subject = grant.Exchanged{Token: e.given[grant.ParamSubjectToken], Type: e.given[grant.ParamSubjectTokenType]}
	r.Actor = grant.Exchanged{Token: e.given[grant.ParamActorToken], Type: e.given[grant.ParamActorTokenType]}
	r.Brought = len(e.registration.ReaderInputs) > 0
}
