// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// together runs subtests at the same time, even on a machine with few cores:
// the subtests mostly wait for tokens to grow old.
func together(t *testing.T, tests map[string]func(*testing.T)) {
	t.Helper()
	var running sync.WaitGroup
	for name, test := range tests {
		running.Go(func() { t.Run(name, test) })
	}
	running.Wait()
}

// sample is one read, with its start and end times.
type sample struct {
	begun, ended time.Time
	reply
}

func (s sample) took() time.Duration { return s.ended.Sub(s.begun) }

// tryRead is like read but fails no test, so it may be called from any
// goroutine. The caller checks the result.
func tryRead(v *harness.Vault, path string) sample {
	begun := time.Now()
	status, header, raw := v.Do(http.MethodGet, path, nil, v.RootToken())
	return answered(begun, status, header, raw)
}

func answered(begun time.Time, status int, header http.Header, raw []byte) sample {
	s := sample{begun: begun, ended: time.Now(), reply: reply{status: status, header: header, raw: string(raw)}}
	if status != 0 {
		_ = json.Unmarshal(raw, &s.reply) // an answer that is not JSON has no token
	}
	return s
}

// accessToken returns the token in an answer, or "".
func (r reply) accessToken() string {
	token, _ := r.Data["access_token"].(string)
	return token
}

// warned reports whether a warning contains the text.
func (r reply) warned(text string) bool {
	return slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.Contains(w, text) })
}

// readLater reads in another goroutine.
func readLater(v *harness.Vault, path string) <-chan sample {
	out := make(chan sample, 1)
	go func() { out <- tryRead(v, path) }()
	return out
}

// readAndLeave starts a read in another goroutine. The returned function
// cancels the read, closes its connection, and returns when the reader is gone.
func readAndLeave(t *testing.T, v *harness.Vault, path string) (leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	reader := &crowd{v: v, readers: []*http.Transport{{}}}
	left := make(chan struct{})
	go func() {
		defer close(left)
		reader.read(ctx, path)
		reader.readers[0].CloseIdleConnections()
	}()
	return func() {
		cancel()
		<-left
	}
}

// keepReading lets n readers read path until the returned function is called.
// Each reader reads once per pace, or slower. The returned function returns all
// samples.
func keepReading(v *harness.Vault, path string, n int, pace time.Duration) (stop func() []sample) {
	var (
		readers sync.WaitGroup
		mu      sync.Mutex
		all     []sample
		over    = make(chan struct{})
	)
	for range n {
		readers.Go(func() {
			ticker := time.NewTicker(pace)
			defer ticker.Stop()
			for {
				got := tryRead(v, path)
				mu.Lock()
				all = append(all, got)
				mu.Unlock()
				select {
				case <-over:
					return
				case <-ticker.C:
				}
			}
		})
	}
	return sync.OnceValue(func() []sample {
		close(over)
		readers.Wait()
		return all
	})
}

// p99 returns the 99th percentile of the reads' durations.
func p99(samples []sample) time.Duration { return percentile(samples, 99) }

func median(samples []sample) time.Duration { return percentile(samples, 50) }

func percentile(samples []sample, percent int) time.Duration {
	if len(samples) == 0 {
		return 0
	}
	took := make([]time.Duration, len(samples))
	for i, s := range samples {
		took[i] = s.took()
	}
	slices.Sort(took)
	return took[(len(took)*percent-1)/100]
}

// statuses counts answers by status, for messages.
func statuses(samples []sample) map[int]int {
	out := map[int]int{}
	for _, s := range samples {
		out[s.status]++
	}
	return out
}

// crowd is many readers. Each has its own connection, which is opened in
// advance.
type crowd struct {
	v       *harness.Vault
	readers []*http.Transport
}

func newCrowd(t *testing.T, v *harness.Vault, n int) *crowd {
	t.Helper()
	c := &crowd{v: v}
	for range n {
		transport := &http.Transport{}
		t.Cleanup(transport.CloseIdleConnections)
		c.readers = append(c.readers, transport)
	}
	warm, _ := c.read(t.Context(), "sys/health")
	if got := statuses(warm); got[http.StatusOK] != n {
		t.Fatalf("the readers could not connect: %v", got)
	}
	return c
}

// read lets all readers read a path at once. It returns the samples and the
// time until the last answer.
func (c *crowd) read(ctx context.Context, path string) ([]sample, time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	out := make([]sample, len(c.readers))
	var readers sync.WaitGroup
	begun := time.Now()
	for i, transport := range c.readers {
		readers.Go(func() { out[i] = c.one(ctx, transport, path) })
	}
	readers.Wait()
	return out, time.Since(begun)
}

func (c *crowd) one(ctx context.Context, transport *http.Transport, path string) sample {
	begun := time.Now()
	failed := func(err error) sample { return answered(begun, 0, nil, []byte(err.Error())) }
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.v.Addr()+"/v1/"+path, http.NoBody)
	if err != nil {
		return failed(err)
	}
	r.Header.Set("X-Vault-Token", c.v.RootToken())
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return failed(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return failed(err)
	}
	return answered(begun, resp.StatusCode, resp.Header, raw)
}

