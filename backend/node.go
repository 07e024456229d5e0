// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
)

// node describes what this Vault node may do.
type node struct {
	state consts.ReplicationState
	local bool // the mount is local to its cluster
	asked time.Time
}

// nodeLifetime is how long the node's state is kept in memory. The state changes
// only with a step-up or step-down, which sets up all mounts again.
const nodeLifetime = 5 * time.Second

func (b *backend) node() node {
	now := b.now()
	if n := b.nodeState.Load(); n != nil && now.Sub(n.asked) < nodeLifetime {
		return *n
	}
	n := &node{state: b.System().ReplicationState(), local: b.System().LocalMount(), asked: now}
	b.nodeState.Store(n)
	return *n
}

// standby reports whether this node can neither write nor register a lease.
func (n node) standby() bool {
	return n.state.HasState(consts.ReplicationPerformanceStandby) || n.state.HasState(consts.ReplicationDRSecondary)
}

// final returns the handler's answer if this node may decide it. A standby lags
// behind its leader: what it does not find or cannot resolve may exist by now.
// Then the leader answers instead.
func (b *backend) final(req *logical.Request, resp *logical.Response, err error) (*logical.Response, error) {
	nothing := resp == nil && req.Operation == logical.ReadOperation
	if (err != nil || nothing) && b.node().standby() {
		return nil, logical.ErrReadOnly
	}
	return resp, err
}

// secondary reports whether another cluster must write what is not local.
func (n node) secondary() bool {
	return !n.local && n.state.HasState(consts.ReplicationPerformanceSecondary)
}
