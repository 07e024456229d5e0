// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"encoding/json"
	"encoding/xml"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// templated returns a config that sends a body of its own.
func templated(contentType, body string, changes object) object {
	out := object{
		"token_url": plainURL, "request_format": "template", "request_body": body, "token_endpoint_auth_method": "none",
		"request_headers": object{"content-type": contentType},
	}
	maps.Copy(out, changes)
	return out
}

// sentTo gets a token from s with that config, and returns what s received.
func sentTo(t *testing.T, s *providertest.Server, definition, config object) (providertest.Request, error) {
	t.Helper()
	config = maps.Clone(config)
	config["token_url"] = s.TokenURL()
	r, err := asked(t, definition, config)
	if err != nil {
		return providertest.Request{}, err
	}
	r.Timeout = 10 * time.Second
	client := grant.NewClient(grant.Options{Now: sampleTime})
	defer client.Close()
	_, err = client.Mint(t.Context(), r)
	return s.Last(), err
}

// anyGrant runs a token endpoint that grants every request.
func anyGrant(t *testing.T) *providertest.Server {
	t.Helper()
	return providertest.StartFunc(t, "/", func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"access_token":"granted","expires_in":60}`))
	})
}

func TestATemplateIsTheWholeBody(t *testing.T) {
	t.Parallel()
	s := anyGrant(t)
	got, err := sentTo(t, s, nil, templated("application/json; charset=utf-8", `{{"auth": {{"id": {client_id|json}, "at": [{scope|json}, "{client_secret|hex}"]}}}}`,
		object{"scopes": []any{"a", "b"}, "scope_separator": "comma", "request_headers": object{"Content-Type": "application/json; charset=utf-8", "X-A": "b"}}))
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"auth": {"id": "the-client", "at": ["a,b", "7468652d7365637265742d76616c7565"]}}`; got.Body != want || got.RawQuery != "" || got.Method != http.MethodPost {
		t.Errorf("got %s %s?%s\n%s", got.Method, got.Path, got.RawQuery, got.Body)
	}
	if ct := got.Header.Values("Content-Type"); len(ct) != 1 || ct[0] != "application/json; charset=utf-8" || got.Header.Get("Authorization") != "" || got.Header.Get("X-A") != "b" {
		t.Errorf("got %v", got.Header)
	}
	// Basic is a header, so it can be used with every kind of body.
	got, err = sentTo(t, s, nil, templated("text/plain", "grant me {client_id|base64}", object{"token_endpoint_auth_method": "client_secret_basic"}))
	if err != nil || got.Body != "grant me dGhlLWNsaWVudA==" || !strings.HasPrefix(got.Header.Get("Authorization"), "Basic ") {
		t.Errorf("got %q, %v, %v", got.Body, got.Header, err)
	}
	// Without request_body, neither a body nor a Content-Type is sent.
	got, err = sentTo(t, s, nil, object{"request_format": "template", "token_endpoint_auth_method": "client_secret_basic", "grant_type": "none"})
	if err != nil || got.Body != "" || got.Header.Get("Content-Type") != "" || got.Header.Get("Content-Length") != "0" {
		t.Errorf("got %q, %v, %v", got.Body, got.Header, err)
	}
}

