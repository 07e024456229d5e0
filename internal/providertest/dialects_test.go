// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestTokenURLsAreTheDocumentedPaths(t *testing.T) {
	want := map[Dialect]string{
		Antsomi: "/oauth/token", Cognito: "/oauth2/token", Fuuffy: "/v1/auth/token",
		Semansys: "/token", XCover: "/api/oauth/token", RFC6749: "/oauth2/token",
	}
	for _, d := range Dialects() {
		s := Start(t, d, Options{})
		if got := strings.TrimPrefix(s.TokenURL(), s.URL()); got != want[d] {
			t.Errorf("%s: %q, want %q", d, got, want[d])
		}
		revokes := d == Cognito || d == Semansys || d == RFC6749
		if (s.RevocationURL() != "") != revokes {
			t.Errorf("%s: revocation URL %q", d, s.RevocationURL())
		}
		if got := mustSend(t, s, s.URL()+"/elsewhere"+want[d], good(d)); got.status != http.StatusNotFound {
			t.Errorf("%s: another path answers %d", d, got.status)
		}
		if s.Requests() != 0 || len(s.All()) != 1 {
			t.Errorf("%s: another path counted as a token request", d)
		}
	}
}

func TestErrorBodiesHaveTheDocumentedShape(t *testing.T) {
	wrong := func(d Dialect) ask { return posted(replaced(clientForm(d), "client_secret", "wrong")) }
	tests := map[string]struct {
		dialect Dialect
		options Options
		ask     ask
		path    string
		want    string
	}{
		"antsomi": {
			dialect: Antsomi, ask: posted(clientForm(Antsomi, "grant_type", "client_credentials")),
			want: `{"code":400,"message":"Invalid scope: Requested scope is invalid","name":"invalid_scope","status":400,"statusCode":400}`,
		},
		"cognito": {dialect: Cognito, ask: posted(pairs("grant_type", "client_credentials")), want: `{"error":"invalid_client"}`},
		"fuuffy": {
			dialect: Fuuffy, ask: wrong(Fuuffy),
			want: `{"error":{"code":"401021","code_reason":"invalid_client","message":"Invalid client_id, client_secret, or session_key"}}`,
		},
		"fuuffy flat": {
			dialect: Fuuffy, ask: wrong(Fuuffy), options: Options{FlatErrors: true},
			want: `{"code":"401021","code_reason":"invalid_client","message":"Invalid client_id, client_secret, or session_key"}`,
		},
		"fuuffy not found": {
			dialect: Fuuffy, ask: wrong(Fuuffy), path: "/v1/v1/auth/token",
			want: `{"error":"{\"code\":\"404000\",\"code_reason\":\"not_found\",\"message\":\"No such endpoint\"}"}`,
		},
		"rfc6749": {
			dialect: RFC6749, ask: posted(pairs("grant_type", "client_credentials")),
			want: `{"error":"invalid_client","error_description":"Client authentication failed"}`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := Start(t, tt.dialect, tt.options)
			target := s.TokenURL()
			if tt.path != "" {
				target = s.URL() + tt.path
			}
			if got := strings.TrimSpace(mustSend(t, s, target, tt.ask).body); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestFuuffyWrapsTheAnswer(t *testing.T) {
	for name, asString := range map[string]bool{"object": false, "string": true} {
		t.Run(name, func(t *testing.T) {
			s := Start(t, Fuuffy, Options{DataAsString: asString})
			var body struct{ Data json.RawMessage }
			if err := json.Unmarshal([]byte(mustSend(t, s, s.TokenURL(), good(Fuuffy)).body), &body); err != nil {
				t.Fatal(err)
			}
			data := []byte(body.Data)
			if asString {
				var text string
				if err := json.Unmarshal(data, &text); err != nil {
					t.Fatalf("data is not a string: %v", err)
				}
				data = []byte(text)
			}
			var got bearer
			if err := json.Unmarshal(data, &got); err != nil {
				t.Fatal(err)
			}
			if got.TokenType != "Bearer" || got.ExpiresIn != 3600 || !s.Valid(got.AccessToken) || !strings.HasPrefix(got.AccessToken, "sk-") {
				t.Errorf("data = %+v", got)
			}
		})
	}
}

func TestXCoverTokenIsAJWTWithFractionalTimes(t *testing.T) {
	for name, tt := range map[string]struct {
		expired  bool
		iat, exp string
	}{
		"fresh":   {false, "1767355200.643123", "1767358800.643123"},
		"expired": {true, "1767348000.643123", "1767351600.643123"},
	} {
		t.Run(name, func(t *testing.T) {
			s := Start(t, XCover, Options{Now: fixedClock, ExpiredJWT: tt.expired})
			token := mustSend(t, s, s.TokenURL(), good(XCover)).member(t, "access_token")
			parts := strings.Split(token, ".")
			if len(parts) != 3 {
				t.Fatalf("%d parts", len(parts))
			}
			raw, err := base64.RawURLEncoding.DecodeString(parts[1])
			if err != nil {
				t.Fatal(err)
			}
			var claims struct{ Iat, Exp json.Number }
			if err := json.Unmarshal(raw, &claims); err != nil {
				t.Fatal(err)
			}
			if claims.Iat.String() != tt.iat || claims.Exp.String() != tt.exp {
				t.Errorf("iat %s, exp %s", claims.Iat, claims.Exp)
			}
			if !s.Valid(token) {
				t.Error("not valid for its expires_in")
			}
		})
	}
}

func refreshAsk(d Dialect, token string, nameValues ...string) ask {
	return posted(with(clientForm(d, "grant_type", "refresh_token", "refresh_token", token), nameValues...))
}

func TestRefreshTokens(t *testing.T) {
	for _, d := range []Dialect{Semansys, RFC6749} {
		for name, rotate := range map[string]bool{"rotating": true, "lasting": false} {
			t.Run(string(d)+"/"+name, func(t *testing.T) {
				s := Start(t, d, Options{RotateRefreshTokens: rotate})
				first := mustSend(t, s, s.TokenURL(), posted(passwordForm(d))).member(t, "refresh_token")
				if s.Valid(first) {
					t.Error("a refresh token passes for an access token")
				}
				got := mustSend(t, s, s.TokenURL(), refreshAsk(d, first))
				second := got.member(t, "refresh_token")
				if got.status != http.StatusOK || !s.Valid(got.member(t, "access_token")) {
					t.Fatalf("%d: %s", got.status, got.body)
				}
				switch {
				case rotate && (second == "" || second == first):
					t.Errorf("not rotated: %q", second)
				case !rotate && d == Semansys && second != first:
					t.Errorf("lasting token became %q", second)
				case !rotate && d == RFC6749 && second != "":
					t.Errorf("lasting token answered: %q", second)
				}
				want := http.StatusOK
				if rotate {
					want = http.StatusBadRequest
					if got := mustSend(t, s, s.TokenURL(), refreshAsk(d, second)); got.status != http.StatusOK {
						t.Errorf("the next token is refused: %s", got.body)
					}
				}
				if got := mustSend(t, s, s.TokenURL(), refreshAsk(d, first)); got.status != want {
					t.Errorf("second use: %d, want %d", got.status, want)
				}
			})
		}
	}
}

func TestARefreshTokenIsSpentOnce(t *testing.T) {
	s := Start(t, Semansys, Options{RotateRefreshTokens: true})
	token := mustSend(t, s, s.TokenURL(), good(Semansys)).member(t, "refresh_token")
	var wg sync.WaitGroup
	statuses := make([]int, 8)
	for i := range statuses {
		wg.Go(func() {
			if got, err := send(t, s, s.TokenURL(), refreshAsk(Semansys, token)); err == nil {
				statuses[i] = got.status
			}
		})
	}
	wg.Wait()
	slices.Sort(statuses)
	if statuses[0] != 200 || statuses[1] != 400 || statuses[7] != 400 {
		t.Errorf("statuses %v", statuses)
	}
}

func TestRFC6749RefreshNarrowsScopes(t *testing.T) {
	s := Start(t, RFC6749, Options{RotateRefreshTokens: true})
	form := with(passwordForm(RFC6749), "scope", "read write")
	token := mustSend(t, s, s.TokenURL(), posted(form)).member(t, "refresh_token")
	if got := mustSend(t, s, s.TokenURL(), refreshAsk(RFC6749, token, "scope", "admin")); got.member(t, "error") != "invalid_scope" {
		t.Errorf("widened: %s", got.body)
	}
	if got := mustSend(t, s, s.TokenURL(), refreshAsk(RFC6749, token, "scope", "write")); got.member(t, "scope") != "write" {
		t.Errorf("a refused scope spent the token: %s", got.body)
	}
}

func TestRevocation(t *testing.T) {
	basic := map[Dialect]string{
		Cognito: rawBasic(DefaultCredentials(Cognito)), RFC6749: escapedBasic(DefaultCredentials(RFC6749)),
	}
	for _, d := range []Dialect{Cognito, Semansys, RFC6749} {
		t.Run(string(d), func(t *testing.T) {
			s := Start(t, d, Options{})
			token := mustSend(t, s, s.TokenURL(), good(d)).member(t, "access_token")
			revoke := func(form url.Values) ask {
				if header, ok := basic[d]; ok {
					return posted(form).set("Authorization", header)
				}
				return posted(with(clientForm(d), "token", form.Get("token"), "token_type_hint", "access_token"))
			}
			for name, tt := range map[string]struct {
				ask    ask
				status int
			}{
				"unknown token":   {revoke(pairs("token", "unknown")), 200},
				"no token":        {revoke(pairs("token", "")), 400},
				"GET":             {revoke(pairs("token", token)).via(http.MethodGet), 405},
				"extra parameter": {posted(with(clientForm(d), "token", token, "scope", "x")), 400},
			} {
				if got := mustSend(t, s, s.RevocationURL(), tt.ask); got.status != tt.status {
					t.Errorf("%s: %d, want %d: %s", name, got.status, tt.status, got.body)
				}
			}
			if got := mustSend(t, s, s.RevocationURL(), posted(pairs("token", token))); got.status < 400 {
				t.Errorf("unauthenticated: %d", got.status)
			}
			if !s.Valid(token) || len(s.Revoked()) != 0 {
				t.Fatal("a refused revocation revoked")
			}
			for range 2 {
				if got := mustSend(t, s, s.RevocationURL(), revoke(pairs("token", token))); got.status != http.StatusOK || got.body != "" {
					t.Errorf("%d %q", got.status, got.body)
				}
			}
			if s.Valid(token) || !slices.Equal(s.Revoked(), []string{token}) {
				t.Errorf("revoked %q", s.Revoked())
			}
			if s.RevocationRequests() != 7 || s.Requests() != 1 {
				t.Errorf("%d revocations, %d token requests", s.RevocationRequests(), s.Requests())
			}
		})
	}
}

func TestARevokedRefreshTokenIsRefused(t *testing.T) {
	s := Start(t, Semansys, Options{})
	token := mustSend(t, s, s.TokenURL(), good(Semansys)).member(t, "refresh_token")
	mustSend(t, s, s.RevocationURL(), posted(clientForm(Semansys, "token", token)))
	if got := mustSend(t, s, s.TokenURL(), refreshAsk(Semansys, token)); got.member(t, "error") != "invalid_grant" {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestATokenEndsWithItsLifetime(t *testing.T) {
	var mu sync.Mutex
	now := noon
	s := Start(t, Cognito, Options{Lifetime: time.Minute, Now: func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}})
	token := mustSend(t, s, s.TokenURL(), good(Cognito)).member(t, "access_token")
	if !s.Valid(token) || s.Valid("unknown") {
		t.Error("wrong while it lives")
	}
	mu.Lock()
	now = now.Add(time.Minute)
	mu.Unlock()
	if s.Valid(token) {
		t.Error("valid after its end")
	}
}

func TestChangedCredentialsRefuseTheOldOnes(t *testing.T) {
	s := Start(t, Semansys, Options{})
	s.SetCredentials(Credentials{Password: "new"})
	if got := mustSend(t, s, s.TokenURL(), good(Semansys)); got.status != http.StatusForbidden {
		t.Errorf("old password: %d", got.status)
	}
	if got := mustSend(t, s, s.TokenURL(), posted(replaced(passwordForm(Semansys), "password", "new"))); got.status != http.StatusOK {
		t.Errorf("new password: %s", got.body)
	}
	s.SetCredentials(Credentials{ClientSecret: "new"})
	if got := mustSend(t, s, s.TokenURL(), good(Semansys)); got.status != http.StatusUnauthorized {
		t.Errorf("old secret: %d", got.status)
	}
}

func TestNewRefusesBadOptions(t *testing.T) {
	for name, tt := range map[string]struct {
		dialect Dialect
		options Options
	}{
		"unknown dialect":   {"nobody", Options{}},
		"negative lifetime": {Antsomi, Options{Lifetime: -1}},
		"no such address":   {Antsomi, Options{Listen: "256.0.0.1:0"}},
	} {
		if s, err := New(tt.dialect, tt.options); err == nil {
			s.Close()
			t.Errorf("%s: no error", name)
		}
	}
}
