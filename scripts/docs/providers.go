// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
)

const providersHead = `<!-- Copyright (c) The oauthcc authors -->
<!-- SPDX-License-Identifier: MPL-2.0 -->
<!-- Written by make docs from internal/provider/catalog: change it there. -->

# Providers

%d providers work by name. Each is one file of data in the plugin, written from the provider's own documentation, and
` + "`vault read oauthcc/provider/<name>`" + ` shows it whole. Whatever a file says can be overridden on a config; a provider that is not here takes
a few fields ([dialects.md](dialects.md)).

`

// providersPage returns the content of docs/providers.md.
func providersPage() (string, error) {
	names := provider.BuiltinNames()
	var table, sections strings.Builder
	for _, name := range names {
		definition, _, err := provider.Builtin(name)
		if err != nil {
			return "", err
		}
		required, err := provider.Required(definition)
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		description, _, _ := strings.Cut(text(definition, "description"), ". ")
		fmt.Fprintf(&table, "| [`%s`](#%s) | %s | %s |\n", name, name, cell(strings.TrimSuffix(description, ".")), code(required))
		section(&sections, name, definition, required)
	}
	return fmt.Sprintf(providersHead, len(names)) +
		"| name | what it is | you set |\n|---|---|---|\n" + table.String() + "\n" + strings.TrimSuffix(sections.String(), "\n"), nil
}

func section(b *strings.Builder, name string, definition provider.Layer, required []string) {
	fmt.Fprintf(b, "## %s\n\n%s\n\n", name, text(definition, "description"))
	if setup := text(definition, "setup"); setup != "" {
		fmt.Fprintf(b, "%s\n\n", setup)
	}
	fmt.Fprintf(b, "```\n%s\n```\n\n", provider.Example("oauthcc/", name, definition, required))
	declared, _ := definition["variables"].(map[string]any)
	for _, variable := range slices.Sorted(maps.Keys(declared)) {
		if d, _ := declared[variable].(map[string]any); d["value"] == nil {
			fmt.Fprintf(b, "- `%s`: %s%s\n", variable, d["description"], bounds(d))
		}
	}
	scopes, _ := definition["scope_descriptions"].(map[string]any)
	for _, scope := range slices.Sorted(maps.Keys(scopes)) {
		fmt.Fprintf(b, "- scope `%s`: %s\n", scope, scopes[scope])
	}
	if len(declared)+len(scopes) > 0 {
		b.WriteString("\n")
	}
	read := ""
	if date := text(definition, "documentation_date"); date != "" {
		read = ", read on " + date
	}
	fmt.Fprintf(b, "Documented at <%s>%s.\n\n", text(definition, "documentation_url"), read)
}

// bounds returns the other facts about a variable, such as an example and the
// allowed values.
func bounds(d map[string]any) string {
	var notes []string
	if example, ok := d["example"].(string); ok {
		notes = append(notes, "such as `"+example+"`")
	}
	if choices, _ := d["enum"].([]any); len(choices) > 0 {
		words := make([]string, len(choices))
		for i, c := range choices {
			words[i] = fmt.Sprint(c)
		}
		notes = append(notes, "one of "+code(words))
	}
	if v, ok := d["default"].(string); ok {
		notes = append(notes, "by default `"+v+"`")
	}
	if d["optional"] == true {
		notes = append(notes, "optional")
	}
	if d["secret"] == true {
		notes = append(notes, "secret")
	}
	if len(notes) == 0 {
		return ""
	}
	return " (" + strings.Join(notes, "; ") + ")"
}

func text(definition provider.Layer, field string) string {
	s, _ := definition[field].(string)
	return s
}

func code(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = "`" + w + "`"
	}
	return strings.Join(quoted, ", ")
}

// cell escapes text so that it neither ends a table cell nor reads as a tag.
func cell(s string) string { return strings.NewReplacer("|", `\|`, "<", `\<`).Replace(s) }
