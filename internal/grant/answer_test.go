// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

const (
	asJSON = "application/json"
	asForm = "application/x-www-form-urlencoded"
	asText = "text/plain"
)

func TestAnswersThatHoldAToken(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status     int
		typ, body  string
		change     func(*Request)
		token      string // "tok" when empty
		tokenType  string // "Bearer" when empty
		scope      string
		refresh    string
		extra      map[string]any
		wantExpiry time.Duration // a minute when 0
	}{
		"200":                  {body: `{"access_token":"tok","expires_in":60}`},
		"201 is a success":     {status: 201, body: `{"access_token":"tok","expires_in":60}`},
		"203 is a success":     {status: 203, body: `{"access_token":"tok","expires_in":60}`},
		"JSON of another type": {typ: "text/html; charset=utf-8", body: `{"access_token":"tok","expires_in":60}`},
		"JSON without a type":  {typ: "", body: `{"access_token":"tok","expires_in":60}`},
		"JSON called a form":   {typ: asForm, body: `{"access_token":"tok","expires_in":60}`},
		"a nonsense type":      {typ: ";;;", body: `{"access_token":"tok","expires_in":60}`},
		"a byte order mark":    {body: "\xef\xbb\xbf" + `{"access_token":"tok","expires_in":60}`},
		"space around":         {body: " \r\n" + `{"access_token":"tok","expires_in":60}` + "\n\n"},
		"a form":               {typ: asForm, body: "access_token=tok&expires_in=60&scope=a+b&token_type=mac", scope: "a b", tokenType: "mac"},
		"a form called text":   {typ: asText, body: "access_token=tok&expires_in=60"},
		"a form called HTML":   {typ: "text/html", body: "access_token=tok&expires_in=60"},
		"of a form's repeated members the first": {
			typ: asForm, body: "access_token=tok&access_token=other&expires_in=60",
		},
		"of repeated JSON members the last, as everywhere": {
			body: `{"access_token":"other","access_token":"tok","expires_in":1,"expires_in":60}`,
		},
		"null members count as left out": {
			body: `{"access_token":"tok","expires_in":60,"scope":null,"token_type":null,"refresh_token":null,"error":null}`,
		},
		"the first candidate that holds a token": {
			body:   `{"access_token":"","token":null,"id":{"t":1},"data":{"token":"tok"},"expires_in":60}`,
			change: func(r *Request) { r.Answer.AccessToken = []Pointer{"/access_token", "/token", "/id/t", "/data/token"} },
		},
		"a string inside a pointer is read as JSON": {
			body: `{"data":"{\"access_token\":\"tok\",\"in\":\"[\\\"x\\\",60]\"}"}`,
			change: func(r *Request) {
				r.Answer.AccessToken, r.Answer.ExpiresIn = []Pointer{"/data/access_token"}, []Pointer{"/data/in/1"}
			},
		},
		"a whole answer that is a string of JSON": {body: `"{\"access_token\":\"tok\",\"expires_in\":60}"`},
		"a list":                                 {body: `[{"access_token":"tok","expires_in":60}]`, change: below("/0")},
		"names with / and ~":                     {body: `{"a/b":{"~c":{"access_token":"tok","expires_in":60}}}`, change: below("/a~1b/~0c")},
		"the token type as the server writes it": {body: `{"access_token":"tok","expires_in":60,"token_type":"bearer"}`, tokenType: "bearer"},
		"a token type that is no word is none":   {body: `{"access_token":"tok","expires_in":60,"token_type":"Bearer\r\nX-Evil: 1"}`},
		"a token type that is no string is none": {body: `{"access_token":"tok","expires_in":60,"token_type":{"a":1}}`},
		"no scope in the answer is as asked (RFC 6749 section 5.1)": {
			body:   `{"access_token":"tok","expires_in":60}`,
			change: func(r *Request) { r.Scopes = []string{"a", "b"} }, scope: "a b",
		},
		"the granted scope counts": {
			body:   `{"access_token":"tok","expires_in":60,"scope":"a"}`,
			change: func(r *Request) { r.Scopes = []string{"a", "b"} }, scope: "a",
		},
		"scope with commas": {body: `{"access_token":"tok","expires_in":60,"scope":"a,b, c"}`, scope: "a b c"},
		"scope with spaces, though asked with commas": {
			body:   `{"access_token":"tok","expires_in":60,"scope":"a  b"}`,
			change: func(r *Request) { r.Answer.ScopeSeparator = "," }, scope: "a b",
		},
		"scope with the literal separator": {
			body:   `{"access_token":"tok","expires_in":60,"scope":"a|b"}`,
			change: func(r *Request) { r.Answer.ScopeSeparator = "|" }, scope: "a b",
		},
		"scope as an array":                      {body: `{"access_token":"tok","expires_in":60,"scope":["a","b"]}`, scope: "a b"},
		"an array of something else is no scope": {body: `{"access_token":"tok","expires_in":60,"scope":[1]}`},
		"the refresh token is kept":              {body: `{"access_token":"tok","expires_in":60,"refresh_token":"r-1"}`, refresh: "r-1"},
		"extra fields": {
			body:   `{"access_token":"tok","expires_in":60,"instance_url":"https://x.example","n":{"a":[1]},"null":null}`,
			change: extra("url", "/instance_url", "n", "/n", "null", "/null", "missing", "/missing"),
			extra:  map[string]any{"url": "https://x.example", "n": map[string]any{"a": []any{jsonNumber("1")}}},
		},
		"an extra field never hands out the refresh token": {
			body: `{"access_token":"tok","expires_in":60,"refresh_token":"ref/resh","again":"ref/resh","in":{"x":["a ref/resh b"]},` +
				`"name":{"ref/resh":1},"text":"{\"rt\":\"ref\\/resh\"}","ok":"fine"}`,
			change:  extra("a", "/again", "i", "/in", "n", "/name", "t", "/text", "ok", "/ok"),
			refresh: "ref/resh", extra: map[string]any{"ok": "fine"},
		},
		"an extra field never hands out a credential of the request": {
			body:   `{"access_token":"tok","expires_in":60,"a":"the-secret-of-the-client","b":{"x":["dGhlLXNlY3JldC1vZi10aGUtY2xpZW50"]},"c":1}`,
			change: extra("a", "/a", "b", "/b", "c", "/c"), extra: map[string]any{"c": jsonNumber("1")},
		},
		"the scheme before the token is left out":             {body: `{"access_token":"Bearer tok","expires_in":60}`},
		"the scheme of the token type that the answer states": {body: `{"access_token":"token tok","token_type":"Token","expires_in":60}`, tokenType: "Token"},
		"the scheme is one in any case":                       {body: `{"access_token":"bearer tok","expires_in":60}`},
		"a token that is called Bearer":                       {body: `{"access_token":"Bearer","expires_in":60}`, token: "Bearer"},
		"an unquoted token called JSON":                       {body: "tok", change: whole},
		"an unquoted token called JSON, like a number":        {body: "5474e214\n", change: whole, token: "5474e214"},
		"an unquoted token called JSON, in digits":            {body: "0012345", change: whole, token: "0012345"},
		"an unquoted JWT called JSON":                         {body: "a.b.c", change: whole, token: "a.b.c"},
		"an unquoted token with its scheme":                   {body: "Bearer tok", typ: asText, change: whole},
		"the whole body is the token":                         {typ: asText, body: "tok", change: whole},
		"a text token with a line end":                        {typ: asText, body: "tok\r\n", change: whole},
		"a text token without a type":                         {typ: "", body: "tok", change: whole},
		"a text token that ends in ==":                        {typ: asText, body: "dG9rZW4tdGV4dA==", change: whole, token: "dG9rZW4tdGV4dA=="},
		"a text token that ends in =":                         {typ: asText, body: "dG9rZW4=", change: whole, token: "dG9rZW4="},
		"a text token that looks like a number":               {typ: asText, body: "5474e214", change: whole, token: "5474e214"},
		"a text token in digits":                              {typ: asText, body: "0012345", change: whole, token: "0012345"},
		"a text token as a JWT type":                          {typ: "application/jwt", body: "a.b.c", change: whole, token: "a.b.c"},
		"a text token as bytes":                               {typ: "application/octet-stream", body: "tok", change: whole},
		"a text token as a JSON string":                       {body: `"tok"`, change: whole},
		"a text token in Latin-1":                             {typ: "text/plain; charset=iso-8859-1", body: "tok", change: whole},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.status == 0 {
				tc.status = http.StatusOK
			}
			typ := tc.typ
			if typ == "" && !strings.Contains(name, "without a type") {
				typ = asJSON
			}
			r := standardRequest(answering(t, tc.status, typ, tc.body).TokenURL())
			if tc.change != nil {
				tc.change(&r)
			}
			got, err := mint(t, r)
			if err != nil {
				t.Fatal(err)
			}
			want := Token{AccessToken: tc.token, TokenType: tc.tokenType, Scope: tc.scope, RefreshToken: tc.refresh, Extra: tc.extra}
			if want.AccessToken == "" {
				want.AccessToken = "tok"
			}
			if want.TokenType == "" {
				want.TokenType = "Bearer"
			}
			want.IssuedAt, want.ExpiresAt, want.Lifetime = clock(), clock().Add(time.Minute), got.Lifetime
			if !reflect.DeepEqual(*got, want) {
				t.Errorf("\n got %+v\nwant %+v", *got, want)
			}
		})
	}
}

