// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

// Command vault-plugin-oauthcc is the oauthcc secrets engine as a Vault plugin. Vault
// starts it. If a person starts it, it only prints its version.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/hashicorp/go-hclog"

	"github.com/oauthcc/vault-plugin-oauthcc/backend"
)

// Set by the linker.
var (
	version = "v0.0.0-dev"
	commit  = "unknown"
	date    = "unknown"
)

func main() {
	logger := hclog.New(&hclog.LoggerOptions{Level: logLevel(os.Getenv), Output: os.Stderr, JSONFormat: true})
	if err := run(os.Args[1:], logger); err != nil {
		logger.Error("the plugin ends", "error", err)
		os.Exit(1)
	}
}

// logLevel returns the level from which lines are logged: the level of Vault or OpenBao
// if the environment states it, and info otherwise. Vault drops lines below its own
// level, but only after they were sent to its process, and at the level debug there is
// a line for each mint.
func logLevel(env func(string) string) hclog.Level {
	for _, name := range []string{"BAO_LOG_LEVEL", "VAULT_LOG_LEVEL"} {
		if level := hclog.LevelFromString(env(name)); level != hclog.NoLevel {
			return level
		}
	}
	return hclog.Info
}

func run(args []string, logger hclog.Logger) error {
	flags := flag.NewFlagSet("vault-plugin-oauthcc", flag.ContinueOnError)
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
	if os.Getenv("GOGC") == "" { // whoever sets it knows better
		spareCollector()
	}
	return serve(backend.Factory(backend.Options{
		Build: backend.Build{Version: version, Commit: commit, Date: date},
	}), logger)
}
