// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stopTimeout is how long a process may take to end after SIGTERM. Vault waits
// for its plugins, and the plugins wait for requests in progress.
const stopTimeout = 20 * time.Second

// Process is a program under test. Its output goes to a file.
type Process struct {
	tb      testing.TB
	name    string
	dir     string
	logPath string
	cmd     *exec.Cmd
	done    chan struct{}
}

// command is a program to run.
type command struct {
	name string
	path string
	args []string
	env  []string
	dir  string
	log  string
}

// startProcess starts the command in its own process group. On Linux, the
// process dies together with the test binary. Its output is appended to the
// log, so that the log covers restarts. The caller must make sure that finish
// is called.
func startProcess(tb testing.TB, c command) *Process {
	tb.Helper()
	out, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		tb.Fatalf("start %s: %v", c.name, err)
	}
	cmd := exec.Command(c.path, c.args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = c.env, c.dir, out, out
	cmd.SysProcAttr = ownGroup()
	p := &Process{tb: tb, name: c.name, dir: c.dir, logPath: c.log, cmd: cmd, done: make(chan struct{})}

	started := make(chan error)
	go func() {
		defer out.Close()
		// Linux kills the child when the *thread* that started it ends. This
		// goroutine is locked to its thread, so the thread lives as long as the
		// child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // the result is in cmd.ProcessState
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		tb.Fatalf("start %s: %v", c.name, err)
	}
	return p
}

// PID returns the process's ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Dir returns the process's working directory, which holds its configuration.
func (p *Process) Dir() string { return p.dir }

// Log returns the process's standard output and standard error so far.
func (p *Process) Log() string { return readLog(p.logPath) }

// Done returns a channel that is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running reports whether the process has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// ExitCode returns the exit code. It is -1 while the process runs, or if a
// signal ended it.
func (p *Process) ExitCode() int {
	if p.Running() {
		return -1
	}
	return p.cmd.ProcessState.ExitCode()
}

// Signal sends the process a signal, such as SIGHUP.
func (p *Process) Signal(sig os.Signal) {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.tb.Fatalf("signal %s: %v", p.name, err)
	}
}

// Stop asks the process to end, kills it after a while if it does not, and
// returns when it is gone.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		p.tb.Logf("%s did not end within %s of SIGTERM, killing it", p.name, stopTimeout)
		p.Kill()
	}
}

// Kill ends the process at once, as kill -9 does, and returns when it is gone.
// It does not end the process's children, just as on a real machine.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.done
}

// finish stops the process and then kills its whole group, because no process
// may outlive a test.
func (p *Process) finish() {
	p.Stop()
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL) // usually nothing is left
}

func readLog(path string) string {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "cannot read the log: " + err.Error()
	}
	return string(data)
}

// keepLog saves the log of a failed test, because the test's temporary
// directory is removed. It also shows the end of the log.
func keepLog(tb testing.TB, name, path string) {
	tb.Helper()
	if !tb.Failed() {
		return
	}
	const shown = 40
	log := readLog(path)
	lines := strings.Split(strings.TrimRight(log, "\n"), "\n")
	where := "not kept"
	if root, err := moduleRoot(); err == nil {
		file := strings.NewReplacer("/", "_", " ", "_").Replace(tb.Name()+"-"+name) + ".log"
		kept := filepath.Join(root, ".cache", "test-logs", file)
		if err := os.MkdirAll(filepath.Dir(kept), 0o750); err == nil {
			if err := os.WriteFile(kept, []byte(log), 0o600); err == nil {
				where = kept
			}
		}
	}
	tb.Logf("log of %s (%d lines: %s), its end:\n%s", name, len(lines), where,
		strings.Join(lines[max(0, len(lines)-shown):], "\n"))
}
