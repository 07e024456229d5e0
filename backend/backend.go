// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/tokencache"
)

// Build says which build of the plugin this is.
type Build struct {
	Version string // semantic, with a leading v
	Commit  string
	Date    string // RFC 3339
}

// Options configures a backend. The zero value is usable.
type Options struct {
	Build     Build
	Transport *http.Transport  // to the providers; nil is a hardened default
	Now       func() time.Time // nil is time.Now
}

// drainTime is how long an unmount or a reload waits for the jobs that are under way.
const drainTime = 5 * time.Second

const helpText = `
The oauthcc secrets engine keeps the OAuth client credentials of any provider,
runs the grant inside Vault, and hands out short-lived access tokens with
leases.

Write a client registration once:

    vault write oauthcc/config/antsomi provider=antsomi \
        client_id=... client_secret=... scopes=item,event

and read tokens from then on:

    vault read oauthcc/token/antsomi

"vault list oauthcc/provider" shows the providers that are built in. Any other
token endpoint is described by fields, on the config itself or as a provider
of your own.
`

// backend is one mount of the engine.
type backend struct {
	*framework.Backend

	build    Build
	now      func() time.Time
	client   *grant.Client
	tokens   *tokencache.Cache[*minted]
	views    *views
	writers  turns // who may write a config, its roles, or a provider
	chains   turns // who may spend a config's refresh token
	revokers turns // who may ask a provider to revoke
	holders  turns // who may change the entries of one token in a ledger

	keeper  keeper
	work    *background
	ledger  ledger
	started time.Time
	audited atomic.Int64 // when, in nanoseconds since the epoch
	inputs  map[*framework.Path]input

	discovered *discoveries // what servers say of themselves

	// unused holds, by config, the mark of an epoch that this process began and in
	// which it has stored no token yet. Storage need not be searched for one.
	unused sync.Map

	observer  observer
	calendar  calendar
	metrics   *prometheus.Registry
	loading   singleflight.Group // of views
	nodeState atomic.Pointer[node]
	mount     atomic.Pointer[mountPoint] // as the last request named it
	tidied    atomic.Int64               // when, in nanoseconds since the epoch
}

// Factory returns the function by which Vault makes a backend for each mount.
func Factory(o Options) logical.Factory {
	return func(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
		if conf == nil {
			return nil, errors.New("setting up the backend: no configuration")
		}
		b := newBackend(o) //nolint:contextcheck // what runs in the background outlives the setting up
		if err := b.Setup(ctx, conf); err != nil {
			return nil, fmt.Errorf("setting up the backend: %w", err)
		}
		return b, nil
	}
}

func newBackend(o Options) *backend {
	if o.Now == nil {
		o.Now = time.Now
	}
	b := &backend{
		build:      o.Build,
		now:        o.Now,
		client:     grant.NewClient(grant.Options{Transport: o.Transport, Now: o.Now, UserAgent: userAgent(o.Build)}),
		views:      newViews(),
		discovered: newDiscoveries(),
		writers:    turns{places: 1},
		chains:     turns{places: 1},
		revokers:   turns{places: maxRevocations},
		holders:    turns{places: 1},
		started:    o.Now(),
		inputs:     map[*framework.Path]input{},
	}
	b.work = newBackground(b.guard)
	b.observer.now, b.observer.log = o.Now, b.log
	b.tokens = tokencache.New[*minted](tokencache.Options[*minted]{
		Now: o.Now, Again: again, Panicked: func(p any) error { return b.panicked("a mint", p) },
	})
	b.metrics = newMetrics(b)
	b.Backend = &framework.Backend{
		Help:           strings.TrimSpace(helpText),
		BackendType:    logical.TypeLogical,
		RunningVersion: o.Build.Version,
		PathsSpecial: &logical.Paths{
			SealWrapStorage: []string{configPrefix, rolePrefix, providerPrefix, tokenPrefix, grantPrefix, keyPrefix, ledgerPrefix},
			Unauthenticated: []string{jwksPrefix + "*"},                        // a provider has no Vault token
			LocalStorage:    []string{tokenPrefix, ledgerPrefix, budgetPrefix}, // each cluster mints its own
		},
		Secrets: []*framework.Secret{b.tokenSecret()},
		Paths: framework.PathAppend(
			b.configPaths(),
			b.providerPaths(),
			b.rolePaths(),
			b.tokenPaths(),
			b.proofPaths(),
			b.checkPaths(),
			b.statusPaths(),
			b.metricsPaths(),
			b.revokePaths(),
			b.keyPaths(),
			b.keyCertificatePaths(),
			b.jwksPaths(),
			b.infoPaths(),
		),
		PeriodicFunc: b.periodic,
		Invalidate:   b.invalidate,
		Clean:        b.clean,
	}
	b.observer.events = newEvents(b.Backend, func(do func(context.Context)) bool { return b.work.run(context.Background(), eventLane, do) })
	return b
}

