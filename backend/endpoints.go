// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"

	"github.com/hashicorp/vault/sdk/logical"
)

// endpoints settles where c's requests go, and with that the origin that its
// credentials and tokens are for. It is the one step between what a config's
// layers come to and the requests that are made of it: whatever is to learn of
// an endpoint in another way than from a field does it here, before the origin
// is taken. Today every endpoint is a field of the dialect.
//
// A config is resolved in a writer's turn as well, where no server is asked:
// what has to be fetched is fetched before the turn, and only looked up here.
func (b *backend) endpoints(_ context.Context, _ logical.Storage, c *config) error {
	origin, err := c.effective.Origin()
	c.origin = origin
	return err
}