// below makes r look for the token and its lifetime one level down, inside p.
func below(p Pointer) func(*Request) {
	return func(r *Request) {
		r.Answer.AccessToken, r.Answer.ExpiresIn = []Pointer{p + "/access_token"}, []Pointer{p + "/expires_in"}
	}
}

func extra(pairs ...string) func(*Request) {
	return func(r *Request) {
		r.Answer.Extra = map[string]Pointer{}
		for i := 0; i < len(pairs); i += 2 {
			r.Answer.Extra[pairs[i]] = Pointer(pairs[i+1])
		}
	}
}

func whole(r *Request) {
	r.Answer.AccessToken, r.Answer.DefaultLifetime = []Pointer{""}, time.Minute
}

func TestAnswersWithoutAUsableToken(t *testing.T) {
	t.Parallel()
	const (
		missing = `no access token at "/access_token"; the answer `
		here    = `no access token: the member at "/access_token" `
	)
	for name, tc := range map[string]struct {
		typ, body string
		change    func(*Request)
		detail    string // how the detail must end
	}{
		"an empty body":                         {body: "", detail: missing + "is empty, or neither JSON, XML nor a form"},
		"space":                                 {body: " \n", detail: missing + "is empty, or neither JSON, XML nor a form"},
		"null":                                  {body: "null", detail: missing + "is empty, or neither JSON, XML nor a form"},
		"an empty object":                       {body: "{}", detail: missing + "is an empty object"},
		"a list":                                {body: `["access_token"]`, detail: missing + "is a list"},
		"a string":                              {body: `"hidden-value"`, detail: missing + "is no object"},
		"HTML":                                  {typ: "text/html", body: "<!doctype html><title>hidden-value</title>", detail: missing + "is a page for people (HTML)"},
		"HTML without spaces for a text token":  {typ: "text/html", body: "<h1>hidden-value</h1>", change: whole, detail: "the answer has the members h1"},
		"HTML called text for a text token":     {typ: asText, body: "<h1>hidden-value</h1>", change: whole, detail: "the answer has the members h1"},
		"XML":                                   {typ: "application/xml", body: "<a>hidden-value</a>", change: whole, detail: "the answer has the members a"},
		"cut JSON":                              {body: `{"access_token":"hidden-value"`, detail: "is empty, or neither JSON, XML nor a form"},
		"cut JSON called text for a text token": {typ: asText, body: `{"access_token":"hidden-value`, change: whole, detail: "neither JSON, XML nor a form"},
		"cut JSON for a text token":             {body: `"hidden-value`, change: whole, detail: "neither JSON, XML nor a form"},
		"trailing garbage":                      {body: `{"access_token":"hidden-value","expires_in":60}garbage`, detail: "neither JSON, XML nor a form"},
		"two documents":                         {body: `{"access_token":"hidden-value","expires_in":60}{}`, detail: "neither JSON, XML nor a form"},
		"a JSON object for a text token":        {body: `{"x":"hidden-value"}`, change: whole, detail: `no access token at ""; the answer has the members x`},
		"names, never values":                   {body: `{"b":"hidden-value","a":{"d":"hidden-value","c":1}}`, detail: missing + "has the members a/c, a/d, b"},
		"an empty token":                        {body: `{"access_token":""}`, detail: here + "is empty"},
		"a null token":                          {body: `{"access_token":null}`, detail: here + "is null"},
		"a token that is a number":              {body: `{"access_token":123456}`, detail: here + "is a number, and no string"},
		"a token that is an object":             {body: `{"access_token":{}}`, detail: here + "is an empty object"},
		"a token with a space":                  {body: `{"access_token":"hidden value"}`, detail: here + "holds spaces or line breaks"},
		"a token with a newline":                {body: `{"access_token":"hidden-value\nX: y"}`, detail: here + "holds spaces or line breaks"},
		"a token with a final newline":          {body: `{"access_token":"hidden-value\n"}`, detail: here + "holds spaces or line breaks"},
		"a token with a NUL":                    {body: `{"access_token":"hidden\u0000value"}`, detail: here + "holds control characters"},
		"a token beyond ASCII":                  {body: `{"access_token":"hidden-välue"}`, detail: here + "holds characters beyond ASCII"},
		"a token that is true":                  {body: `{"access_token":true}`, detail: here + "is true or false, and no string"},
		"a token that is a list":                {body: `{"access_token":["hidden-value"]}`, detail: here + "is a list"},
		"a token that is an object of members":  {body: `{"access_token":{"value":"hidden-value"}}`, detail: here + "has the members value"},
		"a token with the scheme of another type": {
			body: `{"access_token":"Basic hidden-value","token_type":"bearer"}`, detail: here + "holds spaces or line breaks",
		},
		"a scheme without a token":   {body: `{"access_token":"Bearer "}`, detail: here + "holds spaces or line breaks"},
		"a scheme before two tokens": {body: `{"access_token":"Bearer hidden value"}`, detail: here + "holds spaces or line breaks"},
		"of candidates the first that is there": {
			body: `{"b":"","c":1}`, change: func(r *Request) { r.Answer.AccessToken = []Pointer{"/a", "/b", "/c"} }, detail: `no access token: the member at "/b" is empty`,
		},
		"a text of words":        {typ: asText, body: "hidden value", change: whole, detail: `no access token: the answer holds spaces or line breaks`},
		"words that are no JSON": {body: "hidden value", change: whole, detail: "neither JSON, XML nor a form"},
		"names differ by case":   {body: `{"Access_Token":"hidden-value"}`, detail: missing + "has the members Access_Token"},
		"all candidates are named": {
			body: `{}`, change: func(r *Request) { r.Answer.AccessToken = []Pointer{"/a", "/b/c"} },
			detail: `no access token at "/a", "/b/c"; the answer is an empty object`,
		},
		"no candidates": {body: `{}`, change: func(r *Request) { r.Answer.AccessToken = nil }, detail: "no access token at no pointer; the answer is an empty object"},
		"a name that repeats the secret": {
			body: `{"the-secret-of-the-client":1,"x":{"dGhlLXNlY3JldC1vZi10aGUtY2xpZW50":1}}`, detail: withheld + ", x/" + withheld,
		},
		"many names": {
			body:   `{"a0":1,"a1":1,"a2":1,"a3":1,"a4":1,"a5":1,"a6":1,"a7":1,"a8":1,"a9":1,"b0":1,"b1":1,"b2":1,"b3":1,"b4":1,"b5":1,"b6":1,"b7":1,"b8":1,"b9":1,"c0":1}`,
			detail: "b8, b9, …",
		},
		"text called a form":                  {typ: asForm, body: "hidden-value", detail: missing + "is no object"},
		"JSON in the name of a form's member": {typ: asForm, body: `x={"access_token":"tok"}`, detail: missing + "has the members x"},
		"a token for a name":                  {body: `{"eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2ln":1}`, detail: "has the members […]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.typ == "" {
				tc.typ = asJSON
			}
			r := standardRequest(answering(t, http.StatusOK, tc.typ, tc.body).TokenURL())
			if tc.change != nil {
				tc.change(&r)
			}
			e := refusal(t, r)
			if e.Kind != Unintelligible || e.Status != http.StatusOK || !strings.HasSuffix(e.Detail, tc.detail) {
				t.Errorf("got kind %d, status %d, %q; want the end %q", e.Kind, e.Status, e.Detail, tc.detail)
			}
			if strings.Contains(e.Error(), "hidden") {
				t.Errorf("quotes the answer: %s", e)
			}
		})
	}
}

