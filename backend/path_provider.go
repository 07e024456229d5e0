// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
)

const providerHelp = `
A provider is a dialect: how one token endpoint expects requests, and how it
answers. It holds no credentials. The built-in providers can be read, but not
changed. Write a provider of your own as fields or as a JSON file:

    vault write oauthcc/provider/acme @acme.json

Its texts may hold placeholders such as {tenant}, which are declared in variables
and filled in by each config. A change of a provider changes all its configs. After a
change that moves the token endpoint to another host, these mint nothing until their
secrets are written again.
`

func (b *backend) providerPaths() []*framework.Path {
	fields := provider.DefinitionFields()
	shown := schemaOf(fields)
	shown["built_in"] = &framework.FieldSchema{Type: framework.TypeBool, Required: true, Description: "Whether it came with the plugin, and cannot be changed."}
	shown["required"] = &framework.FieldSchema{Type: framework.TypeStringSlice, Required: true, Description: "What a config of this provider has to set: fields, and variables as variables.<name> or secret_variables.<name>."}
	shown["example"] = &framework.FieldSchema{Type: framework.TypeString, Required: true, Description: "A command that writes such a config, with words in capitals to be replaced."}

	return []*framework.Path{
		b.providerList(),
		b.declare(&framework.Path{
			Pattern:      "provider/" + framework.GenericNameRegex("provider"),
			DisplayAttrs: display("provider"),
			Fields:       map[string]*framework.FieldSchema{"provider": nameField("The provider's name.")},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: consistent(&framework.PathOperation{
					Callback:  b.readProvider,
					Summary:   "Read a provider.",
					Responses: answers("The provider", shown),
				}),
				logical.CreateOperation: forwarded(&framework.PathOperation{
					Callback:  b.writeProvider,
					Summary:   "Describe a provider of your own.",
					Responses: mayWarn("Created"),
				}),
				logical.UpdateOperation: forwarded(&framework.PathOperation{
					Callback:  b.writeProvider,
					Summary:   "Describe a provider of your own, or replace the fields of one that are sent.",
					Responses: mayWarn("Written"),
				}),
				logical.DeleteOperation: forwarded(&framework.PathOperation{
					Callback:  b.deleteProvider,
					Summary:   "Delete a provider of your own that no config uses.",
					Responses: nothing("Deleted"),
				}),
			},
			ExistenceCheck:  exists,
			HelpSynopsis:    "How one token endpoint expects requests, and how it answers.",
			HelpDescription: strings.TrimSpace(providerHelp),
		}, fields),
	}
}

// providerList lists the names, and with -detailed also the descriptions.
func (b *backend) providerList() *framework.Path {
	path := b.listPath("provider", nil)
	list := path.Operations[logical.ListOperation].(*framework.PathOperation) //nolint:forcetypeassert // listPath made it
	list.Callback = b.listProviders
	list.Responses[http.StatusOK][0].Fields["key_info"] = &framework.FieldSchema{
		Type: framework.TypeMap, Description: "By name: description, and whether it is built_in.",
	}
	return path
}

func (b *backend) listProviders(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	names, err := b.providerNames(ctx, req.Storage)
	if err != nil {
		return nil, err
	}
	info := map[string]any{}
	for _, name := range names {
		definition, err := b.definition(ctx, req.Storage, name)
		if err != nil {
			return nil, err
		}
		description, _ := definition["description"].(string)
		info[name] = map[string]any{"description": description, "built_in": provider.IsBuiltin(name)}
	}
	return logical.ListResponseWithInfo(names, info), nil
}

func (b *backend) providerNames(ctx context.Context, s logical.Storage) ([]string, error) {
	own, err := listStorage(providerPrefix)(ctx, s)
	if err != nil {
		return nil, err
	}
	names := append(provider.BuiltinNames(), own...)
	slices.Sort(names)
	return slices.Compact(names), nil
}

// definition returns the provider of that name, built in or the operator's; nil
// without one. A built-in one takes precedence, also over one that the operator
// wrote in an older version of the plugin.
func (b *backend) definition(ctx context.Context, s logical.Storage, name string) (provider.Layer, error) {
	if l, ok, err := provider.Builtin(name); ok || err != nil {
		return l, err
	}
	entry, err := load[providerEntry](ctx, s, providerPrefix+name)
	if err != nil || entry == nil {
		return nil, err
	}
	return entry.Fields, nil
}

