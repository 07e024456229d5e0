// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
)

const configHelp = `
A config is one client registration at a provider: the credentials, and what to
request. Secrets can be written and replaced, but are never shown again.

    vault write oauthcc/config/antsomi provider=antsomi \
        client_id=... client_secret=... scopes=item,event

A write to an existing config replaces only the fields that it names; a map is
replaced as a whole. A patch follows RFC 7396: null returns a field to the value
of the provider. Every dialect field of a provider can be set here as well.

A write that would send the credentials to another host must contain them again.

A deletion first revokes the config's tokens, if there is a revocation_url. A
warning says how many tokens stay valid, why, and until when.
`

// declared returns every field that a provider, a config or a role may set.
func declared() []provider.Field {
	return slices.Concat(provider.Declared(), settingsFields())
}

// ConfigFields returns the fields of a config: the dialect's as overrides, the
// registration's, and those that say how its tokens are handed out.
func ConfigFields() []provider.Field { return provider.FieldsOn(provider.OnConfig, declared()) }

func (b *backend) configPaths() []*framework.Path {
	fields := ConfigFields()
	shown := schemaOf(slices.DeleteFunc(slices.Clone(fields), func(f provider.Field) bool { return f.Secret }))
	shown["secrets_set"] = &framework.FieldSchema{Type: framework.TypeStringSlice, Required: true, Description: "Which secret fields are set."}
	shown["effective"] = &framework.FieldSchema{Type: framework.TypeMap, Description: "What will really be sent where: the dialect with everything inherited and all placeholders filled in."}

	return []*framework.Path{
		b.listPath("config", listStorage(configPrefix)),
		b.queryable(b.declare(&framework.Path{
			Pattern:      "config/" + framework.GenericNameRegex("config"),
			DisplayAttrs: display("config"),
			Fields:       map[string]*framework.FieldSchema{"config": nameField("The config's name.")},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: consistent(&framework.PathOperation{
					Callback:  b.readConfig,
					Summary:   "Read a config, without its secrets.",
					Responses: answers("The config", shown),
				}),
				logical.CreateOperation: forwarded(&framework.PathOperation{
					Callback:  b.writeConfig,
					Summary:   "Create a config.",
					Responses: mayWarn("Created"),
				}),
				logical.UpdateOperation: forwarded(&framework.PathOperation{
					Callback:  b.writeConfig,
					Summary:   "Create a config, or replace the fields of one that are sent.",
					Responses: mayWarn("Written"),
				}),
				logical.PatchOperation: forwarded(&framework.PathOperation{
					Callback:  b.writeConfig,
					Summary:   "Patch a config (RFC 7396): null returns a field to what the provider says.",
					Responses: mayWarn("Patched"),
				}),
				logical.DeleteOperation: forwarded(&framework.PathOperation{
					Callback:  b.deleteConfig,
					Summary:   "Delete a config and its tokens.",
					Responses: mayWarn("Deleted"),
				}),
			},
			ExistenceCheck:  exists,
			HelpSynopsis:    "A client registration: credentials, and what to ask for by default.",
			HelpDescription: strings.TrimSpace(configHelp),
		}, fields), []provider.Field{
			{Name: "force", Type: provider.Flag, Description: "On delete: delete the config's roles as well."},
		}),
	}
}

func (b *backend) readConfig(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := targetOf(d).config
	entry, err := load[configEntry](ctx, req.Storage, configPrefix+name)
	if err != nil || entry == nil {
		return nil, err
	}
	resp := &logical.Response{Data: map[string]any{}}
	secrets := []string{}
	for _, f := range ConfigFields() {
		v, set := entry.Fields[f.Name]
		switch {
		case !set:
		case f.Secret && !empty(v):
			secrets = append(secrets, f.Name)
		case !f.Secret:
			resp.Data[f.Name] = v
		}
	}
	resp.Data["secrets_set"] = secrets
	if _, set := entry.Fields["provider"]; !set {
		resp.Data["provider"] = provider.Generic
	}

	c, err := b.load(ctx, req.Storage, target{config: name}, inputs{})
	if err == nil {
		resp.Data["effective"], err = c.describe()
		for _, text := range append(endWarnings(c.endings(), b.now()), c.discoveryWarnings()...) {
			resp.AddWarning(text)
		}
	}
	if err != nil {
		resp.AddWarning("this config gives no token as it stands: " + err.Error())
	}
	return resp, nil
}

