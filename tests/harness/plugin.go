// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/vault/api"
)

// RegisterPlugin copies a secrets engine's executable into the plugin directory
// and registers it in the catalog by its SHA-256, as an operator does. Each
// version gets its own file, so that an upgrade does not disturb the running
// version.
func (v *Vault) RegisterPlugin(name, path, version string) {
	v.tb.Helper()
	executable, err := os.ReadFile(path)
	if err != nil {
		v.tb.Fatalf("register plugin %s: %v", name, err)
	}
	command := name
	if version != "" {
		command += "-" + version
	}
	// Write a new file and rename it, because a running executable cannot be
	// written to.
	file := filepath.Join(v.s.pluginDir, command)
	if err := os.WriteFile(file+".new", executable, 0o700); err != nil {
		v.tb.Fatalf("register plugin %s: %v", name, err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		v.tb.Fatalf("register plugin %s: %v", name, err)
	}
	sum := sha256.Sum256(executable)
	err = v.Client().Sys().RegisterPluginWithContext(v.tb.Context(), &api.RegisterPluginInput{
		Name: name, Type: api.PluginTypeSecrets, Command: command, SHA256: hex.EncodeToString(sum[:]), Version: version,
	})
	if err != nil {
		v.tb.Fatalf("register plugin %s: %v", name, err)
	}
}

// Mount enables a secrets engine at a path.
func (v *Vault) Mount(path, plugin string) {
	v.tb.Helper()
	if err := v.Client().Sys().MountWithContext(v.tb.Context(), path, &api.MountInput{Type: plugin}); err != nil {
		v.tb.Fatalf("enable %s at %s/: %v", plugin, path, err)
	}
}

// Tune changes a mount's settings, such as its max_lease_ttl.
func (v *Vault) Tune(path string, config api.TuneMountConfigInput) {
	v.tb.Helper()
	if err := v.Client().Sys().TuneMountAllowNilWithContext(v.tb.Context(), path, config); err != nil {
		v.tb.Fatalf("tune %s/: %v", path, err)
	}
}

// Unmount disables the secrets engine at a path, which revokes its leases.
func (v *Vault) Unmount(path string) {
	v.tb.Helper()
	if err := v.Client().Sys().UnmountWithContext(v.tb.Context(), path); err != nil {
		v.tb.Fatalf("disable %s/: %v", path, err)
	}
}

// ReloadPlugin reloads every mount of the plugin, as an operator does after
// replacing its executable.
func (v *Vault) ReloadPlugin() {
	v.tb.Helper()
	_, err := v.Client().Sys().ReloadPluginWithContext(v.tb.Context(), &api.ReloadPluginInput{Plugin: PluginName})
	if err != nil {
		v.tb.Fatalf("reload the plugin: %v", err)
	}
}

// PluginPIDs returns the IDs of the plugin processes that this server is
// running now. After a start there are none until a mount is used. Linux only.
func (v *Vault) PluginPIDs() []int {
	v.tb.Helper()
	pids, err := childrenRunning(v.s.proc.PID(), v.s.pluginDir)
	if err != nil {
		v.tb.Fatalf("find the plugin's processes: %v", err)
	}
	return pids
}

// KillPlugin ends the server's plugin processes as kill -9 does, and returns
// when they are gone. It fails if there are none.
func (v *Vault) KillPlugin() {
	v.tb.Helper()
	pids := v.PluginPIDs()
	if len(pids) == 0 {
		v.tb.Fatal("kill the plugin: none is running")
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			v.tb.Fatalf("kill the plugin: %v", err)
		}
	}
	Eventually(v.tb, time.Minute, func() error {
		left, err := childrenRunning(v.s.proc.PID(), v.s.pluginDir)
		if err != nil {
			return err
		}
		for _, pid := range left {
			for _, killed := range pids {
				if pid == killed {
					return fmt.Errorf("plugin process %d is still there", pid)
				}
			}
		}
		return nil
	})
}
