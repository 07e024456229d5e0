// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/identitytpl"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
)

// target is what the path of a request names: a config or one of its roles.
type target struct {
	config string
	role   string // "" for the config itself
}

// inputs is what a request brings, beside its path, that decides which token it
// gets. The zero value means the token of the path itself.
//
// All inputs become part of the effective request, and so of the token's key
// (config.key). An input that is not part of the effective request must be added to
// that key and to name. A secret is no input, because inputs are kept: see brought.
type inputs struct {
	scopes []string // those that the reader chose, sorted; nil for all
	caller string   // the entity that asks; "" for no particular caller

	// identity holds, for each placeholder in the role's parameters that names the
	// caller's identity, the text in its place. It is nil if there is no such
	// placeholder, so that the caller makes no difference, and for no particular caller.
	identity map[string]string
}

// name returns a text that differs for different inputs. It is "" for the zero value.
func (in inputs) name() string {
	switch {
	case in.identity != nil:
		return fmt.Sprintf("%q %q %q", in.scopes, in.caller, in.identity)
	case in.scopes != nil:
		return fmt.Sprintf("%q", in.scopes) // a scope may hold a space
	}
	return ""
}

// path returns the target as the API's paths name it.
func (t target) path() string {
	if t.role == "" {
		return t.config
	}
	return t.config + "/" + t.role
}

func (t target) String() string {
	if t.role == "" {
		return fmt.Sprintf("config %q", t.config)
	}
	return fmt.Sprintf("role %q of config %q", t.role, t.config)
}

// targetOf reads the target from a request's path.
func targetOf(d *framework.FieldData) target {
	config, _ := d.Raw["config"].(string)
	role, _ := d.Raw["role"].(string)
	return target{config: config, role: role}
}

// load reads and resolves the target's config and role. If one is missing, the error
// names it and is a 400, because Vault's clients drop the text of a 404.
func (b *backend) load(ctx context.Context, s logical.Storage, t target, in inputs) (*config, error) {
	entry, err := load[configEntry](ctx, s, configPrefix+t.config)
	if err != nil {
		return nil, err
	}
	if entry == nil {
		return nil, noConfig(t.config)
	}
	var role *roleEntry
	if t.role != "" {
		if role, err = load[roleEntry](ctx, s, rolePrefix+t.path()); err != nil {
			return nil, err
		}
		if role == nil {
			return nil, refuse("no role %q of config %q: write role/%s first, or see the list of role/%s/", t.role, t.config, t.path(), t.config)
		}
	}
	return b.settled(ctx, s, t, in, entry, role)
}

// settled resolves what load has read, and refuses if the origin has changed.
func (b *backend) settled(ctx context.Context, s logical.Storage, t target, in inputs, entry *configEntry, role *roleEntry) (*config, error) {
	c, err := b.resolve(ctx, s, t, in, entry, role)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	if c.origin != entry.Origin {
		return nil, refuse("%s: its provider %q now sends credentials to another place than when they were written: write the config's secrets again to confirm that", t, c.Provider)
	}
	return c, nil
}

func noConfig(name string) error {
	return refuse("no config %q: write config/%s first, or see the list of config/", name, name)
}

