// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Behavior is what a server does instead of answering by its dialect, or before
// it answers. The zero value is normal behavior: it lets one request through,
// so that the next behavior in the queue applies to the request after it.
//
// Delay and Until can be combined with any of the others. If several of the
// others are set, only the first counts, in the order Hang, Drop, Redirect,
// Echo, canned answer.
type Behavior struct {
	// Times is how many requests this applies to. 0 means one; a negative
	// number means every request until the next call of Behave or Reset.
	Times int

	// Delay is the time before the answer. If the client goes away or the
	// server closes meanwhile, there is no answer.
	Delay time.Duration

	// Until, if not nil, delays the answer until the channel is closed. If the
	// client goes away or the server closes meanwhile, there is no answer.
	Until <-chan struct{}

	// Hang sends no answer; it holds the request until the client goes away or
	// the server closes.
	Hang bool

	// Drop closes the connection without an answer.
	Drop bool

	// Redirect answers with a redirect to this URL. Its status is Status, or
	// 307 when that is 0.
	Redirect string

	// Echo answers with Status (400 when that is 0) and an error body in the
	// dialect's format, in which every string quotes the whole request: first
	// the parameters and the Authorization header, decoded, then the request as
	// it was received. The credentials come first because clients cut long
	// texts.
	Echo bool

	// Status, Header and Body are a canned answer, sent when any of them is
	// set. Status 0 means 200; without a Content-Type it is application/json.
	// Header also applies to Redirect and Echo.
	Status int
	Header http.Header
	Body   string

	// Grant limits this to requests with that grant_type; "" means any.
	Grant string

	// Revocation makes this apply to requests to the revocation endpoint
	// instead of the token endpoint. Published makes it apply to requests for
	// what Publish serves.
	Revocation, Published bool
}

// Behave appends to the queue of behaviors. It first removes a behavior with
// negative Times, which would otherwise last. Each request uses the first
// behavior in the queue that applies to it; when none applies, the server
// answers normally.
func (s *Server) Behave(b ...Behavior) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = slices.DeleteFunc(s.queue, func(old Behavior) bool { return old.Times < 0 })
	for _, next := range b {
		if next.Times == 0 {
			next.Times = 1
		}
		s.queue = append(s.queue, next)
	}
}

// nextBehavior removes the behavior for a request from the queue and returns
// it. The caller holds s.mu.
func (s *Server) nextBehavior(in Request) Behavior {
	revocation, published := s.isRevocation(in.Path), s.documents[in.Path] != nil
	for i, b := range s.queue {
		if b.Revocation != revocation || b.Published != published || b.Grant != "" && b.Grant != in.Form().Get("grant_type") {
			continue
		}
		if b.Times > 1 {
			s.queue[i].Times--
		} else if b.Times == 1 {
			s.queue = slices.Delete(s.queue, i, i+1)
		}
		return b
	}
	return Behavior{}
}

// misbehave applies the behavior, and reports whether it wrote an answer. It
// panics to cut the connection when there will be no answer.
func (s *Server) misbehave(w http.ResponseWriter, r *http.Request, in Request, b Behavior) bool {
	if b.Delay > 0 {
		timer := time.NewTimer(b.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			abort()
		case <-s.done:
			abort()
		}
	}
	if b.Until != nil {
		select {
		case <-b.Until:
		case <-r.Context().Done():
			abort()
		case <-s.done:
			abort()
		}
	}
	if b.Hang {
		select {
		case <-r.Context().Done():
		case <-s.done:
		}
		abort()
	}
	if b.Drop {
		abort()
	}

	status, body := b.Status, []byte(b.Body)
	switch {
	case b.Redirect != "":
		w.Header().Set("Location", b.Redirect)
		if status == 0 {
			status = http.StatusTemporaryRedirect
		}
	case b.Echo:
		if status == 0 {
			status = http.StatusBadRequest
		}
		body = s.echo(r, in, status)
	case b.Status != 0 || b.Header != nil || b.Body != "":
		if status == 0 {
			status = http.StatusOK
		}
	default:
		return false
	}
	w.Header().Set("Content-Type", "application/json")
	for name, values := range b.Header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // The client may have gone away.
	return true
}

// abort cuts the connection in the way that net/http provides. Unlike
// hijacking, this also works for HTTP/2.
func abort() { panic(http.ErrAbortHandler) }

// echo returns the dialect's error body with the request in place of every
// string.
func (s *Server) echo(r *http.Request, in Request, status int) []byte {
	var shape any = map[string]string{"error": "", "error_description": ""}
	if s.dialect != nil {
		shape = s.dialect.errorBody(&refusal{status: status, code: "echo", text: "echo"})
	}
	raw, err := json.Marshal(shape)
	if err != nil {
		return nil
	}
	var decoded any
	if json.Unmarshal(raw, &decoded) != nil {
		return nil
	}
	// HTML is not escaped, so that a test also recognizes a secret that leaks
	// unescaped.
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(replaceStrings(decoded, quote(r, in))) != nil {
		return nil
	}
	return b.Bytes()
}

func replaceStrings(value any, text string) any {
	switch value := value.(type) {
	case string:
		return text
	case map[string]any:
		for name := range value {
			value[name] = replaceStrings(value[name], text)
		}
	case []any:
		for i := range value {
			value[i] = replaceStrings(value[i], text)
		}
	}
	return value
}

// quote writes a request as text, with the credentials first.
func quote(r *http.Request, in Request) string {
	var b strings.Builder
	if id, secret, ok := r.BasicAuth(); ok {
		fmt.Fprintf(&b, "%s:%s ", id, secret)
		plainID, idErr := url.QueryUnescape(id)
		plainSecret, secretErr := url.QueryUnescape(secret)
		if idErr == nil && secretErr == nil {
			fmt.Fprintf(&b, "%s:%s ", plainID, plainSecret)
		}
	}
	for _, values := range []url.Values{in.Form(), r.URL.Query()} {
		for _, name := range slices.Sorted(maps.Keys(values)) {
			fmt.Fprintf(&b, "%s=%s ", name, strings.Join(values[name], ","))
		}
	}
	fmt.Fprintf(&b, "%s %s %s\n", in.Body, in.Method, r.RequestURI)
	_ = in.Header.Write(&b) // A strings.Builder returns no error.
	return b.String()
}