// wasAsked waits until the provider has seen at least n requests.
func wasAsked(t *testing.T, s *providertest.Server, n int) {
	t.Helper()
	harness.Eventually(t, 60*time.Second, func() error {
		if got := s.Requests(); got < n {
			return fmt.Errorf("the provider saw %d requests, not yet %d", got, n)
		}
		return nil
	})
}

// wait waits until the given time, while a token grows old.
func wait(t *testing.T, until time.Time) {
	t.Helper()
	select {
	case <-time.After(time.Until(until)):
	case <-t.Context().Done():
	}
}

// grants counts the requests that a provider saw by grant type.
func grants(s *providertest.Server) map[string]int {
	out := map[string]int{}
	for _, r := range s.All() {
		out[r.Form().Get("grant_type")]++
	}
	return out
}

// firstRefreshToken gets a refresh token directly from the provider, as a
// person who sets up a config does.
func firstRefreshToken(t *testing.T, s *providertest.Server) string {
	t.Helper()
	c := s.Credentials()
	form := url.Values{
		"grant_type": {"password"}, "username": {c.Username}, "password": {c.Password},
		"client_id": {c.ClientID}, "client_secret": {c.ClientSecret},
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.TokenURL(), strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	token, _ := rawObject(t, string(raw))["refresh_token"].(string)
	if token == "" {
		t.Fatalf("the provider gave no refresh token: %s", raw)
	}
	return token
}

// chained starts a server that follows RFC 6749 and whose refresh tokens can
// each be used once. It writes a config that starts with one of them.
func chained(t *testing.T, v *harness.Vault, config string, more fields) *providertest.Server {
	t.Helper()
	s := providertest.Start(t, providertest.RFC6749, providertest.Options{RotateRefreshTokens: true})
	write(t, v, "oauthcc/config/"+config, with(registration(providertest.RFC6749, s), with(fields{
		"grant_type": "refresh_token", "refresh_token": firstRefreshToken(t, s),
	}, more)))
	s.Reset()
	return s
}

// fleet is a set of configs of every kind. Each has a usable token that must
// survive every interruption.
type fleet struct {
	providers []*providertest.Server
	tokens    map[string]string // by path
	asked     int
}

// newFleet writes n configs and reads a token of each.
func newFleet(t *testing.T, v *harness.Vault, n int) *fleet {
	t.Helper()
	f := &fleet{tokens: map[string]string{}}
	for i := range n {
		name := fmt.Sprintf("fleet%02d", i)
		paths := []string{name}
		var s *providertest.Server
		switch i % 8 {
		case 1: // no lease
			s = standard(t, v, name, providertest.Options{}, fields{"leased": false})
		case 2: // tokens of several scopes
			s = standard(t, v, name, providertest.Options{}, fields{"scopes": "read,write"})
			write(t, v, "oauthcc/role/"+name+"/reader", fields{"scopes": "read"})
			paths = append(paths, name+"/reader", name+"?scopes=write")
		case 3: // renewed by a refresh token
			s = providertest.Start(t, providertest.Semansys, providertest.Options{RotateRefreshTokens: true})
			write(t, v, "oauthcc/config/"+name, registration(providertest.Semansys, s))
		case 4: // a chain of refresh tokens
			s = chained(t, v, name, nil)
		case 5: // with the fallback secret
			s = standard(t, v, name, providertest.Options{}, nil)
			write(t, v, "oauthcc/config/"+name, fields{"client_secret": "not taken", "fallback_client_secret": s.Credentials().ClientSecret})
		case 6: // a provider that the operator wrote
			s = providertest.Start(t, providertest.RFC6749, providertest.Options{})
			write(t, v, "oauthcc/provider/"+name, fields{"token_url": s.TokenURL()})
			c := s.Credentials()
			write(t, v, "oauthcc/config/"+name, fields{"provider": name, "client_id": c.ClientID, "client_secret": c.ClientSecret})
		case 7: // a documented dialect
			s = providertest.Start(t, providertest.Antsomi, providertest.Options{})
			write(t, v, "oauthcc/config/"+name, registration(providertest.Antsomi, s))
		default:
			s = standard(t, v, name, providertest.Options{}, nil)
		}
		f.providers = append(f.providers, s)
		for _, path := range paths {
			f.tokens[path] = read(t, v, "oauthcc/token/"+path).text(t, "access_token")
		}
	}
	f.asked = f.requests()
	return f
}

func (f *fleet) requests() int {
	n := 0
	for _, s := range f.providers {
		n += s.Requests()
	}
	return n
}

// unharmed checks that each token is served as before, and that no provider got
// a request.
func (f *fleet) unharmed(t *testing.T, v *harness.Vault) {
	t.Helper()
	for _, path := range slices.Sorted(maps.Keys(f.tokens)) {
		switch got := tryRead(v, "oauthcc/token/"+path); {
		case got.status != http.StatusOK:
			t.Errorf("reading %s: %d %s", path, got.status, got.raw)
		case got.accessToken() != f.tokens[path]:
			t.Errorf("%s has come to another token", path)
		}
	}
	if n := f.requests() - f.asked; n != 0 {
		t.Errorf("the providers saw %d more requests", n)
	}
}

// counter numbers the tokens of an invented provider.
type counter struct{ atomic.Int64 }

func (c *counter) next(prefix string) string { return fmt.Sprintf("%s-%d", prefix, c.Add(1)) }
