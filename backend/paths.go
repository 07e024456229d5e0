// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"fmt"
	"net/http"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// display returns the attributes by which a path appears in the OpenAPI document.
func display(suffix string) *framework.DisplayAttributes {
	return &framework.DisplayAttributes{OperationPrefix: "oauthcc", OperationSuffix: suffix}
}

func answers(description string, fields map[string]*framework.FieldSchema) map[int][]framework.Response {
	return map[int][]framework.Response{http.StatusOK: {{Description: description, Fields: fields}}}
}

func nothing(description string) map[int][]framework.Response {
	return map[int][]framework.Response{http.StatusNoContent: {{Description: description}}}
}

// mayWarn returns the responses of a write that answers nothing but warnings.
func mayWarn(description string) map[int][]framework.Response {
	return map[int][]framework.Response{
		http.StatusOK:        {{Description: description + ", with warnings"}},
		http.StatusNoContent: {{Description: description}},
	}
}

// nameField returns the field for the name in a path.
func nameField(description string) *framework.FieldSchema {
	return &framework.FieldSchema{Type: framework.TypeString, Required: true, Description: description}
}

// listPath lists the names below prefix.
func (b *backend) listPath(what string, names func(context.Context, logical.Storage) ([]string, error)) *framework.Path {
	return b.declare(&framework.Path{
		Pattern:      what + "/?$",
		DisplayAttrs: display(what + "s"),
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ListOperation: consistent(&framework.PathOperation{
				Callback: func(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
					keys, err := names(ctx, req.Storage)
					if err != nil {
						return nil, err
					}
					return logical.ListResponse(keys), nil
				},
				Summary: "List the names of all " + what + "s.",
				Responses: answers("The names", map[string]*framework.FieldSchema{
					"keys": {Type: framework.TypeStringSlice, Description: "The names; left out when there are none."},
				}),
			}),
		},
		HelpSynopsis:    "List the names of all " + what + "s.",
		HelpDescription: "Names only; read one of them for more.",
	}, nil)
}

func listStorage(prefix string) func(context.Context, logical.Storage) ([]string, error) {
	return func(ctx context.Context, s logical.Storage) ([]string, error) {
		keys, err := s.List(ctx, prefix)
		if err != nil {
			return nil, fmt.Errorf("listing %s in storage: %w", prefix, err)
		}
		return keys, nil
	}
}

// exists is the existence check, by which Vault tells create from update. Storage
// uses the same paths as the API.
func exists(ctx context.Context, req *logical.Request, _ *framework.FieldData) (bool, error) {
	entry, err := req.Storage.Get(ctx, req.Path)
	if err != nil {
		return false, fmt.Errorf("reading %s from storage: %w", req.Path, err)
	}
	return entry != nil, nil
}

// forwarded makes the node that can write storage handle op.
func forwarded(op *framework.PathOperation) *framework.PathOperation {
	op.ForwardPerformanceStandby, op.ForwardPerformanceSecondary = true, true
	return op
}

// consistent makes the leader handle op. A standby may not yet have what was
// written a moment ago, and an operator or a tool expects to read what it wrote.
func consistent(op *framework.PathOperation) *framework.PathOperation {
	op.ForwardPerformanceStandby = true
	return op
}
