// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// inHeaders makes r expect the token in a header, and a lifetime of one minute.
func inHeaders(r *Request) {
	r.Answer.AccessToken, r.Answer.DefaultLifetime = []Pointer{"header:X-Subject-Token"}, time.Minute
}

func TestAnswersWithTheTokenInAHeader(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		header http.Header
		body   string
		change func(*Request)
		want   Token
	}{
		"as OpenStack Keystone answers": {
			status: http.StatusCreated, header: http.Header{"X-Subject-Token": {"tok"}},
			body: `{"token":{"expires_at":"2026-01-02T03:05:05.000000Z","roles":[{"name":"reader"},{"name":"member"}]}}`,
			change: func(r *Request) {
				r.Answer.ExpiresAt, r.Answer.Scope = []Pointer{"/token/expires_at"}, []Pointer{"/token/roles/0/name"}
			},
			want: Token{Scope: "reader", Lifetime: LifetimeExpiresAt},
		},
		"without a body": {status: http.StatusNoContent, header: http.Header{"X-Subject-Token": {"tok"}}},
		"whatever the body is": {
			header: http.Header{"X-Subject-Token": {"tok"}, "Content-Type": {"application/octet-stream"}}, body: "\x00\x01{",
		},
		"a header's name is one in any case": {
			header: http.Header{"X-Subject-Token": {"tok"}},
			change: func(r *Request) { r.Answer.AccessToken = []Pointer{"header:x-SUBJECT-token"} },
		},
		"of a repeated header the first": {header: http.Header{"X-Subject-Token": {"tok", "other"}}},
		"the scheme before the token is left out": {
			header: http.Header{"Authorization": {"Bearer tok"}},
			change: func(r *Request) { r.Answer.AccessToken = []Pointer{"header:Authorization"} },
		},
		"the first candidate that holds a token": {
			header: http.Header{"X-Subject-Token": {""}}, body: `{"access_token":"tok"}`,
			change: func(r *Request) { r.Answer.AccessToken = append(r.Answer.AccessToken, "/access_token") },
		},
		"everything else in headers as well": {
			header: http.Header{
				"X-Subject-Token": {"tok"}, "X-Type": {"mac"}, "X-Scopes": {"a,b"}, "X-Lives": {"60"}, "X-Region": {"eu"}, "X-Renew": {"r-1"},
			},
			change: func(r *Request) {
				a := &r.Answer
				a.TokenType, a.Scope, a.ExpiresIn = []Pointer{"header:X-Type"}, []Pointer{"header:X-Scopes"}, []Pointer{"header:X-Lives"}
				a.RefreshToken, a.Extra = []Pointer{"header:X-Renew"}, map[string]Pointer{"region": "header:X-Region", "none": "header:X-None"}
			},
			want: Token{TokenType: "mac", Scope: "a b", RefreshToken: "r-1", Extra: map[string]any{"region": "eu"}, Lifetime: LifetimeExpiresIn},
		},
		"the expiry as HTTP writes times": {
			header: http.Header{"X-Subject-Token": {"tok"}, "Expires": {"Fri, 02 Jan 2026 03:05:05 GMT"}},
			change: func(r *Request) { r.Answer.ExpiresAt = []Pointer{"header:Expires"} },
			want:   Token{Lifetime: LifetimeExpiresAt},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := granting(t)
			if tc.status == 0 {
				tc.status = http.StatusOK
			}
			s.Behave(providertest.Behavior{Status: tc.status, Header: tc.header, Body: tc.body})
			r := standardRequest(s.TokenURL())
			inHeaders(&r)
			if tc.change != nil {
				tc.change(&r)
			}
			got, err := mint(t, r)
			if err != nil {
				t.Fatal(err)
			}
			want := tc.want
			want.AccessToken, want.IssuedAt, want.ExpiresAt = "tok", clock(), clock().Add(time.Minute)
			if want.TokenType == "" {
				want.TokenType = "Bearer"
			}
			if want.Lifetime == "" {
				want.Lifetime = LifetimeDefault
			}
			if !reflect.DeepEqual(*got, want) {
				t.Errorf("\n got %+v\nwant %+v", *got, want)
			}
		})
	}
}

func TestAnswersWithoutTheTokenInItsHeader(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		header http.Header
		body   string
		detail string
	}{
		"names the headers": {
			header: http.Header{"X-Other": {"hidden-value"}, "X-The-Secret-Of-The-Client": {"1"}}, body: `{"b":1,"a":2}`,
			detail: `no access token at "header:X-Subject-Token"; the answer has the members a, b, and the headers X-Other, ` + withheld,
		},
		"more than is looked through": {
			header: http.Header{"X-Subject-Token": {"hidden-value"}}, body: "[" + strings.Repeat("1,", maxValues) + "1]", detail: "8 texts within each other or 64 refresh tokens",
		},
		"without any":        {header: http.Header{}, detail: "the answer is empty, or neither JSON, XML nor a form, and no headers"},
		"an empty header":    {header: http.Header{"X-Subject-Token": {""}}, detail: "no access token: the header X-Subject-Token is empty"},
		"a header of words":  {header: http.Header{"X-Subject-Token": {"hidden value"}}, detail: "no access token: the header X-Subject-Token holds spaces or line breaks"},
		"beyond ASCII":       {header: http.Header{"X-Subject-Token": {"hidden-välue"}}, detail: "the header X-Subject-Token holds characters beyond ASCII"},
		"no JSON in headers": {header: http.Header{"X-Subject-Token": {`{"access_token": "hidden-value"}`}}, detail: "holds spaces or line breaks"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := standardRequest("")
			inHeaders(&r)
			_, err := readAnswer(r, reply{status: http.StatusOK, header: tc.header, body: []byte(tc.body)}, clock(), redactorFor(r))
			var e *Error
			if !errors.As(err, &e) || !strings.HasSuffix(e.Detail, tc.detail) || strings.Contains(err.Error(), "hidden") {
				t.Errorf("got %v, want the end %q", err, tc.detail)
			}
		})
	}
}
