// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
)

// readyTimeout is how long a server may take to answer, to unseal or to become
// active. It is generous, because test machines are small and busy.
const readyTimeout = 90 * time.Second

// raftTiming makes a failover take seconds, where the defaults take ten and
// more. With even shorter times, a busy two-core machine loses its leaders.
// Autopilot decides who may vote every second instead of every ten seconds.
const raftTiming = `  performance_multiplier = 2
  autopilot_reconcile_interval = "1s"
  autopilot_update_interval = "1s"
`

// Vault is a running server and the test that it reports to.
type Vault struct {
	tb testing.TB
	s  *server
}

// server is the part that all views of one Vault share.
type server struct {
	owner     testing.TB // its cleanup ends the server; never a subtest
	name      string     // name in logs: "vault", "node1"
	bin       string
	opts      Options
	dir       string
	home      string
	pluginDir string
	auditPath string
	logPath   string
	peers     string // raft configuration for joining a cluster

	addr, clusterAddr string // host:port
	tls               *certificate
	transport         *http.Transport

	proc      *Process   // the running process, or the last one
	former    []*Process // before restarts; their plugins may still run
	unsealKey string
	rootToken string
}

func newServer(tb testing.TB, opts Options, dir, name, pluginDir string) *server {
	tb.Helper()
	if !opts.NoPlugin {
		PluginBinary(tb) // fails early, before anything is started
	}
	return &server{
		owner: tb, name: name, bin: VaultBinary(tb), opts: opts, dir: dir, pluginDir: pluginDir,
		home:      filepath.Join(dir, "home"),
		auditPath: filepath.Join(dir, "audit.log"),
		logPath:   filepath.Join(dir, "server.log"),
		addr:      FreeAddr(tb), clusterAddr: FreeAddr(tb),
	}
}

// For returns a view of the same server that reports to another test. Subtests
// need it, because a subtest must not end its parent test.
func (v *Vault) For(tb testing.TB) *Vault { return &Vault{tb: tb, s: v.s} }

// Addr returns the server's URL, without a trailing slash.
func (v *Vault) Addr() string { return v.s.url() }

// RootToken returns the root token.
func (v *Vault) RootToken() string { return v.s.rootToken }

// CACert returns the path of the CA certificate to trust, or "" without TLS.
func (v *Vault) CACert() string {
	if v.s.tls == nil {
		return ""
	}
	return v.s.tls.caPath
}

// Name returns the server's name in logs: "vault", or "node1" in a cluster.
func (v *Vault) Name() string { return v.s.name }

// PluginDir returns the directory that the server loads plugins from.
func (v *Vault) PluginDir() string { return v.s.pluginDir }

// PID returns the server's process ID.
func (v *Vault) PID() int { return v.s.proc.PID() }

// Log returns the server's log so far, over all its restarts.
func (v *Vault) Log() string { return readLog(v.s.logPath) }

// AuditLog returns the audit log so far, one JSON object per line.
func (v *Vault) AuditLog() string { return readLog(v.s.auditPath) }

// Seal seals the server.
func (v *Vault) Seal() {
	v.tb.Helper()
	if err := v.Client().Sys().SealWithContext(v.tb.Context()); err != nil {
		v.tb.Fatalf("seal %s: %v", v.s.name, err)
	}
}

// Unseal unseals the server and waits until it is unsealed. In a cluster this
// also completes a join that has begun; becoming active may take longer.
func (v *Vault) Unseal() {
	v.tb.Helper()
	sys := v.Client().Sys()
	// A node refuses the key as long as it has not heard from the leader. After
	// a node has accepted the key, it must not get it again. A join goes on in
	// the background, and a Vault that was unsealed twice has two standby
	// loops, only one of which step-down reaches.
	Eventually(v.tb, readyTimeout, func() error {
		_, err := sys.UnsealWithContext(v.tb.Context(), v.s.unsealKey)
		if err != nil {
			return fmt.Errorf("unseal %s: %w", v.s.name, err)
		}
		return nil
	})
	Eventually(v.tb, readyTimeout, func() error {
		status, err := sys.SealStatusWithContext(v.tb.Context())
		if err != nil {
			return fmt.Errorf("unseal %s: %w", v.s.name, err)
		}
		if status.Sealed {
			return fmt.Errorf("%s took the key and is still sealed", v.s.name)
		}
		return nil
	})
}

// Stop ends the server as a service manager does: it sends SIGTERM and waits.
func (v *Vault) Stop() { v.s.proc.Stop() }

// Kill9 ends the server as a power cut would. Its plugins are left behind, as
// in reality, and must notice by themselves. Restart starts the server again.
func (v *Vault) Kill9() { v.s.proc.Kill() }

// Restart stops the server if it is still running, starts it again at the same
// address, and unseals it. On return, a single server is active; a server of a
// cluster may be a standby. Restart refuses in-memory storage, which would be
// lost.
func (v *Vault) Restart() {
	v.tb.Helper()
	if v.s.opts.Storage == InMem {
		v.tb.Fatal("Restart would lose in-memory storage: use Raft")
	}
	if v.s.proc.Running() {
		v.s.proc.Stop()
	}
	v.s.transport.CloseIdleConnections()
	v.launch()
	v.Unseal()
	if v.s.peers == "" {
		v.waitActive()
	}
}

// prepare makes the directories and, with TLS, the certificate. It also
// registers the cleanup that ends the server.
func (v *Vault) prepare() {
	v.tb.Helper()
	for _, dir := range []string{v.s.dir, v.s.home, v.s.pluginDir, filepath.Join(v.s.dir, "data")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			v.tb.Fatal(err)
		}
	}
	v.s.transport = &http.Transport{MaxIdleConnsPerHost: 64}
	if v.s.opts.TLS {
		v.s.tls = newCertificate(v.tb, v.s.dir)
		v.s.transport.TLSClientConfig = v.s.tls.clientConfig()
	}
	v.s.owner.Cleanup(v.s.finish)
}

