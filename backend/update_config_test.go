// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
)

// setting returns a change that sets the given values, as a change by the engine itself
// does. brought lists the secrets that the change brings.
func setting(values provider.Layer, brought ...string) configChange {
	return func(fields provider.Layer) (provider.Layer, []string, error) {
		changed := maps.Clone(fields)
		maps.Copy(changed, values)
		return changed, brought, nil
	}
}

func TestAChangeFromInsideIsHeldToTheRulesOfAWrite(t *testing.T) {
	const name = "c"
	for rule, test := range map[string]struct {
		change configChange
		says   string // a part of the error; "" if the change is stored
	}{
		"a new secret is stored":                         {setting(provider.Layer{"client_secret": "new"}, "client_secret"), ""},
		"a secret that is kept goes to no other host":    {setting(provider.Layer{"token_url": "https://elsewhere.example/token"}), "write client_secret again"},
		"one that is brought goes where the change says": {setting(provider.Layer{"token_url": "https://elsewhere.example/token"}, "client_secret"), ""},
		"what is stored is checked as a whole":           {setting(provider.Layer{"request_timeout": 3600}), "request_timeout must be at most"},
		"a change that fails stores nothing": {func(provider.Layer) (provider.Layer, []string, error) {
			return nil, nil, errors.New("changed its mind")
		}, "changed its mind"},
	} {
		t.Run(rule, func(t *testing.T) {
			b, s := newBackend(Options{}), &logical.InmemStorage{}
			if err := b.Setup(t.Context(), &logical.BackendConfig{System: logical.TestSystemView(), StorageView: s}); err != nil {
				t.Fatal(err)
			}
			defer b.Clean(context.Background())
			first := requested(name, &logical.Request{Operation: logical.CreateOperation, Data: map[string]any{
				"token_url": "https://login.example/token", "client_id": "c", "client_secret": "old",
			}})
			before, err := b.updateConfig(t.Context(), s, name, first)
			if err != nil {
				t.Fatal(err)
			}
			after, err := b.updateConfig(t.Context(), s, name, test.change)
			stored, loadErr := load[configEntry](t.Context(), s, configPrefix+name)
			if loadErr != nil {
				t.Fatal(loadErr)
			}
			switch {
			case test.says != "":
				if err == nil || !strings.Contains(err.Error(), test.says) {
					t.Errorf("got %v, want an error that says %q", err, test.says)
				}
				if string(stored.Epoch) != string(before.entry.Epoch) || !maps.Equal(stored.Fields, before.entry.Fields) {
					t.Error("something was stored all the same")
				}
			case err != nil:
				t.Error(err)
			case string(stored.Epoch) == string(before.entry.Epoch) || !maps.Equal(stored.Fields, after.entry.Fields):
				t.Error("it was not stored, or as a request that finds the tokens of before")
			}
		})
	}
}
