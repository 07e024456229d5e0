// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

// Package harness runs real Vault servers, agents and proxies, and servers that
// work with them, for tests that are meaningful only across the plugin boundary.
//
//	v := harness.Start(t, harness.Options{})
//	v.MustCLI("write", "oauthcc/config/acme", "client_id=…")
//	status, body := v.Status("GET", "oauthcc/token/acme", nil, v.RootToken())
//
// Everything listens on loopback. Everything is kept in the test's temporary
// directory, which includes a home directory. The test's cleanup stops each
// process by its ID. If a test fails, the servers' logs are kept in
// .cache/test-logs. No test is skipped: a missing binary is a failure that says
// what to do.
//
// A [Vault] reports to the test that it was made for; in a subtest, use
// [Vault.For]. Unless its comment says otherwise, a method that fails ends the
// test, and must therefore be called from the test's own goroutine.
// [Vault.Status], [Vault.CLI], [Vault.Log] and the clients may be used from any
// goroutine.
package harness

import (
	"os"
	"path/filepath"
	"testing"
)

// PluginName is the name under which the plugin is registered, and its file
// name.
const PluginName = "vault-plugin-oauthcc"

// DefaultMount is where the plugin is mounted unless [Options] say otherwise.
const DefaultMount = "oauthcc"

// Storage is the kind of storage that a server uses.
type Storage int

const (
	// InMem is the fastest. It loses all data when the server ends.
	InMem Storage = iota
	// Raft is what production uses, and survives a restart. (File storage is
	// not in Vault's minimal build, and would show nothing more than Raft.)
	Raft
)

// Options state what kind of server to start. The zero value is a server with
// in-memory storage, without TLS, with the plugin at oauthcc/.
type Options struct {
	Storage Storage
	// TLS makes the listener use TLS, with a certificate that this harness's
	// clients and CLI trust.
	TLS bool
	// NoPlugin leaves the plugin out: it is neither registered nor mounted.
	NoPlugin bool
	// Plugins are registered in addition. The test must mount them itself.
	Plugins []Plugin
	// MountPath is where the plugin is mounted; empty means [DefaultMount].
	MountPath string
	// LogLevel is the server's log level. Empty means "trace", because secrets
	// must not appear even at that level.
	LogLevel string
	// Config is added to the server's configuration file (HCL).
	Config string
	// Listener is added to the listener stanza of that file (HCL).
	Listener string
	// Env is added to the server's environment ("NAME=value"). Without it, the
	// environment is just PATH, HOME and TMPDIR.
	Env []string
}

// Plugin is a secrets engine to register.
type Plugin struct {
	// Name is the plugin's name in the catalog.
	Name string
	// Path is the path of its executable, which is copied into the plugin
	// directory.
	Path string
	// Version is a semantic version with a leading v, or empty.
	Version string
}

// Start starts a server, initialises and unseals it, enables an audit log, and
// registers and mounts the plugin. That takes half a second with in-memory
// storage, and three seconds with raft storage.
func Start(tb testing.TB, opts Options) *Vault {
	tb.Helper()
	opts = opts.withDefaults()
	dir := tempDir(tb)
	s := newServer(tb, opts, dir, "vault", filepath.Join(dir, "plugins"))
	v := &Vault{tb: tb, s: s}
	v.prepare()
	v.launch()
	v.initialize()
	v.Unseal()
	v.waitActive()
	v.equip(opts)
	return v
}

func (o Options) withDefaults() Options {
	if o.MountPath == "" {
		o.MountPath = DefaultMount
	}
	if o.LogLevel == "" {
		o.LogLevel = "trace"
	}
	return o
}

// equip sets up the server as an operator sets up a new Vault.
func (v *Vault) equip(opts Options) {
	v.tb.Helper()
	v.enableAudit()
	for _, p := range opts.Plugins {
		v.RegisterPlugin(p.Name, p.Path, p.Version)
	}
	if opts.NoPlugin {
		return
	}
	v.RegisterPlugin(PluginName, PluginBinary(v.tb), "")
	v.Mount(opts.MountPath, PluginName)
}

// tempDir returns the test's temporary directory without symbolic links. Vault
// refuses a plugin whose path has one, as temporary directories on macOS do.
func tempDir(tb testing.TB) string {
	tb.Helper()
	dir, err := filepath.EvalSymlinks(tb.TempDir())
	if err != nil {
		tb.Fatalf("resolve the temporary directory: %v", err)
	}
	return dir
}

// WriteFile writes content to a new file that only its owner can read, and
// returns the file's path.
func WriteFile(tb testing.TB, content string) string {
	tb.Helper()
	path := filepath.Join(tempDir(tb), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}
