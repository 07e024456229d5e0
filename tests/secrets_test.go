// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// laden returns a config with a secret in every field that accepts one.
func (d *detective) laden(dialect providertest.Dialect, s *providertest.Server, name string) fields {
	out := with(registration(dialect, s), fields{
		"client_secret":          d.secret(name + "'s client_secret"),
		"fallback_client_secret": d.secret(name + "'s fallback_client_secret"),
		"secret_parameters":      fields{"pin": d.secret(name + "'s secret_parameters"), "more": []any{fields{"deep": d.secret(name + "'s nested secret_parameters")}}},
		"secret_variables":       fields{"key": d.secret(name + "'s secret_variables")},
		"request_headers":        fields{"X-Key": "{key|urlencode}", "X-Key-64": "{key|base64}", "X-Secret": "{client_secret|base64url}"},
	})
	if out["password"] != nil {
		out["password"] = d.secret(name + "'s password")
	}
	return out
}

func TestNoSecretComesBack(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	d := newDetective()

	for _, dialect := range providertest.Dialects() {
		t.Run("from "+string(dialect)+" echoing the request into every field of its error", func(t *testing.T) {
			v := v.For(t)
			s := providertest.Start(t, dialect, providertest.Options{})
			for _, status := range []int{200, 400, 401, 403, 404, 429, 500} {
				s.Reset()
				s.Behave(providertest.Behavior{Times: -1, Echo: true, Status: status})
				config := fmt.Sprintf("%s-%d", dialect, status)
				d.ask(t, v, http.MethodPost, "oauthcc/config/"+config, d.laden(dialect, s, config)).wants(t, http.StatusNoContent)
				d.rounds(t, v, config)
				d.command(t, v, "read", "oauthcc/token/"+config)
				if s.Requests() == 0 {
					t.Errorf("with status %d the provider was not asked", status)
				}
			}
		})
	}

	// The answers of an endpoint that knows the request: form and headers are
	// what the client sent.
	for name, answer := range map[string]func(w http.ResponseWriter, form url.Values, all string){
		"a redirect to itself": func(w http.ResponseWriter, form url.Values, _ string) {
			w.Header().Set("Location", "https://evil.example.com/?"+form.Encode())
			w.WriteHeader(http.StatusFound)
		},
		"a token type, a scope and extra fields": func(w http.ResponseWriter, form url.Values, all string) {
			secret := form.Get("client_secret")
			encode(w, fields{"access_token": "good", "expires_in": 600, "token_type": secret, "scope": secret, "extra": all, "more": []any{fields{"x": secret}}})
		},
		"a member's name": func(w http.ResponseWriter, form url.Values, all string) {
			encode(w, fields{form.Get("client_secret"): 1, all: 2})
		},
		"a lifetime": func(w http.ResponseWriter, form url.Values, _ string) {
			encode(w, fields{"access_token": "good", "expires_in": form.Get("client_secret")})
		},
		"an expiry": func(w http.ResponseWriter, form url.Values, _ string) {
			encode(w, fields{"access_token": "good", "expires_at": form.Get("client_secret")})
		},
		"a page":           func(w http.ResponseWriter, _ url.Values, all string) { say(w, "<html>"+all) },
		"JSON that breaks": func(w http.ResponseWriter, _ url.Values, all string) { say(w, fmt.Sprintf(`{"error":%q`, all)) },
		"headers": func(w http.ResponseWriter, form url.Values, _ string) {
			w.Header().Set("Retry-After", url.QueryEscape(form.Get("client_secret")))
			w.Header().Set("WWW-Authenticate", url.QueryEscape(form.Get("pin")))
			w.WriteHeader(http.StatusTooManyRequests)
		},
		"an error text cut anywhere": func(w http.ResponseWriter, form url.Values, _ string) {
			w.WriteHeader(http.StatusBadRequest)
			encode(w, fields{"error": "invalid_client", "error_description": form.Get("client_secret")[3:20]})
		},
		"an error code": func(w http.ResponseWriter, form url.Values, _ string) {
			w.WriteHeader(http.StatusBadRequest)
			encode(w, fields{"error": "x_" + url.QueryEscape(form.Get("client_secret"))})
		},
		"JSON within JSON, with escapes": func(w http.ResponseWriter, _ url.Values, all string) {
			inner, _ := json.Marshal(fields{"said": all})
			w.WriteHeader(http.StatusBadRequest)
			encode(w, fields{"error": string(inner)})
		},
		"a refresh token, and copies of it": func(w http.ResponseWriter, _ url.Values, _ string) {
			r := d.word("a refresh token")
			encode(w, fields{"access_token": "good", "expires_in": 600, "refresh_token": r, "extra": r, "more": "see " + r})
		},
		"another client's token in its error": func(w http.ResponseWriter, _ url.Values, _ string) {
			r := d.word("another client's token") + d.word("another client's token")
			w.WriteHeader(http.StatusBadRequest)
			encode(w, fields{"error": "invalid_request", "error_description": "conflicts with " + r})
		},
	} {
		t.Run("from a provider that puts it into "+name, func(t *testing.T) {
			v := v.For(t)
			s := providertest.StartFunc(t, "/token", func(w http.ResponseWriter, r *http.Request, body []byte) {
				form, _ := url.ParseQuery(string(body))
				answer(w, form, fmt.Sprint(form, string(body), r.Header))
			})
			config := strings.NewReplacer(" ", "-", ",", "", "'", "").Replace(name)
			d.ask(t, v, http.MethodPost, "oauthcc/config/"+config, with(d.laden(providertest.Fuuffy, s, config), fields{
				"provider": "generic", "client_id": "a", "token_endpoint_auth_method": "client_secret_post", "extra_fields": fields{"extra": "/extra", "more": "/more"},
			})).wants(t, http.StatusNoContent)
			d.rounds(t, v, config)
			if s.Requests() == 0 {
				t.Error("the provider was not asked")
			}
		})
	}

	t.Run("from what is no HTTP at all", func(t *testing.T) {
		v := v.For(t)
		addr := parrot(t)
		for _, scheme := range []string{"http", "https"} {
			config := "parrot-" + scheme
			d.ask(t, v, http.MethodPost, "oauthcc/config/"+config, fields{
				"token_url": scheme + "://" + addr + "/token?k={client_secret}", "client_id": "a", "client_secret": d.secret("the parrot's"),
				"token_endpoint_auth_method": "client_secret_post",
			}).wants(t, http.StatusNoContent)
			d.rounds(t, v, config)
		}
	})
	t.Run("by way of the URL, whatever goes wrong with it", func(t *testing.T) {
		v := v.For(t)
		s := providertest.Start(t, providertest.RFC6749, providertest.Options{})
		for name, b := range map[string]*providertest.Behavior{
			"down": nil, "hangs": {Hang: true}, "drops": {Drop: true}, "redirects": {Redirect: "/elsewhere"}, "echoes": {Echo: true}, "fails": {Status: 503},
		} {
			target := s.TokenURL()
			s.Reset()
			if b == nil {
				target = "http://" + providertest.Nobody + "/token"
			} else {
				b.Times = -1
				s.Behave(*b)
			}
			d.ask(t, v, http.MethodPost, "oauthcc/config/url-"+name, fields{
				"token_url": target + "?key={client_secret}&pin={pin}", "http_method": "GET", "token_endpoint_auth_method": "client_secret_post",
				"client_id": "a", "client_secret": d.secret("url-" + name), "secret_variables": fields{"pin": d.secret("url-" + name + "'s pin")},
				"request_timeout": "1s",
			}).wants(t, http.StatusNoContent)
			d.rounds(t, v, "url-"+name)
		}
	})
	t.Run("by way of a refused change of where it is sent", func(t *testing.T) {
		v := v.For(t)
		s := providertest.Start(t, providertest.RFC6749, providertest.Options{})
		write(t, v, "oauthcc/config/moves", d.laden(providertest.RFC6749, s, "moves"))
		other := providertest.StartFunc(t, "/token", func(http.ResponseWriter, *http.Request, []byte) {})
		for _, method := range []string{http.MethodPost, http.MethodPatch} {
			d.ask(t, v, method, "oauthcc/config/moves", fields{"token_url": other.TokenURL()}).
				wants(t, http.StatusBadRequest, "client_secret", "secret_parameters", "again")
		}
		d.rounds(t, v, "moves")
		if other.Requests() != 0 {
			t.Error("the secrets went to another host")
		}
	})

	d.searchLogs(t, v)
}