// Whatever a value contains, the reader of the body sees exactly one value.
func TestNoValueOfATemplateIsMoreThanOne(t *testing.T) {
	t.Parallel()
	s := anyGrant(t)
	for name, secret := range map[string]string{
		"quotes": `x","admin":"y`, "a bare value": `1,"admin":true`, "elements": `</password><admin>true</admin><password>`, "an attribute": `x" admin="true`,
		"an apostrophe": `x' admin='true`, "entities": "&lt;b&gt;&#43;&amp;", "pairs": "x&admin=true", "placeholders": "{client_id}{{x}}{now|unix}",
		"backslashes": `\u0022,\"admin\":\`, "lines": "a\nb\r\nc\td", "beyond ASCII": "Größe-🔑", "CDATA": "]]><admin/><![CDATA[", "a comment": "--><admin/><!--", "spaces": " a  b ", "plus": "a+b%2B",
	} {
		send := func(contentType, body string) string {
			t.Helper()
			got, err := sentTo(t, s, nil, templated(contentType, body, object{"client_secret": secret}))
			if err != nil {
				t.Errorf("%s: %s: %v", name, body, err)
			}
			return got.Body
		}
		var object struct {
			Password string `json:"password"`
			Admin    any    `json:"admin"`
			Base64   []byte `json:"base64"`
		}
		text := send("application/json", `{{"password": {client_secret|json}, "base64": "{client_secret|base64}"}}`)
		if err := json.Unmarshal([]byte(text), &object); err != nil || object.Password != secret || object.Admin != nil || string(object.Base64) != secret {
			t.Errorf("%s in JSON: %v: %s", name, err, text)
		}
		var element struct {
			Password string `xml:"password"`
			Name     string `xml:"name,attr"`
			Attr     string `xml:"admin,attr"`
			Admin    []any  `xml:"admin"`
		}
		for _, quote := range []string{`"`, `'`} {
			text = send("application/soap+xml", `<?xml version="1.0" encoding="UTF-8"?><a name=`+quote+`{client_secret|xml}`+quote+`><password>{client_secret|xml}</password></a>`)
			if err := xml.Unmarshal([]byte(text), &element); err != nil || element.Password != secret || element.Name != secret || element.Attr != "" || element.Admin != nil {
				t.Errorf("%s in XML: %v: %+v: %s", name, err, element, text)
			}
		}
		text = send("application/x-www-form-urlencoded", `password={client_secret|urlencode}&x=1`)
		if form, err := url.ParseQuery(text); err != nil || len(form) != 2 || form.Get("password") != secret {
			t.Errorf("%s in a form: %v: %s", name, err, text)
		}
	}
}