// clean waits for the jobs that are under way. Jobs that have not begun are left to the
// next process, which finds them in storage.
func (b *backend) clean(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	var all sync.WaitGroup
	all.Go(func() { b.tokens.Close(drainTime) })
	all.Go(func() { b.work.close(ctx) })
	for ref, s := range b.ledger.close() {
		b.handOver(ctx, s, ref)
	}
	all.Wait()
	b.client.Close()
}

func userAgent(build Build) string {
	return strings.TrimSuffix("vault-plugin-oauthcc/"+strings.TrimPrefix(build.Version, "v"), "/")
}

// HandleRequest checks the request's data before the framework sees it, and gives every
// error its status. It recovers from panics, because one process serves all mounts.
func (b *backend) HandleRequest(ctx context.Context, req *logical.Request) (resp *logical.Response, err error) {
	defer func() {
		if p := recover(); p != nil {
			resp, err = b.respond(nil, b.panicked(req.MountPoint+req.Path, p))
		}
	}()
	b.noteMount(req)
	if resp, plain, err := b.plainRead(ctx, req); plain {
		return b.respond(b.final(req, resp, err))
	}
	if err := b.prepare(req); err != nil {
		return b.respond(nil, err)
	}
	resp, err = b.Backend.HandleRequest(ctx, req)
	return b.respond(b.final(req, resp, err))
}

// HandleExistenceCheck runs the check without the request's data, because the framework
// would quote the data in its errors.
func (b *backend) HandleExistenceCheck(ctx context.Context, req *logical.Request) (found, exists bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = b.panicked(req.MountPoint+req.Path, p)
		}
	}()
	bare := *req
	bare.Data = nil
	return b.Backend.HandleExistenceCheck(ctx, &bare)
}

// mountPoint is where the engine is mounted. Log lines name it, because one process
// serves all mounts. The logger is kept, because making one takes longer than a line
// that is not logged.
type mountPoint struct {
	path string
	log  hclog.Logger
}

func (b *backend) noteMount(req *logical.Request) {
	if known := b.mount.Load(); known == nil || known.path != req.MountPoint {
		b.mount.Store(&mountPoint{path: req.MountPoint, log: b.Logger().With("mount", req.MountPoint)})
	}
}

// log returns the logger of this mount.
func (b *backend) log() hclog.Logger {
	if mount := b.mount.Load(); mount != nil {
		return mount.log
	}
	return b.Logger()
}

// guard recovers from a panic. It is deferred in goroutines, where a panic would end the
// process.
func (b *backend) guard(where string) {
	if p := recover(); p != nil {
		_ = b.panicked(where, p) // nobody waits for it
	}
}

// panicked logs a bug. The value of a panic may quote data, so only its type is logged,
// unless the value comes from Go's runtime.
func (b *backend) panicked(where string, p any) error {
	what := fmt.Sprintf("%T", p)
	if e, ok := p.(runtime.Error); ok {
		what = e.Error()
	}
	b.log().Error("a bug was caught; please report it", "path", where, "panic", what, "stack", string(debug.Stack()))
	return errors.New("a bug in the engine was caught; Vault's log has the details")
}
