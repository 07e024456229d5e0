// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/tokencache"
)

// maxWay is the greatest number of configs that may depend on each other in a row.
const maxWay = 8

// source is another config of the mount whose current token goes into a request.
type source struct {
	field string // that names it
	name  string
	key   string // of its token, as its config is now; "" if any will do
}

// sourceFields returns the fields of a config that name another config, whose token its
// requests carry.
func sourceFields() []string { return []string{"subject_config", "source_config"} }

// sourcesOf returns the sources that a config names.
func sourcesOf(fields provider.Layer) []source {
	var out []source
	for _, field := range sourceFields() {
		if name, _ := fields[field].(string); name != "" {
			out = append(out, source{field: field, name: name})
		}
	}
	return out
}

// follow finds the sources of c, and the sources of those. Their tokens' keys
// become part of the key of c's token, so that it is forgotten when one of them
// changes or is revoked.
func (b *backend) follow(ctx context.Context, s logical.Storage, c *config) error {
	ctx, way := onTheWay(ctx, c.config)
	for _, src := range sourcesOf(c.entry.Fields) {
		if slices.Contains(way, src.name) {
			return src.circle(append(way, src.name))
		}
		if len(way) > maxWay {
			return refuse("%s leads through more than %d configs: %s. Make the chain shorter", src.field, maxWay, strings.Join(way, ", "))
		}
		k, err := b.current(ctx, s, target{config: src.name}, inputs{})
		if err != nil {
			return src.about(err)
		}
		switch {
		case slices.Contains(k.behind, c.config):
			return src.circle([]string{c.config, src.name, "…", c.config})
		case !slices.Contains(k.SourceFor, c.config):
			return refuse("%s names config %q, which does not allow that, because its token would be sent where this config says: whoever may write that config can allow it with source_for=%s there", src.field, src.name, c.config)
		case len(k.effective.RequiredInputs()) > 0:
			return refuse("%s names config %q, whose tokens depend on what each reader brings: name a config without reader_inputs", src.field, src.name)
		case !k.Reuse:
			return refuse("%s names config %q, which has no shared token, because each of its readers gets its own: write reuse=true there", src.field, src.name)
		}
		if lacks := k.effective.Lacks(c.effective.SourceExtras()); src.field == "source_config" && len(lacks) > 0 {
			return refuse("%s names config %q, whose tokens come without %s: add it to extra_fields there", src.field, src.name, strings.Join(lacks, ", "))
		}
		src.key = k.key
		c.sources = append(c.sources, src)
		c.behind = append(append(c.behind, src.name), k.behind...)
		c.sourceSpends = c.sourceSpends || k.spends() || k.sourceSpends
	}
	return nil
}

func (src source) circle(names []string) error {
	return refuse("%s leads back to the config itself: %s. The first token of a chain has to come from a config without a source", src.field, strings.Join(names, ", "))
}

// about returns err as an error of the source, which its text then says.
func (src source) about(err error) error {
	return &sourceError{fmt.Errorf("%s %q: %w", src.field, src.name, err)}
}

// sourceError is an error of a source. The source itself remembers when it may be tried
// again, so the error holds up nothing of the config that needs the source.
type sourceError struct{ error }

func (e *sourceError) Unwrap() error   { return e.error }
func (e *sourceError) Holds() bool     { return false }
func (e *sourceError) OfRequest() bool { return true }

type wayKey struct{}

// onTheWay returns a context that also names this config as one of those on the way to
// the current source.
func onTheWay(ctx context.Context, config string) (context.Context, []string) {
	before, _ := ctx.Value(wayKey{}).([]string)
	way := append(slices.Clone(before), config)
	return context.WithValue(ctx, wayKey{}, way), way
}

// fromSource returns the current token of a source: from memory, from storage, or minted
// now. With fresh, it returns a token that replaces the current one. If the source has
// changed since its config was resolved, it returns an error, because the token that is
// made of it is then another one.
func (b *backend) fromSource(ctx context.Context, s logical.Storage, src source, fresh bool) (*minted, error) {
	v, err := b.view(ctx, s, target{config: src.name}, inputs{})
	if err != nil {
		return nil, src.about(err)
	}
	got, v, err := b.token(ctx, s, wanted{view: v, minLeft: v.minLeft(), fresh: fresh})
	if err != nil {
		return nil, src.about(cause(err))
	}
	if v.key != src.key && src.key != "" {
		return nil, tokencache.ErrForgotten
	}
	if _, err := v.usable(got, b.now()); err != nil {
		return nil, src.about(err)
	}
	return got.Value, nil
}