func TestAnAnswerOfMoreThanOneMiBIsRefused(t *testing.T) {
	t.Parallel()
	body := func(size int) string {
		head, tail := `{"access_token":"tok","expires_in":60,"pad":"`, `"}`
		return head + strings.Repeat("x", size-len(head)-len(tail)) + tail
	}
	if _, err := mint(t, standardRequest(answering(t, 200, asJSON, body(1<<20)).TokenURL())); err != nil {
		t.Errorf("just 1 MiB: %v", err)
	}
	e := refusal(t, standardRequest(answering(t, 200, asJSON, body(1<<20+1)).TokenURL()))
	if e.Kind != Unintelligible || e.Detail != "the answer is larger than 1 MiB" {
		t.Errorf("one byte more: kind %d, %q", e.Kind, e.Detail)
	}
	// For an error, the status is enough.
	e = refusal(t, standardRequest(answering(t, 401, asJSON, body(1<<20+1)).TokenURL()))
	if e.Kind != Refused || e.Status != 401 {
		t.Errorf("an error: kind %d, status %d", e.Kind, e.Status)
	}
}

func TestACompressedAnswerIsBoundedOnceUnpacked(t *testing.T) {
	t.Parallel()
	s := providertest.StartFunc(t, "/", func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(gzipped(strings.Repeat(" ", 4<<20)))
	})
	if e := refusal(t, standardRequest(s.TokenURL())); e.Kind != Unintelligible || !strings.Contains(e.Detail, "1 MiB") {
		t.Errorf("kind %d, %q", e.Kind, e.Detail)
	}
}
