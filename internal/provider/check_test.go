// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"slices"
	"strings"
	"testing"
)

// Each config is accepted, or refused with the error that stands beside it.
func TestRefusedConfigs(t *testing.T) {
	t.Parallel()
	const value = "hidden-value"
	for name, tc := range map[string]struct {
		config object
		says   string // "" is accepted
	}{
		"GET implies query":                {object{"http_method": "GET"}, ""},
		"GET with a form":                  {object{"http_method": "GET", "request_format": "form"}, "request_format must be query (or left out) with http_method=GET"},
		"a parameter of the engine":        {object{"parameters": object{"grant_type": value}}, `parameters holds "grant_type", which the engine sends itself`},
		"under its new name":               {object{"parameters": object{"clientId": value}, "parameter_names": "client_id=clientId", "token_endpoint_auth_method": "client_secret_post"}, `parameters holds "clientId", which the engine sends itself`},
		"the client_id beside Basic":       {object{"parameters": object{"client_id": "{client_id}"}}, ""},
		"the secret beside Basic":          {object{"parameters": object{"client_secret": value}}, `parameters holds "client_secret", which the engine sends itself`},
		"the old name is free then":        {object{"parameters": object{"client_id": value}, "parameter_names": "client_id=clientId"}, ""},
		"a secret one of the engine":       {object{"secret_parameters": object{"client_secret": value}}, `secret_parameters holds "client_secret", which the engine sends itself`},
		"both secret and not":              {object{"secret_parameters": object{"pin": value}, "parameters": object{"pin": value}}, `secret_parameters holds "pin", which is also in parameters`},
		"secret parameters are literal":    {object{"secret_parameters": object{"pin": "{x}{"}}, ""},
		"a broken text in a parameter":     {object{"parameters": object{"p": []any{"{"}}}, `parameters holds a text under "p" that has a single brace`},
		"an unknown name to rename":        {object{"parameter_names": "clientid=x"}, `parameter_names renames "clientid", which is not a standard parameter`},
		"two of one name":                  {object{"parameter_names": object{"scope": "x", "grant_type": "x"}}, "the same name"},
		"the name of another that is sent": {object{"parameter_names": "scope=grant_type"}, "the same name"},
		"the name of another of the grant": {object{"parameter_names": "scope=username", "grant_type": "password", "username": "u", "password": value}, "the same name"},
		"the name of another that is not sent": {
			object{"parameter_names": object{"client_id": "username", "client_secret": "password"}, "token_endpoint_auth_method": "client_secret_post"}, "",
		},
		"swapped names":                        {object{"parameter_names": object{"client_id": "scope", "scope": "client_id"}, "token_endpoint_auth_method": "client_secret_post"}, ""},
		"left out twice":                       {object{"parameter_names": object{"scope": "", "grant_type": ""}}, ""},
		"a header":                             {object{"request_headers": object{"x-api-key": "a b"}}, ""},
		"not a header name":                    {object{"request_headers": "Authorization: Basic " + value + "="}, "request_headers holds something that is not a header name"},
		"Authorization beside Basic":           {object{"request_headers": object{"authorization": value}}, "holds Authorization, which client_secret_basic sends itself"},
		"Authorization otherwise":              {object{"request_headers": object{"authorization": "Key {client_secret}"}, "token_endpoint_auth_method": "none"}, ""},
		"one header twice":                     {object{"request_headers": object{"X-a": "1", "x-A": "2"}}, "holds \"X-a\" and \"x-A\", which are the same header"},
		"a header with a line end":             {object{"request_headers": object{"X": "a\r\n" + value}}, "request_headers holds a text under \"X\" that may hold only visible ASCII"},
		"a header with a line end by variable": {object{"request_headers": object{"X": "{v}"}, "variables": object{"v": "a\r\n" + value}}, "may hold only visible ASCII"},
		"a header with umlauts":                {object{"request_headers": object{"X": "ü"}}, "may hold only visible ASCII"},
		"a header with umlauts, encoded":       {object{"request_headers": object{"X": "{v|base64}"}, "variables": object{"v": "ü"}}, ""},
		"a header that begins with a space":    {object{"request_headers": object{"X": " a"}}, "spaces inside"},
		"a header of 8 KiB":                    {object{"request_headers": object{"X": strings.Repeat("x", 8<<10)}}, ""},
		"a header of more":                     {object{"request_headers": object{"X": strings.Repeat("x", 8<<10+1)}}, "is longer than 8 KiB"},
		"a header with a broken text":          {object{"request_headers": object{"X": "{nix}"}}, "request_headers holds a text under \"X\" that names {nix}"},
		"an extra field":                       {object{"extra_fields": "instance_url=/instance_url"}, ""},
		"an extra field that is taken":         {object{"extra_fields": "expires_at=/x"}, `extra_fields holds "expires_at", which is already a member of the reader's answer`},
		"an extra field without pointer":       {object{"extra_fields": "x=instance_url"}, `extra_fields has an invalid pointer for "x"`},
		"the refresh token":                    {object{"extra_fields": "x=/refresh_token"}, "leads to the refresh token"},
		"a part of the refresh token":          {object{"extra_fields": "x=/refresh_token/secret"}, "leads to the refresh token"},
		"what holds the refresh token":         {object{"extra_fields": "x=/data", "refresh_token_pointer": "/a,/data/refresh"}, "leads to the refresh token"},
		"the whole answer":                     {object{"extra_fields": "x="}, "leads to the refresh token"},
		"the refresh token by its name":        {object{"extra_fields": "x=/refresh_token", "refresh_token_pointer": []any{}}, "leads to the refresh token"},
		"the refresh token deep by its name":   {object{"extra_fields": "x=/data/refreshToken", "refresh_token_pointer": []any{}}, "leads to the refresh token"},
		"the whole answer without a pointer":   {object{"extra_fields": "x=", "refresh_token_pointer": []any{}}, "leads to the refresh token"},
		"the refresh token as the token":       {object{"access_token_pointer": "/access_token,/refresh_token"}, "access_token_pointer leads to the refresh token"},
		"the refresh token as its type":        {object{"token_type_pointer": "/refresh_token"}, "token_type_pointer leads to the refresh token"},
		"the refresh token as the scope":       {object{"scope_pointer": "/refresh_token"}, "scope_pointer leads to the refresh token"},
		"by its own pointer":                   {object{"scope_pointer": "/rt", "refresh_token_pointer": "/rt"}, "scope_pointer leads to the refresh token"},
		"a part of it by its own pointer":      {object{"scope_pointer": "/rt/value", "refresh_token_pointer": "/rt"}, "scope_pointer leads to the refresh token"},
		"by its name without a pointer":        {object{"access_token_pointer": "/data/refreshToken", "refresh_token_pointer": []any{}}, "access_token_pointer leads to the refresh token"},
		"the whole body as the token":          {object{"access_token_pointer": []any{""}, "default_token_lifetime": 60}, ""},
		"a header as the token":                {object{"access_token_pointer": "header:X-Subject-Token", "extra_fields": "x=header:X-Region"}, ""},
		"a header without a name":              {object{"access_token_pointer": "header:"}, `the name of a header, such as header:X-Subject-Token`},
		"an extra field of no header":          {object{"extra_fields": "x=header:X Y"}, `extra_fields has an invalid pointer for "x"`},
		"the refresh token in a header":        {object{"extra_fields": "x=header:X-Auth-Refresh-Token"}, "leads to the refresh token"},
		"the header of the refresh token":      {object{"extra_fields": "x=header:x-RT", "refresh_token_pointer": "header:X-rt"}, "leads to the refresh token"},
		"that header as the token":             {object{"access_token_pointer": "header:x-RT", "refresh_token_pointer": "header:X-rt"}, "access_token_pointer leads to the refresh token"},
		"another header than it":               {object{"extra_fields": "x=header:X-Region", "refresh_token_pointer": "header:X-RT"}, ""},
		"a format of moments":                  {object{"expires_at_format": " %d/%m/%Y %I:%M %p ", "expires_at_zone": "Asia/Kolkata"}, ""},
		"a format of none":                     {object{"expires_at_format": "%Q" + value}, "expires_at_format is not a date format"},
		"a format without a day":               {object{"expires_at_format": "%H:%M"}, "expires_at_format does not give the day"},
		"a zone by its offset":                 {object{"expires_at_zone": "-03:30"}, ""},
		"no zone":                              {object{"expires_at_zone": value}, "expires_at_zone is not a time zone"},
		"the zone of Vault's host":             {object{"expires_at_zone": "Local"}, "expires_at_zone is not a time zone"},
		"like the refresh token":               {object{"extra_fields": "x=/refresh_token_expires_in"}, ""},
		"no authority":                         {object{"tls_ca_certificate": value}, "tls_ca_certificate"},
		"no client":                            {object{"client_id": ""}, "client_id is required by token_endpoint_auth_method=client_secret_basic"},
		"no secret":                            {object{"client_secret": nil, "token_endpoint_auth_method": "client_secret_post"}, "client_secret is required by token_endpoint_auth_method=client_secret_post"},
		"neither":                              {object{"client_id": "", "client_secret": "", "token_endpoint_auth_method": "none"}, ""},
		"no user":                              {object{"grant_type": "password", "password": value}, "username is required by grant_type=password"},
		"no password":                          {object{"grant_type": "password", "username": "u"}, "password is required by grant_type=password"},
		"any other grant":                      {object{"grant_type": "urn:ietf:params:oauth:grant-type:uma-ticket"}, ""},
		"a value that a claim names":           {object{"assertion_claims": object{"tid": "{tenant}"}, "variables": object{"tenant": "acme"}}, ""},
		"a value that no claim names":          {object{"assertion_claims": object{"tid": "{tenant}"}, "variables": object{"tenant": "acme", "tenants": value}}, `variables holds "tenants", which no placeholder uses: did you mean "tenant"?`},
		"a value for what is not the config's": {object{"assertion_claims": object{"scope": "{scope}"}, "variables": object{"scope": value}}, `variables holds "scope", which already has a meaning`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := object{"token_url": plainURL}
			for k, v := range tc.config {
				config[k] = v
			}
			_, err := asked(t, object{}, config)
			if tc.says != "" {
				wantInvalid(t, err, tc.says, value)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	for _, name := range []string{
		"Host", "connection", "Keep-Alive", "TE", "Trailer", "transfer-encoding", "Upgrade", "content-length", "Expect", "Proxy-Authorization", "proxy-connection",
	} {
		_, err := asked(t, object{}, object{"token_url": plainURL, "request_headers": object{name: value}})
		wantInvalid(t, err, "which only the connection itself sets", value)
	}
}

func TestCheckRefusesDefinitionsThatNoConfigCouldUse(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		definition object
		says       string
	}{
		"nothing at all":       {object{}, ""},
		"no URL":               {object{"grant_type": "password"}, ""},
		"unset variables":      {object{"token_url": "https://{v}/t", "variables": object{"v": object{"pattern": ".*"}}}, ""},
		"undeclared ones":      {object{"token_url": "https://{v}/t"}, "token_url names {v}, which is not defined"},
		"in a parameter":       {object{"parameters": object{"p": "{v}"}}, "parameters"},
		"in a header":          {object{"request_headers": object{"X": "{v}"}}, "request_headers"},
		"in a check's header":  {object{"check_headers": object{"X": "{v}"}}, "check_headers"},
		"in a claim":           {object{"assertion_claims": object{"sub": object{"deep": []any{"{v}"}}}}, `assertion_claims holds a text under "sub" that names {v}`},
		"in a JWT's header":    {object{"assertion_headers": object{"typ": "{v}"}}, `assertion_headers holds a text under "typ" that names {v}`},
		"a broken claim":       {object{"assertion_claims": object{"sub": "{"}}, `assertion_claims holds a text under "sub" that has a single brace`},
		"the scopes, in a JWT": {object{"assertion_claims": object{"scope": "{scope}"}, "assertion_headers": object{"s": "{scope}"}}, ""},
		"the scopes elsewhere": {object{"parameters": object{"s": "{scope}"}, "request_headers": object{"s": "{scope}"}}, ""},
		"the token elsewhere":  {object{"assertion_claims": object{"t": "{access_token}"}}, `assertion_claims holds a text under "t" that names {access_token}`},
		"credentials":          {object{"parameters": object{"p": "{username}{password}"}, "assertion_claims": object{"sub": "{username}"}}, ""},
		"a secret in the path": {object{"token_url": "https://x.example/{password}"}, "names the secret"},
		"a broken declaration": {object{"variables": object{"v": "x"}}, "variables"},
		"Authorization":        {object{"request_headers": object{"Authorization": "x"}}, "request_headers"},
	} {
		l, err := Canonical(DefinitionFields(), tc.definition)
		if err == nil {
			err = Check(l)
		}
		if tc.says == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		} else if tc.says != "" {
			wantInvalid(t, err, tc.says)
		}
	}
}

func TestRequestsOfTheRefreshTokenAndOfTheFallback(t *testing.T) {
	t.Parallel()
	e, err := resolveBuiltin("semansys", object{
		"token_url": plainURL, "client_id": "c", "client_secret": "first-secret", "fallback_client_secret": "second-secret",
		"username": "u", "password": "user-password", "scopes": "a", "parameters": object{"p": "{client_secret}"},
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := e.RefreshRequest("the-refresh-token")
	if err != nil || r.GrantType != "refresh_token" || r.RefreshToken != "the-refresh-token" || r.Scopes != nil || !r.Spends {
		t.Errorf("got %+v, %v", r, err)
	}
	f, there, err := e.WithFallback()
	if err != nil || !there {
		t.Fatalf("%t, %v", there, err)
	}
	if r, err = f.Request(); err != nil || r.ClientSecret != "second-secret" || r.Parameters["p"] != "second-secret" {
		t.Errorf("got %v, %v", r.Parameters, err)
	}
	if r, err = e.Request(); err != nil || r.ClientSecret != "first-secret" || r.Parameters["p"] != "first-secret" {
		t.Errorf("the first one became %v, %v", r.Parameters, err)
	}
	if r, err = e.Request(); err != nil || !slices.Contains(r.Secrets, "second-secret") {
		t.Errorf("the fallback is no secret: %v", err)
	}
	if _, there, err := f.WithFallback(); err != nil || !there {
		t.Errorf("a fallback has its own: %t, %v", there, err)
	}
}
