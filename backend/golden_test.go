// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// goldenAddress is the token endpoint's address in all that testdata/golden holds.
const goldenAddress = "127.0.0.1:18443"

// goldenSecrets are the secrets of the configs in testdata/golden.
var goldenSecrets = []string{"golden-secret", "golden-fallback", "golden-pin", "golden-pepper", "golden-password", "golden-refresh-token", "PRIVATE KEY"}

// golden returns the content of testdata/golden. There is a file for each version of
// the plugin that changed what is stored. It holds all that this version had in storage
// at 2026-01-02T03:04:05Z, when each target had been read once. A file never changes. A
// version that stores something else, or in another form, gets a file of its own.
func golden(t *testing.T) map[string]map[string]json.RawMessage {
	t.Helper()
	files, err := filepath.Glob("testdata/golden/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	out := map[string]map[string]json.RawMessage{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var stored map[string]json.RawMessage
		if err := json.Unmarshal(b, &stored); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out[strings.TrimSuffix(filepath.Base(file), ".json")] = stored
	}
	return out
}

// goldenMount returns an engine with the given entries in its storage. Requests to
// goldenAddress arrive at s, if s is not nil.
func goldenMount(t *testing.T, stored map[string]json.RawMessage, s *providertest.Server) *engine {
	t.Helper()
	on := &storage{}
	for key, value := range stored {
		on.put(t, key, string(value))
	}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		if s == nil || address != goldenAddress {
			return nil, errors.New("nobody is to be asked")
		}
		return (&net.Dialer{}).DialContext(ctx, network, strings.TrimPrefix(s.URL(), "http://"))
	}
	return mountVia(t, &http.Transport{DialContext: dial}, on, newClock(), logical.TestSystemView(), goldenSecrets...)
}

// goldenTargets returns the paths below token/ for the configs and roles that are
// stored.
func goldenTargets(stored map[string]json.RawMessage) []string {
	var out []string
	for key := range stored {
		for _, prefix := range []string{"config/", "role/"} {
			if name, found := strings.CutPrefix(key, prefix); found {
				out = append(out, name)
			}
		}
	}
	return out
}

func TestStoredTokensOfEveryVersionAreHandedOut(t *testing.T) {
	for version, stored := range golden(t) {
		t.Run(version, func(t *testing.T) {
			kept := map[string]bool{}
			for key, value := range stored {
				var entry struct {
					Token json.RawMessage `json:"token"`
				}
				var token struct {
					AccessToken string `json:"access_token"`
				}
				if strings.HasPrefix(key, "token/") && json.Unmarshal(value, &entry) == nil && json.Unmarshal(entry.Token, &token) == nil {
					kept[token.AccessToken] = true
				}
			}
			e := goldenMount(t, stored, nil)
			e.clock.advance(10 * time.Minute)
			for _, target := range goldenTargets(stored) {
				if target == "owned" {
					continue // this target shares no token
				}
				token := e.read(t, "token/"+target).token(t)
				if !kept[token] {
					t.Errorf("%s: got another token, or one again", target)
				}
				delete(kept, token)
			}
			if len(kept) > 0 {
				t.Errorf("nobody gets %v", kept)
			}
		})
	}
}

func TestConfigsOfEveryVersionMint(t *testing.T) {
	for version, stored := range golden(t) {
		t.Run(version, func(t *testing.T) {
			s := providertest.StartFunc(t, "/", func(w http.ResponseWriter, _ *http.Request, _ []byte) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, `{"access_token":"minted","token_type":"Bearer","expires_in":3600}`) // the client may be gone
			})
			e := goldenMount(t, stored, s)
			e.clock.advance(2 * time.Hour)
			for _, target := range goldenTargets(stored) {
				wantMembers(t, e.read(t, "token/"+target).data(t), fields{"access_token": "minted"})
			}
			_, refreshed := grants(s)
			slices.Sort(refreshed)
			if want := []string{"golden-refresh-token-4", "golden-refresh-token-5"}; !slices.Equal(refreshed, want) { // the password grant's, and the chain's
				t.Errorf("by refresh tokens %v, want %v", refreshed, want)
			}
			e.periodic(t)
		})
	}
}

