// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestDocumentedRequestIsGranted(t *testing.T) {
	tests := map[string]struct {
		dialect Dialect
		options Options
		ask     ask
		token   []string          // the path of the access token
		want    map[string]string // the other members of the answer, as JSON text
	}{
		"antsomi": {
			dialect: Antsomi, ask: good(Antsomi), token: []string{"accessToken"},
			want: map[string]string{"accessTokenExpiresAt": `"2026-01-02T13:00:00.643Z"`, "scope": `"item,event"`},
		},
		"cognito": {
			dialect: Cognito, ask: good(Cognito), token: []string{"access_token"},
			want: map[string]string{"expires_in": "3600", "token_type": `"Bearer"`},
		},
		"cognito grants all scopes when asked for none": {
			dialect: Cognito, token: []string{"access_token"},
			ask:  posted(pairs("grant_type", "client_credentials")).set("Authorization", rawBasic(DefaultCredentials(Cognito))),
			want: map[string]string{"expires_in": "3600", "token_type": `"Bearer"`},
		},
		"fuuffy": {
			dialect: Fuuffy, ask: good(Fuuffy), token: []string{"data", "access_token"}, want: map[string]string{},
		},
		"semansys": {
			dialect: Semansys, ask: good(Semansys), token: []string{"access_token"},
			want: map[string]string{"expires_in": "3600", "token_type": `"bearer"`, "refresh_token": "", "scope": `"api"`},
		},
		"xcover": {
			dialect: XCover, ask: good(XCover), token: []string{"access_token"},
			want: map[string]string{"expires_in": "3600", "token_type": `"Bearer"`},
		},
		"xcover accepts among others": {
			dialect: XCover, ask: good(XCover).set("Accept", "text/plain, application/json;q=0.9"), token: []string{"access_token"},
			want: map[string]string{"expires_in": "3600", "token_type": `"Bearer"`},
		},
		"rfc6749 by basic": {
			dialect: RFC6749, ask: good(RFC6749), token: []string{"access_token"},
			want: map[string]string{"expires_in": "3600", "token_type": `"Bearer"`, "scope": `"read write"`},
		},
		"rfc6749 by post, a charset named, all scopes": {
			dialect: RFC6749, token: []string{"access_token"},
			ask:  posted(clientForm(RFC6749, "grant_type", "client_credentials")).set("Content-Type", formType+"; charset=UTF-8"),
			want: map[string]string{"expires_in": "3600", "token_type": `"Bearer"`, "scope": `"read write admin"`},
		},
		"rfc6749 takes an empty parameter as left out": {
			dialect: RFC6749, token: []string{"access_token"},
			ask:  posted(clientForm(RFC6749, "grant_type", "client_credentials", "scope", "")),
			want: map[string]string{"expires_in": "3600", "token_type": `"Bearer"`, "scope": `"read write admin"`},
		},
		"rfc6749 with allowed extra parameters, repeated": {
			dialect: RFC6749, options: Options{ExtraParameters: []string{"resource"}}, token: []string{"access_token"},
			ask: posted(clientForm(RFC6749, "grant_type", "client_credentials", "scope", "read",
				"resource", "https://a.example.com", "resource", "https://b.example.com")),
			want: map[string]string{"expires_in": "3600", "token_type": `"Bearer"`, "scope": `"read"`},
		},
		"rfc6749 password": {
			dialect: RFC6749, ask: posted(passwordForm(RFC6749)), token: []string{"access_token"},
			want: map[string]string{"expires_in": "3600", "token_type": `"Bearer"`, "refresh_token": "", "scope": `"read write admin"`},
		},
		"own credentials, scopes and lifetime": {
			dialect: Antsomi, token: []string{"accessToken"},
			options: Options{ClientID: "me", ClientSecret: "mine", Scopes: []string{"x", "y"}, Lifetime: 1500 * time.Millisecond},
			ask:     posted(pairs("grant_type", "client_credentials", "client_id", "me", "client_secret", "mine", "scope", "y")),
			want:    map[string]string{"accessTokenExpiresAt": `"2026-01-02T12:00:02.143Z"`, "scope": `"y"`},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.options.Now = fixedClock
			s := Start(t, tt.dialect, tt.options)
			got := mustSend(t, s, s.TokenURL(), tt.ask)
			if got.status != http.StatusOK {
				t.Fatalf("status %d: %s", got.status, got.body)
			}
			token := got.member(t, tt.token...)
			if !s.Valid(token) || s.IssuedCount() != 1 || s.Issued()[0] != token {
				t.Errorf("token %q is not the one issued: %q", token, s.Issued())
			}
			var members map[string]json.RawMessage
			if err := json.Unmarshal([]byte(got.body), &members); err != nil {
				t.Fatal(err)
			}
			delete(members, tt.token[0])
			for name, want := range tt.want {
				if raw := string(members[name]); raw == "" || want != "" && raw != want {
					t.Errorf("%s = %s, want %s", name, raw, want)
				}
				delete(members, name)
			}
			if len(members) > 0 {
				t.Errorf("undocumented members: %s", members)
			}
			if got.header.Get("Cache-Control") != "no-store" {
				t.Error("answer may be cached")
			}
			again := mustSend(t, s, s.TokenURL(), tt.ask)
			if again.member(t, tt.token...) == token {
				t.Error("the same token was issued twice")
			}
		})
	}
}

