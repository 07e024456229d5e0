// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

func TestRulesOfAProxy(t *testing.T) {
	t.Parallel()
	const secret = "hidden-word"
	for name, tc := range map[string]struct {
		config object
		want   string // part of the refusal; "" if it is accepted
	}{
		"http":                        {object{"proxy_url": "http://proxy.example:3128"}, ""},
		"https":                       {object{"proxy_url": "https://proxy.example"}, ""},
		"with a slash":                {object{"proxy_url": "https://proxy.example/"}, ""},
		"SOCKS":                       {object{"proxy_url": "socks5://192.0.2.1:1080", "proxy_username": "u", "proxy_password": "p"}, ""},
		"a user name":                 {object{"proxy_url": "http://proxy.example:3128", "proxy_username": "u", "proxy_password": "p"}, ""},
		"a login in the URL":          {object{"proxy_url": "http://u:" + secret + "@proxy.example:3128"}, "proxy_url holds a user name"},
		"a user in the URL":           {object{"proxy_url": "http://" + secret + "@proxy.example:3128"}, "proxy_url holds a user name"},
		"no scheme":                   {object{"proxy_url": "proxy.example:3128"}, "proxy_url must be http://"},
		"another scheme":              {object{"proxy_url": "ftp://proxy.example:3128"}, "proxy_url must start with"},
		"an old SOCKS":                {object{"proxy_url": "socks4://proxy.example:1080"}, "proxy_url must start with"},
		"a path":                      {object{"proxy_url": "http://proxy.example/" + secret}, "proxy_url must be"},
		"a query":                     {object{"proxy_url": "http://proxy.example?" + secret}, "proxy_url must be"},
		"a fragment":                  {object{"proxy_url": "http://proxy.example#"}, "proxy_url must be"},
		"no host":                     {object{"proxy_url": "http://:3128"}, "proxy_url must be"},
		"no URL":                      {object{"proxy_url": "http://[" + secret}, "proxy_url must be"},
		"a number as its host":        {object{"proxy_url": "http://2130706433:3128"}, "proxy_url has a number as its host"},
		"a port that is none":         {object{"proxy_url": "http://proxy.example:080"}, "proxy_url has a port that is not a number from 1 to 65535"},
		"a placeholder":               {object{"proxy_url": "http://{client_id}:3128"}, "proxy_url"},
		"a name alone":                {object{"proxy_username": "u"}, "proxy_username belongs to proxy_url, which is not set: set that as well"},
		"a password alone":            {object{"proxy_password": secret}, "proxy_password belongs to proxy_url, which is not set: set that as well"},
		"a password without a name":   {object{"proxy_url": "http://proxy.example", "proxy_password": secret}, "proxy_password belongs to proxy_username, which is not set: set that as well"},
		"a name with a colon":         {object{"proxy_url": "http://proxy.example", "proxy_username": "u:" + secret, "proxy_password": secret}, "proxy_username holds a colon"},
		"plain http to this machine":  {object{"proxy_url": "http://proxy.example", "token_url": "http://127.0.0.1:8080/token"}, "token_url uses http://, which would show the credentials to the network"},
		"plain http where that is ok": {object{"proxy_url": "http://proxy.example", "token_url": "http://127.0.0.1:8080/token", "allow_insecure_http": true}, ""},
	} {
		config := object{"token_url": plainURL}
		maps.Copy(config, tc.config)
		r, err := asked(t, nil, config)
		if tc.want != "" {
			if err == nil {
				t.Errorf("%s: was accepted", name)
			}
			wantInvalid(t, err, tc.want, secret)
			continue
		}
		if err != nil || r.Proxy.URL != config["proxy_url"] {
			t.Errorf("%s: %+v, %v", name, r.Proxy, err)
		}
		if password, _ := config["proxy_password"].(string); r.Proxy.Password != password || password != "" && !slices.Contains(r.Secrets, password) {
			t.Errorf("%s: %+v, and secret are %q", name, r.Proxy, r.Secrets)
		}
	}
}

