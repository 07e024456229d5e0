// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// isForwarded expects the bare error that makes Vault forward a request to the leader.
// The error crosses the plugin boundary as text, and Vault recognizes it by its text.
func isForwarded(t *testing.T, e *engine, req *logical.Request) {
	t.Helper()
	resp, err := e.backend.HandleRequest(t.Context(), e.cross(t, req))
	if err != logical.ErrReadOnly || resp != nil { //nolint:errorlint // it counts only when it is bare
		t.Errorf("%s %s %v: %v, %v; want the bare ErrReadOnly", req.Operation, req.Path, req.Data, resp, err)
	}
	if r := e.send(t, &logical.Request{Operation: req.Operation, Path: req.Path, Data: req.Data}); r.err == nil || r.err.Error() != logical.ErrReadOnly.Error() {
		t.Errorf("%s %s: across the boundary: %v", req.Operation, req.Path, r.err)
	}
}

// fleet returns an active node with some configs, and another node in the given state
// that uses the same storage.
func fleet(t *testing.T, state consts.ReplicationState) (active, node *engine, s *providertest.Server) {
	t.Helper()
	active = mount(t)
	s = active.server(t, providertest.RFC6749, providertest.Options{RotateRefreshTokens: true})
	active.must(t, "config/leased", standard(s))
	active.must(t, "config/plain", with(standard(s), fields{"leased": false, "scopes": "read,write"}))
	active.must(t, "config/own", with(standard(s), fields{"reuse": false}))
	active.must(t, "config/chain", with(chainAt(t, s), fields{"leased": false}))
	active.must(t, "config/leasedchain", chainAt(t, s))
	active.must(t, "role/plain/r", fields{"scopes": "read"})
	active.must(t, "role/leased/plain", fields{"leased": false})
	active.must(t, "provider/p", fields{"token_url": s.TokenURL()})
	system := *active.system
	system.ReplicationStateVal = state
	node = mountOn(t, active.storage, active.clock, &system)
	node.storage.onUse(nil)
	return active, node, s
}

func standbys() map[string]consts.ReplicationState {
	return map[string]consts.ReplicationState{
		"performance standby":                  consts.ReplicationPerformanceStandby,
		"standby of a secondary":               consts.ReplicationPerformanceStandby | consts.ReplicationPerformanceSecondary,
		"secondary for disaster recovery":      consts.ReplicationDRSecondary,
		"standby of a primary with many hats ": consts.ReplicationPerformanceStandby | consts.ReplicationPerformancePrimary | consts.ReplicationDRPrimary,
	}
}

func TestStandbyForwardsWhatNeedsALeaseOrAMint(t *testing.T) {
	for name, state := range standbys() {
		t.Run(name, func(t *testing.T) {
			active, node, s := fleet(t, state)
			before := active.storage.snapshot(t)
			for _, path := range []string{"token/leased", "token/plain", "token/plain/r", "token/own", "token/chain", "token/leasedchain", "token/leased/plain"} {
				isForwarded(t, node, &logical.Request{Operation: logical.ReadOperation, Path: path})
				isForwarded(t, node, &logical.Request{Operation: logical.UpdateOperation, Path: path})
			}
			asked(t, s, 0)
			if !same(before, active.storage.snapshot(t)) {
				t.Error("something was written")
			}
			// These are forwarded also when there is a token.
			for _, path := range []string{"token/leased", "token/own", "token/leasedchain"} {
				succeeded(t, active.read(t, path))
			}
			requests := s.Requests()
			for _, path := range []string{"token/leased", "token/own", "token/leasedchain"} {
				isForwarded(t, node, &logical.Request{Operation: logical.ReadOperation, Path: path})
			}
			asked(t, s, requests)
		})
	}
}

func TestStandbyServesLeaselessHitsFromStorage(t *testing.T) {
	for name, state := range standbys() {
		t.Run(name, func(t *testing.T) {
			active, node, s := fleet(t, state)
			paths := []string{"token/plain", "token/plain/r", "token/chain", "token/leased/plain"}
			for _, path := range paths {
				succeeded(t, active.read(t, path))
			}
			requests := s.Requests()
			node.storage.onUse(func(op, key string) error {
				if op == opPut || op == opDelete {
					t.Errorf("a standby does %s %s", op, key)
				}
				return nil
			})
			for range 3 {
				for _, path := range paths {
					if want, got := active.read(t, path).token(t), node.read(t, path); got.token(t) != want || got.resp.Secret != nil {
						t.Errorf("%s: another token, or a lease", path)
					}
				}
				succeeded(t, node.readWith(t, "token/plain", fields{"scopes": "read", "min_ttl": 5}))
				node.clock.advance(10 * time.Minute)
			}
			asked(t, s, requests)
			isForwarded(t, node, &logical.Request{Operation: logical.UpdateOperation, Path: "token/plain", Data: fields{"fresh": true}})
			isForwarded(t, node, &logical.Request{Operation: logical.ReadOperation, Path: "token/plain", Data: fields{"min_ttl": "45m"}})
			isForwarded(t, node, &logical.Request{Operation: logical.ReadOperation, Path: "token/plain", Data: fields{"scopes": "write"}})
			node.clock.advance(18 * time.Minute) // 80 % of the token's life
			isForwarded(t, node, &logical.Request{Operation: logical.ReadOperation, Path: "token/plain"})
			asked(t, s, requests)
			node.storage.onUse(nil)
		})
	}
}