// sourced returns a copy of c whose request carries the tokens of its sources, and those
// tokens. With fresh, the tokens are replaced first, unless they are very young.
func (b *backend) sourced(ctx context.Context, s logical.Storage, c *config, fresh bool) (*config, []*minted, error) {
	if len(c.sources) == 0 {
		return c, nil, nil
	}
	given := maps.Clone(c.given)
	if given == nil {
		given = map[string]string{}
	}
	var from []*minted
	for _, src := range c.sources {
		m, err := b.fromSource(ctx, s, src, fresh)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", c.target, err)
		}
		from = append(from, m)
		taken, err := c.effective.From(src.field, m.Token.AccessToken, m.Token.Extra)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", c.target, src.about(err))
		}
		maps.Copy(given, taken)
	}
	return c.with(given), from, nil
}

// runSourced runs c's grant with the tokens of its sources. If the provider refuses such
// a token, which may have ended early, the token is replaced and the grant is run once
// more.
func (b *backend) runSourced(ctx context.Context, s logical.Storage, c *config, key string) (*minted, error) {
	c, from, err := b.sourced(ctx, s, c, false)
	if err != nil {
		return nil, err
	}
	m, err := b.run(ctx, s, c, key)
	var failed *grant.Error
	if len(from) > 0 && errors.As(err, &failed) && failed.TokenRefused() {
		again, newer, unchanged := b.sourced(ctx, s, c, true)
		if unchanged == nil && !slices.EqualFunc(from, newer, sameToken) {
			c, from = again, newer
			m, err = b.run(ctx, s, c, key)
		}
	}
	if err != nil {
		b.doubt(ctx, c, err)
		return nil, err
	}
	m.capBy(from)
	return m, nil
}

func sameToken(a, b *minted) bool { return a.Token.AccessToken == b.Token.AccessToken }

// asClient returns a copy of c that can ask the provider to revoke a token. If the
// requests carry something of source_config, it is that config's current token.
func (b *backend) asClient(ctx context.Context, s logical.Storage, c *config) (*config, error) {
	out := *c
	out.sources = nil
	for _, src := range c.sources {
		if src.key = ""; src.field == "source_config" && c.revocable() {
			out.sources = append(out.sources, src)
		}
	}
	as, _, err := b.sourced(ctx, s, &out, false)
	return as, err
}

// capBy makes m expire no later than the tokens that it was made of.
func (m *minted) capBy(sources []*minted) {
	for _, from := range sources {
		if from.Token.ExpiresAt.Before(m.Token.ExpiresAt) {
			m.Token.ExpiresAt = from.Token.ExpiresAt
		}
	}
}

// link stores a note that a config has these sources, before the config itself is
// stored. A note that is left over does no harm, because its readers also look at the
// config.
func link(ctx context.Context, s logical.Storage, config string, sources []source) error {
	for _, src := range sources {
		if err := store(ctx, s, sourcePrefix+src.name+"/"+config, &linkEntry{}); err != nil {
			return err
		}
	}
	return nil
}

// unlink removes the notes of the sources that old has and entry does not have.
func (b *backend) unlink(ctx context.Context, s logical.Storage, config string, old, entry *configEntry) {
	if old == nil {
		return
	}
	var still []source
	if entry != nil {
		still = sourcesOf(entry.Fields)
	}
	for _, src := range sourcesOf(old.Fields) {
		if slices.ContainsFunc(still, func(other source) bool { return other.name == src.name }) {
			continue
		}
		if err := s.Delete(ctx, sourcePrefix+src.name+"/"+config); err != nil {
			b.log().Warn("a note that a config was the source of another could not be deleted, which does no harm", "config", src.name, "error", err)
		}
	}
}

// dependants lists the configs whose requests carry something of that config, directly
// or by way of other configs.
func (b *backend) dependants(ctx context.Context, s logical.Storage, config string) ([]string, error) {
	var out []string
	for next := []string{config}; len(next) > 0; next = next[1:] {
		noted, err := listStorage(sourcePrefix+next[0]+"/")(ctx, s)
		if err != nil {
			return nil, err
		}
		for _, name := range noted {
			if name == config || slices.Contains(out, name) {
				continue
			}
			entry, err := load[configEntry](ctx, s, configPrefix+name)
			if err != nil {
				return nil, err
			}
			if entry != nil && slices.ContainsFunc(sourcesOf(entry.Fields), func(src source) bool { return src.name == next[0] }) {
				out, next = append(out, name), append(next, name)
			}
		}
	}
	return out, nil
}

// forgetDependants forgets the tokens that were made of a config's tokens. It is called
// after the config's own tokens were forgotten.
func (b *backend) forgetDependants(ctx context.Context, s logical.Storage, config string) {
	names, err := b.dependants(ctx, s, config)
	for _, name := range names {
		key, revocable := "", true
		if c, unresolved := b.load(ctx, s, target{config: name}, inputs{}); unresolved == nil {
			revocable = c.revocable()
			key, unresolved = c.key()
			err = errors.Join(err, unresolved)
		}
		b.tokens.Forgive(name)
		b.forget(ctx, s, name, revocable, key)
	}
	if err != nil {
		b.log().Warn("whether other configs depend on one that has changed could not be read in full; their tokens of before are found by nobody", "config", config, "error", err)
	}
}
