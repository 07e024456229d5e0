// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
)

const roleHelp = `
A role is a narrowed view of one config for one team: fewer scopes, parameters
of its own, a shorter lease. It holds no credentials.

    vault write oauthcc/role/antsomi/readers scopes=item ttl=15m
    vault read oauthcc/token/antsomi/readers

A policy that allows a team only oauthcc/token/antsomi/readers gives it only that
token. The role's parameters are added to those of the config and its provider. They
cannot change, repeat or remove any of those, and cannot name a secret. They can name
the caller by Vault's identity templating, such as {{identity.entity.name}}; each
caller then has its own token.
`

// RoleFields declares the fields that a role may set.
func RoleFields() []provider.Field { return provider.FieldsOn(provider.OnRole, declared()) }

func (b *backend) rolePaths() []*framework.Path {
	names := map[string]*framework.FieldSchema{"config": nameField("The config's name."), "role": nameField("The role's name.")}
	list := b.listPath("role", nil)
	list.Pattern = "role/" + framework.GenericNameRegex("config") + "/?$"
	list.Fields["config"] = names["config"]
	list.Operations[logical.ListOperation].(*framework.PathOperation).Callback = b.listRoles //nolint:forcetypeassert // listPath made it
	return []*framework.Path{
		list,
		b.declare(&framework.Path{
			Pattern:      "role/" + framework.GenericNameRegex("config") + "/" + framework.GenericNameRegex("role"),
			DisplayAttrs: display("role"),
			Fields:       names,
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: consistent(&framework.PathOperation{
					Callback:  b.readRole,
					Summary:   "Read a role.",
					Responses: answers("The role", schemaOf(RoleFields())),
				}),
				logical.CreateOperation: forwarded(&framework.PathOperation{
					Callback:  b.writeRole,
					Summary:   "Create a role.",
					Responses: nothing("Created"),
				}),
				logical.UpdateOperation: forwarded(&framework.PathOperation{
					Callback:  b.writeRole,
					Summary:   "Create a role, or replace the fields of one that are sent.",
					Responses: nothing("Written"),
				}),
				logical.PatchOperation: forwarded(&framework.PathOperation{
					Callback:  b.writeRole,
					Summary:   "Patch a role (RFC 7396): null returns a field to what the config says.",
					Responses: nothing("Patched"),
				}),
				logical.DeleteOperation: forwarded(&framework.PathOperation{
					Callback:  b.deleteRole,
					Summary:   "Delete a role.",
					Responses: nothing("Deleted"),
				}),
			},
			ExistenceCheck:  exists,
			HelpSynopsis:    "A narrowed view of one config, for one team.",
			HelpDescription: strings.TrimSpace(roleHelp),
		}, RoleFields()),
	}
}

func (b *backend) listRoles(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	roles, err := listStorage(rolePrefix+targetOf(d).config+"/")(ctx, req.Storage)
	if err != nil {
		return nil, err
	}
	return logical.ListResponse(roles), nil
}

func (b *backend) readRole(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	entry, err := load[roleEntry](ctx, req.Storage, rolePrefix+targetOf(d).path())
	if err != nil || entry == nil {
		return nil, err
	}
	resp := &logical.Response{Data: entry.Fields}
	if _, err := b.load(ctx, req.Storage, targetOf(d), inputs{}); err != nil {
		resp.AddWarning("this role gives no token as it stands: " + err.Error())
	}
	return resp, nil
}

func (b *backend) writeRole(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	t := targetOf(d)
	leave, err := b.writers.enter(ctx, configPrefix+t.config)
	if err != nil {
		return nil, err
	}
	defer leave()
	entry, err := load[roleEntry](ctx, req.Storage, rolePrefix+t.path())
	if err != nil {
		return nil, err
	}
	if entry == nil && req.Operation == logical.PatchOperation {
		return nil, fmt.Errorf("no %s to patch: %w", t, errNotFound)
	}
	if entry == nil {
		entry = &roleEntry{Fields: provider.Layer{}}
	}
	if entry.Fields, err = merged(entry.Fields, req); err != nil {
		return nil, err
	}
	config, err := load[configEntry](ctx, req.Storage, configPrefix+t.config)
	if err != nil {
		return nil, err
	}
	if config == nil {
		return nil, noConfig(t.config)
	}
	if _, err := b.resolve(ctx, req.Storage, t, inputs{}, config, entry); err != nil {
		return nil, err
	}
	if err := b.write(ctx, req.Storage, rolePrefix+t.path(), entry); err != nil {
		return nil, err
	}
	b.tokens.Forgive(t.config)
	return nil, nil
}

// brokenRoles returns a warning that names the roles of c that no longer resolve,
// "" if there are none.
func (b *backend) brokenRoles(ctx context.Context, s logical.Storage, c *config) string {
	names, err := listStorage(rolePrefix+c.config+"/")(ctx, s)
	var broken []string
	var first error
	for _, name := range names {
		t := target{config: c.config, role: name}
		role, readErr := load[roleEntry](ctx, s, rolePrefix+t.path())
		if readErr != nil || role == nil {
			err = errors.Join(err, readErr)
			continue
		}
		if _, unresolved := b.resolve(ctx, s, t, inputs{}, c.entry, role); unresolved != nil {
			broken = append(broken, strconv.Quote(name))
			first = cmp.Or(first, unresolved)
		}
	}
	switch {
	case len(broken) > 0:
		return fmt.Sprintf("this change leaves roles of %s without tokens: %s; of the first: %s", c.target, strings.Join(broken, ", "), first)
	case err != nil:
		return fmt.Sprintf("whether the roles of %s fit what it is now cannot be told: %s", c.target, err)
	default:
		return ""
	}
}

// deleteRole does not delete the role's tokens, because other roles may share
// them. Tidying removes them when they expire.
func (b *backend) deleteRole(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	t := targetOf(d)
	leave, err := b.writers.enter(ctx, configPrefix+t.config)
	if err != nil {
		return nil, err
	}
	defer leave()
	return nil, b.erase(ctx, req.Storage, rolePrefix+t.path())
}
