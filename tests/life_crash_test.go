// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// TestLifeInterrupted ends the plugin's process in every possible way, while
// tokens of every kind are held and reads or mints are in progress.
func TestLifeInterrupted(t *testing.T) {
	t.Parallel()
	next := build(t, "v9.9.9")
	v := harness.Start(t, harness.Options{Storage: harness.Raft, LogLevel: "info"})
	f := newFleet(t, v, 16)

	t.Run("kill -9 of an idle plugin", func(t *testing.T) {
		v := v.For(t)
		// Two mounts share one process, and both must come back.
		v.Mount("other", harness.PluginName)
		s := providertest.Start(t, providertest.RFC6749, providertest.Options{})
		write(t, v, "other/config/a", registration(providertest.RFC6749, s))
		token := read(t, v, "other/token/a").text(t, "access_token")
		t.Logf("the plugin answered %s after its end", crash(t, v))
		f.unharmed(t, v)
		if got := read(t, v, "other/token/a").text(t, "access_token"); got != token || s.Requests() != 1 {
			t.Errorf("the other mount's token was lost: %d requests", s.Requests())
		}
		v.Unmount("other")
	})

	t.Run("kill -9 with fifty readers in flight", func(t *testing.T) {
		v := v.For(t)
		for range 3 {
			var stops []func() []sample
			for _, path := range []string{"fleet00", "fleet01", "fleet02?scopes=write", "fleet04", "fleet05"} {
				stops = append(stops, keepReading(v, "oauthcc/token/"+path, 10, time.Millisecond))
			}
			wait(t, time.Now().Add(300*time.Millisecond))
			struck := time.Now()
			v.KillPlugin()
			answering(t, v)
			back := time.Now() // every later read must succeed
			wait(t, back.Add(500*time.Millisecond))
			// However busy the machine is, fifty reads more begin after the kill.
			stops = append(stops, keepReading(v, "oauthcc/token/fleet00", 50, time.Millisecond))
			failed, later := 0, 0
			for _, stop := range stops {
				for _, r := range stop() {
					switch {
					case r.begun.After(back):
						later++
						if r.status != http.StatusOK {
							t.Errorf("a read %s after the kill got %d: %s", r.begun.Sub(struck), r.status, r.raw)
						}
					case r.ended.Before(struck) && r.status != http.StatusOK:
						t.Errorf("a read before the kill got %d: %s", r.status, r.raw)
					case r.status == http.StatusInternalServerError:
						failed++
					case r.status != http.StatusOK:
						t.Errorf("a read in flight got %d, want 200 or Vault's 500: %s", r.status, r.raw)
					}
				}
			}
			t.Logf("%d reads in flight failed, until the plugin was back %s after the kill; %d later ones were served", failed, back.Sub(struck), later)
			if took := back.Sub(struck); took > 10*time.Second {
				t.Errorf("it took %s until the plugin was back", took)
			}
			if later < 50 {
				t.Errorf("only %d reads after the kill", later)
			}
			f.unharmed(t, v)
		}
	})

	t.Run("a reload with readers in flight", func(t *testing.T) {
		v := v.For(t)
		stop := keepReading(v, "oauthcc/token/fleet00", 20, time.Millisecond)
		v.ReloadPlugin()
		if all := statuses(stop()); len(all) != 1 || all[http.StatusOK] == 0 {
			t.Errorf("statuses %v, want nothing but 200: a reload drains", all)
		}
		f.unharmed(t, v)
	})

	t.Run("a reload, an upgrade and a seal with mints under way", func(t *testing.T) {
		v := v.For(t)
		for name, interrupt := range map[string]func(){
			"reload": v.ReloadPlugin,
			"upgrade": func() {
				v.RegisterPlugin(harness.PluginName, next, "v9.9.9")
				version := "v9.9.9"
				v.Tune("oauthcc", api.TuneMountConfigInput{PluginVersion: &version})
				v.ReloadPlugin()
				if got := read(t, v, "oauthcc/info").text(t, "version"); got != version {
					t.Errorf("the plugin that runs is %s, want %s", got, version)
				}
			},
			"seal": func() { v.Seal(); v.Unseal(); answering(t, v) },
		} {
			// One reader waits for its token. Another reader has left, and its
			// mint takes longer, so that at the end only the engine waits for
			// that mint.
			waits, left := "waits"+name, "left"+name
			servers := map[string]*providertest.Server{}
			for config, takes := range map[string]time.Duration{waits: time.Second, left: 3 * time.Second} {
				servers[config] = standard(t, v, config, providertest.Options{}, nil)
				servers[config].Behave(providertest.Behavior{Delay: takes})
			}
			reader, leave := readLater(v, "oauthcc/token/"+waits), readAndLeave(t, v, "oauthcc/token/"+left)
			wasAsked(t, servers[waits], 1)
			wasAsked(t, servers[left], 1)
			leave()
			interrupt()
			// The reader may have lost its connection to Vault. The minted
			// token is stored, however, and is served from now on.
			t.Logf("%s: the reader got %d", name, (<-reader).status)
			tokens := map[string]string{}
			for config, s := range servers {
				r := tryRead(v, "oauthcc/token/"+config)
				r.wants(t, http.StatusOK)
				tokens[config] = r.accessToken()
				issuedBy(t, s, tokens[config])
			}
			crash(t, v) // everything that is only in memory is lost
			for config, s := range servers {
				r := tryRead(v, "oauthcc/token/"+config)
				r.wants(t, http.StatusOK)
				if r.accessToken() != tokens[config] || s.Requests() != 1 {
					t.Errorf("%s: the token was not stored: the provider saw %d requests", config, s.Requests())
				}
			}
		}
		f.unharmed(t, v)
	})

	t.Run("a restart of Vault", func(t *testing.T) {
		v := v.For(t)
		v.Restart()
		answering(t, v)
		f.unharmed(t, v)
	})

	t.Run("kill -9 of Vault with readers and a mint in flight", func(t *testing.T) {
		v := v.For(t)
		s := standard(t, v, "lost", providertest.Options{}, fields{"request_timeout": "60s"})
		s.Behave(providertest.Behavior{Hang: true})
		stop := keepReading(v, "oauthcc/token/fleet00", 20, time.Millisecond)
		reader := readLater(v, "oauthcc/token/lost")
		wasAsked(t, s, 1)
		plugins := v.PluginPIDs()
		v.Kill9()
		ended(t, plugins)
		<-reader
		stop()
		v.Restart()
		answering(t, v)
		f.unharmed(t, v)
		issuedBy(t, s, read(t, v, "oauthcc/token/lost").text(t, "access_token"))
	})
}