func encode(w io.Writer, data fields) {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(data)
}

// parrot repeats whatever it receives, without following any protocol.
func parrot(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				heard := bufio.NewReader(c)
				head, err := heard.Peek(1)
				if err != nil || head[0] == 0x16 { // a TLS request: answer without TLS
					say(c, "HTTP/1.0 400 Bad Request\r\n\r\nplain")
					return
				}
				r, err := http.ReadRequest(heard)
				if err != nil {
					return
				}
				body, _ := io.ReadAll(r.Body)
				say(c, fmt.Sprintf("%s %s\r\n", body, r.RequestURI))
			}()
		}
	}()
	return l.Addr().String()
}

// TestNoWriteIsQuoted sends every field with values of every wrong type.
func TestNoWriteIsQuoted(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	d := newDetective()
	s := providertest.Start(t, providertest.RFC6749, providertest.Options{})
	write(t, v, "oauthcc/config/there", registration(providertest.RFC6749, s))
	write(t, v, "oauthcc/provider/there", fields{"token_url": s.TokenURL()})

	known := configFields(t, v)
	if len(known) < 40 {
		t.Fatalf("only %d fields: %v", len(known), known)
	}
	// Further names, some of which are not fields of a config. An error may
	// contain the name, but never the value.
	known = append(known, "private_key", "assertion", "tls_client_key", "client-secret", "zzz")
	const number = 918273645546372
	d.know("a number", fmt.Sprint(number))
	for _, field := range known {
		t.Run(field, func(t *testing.T) {
			v := v.For(t)
			secret := d.secret(field)
			values := []any{
				fields{"kty": "EC", "d": secret}, fields{"a": fields{"b": []any{secret}}}, fields{"a": nil, "b": 1.5, "c": secret},
				[]any{secret}, []any{fields{"k": secret}, 1}, []any{[]any{secret}, "k=" + secret, secret},
				secret, "{" + secret, `{"a":"` + secret, "https://" + secret, "a=b," + secret, nil, true, 1.5, 1e300, -number,
			}
			if strings.HasPrefix(field, "secret_") {
				// A secret in base64 in place of a map looks like a name
				// without a value.
				values = append(values, d.word(field)+"=", []any{d.word(field) + "=="})
			}
			for _, value := range values {
				if _, compound := value.(fields); !compound && field == "provider" {
					continue // an error names an unknown provider, which is not a secret
				}
				d.ask(t, v, http.MethodPost, "oauthcc/config/there", fields{field: value})
				d.ask(t, v, http.MethodPatch, "oauthcc/config/there", fields{field: value})
				d.ask(t, v, http.MethodPost, "oauthcc/config/new", with(registration(providertest.RFC6749, s), fields{field: value}))
				d.ask(t, v, http.MethodPost, "oauthcc/provider/there", fields{field: value})
			}
			for _, name := range []string{"config/there", "config/new", "provider/there"} {
				v.Delete("oauthcc/" + name)
			}
			write(t, v, "oauthcc/config/there", registration(providertest.RFC6749, s))
			write(t, v, "oauthcc/provider/there", fields{"token_url": s.TokenURL()})
		})
	}
	t.Run("where no field is taken", func(t *testing.T) {
		v := v.For(t)
		secret := d.secret("what nobody asked for")
		for _, path := range []string{"token/there", "check/there", "revoke/there", "info", "status/there", "nothing/there"} {
			for _, value := range []any{fields{"d": secret}, []any{secret}, secret, nil} {
				for _, method := range []string{http.MethodPost, http.MethodPatch} {
					if r := d.ask(t, v, method, "oauthcc/"+path, fields{"client_secret": value}); r.status < 400 {
						t.Errorf("%s %s took a field: %d", method, path, r.status)
					}
				}
			}
		}
	})
	d.search(t, "the server's log", v.Log())
	// Vault hashes strings in its audit log, but not numbers.
	for form, name := range d.windows {
		if name == "a number" {
			delete(d.windows, form)
		}
	}
	d.search(t, "the audit log", v.AuditLog())
}