// describe returns a config as its operator reads it.
func (c *config) describe() (map[string]any, error) {
	out, err := c.effective.Describe()
	if err != nil {
		return nil, err
	}
	out["provider"] = c.Provider
	out["ttl"], out["max_ttl"], out["min_ttl"] = c.TTL, c.MaxTTL, c.MinTTL
	out["reuse"], out["leased"], out["renewable"] = c.Reuse, c.Leased, c.Renewable
	out["request_timeout"] = int64(c.timeout().Seconds())
	return out, nil
}

// merged applies what req sends to fields. An update replaces each field that is
// sent; a patch follows RFC 7396.
func merged(fields provider.Layer, req *logical.Request) (provider.Layer, error) {
	if req.Operation != logical.PatchOperation {
		out := provider.Layer{}
		maps.Copy(out, fields)
		maps.Copy(out, req.Data)
		for _, f := range declared() {
			if m, isMap := out[f.Name].(map[string]any); isMap && !f.Inherits() {
				out[f.Name] = withoutNulls(m)
			}
		}
		return out, nil
	}
	document, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("encoding the stored fields: %w", err)
	}
	patch, err := json.Marshal(req.Data)
	if err != nil {
		return nil, fmt.Errorf("encoding the patch: %w", err)
	}
	patched, err := jsonpatch.MergePatch(document, patch)
	if err != nil {
		return nil, refuse("the patch cannot be applied")
	}
	out := provider.Layer{}
	if err := json.Unmarshal(patched, &out); err != nil {
		return nil, refuse("the patch cannot be applied")
	}
	return out, nil
}

// withoutNulls drops the nulls of a map that inherits nothing.
func withoutNulls(m map[string]any) map[string]any {
	out := maps.Clone(m)
	maps.DeleteFunc(out, func(_ string, v any) bool { return v == nil })
	return out
}

// confirmed refuses a change that would send stored secrets elsewhere, unless it
// brings the secrets again. Otherwise anybody who may update a config could have its
// secrets sent to a host of their own.
func confirmed(old, entry *configEntry, brought []string) error {
	if old == nil || old.Origin == entry.Origin {
		return nil
	}
	if missing := kept(old, entry, brought); len(missing) > 0 {
		return refuse("this write changes where the config's credentials are sent (the scheme, host or port of token_url, what issuer or resource_url leads to, proxy_url, tls_ca_certificate or allow_insecure_http): write %s again with it",
			strings.Join(missing, ", "))
	}
	return nil
}

// kept returns the secrets that a change leaves as they were.
func kept(old, entry *configEntry, brought []string) []string {
	var out []string
	for _, f := range ConfigFields() {
		kept := old != nil && !empty(old.Fields[f.Name]) && !empty(entry.Fields[f.Name])
		if f.Secret && kept && !slices.Contains(brought, f.Name) {
			out = append(out, f.Name)
		}
	}
	return out
}

// brings reports whether req holds the whole new value of a field. A patch may leave
// parts of a map as they were.
func brings(req *logical.Request, field string, becomes any) bool {
	if req.Operation != logical.PatchOperation {
		return true
	}
	alone := &logical.Request{Operation: logical.PatchOperation, Data: map[string]any{field: req.Data[field]}}
	brought, err := merged(provider.Layer{}, alone)
	return err == nil && sameJSON(brought[field], becomes)
}

func sameJSON(a, b any) bool {
	left, err := json.Marshal(a)
	if err != nil {
		return false
	}
	right, err := json.Marshal(b)
	return err == nil && bytes.Equal(left, right)
}

func empty(v any) bool {
	m, isMap := v.(map[string]any)
	return v == nil || v == "" || isMap && len(m) == 0
}
