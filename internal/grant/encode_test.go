// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

func TestTheRequestIsExactlyThis(t *testing.T) {
	t.Parallel()
	const (
		form  = "application/x-www-form-urlencoded"
		asJSN = "application/json"
	)
	for name, tc := range map[string]struct {
		change                   func(*Request)
		method, query, body, typ string
		authorization            string
	}{
		"client_secret_post sends the credentials in the form": {
			body: "client_id=the-client&client_secret=the-secret-of-the-client&grant_type=client_credentials", typ: form,
		},
		"client_secret_basic sends them in the header alone": {
			change: func(r *Request) { r.Auth = AuthBasic },
			body:   "grant_type=client_credentials", typ: form,
			authorization: "Basic dGhlLWNsaWVudDp0aGUtc2VjcmV0LW9mLXRoZS1jbGllbnQ=",
		},
		"client_secret_basic form-urlencodes before base64 (RFC 6749 section 2.3.1)": {
			change: func(r *Request) { r.Auth, r.ClientID, r.ClientSecret = AuthBasic, "a:b", "c d+ü" },
			body:   "grant_type=client_credentials", typ: form,
			authorization: "Basic YSUzQWI6YytkJTJCJUMzJUJD", // a%3Ab:c+d%2B%C3%BC
		},
		"raw Basic leaves them as they are": {
			change: func(r *Request) { r.Auth, r.BasicRaw, r.ClientID, r.ClientSecret = AuthBasic, true, "ab", "c d+ü:" },
			body:   "grant_type=client_credentials", typ: form,
			authorization: "Basic YWI6YyBkK8O8Og==", // ab:c d+ü:
		},
		"none sends the client_id and no secret": {
			change: func(r *Request) { r.Auth = AuthNone },
			body:   "client_id=the-client&grant_type=client_credentials", typ: form,
		},
		"none without a client_id sends neither": {
			change: func(r *Request) { r.Auth, r.ClientID = AuthNone, "" },
			body:   "grant_type=client_credentials", typ: form,
		},
		"no grant_type where the dialect has none": {
			change: func(r *Request) { r.GrantType = "" },
			body:   "client_id=the-client&client_secret=the-secret-of-the-client", typ: form,
		},
		"any grant_type goes as it is, without username and password": {
			change: func(r *Request) {
				r.Auth, r.GrantType, r.Username, r.Password, r.RefreshToken = AuthNone, "urn:x:y", "u", "p", "r"
			},
			body: "client_id=the-client&grant_type=urn%3Ax%3Ay", typ: form,
		},
		"password sends username and password": {
			change: func(r *Request) {
				r.Auth, r.GrantType, r.Username, r.Password = AuthBasic, GrantPassword, "u@example.com", "p w"
			},
			body: "grant_type=password&password=p+w&username=u%40example.com", typ: form,
			authorization: "Basic dGhlLWNsaWVudDp0aGUtc2VjcmV0LW9mLXRoZS1jbGllbnQ=",
		},
		"refresh_token sends the refresh token": {
			change: func(r *Request) { r.Auth, r.GrantType, r.RefreshToken = AuthNone, GrantRefreshToken, "r/1" },
			body:   "client_id=the-client&grant_type=refresh_token&refresh_token=r%2F1", typ: form,
		},
		"scopes are separated by a space": {
			change: func(r *Request) { minimal(r); r.Scopes = []string{"a", "b:c", "d/e"} },
			body:   "scope=a+b%3Ac+d%2Fe", typ: form,
		},
		"scopes are separated by a comma": {
			change: func(r *Request) { minimal(r); r.Scopes, r.ScopeSeparator = []string{"a", "b"}, "," },
			body:   "scope=a%2Cb", typ: form,
		},
		"scopes are separated by a literal": {
			change: func(r *Request) { minimal(r); r.Scopes, r.ScopeSeparator = []string{"a", "b"}, " | " },
			body:   "scope=a+%7C+b", typ: form,
		},
		"a list of scopes repeats in a form": {
			change: func(r *Request) { minimal(r); r.Scopes, r.ScopeSeparator = []string{"b", "a"}, ScopeList },
			body:   "scope=b&scope=a", typ: form,
		},
		"a list of scopes is an array in JSON": {
			change: func(r *Request) {
				minimal(r)
				r.Format, r.Scopes, r.ScopeSeparator = JSON, []string{"b", "a"}, ScopeList
			},
			body: `{"scope":["b","a"]}`, typ: asJSN,
		},
		"a space is %20 where the server wants that": {
			change: func(r *Request) {
				minimal(r)
				r.PercentSpaces, r.Scopes, r.Parameters = true, []string{"a", "b"}, map[string]any{"p+": "c + d%20"}
			},
			body: "p%2B=c%20%2B%20d%2520&scope=a%20b", typ: form,
		},
		"in a query, too": {
			change: func(r *Request) {
				minimal(r)
				r.PercentSpaces, r.Format, r.Scopes = true, Query, []string{"a", "b"}
				r.URL += "?x=1+2"
			},
			query: "x=1+2&scope=a%20b",
		},
		"PUT is a POST by another name": {
			change: func(r *Request) { r.Method, r.Auth = http.MethodPut, AuthNone },
			method: http.MethodPut, body: "client_id=the-client&grant_type=client_credentials", typ: form,
		},
		"Basic of an empty secret": {
			change: func(r *Request) { r.Auth, r.ClientID, r.ClientSecret = AuthBasic, "cf", "" },
			body:   "grant_type=client_credentials", typ: form, authorization: "Basic Y2Y6",
		},
		"an empty secret in the form": {
			change: func(r *Request) { r.ClientSecret = "" },
			body:   "client_id=the-client&client_secret=&grant_type=client_credentials", typ: form,
		},
		"JSON holds everything": {
			change: func(r *Request) { r.Format, r.Scopes = JSON, []string{"a", "b"} },
			body:   `{"client_id":"the-client","client_secret":"the-secret-of-the-client","grant_type":"client_credentials","scope":"a b"}`,
			typ:    asJSN,
		},
		"query by GET has no body": {
			change: func(r *Request) { r.Format, r.Method, r.Auth = Query, http.MethodGet, AuthNone },
			method: "GET", query: "client_id=the-client&grant_type=client_credentials",
		},
		"query by POST has no body either": {
			change: func(r *Request) { r.Format, r.Auth = Query, AuthNone },
			query:  "client_id=the-client&grant_type=client_credentials",
		},
		"a literal query in token_url stays with a form": {
			change: func(r *Request) { minimal(r); r.URL += "?b=2&a=%201"; r.Scopes = []string{"s"} },
			query:  "b=2&a=%201", body: "scope=s", typ: form,
		},
		"a literal query in token_url stays before the parameters": {
			change: func(r *Request) { minimal(r); r.Format = Query; r.URL += "?b=2&a=1"; r.Scopes = []string{"s t"} },
			query:  "b=2&a=1&scope=s+t",
		},
		"a literal query stays alone when no parameter has a value": {
			change: func(r *Request) {
				minimal(r)
				r.Format = Query
				r.URL += "?b=2"
				r.Parameters = map[string]any{"none": []any{}}
			},
			query: "b=2",
		},
		"nothing to send is an empty body without a type": {change: minimal},
		"nothing to send is an empty body in JSON, too":   {change: func(r *Request) { minimal(r); r.Format = JSON }},
		"renamed parameters go by their new names": {
			change: func(r *Request) {
				r.Names = map[string]string{"client_id": "clientId", "client_secret": "clientSecret", "grant_type": "", "scope": "perm"}
				r.Scopes = []string{"a"}
			},
			body: "clientId=the-client&clientSecret=the-secret-of-the-client&perm=a", typ: form,
		},
		"parameters in a form: lists repeat, objects are JSON text": {
			change: func(r *Request) { minimal(r); r.Parameters = everyValue() },
			body: "bool=true&empty=&float=1.5&int=9007199254740991&large=123456789012345678901234567890" +
				"&list=b&list=a&mixed=1&mixed=false&mixed=%7B%22k%22%3A%22v%22%7D&null=null" +
				"&object=%7B%22a%22%3A%5B1%2C%22x%22%5D%7D&text=a+b",
			typ: form,
		},
		"parameters in JSON stay what they are": {
			change: func(r *Request) { minimal(r); r.Format, r.Parameters = JSON, everyValue() },
			body: `{"bool":true,"empty":"","float":1.5,"int":9007199254740991,"large":123456789012345678901234567890,` +
				`"list":["b","a"],"mixed":[1,false,{"k":"v"}],"none":[],"null":null,"object":{"a":[1,"x"]},"text":"a b"}`,
			typ: asJSN,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := granting(t)
			r := standardRequest(s.URL() + "/token")
			if tc.change != nil {
				tc.change(&r)
			}
			if _, err := mint(t, r); err != nil {
				t.Fatal(err)
			}
			got := s.Last()
			if tc.method == "" {
				tc.method = http.MethodPost
			}
			check := func(what, got, want string) {
				t.Helper()
				if got != want {
					t.Errorf("%s\n got %q\nwant %q", what, got, want)
				}
			}
			check("method", got.Method, tc.method)
			check("path", got.Path, "/token")
			check("query", got.RawQuery, tc.query)
			check("body", got.Body, tc.body)
			check("Content-Type", got.Header.Get("Content-Type"), tc.typ)
			check("Accept", got.Header.Get("Accept"), "application/json")
			check("Authorization", got.Header.Get("Authorization"), tc.authorization)
			if s.Requests() != 1 {
				t.Errorf("sent %d requests", s.Requests())
			}
		})
	}
}