// TestNoTokenIsLogged: only readers see the tokens that they get.
func TestNoTokenIsLogged(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	d := newDetective()
	var told strings.Builder
	for _, dialect := range providertest.Dialects() {
		s := providertest.Start(t, dialect, providertest.Options{})
		write(t, v, "oauthcc/config/"+string(dialect), registration(dialect, s))
		for range 2 {
			got := read(t, v, "oauthcc/token/"+string(dialect))
			told.WriteString(write(t, v, "oauthcc/check/"+string(dialect), nil).raw)
			told.WriteString(read(t, v, "oauthcc/status/"+string(dialect)).raw)
			told.WriteString(read(t, v, "oauthcc/config/"+string(dialect)).raw)
			told.WriteString(v.MustCLI("lease", "lookup", got.LeaseID))
			v.MustCLI("lease", "revoke", "-sync", got.LeaseID)
			v.MustCLI("write", "-force", "oauthcc/revoke/"+string(dialect))
		}
		for _, token := range s.Issued() {
			d.know(string(dialect)+"'s token", token)
		}
		if n := s.IssuedCount(); n != 4 {
			t.Errorf("%s issued %d tokens, want 4", dialect, n)
		}
	}
	d.search(t, "check, status, config or lease lookup", told.String())
	d.searchLogs(t, v)
}
