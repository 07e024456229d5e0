// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// document returns the help text of a path, and the OpenAPI document that comes with
// it.
func document(t *testing.T, e *engine, path string) (help string, doc *framework.OASDocument) {
	t.Helper()
	resp, err := e.backend.HandleRequest(t.Context(), &logical.Request{Operation: logical.HelpOperation, Path: path, Storage: e.storage})
	if err != nil {
		t.Fatalf("help of %q: %v", path, err)
	}
	help, _ = resp.Data["help"].(string)
	raw, err := json.Marshal(resp.Data["openapi"])
	if err != nil {
		t.Fatalf("help of %q: %v", path, err)
	}
	var generic map[string]any
	if err := json.Unmarshal(raw, &generic); err != nil {
		t.Fatalf("help of %q: %v", path, err)
	}
	doc, err = framework.NewOASDocumentFromMap(generic)
	if err != nil {
		t.Fatalf("help of %q: %v", path, err)
	}
	return help, doc
}

func TestHelpOfEveryPath(t *testing.T) {
	e := mount(t)
	help, _ := document(t, e, "")
	for path := range everyPath() {
		own, _ := document(t, e, path)
		for _, empty := range []string{"<no synopsis>", "<no description>", "%!"} {
			if strings.Contains(own, empty) || len(own) < 100 {
				t.Errorf("the help of %s:\n%s", path, own)
			}
		}
		if route := e.route(t, path); !strings.Contains(help, route.HelpSynopsis) || route.HelpSynopsis == "" || route.HelpDescription == "" {
			t.Errorf("the root help has no %q", route.HelpSynopsis)
		}
		for _, line := range strings.Split(own, "\n") {
			if strings.Contains(line, "TODO") || strings.HasSuffix(line, " ") && strings.TrimSpace(line) != "" {
				t.Errorf("the help of %s has a line that ends in a space: %q", path, line)
			}
		}
	}
	for _, example := range []string{"vault write oauthcc/config/", "vault list oauthcc/provider"} {
		if !strings.Contains(help, example) {
			t.Errorf("the root help has no example %q", example)
		}
	}
}

// wantedPaths returns the paths of the OpenAPI document, with their operations.
func wantedPaths() map[string][]string {
	return map[string][]string{
		"/config/": {"get"}, "/config/{config}": {"delete", "get", "patch", "post"},
		"/provider/": {"get"}, "/provider/{provider}": {"delete", "get", "post"},
		"/role/{config}/": {"get"}, "/role/{config}/{role}": {"delete", "get", "patch", "post"},
		"/token/{config}": {"get", "post"}, "/token/{config}/{role}": {"get", "post"},
		"/proof/{config}": {"post"}, "/proof/{config}/{role}": {"post"},
		"/check/{config}": {"post"}, "/check/{config}/{role}": {"post"}, "/metrics": {"get"}, "/status": {"get"}, "/status/{config}": {"get"}, "/revoke/{config}": {"post"},
		"/info": {"get"},
		"/key/": {"get"}, "/key/{key}": {"delete", "get", "post"}, "/key/{key}/rotate": {"post"}, "/key/{key}/csr": {"post"},
		"/key/{key}/certificate": {"get", "post"}, "/jwks/{key}": {"get"},
	}
}

func operations(item *framework.OASPathItem) map[string]*framework.OASOperation {
	out := map[string]*framework.OASOperation{"get": item.Get, "post": item.Post, "patch": item.Patch, "delete": item.Delete}
	maps.DeleteFunc(out, func(_ string, o *framework.OASOperation) bool { return o == nil })
	return out
}

func TestOpenAPIListsEveryPathWithItsOperations(t *testing.T) {
	e := mount(t)
	_, doc := document(t, e, "")
	for path, want := range wantedPaths() {
		item := doc.Paths[path]
		if item == nil {
			t.Errorf("%s is missing", path)
			continue
		}
		if got := slices.Sorted(maps.Keys(operations(item))); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
		if want := slices.Contains([]string{"/config/{config}", "/role/{config}/{role}", "/provider/{provider}", "/key/{key}"}, path); item.CreateSupported != want {
			t.Errorf("%s: create supported: %t", path, item.CreateSupported)
		}
	}
	for path := range doc.Paths {
		if _, wanted := wantedPaths()[path]; !wanted {
			t.Errorf("%s is not expected: extend wantedPaths and everyPath", path)
		}
	}
}

func TestOpenAPIOperationsHaveIDsSummariesAndResponses(t *testing.T) {
	e := mount(t)
	_, doc := document(t, e, "")
	ids := map[string]string{}
	for path, item := range doc.Paths {
		if item.Description == "" {
			t.Errorf("%s: no description", path)
		}
		for verb, op := range operations(item) {
			where := verb + " " + path
			if other, twice := ids[op.OperationID]; twice || !regexp.MustCompile(`^oauthcc-[a-z-]+[a-z]$`).MatchString(op.OperationID) {
				t.Errorf("%s: operation ID %q (also of %q)", where, op.OperationID, other)
			}
			ids[op.OperationID] = where
			if op.Summary == "" || len(op.Responses) == 0 {
				t.Errorf("%s: no summary, or no responses", where)
			}
			for code, r := range op.Responses {
				if r.Description == "" {
					t.Errorf("%s: response %d has no description", where, code)
				}
				if verb == "get" && r.Content["application/json"] == nil && path != "/jwks/{key}" && path != "/metrics" { // the answers of these two are raw
					t.Errorf("%s: response %d has no schema", where, code)
				}
			}
		}
	}
}

func TestOpenAPIDescribesEveryField(t *testing.T) {
	e := mount(t)
	_, doc := document(t, e, "")
	for name, s := range doc.Components.Schemas {
		for field, property := range s.Properties {
			if property.Description == "" || property.Type == "" {
				t.Errorf("%s.%s: no description, or no type", name, field)
			}
		}
	}
	for path, item := range doc.Paths {
		for _, p := range item.Parameters {
			if p.Description == "" {
				t.Errorf("%s: the parameter %s has no description", path, p.Name)
			}
		}
	}
	for path := range everyPath() {
		for name, field := range e.route(t, path).Fields {
			if len(field.Description) < 10 || !strings.HasSuffix(field.Description, ".") && !strings.HasSuffix(field.Description, ")") {
				t.Errorf("%s: the field %s is described as %q", path, name, field.Description)
			}
		}
	}
}

func TestOpenAPIOfOnePathIsThatOfTheWhole(t *testing.T) {
	e := mount(t)
	_, whole := document(t, e, "")
	for path := range everyPath() {
		_, own := document(t, e, path)
		if len(own.Paths) == 0 {
			t.Errorf("%s: no paths", path)
		}
		for name := range own.Paths {
			if whole.Paths[name] == nil {
				t.Errorf("%s: %s is not in the whole", path, name)
			}
		}
	}
}

func TestOpenAPIMarksSecretsAndHidesThemFromAnswers(t *testing.T) {
	e := mount(t)
	route := e.route(t, "config/c")
	answer := route.Operations[logical.ReadOperation].Properties().Responses[200][0].Fields
	for _, name := range secretNames() {
		attrs := route.Fields[name].DisplayAttrs
		if attrs == nil || !attrs.Sensitive {
			t.Errorf("%s is not marked as sensitive", name)
		}
		if answer[name] != nil {
			t.Errorf("%s is part of the declared answer", name)
		}
	}
	for name, field := range route.Fields {
		if attrs := field.DisplayAttrs; attrs != nil && attrs.Sensitive && !slices.Contains(secretNames(), name) {
			t.Errorf("%s is sensitive: add it to everySecret", name)
		}
	}
}
