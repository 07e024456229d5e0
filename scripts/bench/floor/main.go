// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

// Command floor is the smallest possible external secrets engine: its paths
// answer with a constant, with or without a lease. The number of answers per
// second is what Vault and the plugin protocol leave to any engine, so the
// benchmarks divide by it.
//
// "mint" requests a token by client credentials with HTTP Basic and gives the
// result a lease. The last write to "mint" names the token endpoint.
//
// "…-value" answers with one short member. "…-token" answers with the members
// of a token, because a larger answer costs Vault time whichever engine returns
// it. The paths are as long as the engine's paths that they are compared with:
// Vault looks for a rate limit quota once for each letter of a request's path
// below the mount.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/sdk/framework" //nolint:depguard // it is a plugin
	"github.com/hashicorp/vault/sdk/logical"   //nolint:depguard // it is a plugin
	"github.com/hashicorp/vault/sdk/plugin"    //nolint:depguard // it is a plugin
)

// leaseTTL is longer than a run, because a lease that expires during a run
// costs Vault work.
const leaseTTL = 10 * time.Hour

func main() {
	meta := &api.PluginAPIClientMeta{}
	if err := meta.FlagSet().Parse(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(2)
	}
	go endWithParent(os.Getppid())
	if err := plugin.ServeMultiplex(&plugin.ServeOpts{
		BackendFactoryFunc: factory,
		TLSProviderFunc:    api.VaultPluginTLSProvider(meta.GetTLSConfig()),
	}); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

// factory makes the backend. Its paths use Callbacks, because Operations would
// ask Vault for its replication state on every request.
func factory(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
	secret := &framework.Secret{
		Type: "constant",
		Revoke: func(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
			return nil, nil
		},
	}
	constant := func(leased bool, data map[string]any) map[logical.Operation]framework.OperationFunc {
		return map[logical.Operation]framework.OperationFunc{
			logical.ReadOperation: func(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
				if !leased {
					return &logical.Response{Data: data}, nil
				}
				resp := secret.Response(data, nil)
				resp.Secret.TTL, resp.Secret.MaxTTL = leaseTTL, leaseTTL
				return resp, nil
			},
		}
	}
	value := map[string]any{"value": "constant"}
	token := map[string]any{
		"access_token": strings.Repeat("constant", 6), "token_type": "Bearer",
		"expires_at": "2030-01-01T00:00:00Z", "expires_in": 36_000, "scope": "item event",
	}
	b := &framework.Backend{
		BackendType: logical.TypeLogical,
		Secrets:     []*framework.Secret{secret},
		Paths: []*framework.Path{
			{Pattern: "lease-value", Callbacks: constant(true, value)},
			{Pattern: "plain-value", Callbacks: constant(false, value)},
			{Pattern: "lease-token", Callbacks: constant(true, token)},
			{Pattern: "plain-token", Callbacks: constant(false, token)},
			mintPath(secret),
		},
	}
	if err := b.Setup(ctx, conf); err != nil {
		return nil, fmt.Errorf("setting up the backend: %w", err)
	}
	return b, nil
}

// endWithParent ends the process when its parent, Vault, is gone. A Vault that
// was killed would otherwise leave its plugins running.
func endWithParent(parent int) {
	for range time.Tick(time.Second) {
		if os.Getppid() != parent {
			os.Exit(0)
		}
	}
}
