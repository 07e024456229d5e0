// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

// Package tests_test is the acceptance suite: the plugin on a real Vault
// server, driven over HTTP and by the vault command the way a user does. What
// it tests exists only across the plugin boundary, or is a promise to users.
//
// Each topic has a file, and most a server of its own, which the subtests
// share: their configs have names of their own.
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

// TestMain runs the suite in a temporary directory of its own, and fails when
// a process that has to do with it is left in the end.
func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	complain := func(problem any) int {
		fmt.Fprintln(os.Stderr, "tests:", problem)
		return 1
	}
	// The name is short, since plugins have their sockets in there.
	dir, err := os.MkdirTemp("", "occ")
	if err != nil {
		return complain(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Setenv("TMPDIR", dir); err != nil {
		return complain(err)
	}
	code := m.Run()
	// A plugin whose Vault was killed looks once a second whether it still has
	// one, so give it a moment.
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

// processesOf lists the processes, other than this one, that were started with
// anything from dir: as a program, an argument, the directory or the
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
