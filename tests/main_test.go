// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

// Package tests_test is the acceptance suite. It runs the plugin on a real
// Vault server and uses it over HTTP and through the vault command, as a user
// does. It tests what exists only across the plugin boundary, and promises to
// users.
//
// Each topic has its own file, and most topics have their own server. The
// subtests share the server and use configs with different names.
package tests_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// TestMain runs the suite in its own temporary directory. It fails if a process
// that uses this directory is left at the end.
func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	complain := func(problem any) int {
		fmt.Fprintln(os.Stderr, "tests:", problem)
		return 1
	}
	// The name is short because it is part of the path of the plugins' sockets,
	// and such paths have a length limit.
	dir, err := os.MkdirTemp("", "occ")
	if err != nil {
		return complain(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Setenv("TMPDIR", dir); err != nil {
		return complain(err)
	}
	code := m.Run()
	// A plugin checks once a second whether its Vault still runs. If Vault was
	// killed, the plugin therefore needs a moment to end.
	var left []string
	for deadline := time.Now().Add(5 * time.Second); ; <-time.After(100 * time.Millisecond) {
		if left = processesOf(dir); len(left) == 0 {
			return code
		}
		if time.Now().After(deadline) {
			break
		}
	}
	for _, process := range left {
		_ = complain("left behind: " + process)
	}
	return 1
}

// processesOf lists the other processes that were started with anything from
// dir: as the program, an argument, the working directory or in the
// environment. Without /proc it finds none.
func processesOf(dir string) []string {
	found, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	var out []string
	for _, proc := range found {
		if filepath.Base(proc) == strconv.Itoa(os.Getpid()) {
			continue
		}
		var traces []byte
		for _, file := range []string{"cmdline", "environ"} {
			content, err := os.ReadFile(filepath.Join(proc, file))
			if err == nil {
				traces = append(traces, content...)
			}
		}
		for _, link := range []string{"exe", "cwd"} {
			target, err := os.Readlink(filepath.Join(proc, link))
			if err == nil {
				traces = append(traces, target...)
			}
		}
		if bytes.Contains(traces, []byte(dir)) {
			cmdline, err := os.ReadFile(filepath.Join(proc, "cmdline"))
			if err == nil {
				out = append(out, filepath.Base(proc)+" "+string(bytes.ReplaceAll(cmdline, []byte{0}, []byte(" "))))
			}
		}
	}
	return out
}
