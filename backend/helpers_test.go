// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/testhelpers/schema"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin/pb"

	"github.com/oauthcc/vault-plugin-oauthcc/backend"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// fields is the data of a request.
type fields = map[string]any

// engine is a mount of the backend, with everything around it that a test can look at
// or break. Its requests are converted as they are between Vault and a plugin.
type engine struct {
	backend   logical.Backend
	storage   *storage
	process   *process // its own view of the storage
	clock     *clock
	system    *logical.StaticSystemView
	transport *http.Transport
	wire      *providertest.Wire // the network that its servers are on; nil for the real one
	log       *lockedBuffer
	events    *logical.MockEventSender
	extras    []string // members of answers that the declared schema cannot know
}

// patience is how long a test waits for something that must happen. It is long enough
// for a busy machine.
const patience = time.Minute

// mount returns an engine with an empty storage. The engine's log and events must not
// contain any of the secrets.
func mount(tb testing.TB, secrets ...string) *engine {
	tb.Helper()
	system := logical.TestSystemView()
	system.PluginEnvironment = &logical.PluginEnvironment{VaultVersion: "1.21.2"}
	return mountOn(tb, &storage{}, newClock(), system, secrets...)
}

// mountOn returns an engine that uses the given storage, clock and system.
func mountOn(tb testing.TB, on *storage, clock *clock, system *logical.StaticSystemView, secrets ...string) *engine {
	tb.Helper()
	return mountVia(tb, &http.Transport{ForceAttemptHTTP2: true}, on, clock, system, secrets...)
}

// mountVia returns an engine that makes its connections with transport.
func mountVia(tb testing.TB, transport *http.Transport, on *storage, clock *clock, system *logical.StaticSystemView, secrets ...string) *engine {
	tb.Helper()
	e := &engine{storage: on, process: &process{storage: on}, clock: clock, system: system, transport: transport, log: &lockedBuffer{}, events: logical.NewMockEventSender()}
	factory := backend.Factory(backend.Options{
		Build:     backend.Build{Version: "v1.2.3", Commit: "0123456789ab", Date: "2026-01-02T03:04:05Z"},
		Transport: transport,
		Now:       e.clock.Now,
	})
	b, err := factory(tb.Context(), &logical.BackendConfig{
		Logger:       hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: e.log}),
		System:       system,
		StorageView:  e.process,
		EventsSender: e.events,
		BackendUUID:  "5c7c9ee4-0000-0000-0000-000000000000",
	})
	if err != nil {
		tb.Fatalf("make the backend: %v", err)
	}
	e.backend = b
	tb.Cleanup(func() {
		b.Cleanup(context.Background())
		withoutSecrets(tb, "the log", e.log.String(), secrets...)
		withoutSecrets(tb, "the events", e.sent(tb), secrets...)
	})
	return e
}

// overAWire runs f in a bubble of testing/synctest, with an engine and the wire that
// its providers are on. In the bubble, time passes only while all goroutines wait. So
// each delay takes exactly the time that it should, however busy the machine is.
func overAWire(t *testing.T, f func(t *testing.T, e *engine), secrets ...string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		wire := &providertest.Wire{}
		e := mountVia(t, &http.Transport{DialContext: wire.DialContext}, &storage{}, newClock(), logical.TestSystemView(), secrets...)
		e.wire = wire
		f(t, e)
	})
}

// sent returns all that the engine sent to Vault's event system.
func (e *engine) sent(tb testing.TB) string {
	tb.Helper()
	e.events.Lock()
	defer e.events.Unlock()
	text, err := json.Marshal(e.events.Events)
	if err != nil {
		tb.Errorf("encode the events: %v", err)
	}
	return string(text)
}

// result is the outcome of a request.
type result struct {
	resp *logical.Response
	err  error
	op   logical.Operation
}

