// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"fmt"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

// bind sets the key that c's tokens are bound to. Each role has its own key, and
// so has each caller if tokens depend on the caller. With a refresh token, which a
// provider may bind too, there is one key for the whole config.
func (c *config) bind() error {
	if len(c.entry.Seed) == 0 {
		return refuse("dpop needs a key, and config %q was written by a version of the engine that made none: write any of its fields again", c.config)
	}
	of := []string{c.role, ""}
	switch {
	case c.spends():
		of = nil
	case c.perCaller():
		of[1] = c.caller
	}
	key, err := signing.Derive(c.entry.Seed, fmt.Sprintf("DPoP %q", of))
	if err != nil {
		return fmt.Errorf("making the DPoP key of %s: %w", c.target, err)
	}
	c.effective, c.proofKey = c.effective.Bound(key), key
	return nil
}

// proofs holds what readers of a token sign their calls with.
type proofs struct {
	key    signing.Key
	scope  provider.ProofScope
	shared bool // whether the config's other roles use the same key
}

// proofs returns what c's readers sign with. It returns nil if tokens are not bound
// to a key.
func (c *config) proofs() (*proofs, error) {
	if !c.effective.Dialect.DPoP {
		return nil, nil
	}
	scope, err := c.effective.ProofScope()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.target, err)
	}
	return &proofs{key: c.proofKey, scope: scope, shared: c.spends()}, nil
}

// errUnbound is the error for a provider that ignores DPoP. A client that wants
// bound tokens must discard such a token (RFC 9449 section 5).
func errUnbound() error {
	return &grant.Error{Kind: grant.Misconfigured, Detail: "the provider issued a token of another type than DPoP, which is bound to no key, and so is not handed out; " +
		"have the provider require DPoP of this client, or write dpop=false (default_token_type=DPoP, if its answers just do not say the type)"}
}
