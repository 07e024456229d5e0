// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/oauthcc/vault-plugin-oauthcc/backend"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
)

// tables returns the lists of fields that a page can include with a pair of
// markers, <!-- fields of NAME: make docs --> and <!-- end -->.
func tables() map[string][]provider.Field {
	var ofConfig []provider.Field
	for _, f := range backend.ConfigFields() {
		if f.In&provider.OnProvider == 0 {
			ofConfig = append(ofConfig, f)
		}
	}
	return map[string][]provider.Field{
		"a config":   ofConfig,
		"a provider": provider.DefinitionFields(),
		"a variable": provider.VariableFields(),
		"a role":     backend.RoleFields(),
		"a key":      backend.KeyFields(),
	}
}

var marked = regexp.MustCompile(`(?s)(<!-- fields of ([a-z ]+): make docs -->\n).*?(<!-- end -->\n)`)

// withTables returns the page with the tables between its markers written anew.
func withTables(page string) (string, error) {
	all, unknown := tables(), ""
	out := marked.ReplaceAllStringFunc(page, func(section string) string {
		part := marked.FindStringSubmatch(section)
		fields, known := all[part[2]]
		if !known {
			unknown = part[2]
		}
		return part[1] + "\n" + table(fields) + "\n" + part[3]
	})
	if unknown != "" {
		return "", fmt.Errorf("there are no fields of %s", unknown)
	}
	return out, nil
}

func table(fields []provider.Field) string {
	var b strings.Builder
	b.WriteString("| field | meaning (default) |\n|---|---|\n")
	for _, f := range fields {
		mark := ""
		if f.Secret {
			mark = ` \*`
		}
		standard := "" // a description does not name a default that is a list
		if list, isList := f.Default.([]string); isList {
			standard = " (" + code(list) + ")"
		}
		if !f.Dropped {
			fmt.Fprintf(&b, "| `%s`%s | %s%s |\n", f.Name, mark, cell(f.Description), standard)
		}
	}
	return b.String()
}
