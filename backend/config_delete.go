// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
)

// deleteConfig first revokes the config's tokens, while there is still a client to
// ask as. It deletes the config last, so that a deletion that fails can be repeated.
func (b *backend) deleteConfig(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := targetOf(d).config
	leave, err := b.writers.enter(ctx, configPrefix+name)
	if err != nil {
		return nil, err
	}
	defer leave()
	roles, err := listStorage(rolePrefix+name+"/")(ctx, req.Storage)
	if err != nil {
		return nil, err
	}
	if force, _ := d.Raw["force"].(bool); len(roles) > 0 && !force {
		return nil, refuse("config %q has the roles %s: delete them first, or delete with ?force=true", name, strings.Join(roles, ", "))
	}
	dependants, err := b.dependants(ctx, req.Storage, name)
	if err != nil {
		return nil, err
	}
	if len(dependants) > 0 {
		return nil, refuse("config %q is the source of the configs %s: first delete them, or name another source in them", name, provider.Listed(dependants))
	}
	old, err := load[configEntry](ctx, req.Storage, configPrefix+name)
	if err != nil && !unreadable(err) {
		return nil, err
	}
	// Also when it fails half way: what is left is read from storage again.
	defer b.tokens.Forget(name, "")

	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), purgeTime)
	defer cancel()
	first := b.farewell(ctx, req.Storage, name)
	if err := first.all(asking); err != nil {
		return nil, err
	}
	keys := []string{configPrefix + name}
	for _, role := range roles {
		keys = append([]string{rolePrefix + name + "/" + role}, keys...)
	}
	for _, key := range keys {
		if err := b.erase(ctx, req.Storage, key); err != nil {
			return nil, err
		}
	}
	b.observer.deleted(name)
	if err := req.Storage.Delete(ctx, budgetPrefix+name); err != nil {
		b.log().Warn("the noted mints of a deleted config could not be deleted", "config", name, "error", err)
	}
	b.unlink(ctx, req.Storage, name, old, nil)
	// Only now, since a config that stays needs them; tidy removes what is left.
	if err := clearChains(ctx, req.Storage, name); err != nil {
		b.log().Warn("the refresh tokens of a deleted config could not be deleted", "config", name, "error", err)
	}
	last := first.again() // for tokens that were minted meanwhile
	if err := errors.Join(last.all(asking), last.clear(ctx)); err != nil {
		b.log().Warn("some tokens of a deleted config were not found, and live on until they expire", "config", name, "error", err)
	}
	return last.parted(), nil
}

// farewell is the purge of a config that is about to be deleted. The config may be
// unreadable.
func (b *backend) farewell(ctx context.Context, s logical.Storage, name string) *purge {
	c, err := b.revoker(ctx, s, name, nil)
	return &purge{b: b, storage: s, config: name, as: c, broken: err, seen: map[string]bool{}}
}

// all revokes everything that the config holds.
func (p *purge) all(ctx context.Context) error {
	err := p.collect(context.WithoutCancel(ctx), p.b.tokens.Forget(p.config, ""), "")
	return errors.Join(err, p.sweep(ctx, "", true))
}

// again returns the same purge, from the start.
func (p *purge) again() *purge {
	out := &purge{b: p.b, storage: p.storage, config: p.config, as: p.as, broken: p.broken, seen: p.seen}
	if !p.revocable() { // then no ledger holds what was counted
		out.tokens, out.lost, out.until, out.final = p.tokens, p.lost, p.until, p.final
	}
	return out
}

// clear removes the ledgers if there is no client left to ask as. Tokens that no
// reader got are being revoked as the client that memory holds.
func (p *purge) clear(ctx context.Context) error {
	if err := logical.ClearView(ctx, logical.NewStorageView(p.storage, ledgerPrefix+p.config+"/")); err != nil {
		return fmt.Errorf("deleting %s%s/ from storage: %w", ledgerPrefix, p.config, err)
	}
	p.b.ledger.removeGiven(p.config)
	return nil
}

// parted returns a warning about the tokens that live on without their config.
func (p *purge) parted() *logical.Response {
	if p.left+p.lost == 0 {
		return nil
	}
	text := fmt.Sprintf("%d of the config's tokens were not revoked at the provider, and may live on there until %s: %s",
		p.left+p.lost, p.end(), cmp.Or(p.failed, p.final))
	p.b.log().Warn("a config was deleted whose tokens live on", "config", p.config, "tokens", p.left+p.lost, "until", p.end())
	return &logical.Response{Warnings: []string{text}}
}