// A standby may lag behind its leader. So it forwards a request if it does not find
// something or cannot read it. If the request itself is wrong, the standby refuses it.
func TestStandbyLeavesWhatIsNegativeToItsLeader(t *testing.T) {
	for name, state := range standbys() {
		t.Run(name, func(t *testing.T) {
			active, node, s := fleet(t, state)
			unresolved := with(standard(s), fields{"provider": "p", "leased": false})
			delete(unresolved, "token_url")
			active.must(t, "config/unresolved", unresolved)
			active.storage.put(t, "provider/p", `{"version":1,"fields":{"token_url":"https://{nowhere}.example.com"}}`)
			active.storage.put(t, "config/newer", `{"version":99}`)
			for path, query := range map[string]fields{
				"token/none": nil, "token/plain/none": nil, "token/plain": {"scopes": "admin"},
				"token/unresolved": nil, "token/newer": nil, "jwks/none": nil,
			} {
				isForwarded(t, node, &logical.Request{Operation: logical.ReadOperation, Path: path, Data: query})
			}
			refused(t, node.readWith(t, "token/plain", fields{"zzz": 1}), http.StatusBadRequest, "unknown field")
			refused(t, node.readWith(t, "token/plain", fields{"scopes": 1}), http.StatusBadRequest, "scopes")
			succeeded(t, node.read(t, "info"))
			node.periodic(t)
			asked(t, s, 0)
		})
	}
}

// Someone who writes an object and reads it back gets it, whichever node is asked.
func TestStandbyLeavesWhatOperatorsReadToItsLeader(t *testing.T) {
	_, node, _ := fleet(t, consts.ReplicationPerformanceStandby)
	for _, path := range []string{"config/plain", "config/none", "role/plain/r", "role/plain/none", "provider/p", "provider/none", "provider/generic", "key/none"} {
		isForwarded(t, node, &logical.Request{Operation: logical.ReadOperation, Path: path})
	}
	for _, path := range []string{"config/", "role/plain/", "provider/", "key/"} {
		isForwarded(t, node, &logical.Request{Operation: logical.ListOperation, Path: path})
	}
}

// A node that is not a standby answers itself that something does not exist.
func TestLeaderAndSecondaryAnswerWhatIsNegative(t *testing.T) {
	for name, state := range map[string]consts.ReplicationState{
		"alone": consts.ReplicationUnknown, "a primary": consts.ReplicationPerformancePrimary, "a secondary": consts.ReplicationPerformanceSecondary,
	} {
		t.Run(name, func(t *testing.T) {
			_, node, _ := fleet(t, state)
			refused(t, node.read(t, "token/none"), http.StatusBadRequest, `no config "none"`)
			refused(t, node.readWith(t, "token/plain", fields{"scopes": "admin"}), http.StatusBadRequest, "read, write")
			for _, path := range []string{"config/plain", "role/plain/r", "provider/p"} {
				succeeded(t, node.read(t, path))
			}
			if r := node.read(t, "config/none"); r.status() != http.StatusNotFound {
				t.Errorf("status %d", r.status())
			}
		})
	}
}

func TestStandbyFollowsInvalidations(t *testing.T) {
	active, node, _ := fleet(t, consts.ReplicationPerformanceStandby)
	succeeded(t, active.read(t, "token/plain"))
	succeeded(t, node.read(t, "token/plain"))
	active.clock.advance(time.Minute)
	next := update(t, active, "token/plain", fields{"fresh": true}).token(t)
	for key := range active.below(t, "token/plain/") {
		node.backend.InvalidateKey(t.Context(), key)
	}
	if node.read(t, "token/plain").token(t) != next {
		t.Error("the old token")
	}
	succeeded(t, update(t, active, "revoke/plain", nil))
	node.backend.InvalidateKey(t.Context(), "config/plain")
	isForwarded(t, node, &logical.Request{Operation: logical.ReadOperation, Path: "token/plain"})
	active.must(t, "config/plain", fields{"leased": true})
	succeeded(t, active.read(t, "token/plain"))
	node.backend.InvalidateKey(t.Context(), "config/plain")
	isForwarded(t, node, &logical.Request{Operation: logical.ReadOperation, Path: "token/plain"})
}

