// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"os"
	"path/filepath"
	"testing"
)

// StartAgent starts `vault agent` with this configuration (HCL). The agent gets
// the server's address and CA from its environment, so the configuration needs
// a vault stanza only for other settings. It has no token except what its
// auto_auth gets. It runs in its own directory, which relative paths refer to.
// Its log, at level debug, is [Process.Log].
func StartAgent(tb testing.TB, v *Vault, configHCL string) *Process {
	tb.Helper()
	return startClient(tb, v, "agent", configHCL)
}

// StartProxy starts `vault proxy`, in the same way as [StartAgent].
func StartProxy(tb testing.TB, v *Vault, configHCL string) *Process {
	tb.Helper()
	return startClient(tb, v, "proxy", configHCL)
}

func startClient(tb testing.TB, v *Vault, kind, configHCL string) *Process {
	tb.Helper()
	dir := tempDir(tb)
	config := filepath.Join(dir, kind+".hcl")
	if err := os.WriteFile(config, []byte(configHCL), 0o600); err != nil {
		tb.Fatal(err)
	}
	env := append(baseEnv(dir), "VAULT_ADDR="+v.Addr())
	if ca := v.CACert(); ca != "" {
		env = append(env, "VAULT_CACERT="+ca)
	}
	p := startProcess(tb, command{
		name: kind, path: v.s.bin, dir: dir, env: env, log: filepath.Join(dir, kind+".log"),
		args: []string{kind, "-config=" + config, "-log-level=debug"},
	})
	tb.Cleanup(func() {
		p.finish()
		keepLog(tb, p.name, p.logPath)
	})
	return p
}
