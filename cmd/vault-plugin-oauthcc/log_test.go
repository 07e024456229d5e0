// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"testing"

	"github.com/hashicorp/go-hclog"
)

func TestLogLevelIsThatOfVaultsEnvironment(t *testing.T) {
	for name, test := range map[string]struct {
		env  map[string]string
		want hclog.Level
	}{
		"info when nothing says so": {nil, hclog.Info},
		"Vault's":                   {map[string]string{"VAULT_LOG_LEVEL": "trace"}, hclog.Trace},
		"in any case":               {map[string]string{"VAULT_LOG_LEVEL": "DEBUG"}, hclog.Debug},
		"less than info":            {map[string]string{"VAULT_LOG_LEVEL": "error"}, hclog.Error},
		"OpenBao's":                 {map[string]string{"BAO_LOG_LEVEL": "debug", "VAULT_LOG_LEVEL": "warn"}, hclog.Debug},
		"info for what is none":     {map[string]string{"VAULT_LOG_LEVEL": "loud"}, hclog.Info},
	} {
		t.Run(name, func(t *testing.T) {
			if got := logLevel(func(name string) string { return test.env[name] }); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