func TestWritesAreForwarded(t *testing.T) {
	for name, test := range map[string]struct {
		state consts.ReplicationState
		local bool
		want  bool
	}{
		"by a performance standby":                  {consts.ReplicationPerformanceStandby, false, true},
		"by a performance secondary":                {consts.ReplicationPerformanceSecondary, false, true},
		"not by a secondary's local mount":          {consts.ReplicationPerformanceSecondary, true, false},
		"by the standby of a secondary's local one": {consts.ReplicationPerformanceStandby | consts.ReplicationPerformanceSecondary, true, true},
		"not by a primary":                          {consts.ReplicationPerformancePrimary | consts.ReplicationDRPrimary, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, node, _ := fleet(t, test.state)
			node.system.LocalMountVal = test.local
			for _, req := range []logical.Request{
				{Operation: logical.UpdateOperation, Path: "config/plain", Data: fields{"description": "x"}},
				{Operation: logical.PatchOperation, Path: "config/plain", Data: fields{"description": "y"}},
				{Operation: logical.CreateOperation, Path: "config/new", Data: acme()},
				{Operation: logical.DeleteOperation, Path: "config/new"},
				{Operation: logical.CreateOperation, Path: "role/plain/new", Data: fields{"description": "y"}},
				{Operation: logical.PatchOperation, Path: "role/plain/r", Data: fields{"description": "y"}},
				{Operation: logical.DeleteOperation, Path: "role/plain/new"},
				{Operation: logical.UpdateOperation, Path: "provider/p", Data: fields{"description": "y"}},
				{Operation: logical.CreateOperation, Path: "provider/new", Data: fields{"description": "y"}},
				{Operation: logical.DeleteOperation, Path: "provider/new"},
				{Operation: logical.UpdateOperation, Path: "revoke/plain"},
			} {
				if test.want {
					isForwarded(t, node, &req)
				} else {
					succeeded(t, node.send(t, &req))
				}
			}
		})
	}
}

func TestSecondaryMintsItsOwnTokensButSpendsNothing(t *testing.T) {
	for name, local := range map[string]bool{"of the mount that all share": false, "of its own mount": true} {
		t.Run(name, func(t *testing.T) {
			_, node, s := fleet(t, consts.ReplicationPerformanceSecondary)
			node.system.LocalMountVal = local
			for _, path := range []string{"token/leased", "token/plain", "token/plain/r", "token/own"} {
				succeeded(t, node.read(t, path))
			}
			asked(t, s, 4)
			succeeded(t, update(t, node, "check/plain", nil))
			asked(t, s, 5)
			for _, req := range []logical.Request{
				{Operation: logical.ReadOperation, Path: "token/chain"},
				{Operation: logical.ReadOperation, Path: "token/leasedchain"},
				{Operation: logical.UpdateOperation, Path: "token/chain", Data: fields{"fresh": true}},
				{Operation: logical.UpdateOperation, Path: "check/chain"},
			} {
				if local {
					succeeded(t, node.send(t, &req))
				} else {
					isForwarded(t, node, &req)
				}
			}
			if !local {
				asked(t, s, 5)
			}
		})
	}
}

func TestStandbyForwardsCheckAndStatus(t *testing.T) {
	_, node, s := fleet(t, consts.ReplicationPerformanceStandby)
	isForwarded(t, node, &logical.Request{Operation: logical.UpdateOperation, Path: "check/plain"})
	isForwarded(t, node, &logical.Request{Operation: logical.UpdateOperation, Path: "check/plain/r"})
	isForwarded(t, node, &logical.Request{Operation: logical.ReadOperation, Path: "status/plain"})
	asked(t, s, 0)
}

// A node notices within seconds that its state has changed.
func TestStepUpIsNoticed(t *testing.T) {
	_, node, s := fleet(t, consts.ReplicationPerformanceStandby)
	isForwarded(t, node, &logical.Request{Operation: logical.ReadOperation, Path: "token/leased"})
	node.system.ReplicationStateVal = consts.ReplicationUnknown
	node.clock.advance(5 * time.Second)
	succeeded(t, node.read(t, "token/leased"))
	asked(t, s, 1)
}
