// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"os"
	"path/filepath"
	"testing"
)

// StartAgent starts `vault agent` with this configuration (HCL). It is told the
// server's address and CA by its environment, so a vault stanza is needed only
// to say more; it has no token but what its auto_auth gets. It runs in a
// directory of its own, which relative paths refer to, and its log, at level
// debug, is [Process.Log].
func StartAgent(tb testing.TB, v *Vault, configHCL string) *Process {
	tb.Helper()
	return startClient(tb, v, "agent", configHCL)
}

// StartProxy starts `vault proxy`, with everything else as in [StartAgent].
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
