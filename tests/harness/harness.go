// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

// Package harness runs real Vault servers, agents and proxies for the tests
// that only mean something across the plugin boundary.
//
//	v := harness.Start(t, harness.Options{})
//	v.MustCLI("write", "oauthcc/config/acme", "client_id=…")
//	status, body := v.Status("GET", "oauthcc/token/acme", nil, v.RootToken())
//
// Everything listens on loopback, lives in the test's temporary directory with
// a home directory of its own, and is stopped by the test's cleanup, by process
// ID. A test that fails leaves the servers' logs in .cache/test-logs. Nothing is
// ever skipped: a missing binary is a failure that says what to do.
//
// A [Vault] reports to the test that it was made for; in a subtest, use
// [Vault.For]. Unless it says otherwise, a method that cannot do what it is for
// ends the test, and must then be called from the test's own goroutine;
// [Vault.Status], [Vault.CLI], [Vault.Log] and the clients may be used from any.
package harness

import (
	"os"
	"path/filepath"
	"testing"
)

// PluginName is the name that the plugin is registered by, and its file name.
const PluginName = "vault-plugin-oauthcc"

// DefaultMount is where the plugin is mounted unless [Options] say otherwise.
const DefaultMount = "oauthcc"

// Storage is what a server keeps its data in.
type Storage int

const (
	// InMem is fastest and forgets everything when the server ends.
	InMem Storage = iota
	// Raft is what production uses, and survives a restart. (File storage is
	// not in Vault's minimal build, and would show nothing that Raft does not.)
	Raft
)

// Options say what kind of server to start. The zero value is a server in
// memory, without TLS, with the plugin at oauthcc/.
type Options struct {
	Storage Storage
	// TLS makes the listener speak TLS, with a certificate that the clients
	// and the CLI of this harness trust.
	TLS bool
	// NoPlugin leaves the plugin out: nothing is registered or mounted.
	NoPlugin bool
	// Plugins are registered besides; mounting them is up to the test.
	Plugins []Plugin
	// MountPath is where the plugin goes instead of [DefaultMount].
	MountPath string
	// LogLevel is "trace" when empty, because that is the level at which
	// nothing secret may show up either.
	LogLevel string
	// Config is added to the server's configuration file (HCL).
	Config string
	// Listener is added to the listener stanza of that file (HCL).
	Listener string
	// Env is added to the server's environment ("NAME=value"), which is
	// otherwise nothing but PATH, HOME and TMPDIR.
	Env []string
}

// Plugin is a secrets engine to register.
type Plugin struct {
	// Name is what the catalog calls it.
	Name string
	// Path is its executable, which is copied into the plugin directory.
	Path string
	// Version is a semantic version with a leading v, or empty.
	Version string
}

// Start starts a server, initialises and unseals it, turns on an audit log,
// and registers and mounts the plugin. That takes half a second in memory, and
// three with raft storage.
func Start(tb testing.TB, opts Options) *Vault {
	tb.Helper()
	opts = opts.withDefaults()
	dir := tempDir(tb)
	s := newServer(tb, opts, dir, "vault", filepath.Join(dir, "plugins"))
	v := &Vault{tb: tb, s: s}
	v.prepare()
	v.launchFirst("")
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

// equip does what an operator does once with a new Vault.
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

// tempDir is the test's own, without symbolic links: Vault refuses a plugin
// whose path has one (on macOS every temporary directory's does).
func tempDir(tb testing.TB) string {
	tb.Helper()
	dir, err := filepath.EvalSymlinks(tb.TempDir())
	if err != nil {
		tb.Fatalf("resolve the temporary directory: %v", err)
	}
	return dir
}

// WriteFile writes content into a new file that only its owner can read, and
// returns its path.
func WriteFile(tb testing.TB, content string) string {
	tb.Helper()
	path := filepath.Join(tempDir(tb), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}
