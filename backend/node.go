// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
)

// node is what this Vault node may do.
type node struct {
	state consts.ReplicationState
	local bool // the mount is local to its cluster
	asked time.Time
}

// nodeLifetime is for how long a node is taken to be what it said. It changes
// only with a step-up or step-down, which sets all mounts up anew.
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

// standby says that this node can write nothing, and register no lease.
func (n node) standby() bool {
	return n.state.HasState(consts.ReplicationPerformanceStandby) || n.state.HasState(consts.ReplicationDRSecondary)
}

// final gives the answer of a handler if it is this node's to give. What a
// standby does not find or cannot resolve may be on its way there already, so
// the leader answers in its place.
func (b *backend) final(req *logical.Request, resp *logical.Response, err error) (*logical.Response, error) {
	nothing := resp == nil && req.Operation == logical.ReadOperation
	if (err != nil || nothing) && b.node().standby() {
		return nil, logical.ErrReadOnly
	}
	return resp, err
}

// secondary says that another cluster is the one to write what is not local.
func (n node) secondary() bool {
	return !n.local && n.state.HasState(consts.ReplicationPerformanceSecondary)
}