// status returns the HTTP status that Vault would answer with. It is -1 for an error
// that crosses the plugin boundary without a status.
func (r result) status() int {
	var coded logical.HTTPCodedError
	switch {
	case errors.Is(r.err, logical.ErrUnsupportedOperation):
		return http.StatusMethodNotAllowed
	case errors.Is(r.err, logical.ErrUnsupportedPath):
		return http.StatusNotFound
	case errors.As(r.err, &coded):
		return coded.Code()
	case r.err != nil:
		return -1
	case r.resp.IsError():
		return http.StatusBadRequest
	case r.resp == nil && (r.op == logical.ReadOperation || r.op == logical.ListOperation):
		return http.StatusNotFound
	case r.resp == nil:
		return http.StatusNoContent
	}
	return http.StatusOK
}

// text returns all of the outcome: the error and the whole response. A client sees only
// a part of it.
func (r result) text() string {
	var b strings.Builder
	if r.err != nil {
		b.WriteString(r.err.Error())
	}
	if r.resp != nil {
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(r.resp) // a response that crossed the boundary can be encoded
	}
	return b.String()
}

func (r result) data(t *testing.T) fields {
	t.Helper()
	if r.err != nil || r.resp == nil {
		t.Fatalf("status %d, want an answer with data: %s", r.status(), r.text())
	}
	return r.resp.Data
}

// object returns a member of the answer's data that is itself an object.
func (r result) object(t *testing.T, name string) fields {
	t.Helper()
	m, ok := r.data(t)[name].(map[string]any)
	if !ok {
		t.Fatalf("%s is %T, want an object: %s", name, r.resp.Data[name], r.text())
	}
	return m
}

// request sends a request as Vault does: both the request and the answer are converted
// as at the plugin boundary. It checks a successful answer against its declared schema.
func (e *engine) request(t *testing.T, op logical.Operation, path string, data fields) result {
	t.Helper()
	return e.send(t, &logical.Request{Operation: op, Path: path, Data: data})
}

func (e *engine) send(t *testing.T, in *logical.Request) result {
	t.Helper()
	in.ID, in.MountPoint, in.MountType, in.ClientToken = "request-id", "oauthcc/", "oauthcc", "hvs.client"
	resp, err := e.backend.HandleRequest(t.Context(), e.cross(t, in))
	out, convErr := pb.LogicalResponseToProtoResponse(resp)
	if convErr != nil {
		t.Fatalf("%s %s: the answer cannot cross the plugin boundary: %v", in.Operation, in.Path, convErr)
	}
	if resp, convErr = pb.ProtoResponseToLogicalResponse(out); convErr != nil {
		t.Fatalf("%s %s: the answer cannot be read: %v", in.Operation, in.Path, convErr)
	}
	r := result{resp: resp, err: pb.ProtoErrToErr(pb.ErrToProtoErr(err)), op: in.Operation}
	if resp != nil && err != nil && (resp.Data != nil || resp.Secret != nil || len(resp.Warnings) > 0) {
		t.Errorf("%s %s: a coded error with more than headers beside it becomes a 400: %s", in.Operation, in.Path, r.text())
	}
	e.validate(t, in, r)
	return r
}

// cross returns the request as it arrives in the plugin.
func (e *engine) cross(t *testing.T, in *logical.Request) *logical.Request {
	t.Helper()
	wire, err := pb.LogicalRequestToProtoRequest(in)
	if err != nil {
		t.Fatalf("encode the request: %v", err)
	}
	out, err := pb.ProtoRequestToLogicalRequest(wire)
	if err != nil {
		t.Fatalf("decode the request: %v", err)
	}
	out.Storage = e.process
	return out
}

func (e *engine) validate(t *testing.T, in *logical.Request, r result) {
	t.Helper()
	route := e.route(t, in.Path)
	if r.err != nil || r.resp.IsError() || route == nil || route.Operations[in.Operation] == nil {
		return
	}
	if r.resp == nil {
		if _, declared := route.Operations[in.Operation].Properties().Responses[http.StatusNoContent]; !declared && r.status() == http.StatusNoContent {
			t.Errorf("%s %s: the answer is empty, which is not declared", in.Operation, in.Path)
		}
		return
	}
	known := *r.resp
	known.Data = maps.Clone(known.Data)
	maps.DeleteFunc(known.Data, func(name string, _ any) bool { return slices.Contains(e.extras, name) })
	schema.ValidateResponse(t, schema.GetResponseSchema(t, route, in.Operation), &known, true)
}

