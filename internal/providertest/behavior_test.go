// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// statuses sends the good request n times and returns the statuses; 0 means no
// answer.
func statuses(t *testing.T, s *Server, d Dialect, n int) []int {
	t.Helper()
	var got []int
	for range n {
		a, err := send(t, s, s.TokenURL(), good(d))
		if err != nil {
			a.status = 0
		}
		got = append(got, a.status)
	}
	return got
}

func TestBehaviorsQueue(t *testing.T) {
	tests := map[string]struct {
		queue []Behavior
		want  []int
	}{
		"normal":           {nil, []int{200, 200}},
		"once":             {[]Behavior{{Status: 503}}, []int{503, 200}},
		"times, in order":  {[]Behavior{{Status: 503, Times: 2}, {Status: 429}}, []int{503, 503, 429, 200}},
		"normal between":   {[]Behavior{{Status: 503}, {}, {Status: 429}}, []int{503, 200, 429, 200}},
		"forever":          {[]Behavior{{Status: 503, Times: -1}}, []int{503, 503, 503}},
		"drop":             {[]Behavior{{Drop: true}}, []int{0, 200}},
		"redirect":         {[]Behavior{{Redirect: "https://elsewhere.example.com/"}}, []int{307, 200}},
		"redirect 302":     {[]Behavior{{Redirect: "https://elsewhere.example.com/", Status: 302}}, []int{302, 200}},
		"body alone":       {[]Behavior{{Body: "{}"}}, []int{200, 200}},
		"delay, then good": {[]Behavior{{Delay: time.Millisecond}}, []int{200}},
		"other grant":      {[]Behavior{{Grant: "password", Status: 503}, {Status: 429}}, []int{429, 200}},
		"this grant":       {[]Behavior{{Grant: "client_credentials", Status: 503}}, []int{503, 200}},
		"revocation only":  {[]Behavior{{Revocation: true, Status: 503}}, []int{200, 200}},
	}
	for _, useTLS := range []bool{false, true} {
		s := Start(t, RFC6749, Options{TLS: useTLS})
		for name, tt := range tests {
			t.Run(name, func(t *testing.T) {
				s.Reset()
				s.Behave(tt.queue...)
				if got := statuses(t, s, RFC6749, len(tt.want)); !slices.Equal(got, tt.want) {
					t.Errorf("statuses %v, want %v", got, tt.want)
				}
				if s.Requests() != len(tt.want) {
					t.Errorf("%d requests counted", s.Requests())
				}
			})
		}
	}
}

func TestBehaveEndsWhatAppliesUntilFurtherNotice(t *testing.T) {
	s := Start(t, Cognito, Options{})
	s.Behave(Behavior{Status: 503, Times: -1})
	first := statuses(t, s, Cognito, 2)
	s.Behave(Behavior{Status: 429})
	if got := append(first, statuses(t, s, Cognito, 2)...); !slices.Equal(got, []int{503, 503, 429, 200}) {
		t.Errorf("statuses %v", got)
	}
	s.Behave(Behavior{Status: 503, Times: 5})
	s.Reset()
	if got := statuses(t, s, Cognito, 1); !slices.Equal(got, []int{200}) {
		t.Errorf("after Reset: %v", got)
	}
}

func TestBehaviorOfTheRevocationEndpoint(t *testing.T) {
	s := Start(t, RFC6749, Options{})
	s.Behave(Behavior{Revocation: true, Status: 503})
	for _, want := range []int{503, 200} {
		if got := mustSend(t, s, s.RevocationURL(), posted(clientForm(RFC6749, "token", "x"))); got.status != want {
			t.Errorf("status %d, want %d", got.status, want)
		}
	}
}

func TestCannedAnswer(t *testing.T) {
	s := Start(t, XCover, Options{})
	s.Behave(Behavior{Status: 429, Header: http.Header{"retry-after": {"7"}, "Content-Type": {"text/html"}}, Body: "<p>"})
	got := mustSend(t, s, s.TokenURL(), good(XCover))
	if got.status != 429 || got.body != "<p>" || got.header.Get("Retry-After") != "7" || got.header.Get("Content-Type") != "text/html" {
		t.Errorf("%+v", got)
	}
	if s.IssuedCount() != 0 {
		t.Error("a canned answer issued a token")
	}
}