// crash ends the plugin as kill -9 does, and waits until the engine answers
// again. It returns how long that took, because Vault needs a moment to notice.
func crash(t *testing.T, v *harness.Vault) time.Duration {
	t.Helper()
	v.KillPlugin()
	begun := time.Now()
	answering(t, v)
	took := time.Since(begun)
	if took > 10*time.Second {
		t.Errorf("the plugin was away for %s", took)
	}
	return took
}

// answering waits until the engine answers. A server that was just unsealed is
// active some time before its mounts are.
func answering(t *testing.T, v *harness.Vault) {
	t.Helper()
	harness.Eventually(t, 90*time.Second, func() error {
		if status, body := v.Status(http.MethodGet, "oauthcc/info", nil, v.RootToken()); status != http.StatusOK {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
}

// ended waits until the processes have ended by themselves.
func ended(t *testing.T, pids []int) {
	t.Helper()
	if len(pids) == 0 {
		t.Error("no plugin process to look after")
	}
	begun := time.Now()
	harness.Eventually(t, 30*time.Second, func() error {
		for _, pid := range pids {
			if cmdline, err := os.ReadFile(procFile(pid, "cmdline")); err == nil && len(cmdline) > 0 {
				return fmt.Errorf("plugin process %d is still there", pid)
			}
		}
		return nil
	})
	t.Logf("the plugin ended %s after its Vault", time.Since(begun))
}

func procFile(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
}

// footprint is the memory, threads and open files of a process.
type footprint struct{ rssKiB, threads, files int }

func footprintOf(t *testing.T, pid int) footprint {
	t.Helper()
	status, err := os.ReadFile(procFile(pid, "status"))
	if err != nil {
		t.Fatal(err)
	}
	number := func(name string) int {
		for line := range bytes.Lines(status) {
			words := bytes.Fields(line)
			if len(words) > 1 && string(words[0]) == name+":" {
				n, err := strconv.Atoi(string(words[1]))
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
		t.Fatalf("no %s of process %d:\n%s", name, pid, status)
		return 0
	}
	files, err := os.ReadDir(procFile(pid, "fd"))
	if err != nil {
		t.Fatal(err)
	}
	return footprint{rssKiB: number("VmRSS"), threads: number("Threads"), files: len(files)}
}

// TestLifeNothingLeaks disables mounts while mints are in progress, in a
// process that another mount keeps alive.
func TestLifeNothingLeaks(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{LogLevel: "warn"})
	stays := standard(t, v, "stays", providertest.Options{}, nil)
	token := read(t, v, "oauthcc/token/stays").text(t, "access_token")
	pids := v.PluginPIDs()
	if len(pids) != 1 {
		t.Fatalf("plugin processes %v, want one", pids)
	}
	s := providertest.Start(t, providertest.RFC6749, providertest.Options{})
	const rounds = 20
	var warm footprint
	for i := range rounds {
		v.Mount("passing", harness.PluginName)
		for _, config := range []string{"a", "b"} {
			write(t, v, "passing/config/"+config, registration(providertest.RFC6749, s))
		}
		s.Reset()
		s.Behave(providertest.Behavior{Times: -1, Delay: 300 * time.Millisecond})
		var readers []<-chan sample
		for _, path := range []string{"a", "a", "b"} {
			readers = append(readers, readLater(v, "passing/token/"+path))
		}
		wasAsked(t, s, 2)
		v.Unmount("passing")
		for _, reader := range readers {
			if r := <-reader; r.status == 0 {
				t.Errorf("a reader got no answer: %s", r.raw)
			}
		}
		if i == rounds/2-1 {
			warm = footprintOf(t, pids[0])
		}
	}
	if now := v.PluginPIDs(); len(now) != 1 || now[0] != pids[0] {
		t.Fatalf("plugin processes %v, want %v still", now, pids)
	}
	// The last sockets may still be closing. Threads are not judged, because Go
	// keeps as many as the busiest moment needed.
	harness.Eventually(t, time.Minute, func() error {
		after := footprintOf(t, pids[0])
		if after.rssKiB > warm.rssKiB+10<<10 || after.files > warm.files+rounds/4 {
			return fmt.Errorf("the process grows: %+v after %d mounts, %+v after %d", warm, rounds/2, after, rounds)
		}
		t.Logf("after %d rounds %+v, after %d %+v", rounds/2, warm, rounds, after)
		return nil
	})

	// A mint that hangs delays a disable only for a limited time, and its reader
	// gets an answer. Neither waits until the mint times out.
	const hangs = time.Minute
	v.Mount("passing", harness.PluginName)
	write(t, v, "passing/config/a", with(registration(providertest.RFC6749, s), fields{"request_timeout": hangs.String()}))
	s.Reset()
	s.Behave(providertest.Behavior{Times: -1, Hang: true})
	reader := readLater(v, "passing/token/a")
	wasAsked(t, s, 1)
	begun := time.Now()
	v.Unmount("passing")
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("disabling a mount whose mint hangs took %s, want its five seconds and a few", took)
	}
	r := <-reader
	if r.status == http.StatusOK || r.status == 0 || r.took() > 20*time.Second {
		t.Errorf("the reader of a disabled mount got %d after %s: %s", r.status, r.took(), r.raw)
	}

	if got := read(t, v, "oauthcc/token/stays").text(t, "access_token"); got != token || stays.Requests() != 1 {
		t.Errorf("the other mount's token was lost: %d requests", stays.Requests())
	}
	v.Kill9()
	ended(t, pids)
}
