// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
)

// declare sets the fields that the bodies of path's writes may hold, beside those of
// its pattern, and remembers them for prepare.
func (b *backend) declare(path *framework.Path, fields []provider.Field) *framework.Path {
	if path.Fields == nil {
		path.Fields = map[string]*framework.FieldSchema{}
	}
	captured := slices.Collect(maps.Keys(path.Fields))
	maps.Copy(path.Fields, schemaOf(fields))
	b.inputs[path] = input{captured: captured, body: fields}
	return path
}

// queryable sets the fields that the queries of path's reads and deletes may hold.
// Vault delivers no body with either.
func (b *backend) queryable(path *framework.Path, fields []provider.Field) *framework.Path {
	for name, schema := range schemaOf(fields) {
		schema.Query = true
		path.Fields[name] = schema
	}
	in := b.inputs[path]
	in.query = fields
	b.inputs[path] = in
	return path
}

// input describes what the requests to a path may hold.
type input struct {
	captured    []string // named by the path itself
	body, query []provider.Field
}

// misplaced refuses a secret in the query of a read.
func (in input) misplaced(data map[string]any) error {
	for _, f := range in.body {
		if _, sent := data[f.Name]; sent && f.Secret {
			return refuse("unknown field %q: it is secret, and a read puts it into the URL, which logs and proxies see. Get a new one, and send it in the body of a write", f.Name)
		}
	}
	return nil
}

// schemaOf describes fields to the framework, and so to help and OpenAPI. What is
// dropped as it arrives is none of its business.
func schemaOf(fields []provider.Field) map[string]*framework.FieldSchema {
	types := map[provider.Type]framework.FieldType{
		provider.Text: framework.TypeString, provider.Word: framework.TypeString, provider.PEM: framework.TypeString,
		provider.URL: framework.TypeString, provider.Date: framework.TypeString,
		provider.Flag: framework.TypeBool, provider.Seconds: framework.TypeDurationSecond, provider.Count: framework.TypeInt64,
		provider.Texts: framework.TypeCommaStringSlice, provider.Pointers: framework.TypeStringSlice,
		provider.Values: framework.TypeMap, provider.TextPairs: framework.TypeMap, provider.Givens: framework.TypeMap,
	}
	out := make(map[string]*framework.FieldSchema, len(fields))
	for _, f := range fields {
		if f.Dropped {
			continue
		}
		out[f.Name] = &framework.FieldSchema{
			Type: types[f.Type], Description: f.Description,
			DisplayAttrs:  &framework.DisplayAttributes{Name: label(f.Name), Sensitive: f.Secret},
			AllowedValues: allowed(f),
		}
	}
	return out
}

func allowed(f provider.Field) []any {
	var out []any
	for _, v := range f.Allowed {
		out = append(out, v)
	}
	return out
}

// label returns a field's name as a form shows it.
func label(name string) string {
	words := strings.Split(name, "_")
	words[0] = strings.ToUpper(words[0][:1]) + words[0][1:]
	for i, w := range words {
		if slices.Contains([]string{"id", "url", "ttl", "http", "tls", "ca", "uri"}, strings.ToLower(w)) {
			words[i] = strings.ToUpper(w)
		}
	}
	return strings.Join(words, " ")
}

// prepare checks a request's data and brings it into canonical form before the
// framework sees it. The framework would quote a value of the wrong type in its
// error, to the client and into Vault's log; it would ignore an unknown field, and
// take a null for "erase this".
func (b *backend) prepare(req *logical.Request) error {
	switch req.Operation {
	case logical.CreateOperation, logical.UpdateOperation, logical.PatchOperation,
		logical.ReadOperation, logical.ListOperation, logical.DeleteOperation:
	default:
		return nil
	}
	path := b.Route(req.Path)
	if path == nil {
		return nil
	}
	in := b.inputs[path]
	fields := in.body
	switch req.Operation {
	case logical.ReadOperation, logical.DeleteOperation:
		fields = in.query
	case logical.ListOperation:
		fields = nil
	}
	// A client may repeat the path's names in the body.
	for _, name := range in.captured {
		delete(req.Data, name)
	}
	if req.Operation == logical.ReadOperation {
		if err := in.misplaced(req.Data); err != nil {
			return err
		}
	}
	data, err := provider.Canonical(fields, req.Data)
	if err != nil {
		return err
	}
	for name, v := range data {
		if v == nil && req.Operation != logical.PatchOperation {
			return refuse("%s is null: leave it out to keep what is set, or patch it with null to unset it", name)
		}
	}
	req.Data = data
	return nil
}
