// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// failingOn makes each operation of this kind fail if its key has this prefix.
func failingOn(op, prefix string) func(string, string) error {
	return func(o, key string) error {
		if o == op && strings.HasPrefix(key, prefix) {
			return errors.New("the disk is on fire")
		}
		return nil
	}
}

func TestStorageThatFailsIsA500WithoutPartialWrites(t *testing.T) {
	tests := map[string]struct {
		op, prefix string
		do         func(t *testing.T, e *engine) result
	}{
		"get for a config read":     {opGet, "config/", func(t *testing.T, e *engine) result { return e.read(t, "config/c") }},
		"get for a token":           {opGet, "config/", func(t *testing.T, e *engine) result { return e.read(t, "token/c") }},
		"get for its provider":      {opGet, "provider/", func(t *testing.T, e *engine) result { return e.read(t, "token/c") }},
		"get for a config update":   {opGet, "config/", func(t *testing.T, e *engine) result { return update(t, e, "config/c", fields{"ttl": 5}) }},
		"get for a config patch":    {opGet, "config/", func(t *testing.T, e *engine) result { return e.patch(t, "config/c", fields{"ttl": 5}) }},
		"get for an update's other": {opGet, "provider/", func(t *testing.T, e *engine) result { return update(t, e, "config/c", fields{"ttl": 5}) }},
		"put for a config update":   {opPut, "config/", func(t *testing.T, e *engine) result { return update(t, e, "config/c", fields{"ttl": 5}) }},
		"put for a new config":      {opPut, "config/", func(t *testing.T, e *engine) result { return e.write(t, "config/new", acme()) }},
		"list for configs":          {opList, "config/", func(t *testing.T, e *engine) result { return e.request(t, logical.ListOperation, "config/", nil) }},
		"delete for a config":       {opDelete, "config/", func(t *testing.T, e *engine) result { return e.delete(t, "config/c") }},
		"get for a provider read":   {opGet, "provider/", func(t *testing.T, e *engine) result { return e.read(t, "provider/p") }},
		"get for a provider write":  {opGet, "provider/", func(t *testing.T, e *engine) result { return update(t, e, "provider/p", fields{"scopes": "read"}) }},
		"put for a provider write":  {opPut, "provider/", func(t *testing.T, e *engine) result { return update(t, e, "provider/p", fields{"scopes": "read"}) }},
		"list for a provider write": {opList, "config/", func(t *testing.T, e *engine) result { return update(t, e, "provider/p", fields{"scopes": "read"}) }},
		"users for a provider":      {opGet, "config/", func(t *testing.T, e *engine) result { return update(t, e, "provider/p", fields{"scopes": "read"}) }},
		"list for providers":        {opList, "provider/", func(t *testing.T, e *engine) result { return e.request(t, logical.ListOperation, "provider/", nil) }},
		"list before a delete":      {opList, "config/", func(t *testing.T, e *engine) result { return e.delete(t, "provider/p") }},
		"get before a delete":       {opGet, "config/", func(t *testing.T, e *engine) result { return e.delete(t, "provider/p") }},
		"delete for a provider":     {opDelete, "provider/", func(t *testing.T, e *engine) result { return e.delete(t, "provider/unused") }},
		"list for unknown provider": {opList, "provider/", func(t *testing.T, e *engine) result {
			return update(t, e, "config/c", fields{"provider": "x", "client_secret": "y"})
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := mount(t, secretOne)
			s := e.server(t, providertest.RFC6749, providertest.Options{ClientSecret: secretOne})
			for _, p := range []string{"p", "unused"} {
				e.must(t, "provider/"+p, fields{"token_url": s.TokenURL()})
			}
			config := with(standard(s), fields{"provider": "p"})
			e.must(t, "config/c", config)
			e = e.restart(t, secretOne) // the new process has nothing in memory
			before := e.storage.snapshot(t)

			e.storage.onUse(failingOn(test.op, test.prefix))
			r := test.do(t, e)
			e.storage.onUse(nil)
			refused(t, r, http.StatusInternalServerError, "the disk is on fire")
			withoutSecrets(t, "the error", r.text(), secretOne)
			if after := e.storage.snapshot(t); !same(before, after) {
				t.Errorf("a request that failed changed what is stored:\n%v\n%v", before, after)
			}
			if s.Requests() != 0 {
				t.Error("the provider was asked")
			}
			succeeded(t, e.write(t, "config/c", config)) // a write also ends the remembered failure
			succeeded(t, e.read(t, "token/c"))
		})
	}
}

// update sends an update without the existence check.
func update(t *testing.T, e *engine, path string, data fields) result {
	t.Helper()
	return e.request(t, logical.UpdateOperation, path, data)
}

