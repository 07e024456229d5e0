// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// fault is what can go wrong between a config and its provider, and what an
// operator is told of it.
type fault struct {
	// inject brings the fault about at a real server, and returns the config
	// that meets it. The server accepts this client.
	inject func(t *testing.T) fields
	cause  string // label of the metrics
	check  string // text of check/<config>, and of status/<config>
	row    string // text of the config's row in the status of the mount
}

const (
	checkClient = "check client_id, client_secret (or the key and its key_id) and token_endpoint_auth_method of the config"
	seeRate     = "the provider asked to be left alone for 2m; if it happens often, have it raise the limit, and see who else uses this client"
	trustOwn    = "set tls_ca_certificate if the authority is your own, such as that of a firewall that opens TLS"
	renew       = "the provider must renew its certificate, unless the clock of Vault's host is wrong"
	aPage       = "a page for people came, not the answer of a token endpoint: check token_url, and whether a firewall or gateway lets Vault's address through"
	setClock    = "set the clock of Vault's host right, or have the provider set its own"
	slow        = "see whether the provider is slow or a firewall withholds its answers, or raise request_timeout (1m at most)"
	inItsPlace  = "see what answers in the provider's place, and have Vault's address let through; or set token_url to the final address"
)

// faults are the texts that an operator reads at night. A text names the cause
// and the remedy.
func faults() map[string]fault {
	refusal := func(status int, code, description string) providertest.Behavior {
		return providertest.Behavior{Status: status, Body: fmt.Sprintf(`{"error":%q,"error_description":%q}`, code, description)}
	}
	page := func(status int) providertest.Behavior {
		return providertest.Behavior{Status: status, Header: http.Header{"Content-Type": {"text/html"}}, Body: "<!DOCTYPE html><html><body>Blocked by policy</body></html>"}
	}
	return map[string]fault{
		"secret": {
			inject: behaving(providertest.Behavior{}, fields{"client_secret": "not the right one"}), cause: "client_refused",
			check: "the provider answered HTTP 401: invalid_client: Client authentication failed; " + checkClient,
			row:   "client refused (HTTP 401, invalid_client): " + checkClient,
		},
		"scope": {
			inject: behaving(providertest.Behavior{}, fields{"scopes": "read,root"}), cause: "scope_refused",
			check: "the provider answered HTTP 400: invalid_scope: Invalid scope: Requested scope is invalid; check the scopes that the config asks for",
			row:   "scope refused (HTTP 400, invalid_scope): check the scopes that the config asks for",
		},
		"endpoint": {
			inject: behaving(providertest.Behavior{Status: http.StatusNotFound, Body: "{}"}, nil), cause: "request_refused",
			check: "the provider answered HTTP 404; check token_url: this is not the provider's token endpoint, or not any more",
			row:   "request refused (HTTP 404): check token_url: this is not the provider's token endpoint, or not any more",
		},
		"rate": {
			inject: behaving(providertest.Behavior{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"120"}}}, nil), cause: "rate_limited",
			check: "the provider answered HTTP 429; " + seeRate,
			row:   "rate limited (HTTP 429): " + seeRate,
		},
		"outage": {
			inject: behaving(providertest.Behavior{Status: http.StatusServiceUnavailable, Body: "{}"}, nil), cause: "provider_down",
			check: "the provider answered HTTP 503; the provider is out of order: come back later, and see what it says of its service",
			row:   "provider down (HTTP 503): the provider is out of order: come back later, and see what it says of its service",
		},
		"dns": {
			inject: at("https://login.oauthcc-test.invalid/token", nil), cause: "dns",
			check: unresolved("login.oauthcc-test.invalid"),
			row:   "dns: " + after(unresolved("login.oauthcc-test.invalid")),
		},
		"refused": {
			inject: func(t *testing.T) fields { return at("http://"+providertest.Nobody+"/token", nil)(t) }, cause: "connection",
			check: "no connection (connection refused: nobody listens there); check token_url's host and port, and whether the provider is up",
			row:   "connection: check token_url's host and port, and whether the provider is up",
		},
		"timeout": {
			inject: behaving(providertest.Behavior{Hang: true}, fields{"request_timeout": 1}), cause: "timeout",
			check: "no answer within 1s (request_timeout); " + slow,
			row:   "timeout: " + slow,
		},
		"silence": {
			inject: behaving(providertest.Behavior{Drop: true}, nil), cause: "connection",
			check: "the connection was closed without an answer; check token_url's scheme and port, and firewalls on the way",
			row:   "connection: check token_url's scheme and port, and firewalls on the way",
		},
		"tls-authority": {
			inject: overTLS(tlsFault{untrusted: true}), cause: "tls",
			check: "its certificate is not trusted (x509: certificate signed by unknown authority); " + trustOwn,
			row:   "tls: " + trustOwn,
		},
		"tls-expired": {
			inject: overTLS(tlsFault{expired: true}), cause: "tls",
			check: "its certificate is not trusted (x509: certificate has expired or is not yet valid: current time TIME is after TIME); " + renew,
			row:   "tls: " + renew,
		},
		"tls-name": {
			inject: overTLS(tlsFault{name: "elsewhere.example"}), cause: "tls",
			check: "its certificate is not trusted (x509: certificate is valid for elsewhere.example, not localhost); check token_url's host: the certificate is for another",
			row:   "tls: check token_url's host: the certificate is for another",
		},
		"tls-version": {
			inject: overTLS(tlsFault{old: true}), cause: "tls",
			check: "it speaks no TLS version that is still safe; the provider must update its server: TLS 1.2 is the least",
			row:   "tls: the provider must update its server: TLS 1.2 is the least",
		},
		"tls-client": {
			inject: overTLS(tlsFault{mutual: true}), cause: "tls",
			check: "it wants a client certificate (mutual TLS), and none is presented; write tls_client_certificate and tls_client_key (or tls_key), or ask the provider for an endpoint without",
			row:   "tls: write tls_client_certificate and tls_client_key (or tls_key), or ask the provider for an endpoint without",
		},
		"tls-none": { // https:// to a port that speaks plain HTTP
			inject: behaving(providertest.Behavior{}, nil, "https://"), cause: "tls",
			check: "it does not speak TLS on this port; check token_url's scheme and port",
			row:   "tls: check token_url's scheme and port",
		},
		"tls-unasked": { // http:// to a port that speaks TLS
			inject: overTLS(tlsFault{plain: true}), cause: "tls",
			check: "the provider answered HTTP 400: it speaks TLS on this port; write token_url with https",
			row:   "tls (HTTP 400): write token_url with https",
		},
		"proxy-gone": {
			inject: func(t *testing.T) fields { return behindProxy(t, "http://"+providertest.Nobody) }, cause: "proxy",
			check: "the proxy cannot be reached; check proxy_url, and its login if it is by SOCKS",
			row:   "proxy: check proxy_url, and its login if it is by SOCKS",
		},
		"proxy-login": {
			inject: func(t *testing.T) fields {
				address, _ := connectProxy(t, "vault:proxy-password", anyHost)
				return behindProxy(t, address)
			}, cause: "proxy",
			check: "the proxy wants a login (HTTP 407); write proxy_username and proxy_password",
			row:   "proxy: write proxy_username and proxy_password",
		},
		"proxy-forbids": {
			inject: func(t *testing.T) fields { return behindProxy(t, proxyAnswering(t, http.StatusForbidden)) }, cause: "proxy",
			check: "the proxy does not let the connection through (HTTP 403); have the provider's host allowed there, or set another proxy_url",
			row:   "proxy: have the provider's host allowed there, or set another proxy_url",
		},
		"proxy-stuck": {
			inject: func(t *testing.T) fields { return behindProxy(t, proxyAnswering(t, http.StatusBadGateway)) }, cause: "proxy",
			check: "the proxy cannot reach the provider's host (HTTP 502); check token_url, and what the proxy can reach",
			row:   "proxy: check token_url, and what the proxy can reach",
		},
		"clock-behind": {
			inject: signing(2*time.Hour, "the assertion has expired"), cause: "clock",
			check: "the provider answered HTTP 401: invalid_client: the assertion has expired: the provider's clock is 2h ahead of this one; " + setClock,
			row:   "clock (HTTP 401, invalid_client): " + setClock,
		},
		"clock-ahead": {
			inject: signing(-2*time.Hour, "the assertion is not yet valid"), cause: "clock",
			check: "the provider answered HTTP 401: invalid_client: the assertion is not yet valid: the provider's clock is 2h behind this one; " + setClock,
			row:   "clock (HTTP 401, invalid_client): " + setClock,
		},
		"answer-page": {
			inject: behaving(page(http.StatusOK), nil), cause: "answer_not_understood",
			check: `the provider answered HTTP 200: no access token at "/access_token"; the answer is a page for people (HTML); check token_url, and whether a firewall or a login page answers in the provider's place`,
			row:   "answer not understood (HTTP 200): check token_url, and whether a firewall or a login page answers in the provider's place",
		},
		"answer-tokenless": {
			inject: behaving(providertest.Behavior{Body: `{"data":{"token":"x"},"ok":true}`}, nil), cause: "answer_not_understood",
			check: `the provider answered HTTP 200: no access token at "/access_token"; the answer has the members data/token, ok; check token_url, and set access_token_pointer to where the token stands in the answer`,
			row:   "answer not understood (HTTP 200): check token_url, and set access_token_pointer to where the token stands in the answer",
		},
		"blocked-page": {
			inject: behaving(page(http.StatusForbidden), nil), cause: "blocked",
			check: "the provider answered HTTP 403; " + aPage,
			row:   "blocked (HTTP 403): " + aPage,
		},
		"blocked-login": {
			inject: behaving(providertest.Behavior{Status: http.StatusFound, Redirect: "https://login.corp.example/?next=x"}, nil), cause: "blocked",
			check: "the provider answered HTTP 302: a redirect to another host, as to a login page; redirects are never followed; " + inItsPlace,
			row:   "blocked (HTTP 302): " + inItsPlace,
		},
		"moved": {
			inject: behaving(providertest.Behavior{Status: http.StatusPermanentRedirect, Redirect: "/v2/token"}, nil), cause: "answer_not_understood",
			check: "the provider answered HTTP 308: a redirect or an unknown status; redirects are never followed; set token_url to the final address",
			row:   "answer not understood (HTTP 308): set token_url to the final address",
		},
		"refresh-token": {
			inject: behaving(refusal(http.StatusBadRequest, "invalid_grant", "token revoked"), fields{"grant_type": "refresh_token", "refresh_token": "spent-refresh-token"}), cause: "grant_refused",
			check: "the provider answered HTTP 400: invalid_grant: token revoked; the refresh token is spent, expired or revoked: write a new refresh_token to the config",
			row:   "grant refused (HTTP 400, invalid_grant): the refresh token is spent, expired or revoked: write a new refresh_token to the config",
		},
	}
}

