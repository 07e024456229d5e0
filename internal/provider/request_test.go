// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import "testing"

func TestASpaceIsWrittenAsTheServerWantsIt(t *testing.T) {
	t.Parallel()
	s := anyGrant(t)
	for encoding, want := range map[string][2]string{
		"plus": {"q=a+b%2Bc", "again=a%2Bb%252Bc&p=a+b%2Bc"}, "percent": {"q=a%20b%2Bc", "again=a%2520b%252Bc&p=a%20b%2Bc"},
	} {
		r, err := asked(t, nil, object{
			"token_url": s.TokenURL() + "?q={v}", "variables": object{"v": "a b+c"}, "space_encoding": encoding,
			"parameters": object{"p": "{v}", "again": "{v|urlencode}"}, "token_endpoint_auth_method": "none", "client_id": "", "grant_type": "none",
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := mintIt(t, r); err != nil {
			t.Fatal(err)
		}
		if got := s.Last(); got.RawQuery != want[0] || got.Body != want[1] {
			t.Errorf("%s: got ?%s and %s", encoding, got.RawQuery, got.Body)
		}
	}
	_, err := asked(t, nil, object{"token_url": plainURL, "space_encoding": "%20"})
	wantInvalid(t, err, "space_encoding must be one of plus, percent")
}

// Cloud Foundry's own client is cf, which has no secret. Its UAA expects HTTP Basic
// with an empty secret.
func TestAnEmptySecretIsSentAsOne(t *testing.T) {
	t.Parallel()
	s := anyGrant(t)
	for method, want := range map[string][2]string{
		"client_secret_basic": {"Basic Y2Y6", "grant_type=client_credentials&key=%3A"},
		"client_secret_post":  {"", "client_id=cf&client_secret=&grant_type=client_credentials&key=%3A"},
	} {
		got, err := sentTo(t, s, nil, object{"client_id": "cf", "client_secret": "", "token_endpoint_auth_method": method, "parameters": "key={client_secret}:"})
		if err != nil || got.Header.Get("Authorization") != want[0] || got.Body != want[1] {
			t.Errorf("%s: got %q, %q, %v", method, got.Header.Get("Authorization"), got.Body, err)
		}
		for name, config := range map[string]object{
			"none at all": {"client_id": "cf", "client_secret": nil, "token_endpoint_auth_method": method, "token_url": plainURL},
			"nor by name": {"client_id": "cf", "client_secret": nil, "token_endpoint_auth_method": "none", "token_url": plainURL, "parameters": "key={client_secret}:"},
		} {
			_, err = asked(t, nil, config)
			wantInvalid(t, err, "client_secret")
			if err == nil {
				t.Errorf("%s: accepted", name)
			}
		}
	}
	_, err := asked(t, nil, object{"client_id": "cf", "client_secret": "", "token_endpoint_auth_method": "client_secret_jwt", "token_url": plainURL})
	wantInvalid(t, err, "client_secret is too short for HS256")
}

// Some servers expect the client_id in the body in addition to HTTP Basic.
func TestAClientIDStandsBesideBasic(t *testing.T) {
	t.Parallel()
	s := anyGrant(t)
	got, err := sentTo(t, s, object{"parameters": object{"client_id": "{client_id}"}}, object{})
	if err != nil || got.Header.Get("Authorization") == "" || got.Body != "client_id=the-client&grant_type=client_credentials" {
		t.Errorf("got %v, %q, %v", got.Header, got.Body, err)
	}
	// A role cannot claim to be another client.
	_, err = Resolve(Layer{"token_url": plainURL}, nil, Registration{Credentials: Credentials{ClientID: "c", ClientSecret: "s"}}, Layer{"parameters": object{"client_id": "other"}})
	wantInvalid(t, err, `parameters holds "client_id", which the engine sends itself: a role can add parameters`)
}