// route returns the declaration of a path.
func (e *engine) route(t *testing.T, path string) *framework.Path {
	t.Helper()
	router, ok := e.backend.(interface {
		Route(path string) *framework.Path
	})
	if !ok {
		t.Fatalf("%T has no routes", e.backend)
	}
	return router.Route(path)
}

// write sends a create or an update. As in Vault, the existence check decides which.
func (e *engine) write(t *testing.T, path string, data fields) result {
	t.Helper()
	req := e.cross(t, &logical.Request{Operation: logical.UpdateOperation, Path: path, Data: data})
	found, exists, err := e.backend.HandleExistenceCheck(t.Context(), req)
	if err != nil {
		return result{err: err, op: logical.UpdateOperation}
	}
	var op logical.Operation = logical.UpdateOperation
	if found && !exists {
		op = logical.CreateOperation
	}
	return e.request(t, op, path, data)
}

func (e *engine) patch(t *testing.T, path string, data fields) result {
	t.Helper()
	return e.request(t, logical.PatchOperation, path, data)
}

func (e *engine) read(t *testing.T, path string) result {
	t.Helper()
	return e.request(t, logical.ReadOperation, path, nil)
}

func (e *engine) list(t *testing.T, path string) []string {
	t.Helper()
	r := e.request(t, logical.ListOperation, path, nil)
	out := []string{}
	keys, _ := r.data(t)["keys"].([]any) // missing if the list is empty
	for _, k := range keys {
		s, ok := k.(string)
		if !ok {
			t.Fatalf("a key is %T, want a string", k)
		}
		out = append(out, s)
	}
	return out
}

func (e *engine) delete(t *testing.T, path string) result {
	t.Helper()
	return e.request(t, logical.DeleteOperation, path, nil)
}

// must writes to a path and expects success.
func (e *engine) must(t *testing.T, path string, data fields) {
	t.Helper()
	succeeded(t, e.write(t, path, data))
}

func succeeded(t *testing.T, r result) {
	t.Helper()
	if s := r.status(); s != http.StatusOK && s != http.StatusNoContent {
		t.Fatalf("status %d: %s", s, r.text())
	}
}

// refused expects an error with this status whose text contains each of says.
func refused(t *testing.T, r result, status int, says ...string) {
	t.Helper()
	if r.status() != status || r.err == nil {
		t.Fatalf("status %d, want %d: %s", r.status(), status, r.text())
	}
	for _, s := range says {
		if !strings.Contains(r.err.Error(), s) {
			t.Errorf("the error does not say %q: %s", s, r.err)
		}
	}
}

// withoutSecrets fails the test if text contains one of the secrets, plain or in one of
// the usual encodings.
func withoutSecrets(tb testing.TB, where, text string, secrets ...string) {
	tb.Helper()
	for _, secret := range secrets {
		for _, form := range encodings(secret) {
			if secret != "" && strings.Contains(strings.ToLower(text), strings.ToLower(form)) {
				tb.Errorf("%s holds the secret %q as %q: %s", where, secret, form, text)
				return
			}
		}
	}
}

// clock is a clock that only moves when a test moves it.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// server runs a token endpoint that uses the engine's clock.
func (e *engine) server(tb testing.TB, d providertest.Dialect, o providertest.Options) *providertest.Server {
	tb.Helper()
	o.Now, o.Wire = e.clock.Now, e.wire
	return providertest.Start(tb, d, o)
}

// standard returns a config of a client at a server that follows RFC 6749.
func standard(s *providertest.Server) fields {
	c := s.Credentials()
	return fields{"token_url": s.TokenURL(), "client_id": c.ClientID, "client_secret": c.ClientSecret}
}

func with(base, more fields) fields {
	out := maps.Clone(base)
	maps.Copy(out, more)
	return out
}