// TestFaultsAreNamedWithTheirRemedy injects each fault at a real server and
// reads what check, status and metrics tell of it.
func TestFaultsAreNamedWithTheirRemedy(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	var injected sync.WaitGroup
	for name, f := range faults() {
		write(t, v, "oauthcc/config/"+name, with(fields{"request_timeout": 60}, f.inject(t))) // long, for a busy machine
		injected.Go(func() {
			t.Run(name, func(t *testing.T) {
				v := v.For(t)
				want := fmt.Sprintf("config %q: no token from provider \"generic\": %s", name, f.check)
				var got string
				harness.Eventually(t, time.Minute, func() error {
					got = told(v.CLI("write", "-f", "oauthcc/check/"+name))
					if strings.Contains(got, " in time") {
						// On a machine that stalls, the engine's own time may be
						// over before that of the request.
						return errors.New(got)
					}
					return nil
				})
				if got != want {
					t.Errorf("check says\n  %s\nwant\n  %s", got, want)
				}
				data, _ := member(commandJSON(t, v, "read", "oauthcc/status/"+name), "data").(fields)
				if got := steady(fmt.Sprint(data["last_error"])); got != want || data["state"] != "failing" {
					t.Errorf("status/%s is %v, and says\n  %s\nwant\n  %s", name, data["state"], got, want)
				}
				if causes, _ := data["failure_causes"].(fields); len(causes) != 1 || causes[f.cause] == nil {
					t.Errorf("the causes are %v, want %s", causes, f.cause)
				}
			})
		})
	}
	injected.Wait()

	rows := map[string]fields{}
	list, _ := member(commandJSON(t, v, "read", "oauthcc/status"), "data", "configs").([]any)
	for _, row := range list {
		row, _ := row.(fields)
		rows[fmt.Sprint(row["config"])] = row
	}
	_, metrics := v.Status(http.MethodGet, "oauthcc/metrics", nil, v.RootToken())
	for name, f := range faults() {
		if got := steady(fmt.Sprint(rows[name]["last_error"])); got != f.row || rows[name]["state"] != "failing" {
			t.Errorf("the row of %s is %v, and says\n  %s\nwant\n  %s", name, rows[name]["state"], got, f.row)
		}
		if label := fmt.Sprintf(`oauthcc_mints_total{cause=%q,config=%q,outcome="failed"} `, f.cause, name); !strings.Contains(string(metrics), label) {
			t.Errorf("no metric %s", label)
		}
	}
	for _, secret := range []string{"not the right one", "sample rfc6749", "spent-refresh-token", "proxy-password"} {
		if strings.Contains(v.Log(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

// told returns the error that a command shows.
func told(r harness.Result) string {
	list := strings.Split(r.Stderr, "* ")
	return steady(strings.TrimSpace(list[len(list)-1]))
}

var (
	moment    = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
	nearTwoHs = regexp.MustCompile(`\b(?:1h59m5\ds|2h0m\ds)\b`)
)

// steady returns the text with what differs from run to run replaced: moments,
// and durations that depend on how long an answer took.
func steady(text string) string {
	return nearTwoHs.ReplaceAllString(moment.ReplaceAllString(text, "TIME"), "2h")
}

// unresolved is what is said of a name that does not resolve. Without name
// servers, as on a machine without a network, it is their silence.
func unresolved(host string) string {
	_, err := net.LookupHost(host)
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return "its host name cannot be resolved: DNS knows no such name; check token_url, and the name servers of Vault's host"
	}
	return "its host name cannot be resolved: the name servers gave no answer; check the name servers and the network of Vault's host"
}

// after returns the remedy of a text that has one semicolon.
func after(text string) string {
	_, remedy, _ := strings.Cut(text, "; ")
	return remedy
}
