// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// revocationOf returns the request with which a config revokes a token.
func revocationOf(t *testing.T, s *providertest.Server, config object) (providertest.Request, error) {
	t.Helper()
	whole := object{
		"client_id": "c", "client_secret": "hunter2", "token_url": s.TokenURL(), "revocation_url": s.TokenURL() + "/revoke", "request_headers": object{"X-Version": "1"},
	}
	maps.Copy(whole, config)
	e, err := resolveConfig(Layer{}, whole)
	if err != nil {
		return providertest.Request{}, err
	}
	r, _, err := e.RevocationRequest("the-token")
	if err != nil {
		t.Fatal(err)
	}
	r.Timeout = 10 * time.Second
	client := grant.NewClient(grant.Options{Now: sampleTime})
	defer client.Close()
	if err := client.Revoke(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return s.Last(), nil
}

func TestARevocationIsThatOfTheRFCOrAsItIsDescribed(t *testing.T) {
	t.Parallel()
	const basic = "Basic YzpodW50ZXIy"
	for name, test := range map[string]struct {
		config object
		want   string // method, Authorization, X-Version, body
	}{
		"RFC 7009":                 {object{}, "POST|" + basic + "|1|token=the-token&token_type_hint=access_token"},
		"with other parameters":    {object{"revocation_parameters": object{"access_token": "{access_token}", "list": []any{"{client_id}", "x"}}}, "POST||1|access_token=the-token&list=c&list=x"},
		"with the client's":        {object{"revocation_parameters": object{"t": "{access_token}", "id": "{client_id}", "secret": "{client_secret}"}}, "POST||1|id=c&secret=hunter2&t=the-token"},
		"in JSON":                  {object{"request_format": "json", "revocation_parameters": object{"id": object{"t": "{access_token}"}}}, `POST||1|{"id":{"t":"the-token"}}`},
		"in the token's own name":  {object{"revocation_method": "DELETE", "revocation_headers": object{"Authorization": "Bearer {access_token}"}}, "DELETE|Bearer the-token|1|"},
		"with a header of its own": {object{"revocation_headers": object{"x-version": "2", "Authorization": "{access_token}"}}, "POST|the-token|2|"},
		"with a computed variable": {object{
			"variables":          object{"login": object{"value": "{client_id}:{client_secret}"}},
			"revocation_headers": object{"Authorization": "Basic {login|base64}"}, "revocation_parameters": object{"t": "{access_token}"},
		}, "POST|" + basic + "|1|t=the-token"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := revocationOf(t, anyGrant(t), test.config)
			if err != nil {
				t.Fatal(err)
			}
			if text := strings.Join([]string{got.Method, got.Header.Get("Authorization"), got.Header.Get("X-Version"), got.Body}, "|"); text != test.want {
				t.Errorf("\n got %s\nwant %s", text, test.want)
			}
		})
	}
}

func TestARevocationThatCannotBeSentIsRefusedWhenWritten(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		config object
		says   string
	}{
		"without the token":             {object{"revocation_parameters": object{"t": "{client_id}"}}, "have no {access_token}"},
		"with an unknown placeholder":   {object{"revocation_parameters": object{"t": "{access_token}{acess_token}"}}, "did you mean {access_token}?"},
		"with what is not set":          {object{"revocation_headers": object{"A": "{access_token}{username}"}}, "needs username, which is not set"},
		"with a header of a connection": {object{"revocation_headers": object{"Host": "{access_token}"}}, "revocation_headers holds Host, which only the connection itself sets"},
		"by another method":             {object{"revocation_method": "GET"}, "revocation_method must be one of POST, DELETE"},
		"with the token elsewhere":      {object{"parameters": object{"t": "{access_token}"}}, "names {access_token}, which is not defined"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := revocationOf(t, anyGrant(t), test.config)
			wantInvalid(t, err, test.says, "hunter2")
		})
	}
}