func TestExistenceCheckOfStorageThatFailsIsAnError(t *testing.T) {
	e := mount(t)
	e.storage.onUse(failingOn(opGet, ""))
	for _, path := range []string{"config/c", "provider/p"} {
		req := e.cross(t, &logical.Request{Operation: logical.UpdateOperation, Path: path, Data: fields{"client_secret": fields{"k": secretTwo}}})
		if _, _, err := e.backend.HandleExistenceCheck(t.Context(), req); err == nil || strings.Contains(err.Error(), secretTwo) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// If a write cannot be stored, the token of the stored config must stay.
func TestWriteThatFailsKeepsTheToken(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	got := requestsAfter(t, e, s, func() {
		e.storage.onUse(func(op, _ string) error {
			if op == opPut || op == opDelete {
				return errors.New("the disk is full")
			}
			return nil
		})
		refused(t, e.write(t, "config/c", fields{"scopes": "read"}), http.StatusInternalServerError)
		refused(t, e.delete(t, "config/c"), http.StatusInternalServerError)
		e.storage.onUse(nil)
	})
	if got != 1 {
		t.Errorf("%d requests, want 1", got)
	}
}

func TestEntriesOfANewerSchemaAreRefusedClearly(t *testing.T) {
	e := mount(t, secretThree)
	entry := `{"version":99,"fields":{"client_secret":"` + secretThree + `","token_url":5},"unheard_of":true}`
	e.storage.put(t, "config/c", entry)
	e.storage.put(t, "provider/p", entry)
	before := e.storage.snapshot(t)
	for what, r := range map[string]result{
		"config read":       e.read(t, "config/c"),
		"config update":     e.write(t, "config/c", acme()),
		"config patch":      e.patch(t, "config/c", fields{"ttl": 1}),
		"token read":        e.read(t, "token/c"),
		"provider read":     e.read(t, "provider/p"),
		"provider write":    e.write(t, "provider/p", fields{"scopes": "x"}),
		"config of that":    e.write(t, "config/new", with(acme(), fields{"provider": "p"})),
		"provider in doubt": e.delete(t, "provider/p"),
	} {
		t.Run(what, func(t *testing.T) {
			refused(t, r, http.StatusInternalServerError, "schema version 99", "newer", "plugin version")
			withoutSecrets(t, "the error", r.text(), secretThree)
		})
	}
	if !same(before, e.storage.snapshot(t)) {
		t.Error("something was written")
	}
	if got := e.list(t, "config/"); !slices.Equal(got, []string{"c"}) {
		t.Errorf("list: %v", got)
	}
	succeeded(t, e.delete(t, "config/c"))
}

func TestEntriesThatCannotBeDecodedAreNotQuoted(t *testing.T) {
	for name, entry := range map[string]string{
		"not JSON": secretThree, "of another type": `{"version":1,"fields":["` + secretThree + `"]}`,
		"with a field of another type": `{"version":1,"origin":"","epoch":"","fields":{"client_secret":{"k":"` + secretThree + `"},"secret_variables":["` + secretThree + `"]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t, secretThree)
			e.storage.put(t, "config/c", entry)
			for _, r := range []result{e.read(t, "config/c"), e.read(t, "token/c"), e.write(t, "config/c", fields{"ttl": 1})} {
				withoutSecrets(t, "the answer", r.text(), secretThree)
				if r.err == nil && len(r.resp.Warnings) == 0 {
					t.Errorf("no complaint: %s", r.text())
				}
			}
		})
	}
}

func TestPanicBecomesA500WithoutItsValue(t *testing.T) {
	e := mount(t, secretOne)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	e = e.restart(t, secretOne) // the new process has nothing in memory
	e.storage.onUse(func(string, string) error { panic("panicking over " + secretOne) })
	for what, do := range map[string]func() result{
		"config read":  func() result { return e.read(t, "config/c") },
		"config list":  func() result { return e.request(t, logical.ListOperation, "config/", nil) },
		"config write": func() result { return update(t, e, "config/c", acme()) },
		"config gone":  func() result { return e.delete(t, "config/c") },
		"token read":   func() result { return e.read(t, "token/c") },
	} {
		r := do()
		refused(t, r, http.StatusInternalServerError, "bug")
		sane(t, r)
		withoutSecrets(t, what, r.text(), secretOne)
	}
	req := e.cross(t, &logical.Request{Operation: logical.UpdateOperation, Path: "config/c"})
	if _, _, err := e.backend.HandleExistenceCheck(t.Context(), req); err == nil || strings.Contains(err.Error(), "panicking") {
		t.Errorf("existence check: %v", err)
	}
	if n := strings.Count(e.log.String(), "please report"); n != 6 {
		t.Errorf("the log tells of %d bugs, want 6:\n%s", n, e.log)
	}
	e.storage.onUse(nil)
	succeeded(t, e.read(t, "token/c"))
}

// A mint runs in a goroutine of its own. A panic there would end the process, and with
// it every mount. So this test runs its mints in a child process.
func TestPanicOfAMintBecomesA500WithoutItsValueOrItsStack(t *testing.T) {
	const child = "OAUTHCC_TEST_PANIC"
	if os.Getenv(child) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v") //nolint:gosec // this very test
		cmd.Env = append(os.Environ(), child+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v:\n%.3000s", err, out)
		}
		return
	}
	for name, test := range map[string]struct {
		restarted bool
		atLeast   int // accesses to storage
	}{
		"of a config in memory":           {false, 1}, // to store the token
		"of a config that has to be read": {true, 3},  // and to read the config and the token
	} {
		t.Run(name, func(t *testing.T) {
			n := 1
			for panicsAt(t, n, test.restarted) {
				n++
			}
			if n <= test.atLeast {
				t.Errorf("the read took only %d accesses to storage", n-1)
			}
		})
	}
}

// panicsAt checks a read in which the nth access to storage panics. It reports false if
// the read takes fewer accesses.
func panicsAt(t *testing.T, n int, restarted bool) bool {
	t.Helper()
	e := mount(t, secretOne)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	if restarted {
		e = e.restart(t, secretOne)
	}
	var count atomic.Int32
	e.storage.onUse(func(string, string) error {
		if count.Add(1) == int32(n) {
			panic("panicking over " + secretOne)
		}
		return nil
	})
	r := e.read(t, "token/c")
	e.storage.onUse(nil)
	if int(count.Load()) < n {
		return false
	}
	refused(t, r, http.StatusInternalServerError, "bug")
	sane(t, r)
	withoutSecrets(t, "the error", r.text(), secretOne)
	if strings.Contains(r.text(), "goroutine") || !strings.Contains(e.log.String(), "please report") {
		t.Errorf("the stack belongs in the log, and not into the error: %s", r.text())
	}
	return true
}

// If a write or a delete fails half way, readers must not get a token that does not
// belong to the config as it is stored.
func TestRequestsThatFailHalfWayLeaveNoForeignToken(t *testing.T) {
	for name, test := range map[string]struct {
		op, prefix string
		do         func(t *testing.T, e *engine) result
	}{
		"an update that cannot list tokens":    {opList, "token/", func(t *testing.T, e *engine) result { return update(t, e, "config/c", fields{"scopes": "read"}) }},
		"an update that cannot delete a token": {opDelete, "token/", func(t *testing.T, e *engine) result { return update(t, e, "config/c", fields{"scopes": "read"}) }},
		"a delete that cannot list tokens":     {opList, "token/", func(t *testing.T, e *engine) result { return e.delete(t, "config/c") }},
		"a delete that cannot delete a token":  {opDelete, "token/", func(t *testing.T, e *engine) result { return e.delete(t, "config/c") }},
		"a delete that cannot delete a chain":  {opDelete, "grant/", func(t *testing.T, e *engine) result { return e.delete(t, "config/c") }},
		"a provider that cannot forget":        {opDelete, "token/", func(t *testing.T, e *engine) result { return update(t, e, "provider/p", fields{"scopes": "read"}) }},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{})
			e.must(t, "provider/p", fields{"token_url": s.TokenURL()})
			e.must(t, "config/c", with(standard(s), fields{"provider": "p"}))
			old := e.read(t, "token/c").data(t)["access_token"]
			before := e.storage.snapshot(t)

			e.storage.onUse(failingOn(test.op, test.prefix))
			failed := test.do(t, e).err != nil
			after := e.storage.snapshot(t)
			r := e.read(t, "token/c") // while storage still fails
			e.storage.onUse(nil)

			changed := before["config/c"] != after["config/c"] || before["provider/p"] != after["provider/p"]
			if failed && changed {
				t.Error("the request failed, and was carried out all the same")
			}
			if changed && r.err == nil && r.resp.Data["access_token"] == old {
				t.Error("the old token is handed out, which the config no longer stands for")
			}
		})
	}
}

// If storage hangs, a reader waits no longer than request_timeout.
func TestStorageThatHangsIsTooSlow(t *testing.T) {
	overAWire(t, func(t *testing.T, e *engine) {
		s := e.server(t, providertest.RFC6749, providertest.Options{})
		e.must(t, "config/c", with(standard(s), fields{"request_timeout": 1}))
		e = e.restart(t) // the new process has nothing in memory
		release := make(chan struct{})
		defer close(release)
		var gets atomic.Int32
		e.storage.onUse(func(string, string) error {
			if gets.Add(1) == 2 {
				<-release
			}
			return nil
		})
		start := time.Now()
		r := e.read(t, "token/c")
		if gets.Load() < 2 {
			t.Fatal("a reader no longer waits for storage twice: let another use hang")
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("answered after %s", took)
		}
		refused(t, r, http.StatusGatewayTimeout, `"c"`)
	})
}
