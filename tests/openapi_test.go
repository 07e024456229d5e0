// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// openAPI returns the mount's own OpenAPI document.
func openAPI(t *testing.T, v *harness.Vault) fields {
	t.Helper()
	r := ask(t, v, http.MethodGet, "oauthcc/?help=1", nil)
	r.wants(t, http.StatusOK)
	doc := rawObject(t, r.raw)
	api, ok := doc["openapi"].(fields)
	if !ok {
		t.Fatalf("no OpenAPI document: %v", slices.Collect(maps.Keys(doc)))
	}
	return api
}

// content returns the schema of a request's or a response's JSON. It follows a
// reference.
func content(api fields, v any) fields {
	schema, _ := member(v, "content", "application/json", "schema").(fields)
	if ref, ok := schema["$ref"].(string); ok {
		schema, _ = member(api, "components", "schemas", strings.TrimPrefix(ref, "#/components/schemas/")).(fields)
	}
	return schema
}

// properties returns the members of a schema.
func properties(schema fields) fields {
	out, _ := schema["properties"].(fields)
	return out
}

// configFields lists the fields that a config accepts.
func configFields(t *testing.T, v *harness.Vault) []string {
	t.Helper()
	api := openAPI(t, v)
	return slices.Sorted(maps.Keys(properties(content(api, member(api, "paths", "/config/{config}", "post", "requestBody")))))
}

// samplePath returns an example path for a pattern.
func samplePath(path string) string {
	return strings.TrimPrefix(regexp.MustCompile(`\{[a-z]+\}`).ReplaceAllString(path, "x"), "/")
}

func TestOpenAPI(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	api := openAPI(t, v)
	paths, _ := api["paths"].(fields)

	// The paths that a reader of DESIGN or the README looks for, and some of
	// their fields.
	for path, operations := range map[string]map[string][]string{
		"/provider/":           {"get": {"keys"}},
		"/provider/{provider}": {"get": {"token_url", "access_token_pointer", "built_in"}, "post": {}, "delete": {}},
		"/config/":             {"get": {"keys"}},
		"/config/{config}":     {"get": {"provider", "secrets_set", "effective", "client_id"}, "post": {}, "patch": {}, "delete": {}},
		"/token/{config}":      {"get": {"access_token", "token_type", "expires_at", "expires_in", "scope"}, "post": {"access_token", "expires_in"}},
		"/check/{config}":      {"post": {"status", "expires_in"}},
		"/status":              {"get": {"configs", "total", "states", "ends_soon"}},
		"/status/{config}":     {"get": {"tokens", "last_mint", "last_failure", "next_attempt", "last_answer"}},
		"/revoke/{config}":     {"post": {}},
		"/info":                {"get": {"version", "commit", "build_date"}},
	} {
		for operation, names := range operations {
			t.Run(operation+" "+path+" is there, with its response", func(t *testing.T) {
				responses, _ := member(paths, path, operation, "responses").(fields)
				if len(responses) == 0 {
					t.Fatalf("no responses; there are %v", slices.Sorted(maps.Keys(paths)))
				}
				shown := properties(content(api, responses["200"]))
				for _, name := range names {
					if shown[name] == nil {
						t.Errorf("no %s in the response: %v", name, slices.Sorted(maps.Keys(shown)))
					}
				}
				for _, secret := range []string{"client_secret", "fallback_client_secret", "password", "secret_parameters", "secret_variables"} {
					if shown[secret] != nil {
						t.Errorf("the response has %s", secret)
					}
				}
			})
		}
	}

	ids := map[string]string{}
	for path, item := range paths {
		if text, _ := member(item, "description").(string); text == "" {
			t.Errorf("%s has no description", path)
		}
		parameters, _ := member(item, "parameters").([]any)
		if want := strings.Count(path, "{"); len(parameters) != want {
			t.Errorf("%s has %d parameters, want %d", path, len(parameters), want)
		}
		for _, operation := range []string{"get", "post", "patch", "delete"} {
			op, there := member(item, operation).(fields)
			if !there {
				continue
			}
			t.Run(operation+" "+path+" is described in full", func(t *testing.T) {
				id, _ := op["operationId"].(string)
				if id == "" || ids[id] != "" {
					t.Errorf("operation ID %q, which %q has too", id, ids[id])
				}
				ids[id] = operation + " " + path
				if text, _ := op["summary"].(string); !strings.HasSuffix(text, ".") {
					t.Errorf("the summary is %q", text)
				}
				own, _ := op["parameters"].([]any)
				for _, p := range append(own, parameters...) {
					if text, _ := member(p, "description").(string); text == "" {
						t.Errorf("the parameter %v has no description", member(p, "name"))
					}
				}
				responses, _ := op["responses"].(fields)
				for status, response := range responses {
					if text, _ := member(response, "description").(string); text == "" || text == "OK" {
						t.Errorf("the response %s is described as %q", status, text)
					}
				}
				all := maps.Clone(properties(content(api, op["requestBody"])))
				if strings.HasPrefix(path, "/config/{") && (operation == "post" || operation == "patch") && len(all) < 40 {
					t.Errorf("the request has only %d fields", len(all))
				}
				if all == nil {
					all = fields{}
				}
				maps.Copy(all, properties(content(api, responses["200"])))
				for name, property := range all {
					if text, _ := member(property, "description").(string); len(text) < 8 {
						t.Errorf("%s is described as %q", name, text)
					}
				}
			})
		}
	}

	t.Run("secret fields are marked as such, for forms", func(t *testing.T) {
		request := properties(content(api, member(paths, "/config/{config}", "post", "requestBody")))
		for _, name := range []string{"client_secret", "fallback_client_secret", "password", "refresh_token", "secret_parameters", "secret_variables"} {
			if member(request, name, "x-vault-displayAttrs", "sensitive") != true {
				t.Errorf("%s is %v", name, request[name])
			}
		}
	})
	t.Run("Vault's own document lists the paths", func(t *testing.T) {
		r := ask(t, v.For(t), http.MethodGet, "sys/internal/specs/openapi", nil)
		listed, _ := rawObject(t, r.raw)["paths"].(fields)
		for path := range paths {
			if listed["/oauthcc"+path] == nil {
				t.Errorf("/oauthcc%s is not there", path)
			}
		}
	})
	t.Run("every path but lists says what it cannot do by 405, not 404", func(t *testing.T) {
		for path, item := range paths {
			if strings.HasSuffix(path, "/") {
				continue
			}
			for operation, method := range map[string]string{"get": "GET", "post": "POST", "delete": "DELETE"} {
				if member(item, operation) != nil {
					continue
				}
				ask(t, v.For(t), method, "oauthcc/"+samplePath(path), nil).wants(t, http.StatusMethodNotAllowed)
			}
		}
	})
}

