// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

func TestWhatIsAskedAgain(t *testing.T) {
	t.Parallel()
	status := func(n int) providertest.Behavior { return providertest.Behavior{Times: -1, Status: n} }
	later := http.Header{"Retry-After": {"1"}}
	for name, tc := range map[string]struct {
		behavior []providertest.Behavior
		spends   bool
		requests int
		kind     Kind // 0 if the result is a token
	}{
		"502 twice at most":                         {behavior: []providertest.Behavior{status(502)}, requests: 3, kind: Unavailable},
		"503 twice at most":                         {behavior: []providertest.Behavior{status(503)}, requests: 3, kind: Unavailable},
		"504 twice at most":                         {behavior: []providertest.Behavior{status(504)}, requests: 3, kind: Unavailable},
		"dropped connections twice at most":         {behavior: []providertest.Behavior{{Times: -1, Drop: true}}, requests: 3, kind: Unavailable},
		"503 until it works":                        {behavior: []providertest.Behavior{{Times: 2, Status: 503}}, requests: 3},
		"a dropped connection until it works":       {behavior: []providertest.Behavior{{Drop: true}}, requests: 2},
		"a mixture":                                 {behavior: []providertest.Behavior{{Drop: true}, {Status: 502}}, requests: 3},
		"not what the retry refuses":                {behavior: []providertest.Behavior{{Status: 503}, status(401)}, requests: 2, kind: Refused},
		"not 503 with a Retry-After":                {behavior: []providertest.Behavior{{Times: -1, Status: 503, Header: later}}, requests: 1, kind: Unavailable},
		"not 429":                                   {behavior: []providertest.Behavior{status(429)}, requests: 1, kind: RateLimited},
		"not 429 with a Retry-After":                {behavior: []providertest.Behavior{{Times: -1, Status: 429, Header: later}}, requests: 1, kind: RateLimited},
		"not 400":                                   {behavior: []providertest.Behavior{status(400)}, requests: 1, kind: Refused},
		"not 401":                                   {behavior: []providertest.Behavior{status(401)}, requests: 1, kind: Refused},
		"not 408":                                   {behavior: []providertest.Behavior{status(408)}, requests: 1, kind: TooSlow},
		"not 500":                                   {behavior: []providertest.Behavior{status(500)}, requests: 1, kind: Unavailable},
		"not what is unintelligible":                {behavior: []providertest.Behavior{{Times: -1, Body: "?"}}, requests: 1, kind: Unintelligible},
		"not 502 for a grant that spends something": {behavior: []providertest.Behavior{status(502)}, spends: true, requests: 1, kind: Unavailable},
		"not 503 for a grant that spends something": {behavior: []providertest.Behavior{status(503)}, spends: true, requests: 1, kind: Unavailable},
		"not a connection that broke for a grant that spends something": {
			behavior: []providertest.Behavior{{Times: -1, Drop: true}}, spends: true, requests: 1, kind: Unavailable,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := granting(t)
			s.Behave(tc.behavior...)
			r := standardRequest(s.TokenURL())
			r.Spends = tc.spends
			c := NewClient(Options{Now: clock})
			c.retryWait = time.Millisecond
			defer c.Close()
			_, err := c.Mint(t.Context(), r)
			var e *Error
			switch {
			case tc.kind == 0 && err != nil:
				t.Error(err)
			case tc.kind != 0 && (!errors.As(err, &e) || e.Kind != tc.kind):
				t.Errorf("got %v, want kind %d", err, tc.kind)
			}
			if s.Requests() != tc.requests {
				t.Errorf("asked %d times, want %d", s.Requests(), tc.requests)
			}
			for i, one := range s.All() {
				if one.Body != s.Last().Body {
					t.Errorf("request %d had another body", i)
				}
			}
		})
	}
}

