// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

const jwksHelp = `The public keys of a key's versions, next, current and previous, as a JWK set
(RFC 7517 section 5), raw. No Vault token is needed, so that a provider can fetch
it by jwks_uri.`

// maxJWKSAge bounds how long a provider may keep the JWK set.
const maxJWKSAge = time.Hour

func (b *backend) jwksPaths() []*framework.Path {
	return []*framework.Path{b.declare(&framework.Path{
		Pattern:      jwksPrefix + framework.GenericNameRegex("key"),
		DisplayAttrs: display("jwks"),
		Fields:       map[string]*framework.FieldSchema{"key": nameField("The key's name.")},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: &framework.PathOperation{
				Callback:  b.readJWKS,
				Summary:   "Get the public keys of a key, as a JWK set.",
				Responses: map[int][]framework.Response{http.StatusOK: {{Description: "A JWK set", MediaType: "application/jwk-set+json"}}},
			},
		},
		HelpSynopsis:    "The public keys of a key, for a provider.",
		HelpDescription: jwksHelp,
	}, nil)}
}

func (b *backend) readJWKS(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, _ := d.Raw["key"].(string)
	entry, err := load[keyEntry](ctx, req.Storage, keyPrefix+name)
	if err != nil || entry == nil {
		return nil, err
	}
	set := struct {
		Keys []json.RawMessage `json:"keys"`
	}{Keys: []json.RawMessage{}}
	for _, v := range entry.at(b.now()) {
		shown, err := v.describe(entry.Algorithm)
		if err != nil {
			return nil, err
		}
		jwk, _ := shown["public_jwk"].(string)
		set.Keys = append(set.Keys, json.RawMessage(jwk))
	}
	body, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("encoding the JWK set: %w", err)
	}
	// A provider that keeps the set for this long still sees the next version
	// before it signs.
	age := min(time.Duration(entry.PublishAhead)*time.Second/4, maxJWKSAge)
	return &logical.Response{Data: map[string]any{
		logical.HTTPStatusCode: http.StatusOK, logical.HTTPContentType: "application/jwk-set+json", logical.HTTPRawBody: body,
		logical.HTTPCacheControlHeader: fmt.Sprintf("public, max-age=%d", int(age/time.Second)),
	}}, nil
}