func TestEchoQuotesTheSecretsInEveryText(t *testing.T) {
	for _, d := range Dialects() {
		t.Run(string(d), func(t *testing.T) {
			s := Start(t, d, Options{})
			s.Behave(Behavior{Echo: true}, Behavior{Echo: true, Status: 401})
			for _, want := range []int{400, 401} {
				got := mustSend(t, s, s.TokenURL(), good(d))
				if got.status != want {
					t.Errorf("status %d, want %d", got.status, want)
				}
				var body any
				if err := json.Unmarshal([]byte(got.body), &body); err != nil {
					t.Fatal(err)
				}
				texts := collect(body)
				if len(texts) == 0 {
					t.Fatal("nothing is quoted")
				}
				quoted := []string{DefaultCredentials(d).ClientSecret, strings.TrimPrefix(s.TokenURL(), s.URL()), good(d).body, "Content-Type: "}
				if d == Semansys {
					quoted = append(quoted, DefaultCredentials(d).Password)
				}
				for _, text := range texts {
					for _, secret := range quoted {
						if !strings.Contains(text, secret) {
							t.Errorf("%q is missing in %q", secret, text)
						}
					}
				}
			}
		})
	}
}

func collect(value any) []string {
	switch value := value.(type) {
	case string:
		return []string{value}
	case map[string]any:
		var texts []string
		for _, member := range value {
			texts = append(texts, collect(member)...)
		}
		return texts
	default:
		return nil
	}
}

func TestThoseWhoWaitEndWithTheClient(t *testing.T) {
	for name, b := range map[string]Behavior{"hang": {Hang: true}, "delay": {Delay: time.Hour}, "until": {Until: make(chan struct{})}} {
		t.Run(name, func(t *testing.T) {
			s := Start(t, Antsomi, Options{})
			s.Behave(b)
			ctx, cancel := context.WithCancel(t.Context())
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.TokenURL(), strings.NewReader(good(Antsomi).body))
			if err != nil {
				t.Fatal(err)
			}
			failed := make(chan error, 1)
			go func() {
				response, err := s.Client().Do(r)
				if err == nil {
					response.Body.Close()
				}
				failed <- err
			}()
			awaitRequests(t, s, 1)
			cancel()
			if err := <-failed; err == nil {
				t.Error("got an answer")
			}
			// The handler must end by itself, not only when the server closes.
			ended := make(chan struct{})
			go func() { s.handlers.Wait(); close(ended) }()
			select {
			case <-ended:
			case <-time.After(10 * time.Second):
				t.Error("the handler outlives its client")
			}
		})
	}
}

func TestAnswerThatWaitsIsGivenWhenItMay(t *testing.T) {
	s := Start(t, Antsomi, Options{})
	may := make(chan struct{})
	s.Behave(Behavior{Until: may})
	answered := make(chan int, 1)
	go func() {
		got, err := send(t, s, s.TokenURL(), good(Antsomi))
		if err != nil {
			t.Error(err)
		}
		answered <- got.status
	}()
	awaitRequests(t, s, 1)
	select {
	case <-answered:
		t.Error("answered at once")
	default:
	}
	close(may)
	if status := <-answered; status != http.StatusOK {
		t.Errorf("status %d", status)
	}
}

func TestCloseReleasesThoseWhoHang(t *testing.T) {
	for name, b := range map[string]Behavior{"hang": {Hang: true}, "delay": {Delay: time.Hour}, "until": {Until: make(chan struct{})}} {
		t.Run(name, func(t *testing.T) {
			s, err := New(Antsomi, Options{})
			if err != nil {
				t.Fatal(err)
			}
			s.Behave(b)
			failed := make(chan error, 1)
			go func() {
				_, err := send(t, s, s.TokenURL(), good(Antsomi))
				failed <- err
			}()
			awaitRequests(t, s, 1)
			s.Close()
			s.Close()
			if err := <-failed; err == nil {
				t.Error("got an answer")
			}
		})
	}
}

func awaitRequests(t *testing.T, s *Server, n int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); s.Requests() < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d requests, want %d", s.Requests(), n)
		}
	}
}

func TestTLSIsVerifiable(t *testing.T) {
	s := Start(t, RFC6749, Options{TLS: true})
	if !strings.HasPrefix(s.TokenURL(), "https://127.0.0.1:") || !strings.Contains(s.CACertificate(), "BEGIN CERTIFICATE") {
		t.Errorf("%s with %q", s.TokenURL(), s.CACertificate())
	}
	if got := statuses(t, s, RFC6749, 1); got[0] != http.StatusOK {
		t.Errorf("status %d", got[0])
	}
	other := Start(t, RFC6749, Options{TLS: true})
	if _, err := send(t, other, s.TokenURL(), good(RFC6749)); err == nil {
		t.Error("another server's authority vouches for this one")
	}
	if plain := Start(t, RFC6749, Options{}); plain.CACertificate() != "" {
		t.Error("an authority without TLS")
	}
}