// resolve lays role over entry, and both over their provider, and fills in the
// inputs.
func (b *backend) resolve(ctx context.Context, s logical.Storage, t target, in inputs, entry *configEntry, role *roleEntry) (*config, error) {
	c := &config{target: t, inputs: in, entry: entry, until: b.now().Add(configLifetime)}
	c.Reuse, c.Leased = true, true // unless a layer says otherwise
	fields, of := entry.Fields, roleEntry{}
	if role != nil {
		fields, of = provider.Overlay(entry.Fields, role.Fields), *role
	}
	if err := remarshal(fields, &c.settings); err != nil {
		return nil, err
	}
	var registration provider.Registration
	if err := remarshal(entry.Fields, &registration); err != nil {
		return nil, err
	}
	if c.Provider == "" {
		c.Provider = provider.Generic
	}
	if err := c.setLimits(entry.Fields, of.Fields); err != nil {
		return nil, err
	}
	definition, err := b.definition(ctx, s, c.Provider)
	if err != nil {
		return nil, err
	}
	if definition == nil {
		return nil, b.unknownProvider(ctx, s, c.Provider)
	}
	own := entry.Fields.Only(provider.Fields())
	narrower := of.Fields.Only(provider.Fields())
	narrower, identity, err := b.identified(narrower, in)
	if err != nil {
		return nil, err
	}
	c.names = slices.Sorted(maps.Keys(identity))
	if c.identity != nil {
		c.identity = identity // nil if the caller makes no difference any more
	}
	registration.RequestTimeout = c.timeout()
	if registration.Signing, err = b.material(ctx, s, c, "signing_key", registration.SigningKey); err != nil {
		return nil, err
	}
	if registration.TLS, err = b.material(ctx, s, c, "tls_key", registration.TLSKey); err != nil {
		return nil, err
	}
	err = b.endpoints(c, func(found *provider.Discovered) (*provider.Effective, error) {
		registration.Discovered = found
		return provider.Resolve(definition, own, registration, narrower)
	})
	if err != nil {
		return nil, err
	}
	if c.effective.Dialect.DPoP {
		if err := c.bind(); err != nil {
			return nil, err
		}
	}
	if role != nil {
		if err := within("scopes", role.Fields["scopes"], own["scopes"], definition["scopes"]); err != nil {
			return nil, err
		}
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if err := b.follow(ctx, s, c); err != nil {
		return nil, err
	}
	return c, c.narrow(in.scopes)
}

// narrow keeps only those of c's scopes that the reader asks for.
func (c *config) narrow(scopes []string) error {
	if scopes == nil {
		return nil
	}
	granted := c.effective.Dialect.Scopes
	if len(granted) == 0 {
		return refuse("scopes cannot be chosen, because %s names none", c.target)
	}
	if !provider.Among(scopes, granted) {
		return refuse("scopes holds a scope that is not granted here: choose from %s", provider.Listed(granted))
	}
	c.effective = c.effective.WithScopes(scopes)
	return nil
}

// within refuses scopes of a role that its config does not name. If the config names
// none, those of the provider count.
func within(field string, narrower any, outer ...any) error {
	for _, o := range outer {
		granted := textList(o)
		if o == nil {
			continue
		}
		if len(granted) == 0 {
			return nil
		}
		if !provider.Among(textList(narrower), granted) {
			return refuse("%s holds a scope that the config does not name: a role can only narrow its config, to some of %s", field, provider.Listed(granted))
		}
		if narrower != nil && len(textList(narrower)) == 0 {
			return refuse("%s is empty, so the provider would grant its default scopes: name some of %s, or leave it out", field, provider.Listed(granted))
		}
		return nil
	}
	return nil
}

// textList reads a list from storage or from a request.
func textList(v any) []string {
	if list, ok := v.([]string); ok {
		return list
	}
	list, _ := v.([]any)
	out := make([]string, 0, len(list))
	for _, item := range list {
		if s, ok := item.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// identityTemplate matches one placeholder of Vault's identity templating, as in
// templated policies.
var identityTemplate = regexp.MustCompile(`\{\{\s*identity\.[^{}]*\}\}`)

// identitySelector matches the selectors that Vault's templated policies know. The
// SDK's own check looks only at the braces.
var identitySelector = regexp.MustCompile(`^\{\{\s*identity\.(?:` +
	`entity\.(?:id|name|metadata\.[^.{}\s]+|aliases\.[^.{}\s]+\.(?:id|name|(?:custom_)?metadata\.[^.{}\s]+))|` +
	`groups\.(?:ids|names)\.[^.{}\s]+\.(?:id|name|metadata\.[^.{}\s]+))\s*\}\}$`)

// identified fills the caller's identity into what a role adds, before any other
// placeholder is expanded. It escapes the values, so that none of them is taken for
// a placeholder. It returns the values, nil if there are none.
func (b *backend) identified(l provider.Layer, in inputs) (provider.Layer, map[string]string, error) {
	used, out := map[string]string{}, provider.Overlay(l)
	for _, field := range []string{"parameters", "assertion_claims"} {
		texts, _ := l[field].(map[string]any)
		if subject, set := texts["sub"]; set && field == "assertion_claims" {
			if text, _ := subject.(string); text == "" || identityTemplate.FindString(text) != text {
				return l, nil, refuse("assertion_claims holds sub, which a role can set to the caller only: write {{identity.entity.name}}, or another of Vault's placeholders, with nothing around it")
			}
		}
		filled, err := provider.EachText(texts, func(text string) (string, error) {
			var failed error
			out := identityTemplate.ReplaceAllStringFunc(text, func(placeholder string) string {
				value, err := b.identity(field, placeholder, in)
				failed = errors.Join(failed, err)
				used[placeholder] = value
				return strings.NewReplacer("{", "{{", "}", "}}").Replace(value)
			})
			return out, failed
		})
		if err != nil {
			return l, nil, err
		}
		if len(texts) > 0 {
			out[field] = filled
		}
	}
	if len(used) == 0 {
		return l, nil, nil
	}
	return out, used, nil
}

// identity returns the value of a placeholder in that field of a role.
func (b *backend) identity(field, placeholder string, in inputs) (string, error) {
	if in.identity == nil {
		if !identitySelector.MatchString(placeholder) {
			return "", refuse("%s names the caller's identity in a way that Vault does not know: write {{identity.entity.id}}, .name, .metadata.<key> or .aliases.<mount accessor>.name, or {{identity.groups.names.<name>.id}}", field)
		}
		return "caller", nil
	}
	value, known := in.identity[placeholder]
	if known {
		return value, nil
	}
	found, err := b.identify(in.caller, []string{placeholder}) // the role has been changed to name another one
	return found[placeholder], err
}

// identify asks Vault for the values of these placeholders in a caller's identity.
func (b *backend) identify(caller string, placeholders []string) (map[string]string, error) {
	if caller == "" {
		return nil, refuse("the role names the caller's identity, and this Vault token has none: log in with an auth method that gives tokens an entity")
	}
	unknown := func(placeholder string) error {
		return refuse("the role names %s, which the caller's identity lacks", placeholder)
	}
	entity, err := b.System().EntityInfo(caller)
	if err != nil || entity == nil {
		return nil, unknown(placeholders[0])
	}
	var groups []*logical.Group
	if slices.ContainsFunc(placeholders, func(p string) bool { return strings.Contains(p, "identity.groups") }) {
		if groups, err = b.System().GroupsForEntity(caller); err != nil {
			return nil, unknown(placeholders[0])
		}
	}
	out := make(map[string]string, len(placeholders))
	for _, placeholder := range placeholders {
		_, value, err := identitytpl.PopulateString(identitytpl.PopulateStringInput{
			String: placeholder, Entity: entity, Groups: groups, Mode: identitytpl.ACLTemplating,
		})
		if err != nil {
			return nil, unknown(placeholder)
		}
		out[placeholder] = value
	}
	return out, nil
}