func TestUndocumentedRequestIsRefused(t *testing.T) {
	ants := clientForm(Antsomi, "grant_type", "client_credentials", "scope", "item,event")
	cog := pairs("grant_type", "client_credentials", "scope", "api/write")
	cogBasic := rawBasic(DefaultCredentials(Cognito))
	sem := passwordForm(Semansys)
	rfc := clientForm(RFC6749, "grant_type", "client_credentials", "scope", "read")
	rfcBare := pairs("grant_type", "client_credentials", "scope", "read")
	rfcBasic := escapedBasic(DefaultCredentials(RFC6749))
	x := DefaultCredentials(XCover)

	tests := map[string]struct {
		dialect Dialect
		ask     ask
		status  int
		code    string
	}{
		"antsomi/missing scope":         {Antsomi, posted(without(ants, "scope")), 400, "invalid_scope"},
		"antsomi/space between scopes":  {Antsomi, posted(replaced(ants, "scope", "item event")), 400, "invalid_scope"},
		"antsomi/blank after comma":     {Antsomi, posted(replaced(ants, "scope", "item, event")), 400, "invalid_scope"},
		"antsomi/unknown scope":         {Antsomi, posted(replaced(ants, "scope", "item,other")), 400, "invalid_scope"},
		"antsomi/wrong secret":          {Antsomi, posted(replaced(ants, "client_secret", "wrong")), 400, "invalid_client"},
		"antsomi/missing client_id":     {Antsomi, posted(without(ants, "client_id")), 400, "invalid_request"},
		"antsomi/missing grant_type":    {Antsomi, posted(without(ants, "grant_type")), 400, "invalid_request"},
		"antsomi/other grant_type":      {Antsomi, posted(replaced(ants, "grant_type", "password")), 400, "unsupported_grant_type"},
		"antsomi/credentials in header": {Antsomi, posted(ants).set("Authorization", cogBasic), 400, "invalid_request"},
		"antsomi/credentials in header alone": {
			Antsomi, posted(without(without(ants, "client_id"), "client_secret")).set("Authorization", rawBasic(DefaultCredentials(Antsomi))),
			400, "invalid_request",
		},

		"cognito/urlencoded basic": {Cognito, posted(cog).set("Authorization", escapedBasic(DefaultCredentials(Cognito))), 400, "invalid_client"},
		"cognito/no credentials":   {Cognito, posted(cog), 400, "invalid_client"},
		"cognito/not basic":        {Cognito, posted(cog).set("Authorization", "Bearer x"), 400, "invalid_client"},
		"cognito/not base64":       {Cognito, posted(cog).set("Authorization", "Basic %%%"), 400, "invalid_client"},
		"cognito/both places": {
			Cognito, posted(with(cog, "client_id", DefaultCredentials(Cognito).ClientID)).set("Authorization", cogBasic),
			400, "invalid_request",
		},
		"cognito/credentials in body": {
			Cognito, posted(clientForm(Cognito, "grant_type", "client_credentials", "scope", "api/write")), 400, "invalid_request",
		},
		"cognito/unknown scope":      {Cognito, posted(replaced(cog, "scope", "api/read")).set("Authorization", cogBasic), 400, "invalid_scope"},
		"cognito/comma in scope":     {Cognito, posted(replaced(cog, "scope", "api/write,api/write")).set("Authorization", cogBasic), 400, "invalid_scope"},
		"cognito/other grant_type":   {Cognito, posted(replaced(cog, "grant_type", "password")).set("Authorization", cogBasic), 400, "unsupported_grant_type"},
		"cognito/missing grant_type": {Cognito, posted(without(cog, "grant_type")).set("Authorization", cogBasic), 400, "invalid_request"},
		"cognito/unknown refresh token": {
			Cognito, posted(pairs("grant_type", "refresh_token", "refresh_token", "x")).set("Authorization", cogBasic), 400, "invalid_grant",
		},

		"fuuffy/grant_type":            {Fuuffy, posted(clientForm(Fuuffy, "grant_type", "client_credentials")), 400, "invalid_request"},
		"fuuffy/scope":                 {Fuuffy, posted(clientForm(Fuuffy, "scope", "")), 400, "invalid_request"},
		"fuuffy/missing client_secret": {Fuuffy, posted(without(clientForm(Fuuffy), "client_secret")), 400, "invalid_request"},
		"fuuffy/wrong secret":          {Fuuffy, posted(replaced(clientForm(Fuuffy), "client_secret", "wrong")), 401, "invalid_client"},
		"fuuffy/credentials in header": {Fuuffy, good(Fuuffy).set("Authorization", rawBasic(DefaultCredentials(Fuuffy))), 400, "invalid_request"},

		"semansys/wrong client":          {Semansys, posted(replaced(sem, "client_secret", "wrong")), 401, "invalid_client"},
		"semansys/wrong password":        {Semansys, posted(replaced(sem, "password", "wrong")), 403, "invalid_grant"},
		"semansys/missing username":      {Semansys, posted(without(sem, "username")), 400, "invalid_request"},
		"semansys/scope":                 {Semansys, posted(with(sem, "scope", "api")), 400, "invalid_request"},
		"semansys/missing grant_type":    {Semansys, posted(without(sem, "grant_type")), 400, "invalid_request"},
		"semansys/client_credentials":    {Semansys, posted(clientForm(Semansys, "grant_type", "client_credentials")), 400, "unsupported_grant_type"},
		"semansys/credentials in header": {Semansys, posted(sem).set("Authorization", rawBasic(DefaultCredentials(Semansys))), 400, "invalid_request"},
		"semansys/unknown refresh token": {
			Semansys, posted(clientForm(Semansys, "grant_type", "refresh_token", "refresh_token", "x")), 400, "invalid_grant",
		},
		"semansys/password sent with refresh token": {
			Semansys, posted(with(replaced(sem, "grant_type", "refresh_token"), "refresh_token", "x")), 400, "invalid_request",
		},

		"xcover/form":                  {XCover, posted(clientForm(XCover, "grant_type", "client_credentials")).set("Accept", jsonType), 400, "invalid_request"},
		"xcover/missing accept":        {XCover, good(XCover).set("Accept", ""), 406, "invalid_request"},
		"xcover/accept anything":       {XCover, good(XCover).set("Accept", "*/*"), 406, "invalid_request"},
		"xcover/wrong secret":          {XCover, jsonAsk(xcoverBody("client_credentials", x.ClientID, "wrong")), 401, "invalid_client"},
		"xcover/other grant_type":      {XCover, jsonAsk(xcoverBody("password", x.ClientID, x.ClientSecret)), 400, "unsupported_grant_type"},
		"xcover/missing member":        {XCover, jsonAsk(xcoverBody("client_credentials", x.ClientID, "")), 400, "invalid_request"},
		"xcover/extra member":          {XCover, jsonAsk(strings.Replace(good(XCover).body, "{", `{"scope":"",`, 1)), 400, "invalid_request"},
		"xcover/repeated member":       {XCover, jsonAsk(strings.Replace(good(XCover).body, "{", `{"grant_type":"client_credentials",`, 1)), 400, "invalid_request"},
		"xcover/member not a string":   {XCover, jsonAsk(`{"grant_type":["client_credentials"]}`), 400, "invalid_request"},
		"xcover/two values":            {XCover, jsonAsk(good(XCover).body + "{}"), 400, "invalid_request"},
		"xcover/not an object":         {XCover, jsonAsk(`[]`), 400, "invalid_request"},
		"xcover/broken JSON":           {XCover, jsonAsk(`{"grant_type":`), 400, "invalid_request"},
		"xcover/truncated JSON":        {XCover, jsonAsk(strings.TrimSuffix(good(XCover).body, "}")), 400, "invalid_request"},
		"xcover/empty body":            {XCover, jsonAsk(""), 400, "invalid_request"},
		"xcover/credentials in header": {XCover, good(XCover).set("Authorization", rawBasic(x)), 400, "invalid_request"},

		"rfc6749/raw basic":                 {RFC6749, posted(rfcBare).set("Authorization", rawBasic(DefaultCredentials(RFC6749))), 401, "invalid_client"},
		"rfc6749/wrong basic":               {RFC6749, posted(rfcBare).set("Authorization", rawBasic(Credentials{ClientID: "a", ClientSecret: "b"})), 401, "invalid_client"},
		"rfc6749/bad escapes in basic":      {RFC6749, posted(rfcBare).set("Authorization", rawBasic(Credentials{ClientID: "%zz", ClientSecret: "b"})), 401, "invalid_client"},
		"rfc6749/no credentials":            {RFC6749, posted(rfcBare), 401, "invalid_client"},
		"rfc6749/wrong post":                {RFC6749, posted(replaced(rfc, "client_secret", "wrong")), 400, "invalid_client"},
		"rfc6749/secret missing":            {RFC6749, posted(without(rfc, "client_secret")), 400, "invalid_client"},
		"rfc6749/both places":               {RFC6749, posted(rfc).set("Authorization", rfcBasic), 400, "invalid_request"},
		"rfc6749/client_id beside basic":    {RFC6749, posted(without(rfc, "client_secret")).set("Authorization", rfcBasic), 400, "invalid_request"},
		"rfc6749/comma between scopes":      {RFC6749, posted(replaced(rfc, "scope", "read,write")), 400, "invalid_scope"},
		"rfc6749/two spaces between scopes": {RFC6749, posted(replaced(rfc, "scope", "read  write")), 400, "invalid_scope"},
		"rfc6749/unknown grant_type":        {RFC6749, posted(replaced(rfc, "grant_type", "magic")), 400, "unsupported_grant_type"},
		"rfc6749/missing grant_type":        {RFC6749, posted(without(rfc, "grant_type")), 400, "invalid_request"},
		"rfc6749/wrong password":            {RFC6749, posted(replaced(passwordForm(RFC6749), "password", "wrong")), 400, "invalid_grant"},
		"rfc6749/unknown refresh token":     {RFC6749, posted(clientForm(RFC6749, "grant_type", "refresh_token", "refresh_token", "x")), 400, "invalid_grant"},
	}
	// These rules hold for every dialect.
	for _, d := range Dialects() {
		name, g := string(d), good(d)
		add := func(rule string, a ask, status int) {
			tests[name+"/"+rule] = struct {
				dialect Dialect
				ask     ask
				status  int
				code    string
			}{d, a, status, "invalid_request"}
		}
		add("method GET", g.via(http.MethodGet), 405)
		add("method PUT", g.via(http.MethodPut), 405)
		add("parameter in the URL", g.withQuery("grant_type=client_credentials"), 400)
		add("missing content type", g.set("Content-Type", ""), 400)
		add("other content type", g.set("Content-Type", "text/plain"), 400)
		add("other charset", g.set("Content-Type", g.header["Content-Type"]+"; charset=latin1"), 400)
		if d == XCover {
			continue
		}
		extra, repeated, malformed := g, g, g
		extra.body = strings.TrimPrefix(g.body+"&audience=x", "&")
		repeated.body = g.body + "&" + g.body[:strings.Index(g.body+"&", "&")]
		malformed.body = g.body + "&%zz=1"
		add("JSON", g.set("Content-Type", jsonType), 400)
		add("extra parameter", extra, 400)
		add("repeated parameter", repeated, 400)
		add("malformed form", malformed, 400)
	}

	servers := map[Dialect]*Server{}
	for _, d := range Dialects() {
		servers[d] = Start(t, d, Options{})
	}
	codePath := map[Dialect][]string{Antsomi: {"name"}, Fuuffy: {"error", "code_reason"}}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := servers[tt.dialect]
			before := s.Requests()
			got := mustSend(t, s, s.TokenURL(), tt.ask)
			path := codePath[tt.dialect]
			if path == nil {
				path = []string{"error"}
			}
			if code := got.member(t, path...); got.status != tt.status || code != tt.code {
				t.Errorf("got %d %q, want %d %q: %s", got.status, code, tt.status, tt.code, got.body)
			}
			challenged := got.header.Get("WWW-Authenticate") != ""
			if want := tt.dialect == RFC6749 && tt.status == 401; challenged != want {
				t.Errorf("challenged = %t, want %t", challenged, want)
			}
			if s.Requests() != before+1 {
				t.Error("request was not counted")
			}
		})
	}
	for d, s := range servers {
		if s.IssuedCount() != 0 {
			t.Errorf("%s issued %d tokens", d, s.IssuedCount())
		}
	}
}