// A proxy counts like an endpoint, because it sees what is sent. If it is changed, the
// secrets must be written again.
func TestAProxyIsPartOfTheOrigin(t *testing.T) {
	t.Parallel()
	of := func(config object) string {
		t.Helper()
		e, err := resolveConfig(nil, usualWith(config))
		if err != nil {
			t.Fatal(err)
		}
		text, err := e.Origin()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	none, first := of(nil), of(object{"proxy_url": "http://proxy.example:3128"})
	if strings.Contains(none, "proxy") {
		t.Errorf("configs as they were have another origin: %s", none)
	}
	for _, other := range []object{{"proxy_url": "http://proxy.example:3129"}, {"proxy_url": "https://proxy.example:3128"}, {"proxy_url": "http://other.example:3128"}, {"proxy_url": "socks5://proxy.example:3128"}} {
		if got := of(other); got == first || got == none {
			t.Errorf("%v is %s", other, got)
		}
	}
	for _, same := range []object{{"proxy_url": "http://Proxy.Example:3128/"}, {"proxy_url": "http://proxy.example:3128", "proxy_username": "u", "proxy_password": "p"}} {
		if got := of(same); got != first {
			t.Errorf("%v is %s, not %s", same, got, first)
		}
	}
	if of(object{"proxy_url": "http://proxy.example"}) != of(object{"proxy_url": "http://proxy.example:80"}) {
		t.Error("the usual port is another proxy")
	}
}

// The writer of a config with a key of the engine does not have the key itself. Such a
// writer must not see a token by means of a proxy.
func TestAProxyDoesNotSeeWhatAKeyGivesAccessTo(t *testing.T) {
	t.Parallel()
	definition := Layer{"token_url": "https://login.example/token", "token_endpoint_auth_method": "tls_client_auth"}
	pair := newKeyPair(t, signing.ES256)
	r := Registration{
		Credentials: Credentials{ClientID: "c"}, Connection: Connection{TLSKey: "k", ProxyURL: "http://proxy.example:3128"},
		TLS: Material{Key: pair.key, Certificates: pair.certificates},
	}
	if _, err := Resolve(definition, nil, r); err != nil {
		t.Error(err)
	}
	r.CACertificate = testAuthority(t)
	_, err := Resolve(definition, nil, r)
	wantInvalid(t, err, "proxy_url would let the proxy see the tokens")
	r.CACertificate, r.AllowInsecureHTTP = "", true
	_, err = Resolve(Overlay(definition, Layer{"token_url": "http://login.example/token"}), nil, r)
	wantInvalid(t, err, "proxy_url would let the proxy see the tokens")
}

func TestEveryRequestGoesByTheProxy(t *testing.T) {
	t.Parallel()
	e, err := resolveConfig(nil, usualWith(object{
		"revocation_url": "https://api.example.com/revoke", "check_url": "https://api.example.com/me",
		"proxy_url": "http://proxy.example:3128", "proxy_username": "u", "proxy_password": "the-proxy-password",
	}))
	if err != nil {
		t.Fatal(err)
	}
	token, err1 := e.Request()
	revocation, _, err2 := e.RevocationRequest("t")
	probe, _, err3 := e.ProbeRequest("t")
	for what, r := range map[string]grant.Request{"token": token, "revocation": revocation, "check": probe} {
		if r.Proxy != (grant.Proxy{URL: "http://proxy.example:3128", Username: "u", Password: "the-proxy-password"}) {
			t.Errorf("%s: %+v, %v %v %v", what, r.Proxy, err1, err2, err3)
		}
	}
	shown, err := e.Describe()
	if err != nil || strings.Contains(asJSON(t, shown), "the-proxy-password") {
		t.Errorf("shows %v, %v", shown, err)
	}
}
