// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"maps"
	"slices"
	"strings"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

// Required returns what a config of the provider has to set before it can get a
// token: names of fields, and variables as variables.<name> or
// secret_variables.<name>. Its errors are *InvalidError.
func Required(definition Layer) ([]string, error) {
	e, err := resolve(definition, nil, nil, Registration{}, true)
	if err != nil {
		return nil, err
	}
	var out []string
	if e.Dialect.TokenURL+e.Dialect.Issuer+e.Dialect.ResourceURL == "" {
		out = append(out, "token_url")
	}
	for _, name := range slices.Sorted(maps.Keys(e.declared)) {
		d := e.declared[name]
		if !e.names[name] || d.Default != nil || d.Value != nil || d.Optional {
			continue
		}
		if d.Secret {
			out = append(out, "secret_variables."+name)
		} else {
			out = append(out, "variables."+name)
		}
	}
	credentials := slices.DeleteFunc(slices.Collect(maps.Keys(e.names)), func(name string) bool {
		return !slices.Contains(credentialNames(), name) && name != namePrivateKey
	})
	for _, need := range e.needs() {
		credentials = append(credentials, need.Fields[0])
	}
	slices.Sort(credentials)
	out = append(out, slices.Compact(credentials)...)
	if e.Dialect.ScopesRequired && len(e.Dialect.Scopes) == 0 {
		out = append(out, "scopes")
	}
	return out, nil
}

// requirements returns the fields that a provider may require, each with the
// field that can be set instead, if any.
func requirements() map[string][]string {
	return map[string][]string{
		"client_id": {}, "client_secret": {}, "username": {}, "password": {},
		"key_id": {"signing_key"}, "signing_certificate": {"signing_key"},
		"tls_client_certificate": {"tls_key"}, "tls_client_key": {"tls_key"},
	}
}

func listedRequirements() string { return strings.Join(slices.Sorted(maps.Keys(requirements())), ", ") }

// checkRequires reads and checks the fields that the provider requires.
func (e *Effective) checkRequires(definition Layer) error {
	e.required, _ = stringList(definition["requires"], strings.Fields)
	for _, field := range e.required {
		if _, known := requirements()[field]; !known {
			return invalid("requires", "holds something that cannot be required: choose from %s", listedRequirements())
		}
	}
	return nil
}

// needs returns what a config has to set before a request can be made.
func (e *Effective) needs() []grant.Need {
	out := grant.Needs(e.Dialect.GrantType, grant.AuthMethod(e.Dialect.AuthMethod))
	for i, need := range out {
		if need.For == "grant_type="+grant.GrantJWTBearer && e.SecretSignsGrant() {
			out[i].Fields = []string{"client_secret"}
		}
	}
	for _, field := range e.required {
		out = append(out, grant.Need{Fields: append([]string{field}, requirements()[field]...), For: "the provider"})
	}
	if used := e.chainedNames(); len(used) > 0 {
		out = append(out, grant.Need{Fields: []string{"source_config"}, For: "{" + used[0] + "}"})
	}
	if to := e.urls["token_url"]; to != nil && to.hostComes() {
		out = append(out, grant.Need{Fields: []string{"source_hosts"}, For: "token_url, whose host comes out of an answer"})
	}
	for _, name := range slices.Sorted(maps.Keys(e.Dialect.AssertionHeaders)) {
		if e.signs() && e.namesCertificate(name) {
			out = append(out, grant.Need{Fields: []string{"signing_certificate", "signing_key"}, For: "assertion_headers." + name})
		}
	}
	return out
}

// has reports whether a field that something needs is set.
func (e *Effective) has(field string) bool {
	r := e.registration
	return r.brought(field) || map[string]string{
		"client_id": r.ClientID, "client_secret": r.ClientSecret, "username": r.Username, "password": r.Password,
		"refresh_token": r.RefreshToken, "assertion": r.Assertion, "private_key": r.PrivateKey, "signing_key": r.SigningKey,
		"key_id": e.keys.signing.ID, "signing_certificate": r.SigningCertificate,
		"tls_client_certificate": r.ClientCertificate, "tls_client_key": r.ClientKey, "tls_key": r.TLSKey,
		"source_config": r.SourceConfig, "source_hosts": strings.Join(r.SourceHosts, ","),
	}[field] != "" || field == "client_secret" && r.EmptySecret
}

// Example returns a command line that writes a config of the provider. It sets
// the required fields: a variable to its example, a secret or PEM field to a
// file, and everything else to a word in capitals.
func Example(mount, name string, definition Layer, required []string) string {
	declared, _ := definition["variables"].(map[string]any)
	words := []string{"vault write " + mount + "config/" + name, "provider=" + name}
	files := namesOf(append(credentialFields(), connectionFields()...), func(f Field) bool { return f.Secret || f.Type == PEM })
	for _, field := range required {
		value := strings.ToUpper(field)
		switch group, variable, isVariable := strings.Cut(field, "."); {
		case isVariable:
			field, value = group, variable+"="+strings.ToUpper(variable)
			declaration, _ := declared[variable].(map[string]any)
			if example, _ := declaration["example"].(string); example != "" {
				value = variable + "=" + example
			}
		case files[field]:
			value = "@" + field + ".txt"
		}
		words = append(words, field+"="+value)
	}
	return strings.Join(words, " ")
}
