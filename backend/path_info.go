// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

func (b *backend) infoPaths() []*framework.Path {
	return []*framework.Path{b.declare(&framework.Path{
		Pattern:      "info",
		DisplayAttrs: display("info"),
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: &framework.PathOperation{
				Callback: b.readInfo,
				Summary:  "Read which build of the plugin is running.",
				Responses: answers("The build", map[string]*framework.FieldSchema{
					"version":    {Type: framework.TypeString, Required: true, Description: "The plugin's semantic version."},
					"commit":     {Type: framework.TypeString, Required: true, Description: "The commit that it was built from."},
					"build_date": {Type: framework.TypeString, Required: true, Description: "When it was built (RFC 3339)."},
				}),
			},
		},
		HelpSynopsis:    "Which build of the plugin is running.",
		HelpDescription: "Version, commit and build date of the plugin process that serves this mount.",
	}, nil)}
}

func (b *backend) readInfo(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
	return &logical.Response{Data: map[string]any{
		"version": b.build.Version, "commit": b.build.Commit, "build_date": b.build.Date,
	}}, nil
}
