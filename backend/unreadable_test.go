// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// Stored tokens are only a cache. So a token that cannot be read counts as missing
// wherever the engine looks for tokens, and it is removed.
func TestStoredTokenThatCannotBeRead(t *testing.T) {
	for name, value := range map[string]string{
		"not JSON":        "\x00\x01",
		"another type":    `{"version":1,"token":"text"}`,
		"a newer schema":  `{"version":99,"token":{"access_token":"x"}}`,
		"null":            `null`,
		"an empty object": `{}`,
	} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			s := e.server(t, providertest.RFC6749, providertest.Options{RotateRefreshTokens: true})
			for config, fields := range map[string]fields{
				"c": with(standard(s), fields{"scopes": "read,write"}), "plain": with(standard(s), fields{"leased": false}), "p": byPassword(s),
			} {
				e.must(t, "config/"+config, fields)
				succeeded(t, e.read(t, "token/"+config))
			}
			spoil := func() {
				for key := range e.below(t, "token/") {
					e.storage.put(t, key, value)
				}
				e = e.restart(t)
			}
			spoil()
			for _, config := range []string{"c", "plain", "p"} {
				succeeded(t, e.read(t, "status/"+config))
				succeeded(t, e.read(t, "token/"+config))
			}
			asked(t, s, 6)
			e = e.restart(t)
			succeeded(t, e.read(t, "token/c"))
			asked(t, s, 6) // the new token is stored in its place
			spoil()
			succeeded(t, update(t, e, "revoke/c", nil))
			succeeded(t, e.delete(t, "config/plain"))
			e.clock.advance(time.Hour)
			e.periodic(t)
			if got := e.below(t, "token/"); len(got) != 0 {
				t.Errorf("left behind: %q", got)
			}
		})
	}
}

// An entry without fields is read as one whose fields are all unset.
func TestEntriesWithoutFields(t *testing.T) {
	for name, value := range map[string]string{"left out": `{"version":1}`, "null": `{"version":1,"fields":null}`, "all of it": `null`} {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			for _, key := range []string{"config/c", "config/d", "role/d/r", "provider/p"} {
				e.storage.put(t, key, value)
			}
			e.must(t, "config/c", acme())
			succeeded(t, e.read(t, "config/d"))
			succeeded(t, e.read(t, "role/d/r"))
			succeeded(t, e.read(t, "provider/p"))
			succeeded(t, e.patch(t, "config/d", acme()))
			e.must(t, "role/d/r", fields{"ttl": 60})
			e.must(t, "provider/p", fields{"description": "x"})
		})
	}
}
