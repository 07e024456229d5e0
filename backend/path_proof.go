// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
)

const proofHelp = `
With dpop=true a token can be used only together with a proof (RFC 9449). A key that
never leaves the engine signs a proof for one call:

    vault read  oauthcc/token/okta
    vault write oauthcc/proof/okta htm=GET htu=https://acme.okta.com/api/v1/users

The call then carries "Authorization: DPoP <access_token>" and "DPoP: <proof>".
Each call needs its own proof. If the API returns a DPoP-Nonce, request the next
proof with nonce=<its value>.

Without ath, the proof is for the token that a read returns now, and the ath of the
answer is the hash of that token. An application with an older token reads again. An
application that sends the hash of its token as ath gets a proof for that token,
which can be used until it expires, even if others have a newer token.

Proofs are given only for URLs at or below one of the config's dpop_resources.
`

func (b *backend) proofPaths() []*framework.Path {
	fields := []provider.Field{
		{Name: "htm", Type: provider.Word, Description: "The method of the call: GET, POST and so on."},
		{Name: "htu", Type: provider.Word, Description: "The URL of the call. A query and a fragment are left out of the proof (RFC 9449 section 4.2)."},
		{Name: "nonce", Type: provider.Word, Description: "The API's last DPoP-Nonce, where it sends one."},
		{Name: "ath", Type: provider.Word, Description: "The hash of the access token that goes along: its SHA-256 in base64url, without padding (that of the token that a read gets now)."},
	}
	path := func(pattern, suffix string, names map[string]*framework.FieldSchema) *framework.Path {
		return b.declare(&framework.Path{
			Pattern:      pattern,
			DisplayAttrs: display(suffix),
			Fields:       names,
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.UpdateOperation: &framework.PathOperation{
					Callback: b.writeProof,
					Summary:  "Sign a call that is made with a token.",
					Responses: answers("The proof", map[string]*framework.FieldSchema{
						"proof": {Type: framework.TypeString, Required: true, Description: "The proof, for the call's DPoP header (RFC 9449 section 4.1)."},
						"ath":   {Type: framework.TypeString, Required: true, Description: "The hash of the access token that it is for."},
					}),
				},
			},
			HelpSynopsis:    "A DPoP proof for one call with a token.",
			HelpDescription: strings.TrimSpace(proofHelp),
		}, fields)
	}
	return []*framework.Path{
		path("proof/"+framework.GenericNameRegex("config"), "proof",
			map[string]*framework.FieldSchema{"config": nameField("The config's name.")}),
		path("proof/"+framework.GenericNameRegex("config")+"/"+framework.GenericNameRegex("role"), "role-proof",
			map[string]*framework.FieldSchema{"config": nameField("The config's name."), "role": nameField("The role's name.")}),
	}
}

func (b *backend) writeProof(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	w, err := b.wanted(ctx, req, d)
	if err != nil {
		return nil, err
	}
	proof, err := w.proofFor(req)
	if err != nil {
		return nil, err
	}
	v := w.view
	if proof.TokenHash == "" || v.proofs.shared {
		var current string
		if current, v, err = b.currentHash(ctx, req.Storage, w); err != nil {
			return nil, err
		}
		if proof, err = v.proofFor(req); err != nil { // the config may have changed in the meantime
			return nil, err
		}
		if proof.TokenHash != "" && proof.TokenHash != current {
			return nil, refuse("ath must be the hash of the token that a read gets now: with grant_type=refresh_token there are proofs only for that token; read the token again")
		}
		proof.TokenHash = current
	}
	text, err := proof.Sign(v.proofs.key, b.now())
	if err != nil {
		return nil, err
	}
	return &logical.Response{Data: map[string]any{"proof": text, "ath": proof.TokenHash}}, nil
}

// method matches the name of an HTTP method. Such names are case-sensitive.
var method = regexp.MustCompile(`^[A-Z][A-Z-]{0,31}$`)

// proofFor returns the unsigned proof that a request asks for, or an error if the
// readers of v may not have it.
func (v *view) proofFor(req *logical.Request) (grant.Proof, error) {
	text := func(field string) string { s, _ := req.Data[field].(string); return s }
	p := grant.Proof{Method: text("htm"), Nonce: text("nonce"), TokenHash: text("ath")}
	switch {
	case v.proofs == nil:
		return p, refuse("%s: its tokens need no proof, because they are not bound to a key; dpop=true binds them", v.target)
	case v.proofs.scope.Empty():
		return p, refuse("%s: dpop_resources is empty, so no URL may have a proof: whoever may write the config can name the provider's API there", v.target)
	case !method.MatchString(p.Method):
		return p, refuse("htm must be the method of the call, in capitals: GET, POST and so on")
	case p.Nonce != "" && !grant.CheckNonce(p.Nonce):
		return p, refuse("nonce must be what the API sent last in a DPoP-Nonce header")
	case p.TokenHash == "" && (!v.terms.Value().Reuse || len(v.needs()) > 0):
		return p, refuse("ath is required, because with reuse=false or reader_inputs each reader has a token of its own: send the hash of yours")
	}
	if p.TokenHash != "" {
		if sum, err := base64.RawURLEncoding.Strict().DecodeString(p.TokenHash); err != nil || len(sum) != sha256.Size {
			return p, refuse("ath must be the SHA-256 hash of the access token in base64url, without padding (43 characters)")
		}
	}
	var err error
	p.URL, err = v.proofs.scope.Target(text("htu"))
	return p, err
}

// currentHash returns the hash of the token that a reader would get now, and the
// view by which it would get that token.
func (b *backend) currentHash(ctx context.Context, s logical.Storage, w wanted) (string, *view, error) {
	got, v, err := b.token(ctx, s, w)
	if err != nil {
		return "", nil, err
	}
	if _, err := v.usable(got, b.now()); err != nil {
		return "", nil, err
	}
	return grant.TokenHash(got.Value.Token.AccessToken), v, nil
}
