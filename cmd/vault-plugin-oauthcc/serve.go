// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"math"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/vault/sdk/helper/pluginutil"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin"
	"google.golang.org/grpc"
)

// protocol is the version of the plugin protocol in which one process serves
// several mounts, and Vault itself makes the certificates between the two:
// Vault 1.12 and later, and OpenBao.
const protocol = 5

// streamWorkers serve requests on stacks that have grown already. A goroutine
// of its own for each request copies its stack several times as it grows, which
// was an eighth of the plugin's processor time. More requests than this at a
// time have goroutines of their own.
const streamWorkers = 64

// serve serves the engine until Vault ends the process. It is the SDK's
// ServeMultiplex, but for the protocol's older versions and with the workers.
func serve(factory logical.Factory, logger hclog.Logger) error {
	if err := pluginutil.OptionallyEnableMlock(); err != nil {
		return fmt.Errorf("locking memory: %w", err)
	}
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig,
		VersionedPlugins: map[int]goplugin.PluginSet{protocol: {
			plugin.BackendPluginName: &plugin.GRPCBackendPlugin{Factory: factory, MultiplexingSupport: true, Logger: logger},
		}},
		Logger: logger,
		GRPCServer: func(options []grpc.ServerOption) *grpc.Server {
			return goplugin.DefaultGRPCServer(append(options,
				grpc.MaxRecvMsgSize(math.MaxInt32), grpc.MaxSendMsgSize(math.MaxInt32), grpc.NumStreamWorkers(streamWorkers)))
		},
	})
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
