// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

const (
	resultsFile = cacheDir + "/results.json"
	docFile     = "docs/performance.md"
	plotFile    = "docs/performance.svg"

	// The text between these lines of docFile is written by this command.
	markBegin = "<!-- written by make bench: begin -->"
	markEnd   = "<!-- written by make bench: end -->"
)

// results are the findings of a run.
type results struct {
	Finished    string `json:"finished"`
	Vault       string `json:"vault"`
	Plugin      string `json:"plugin"`
	CPUs        int    `json:"cpus"`
	Go          string `json:"go"`
	Connections int    `json:"connections"`
	Seconds     int    `json:"seconds"`
	Rounds      int    `json:"rounds"`
	Rows        []row  `json:"rows"`
}

// row is one line of the table.
type row struct {
	ID       string             `json:"id"`
	What     string             `json:"what"`
	Storage  string             `json:"storage"`
	Measured string             `json:"measured"`
	Bar      string             `json:"bar,omitempty"`
	Verdict  string             `json:"verdict,omitempty"` // PASS, FAIL or empty
	Ratio    *spread            `json:"ratio,omitempty"`
	Ours     float64            `json:"reads_per_second,omitempty"` // the numerator of Ratio
	Base     float64            `json:"base_reads_per_second,omitempty"`
	Cost     *cost              `json:"microseconds_per_read,omitempty"`
	Numbers  map[string]float64 `json:"numbers,omitempty"`
}

// cost is the processor time of a read, in microseconds. The Base fields are
// the floor's.
type cost struct {
	Vault      float64 `json:"vault"`
	Plugin     float64 `json:"plugin"`
	BaseVault  float64 `json:"base_vault"`
	BasePlugin float64 `json:"base_plugin"`
}

// spread is a median with the lowest and the highest value.
type spread struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

func newResults(tb testing.TB, s settings) *results {
	tb.Helper()
	version := func(path, arg string) string {
		out, err := exec.CommandContext(tb.Context(), path, arg).Output()
		if err != nil {
			tb.Fatalf("ask %s for its version: %v", path, err)
		}
		return strings.TrimSpace(string(out))
	}
	vault, _, _ := strings.Cut(version(harness.VaultBinary(tb), "version"), " (")
	return &results{
		Vault: vault, Plugin: version(harness.PluginBinary(tb), "-version"),
		CPUs: runtime.NumCPU(), Go: runtime.Version(), Connections: connections, Seconds: int(s.turn / time.Second), Rounds: s.rounds,
	}
}

func (r *results) add(got row) {
	r.Rows = append(r.Rows, got)
	note("%s | %s | %s | %s | %s", got.What, got.Storage, got.Measured, got.Bar, got.Verdict)
}

// ratio adds a row that compares two loads that took turns, round by round. It
// adds nothing if either of them did not run. A bar of zero means that there is
// no bar.
func (r *results) ratio(id, what, storage string, bar float64, oursLoad, baseLoad *variant) {
	ours, base := oursLoad.rounds, baseLoad.rounds
	if len(ours) == 0 || len(base) == 0 {
		return
	}
	var each []float64
	var allOurs, allBase load
	for i := range min(len(ours), len(base)) {
		allOurs, allBase = allOurs.plus(ours[i]), allBase.plus(base[i])
		each = append(each, ours[i].perSecond()/base[i].perSecond())
	}
	got := row{
		ID: id, What: what, Storage: storage, Ours: allOurs.perSecond(), Base: allBase.perSecond(),
		Ratio: &spread{Median: median(each), Low: slices.Min(each), High: slices.Max(each)},
	}
	var c cost
	c.Vault, c.Plugin = allOurs.perRead()
	c.BaseVault, c.BasePlugin = allBase.perRead()
	got.Cost = &c
	got.Measured = fmt.Sprintf("**%.2f** (%.2f–%.2f): %s against %s reads/s; CPU %.0f + %.0f against %.0f + %.0f µs",
		got.Ratio.Median, got.Ratio.Low, got.Ratio.High, grouped(int(got.Ours)), grouped(int(got.Base)),
		c.Vault, c.Plugin, c.BaseVault, c.BasePlugin)
	if bar > 0 {
		got.Bar, got.Verdict = fmt.Sprintf("≥ %g", bar), verdict(got.Ratio.Median >= bar)
	}
	r.add(got)
}

func verdict(ok bool) string {
	if ok {
		return "PASS"
	}
	return "FAIL"
}

// markdown returns the table.
func (r *results) markdown() string {
	var b strings.Builder
	b.WriteString("| what | storage | measured | bar | |\n|---|---|---|---|---|\n")
	for _, got := range r.Rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", got.What, got.Storage, got.Measured, got.Bar, got.Verdict)
	}
	fmt.Fprintf(&b, "\n%s; %s; %d CPUs; %d connections; %d rounds of turns of %d s; %s.\n",
		r.Vault, r.Plugin, r.CPUs, r.Connections, r.Rounds, r.Seconds, r.Finished)
	return b.String()
}

func (r *results) save() error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the results: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(resultsFile), 0o755); err != nil {
		return err
	}
	note("the numbers are in %s", resultsFile)
	return os.WriteFile(resultsFile, append(data, '\n'), 0o644)
}

// publish updates the table and the plot in docs/.
func (r *results) publish() error {
	doc, err := os.ReadFile(docFile)
	if err != nil {
		return fmt.Errorf("read the document to renew: %w", err)
	}
	head, rest, ok := strings.Cut(string(doc), markBegin)
	_, tail, ok2 := strings.Cut(rest, markEnd)
	if !ok || !ok2 {
		return errors.New(docFile + " lacks the lines between which the table goes")
	}
	if err := os.WriteFile(plotFile, []byte(r.plot()), 0o644); err != nil {
		return err
	}
	return os.WriteFile(docFile, []byte(head+markBegin+"\n\n"+r.markdown()+"\n"+markEnd+tail), 0o644)
}

func renderAgain() error {
	data, err := os.ReadFile(resultsFile)
	if err != nil {
		return fmt.Errorf("read the results of the run before: %w", err)
	}
	var r results
	if err := json.Unmarshal(data, &r); err != nil {
		return fmt.Errorf("read %s: %w", resultsFile, err)
	}
	return r.publish()
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// grouped writes a number with commas, such as 10,000.
func grouped(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func join(numbers []int) string {
	return strings.Trim(strings.Join(strings.Fields(fmt.Sprint(numbers)), ", "), "[]")
}

func inMS(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
