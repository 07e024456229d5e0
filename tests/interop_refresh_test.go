// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
)

// callback is the URL to which the server redirects a person.
const callback = "https://app.example/callback"

// person registers a public client for the grants that involve a person.
func (c certified) person(t *testing.T) (client fields) {
	t.Helper()
	return c.p.Register(fields{
		"token_endpoint_auth_method": "none", "grant_types": []string{"authorization_code", "refresh_token"},
		"response_types": []string{"code"}, "redirect_uris": []string{callback}, "scope": "openid offline_access",
	})
}

// consent signs in at the server as a person and lets the client act for that
// person (RFC 6749 section 4.1, with PKCE). It returns the refresh token.
func (c certified) consent(t *testing.T, client fields) (refreshToken string) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := *c.p.Client()
	browser.Jar = jar
	browser.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), callback) {
			return http.ErrUseLastResponse
		}
		return nil
	}
	id, _ := client["client_id"].(string)
	verifier := rand.Text() + rand.Text()
	challenge := sha256.Sum256([]byte(verifier))
	page := c.browse(t, &browser, http.MethodGet, c.p.Issuer()+"/auth?"+url.Values{
		"client_id": {id}, "response_type": {"code"}, "redirect_uri": {callback}, "scope": {"openid offline_access"}, "prompt": {"consent"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
	}.Encode(), nil)
	for _, form := range []url.Values{{"prompt": {"login"}, "login": {"ada"}, "password": {"any"}}, {"prompt": {"consent"}}} {
		page = c.browse(t, &browser, http.MethodPost, page.at.String(), form)
	}
	if page.next == nil {
		t.Fatalf("the server does not send the person back, but says at %s: %s", page.at, page.body)
	}
	answer := c.browse(t, &browser, http.MethodPost, c.p.Issuer()+"/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {page.next.Query().Get("code")}, "redirect_uri": {callback},
		"client_id": {id}, "code_verifier": {verifier},
	})
	refreshToken, _ = rawObject(t, answer.body)["refresh_token"].(string)
	if refreshToken == "" {
		t.Fatalf("no refresh token: %s", answer.body)
	}
	return refreshToken
}

// page is a page that a browser has reached, and the address to which it is
// redirected from there.
type page struct {
	at, next *url.URL
	body     string
}

func (c certified) browse(t *testing.T, browser *http.Client, method, address string, form url.Values) page {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := browser.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	next, err := resp.Location()
	if err != nil && !errors.Is(err, http.ErrNoLocation) {
		t.Fatal(err)
	}
	return page{at: resp.Request.URL, next: next, body: string(raw)}
}

// TestInteropRefresh uses the method "none" for its purpose: a public client
// whose refresh tokens can each be used once. The server would revoke all of
// them if one were used twice.
func TestInteropRefresh(t *testing.T) {
	t.Parallel()
	c := startCertified(t)
	client := c.person(t)
	write(t, c.v, "oauthcc/config/person", fields{
		"token_url": c.p.Issuer() + "/token", "tls_ca_certificate": c.p.Authority(), "token_endpoint_auth_method": "none",
		"grant_type": "refresh_token", "client_id": client["client_id"], "refresh_token": c.consent(t, client), "reuse": false,
	})
	seen := map[string]bool{}
	for range 5 {
		answer, known := c.mints(t, "person", client)
		if known["sub"] != "ada" || known["scope"] != "openid offline_access" {
			t.Errorf("the token is %v's, with scope %v", known["sub"], known["scope"])
		}
		seen[answer.text(t, "access_token")] = true
	}
	c.v.ReloadPlugin()
	answer, _ := c.mints(t, "person", client)
	seen[answer.text(t, "access_token")] = true
	if len(seen) != 6 {
		t.Errorf("%d tokens of 6 reads", len(seen))
	}
}
