// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// turnstile is a provider whose tokens contain the client secret of the
// request. It answers only when the test lets it.
type turnstile struct {
	*providertest.Server
	issued counter
	pass   chan struct{} // each receive allows one answer; closed: all are allowed
}

func newTurnstile(t *testing.T) *turnstile {
	t.Helper()
	g := &turnstile{pass: make(chan struct{})}
	g.Server = providertest.StartFunc(t, "/token", func(w http.ResponseWriter, r *http.Request, _ []byte) {
		_, secret, _ := r.BasicAuth()
		token := g.issued.next(secret)
		select {
		case <-g.pass:
		case <-r.Context().Done():
		}
		say(w, fmt.Sprintf(`{"access_token":%q,"expires_in":3600}`, token))
	})
	return g
}

// numbered waits until a request has got the number of its token. When it counts
// as a request, a later one may still overtake it.
func (g *turnstile) numbered(t *testing.T) {
	t.Helper()
	harness.Eventually(t, time.Minute, func() error {
		if g.issued.Load() == 0 {
			return errors.New("no request has come so far")
		}
		return nil
	})
}

// TestLifeMintOvertaken: a change to a config during a mint takes effect,
// whether the change or the mint ends first.
func TestLifeMintOvertaken(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	tests := map[string]struct {
		overtake func(t *testing.T, v *harness.Vault, config string)
		secret   string // mints the next token; "" means there is none
		more     fields // of the config
	}{
		"a write of another secret": {
			overtake: func(t *testing.T, v *harness.Vault, config string) {
				write(t, v, "oauthcc/config/"+config, fields{"client_secret": "new"})
			},
			secret: "new",
		},
		"a write of another scope": {
			overtake: func(t *testing.T, v *harness.Vault, config string) {
				write(t, v, "oauthcc/config/"+config, fields{"scopes": "other"})
			},
			secret: "old",
		},
		"a write of another secret, where each reader has a token of its own": {
			overtake: func(t *testing.T, v *harness.Vault, config string) {
				write(t, v, "oauthcc/config/"+config, fields{"client_secret": "new"})
			},
			secret: "new", more: fields{"reuse": false},
		},
		"a revocation": {
			overtake: func(t *testing.T, v *harness.Vault, config string) {
				write(t, v, "oauthcc/revoke/"+config, nil)
			},
			secret: "old",
		},
		"a deletion": {
			overtake: func(_ *testing.T, v *harness.Vault, config string) { v.Delete("oauthcc/config/" + config) },
		},
		"a deletion, and the same config again": {
			overtake: func(t *testing.T, v *harness.Vault, config string) {
				again := rawConfig(t, v, config)
				v.Delete("oauthcc/config/" + config)
				write(t, v, "oauthcc/config/"+config, again)
			},
			secret: "new",
		},
	}
	i := 0
	for name, test := range tests {
		i++
		config := fmt.Sprintf("race%d", i)
		t.Run(name, func(t *testing.T) {
			v := v.For(t)
			g := newTurnstile(t)
			write(t, v, "oauthcc/config/"+config, with(fields{"token_url": g.TokenURL(), "client_id": "a", "client_secret": "old"}, test.more))
			first := readLater(v, "oauthcc/token/"+config)
			g.numbered(t)
			test.overtake(t, v, config)
			// This also holds for a reader who comes while the mint is still in
			// progress.
			second := readLater(v, "oauthcc/token/"+config)
			close(g.pass)
			overtaken := "old-1"
			for _, r := range []sample{<-first, <-second, tryRead(v, "oauthcc/token/"+config)} {
				switch {
				case strings.Contains(r.raw, overtaken):
					t.Errorf("the token of before was handed out: %s", r.raw)
				case test.secret == "":
					r.wants(t, http.StatusBadRequest, config)
				case r.status != http.StatusOK || !strings.HasPrefix(r.accessToken(), test.secret+"-"):
					t.Errorf("%d, want a token by the secret %q: %s", r.status, test.secret, r.raw)
				}
			}
			// The overtaken token is not in storage either.
			asked := g.Requests()
			crash(t, v)
			after := tryRead(v, "oauthcc/token/"+config)
			if test.secret != "" {
				after.wants(t, http.StatusOK)
			}
			if strings.Contains(after.raw, overtaken) {
				t.Errorf("the token of before was found in storage: %s", after.raw)
			}
			if test.secret != "" && test.more == nil && g.Requests() != asked {
				t.Errorf("the token that replaced it was not stored: %d requests, before %d", g.Requests(), asked)
			}
		})
	}

	t.Run("a write that changes nothing of the request overtakes nothing", func(t *testing.T) {
		v := v.For(t)
		g := newTurnstile(t)
		config := fields{"token_url": g.TokenURL(), "client_id": "a", "client_secret": "old"}
		write(t, v, "oauthcc/config/same", config)
		first := readLater(v, "oauthcc/token/same")
		g.numbered(t)
		write(t, v, "oauthcc/config/same", with(config, fields{"description": "applied again", "ttl": "20m"}))
		close(g.pass)
		for _, r := range []sample{<-first, tryRead(v, "oauthcc/token/same")} {
			if r.accessToken() != "old-1" || g.Requests() != 1 {
				t.Errorf("%d requests: %s", g.Requests(), r.raw)
			}
		}
	})
}

// rawConfig returns the fields to write the same config with another secret.
func rawConfig(t *testing.T, v *harness.Vault, config string) fields {
	t.Helper()
	was := read(t, v, "oauthcc/config/"+config)
	return fields{"token_url": was.text(t, "token_url"), "client_id": was.text(t, "client_id"), "client_secret": "new"}
}