func TestRetriesStayWithinTheTimeout(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]providertest.Behavior{
		"answers at once":  {Times: -1, Status: 503},
		"answers late":     {Times: -1, Status: 503, Delay: 200 * time.Millisecond},
		"breaks at once":   {Times: -1, Drop: true},
		"breaks then late": {Times: -1, Drop: true, Delay: 200 * time.Millisecond},
	} {
		for timeout, asked := range map[time.Duration]int{500 * time.Millisecond: 1, 1500 * time.Millisecond: 2} {
			t.Run(name+" within "+timeout.String(), func(t *testing.T) {
				t.Parallel()
				overAWire(t, func(t *testing.T, w *providertest.Wire) {
					s := grantingOver(t, w)
					s.Behave(b)
					r := standardRequest(s.TokenURL())
					r.Timeout = timeout
					start := time.Now()
					e := refusalOver(t, w, r)
					if took := time.Since(start); took > r.Timeout {
						t.Errorf("took %s of %s", took, r.Timeout)
					}
					if s.Requests() != asked {
						t.Errorf("asked %d times", s.Requests())
					}
					// The provider answered, or broke the connection, so it was not too
					// slow.
					if e.Kind != Unavailable || e.Status != b.Status {
						t.Errorf("got kind %d, status %d: %s", e.Kind, e.Status, e)
					}
				})
			})
		}
	}
}

func TestNoAnswerInTimeIsTooSlow(t *testing.T) {
	t.Parallel()
	hangs := func(t *testing.T, w *providertest.Wire) *providertest.Server {
		t.Helper()
		s := grantingOver(t, w)
		s.Behave(providertest.Behavior{Times: -1, Hang: true})
		return s
	}
	hangsWithinTheBody := func(t *testing.T, w *providertest.Wire) *providertest.Server {
		t.Helper()
		return providertest.StartFuncOver(t, w, "/", func(w http.ResponseWriter, r *http.Request, _ []byte) {
			_, _ = w.Write([]byte(`{"access_token":`))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
	}
	for name, start := range map[string]func(t *testing.T, w *providertest.Wire) *providertest.Server{
		"hangs": hangs, "hangs within the body": hangsWithinTheBody,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			overAWire(t, func(t *testing.T, w *providertest.Wire) {
				s := start(t, w)
				r := standardRequest(s.TokenURL())
				r.Timeout = 250 * time.Millisecond
				start := time.Now()
				e := refusalOver(t, w, r)
				if e.Kind != TooSlow || e.Error() != "no answer within 250ms (request_timeout); see whether the provider is slow or a firewall withholds its answers, or raise request_timeout (1m at most)" {
					t.Errorf("got kind %d: %s", e.Kind, e)
				}
				if took := time.Since(start); took != r.Timeout {
					t.Errorf("took %s", took)
				}
				if s.Requests() != 1 {
					t.Errorf("asked %d times", s.Requests())
				}
			})
		})
	}
}

// A timeout alone does not tell whether the provider is slow, or whether packets are
// dropped on the way to it, to a proxy or to the name servers.
func TestWhatDoesNotAnswerIsNamed(t *testing.T) {
	t.Parallel()
	dropped := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	resolving := (&net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: dropped}}).DialContext
	impatient := (&net.Dialer{Timeout: time.Nanosecond}).DialContext
	const nothing = "nothing answers there; check token_url's host and port, and firewalls"
	for name, test := range map[string]struct {
		url   string
		dial  func(ctx context.Context, network, address string) (net.Conn, error)
		proxy string
		cause Cause
		want  string // the error begins with it
	}{
		"the provider":                       {"http://login.example/token", dropped, "", CauseConnection, "no connection within 1s (request_timeout): " + nothing},
		"the provider, by TLS":               {"https://login.example/token", dropped, "", CauseConnection, "no connection within 1s (request_timeout): " + nothing},
		"the provider, while there was time": {"http://192.0.2.1/token", impatient, "", CauseConnection, "no connection: " + nothing},
		"the proxy":                          {"https://login.example/token", dropped, "http://proxy.example", CauseProxy, "the proxy cannot be reached within 1s (request_timeout); check proxy_url"},
		"the name servers":                   {"https://login.example/token", resolving, "", CauseName, "its host name cannot be resolved within 1s (request_timeout): the name servers gave no answer; check the name servers"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			transport := defaultTransport()
			transport.DialContext = test.dial
			c := NewClient(Options{Now: clock, Transport: transport})
			defer c.Close()
			r := standardRequest(test.url)
			r.Timeout, r.Proxy.URL = time.Second, test.proxy
			_, err := c.Mint(t.Context(), r)
			var e *Error
			if !errors.As(err, &e) || e.Kind != TooSlow || e.Cause() != test.cause || !strings.HasPrefix(e.Error(), test.want) {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
		})
	}
}