func TestRulesOfATemplate(t *testing.T) {
	t.Parallel()
	const asJSON, asXML, asForm, secret = "application/json", "text/xml", "application/x-www-form-urlencoded", "the-secret-value"
	for name, tc := range map[string]struct {
		config  object
		refusal string
	}{
		"without an escaping filter":    {templated(asJSON, `{{"a":{client_id}}}`, nil), "request_body has {client_id} without an escaping filter at its end"},
		"nothing at the end":            {templated(asJSON, `{{"a":{client_id|json|upper}}}`, nil), "write {client_id|json|upper|json}"},
		"of XML in JSON":                {templated(asJSON, `{{"a":"{client_id|xml}"}}`, nil), "write {client_id|xml|json}"},
		"of JSON in XML":                {templated(asXML, `<a>{client_id|json}</a>`, nil), "write {client_id|json|xml}"},
		"of JSON in a form":             {templated(asForm, `a={client_id|json}`, nil), "write {client_id|json|urlencode}"},
		"base64 in a form":              {templated(asForm, `a={client_id|base64}`, nil), "write {client_id|base64|urlencode}"},
		"base64 in XML":                 {templated(asXML, `<a>{client_id|base64}</a>`, nil), ""},
		"a digest in a form":            {templated(asForm, `a={client_id|sha256|hex}`, nil), ""},
		"a number in JSON":              {templated(asJSON, `{{"n":{n|number}}}`, object{"variables": object{"n": "12"}}), ""},
		"no number in JSON":             {templated(asJSON, `{{"n":{n|number}}}`, object{"variables": object{"n": "1,2"}}), "request_body takes only a number in {n|number}"},
		"in what is unknown":            {templated("text/x-y", `{client_id}`, nil), "write {client_id|base64}"},
		"in what is unknown, escaped":   {templated("text/x-y", `{client_id|xml} {client_id|json} {client_id|urlencode}`, nil), ""},
		"no type":                       {templated(asJSON, "x", object{"request_headers": nil}), "request_headers must hold a Content-Type for the request_body"},
		"not JSON":                      {templated(asJSON, `{{"a":"{client_id|json}"}}`, nil), "request_body is not JSON once its placeholders are filled in"},
		"no JSON for want of quotes":    {templated(asJSON, `{{"a":{client_id|hex}x}}`, nil), "is not JSON"},
		"no XML":                        {templated(asXML, "<a>\n<b></a>", nil), "request_body is not well-formed XML once its placeholders are filled in "},
		"no XML but text":               {templated(asXML, "a", nil), "is not well-formed XML"},
		"XML in another charset":        {templated(asXML, `<?xml version="1.0" encoding="ISO-8859-1"?><a>{client_id|xml}</a>`, nil), ""},
		"an unknown name":               {templated(asJSON, `{clientid|json}`, nil), "request_body names {clientid}, which is not defined; did you mean {client_id}?"},
		"a brace":                       {templated(asJSON, `{"a":1}`, nil), "request_body has braces without a placeholder"},
		"an optional that is not set":   {templated(asJSON, `{opt|json}`, nil), "request_body names an optional variable that is not set"},
		"a variable that is not set":    {templated(asJSON, `{must|json}`, nil), `request_body needs the variable "must"`},
		"a body without the format":     {object{"request_body": "x", "token_url": plainURL}, "request_body is only sent with request_format=template"},
		"with GET":                      {templated(asJSON, "{{}}", object{"http_method": "GET"}), "request_format must be query"},
		"parameters":                    {templated(asJSON, "{{}}", object{"parameters": object{"a": "b"}}), "parameters is not sent with request_format=template"},
		"secret parameters":             {templated(asJSON, "{{}}", object{"secret_parameters": object{"a": "b"}}), "secret_parameters is not sent with request_format=template"},
		"a resource":                    {templated(asJSON, "{{}}", object{"token_url": "", "resource_url": "https://mcp.example.com"}), "resource_url is not sent with request_format=template"},
		"scopes that it lacks":          {templated(asJSON, "{{}}", object{"scopes": "a"}), "scopes are not sent with request_format=template"},
		"scopes in a header":            {templated(asJSON, "{{}}", object{"scopes": "a", "request_headers": object{"Content-Type": asJSON, "X-Scope": "{scope}"}}), ""},
		"scopes in a variable":          {templated(asJSON, "{all|json}", object{"scopes": "a"}), ""},
		"a secret that it lacks":        {templated(asJSON, "{client_id|json}", object{"token_endpoint_auth_method": "client_secret_post"}), "request_body must name {client_secret}, because nothing else sends it with request_format=template"},
		"a secret for a revocation":     {templated(asJSON, "{client_id|json}", object{"token_endpoint_auth_method": "client_secret_post", "revocation_parameters": object{"s": "{client_secret}{access_token}"}}), "request_body must name {client_secret}"},
		"a secret for a check":          {templated(asJSON, "{client_id|json}", object{"token_endpoint_auth_method": "client_secret_post", "check_headers": object{"X-S": "{client_secret}"}}), "request_body must name {client_secret}"},
		"a secret that it has":          {templated(asJSON, "{client_secret|json}", object{"token_endpoint_auth_method": "client_secret_post"}), ""},
		"a password that it lacks":      {templated(asJSON, "{username|json}", object{"grant_type": "password", "username": "u", "password": "p"}), "request_body must name {password}"},
		"a password that it has":        {templated(asJSON, "[{username|json},{password|json}]", object{"grant_type": "password", "username": "u", "password": "p"}), ""},
		"a refresh token that it lacks": {templated(asJSON, "{{}}", object{"grant_type": "refresh_token", "refresh_token": "r"}), "request_body must name {refresh_token}"},
		"an assertion that it lacks":    {templated(asJSON, "{{}}", object{"grant_type": grant.GrantSAML2Bearer, "assertion": "x"}), "request_body must name {assertion}"},
		"an assertion that it has":      {templated(asJSON, "{assertion|json}", object{"grant_type": grant.GrantSAML2Bearer, "assertion": "x"}), ""},
		"too long with its values":      {templated(asJSON, "[{long|json},{long|json}]", object{"variables": object{"long": strings.Repeat("x", 40<<10)}}), "request_body is longer than 64 KiB"},
	} {
		_, err := asked(t, object{"variables": object{
			"opt": object{"optional": true}, "must": object{"default": "x"}, "n": object{"optional": true}, "long": object{"optional": true}, "all": object{"value": "<{scope}>"},
		}}, tc.config)
		if name == "a variable that is not set" {
			_, err = asked(t, object{"variables": object{"must": object{}}}, tc.config)
		}
		if tc.refusal == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s: was accepted", name)
		}
		wantInvalid(t, err, tc.refusal, secret)
	}
}

