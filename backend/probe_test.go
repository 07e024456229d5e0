// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// api runs a resource of the provider that requires the token in this header, behind
// this prefix. It returns the resource's URL, and a counter of its requests.
func api(t *testing.T, s *providertest.Server, header, prefix string) (url string, asked *atomic.Int64) {
	t.Helper()
	asked = &atomic.Int64{}
	resource := providertest.StartFunc(t, "/me", func(w http.ResponseWriter, r *http.Request, _ []byte) {
		asked.Add(1)
		token, ok := strings.CutPrefix(r.Header.Get(header), prefix)
		if r.Method != http.MethodGet || !ok || !s.Valid(token) || header != "Authorization" && r.Header.Get("Authorization") != "" {
			w.WriteHeader(http.StatusUnauthorized)
		}
		_, _ = w.Write([]byte(`{"echo":"` + token + `"}`)) // the client may not look at this answer
	})
	return resource.URL() + "/me", asked
}

func TestCheckUsesTheTokenOnceAtCheckURL(t *testing.T) {
	for name, test := range map[string]struct {
		header, prefix string
		more           fields
		status         float64
		warning        []string
	}{
		"as a bearer token by default":            {"Authorization", "Bearer ", nil, 200, nil},
		"in the header that check_headers says":   {"X-Api-Key", "key ", fields{"check_headers": fields{"X-Api-Key": "key {access_token}"}}, 200, nil},
		"in an Authorization header of its own":   {"Authorization", "token ", fields{"check_headers": fields{"authorization": "token {access_token}"}}, 200, nil},
		"a refusal is told beside the good grant": {"X-Other", "", nil, 401, []string{"check_url answered HTTP 401"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{})
			url, asked := api(t, s, test.header, test.prefix)
			e.must(t, "config/c", with(with(standard(s), fields{"check_url": url}), test.more))
			r := update(t, e, "check/c", nil)
			wantMembers(t, r.data(t), fields{"status": "ok", "check_status": test.status})
			warned(t, r, test.warning...)
			withoutSecrets(t, "the answer", r.text(), s.Issued()...)
			e.read(t, "token/c").token(t)
			if asked.Load() != 1 {
				t.Errorf("the API was asked %d times: only a check may", asked.Load())
			}
		})
	}
}

func TestCheckURLThatDoesNotAnswerIsTold(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", with(standard(s), fields{"check_url": "http://" + providertest.Nobody + "/me"}))
	r := update(t, e, "check/c", nil)
	wantMembers(t, r.data(t), fields{"status": "ok"})
	warned(t, r, "check_url gave no answer")
	if _, told := r.data(t)["check_status"]; told {
		t.Error("a status, and no answer")
	}
}

// The token is sent to check_url, so someone who does not know the secrets cannot
// choose it.
func TestCheckURLCountsAsAPlaceThatCredentialsGoTo(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "config/c", standard(s))
	moved := fields{"check_url": "https://elsewhere.example/me"}
	refused(t, e.write(t, "config/c", moved), http.StatusBadRequest, "client_secret")
	e.must(t, "config/c", with(moved, fields{"client_secret": s.Credentials().ClientSecret}))
}

func TestCheckURLIsNoPartOfTheRequestForAToken(t *testing.T) {
	e := mount(t)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	url, _ := api(t, s, "Authorization", "Bearer ")
	e.must(t, "config/c", standard(s))
	token := e.read(t, "token/c").token(t)
	e.must(t, "config/c", fields{"check_url": url, "client_secret": s.Credentials().ClientSecret, "check_headers": fields{"Accept": "text/plain"}})
	if e.read(t, "token/c").token(t) != token {
		t.Error("the token was forgotten")
	}
}

func TestCheckHeadersAreCheckedWhenWritten(t *testing.T) {
	for name, test := range map[string]struct {
		headers fields
		says    string
	}{
		"an unknown placeholder":                {fields{"X-A": "{nothing}"}, "{nothing}"},
		"a header of the connection":            {fields{"Host": "x"}, "only the connection itself sets"},
		"not a header name":                     {fields{"X A": "x"}, "not a header name"},
		"the token is no placeholder of others": {nil, "{access_token}"},
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{})
			data := fields{"check_headers": test.headers}
			if test.headers == nil {
				data = fields{"request_headers": fields{"X-A": "{access_token}"}}
			}
			refused(t, e.write(t, "config/c", with(standard(s), data)), http.StatusBadRequest, test.says)
		})
	}
}