// The server accepts the connection and stays silent. This test uses the
// system's network.
func TestSilenceIsTooSlow(t *testing.T) {
	t.Parallel()
	silent := listen(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 1<<16)); _, _ = c.Read(make([]byte, 1)) })
	for name, url := range map[string]string{"never answers": "http://" + silent, "never shakes hands": "https://" + silent} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := standardRequest(url)
			r.Timeout = time.Second
			start := time.Now()
			if e := refusal(t, r); e.Kind != TooSlow || e.Error() != "no answer within 1s (request_timeout); see whether the provider is slow or a firewall withholds its answers, or raise request_timeout (1m at most)" {
				t.Errorf("got kind %d: %s", e.Kind, e)
			}
			if took := time.Since(start); took < r.Timeout {
				t.Errorf("took %s", took)
			}
		})
	}
}

func TestTheCallersEndIsTheCallersError(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]providertest.Behavior{"while it hangs": {Hang: true}, "between retries": {Status: http.StatusServiceUnavailable}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			overAWire(t, func(t *testing.T, w *providertest.Wire) {
				s := grantingOver(t, w)
				s.Behave(b)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				c := NewClient(optionsOver(w.DialContext))
				defer c.Close()
				ended := make(chan error, 1)
				go func() {
					_, err := c.Mint(ctx, standardRequest(s.TokenURL()))
					ended <- err
				}()
				synctest.Wait() // for the answer, or for the next attempt's time
				cancel()
				if err := <-ended; err != context.Canceled { //nolint:errorlint // the very error is promised
					t.Errorf("got %v", err)
				}
				if s.Requests() != 1 {
					t.Errorf("asked %d times", s.Requests())
				}
			})
		})
	}
	t.Run("its deadline is the provider's slowness", func(t *testing.T) {
		t.Parallel()
		s := granting(t)
		s.Behave(providertest.Behavior{Times: -1, Hang: true})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		c := NewClient(Options{Now: clock})
		defer c.Close()
		_, err := c.Mint(ctx, standardRequest(s.TokenURL()))
		var e *Error
		if !errors.As(err, &e) || e.Kind != TooSlow {
			t.Errorf("got %v", err)
		}
	})
}

// nameless is no host name, because a label has 63 characters at most (RFC 1035
// section 2.3.4). No name server is asked for it, so it does not matter which ones the
// machine has.
const nameless = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.invalid"

