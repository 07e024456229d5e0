// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

// Command vault-plugin-oauthcc is the oauthcc secrets engine as a Vault plugin.
// Vault starts it; by hand it only tells its version.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/sdk/plugin"

	"github.com/oauthcc/vault-plugin-oauthcc/backend"
)

// Set by the linker.
var (
	version = "v0.0.0-dev"
	commit  = "unknown"
	date    = "unknown"
)

func main() {
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: os.Stderr, JSONFormat: true})
	if err := run(os.Args[1:], logger); err != nil {
		logger.Error("the plugin ends", "error", err)
		os.Exit(1)
	}
}

func run(args []string, logger hclog.Logger) error {
	meta := &api.PluginAPIClientMeta{}
	flags := meta.FlagSet()
	flags.Usage = func() {
		fmt.Fprintln(os.Stderr, "vault-plugin-oauthcc is started by Vault: register and enable it there. By hand:\n  -version   tell which build this is")
	}
	showVersion := flags.Bool("version", false, "tell which build this is")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("reading the arguments: %w", err)
	}
	if *showVersion {
		fmt.Printf("vault-plugin-oauthcc %s (commit %s, built %s)\n", version, commit, date)
		return nil
	}
	go endWithParent(os.Getppid(), logger)
	if err := plugin.ServeMultiplex(&plugin.ServeOpts{
		BackendFactoryFunc: backend.Factory(backend.Options{
			Build: backend.Build{Version: version, Commit: commit, Date: date},
		}),
		TLSProviderFunc: api.VaultPluginTLSProvider(meta.GetTLSConfig()),
		Logger:          logger,
	}); err != nil {
		return fmt.Errorf("serving: %w", err)
	}
	return nil
}

// endWithParent ends the process when its Vault is gone: one that was killed
// leaves its plugins running otherwise.
func endWithParent(parent int, logger hclog.Logger) {
	for range time.Tick(time.Second) {
		if os.Getppid() != parent {
			logger.Warn("Vault is gone, so the plugin ends")
			os.Exit(0)
		}
	}
}
