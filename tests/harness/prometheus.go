// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Prometheus is a running Prometheus server.
type Prometheus struct {
	tb   testing.TB
	proc *Process
	url  string
}

// Sample is one series of a query's result.
type Sample struct {
	Labels map[string]string
	Value  float64
}

// Alert is a pending or firing alert.
type Alert struct {
	Labels, Annotations map[string]string
	State               string
}

// Found once per process, because it does not change while tests run.
var findPrometheus = sync.OnceValues(func() (string, error) { return runScript("prometheus.sh") })

func prometheusDir(tb testing.TB) string {
	tb.Helper()
	dir, err := findPrometheus()
	if err != nil {
		tb.Fatalf("no Prometheus to test with: %v\nRun scripts/prometheus.sh, which gets it, and see what it says.", err)
	}
	return dir
}

// StartPrometheus starts a Prometheus server on loopback that runs until the
// test ends, by the file prometheus.yml in dir, which is its working directory.
func StartPrometheus(tb testing.TB, dir string) *Prometheus {
	tb.Helper()
	p := &Prometheus{tb: tb}
	p.proc = startProcess(tb, command{
		name: "prometheus", path: filepath.Join(prometheusDir(tb), "prometheus"), dir: dir, env: baseEnv(dir), log: filepath.Join(dir, "prometheus.log"),
		args: []string{"--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:0"},
	})
	tb.Cleanup(func() {
		p.proc.finish()
		keepLog(tb, p.proc.name, p.proc.logPath)
	})
	listening := regexp.MustCompile(`msg="Listening on" address=(\S+)`)
	err := poll(tb.Context(), readyTimeout, func() error {
		if !p.proc.Running() {
			return stop(fmt.Errorf("it ended by itself (exit code %d)", p.proc.ExitCode()))
		}
		found := listening.FindStringSubmatch(p.proc.Log())
		if found == nil {
			return errors.New("it does not listen yet")
		}
		p.url = "http://" + found[1]
		return p.get("/-/ready", nil, nil)
	})
	if err != nil {
		tb.Fatalf("start Prometheus: %v", err)
	}
	return p
}

// URL returns the server's URL, without a trailing slash.
func (p *Prometheus) URL() string { return p.url }

// For returns a view of the same server that reports to another test.
func (p *Prometheus) For(tb testing.TB) *Prometheus {
	view := *p
	view.tb = tb
	return &view
}

// Query evaluates an expression that gives an instant vector. It returns an
// error if the server refuses the expression. Any goroutine may call it.
func (p *Prometheus) Query(expr string) ([]Sample, error) {
	var answer struct {
		Result []struct {
			Metric map[string]string
			Value  [2]any // the time, and the value as a string
		}
	}
	if err := p.get("/api/v1/query", url.Values{"query": {expr}}, &answer); err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	out := make([]Sample, len(answer.Result))
	for i, r := range answer.Result {
		text, _ := r.Value[1].(string)
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", expr, err)
		}
		out[i] = Sample{r.Metric, value}
	}
	return out, nil
}

// Alerts returns the alerts that are pending or firing.
func (p *Prometheus) Alerts() ([]Alert, error) {
	var answer struct{ Alerts []Alert }
	err := p.get("/api/v1/alerts", nil, &answer)
	return answer.Alerts, err
}

// get reads the data of an answer of the API.
func (p *Prometheus) get(path string, query url.Values, data any) error {
	ctx, cancel := context.WithTimeout(p.tb.Context(), requestTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path+"?"+query.Encode(), http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", path, resp.Status, body.String())
	}
	if data == nil {
		return nil
	}
	return json.Unmarshal(body.Bytes(), &struct{ Data any }{data})
}

// Promtool runs the promtool that comes with Prometheus, in dir.
func Promtool(tb testing.TB, dir, stdin string, args ...string) Result {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), requestTimeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(prometheusDir(tb), "promtool"), args...)
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, baseEnv(dir), strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState == nil {
		tb.Fatalf("run promtool %s: %v", strings.Join(args, " "), err)
	}
	return Result{Stdout: stdout.String(), Stderr: stderr.String(), ExitCode: cmd.ProcessState.ExitCode()}
}
