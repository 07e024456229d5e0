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
	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

const configHelp = `
A config is one client registration at a provider: the credentials, and what to
ask for. Secrets can be written and replaced, and are never shown again.

    vault write oauthcc/config/antsomi provider=antsomi \
        client_id=... client_secret=... scopes=item,event

A write to a config that is there replaces just the fields it names (maps
whole); a patch follows RFC 7396, where null returns a field to what the
provider says. Every dialect field of a provider may be set here instead.

A write that moves the credentials to another host must carry them again.

A deletion has the config's tokens revoked first, where there is a
revocation_url; a warning says how many live on, why, and until when.
`

// configFields declares what a config holds: the dialect as overrides, the
// registration, and how its tokens are handed out.
func configFields() []provider.Field {
	fields := provider.Fields()
	for i, f := range fields {
		if f.Name == "variables" {
			fields[i].Type = provider.TextPairs
			fields[i].Description = "What the placeholders of the provider and of this config stand for: tenant=acme."
		}
		fields[i].Default = nil // on a config, unset is inherited
	}
	return append(fields,
		provider.Field{Name: "provider", Type: provider.Word, Description: "The provider: a name from the list of provider/ (generic)."},
		provider.Field{Name: "client_id", Type: provider.Word, Description: "The client's identifier (RFC 6749 section 2.2)."},
		provider.Field{Name: "client_secret", Type: provider.Text, Secret: true, Description: "The client's secret. Never shown again."},
		provider.Field{Name: "fallback_client_secret", Type: provider.Text, Secret: true, Description: "Tried once when the provider refuses client_secret: rotation without downtime. Never shown again."},
		secretEndField(),
		provider.Field{Name: "refresh_token", Type: provider.Text, Secret: true, Description: "The refresh token to start from, for grant_type=refresh_token. Its successors are kept by the engine. Never shown again."},
		provider.Field{Name: "keep_alive", Type: provider.Seconds, Description: "For grant_type=refresh_token: the age before which a refresh token is replaced in the background, when nobody reads; 0 is never (0)."},
		provider.Field{Name: "username", Type: provider.Text, Description: "The resource owner's name, for grant_type=password."},
		provider.Field{Name: "password", Type: provider.Text, Secret: true, Description: "The resource owner's password, for grant_type=password. Never shown again."},
		provider.Field{Name: "private_key", Type: provider.Text, Secret: true, Description: "The key that the client signs with: PEM (PKCS#1, PKCS#8, SEC1) or a JWK. Never shown again."},
		provider.Field{Name: "assertion", Type: provider.Text, Secret: true, Description: "A ready-made assertion for grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer or …:saml2-bearer, instead of one that is signed here. Never shown again."},
		provider.Field{Name: "key_id", Type: provider.Text, Description: "The kid of signed assertions: how the provider knows the key (that of a JWK, or of the signing_key)."},
		provider.Field{Name: "signing_algorithm", Type: provider.Word, Allowed: algorithmNames(slices.Concat(signing.Symmetric(), signing.Asymmetric())), Description: "What assertions are signed with (RFC 7591: token_endpoint_auth_signing_alg): what fits the key by default; HS256 for client_secret_jwt."},
		provider.Field{Name: "signing_certificate", Type: provider.Text, Description: "PEM certificates of private_key, its own first, by which the provider knows the key (x5t#S256)."},
		provider.Field{Name: "signing_key", Type: provider.Word, Description: "The name of a key that is made here (key/<key>), instead of private_key."},
		provider.Field{Name: "tls_client_certificate", Type: provider.Text, Description: "PEM certificates that the client shows the provider (RFC 8705), its own first, with any token_endpoint_auth_method."},
		provider.Field{Name: "tls_client_key", Type: provider.Text, Secret: true, Description: "The private key of tls_client_certificate: PEM or a JWK. Never shown again."},
		provider.Field{Name: "tls_key", Type: provider.Word, Description: "The name of a key that is made here (key/<key>), with its certificate, instead of tls_client_certificate and tls_client_key."},
		provider.Field{Name: "secret_parameters", Type: provider.Values, Secret: true, Description: "Like parameters, but secret, and literal: no placeholders. Never shown again."},
		provider.Field{Name: "secret_variables", Type: provider.TextPairs, Secret: true, Description: "Like variables, but secret: only placeholders use them. Never shown again."},
		provider.Field{Name: "tls_ca_certificate", Type: provider.Text, Description: "PEM certificates of the authority to trust instead of the system's, for a provider with one of its own."},
		provider.Field{Name: "allow_insecure_http", Type: provider.Flag, Description: "Whether plain http is allowed to more than loopback. The credentials are then readable on the network (false)."},
		provider.Field{Name: "ttl", Type: provider.Seconds, Description: "The longest lease to give by default; 0 is as long as the token is usable (0)."},
		provider.Field{Name: "max_ttl", Type: provider.Seconds, Description: "The longest lease to give at all; 0 is no limit of its own (0)."},
		provider.Field{Name: "min_ttl", Type: provider.Seconds, Description: "The least usable life that a token is handed out with; one with less is replaced first (0)."},
		provider.Field{Name: "reuse", Type: provider.Flag, Description: "Whether all readers share one token (true), or each read mints its own (false)."},
		provider.Field{Name: "leased", Type: provider.Flag, Description: "Whether a token comes with a lease (true), or without, with the ttl and rotation_period of Vault's static roles (false)."},
		provider.Field{Name: "renewable", Type: provider.Flag, Description: "Whether a lease says that it can be renewed, never beyond its token. For Vault Proxy, whose cache keeps only renewable leases (false)."},
		provider.Field{Name: "request_timeout", Type: provider.Seconds, Description: "How long a reader waits for the provider at most (10s; at most 60s)."},
		provider.Field{Name: "verify_connection", Type: provider.Flag, Description: "Whether to run the grant once before storing, and to refuse the write when it fails (false)."},
		provider.Field{Name: "description", Type: provider.Text, Description: "What this registration is for."},
	)
}