// minimal makes r send nothing.
func minimal(r *Request) { r.Auth, r.ClientID, r.GrantType = AuthNone, "", "" }

func everyValue() map[string]any {
	return map[string]any{
		"text": "a b", "empty": "", "int": float64(9007199254740991), "float": 1.5, "bool": true, "null": nil,
		"large": json.Number("123456789012345678901234567890"),
		"list":  []any{"b", "a"}, "none": []any{}, "object": map[string]any{"a": []any{float64(1), "x"}},
		"mixed": []any{float64(1), false, map[string]any{"k": "v"}},
	}
}

func TestHeadersOfTheRequestReplaceTheDefaults(t *testing.T) {
	t.Parallel()
	s := granting(t)
	c := NewClient(Options{Now: clock, UserAgent: "oauthcc/1"})
	defer c.Close()
	r := standardRequest(s.TokenURL())
	r.Headers = map[string]string{"accept": "application/vnd.x+json", "X-Api-Key": "k", "Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
	if _, err := c.Mint(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Accept": "application/vnd.x+json", "X-Api-Key": "k", "User-Agent": "oauthcc/1",
		"Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
	} {
		if got := s.Last().Header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %q, want %q alone", name, got, want)
		}
	}
}

// Some servers distinguish the case of a header's name, or refuse a name that
// occurs twice.
func TestNamesOfHeadersKeepTheirCase(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	got := make(chan string, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		var head strings.Builder
		for in := bufio.NewScanner(conn); in.Scan() && in.Text() != ""; {
			head.WriteString(in.Text() + "\n")
		}
		got <- head.String()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 38\r\n\r\n{\"access_token\":\"tok\",\"expires_in\":60}") // the client may be gone
	}()
	r := standardRequest("http://" + listener.Addr().String() + "/token")
	r.Headers = map[string]string{"appKey": "1", "X-KM-Sign": "2", "x_lower": "3", "accept": "a/b", "CONTENT-TYPE": "c/d", "user-agent": "e"}
	if _, err := mint(t, r); err != nil {
		t.Fatal(err)
	}
	head := <-got
	for _, line := range []string{"appKey: 1", "X-KM-Sign: 2", "x_lower: 3", "accept: a/b", "CONTENT-TYPE: c/d", "User-Agent: e"} {
		name, _, _ := strings.Cut(line, ":")
		if !strings.Contains(head, "\n"+line+"\n") || strings.Count(strings.ToLower(head), "\n"+strings.ToLower(name)+":") != 1 {
			t.Errorf("want %q alone in\n%s", line, head)
		}
	}
}

