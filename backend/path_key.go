// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"maps"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

const keyHelp = `
A key is made here, signs here, and never leaves. The provider learns only its
public half: from the JWK set at jwks/<key>, or from a certificate that you upload.

    vault write oauthcc/key/okta algorithm=RS256 rotation_period=90d
    vault read  oauthcc/key/okta
    vault write oauthcc/config/okta signing_key=okta ...

A key rotates by itself every rotation_period, or by a write to
key/<key>/rotate. The next version is published for publish_ahead before it
signs, and the previous one for retain afterwards.
`

const rotateHelp = `
Makes the next version of a key. The version signs after it has been published for
publish_ahead, so that providers that cache the JWK set know it by then. With
now=true it signs at once; so does a next version that is waiting already. That is
for a provider that was given the certificate by hand, and for a compromised key.
In both cases the previous version stays published, unless the key has retain=0.
`

// KeyFields declares the fields of a key: how it is made and when it rotates.
func KeyFields() []provider.Field {
	return []provider.Field{
		{Name: "algorithm", Type: provider.Text, Allowed: signing.Names(signing.Asymmetric()), Description: "What the key signs with (RFC 7518 section 3.1): RS256 (default), RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 or EdDSA. Cannot be changed."},
		{Name: "rotation_period", Type: provider.Seconds, Description: "For how long a version signs before the next one does; 0 rotates by hand only (0)."},
		{Name: "publish_ahead", Type: provider.Seconds, Description: "For how long the next version is published before it signs: as long as providers keep the JWK set (24h)."},
		{Name: "retain", Type: provider.Seconds, Description: "For how long the previous version stays published after the next one signs (24h)."},
		{Name: "allowed_audiences", Type: provider.Texts, Description: "Audiences that a config's assertions may have, in addition to URLs at the host of token_url: some providers want another name of theirs. They apply only if the provider's definition sets the host of token_url, and not the config."},
	}
}

func (b *backend) keyPaths() []*framework.Path {
	name := map[string]*framework.FieldSchema{"key": nameField("The key's name.")}
	shown := schemaOf(KeyFields())
	shown["keys"] = &framework.FieldSchema{Type: framework.TypeSlice, Required: true, Description: "The versions, newest first: state (next, current, previous), until (when that state ends, if it does), kid, created, public_jwk, public_key (PEM), certificate (PEM: its own, self-signed, or what was written to key/<key>/certificate), certificate_ends, certificate_sha256 and certificate_sha1 (fingerprints in hexadecimal)."}
	shown["used_by"] = &framework.FieldSchema{Type: framework.TypeStringSlice, Required: true, Description: "The configs that name the key."}
	return []*framework.Path{
		b.listPath("key", listStorage(keyPrefix)),
		b.declare(&framework.Path{
			Pattern:      "key/" + framework.GenericNameRegex("key"),
			DisplayAttrs: display("key"),
			Fields:       name,
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation:   consistent(&framework.PathOperation{Callback: b.readKey, Summary: "Read a key's public half and its rotation.", Responses: answers("The key", shown)}),
				logical.CreateOperation: forwarded(&framework.PathOperation{Callback: b.writeKey, Summary: "Make a key.", Responses: nothing("Made")}),
				logical.UpdateOperation: forwarded(&framework.PathOperation{Callback: b.writeKey, Summary: "Make a key, or change how one rotates.", Responses: nothing("Written")}),
				logical.DeleteOperation: forwarded(&framework.PathOperation{Callback: b.deleteKey, Summary: "Delete a key that no config uses.", Responses: nothing("Deleted")}),
			},
			ExistenceCheck:  exists,
			HelpSynopsis:    "A signing key that is made here and never leaves.",
			HelpDescription: strings.TrimSpace(keyHelp),
		}, KeyFields()),
		b.declare(&framework.Path{
			Pattern:      "key/" + framework.GenericNameRegex("key") + "/rotate",
			DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: "oauthcc", OperationVerb: "rotate", OperationSuffix: "key"},
			Fields:       map[string]*framework.FieldSchema{"key": name["key"]},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.UpdateOperation: forwarded(&framework.PathOperation{Callback: b.rotateByHand, Summary: "Make the next version of a key.", Responses: nothing("Made")}),
			},
			HelpSynopsis:    "Make the next version of a key.",
			HelpDescription: strings.TrimSpace(rotateHelp),
		}, []provider.Field{{Name: "now", Type: provider.Flag, Description: "Whether the next version signs at once (false)."}}),
	}
}