func TestConnectionsThatCannotBe(t *testing.T) {
	t.Parallel()
	tlsServer := providertest.Start(t, providertest.RFC6749, providertest.Options{TLS: true})
	other := providertest.Start(t, providertest.RFC6749, providertest.Options{TLS: true})
	plain := granting(t)
	cut := listen(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1<<16))
		_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 100\r\nContent-Type: application/json\r\n\r\n{\"access_token\":"))
	})
	noHTTP := listen(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1<<16))
		_, _ = c.Write([]byte("220 mail.example ESMTP the-secret-of-the-client\r\n"))
	})
	mute := listen(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 1<<16)) })
	rude := listen(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1<<16))
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // so that Close resets the connection
		}
	})
	for name, tc := range map[string]struct {
		url, ca string
		detail  string
		kind    Kind
		cause   Cause
	}{
		"connection refused":        {url: "http://" + providertest.Nobody, detail: "no connection (connection refused: nobody listens there); check token_url's host and port"},
		"unknown host":              {url: "https://" + nameless + "/token", detail: "its host name cannot be resolved: ", cause: CauseName},
		"unknown authority":         {url: tlsServer.TokenURL(), detail: "its certificate is not trusted (", cause: CauseTLS},
		"another's authority":       {url: tlsServer.TokenURL(), ca: other.CACertificate(), detail: "its certificate is not trusted (", cause: CauseTLS},
		"TLS to a plain port":       {url: strings.Replace(plain.TokenURL(), "http:", "https:", 1), detail: "it does not speak TLS on this port", cause: CauseTLS},
		"TLS to no HTTP at all":     {url: "https://" + noHTTP, detail: "it does not speak TLS on this port", cause: CauseTLS},
		"plain to a TLS port":       {url: strings.Replace(tlsServer.TokenURL(), "https:", "http:", 1), detail: "it speaks TLS on this port; write token_url with https", kind: Refused, cause: CauseTLS},
		"broken within the body":    {url: "http://" + cut, detail: "the connection broke before the answer was complete"},
		"no HTTP at all":            {url: "http://" + noHTTP, detail: "what it answers is not HTTP; check token_url's scheme and port"},
		"closed without an answer":  {url: "http://" + mute, detail: "the connection was closed without an answer"},
		"reset without an answer":   {url: "http://" + rude, detail: "the connection was reset before the answer was complete"},
		"an authority that is none": {url: tlsServer.TokenURL(), ca: "no PEM", detail: "tls_ca_certificate holds no PEM certificate", kind: Misconfigured, cause: CauseConfig},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := standardRequest(tc.url + "?key=query-secret-value")
			r.Format, r.CACertificate = Query, tc.ca
			r.Secrets = []string{"query-secret-value"}
			if tc.kind == 0 {
				tc.kind = Unavailable
			}
			if tc.cause == "" {
				tc.cause = CauseConnection
			}
			e := refusal(t, r)
			if e.Kind != tc.kind || e.Cause() != tc.cause || !strings.Contains(e.Error(), tc.detail) {
				t.Errorf("got kind %d, cause %s: %s", e.Kind, e.Cause(), e)
			}
			for _, never := range []string{"query-secret", "the-secret", "client_secret", "?", "ESMTP"} {
				if strings.Contains(e.Error(), never) {
					t.Errorf("shows %q: %s", never, e)
				}
			}
		})
	}
}

func TestACertificateOfAnotherName(t *testing.T) {
	t.Parallel()
	s := providertest.Start(t, providertest.RFC6749, providertest.Options{TLS: true})
	transport := defaultTransport()
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(s.URL(), "https://"))
	}
	c := NewClient(Options{Now: clock, Transport: transport})
	defer c.Close()
	r := standardRequest("https://login.example/token")
	r.CACertificate = s.CACertificate()
	_, err := c.Mint(t.Context(), r)
	var e *Error
	if !errors.As(err, &e) || e.Cause() != CauseTLS || !strings.Contains(e.Error(), "check token_url's host: the certificate is for another") {
		t.Errorf("got %v", err)
	}
}

func TestATrustedAuthority(t *testing.T) {
	t.Parallel()
	s := providertest.Start(t, providertest.RFC6749, providertest.Options{TLS: true})
	r := standardRequest(s.TokenURL())
	r.ClientID, r.ClientSecret, r.CACertificate = s.Credentials().ClientID, s.Credentials().ClientSecret, s.CACertificate()
	for range 2 { // again, after the first request's connections are gone
		if _, err := mint(t, r); err != nil {
			t.Error(err)
		}
	}
	r.CACertificate = "# a comment\n" + r.CACertificate
	if _, err := mint(t, r); err != nil {
		t.Errorf("with a comment: %v", err)
	}
}

// listen runs a TCP server that calls handle for each connection.
func listen(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer func() { _ = c.Close() }(); handle(c) }()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}
