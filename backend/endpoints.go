// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"fmt"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
)

// endpoints decides where c's requests go, and so the origin that its credentials
// and tokens are for. It is the only step between resolve, which combines a config's
// layers, and the requests that are made of the result.
//
// Endpoints that no field names come from the metadata that the operator confirmed
// by writing the config. Newer metadata counts if it leads to the same origin. If it
// leads elsewhere, or to a place where none of the config's credentials may go, the
// credentials are held.
//
// A config is also resolved in a writer's turn, in which no server is asked: what
// must be fetched is fetched before the turn, and only looked up here.
func (b *backend) endpoints(c *config, resolve func(*provider.Discovered) (*provider.Effective, error)) error {
	var err error
	if c.effective, err = resolve(c.entry.Discovered); err != nil {
		return err
	}
	if c.origin, err = c.effective.Origin(); err != nil {
		return err
	}
	latest, _ := b.latest(c.effective) // status tells why there is no later one
	if latest == nil || latest.Same(c.effective.Discovered()) {
		return nil
	}
	newer, err := resolve(latest)
	if err != nil {
		c.held = fmt.Errorf("the credentials are held: %w", err)
		return nil
	}
	origin, err := newer.Origin()
	if err != nil {
		return err
	}
	if origin != c.origin {
		c.held = refuse("the credentials are held: %s", newer.Moved(c.effective))
		return nil
	}
	c.effective = newer
	return nil
}