func (b *backend) configPaths() []*framework.Path {
	fields := configFields()
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
	for _, f := range configFields() {
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

	c, err := b.load(ctx, req.Storage, target{config: name})
	if err == nil {
		resp.Data["effective"], err = c.describe()
		for _, text := range endWarnings(c.endings(), b.now()) {
			resp.AddWarning(text)
		}
	}
	if err != nil {
		resp.AddWarning("this config gives no token as it stands: " + err.Error())
	}
	return resp, nil
}

// describe is what a config comes to, for its operator to read.
func (c *config) describe() (map[string]any, error) {
	out, err := c.effective.Describe()
	if err != nil {
		return nil, err
	}
	out["provider"] = c.Provider
	out["ttl"], out["max_ttl"], out["min_ttl"] = c.TTL, c.MaxTTL, c.MinTTL
	out["reuse"], out["leased"], out["renewable"] = c.reused(), c.leased(), c.Renewable
	out["request_timeout"] = int64(c.timeout().Seconds())
	return out, nil
}

// merged applies what req sends to fields: an update replaces each field that
// is sent, a patch follows RFC 7396.
func merged(fields provider.Layer, req *logical.Request) (provider.Layer, error) {
	if req.Operation != logical.PatchOperation {
		out := maps.Clone(fields)
		maps.Copy(out, req.Data)
		for _, field := range []string{"variables", "secret_parameters", "secret_variables"} {
			if m, ok := out[field].(map[string]any); ok {
				out[field] = withoutNulls(m)
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

// withoutNulls drops the nulls of a map that inherits nothing they could remove.
func withoutNulls(m map[string]any) map[string]any {
	out := maps.Clone(m)
	maps.DeleteFunc(out, func(_ string, v any) bool { return v == nil })
	return out
}

// confirmed refuses to send stored secrets elsewhere unless the writer shows
// that it knows them: else whoever may update a config could have them sent to
// a host of its own.
func confirmed(old, entry *configEntry, req *logical.Request) error {
	if old == nil || old.Origin == entry.Origin {
		return nil
	}
	var missing []string
	for _, f := range configFields() {
		if f.Secret && !carried(f.Name, old, entry, req) {
			missing = append(missing, f.Name)
		}
	}
	if len(missing) > 0 {
		return refuse("this write changes where the config's credentials are sent (the scheme, host or port of token_url, tls_ca_certificate or allow_insecure_http): write %s again with it",
			strings.Join(missing, ", "))
	}
	return nil
}

// carried says whether req sends all that entry keeps in the secret field.
func carried(field string, old, entry *configEntry, req *logical.Request) bool {
	sent, wasSent := req.Data[field]
	if empty(entry.Fields[field]) || empty(old.Fields[field]) {
		return true
	}
	if wasSent && req.Operation == logical.PatchOperation {
		// A patch may leave parts of a map as they were: it must bring them all.
		alone := &logical.Request{Operation: logical.PatchOperation, Data: map[string]any{field: sent}}
		brought, err := merged(provider.Layer{}, alone)
		return err == nil && sameJSON(brought[field], entry.Fields[field])
	}
	return wasSent
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

// forget drops every token of the config, in memory, in storage, and those
// being minted, but for that of the key that it has come to. What remains in
// storage, if it cannot be deleted, nobody finds: the request that it is for
// has gone.
func (b *backend) forget(ctx context.Context, s logical.Storage, name, but string) {
	b.tokens.Forget(name, but)
	if err := clearTokens(ctx, s, name, but); err != nil {
		b.log().Warn("forgotten tokens could not be deleted; they are tidied when they expire", "config", name, "error", err)
	}
}