func TestRequestsAreRecorded(t *testing.T) {
	s := Start(t, RFC6749, Options{Now: fixedClock})
	if last := s.Last(); last.Method != "" {
		t.Errorf("recorded before any request: %+v", last)
	}
	mustSend(t, s, s.TokenURL(), good(RFC6749).withQuery("a=b").set("X-Test", "1"))
	got := s.Last()
	if got.Method != http.MethodPost || got.Path != "/oauth2/token" || got.RawQuery != "a=b" || got.Header.Get("X-Test") != "1" ||
		got.Body != good(RFC6749).body || !got.Time.Equal(noon) || "http://"+got.Host != s.URL() {
		t.Errorf("recorded %+v", got)
	}
	if got.Form().Get("scope") != "read write" || (Request{Body: `{"a":"b","c":1}`}).Form().Encode() != "a=b" {
		t.Error("parameters are misread")
	}
	mustSend(t, s, s.URL()+"/elsewhere", good(RFC6749))
	if all := s.All(); len(all) != 2 || all[1].Path != "/elsewhere" || s.Requests() != 1 {
		t.Errorf("%d recorded, %d token requests", len(all), s.Requests())
	}
	s.Reset()
	if len(s.All()) != 0 || s.Requests() != 0 || s.IssuedCount() != 0 {
		t.Error("Reset left records")
	}
}

func TestOldRequestsAreForgotten(t *testing.T) {
	s := Start(t, RFC6749, Options{})
	for range 2*maxRecorded + 1 {
		s.receive(Request{Path: s.tokenPath, Body: "old"})
	}
	s.receive(Request{Path: s.tokenPath, Body: "new"})
	if all := s.All(); len(all) != maxRecorded || all[maxRecorded-1].Body != "new" || s.Requests() != 2*maxRecorded+2 {
		t.Errorf("%d kept of %d", len(all), s.Requests())
	}
	if len(s.recorded) > 2*maxRecorded {
		t.Errorf("%d held", len(s.recorded))
	}
}

func TestStatsAreNotRecorded(t *testing.T) {
	s := Start(t, Antsomi, Options{})
	statuses(t, s, Antsomi, 3)
	mustSend(t, s, s.TokenURL(), ask{})
	got := mustSend(t, s, s.URL()+"/_stats", ask{method: http.MethodGet})
	if strings.TrimSpace(got.body) != `{"issued":3,"requests":4}` || len(s.All()) != 4 {
		t.Errorf("%s", got.body)
	}
}

func TestInventedDialect(t *testing.T) {
	s := StartFunc(t, "/ask/", func(w http.ResponseWriter, r *http.Request, body []byte) {
		again, err := io.ReadAll(r.Body)
		if err != nil || string(again) != string(body) {
			t.Errorf("body read again: %q, %v", again, err)
		}
		_, _ = io.WriteString(w, r.URL.Path+":"+string(body))
	})
	if got := mustSend(t, s, s.TokenURL()+"me", ask{body: "hello"}); got.body != "/ask/me:hello" {
		t.Errorf("answer %q", got.body)
	}
	if got := mustSend(t, s, s.URL()+"/other", ask{}); got.status != http.StatusNotFound {
		t.Errorf("other path: %d", got.status)
	}
	s.Behave(Behavior{Echo: true})
	if got := mustSend(t, s, s.TokenURL(), ask{body: "secret=1"}); got.status != 400 || !strings.Contains(got.member(t, "error_description"), "secret=1") {
		t.Errorf("echo: %+v", got)
	}
	if s.Requests() != 2 || len(s.All()) != 3 || s.Last().Body != "secret=1" {
		t.Errorf("%d requests, %d recorded", s.Requests(), len(s.All()))
	}
	exact := StartFunc(t, "/ask", func(http.ResponseWriter, *http.Request, []byte) {})
	if got := mustSend(t, exact, exact.TokenURL()+"/more", ask{}); got.status != http.StatusNotFound {
		t.Errorf("below an exact path: %d", got.status)
	}
}

func TestManyClientsAtOnce(t *testing.T) {
	s := Start(t, Semansys, Options{RotateRefreshTokens: true})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				if i == 0 {
					s.Behave(Behavior{Delay: time.Microsecond})
					s.SetCredentials(Credentials{Username: DefaultCredentials(Semansys).Username})
				}
				if got, err := send(t, s, s.TokenURL(), good(Semansys)); err != nil || got.status != http.StatusOK {
					t.Errorf("%d %v", got.status, err)
				}
				_, _, _, _ = s.All(), s.Last(), s.Issued(), s.Valid("x")
			}
		})
	}
	wg.Wait()
	distinct := map[string]bool{}
	for _, token := range s.Issued() {
		distinct[token] = true
	}
	if len(distinct) != 160 || s.Requests() != 160 {
		t.Errorf("%d distinct tokens of %d requests", len(distinct), s.Requests())
	}
}
