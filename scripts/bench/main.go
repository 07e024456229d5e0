// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

// Command bench measures the engine on a real Vault server against the floor,
// the smallest possible plugin. Both get the same load, in turns, in one run.
// The ratio therefore shows the engine's cost and not the machine's speed.
//
//	make bench
//	BENCH_SECONDS=1 BENCH_ROUNDS=3 BENCH_STORAGE=inmem BENCH_ROWS=leased,cold make bench
//
// It prints a Markdown table with ratios and bars, and writes the numbers to
// .cache/bench/results.json. A run of all rows also updates the table in
// docs/performance.md and the plot in docs/performance.svg. With -render it
// does only that last step, with the numbers of the previous run.
//
// Environment variables, with their defaults:
//
//	BENCH_SECONDS  how many seconds each load has in a round (3)
//	BENCH_ROUNDS   how many rounds there are (9)
//	BENCH_STORAGE  inmem, raft, or both, separated by commas (both)
//	BENCH_ROWS     which rows, separated by commas: leased, plain, many, cold,
//	               failing, hang, durable, memory, mint, proof, sizing (all)
//	BENCH_CONFIGS  how many configs the rows many and memory have (10000)
//	BENCH_LEASES   how many leases the row sizing makes (10000)
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// The names that BENCH_ROWS accepts.
const (
	rowLeased  = "leased"
	rowPlain   = "plain"
	rowMany    = "many"
	rowCold    = "cold"
	rowFailing = "failing"
	rowHang    = "hang"
	rowDurable = "durable"
	rowMemory  = "memory"
	rowMint    = "mint"
	rowProof   = "proof"
	rowSizing  = "sizing"
)

const (
	connections = 16    // of a steady load
	crowd       = 1_000 // simultaneous readers
	fewConfigs  = 10
	cacheDir    = ".cache/bench"
)

// settings are the values from the environment.
type settings struct {
	turn     time.Duration
	rounds   int
	configs  int
	leases   int
	storages []harness.Storage
	rows     []string
	all      bool // nothing is left out
}

func (s settings) has(rows ...string) bool {
	return slices.ContainsFunc(rows, func(r string) bool { return slices.Contains(s.rows, r) })
}

func readSettings() (settings, error) {
	s := settings{rows: []string{rowLeased, rowPlain, rowMany, rowCold, rowFailing, rowHang, rowDurable, rowMemory, rowMint, rowProof, rowSizing}}
	var err error
	number := func(name string, standard int) int {
		text := os.Getenv(name)
		if text == "" {
			return standard
		}
		n, parseErr := strconv.Atoi(text)
		if parseErr != nil || n < 1 {
			err = errors.Join(err, fmt.Errorf("%s=%s is not a positive number", name, text))
		}
		return n
	}
	list := func(name string, standard []string) []string {
		text := os.Getenv(name)
		if text == "" {
			return standard
		}
		var out []string
		for word := range strings.SplitSeq(text, ",") {
			word = strings.TrimSpace(word)
			if !slices.Contains(standard, word) {
				err = errors.Join(err, fmt.Errorf("%s names %q; there is %s", name, word, strings.Join(standard, ", ")))
			}
			out = append(out, word)
		}
		return out
	}
	s.turn = time.Duration(number("BENCH_SECONDS", 3)) * time.Second
	s.rounds = number("BENCH_ROUNDS", 9)
	s.configs = number("BENCH_CONFIGS", 10_000)
	s.leases = number("BENCH_LEASES", 10_000)
	every := len(s.rows)
	s.rows = list("BENCH_ROWS", s.rows)
	for _, name := range list("BENCH_STORAGE", []string{"inmem", "raft"}) {
		s.storages = append(s.storages, map[string]harness.Storage{"inmem": harness.InMem, "raft": harness.Raft}[name])
	}
	s.all = len(s.rows) == every && len(s.storages) == 2
	return s, err
}

func main() {
	render := flag.Bool("render", false, "write docs/performance.md and .svg from the numbers of the run before")
	testing.Init()
	flag.Parse()
	// Package testing writes to standard output, which is reserved for the
	// table.
	table := os.Stdout
	os.Stdout = os.Stderr

	s, err := readSettings()
	if err == nil && *render {
		err = renderAgain()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	if *render {
		return
	}
	// The harness is made for tests, and stops the servers when the test ends.
	// The benchmark therefore runs as a test.
	testing.Main(func(string, string) (bool, error) { return true, nil }, []testing.InternalTest{{
		Name: "bench",
		F: func(t *testing.T) {
			stopped := make(chan os.Signal, 1)
			signal.Notify(stopped, os.Interrupt, syscall.SIGTERM)
			b := &bench{tb: t, settings: s, floor: buildFloor(t), results: newResults(t, s), stopped: stopped}
			b.run()
			b.results.Finished = time.Now().UTC().Format(time.RFC3339)
			if err := b.results.save(); err != nil {
				t.Fatal(err)
			}
			if _, err := table.WriteString(b.results.markdown()); err != nil {
				t.Fatal(err)
			}
			if !s.all {
				note("not everything was measured, so docs/ stays as it is")
				return
			}
			if err := b.results.publish(); err != nil {
				t.Fatal(err)
			}
		},
	}}, nil, nil)
}

func note(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

func buildFloor(tb testing.TB) string {
	tb.Helper()
	path, err := filepath.Abs(filepath.Join(cacheDir, "floor"))
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.CommandContext(tb.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", path, "./scripts/bench/floor")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("build the floor: %v\n%s", err, out)
	}
	return path
}