// A rotating refresh token is filled in with its value at the time of the request.
func TestATemplateHoldsTheRefreshTokenThatIsSpent(t *testing.T) {
	t.Parallel()
	definition, err := Canonical(DefinitionFields(), nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := resolveConfig(definition, templated("application/json", `{{"r":{refresh_token|json},"s":{scope|json}}}`, object{"grant_type": "refresh_token", "refresh_token": "first", "scopes": "a b"}))
	if err != nil {
		t.Fatal(err)
	}
	r, err := e.RefreshRequest("the-second-one", "b")
	if err != nil || r.Body != `{"r":"the-second-one","s":"b"}` || !r.Spends || r.RefreshToken != "the-second-one" {
		t.Errorf("got %q, %v", r.Body, err)
	}
	shown, err := e.Describe()
	if err != nil || shown["request_body"] != `{"r":"REDACTED","s":"a b"}` {
		t.Errorf("shows %v, %v", shown["request_body"], err)
	}
	_, err = asked(t, nil, object{"token_url": plainURL, "parameters": "x={refresh_token}"})
	wantInvalid(t, err, "needs refresh_token, which is not set")
}

// A revocation follows RFC 7009, even if the request for a token has its own form.
func TestARevocationIsNoTemplate(t *testing.T) {
	t.Parallel()
	definition, err := Canonical(DefinitionFields(), nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := resolveConfig(definition, templated("text/xml", "<a/>", object{
		"revocation_url": "https://api.example.com/revoke", "client_id": "c", "client_secret": "s", "token_endpoint_auth_method": "client_secret_basic",
		"request_headers": object{"content-type": "text/xml", "X-A": "b"},
	}))
	if err != nil {
		t.Fatal(err)
	}
	r, ok, err := e.RevocationRequest("the-token")
	if err != nil || !ok || r.Format != grant.Form || r.Parameters["token"] != "the-token" || len(r.Headers) != 1 || r.Headers["X-A"] != "b" {
		t.Errorf("got %+v, %t, %v", r, ok, err)
	}
}

// A secret that the body sends, in any form, is recognized in the answer.
func TestAnEchoOfABodyIsNotHandedOut(t *testing.T) {
	t.Parallel()
	const secret = `se"cr<et & 'value' +%41`
	s := providertest.StartFunc(t, "/", func(w http.ResponseWriter, _ *http.Request, body []byte) {
		w.Header().Set("Content-Type", "application/json")
		sent, _ := json.Marshal(string(body)) //nolint:errchkjson // a text
		_, _ = w.Write([]byte(`{"access_token":"granted","expires_in":60,"sent":` + string(sent) + `}`))
	})
	for contentType, body := range map[string]string{
		"application/json": `{{"a":{client_secret|json}}}`, "text/xml": `<a>{client_secret|xml}</a>`,
		"application/x-www-form-urlencoded": `a={client_secret|urlencode}`, "text/plain": `{client_secret|base64} {sig|hmac_sha256:client_secret|hex}`,
	} {
		r, err := asked(t, object{"variables": object{"sig": object{"value": "{client_id}{now|unix}"}}}, templated(contentType, body, object{
			"token_url": s.TokenURL(), "client_secret": secret, "extra_fields": "x=/sent", "token_type_pointer": "/sent",
			"variables": object{}, "access_token_pointer": []any{"/sent"},
		}))
		if err != nil {
			t.Fatal(err)
		}
		r.Timeout = 10 * time.Second
		client := grant.NewClient(grant.Options{})
		if got, err := client.Mint(t.Context(), r); err == nil || strings.Contains(err.Error(), "value") {
			t.Errorf("%s: as the token: %v, %v", contentType, got, err)
		}
		r.Answer.AccessToken = []grant.Pointer{"/access_token"}
		if got, err := client.Mint(t.Context(), r); err != nil || got.TokenType != "Bearer" || got.Extra != nil {
			t.Errorf("%s: %+v, %v", contentType, got, err)
		}
		client.Close()
	}
}