// The strict servers compare the credentials with their own, and refuse them if they
// arrive changed.
func TestAwkwardSecretsArriveUnchanged(t *testing.T) {
	t.Parallel()
	for name, secret := range awkwardSecrets() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for dialect, change := range map[providertest.Dialect]func(*Request){
				providertest.RFC6749: func(r *Request) { r.Auth = AuthBasic },
				providertest.Cognito: func(r *Request) { r.Auth, r.BasicRaw = AuthBasic, true },
				providertest.Fuuffy:  func(r *Request) { r.GrantType, r.Answer.AccessToken = "", []Pointer{"/data/access_token"} },
				providertest.XCover:  func(r *Request) { r.Format = JSON },
				providertest.Semansys: func(r *Request) {
					r.GrantType, r.Username, r.Password = GrantPassword, "user "+secret, secret+" password"
				},
			} {
				options := providertest.Options{ClientID: "client", ClientSecret: secret}
				if dialect != providertest.Cognito { // raw Basic cannot carry a colon in the ID
					options.ClientID = "client " + secret
				}
				options.Username, options.Password = "user "+secret, secret+" password"
				s := providertest.Start(t, dialect, options)
				r := standardRequest(s.TokenURL())
				r.ClientID, r.ClientSecret, r.Answer.DefaultLifetime = options.ClientID, secret, 60e9
				change(&r)
				if _, err := mint(t, r); err != nil {
					t.Errorf("%s: %v", dialect, err)
				}
			}
		})
	}
}

func TestAwkwardSecretsArriveUnchangedInAQuery(t *testing.T) {
	t.Parallel()
	for name, secret := range awkwardSecrets() {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			t.Run(name+" by "+method, func(t *testing.T) {
				t.Parallel()
				var got []string
				s := providertest.StartFunc(t, "/", func(w http.ResponseWriter, r *http.Request, _ []byte) {
					got = append(r.URL.Query()["client_secret"], r.URL.Query()["a"]...)
					_, _ = w.Write([]byte(`{"access_token":"t","expires_in":1}`))
				})
				r := standardRequest(s.TokenURL() + "?a=literal")
				r.Format, r.Method, r.ClientSecret = Query, method, secret
				if _, err := mint(t, r); err != nil {
					t.Fatal(err)
				}
				if strings.Join(got, "|") != secret+"|literal" {
					t.Errorf("got %q", got)
				}
			})
		}
	}
}