func TestWhatEveryVersionStoredIsReadAndWritten(t *testing.T) {
	for version, stored := range golden(t) {
		t.Run(version, func(t *testing.T) {
			e := goldenMount(t, stored, nil)
			for key := range stored {
				for _, prefix := range []string{"config/", "role/", "provider/", "key/"} {
					if !strings.HasPrefix(key, prefix) {
						continue
					}
					r := e.read(t, key)
					warned(t, r)
					withoutSecrets(t, key, r.text(), goldenSecrets...)
					if prefix != "key/" {
						e.must(t, key, fields{"description": "written again"})
					}
				}
			}
			wantMembers(t, e.read(t, "token/standard").data(t), fields{"access_token": "golden-access-token-1", "scope": "read write"})
			if version != "2026-11-22" {
				wantMembers(t, e.read(t, "key/signer").data(t), fields{"algorithm": "ES256", "rotation_period": float64(90 * 24 * 3600)})
			}
		})
	}
}

// All mints of the last hour count, whichever version of the plugin made them.
func TestBudgetsOfEveryVersionCount(t *testing.T) {
	found := 0
	for version, stored := range golden(t) {
		if stored["budget/standard"] == nil {
			continue
		}
		found++
		t.Run(version, func(t *testing.T) {
			wantMembers(t, goldenMount(t, stored, nil).read(t, "status/standard").data(t), fields{"mints_last_hour": float64(3), "mints_per_hour": float64(10)})
		})
	}
	if found == 0 {
		t.Error("no version left a budget")
	}
}

// When the lease of a token of its own ends, the token is revoked at the provider,
// whichever version handed it out.
func TestLeasesOfEveryVersionEndTheirTokens(t *testing.T) {
	found := 0
	for version, stored := range golden(t) {
		for key := range stored {
			holder, isLease := strings.CutPrefix(key, "lease/")
			if !isLease {
				continue
			}
			found++
			t.Run(version, func(t *testing.T) {
				s := providertest.StartFunc(t, "/revoke", func(http.ResponseWriter, *http.Request, []byte) {})
				e := goldenMount(t, stored, s)
				secret := &logical.Secret{InternalData: map[string]any{"secret_type": "oauth_token", "holder": holder}}
				succeeded(t, e.revokeLease(t, secret))
				asked(t, s, 1)
				if got := s.Last().Form().Get("token"); got != "golden-access-token-7" {
					t.Errorf("revoked %q", got)
				}
				succeeded(t, e.revokeLease(t, secret)) // Vault may ask again
				asked(t, s, 1)
			})
		}
	}
	if found == 0 {
		t.Error("no version left a lease")
	}
}

// An entry of any kind that a newer version of the plugin stored is refused, and stays
// unchanged.
func TestNewerVersionsOfKeysAndLeasesAreRefused(t *testing.T) {
	newest := golden(t)["2026-11-25"]
	for key := range newest {
		holder, isLease := strings.CutPrefix(key, "lease/")
		if !isLease && !strings.HasPrefix(key, "key/") {
			continue
		}
		t.Run(key, func(t *testing.T) {
			e := goldenMount(t, newest, nil)
			newer := strings.Replace(string(newest[key]), `"version": 1`, `"version": 2, "token": [], "versions": {}`, 1)
			e.storage.put(t, key, newer)
			r := e.read(t, key)
			if isLease {
				r = e.revokeLease(t, &logical.Secret{InternalData: map[string]any{"secret_type": "oauth_token", "holder": holder}})
			}
			refused(t, r, http.StatusInternalServerError, "schema version 2", "newer", "plugin version")
			if got := e.below(t, key)[key]; got != newer {
				t.Error("it was changed")
			}
		})
	}
}
