// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
)

// schema is a JSON Schema, or a part of one.
type schema = map[string]any

// providerSchema returns docs/provider.schema.json: the JSON Schema (draft
// 2020-12) of a provider file. It allows only the canonical form of each value,
// and not the other forms that a write accepts, such as text for a list.
func providerSchema() (string, error) {
	properties := propertiesOf(provider.DefinitionFields())
	properties["variables"] = schema{
		"type":          "object",
		"description":   describe(properties["variables"]),
		"propertyNames": schema{"pattern": provider.VariableName},
		"additionalProperties": schema{
			"type":                 "object",
			"properties":           propertiesOf(provider.VariableFields()),
			"additionalProperties": false,
		},
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(schema{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"$id":                  "https://github.com/oauthcc/vault-plugin-oauthcc/blob/main/docs/provider.schema.json",
		"title":                "A provider of the oauthcc secrets engine",
		"description":          "How one OAuth token endpoint wants to be asked, and how it answers: the body of a write to provider/<name>, and a file of the catalog. Written by make docs from the declarations of the fields.",
		"type":                 "object",
		"properties":           properties,
		"additionalProperties": false,
	})
	if err != nil {
		return "", fmt.Errorf("writing the schema: %w", err)
	}
	return b.String(), nil
}

func propertiesOf(fields []provider.Field) schema {
	out := schema{}
	for _, f := range fields {
		property := canonical(f.Type)
		property["description"] = f.Description
		if f.Allowed != nil {
			property["enum"] = f.Allowed
		}
		if f.Default != nil {
			property["default"] = f.Default
		}
		out[f.Name] = property
	}
	return out
}

// pointerPattern matches what grant.Pointer.Check accepts, except that it does
// not check the characters of a header's name.
const pointerPattern = `^(header:[^/: ]+|(/([^~/]|~[01])*)*)$`

// canonical returns the schema of a type's canonical form.
func canonical(t provider.Type) schema {
	text := schema{"type": "string"}
	switch t {
	case provider.Date:
		return schema{"type": "string", "format": "date"}
	case provider.Flag:
		return schema{"type": "boolean"}
	case provider.Seconds, provider.Count:
		return schema{"type": "integer", "minimum": 0}
	case provider.Texts:
		return schema{"type": "array", "items": text}
	case provider.Pointers:
		return schema{"type": "array", "items": schema{"type": "string", "pattern": pointerPattern}}
	case provider.Values:
		return schema{"type": "object"}
	case provider.TextPairs:
		return schema{"type": "object", "additionalProperties": text}
	default: // Text, Word, URL
		return text
	}
}

func describe(property any) any {
	s, _ := property.(schema)
	return s["description"]
}
