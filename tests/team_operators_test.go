// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// externalSecrets makes the requests that the External Secrets Operator makes
// for each generator.
func externalSecrets(t *testing.T, v *harness.Vault, book *cookbook, run runner, s *providertest.Server) {
	t.Helper()
	run(t, v.RootToken(), book.take(t, "eso-role"))
	docs, err := parseYAML(book.file(t, "cookbook/external-secrets.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	v.Policy("eso", `path "oauthcc/token/antsomi/kubernetes" { capabilities = ["read"] } path "oauthcc/token/antsomi" { capabilities = ["update"] }`)
	operator := v.TokenWith("eso")
	answers := map[any]reply{}
	for _, doc := range docs {
		if doc["kind"] != "VaultDynamicSecret" {
			continue
		}
		method, _ := member(doc, "spec", "method").(string)
		path, _ := member(doc, "spec", "path").(string)
		got := askAs(t, v, operator, method, path, member(doc, "spec", "parameters"))
		got.wants(t, http.StatusOK)
		if got.text(t, "scope") != "item" || got.number(t, "expires_in") < 15*60 {
			t.Errorf("%s %s gives %s", method, path, got.raw)
		}
		issuedBy(t, s, got.text(t, "access_token"))
		answers[member(doc, "metadata", "name")] = got
	}
	if len(answers) != 2 {
		t.Errorf("there are generators for %v", answers)
	}
	for _, doc := range docs {
		if doc["kind"] != "ExternalSecret" {
			continue
		}
		sources, _ := member(doc, "spec", "dataFrom").([]any)
		generator := member(sources[0], "sourceRef", "generatorRef", "name")
		got, ok := answers[generator]
		if !ok || got.LeaseID != "" {
			t.Errorf("the secret is from %v, which gives %s", generator, got.raw)
		}
		text, _ := member(doc, "spec", "refreshInterval").(string)
		if refresh, err := time.ParseDuration(text); err != nil || refresh >= 15*time.Minute {
			t.Errorf("refreshInterval %q is not shorter than the role's min_ttl (%v)", text, err)
		}
		used, _ := member(doc, "spec", "target", "template", "data").(fields)
		for _, template := range used {
			if name := strings.Trim(fmt.Sprint(template), "{}. "); got.Data[name] == nil {
				t.Errorf("the template uses %s, and the answer has none", name)
			}
		}
	}
}

// vaultSecrets makes the requests that the Vault Secrets Operator makes for
// each secret.
func vaultSecrets(t *testing.T, v *harness.Vault, book *cookbook, s *providertest.Server) {
	t.Helper()
	docs, err := parseYAML(book.file(t, "cookbook/vault-secrets-operator.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	v.Policy("vso", `path "oauthcc/token/antsomi/readers" { capabilities = ["read"] } path "oauthcc/token/antsomi" { capabilities = ["update"] }`)
	operator := v.TokenWith("vso")
	secrets := 0
	for _, doc := range docs {
		if doc["kind"] != "VaultDynamicSecret" {
			continue
		}
		secrets++
		path := fmt.Sprint(member(doc, "spec", "mount"), "/", member(doc, "spec", "path"))
		method, body := http.MethodGet, any(nil)
		if params, ok := member(doc, "spec", "params").(fields); ok {
			method, body = http.MethodPut, params
			for name, value := range params {
				if _, ok := value.(string); !ok {
					t.Errorf("params takes strings only, and %s is %v", name, value)
				}
			}
		}
		got := askAs(t, v, operator, method, path, body)
		got.wants(t, http.StatusOK)
		issuedBy(t, s, got.text(t, "access_token"))
		if got.text(t, "scope") != "item" || got.LeaseDuration == 0 {
			t.Errorf("%s %s gives %s", method, path, got.raw)
		}
		if percent, _ := member(doc, "spec", "renewalPercent").(float64); percent != 90 {
			t.Errorf("renewalPercent is %v", percent)
		}
	}
	if secrets != 2 {
		t.Errorf("there are %d secrets", secrets)
	}
}

// terraform makes the requests that Terraform's Vault provider makes for an
// apply, a plan and a destroy.
func terraform(t *testing.T, v *harness.Vault, book *cookbook, run runner, s *providertest.Server) {
	t.Helper()
	blocks, err := parseHCL(book.file(t, "cookbook/main.tf"))
	if err != nil {
		t.Fatal(err)
	}
	var mount string
	type endpoint struct {
		path string
		data fields
	}
	var endpoints []endpoint
	for _, b := range blocks {
		if b.kind != "resource" {
			continue
		}
		switch b.labels[0] {
		case "vault_mount":
			mount, _ = b.attributes["path"].(string)
			kind, _ := b.attributes["type"].(string)
			description, _ := b.attributes["description"].(string)
			ttl, _ := b.attributes["max_lease_ttl_seconds"].(int)
			headers, _ := b.attributes["allowed_response_headers"].([]any)
			input := &api.MountInput{Type: kind, Description: description, Config: api.MountConfigInput{
				MaxLeaseTTL: fmt.Sprintf("%ds", ttl), AllowedResponseHeaders: []string{fmt.Sprint(headers...)},
			}}
			if err := v.Client().Sys().MountWithContext(t.Context(), mount, input); err != nil {
				t.Fatal(err)
			}
		case "vault_generic_endpoint":
			path, _ := b.attributes["path"].(string)
			call, _ := b.attributes["data_json"].(hclCall)
			data, ok := call.argument.(fields)
			if !ok || call.function != "jsonencode" || b.attributes["ignore_absent_fields"] != true {
				t.Fatalf("%s writes %v", path, call)
			}
			for name, value := range data {
				if value == hclExpr("var.antsomi_client_id") {
					data[name] = s.Credentials().ClientID
				} else if reference, ok := value.(hclExpr); ok {
					t.Fatalf("%s refers to %s, which this test does not know", path, reference)
				}
			}
			endpoints = append(endpoints, endpoint{replace(t, path, "${vault_mount.oauthcc.path}", mount), data})
		case "vault_policy":
			name, _ := b.attributes["name"].(string)
			policy, _ := b.attributes["policy"].(string)
			v.Policy("terraform-"+name, policy)
		default:
			t.Errorf("there is a %s, which this test does not know", b.labels[0])
		}
	}
	if mount == "" || len(endpoints) != 2 {
		t.Fatalf("the mount is %q, the endpoints are %v", mount, endpoints)
	}
	apply := func() {
		t.Helper()
		for _, e := range endpoints {
			ask(t, v, http.MethodPut, e.path, e.data).wants(t, http.StatusNoContent)
			got := read(t, v, e.path)
			for name, value := range e.data {
				if !same(got.Data[name], value) {
					t.Errorf("%s: %s is written as %v and read as %v: each plan would show that", e.path, name, value, got.Data[name])
				}
			}
		}
	}
	config := endpoints[0]
	ask(t, v, http.MethodPut, config.path, config.data).wants(t, http.StatusBadRequest, "client_secret") // if this succeeded, the cookbook could be simpler
	secret := replace(t, book.take(t, "terraform-secret"), "provider=antsomi", "provider=antsomi token_url="+s.TokenURL())
	run(t, v.RootToken(), secret, "CLIENT_ID="+s.Credentials().ClientID, "CLIENT_SECRET="+s.Credentials().ClientSecret)
	apply()
	team := v.TokenWith("terraform-antsomi-readers")
	before := askAs(t, v, team, http.MethodGet, mount+"/token/antsomi/readers", nil)
	before.wants(t, http.StatusOK)
	if before.LeaseDuration > 1800 || before.LeaseDuration < 1700 || before.text(t, "scope") != "item" {
		t.Errorf("the team gets %s", before.raw)
	}
	mints := s.IssuedCount()
	apply()
	after := askAs(t, v, team, http.MethodGet, mount+"/token/antsomi/readers", nil)
	if after.text(t, "access_token") != before.text(t, "access_token") || s.IssuedCount() != mints {
		t.Error("an apply that changes nothing cost a mint")
	}
	for i := len(endpoints) - 1; i >= 0; i-- { // in reverse order
		// The answer has a warning if a token lives on that the provider cannot
		// revoke.
		if got := ask(t, v, http.MethodDelete, endpoints[i].path, nil); got.status >= http.StatusMultipleChoices {
			t.Errorf("delete %s: status %d: %s", endpoints[i].path, got.status, got.raw)
		}
	}
}