func TestPathHelp(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{})
	paths, _ := openAPI(t, v)["paths"].(fields)
	whole := v.MustCLI("path-help", "oauthcc")
	for _, text := range []string{"## DESCRIPTION", "## PATHS", "vault write oauthcc/config/", "vault read oauthcc/token/", "vault list oauthcc/provider"} {
		if !strings.Contains(whole, text) {
			t.Errorf("no %q in:\n%s", text, whole)
		}
	}
	parameter := regexp.MustCompile(`(?m)^    (\S+) \(.+\)\n\n((?:        .*\n)*)`)
	for path, item := range paths {
		t.Run(path, func(t *testing.T) {
			help := v.For(t).MustCLI("path-help", "oauthcc/"+samplePath(path))
			synopsis, _ := member(item, "description").(string)
			if !strings.Contains(help, "\n"+synopsis+"\n") || !strings.Contains(whole, "\n        "+synopsis+"\n") {
				t.Errorf("the synopsis %q is not in both helps:\n%s", synopsis, help)
			}
			if strings.Contains(help, "<no ") {
				t.Errorf("something is missing:\n%s", help)
			}
			_, description, _ := strings.Cut(help, "## DESCRIPTION\n")
			if len(strings.TrimSpace(description)) < 30 {
				t.Errorf("the description is %q", description)
			}
			for _, line := range strings.Split(description, "\n") {
				if len(line) > 100 {
					t.Errorf("a line of the description is too long for a terminal: %q", line)
				}
			}
			described := parameter.FindAllStringSubmatch(help, -1)
			for _, p := range described {
				if text := strings.TrimSpace(p[2]); len(text) < 8 {
					t.Errorf("%s is described as %q", p[1], text)
				}
			}
			if strings.HasPrefix(path, "/config/{") && len(described) < 40 {
				t.Errorf("only %d fields are described", len(described))
			}
		})
	}
}
