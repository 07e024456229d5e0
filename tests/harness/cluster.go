// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// failoverTimeout is the time for a failover on a small, busy machine: to
// notice that the leader is gone, to elect a successor and to unseal it.
const failoverTimeout = 120 * time.Second

// Cluster is a raft cluster of Vault servers on this machine. The servers share
// a plugin directory, an audit log, the unseal key and the root token.
type Cluster struct {
	tb    testing.TB
	nodes []*Vault
}

// StartCluster starts a raft cluster of n servers, with an audit log and the
// plugin, as [Start] does. It ignores Storage in opts; the other options have
// the same meaning as for Start.
func StartCluster(tb testing.TB, n int, opts Options) *Cluster {
	tb.Helper()
	opts = opts.withDefaults()
	opts.Storage = Raft
	dir := tempDir(tb)
	c := &Cluster{tb: tb}
	for i := range n {
		name := fmt.Sprintf("node%d", i+1)
		s := newServer(tb, opts, filepath.Join(dir, name), name, filepath.Join(dir, "plugins"))
		s.auditPath = filepath.Join(dir, "audit.log")
		node := &Vault{tb: tb, s: s}
		node.prepare()
		c.nodes = append(c.nodes, node)
	}
	// Each node is configured to join the others. The first one is initialised and
	// therefore joins nobody.
	for i, node := range c.nodes {
		node.s.peers = c.peersOf(i)
	}
	c.nodes[0].launch()
	c.nodes[0].initialize()
	c.nodes[0].Unseal()
	c.nodes[0].waitActive()
	// By default, a node that joins may not vote during its first ten seconds.
	c.nodes[0].Write("sys/storage/raft/autopilot/configuration", map[string]any{"server_stabilization_time": "1s"})
	for _, node := range c.nodes[1:] {
		node.s.unsealKey, node.s.rootToken = c.nodes[0].s.unsealKey, c.nodes[0].s.rootToken
		node.launch()
		node.Unseal()
	}
	c.waitVoters(n)
	c.Leader().equip(opts)
	return c
}

func (c *Cluster) peersOf(i int) string {
	var b strings.Builder
	for j, other := range c.nodes {
		if j == i {
			continue
		}
		fmt.Fprintf(&b, "  retry_join {\n    leader_api_addr = %q\n", other.Addr())
		if ca := other.CACert(); ca != "" {
			fmt.Fprintf(&b, "    leader_ca_cert_file = %q\n", ca)
		}
		b.WriteString("  }\n")
	}
	return b.String()
}

// waitVoters waits until all nodes can take over, which is some seconds after
// they have joined.
func (c *Cluster) waitVoters(n int) {
	c.tb.Helper()
	Eventually(c.tb, failoverTimeout, func() error {
		leader, err := c.findLeader()
		if err != nil {
			return err
		}
		state, err := leader.Client().Sys().RaftAutopilotStateWithContext(c.tb.Context())
		if err != nil {
			return err
		}
		if state == nil || len(state.Voters) != n || !state.Healthy {
			return fmt.Errorf("the cluster is not complete: %+v", state)
		}
		return nil
	})
}

// For returns a view of the same cluster that reports to another test.
func (c *Cluster) For(tb testing.TB) *Cluster {
	view := &Cluster{tb: tb}
	for _, node := range c.nodes {
		view.nodes = append(view.nodes, node.For(tb))
	}
	return view
}

// Nodes returns all servers, including those that were stopped.
func (c *Cluster) Nodes() []*Vault { return c.nodes }

// Leader returns the active server. It waits for one, as
// [Cluster.WaitForLeader] does.
func (c *Cluster) Leader() *Vault {
	c.tb.Helper()
	return c.WaitForLeader()
}

// Standbys returns the servers that are running but not active.
func (c *Cluster) Standbys() []*Vault {
	c.tb.Helper()
	leader := c.Leader()
	var standbys []*Vault
	for _, node := range c.nodes {
		if node != leader && node.s.proc.Running() {
			standbys = append(standbys, node)
		}
	}
	return standbys
}

// WaitForLeader waits until a server is active and returns it.
func (c *Cluster) WaitForLeader() *Vault {
	c.tb.Helper()
	var leader *Vault
	Eventually(c.tb, failoverTimeout, func() (err error) {
		leader, err = c.findLeader()
		return err
	})
	return leader
}

// KillLeader ends the active server as a power cut would, and returns it for
// [Vault.Restart]. Use [Cluster.WaitForLeader] to get its successor.
func (c *Cluster) KillLeader() *Vault {
	c.tb.Helper()
	leader := c.Leader()
	leader.Kill9()
	return leader
}

// StepDown makes the active server give up its role, as an operator does before
// maintenance. It returns the new active server, after waiting for it.
func (c *Cluster) StepDown() *Vault {
	c.tb.Helper()
	old := c.Leader()
	if err := old.Client().Sys().StepDownWithContext(c.tb.Context()); err != nil {
		c.tb.Fatalf("step down: %v", err)
	}
	var leader *Vault
	Eventually(c.tb, failoverTimeout, func() (err error) {
		leader, err = c.findLeader()
		if err == nil && leader == old {
			return fmt.Errorf("%s is active still, or again", old.s.name)
		}
		return err
	})
	return leader
}

func (c *Cluster) findLeader() (*Vault, error) {
	var errs []error
	for _, node := range c.nodes {
		if !node.s.proc.Running() {
			continue
		}
		err := node.active()
		if err == nil {
			return node, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("no server is active: %w", errors.Join(errs...))
}