func (b *backend) writeKey(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, _ := d.Raw["key"].(string)
	leave, err := b.writers.enter(ctx, keyPrefix+name)
	if err != nil {
		return nil, err
	}
	defer leave()
	entry, err := load[keyEntry](ctx, req.Storage, keyPrefix+name)
	if err != nil {
		return nil, err
	}
	wanted, said := req.Data["algorithm"].(string)
	if entry == nil {
		if !said {
			wanted = string(signing.RS256)
		}
		entry = &keyEntry{Algorithm: signing.Algorithm(wanted), PublishAhead: defaultPublishAhead, Retain: defaultRetain}
	} else if said && signing.Algorithm(wanted) != entry.Algorithm {
		return nil, refuse("algorithm cannot be changed from %s: make another key, and name that one in the configs", entry.Algorithm)
	}
	for field, value := range map[string]*int64{
		"rotation_period": &entry.RotationPeriod, "publish_ahead": &entry.PublishAhead, "retain": &entry.Retain,
	} {
		if seconds, sent := req.Data[field].(int64); sent {
			*value = seconds
		}
	}
	if audiences, sent := req.Data["allowed_audiences"]; sent {
		entry.AllowedAudiences = textList(audiences)
	}
	if entry.RotationPeriod > 0 && entry.RotationPeriod <= entry.PublishAhead {
		return nil, refuse("rotation_period must be longer than publish_ahead, for which each version waits to sign")
	}
	if len(entry.Versions) == 0 {
		if err := entry.add(name, b.now(), b.now()); err != nil {
			return nil, err
		}
	}
	return nil, b.write(ctx, req.Storage, keyPrefix+name, entry)
}

func (b *backend) readKey(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, _ := d.Raw["key"].(string)
	entry, err := load[keyEntry](ctx, req.Storage, keyPrefix+name)
	if err != nil || entry == nil {
		return nil, err
	}
	users, err := b.configsThatSign(ctx, req.Storage, name)
	if err != nil {
		return nil, err
	}
	data := map[string]any{
		"algorithm": string(entry.Algorithm), "used_by": users,
		"rotation_period": entry.RotationPeriod, "publish_ahead": entry.PublishAhead, "retain": entry.Retain,
		"allowed_audiences": entry.AllowedAudiences,
	}
	keys := []map[string]any{}
	for _, v := range entry.at(b.now()) {
		shown, err := v.describe(entry.Algorithm)
		if err != nil {
			return nil, err
		}
		keys = append(keys, shown)
	}
	data["keys"] = keys
	resp := &logical.Response{Data: data}
	certificates, err := entry.Versions[entry.current(b.now())].certificates()
	if err != nil {
		return nil, err
	}
	for _, text := range endWarnings([]ending{{"the certificate of the version that signs", certificates.Ends(), "rotate the key, or write a new one to key/" + name + "/certificate"}}, b.now()) {
		resp.AddWarning(text)
	}
	return resp, nil
}

// describe returns the public half of a version. It reads the certificate
// instead of the private key, which takes long to parse.
func (v statefulKey) describe(a signing.Algorithm) (map[string]any, error) {
	certificates, err := v.certificates()
	if err != nil {
		return nil, err
	}
	jwk, err := signing.PublicJWK(certificates[0].PublicKey, v.ID, a, certificates)
	if err != nil {
		return nil, err
	}
	public, err := signing.PublicPEM(certificates[0].PublicKey)
	if err != nil {
		return nil, err
	}
	shown := described(certificates)
	maps.Copy(shown, map[string]any{
		"state": string(v.state), "kid": v.ID, "created": stamp(v.Created), "public_jwk": string(jwk), "public_key": public,
	})
	if !v.until.IsZero() {
		shown["until"] = stamp(v.until)
	}
	return shown, nil
}

// certificates returns the authority's certificates, or else the self-signed one.
func (v keyVersion) certificates() (signing.Certificates, error) {
	text := v.Certificate
	if text == "" {
		text = v.SelfSigned
	}
	return signing.ParseCertificates(text)
}

func (b *backend) rotateByHand(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, _ := d.Raw["key"].(string)
	immediately, _ := d.Raw["now"].(bool)
	return nil, b.updateKey(ctx, req.Storage, name, func(e *keyEntry) error {
		return e.rotate(name, b.now(), immediately)
	})
}

func (b *backend) deleteKey(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, _ := d.Raw["key"].(string)
	leave, err := b.writers.enter(ctx, keyPrefix+name)
	if err != nil {
		return nil, err
	}
	defer leave()
	users, err := b.configsThatSign(ctx, req.Storage, name)
	if err != nil {
		return nil, err
	}
	if len(users) > 0 {
		return nil, refuse("key %q is used by the configs %s: first give them another key, or delete them", name, strings.Join(users, ", "))
	}
	return nil, b.erase(ctx, req.Storage, keyPrefix+name)
}

// configsThatSign lists the configs that name a key.
func (b *backend) configsThatSign(ctx context.Context, s logical.Storage, key string) ([]string, error) {
	return b.configsWhere(ctx, s, func(fields provider.Layer) bool {
		return fields["signing_key"] == key || fields["tls_key"] == key
	})
}
