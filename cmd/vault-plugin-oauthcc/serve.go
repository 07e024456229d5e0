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

// protocol is the version of the plugin protocol in which one process serves several
// mounts and Vault itself makes the certificates for the connection. Vault speaks it
// since 1.12, and so does OpenBao.
const protocol = 5

// streamWorkers is the number of goroutines that serve requests one after another, on
// stacks that have already grown. With a new goroutine for each request, copying the
// growing stacks took an eighth of the plugin's processor time. If there are more
// requests at a time, the others get goroutines of their own.
const streamWorkers = 64

// serve serves the engine until Vault ends the process. It does what the SDK's
// ServeMultiplex does, except that it leaves out the older versions of the protocol and
// uses the workers.
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

// endWithParent ends the process when its Vault is gone. Otherwise the plugin would keep
// running after its Vault was killed.
func endWithParent(parent int, logger hclog.Logger) {
	for range time.Tick(time.Second) {
		if os.Getppid() != parent {
			logger.Warn("Vault is gone, so the plugin ends")
			os.Exit(0)
		}
	}
}