func (s *server) finish() {
	s.transport.CloseIdleConnections()
	if s.proc == nil {
		return
	}
	for _, p := range append(s.former, s.proc) {
		p.finish()
	}
	keepLog(s.owner, s.name, s.logPath)
}

// launch starts the process, and waits until the server answers requests at all.
func (v *Vault) launch() {
	v.tb.Helper()
	config := filepath.Join(v.s.dir, "vault.hcl")
	if err := os.WriteFile(config, []byte(v.s.config(v.tb)), 0o600); err != nil {
		v.tb.Fatal(err)
	}
	if v.s.proc != nil {
		v.s.former = append(v.s.former, v.s.proc)
	}
	v.s.proc = startProcess(v.s.owner, command{
		name: v.s.name, path: v.s.bin, dir: v.s.dir, log: v.s.logPath,
		args: []string{"server", "-config=" + config},
		env:  append(append(baseEnv(v.s.home), "VAULT_LOG_LEVEL="+v.s.opts.LogLevel), v.s.opts.Env...), // for plugins as well
	})
	err := poll(v.tb.Context(), readyTimeout, func() error {
		if !v.s.proc.Running() {
			return stop(fmt.Errorf("it ended by itself (exit code %d)", v.s.proc.ExitCode()))
		}
		status, body := v.Status(http.MethodGet, "sys/health", nil, "")
		if status == 0 {
			return fmt.Errorf("no answer yet: %s", body)
		}
		return nil
	})
	if err != nil {
		v.tb.Fatalf("start %s: %v", v.s.name, err)
	}
}

// config returns the server's configuration file.
func (s *server) config(tb testing.TB) string {
	tb.Helper()
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("disable_mlock = true")
	line("plugin_directory = %q", s.pluginDir)
	line("api_addr = %q", s.url())
	line("cluster_addr = %q", "https://"+s.clusterAddr)
	line("log_level = %q", s.opts.LogLevel)
	if bao, err := isOpenBao(); err != nil {
		tb.Fatalf("ask %s for its version: %v", s.bin, err)
	} else if bao {
		line("unsafe_allow_api_audit_creation = true")
	}
	data := filepath.Join(s.dir, "data")
	switch s.opts.Storage {
	case InMem:
		line(`storage "inmem" {}`)
	case Raft:
		line("storage \"raft\" {\n  path = %q\n  node_id = %q\n%s%s}", data, s.name, raftTiming, s.peers)
	default:
		tb.Fatalf("unknown storage %d", s.opts.Storage)
	}
	line("listener \"tcp\" {\n  address = %q\n  cluster_address = %q", s.addr, s.clusterAddr)
	if s.tls == nil {
		line("  tls_disable = true")
	} else {
		line("  tls_cert_file = %q\n  tls_key_file = %q", s.tls.certPath, s.tls.keyPath)
	}
	line("%s\n}\n%s", s.opts.Listener, s.opts.Config)
	return b.String()
}

func (s *server) url() string {
	if s.opts.TLS {
		return "https://" + s.addr
	}
	return "http://" + s.addr
}

func (v *Vault) initialize() {
	v.tb.Helper()
	init, err := v.Client().Sys().InitWithContext(v.tb.Context(), &api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		v.tb.Fatalf("initialise %s: %v", v.s.name, err)
	}
	v.s.unsealKey, v.s.rootToken = init.KeysB64[0], init.RootToken
}

// active returns an error if the server is not the active one.
func (v *Vault) active() error {
	if status, body := v.Status(http.MethodGet, "sys/health", nil, ""); status != http.StatusOK {
		return fmt.Errorf("%s is not active: health is %d: %s", v.s.name, status, body)
	}
	return nil
}

func (v *Vault) waitActive() {
	v.tb.Helper()
	Eventually(v.tb, readyTimeout, v.active)
}

func (v *Vault) enableAudit() {
	v.tb.Helper()
	err := v.Client().Sys().EnableAuditWithOptionsWithContext(v.tb.Context(), "file", &api.EnableAuditOptions{
		Type: "file", Options: map[string]string{"file_path": v.s.auditPath},
	})
	if err != nil {
		v.tb.Fatalf("enable the audit log: %v", err)
	}
}

// FreeAddr returns a loopback address ("127.0.0.1:port") for a listener of a
// server, Agent or Proxy. Nobody else gets it until the test ends. Its port is
// below those that the system gives to a listener that asks for any. The UDP
// port of the same number is held, so that other callers see that it is taken.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	var config net.ListenConfig
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000)) // Linux gives out 32768 and above
		held, err := config.ListenPacket(tb.Context(), "udp", addr)
		if err != nil {
			continue
		}
		l, err := config.Listen(tb.Context(), "tcp", addr)
		if err != nil {
			_ = held.Close()
			continue
		}
		_ = l.Close()
		tb.Cleanup(func() { _ = held.Close() })
		return addr
	}
	tb.Fatal("no port from 20000 to 31999 is free")
	return ""
}

// baseEnv is the whole environment of a process under test. No setting of the
// user who runs the tests (token, address, ~/.vault-token) may reach the
// process.
func baseEnv(home string) []string {
	env := []string{"HOME=" + home, "PATH=" + os.Getenv("PATH")}
	if tmp := os.Getenv("TMPDIR"); tmp != "" {
		env = append(env, "TMPDIR="+tmp)
	}
	return env
}