func (b *backend) unknownProvider(ctx context.Context, s logical.Storage, name string) error {
	names, err := b.providerNames(ctx, s)
	if err != nil {
		return err
	}
	if near := provider.Nearest(name, names); near != "" {
		return refuse("provider %q is unknown: did you mean %q?", name, near)
	}
	return refuse("provider %q is unknown: there are %s. A write to provider/%s describes a new one", name, strings.Join(names, ", "), name)
}

func (b *backend) readProvider(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, _ := d.Get("provider").(string)
	definition, err := b.definition(ctx, req.Storage, name)
	if err != nil || definition == nil {
		return nil, err
	}
	data := maps.Clone(definition)
	data["built_in"] = provider.IsBuiltin(name)
	required, err := provider.Required(definition)
	if err != nil {
		return nil, err
	}
	data["required"], data["example"] = required, provider.Example(req.MountPoint, name, definition, required)
	return &logical.Response{Data: data}, nil
}

func (b *backend) writeProvider(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, _ := d.Get("provider").(string)
	if provider.IsBuiltin(name) {
		return nil, refuse("provider %q is built in and cannot be changed: set the fields on the config, or write a provider of another name", name)
	}
	leave, err := b.writers.enter(ctx, providerPrefix+name)
	if err != nil {
		return nil, err
	}
	defer leave()
	entry, err := load[providerEntry](ctx, req.Storage, providerPrefix+name)
	if err != nil {
		return nil, err
	}
	if entry == nil {
		entry = &providerEntry{Fields: provider.Layer{}}
	}
	if entry.Fields, err = merged(entry.Fields, req); err != nil {
		return nil, err
	}
	if err := provider.Check(entry.Fields); err != nil {
		return nil, err
	}
	users, err := b.configsOf(ctx, req.Storage, name)
	if err != nil {
		return nil, err
	}
	type state struct {
		key       string
		revocable bool
	}
	before := map[string]state{}
	for _, user := range users {
		if c, err := b.load(ctx, req.Storage, target{config: user}, inputs{}); err == nil {
			key, err := c.key()
			if err != nil {
				return nil, err
			}
			before[user] = state{key, c.revocable()}
		}
	}
	if err := b.write(ctx, req.Storage, providerPrefix+name, entry); err != nil {
		return nil, err
	}

	resp := &logical.Response{}
	for _, user := range users {
		key := ""
		c, err := b.load(ctx, req.Storage, target{config: user}, inputs{})
		if err == nil {
			key, err = c.key()
		}
		if err != nil {
			resp.AddWarning("this change leaves a config without tokens: " + err.Error())
		} else if broken := b.brokenRoles(ctx, req.Storage, c); broken != "" {
			resp.AddWarning(broken)
		}
		b.tokens.Forgive(user)
		if was, known := before[user]; key != was.key {
			b.forget(ctx, req.Storage, user, was.revocable || !known, key)
			b.forgetDependants(ctx, req.Storage, user)
		}
	}
	if len(resp.Warnings) == 0 {
		return nil, nil
	}
	return resp, nil
}

func (b *backend) deleteProvider(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, _ := d.Get("provider").(string)
	if provider.IsBuiltin(name) {
		return nil, refuse("provider %q is built in and cannot be deleted", name)
	}
	leave, err := b.writers.enter(ctx, providerPrefix+name)
	if err != nil {
		return nil, err
	}
	defer leave()
	users, err := b.configsOf(ctx, req.Storage, name)
	if err != nil {
		return nil, err
	}
	if len(users) > 0 {
		return nil, refuse("provider %q is used by the configs %s: first delete them, or move them to another provider", name, strings.Join(users, ", "))
	}
	return nil, b.erase(ctx, req.Storage, providerPrefix+name)
}

// configsOf lists the configs that use a provider.
func (b *backend) configsOf(ctx context.Context, s logical.Storage, name string) ([]string, error) {
	return b.configsWhere(ctx, s, func(fields provider.Layer) bool { return fields["provider"] == name })
}

// configsWhere lists the configs whose own fields satisfy is.
func (b *backend) configsWhere(ctx context.Context, s logical.Storage, is func(provider.Layer) bool) ([]string, error) {
	configs, err := listStorage(configPrefix)(ctx, s)
	if err != nil {
		return nil, err
	}
	out := []string{}
	for _, config := range configs {
		entry, err := load[configEntry](ctx, s, configPrefix+config)
		if err != nil {
			return nil, err
		}
		if entry != nil && is(entry.Fields) {
			out = append(out, config)
		}
	}
	return out, nil
}
