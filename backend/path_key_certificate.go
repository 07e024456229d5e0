// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"crypto/x509/pkix"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

const (
	csrHelp = `A certificate signing request (RFC 2986) for the newest version of a key. Give it to
an authority, and write the certificate that it issues to key/<key>/certificate.`

	certificateHelp = `A read returns the certificate of the newest version of a key. Upload it to a
provider that recognizes its clients by certificates:

    vault read -field=certificate oauthcc/key/entra/certificate > entra.crt

At first it is self-signed. A write replaces it by one that an authority issued for
the public key of a version, with the chain above it. The version then presents that
certificate.`
)

func (b *backend) keyCertificatePaths() []*framework.Path {
	subject := []provider.Field{
		{Name: "common_name", Type: provider.Text, Description: "The subject's common name (the key's name)."},
		{Name: "organization", Type: provider.Text, Description: "The subject's organization."},
		{Name: "organizational_unit", Type: provider.Text, Description: "The subject's organizational unit."},
		{Name: "country", Type: provider.Text, Description: "The subject's country: two letters."},
		{Name: "dns_names", Type: provider.Texts, Description: "Subject alternative names (DNS)."},
	}
	chain := []provider.Field{
		{Name: "certificate", Type: provider.Text, Description: "PEM certificates: that of the key first, then those that signed it."},
	}
	return []*framework.Path{
		b.declare(&framework.Path{
			Pattern:      "key/" + framework.GenericNameRegex("key") + "/csr",
			DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: "oauthcc", OperationVerb: "generate", OperationSuffix: "csr"},
			Fields:       map[string]*framework.FieldSchema{"key": nameField("The key's name.")},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.UpdateOperation: &framework.PathOperation{Callback: b.writeCSR, Summary: "Make a certificate signing request.", Responses: answers("The request", map[string]*framework.FieldSchema{
					"csr": {Type: framework.TypeString, Required: true, Description: "The request, in PEM."},
					"kid": {Type: framework.TypeString, Required: true, Description: "The version of the key that it belongs to."},
				})},
			},
			HelpSynopsis:    "A certificate signing request of a key.",
			HelpDescription: csrHelp,
		}, subject),
		b.declare(&framework.Path{
			Pattern:      "key/" + framework.GenericNameRegex("key") + "/certificate",
			DisplayAttrs: display("key-certificate"),
			Fields:       map[string]*framework.FieldSchema{"key": nameField("The key's name.")},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: consistent(&framework.PathOperation{Callback: b.readKeyCertificate, Summary: "Read the certificate of the newest version.", Responses: answers("The certificate", map[string]*framework.FieldSchema{
					"kid":                {Type: framework.TypeString, Required: true, Description: "The version of the key that it belongs to."},
					"certificate":        {Type: framework.TypeString, Required: true, Description: "The certificate, in PEM, and the chain above it, if there is one."},
					"certificate_ends":   {Type: framework.TypeString, Required: true, Description: "When it ends: RFC 3339, UTC."},
					"certificate_sha256": {Type: framework.TypeString, Required: true, Description: "Its fingerprint, in hexadecimal."},
					"certificate_sha1":   {Type: framework.TypeString, Required: true, Description: "Its SHA-1 fingerprint, in hexadecimal, as consoles show it."},
				})}),
				logical.UpdateOperation: forwarded(&framework.PathOperation{Callback: b.writeKeyCertificate, Summary: "Store the certificate that an authority issued.", Responses: nothing("Taken")}),
			},
			HelpSynopsis:    "The certificate of a key.",
			HelpDescription: certificateHelp,
		}, chain),
	}
}

func (b *backend) writeCSR(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, _ := d.Raw["key"].(string)
	entry, err := load[keyEntry](ctx, req.Storage, keyPrefix+name)
	if err != nil {
		return nil, err
	}
	if entry == nil {
		return nil, noKey(name)
	}
	newest := entry.Versions[len(entry.Versions)-1]
	k, err := signing.Restore(newest.PEM)
	if err != nil {
		return nil, err
	}
	text := func(field string) []string {
		if v, _ := req.Data[field].(string); v != "" {
			return []string{v}
		}
		return nil
	}
	subject := pkix.Name{CommonName: name, Organization: text("organization"), OrganizationalUnit: text("organizational_unit"), Country: text("country")}
	if cn := text("common_name"); cn != nil {
		subject.CommonName = cn[0]
	}
	csr, err := k.CSR(subject, textList(req.Data["dns_names"]))
	if err != nil {
		return nil, err
	}
	return &logical.Response{Data: map[string]any{"csr": csr, "kid": newest.ID}}, nil
}

func (b *backend) readKeyCertificate(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, _ := d.Raw["key"].(string)
	entry, err := load[keyEntry](ctx, req.Storage, keyPrefix+name)
	if err != nil || entry == nil {
		return nil, err
	}
	newest := entry.Versions[len(entry.Versions)-1]
	certificates, err := newest.certificates()
	if err != nil {
		return nil, err
	}
	shown := described(certificates)
	shown["kid"] = newest.ID
	return &logical.Response{Data: shown}, nil
}

// described returns what a read tells of a version's certificates.
func described(c signing.Certificates) map[string]any {
	return map[string]any{
		"certificate": c.PEM(), "certificate_ends": stamp(c.Ends()),
		"certificate_sha256": c.FingerprintSHA256(), "certificate_sha1": c.FingerprintSHA1(),
	}
}

func (b *backend) writeKeyCertificate(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, _ := d.Raw["key"].(string)
	text, _ := req.Data["certificate"].(string)
	certificates, err := signing.ParseCertificates(text)
	if err != nil {
		return nil, refuse("certificate %s", err)
	}
	if now := b.now(); now.After(certificates.Ends()) {
		return nil, refuse("certificate expired on %s: ask the authority for a new one", stamp(certificates.Ends()))
	}
	return nil, b.updateKey(ctx, req.Storage, name, func(e *keyEntry) error {
		for i, v := range e.Versions {
			k, err := signing.Restore(v.PEM)
			if err != nil {
				return err
			}
			if certificates.Match(k) == nil {
				e.Versions[i].Certificate = certificates.PEM()
				return nil
			}
		}
		return refuse("certificate does not belong to any version of key %q: its first certificate must be made from the CSR of key/%s/csr", name, name)
	})
}
