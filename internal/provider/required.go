// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"maps"
	"slices"
	"strings"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

// Required lists what a config of a provider has to set before it gives a
// token: names of fields, and of variables as variables.<name> or
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
		return !slices.Contains(credentialNames(), name)
	})
	for _, need := range grant.Needs(e.Dialect.GrantType, grant.AuthMethod(e.Dialect.AuthMethod)) {
		credentials = append(credentials, need.Fields[0])
	}
	slices.Sort(credentials)
	out = append(out, slices.Compact(credentials)...)
	if e.Dialect.ScopesRequired && len(e.Dialect.Scopes) == 0 {
		out = append(out, "scopes")
	}
	return out, nil
}

// Example is a command line that writes a config of the provider. It sets what
// Required names: each variable to its example, all else to a word in capitals.
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
