// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // what the provider signs with
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// wish is what a provider wants of a request, and a config that gives it.
type wish struct {
	name   string // of its config
	path   string // of its endpoint
	config fields
	says   func(r *http.Request, body []byte) (answer string, good bool)
}

// harmful is a secret that does harm wherever it is not escaped.
const harmful = `s<e>c&r"e't+%41 {client_id}\`

// wishes are real requests that the standard knows nothing of, by a config alone.
// Each provider judges with code of its own. docs/capabilities.md names them.
func wishes(t *testing.T) map[string]wish {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	private := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	unseen := func() func(string) bool {
		var mu sync.Mutex
		seen := map[string]bool{}
		return func(nonce string) bool {
			mu.Lock()
			defer mu.Unlock()
			before := seen[nonce]
			seen[nonce] = true
			return nonce != "" && !before
		}
	}
	tuya, alibaba, github, shopee := unseen(), unseen(), unseen(), "the-first"
	return map[string]wish{
		"signed in headers, as Tuya wants it": {
			name: "tuya", path: "/v1.0/token",
			config: fields{
				"http_method": "GET", "grant_type": "none", "token_endpoint_auth_method": "none", "parameter_names": "client_id=", "parameters": fields{"grant_type": "1"},
				"client_secret": harmful,
				"variables":     fields{"to_sign": fields{"value": "{client_id}{now|unix_ms}{random|hex}GET\n{empty|sha256|hex}\n\n/v1.0/token?grant_type=1"}, "empty": ""},
				"request_headers": fields{
					"client_id": "{client_id}", "t": "{now|unix_ms}", "nonce": "{random|hex}", "sign_method": "HMAC-SHA256", "sign": "{to_sign|hmac_sha256:client_secret|hex|upper}",
				},
				"access_token_pointer": "/result/access_token", "expires_in_pointer": "/result/expire_time",
			},
			says: func(r *http.Request, body []byte) (string, bool) {
				h, sum := r.Header, sha256.Sum256(body)
				mac := hmac.New(sha256.New, []byte(harmful))
				_, _ = fmt.Fprintf(mac, "%s%s%sGET\n%x\n\n%s", h.Get("Client_id"), h.Get("T"), h.Get("Nonce"), sum, r.URL.RequestURI())
				sent, err := strconv.ParseInt(h.Get("T"), 10, 64)
				return `{"success":true,"result":{"access_token":"granted","expire_time":7200}}`,
					err == nil && time.Since(time.UnixMilli(sent)).Abs() < time.Minute && tuya(h.Get("Nonce")) && h.Get("Sign") == strings.ToUpper(hex.EncodeToString(mac.Sum(nil)))
			},
		},
		"signed in the query, as Alibaba Cloud wants it": {
			name: "alibaba", path: "/",
			config: fields{
				"http_method": "GET", "grant_type": "none", "token_endpoint_auth_method": "none", "parameter_names": "client_id=AccessKeyId", "space_encoding": "percent",
				"client_secret": harmful,
				"parameters": fields{
					"Action": "CreateToken", "Format": "JSON", "RegionId": "cn shanghai", "SignatureMethod": "HMAC-SHA1", "SignatureNonce": "{random|uuid}",
					"SignatureVersion": "1.0", "Timestamp": "{now|rfc3339}", "Version": "2019-02-28", "Signature": "{to_sign|hmac_sha1:key|base64}",
				},
				"variables": fields{
					"region": "cn shanghai", "key": fields{"value": "{client_secret}&"}, "to_sign": fields{"value": "GET&%2F&{query|urlencode}"},
					"query": fields{"value": "AccessKeyId={client_id|urlencode}&Action=CreateToken&Format=JSON&RegionId={region|urlencode}&SignatureMethod=HMAC-SHA1&SignatureNonce={random|uuid}&SignatureVersion=1.0&Timestamp={now|rfc3339|urlencode}&Version=2019-02-28"},
				},
				"access_token_pointer": "/Token/Id", "expires_at_pointer": "/Token/ExpireTime",
			},
			says: func(r *http.Request, _ []byte) (string, bool) {
				var pairs []string
				signature := ""
				for _, pair := range strings.Split(r.URL.RawQuery, "&") { // sorted, as they are sent
					if name, value, _ := strings.Cut(pair, "="); name == "Signature" {
						signature, _ = url.QueryUnescape(value)
						continue
					}
					pairs = append(pairs, pair)
				}
				mac := hmac.New(sha1.New, []byte(harmful+"&"))
				_, _ = mac.Write([]byte("GET&%2F&" + strings.ReplaceAll(url.QueryEscape(strings.Join(pairs, "&")), "+", "%20")))
				q := r.URL.Query()
				sent, err := time.Parse(time.RFC3339, q.Get("Timestamp"))
				return fmt.Sprintf(`{"NlsRequestId":"x","Token":{"ExpireTime":%d,"Id":"granted"}}`, time.Now().Add(2*time.Hour).Unix()),
					err == nil && time.Since(sent).Abs() < time.Minute && alibaba(q.Get("SignatureNonce")) && q.Get("RegionId") == "cn shanghai" && signature == base64.StdEncoding.EncodeToString(mac.Sum(nil))
			},
		},
		"XML, as Tableau wants it": {
			name: "tableau", path: "/api/3.24/auth/signin",
			config: fields{
				"token_endpoint_auth_method": "none", "request_format": "template", "request_headers": fields{"Content-Type": "application/xml"}, "client_secret": harmful,
				"request_body":         `<tsRequest><credentials personalAccessTokenName="{client_id|xml}" personalAccessTokenSecret="{client_secret|xml}"><site contentUrl=""/></credentials></tsRequest>`,
				"access_token_pointer": "/credentials/token", "default_token_lifetime": "2h",
			},
			says: func(r *http.Request, body []byte) (string, bool) {
				var got struct {
					Credentials struct {
						Name   string `xml:"personalAccessTokenName,attr"`
						Secret string `xml:"personalAccessTokenSecret,attr"`
					} `xml:"credentials"`
				}
				err := xml.Unmarshal(body, &got)
				return `{"credentials":{"token":"granted"}}`, err == nil && r.Header.Get("Content-Type") == "application/xml" && got.Credentials.Name == "app" && got.Credentials.Secret == harmful
			},
		},
		"a JWT for a header, as GitHub wants it": {
			name: "github", path: "/app/installations/42/access_tokens",
			config: fields{
				"token_endpoint_auth_method": "private_key_jwt", "private_key": private, "request_format": "template", "grant_type": "none",
				"request_headers":  fields{"Authorization": "Bearer {client_assertion}", "Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"},
				"assertion_claims": fields{"sub": nil, "aud": nil}, "access_token_pointer": "/token",
			},
			says: func(r *http.Request, body []byte) (string, bool) {
				parts := strings.Split(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), ".")
				if len(parts) != 3 || len(body) > 0 {
					return "", false
				}
				signed, signature := sha256.Sum256([]byte(parts[0]+"."+parts[1])), decoded(parts[2])
				var claims struct {
					Issuer string `json:"iss"`
					ID     string `json:"jti"`
				}
				err := json.Unmarshal(decoded(parts[1]), &claims)
				return fmt.Sprintf(`{"token":"granted","expires_at":%q}`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339)),
					err == nil && claims.Issuer == "app" && github(claims.ID) && rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, signed[:], signature) == nil
			},
		},
		"a refresh token in JSON with numbers, signed in the query, as Shopee wants it": {
			name: "shopee", path: "/api/v2/auth/access_token/get",
			config: fields{
				"client_id": "2006566", "client_secret": harmful, "grant_type": "refresh_token", "refresh_token": shopee, "token_endpoint_auth_method": "none",
				"request_format": "template", "request_headers": fields{"Content-Type": "application/json"},
				"request_body": `{{"refresh_token": {refresh_token|json}, "partner_id": {client_id|number}, "shop_id": {shop|number}}}`,
				"variables":    fields{"shop": "123456", "to_sign": fields{"value": "{client_id}/api/v2/auth/access_token/get{now|unix}"}}, "expires_in_pointer": "/expire_in",
			},
			says: func(r *http.Request, body []byte) (string, bool) {
				q := r.URL.Query()
				mac := hmac.New(sha256.New, []byte(harmful))
				_, _ = fmt.Fprintf(mac, "2006566%s%s", r.URL.Path, q.Get("timestamp"))
				good := string(body) == fmt.Sprintf(`{"refresh_token": %q, "partner_id": 2006566, "shop_id": 123456}`, shopee) && q.Get("sign") == hex.EncodeToString(mac.Sum(nil)) && q.Get("partner_id") == "2006566"
				if good {
					shopee += "-next"
				}
				return fmt.Sprintf(`{"access_token":"granted","expire_in":14400,"refresh_token":%q}`, shopee), good
			},
		},
		"PUT, as EC2's metadata wants it": {
			name: "imds", path: "/latest/api/token",
			config: fields{
				"http_method": "PUT", "grant_type": "none", "token_endpoint_auth_method": "none", "client_id": "", "request_headers": fields{"X-aws-ec2-metadata-token-ttl-seconds": "21600"},
				"access_token_pointer": []string{""}, "default_token_lifetime": "6h",
			},
			says: func(r *http.Request, body []byte) (string, bool) {
				return "granted", r.Method == http.MethodPut && len(body) == 0 && r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds") == "21600"
			},
		},
		"an empty secret, as Cloud Foundry wants it": {
			name: "cf", path: "/oauth/token",
			config: fields{"client_id": "cf", "client_secret": "", "grant_type": "password", "username": "me", "password": harmful},
			says: func(r *http.Request, body []byte) (string, bool) {
				form, err := url.ParseQuery(string(body))
				return `{"access_token":"granted","expires_in":600}`, err == nil && r.Header.Get("Authorization") == "Basic Y2Y6" && form.Get("password") == harmful
			},
		},
	}
}

func decoded(text string) []byte {
	b, _ := base64.RawURLEncoding.DecodeString(text) // what is none is nothing
	return b
}

func TestRequestsThatAreNotOAuths(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	for name, test := range wishes(t) {
		t.Run(name, func(t *testing.T) {
			v, config := v.For(t), "oauthcc/config/"+test.name
			s := providertest.StartFunc(t, test.path, func(w http.ResponseWriter, r *http.Request, body []byte) {
				answer, good := test.says(r, body)
				if !good {
					w.WriteHeader(http.StatusBadRequest)
					answer = fmt.Sprintf(`{"error":"bad request","message":%q}`, harmful)
				}
				say(w, answer)
			})
			to := s.TokenURL()
			if test.name == "shopee" {
				to += "?partner_id={client_id}&timestamp={now|unix}&sign={to_sign|hmac_sha256:client_secret|hex}"
			}
			write(t, v, config, with(fields{"token_url": to, "client_id": "app"}, test.config))
			for range 2 { // by another nonce, or the next refresh token
				if got := read(t, v, "oauthcc/token/"+test.name); got.Data["access_token"] != "granted" {
					t.Errorf("got %s", got.raw)
				}
				write(t, v, "oauthcc/revoke/"+test.name, nil)
			}
			if n := s.Requests(); n != 2 {
				t.Errorf("asked %d times", n)
			}
			if shown := ask(t, v, http.MethodGet, config, nil); strings.Contains(shown.raw, "s<e>c") || strings.Contains(shown.raw, `s\u003ce`) {
				t.Errorf("shows the secret: %s", shown.raw)
			}
		})
	}
}

func TestAConfigGoesByItsOwnProxy(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	s := providertest.Start(t, providertest.RFC6749, providertest.Options{TLS: true})
	proxy, let := connectProxy(t, "vault:proxy-password", anyHost)
	config := with(registration(providertest.RFC6749, s), fields{
		"tls_ca_certificate": s.CACertificate(), "proxy_url": proxy, "proxy_username": "vault", "proxy_password": "proxy-password",
	})
	write(t, v, "oauthcc/config/proxied", config)
	write(t, v, "oauthcc/config/direct", with(registration(providertest.RFC6749, s), fields{"tls_ca_certificate": s.CACertificate()}))
	for name, want := range map[string]int64{"direct": 0, "proxied": 1} {
		before := let()
		if token := read(t, v, "oauthcc/token/"+name).text(t, "access_token"); !s.Valid(token) || let()-before != want {
			t.Errorf("%s: went %d times by the proxy, want %d", name, let()-before, want)
		}
	}
	shown := read(t, v, "oauthcc/config/proxied")
	if shown.Data["proxy_url"] != proxy || strings.Contains(shown.raw, "proxy-password") {
		t.Errorf("shows %s", shown.raw)
	}

	// Who does not know the secrets chooses no proxy, and no login is no way.
	other, _ := connectProxy(t, "x:y", anyHost)
	ask(t, v, http.MethodPost, "oauthcc/config/proxied", fields{"proxy_url": other}).wants(t, http.StatusBadRequest, "proxy_url", "client_secret", "proxy_password")
	write(t, v, "oauthcc/config/proxied", fields{"proxy_password": "another"})
	ask(t, v, http.MethodGet, "oauthcc/token/proxied", nil).wants(t, http.StatusBadGateway, "the proxy does not take the login (HTTP 407); check proxy_username and proxy_password")
}
