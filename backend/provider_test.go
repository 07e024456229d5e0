// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
)

// builtin returns the names of the catalog's files.
func builtin(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "internal", "provider", "catalog", "*.json"))
	if err != nil || len(files) < 6 {
		t.Fatalf("%d files of the catalog: %v", len(files), err)
	}
	out := make([]string, len(files))
	for i, f := range files {
		out[i] = strings.TrimSuffix(filepath.Base(f), ".json")
	}
	slices.Sort(out) // with the extension, the files are in another order if one name is the start of another
	return out
}

func TestProviderListHoldsTheCatalogAndTheOperatorsOwn(t *testing.T) {
	e := mount(t)
	if got := e.list(t, "provider/"); !slices.Equal(got, builtin(t)) {
		t.Errorf("list: %v, want %v", got, builtin(t))
	}
	e.must(t, "provider/acme", dialectOfAcme())
	want := append([]string{"acme"}, builtin(t)...)
	slices.Sort(want)
	if got := e.list(t, "provider"); !slices.Equal(got, want) {
		t.Errorf("list: %v, want %v", got, want)
	}
	if got := e.list(t, "config/"); len(got) != 0 {
		t.Errorf("providers among the configs: %v", got)
	}
}

func TestProviderBuiltInReadsAsItsCatalogFile(t *testing.T) {
	e := mount(t)
	for _, name := range builtin(t) {
		got := e.read(t, "provider/"+name).data(t)
		wantMembers(t, got, fields{"built_in": true})
		for field := range catalogFile(t, name) {
			if _, shown := got[field]; !shown {
				t.Errorf("%s: %s is in the catalog file, and not shown", name, field)
			}
		}
	}
}

func TestProviderBuiltInCannotBeChanged(t *testing.T) {
	e := mount(t)
	for _, name := range builtin(t) {
		refused(t, e.write(t, "provider/"+name, fields{"description": "x"}), http.StatusBadRequest, name, "built in")
		refused(t, e.delete(t, "provider/"+name), http.StatusBadRequest, name, "built in")
	}
	if got := e.storage.snapshot(t); len(got) != 0 {
		t.Errorf("stored: %v", got)
	}
}

func catalogFile(t *testing.T, name string) fields {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "internal", "provider", "catalog", name+".json"))
	if err != nil {
		t.Fatalf("read the catalog: %v", err)
	}
	var out fields
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatalf("decode the catalog: %v", err)
	}
	return out
}

func TestProviderTakesACatalogFileAsItIs(t *testing.T) {
	e := mount(t)
	for _, name := range builtin(t) {
		body := catalogFile(t, name)
		e.must(t, "provider/my-"+name, body)
		got, want := e.read(t, "provider/my-"+name).data(t), e.read(t, "provider/"+name).data(t)
		wantMembers(t, got, fields{"built_in": false})
		for _, ownName := range []string{"built_in", "example"} {
			delete(got, ownName)
			delete(want, ownName)
		}
		if !same(got, want) {
			t.Errorf("%s: written as its file it reads\n%v\nwant\n%v", name, got, want)
		}
	}
}

func TestProviderTakesTheSchemaOfItsFileAndForgetsIt(t *testing.T) {
	e := mount(t)
	e.must(t, "provider/p", fields{"$schema": "https://example.com/provider.schema.json", "token_url": "https://auth.example.com/token"})
	if got := e.read(t, "provider/p").text() + e.below(t, "provider/")["provider/p"]; strings.Contains(got, "schema.json") {
		t.Errorf("kept: %s", got)
	}
	refused(t, e.write(t, "config/c", fields{"$schema": "x"}), http.StatusBadRequest, "unknown field")
}

func TestProviderWriteMergesAndDeletes(t *testing.T) {
	e := mount(t)
	if r := e.read(t, "provider/acme"); r.status() != http.StatusNotFound {
		t.Errorf("read of none: status %d", r.status())
	}
	e.must(t, "provider/acme", dialectOfAcme())
	e.must(t, "provider/acme", fields{"scopes": "", "description": "d", "documentation_url": "https://example.com/"})
	wantMembers(t, e.read(t, "provider/acme").data(t), fields{
		"scopes": []any{}, "description": "d", "documentation_url": "https://example.com/", "built_in": false,
		"extra_fields": fields{"region": "/region"},
	})
	if r := e.patch(t, "provider/acme", fields{"description": "e"}); r.status() != http.StatusMethodNotAllowed {
		t.Errorf("patch: status %d: %s", r.status(), r.text())
	}
	succeeded(t, e.delete(t, "provider/acme"))
	if r := e.read(t, "provider/acme"); r.status() != http.StatusNotFound {
		t.Errorf("read of a deleted one: status %d", r.status())
	}
	succeeded(t, e.delete(t, "provider/acme"))
	if got := e.storage.snapshot(t); len(got) != 0 {
		t.Errorf("stored: %v", got)
	}
}

func TestProviderExistenceCheck(t *testing.T) {
	e := mount(t)
	e.must(t, "provider/acme", dialectOfAcme())
	for path, want := range map[string]bool{"provider/acme": true, "provider/other": false} {
		req := e.cross(t, &logical.Request{Operation: logical.UpdateOperation, Path: path, Data: fields{"token_url": fields{"k": secretTwo}}})
		found, exists, err := e.backend.HandleExistenceCheck(t.Context(), req)
		if err != nil || !found || exists != want {
			t.Errorf("%s: found %t, exists %t, error %v; want exists %t", path, found, exists, err, want)
		}
	}
}

func TestProviderInUseCannotBeDeleted(t *testing.T) {
	e := mount(t)
	e.must(t, "provider/acme", dialectOfAcme())
	config := fields{"provider": "acme", "client_id": "id", "client_secret": secretOne, "variables": "tenant=blue"}
	e.must(t, "config/one", config)
	e.must(t, "config/two", config)
	e.must(t, "config/else", acme())
	refused(t, e.delete(t, "provider/acme"), http.StatusBadRequest, "acme", "one, two")
	succeeded(t, e.delete(t, "config/one"))
	refused(t, e.delete(t, "provider/acme"), http.StatusBadRequest, "acme", "two")
	e.must(t, "config/two", with(acme(), fields{"provider": "generic", "variables": fields{}}))
	succeeded(t, e.delete(t, "provider/acme"))
}

func TestProviderDefinitionsAreChecked(t *testing.T) {
	tests := map[string]struct {
		write fields
		says  []string
	}{
		"an unknown placeholder":        {fields{"token_url": "https://{tenant}.example.com/"}, []string{"token_url", "{tenant}"}},
		"a misspelt placeholder":        {fields{"request_headers": "X-A={usrname}"}, []string{"request_headers", "X-A", "{username}"}},
		"an unknown one, nested":        {fields{"parameters": fields{"a": []any{fields{"b": "{nobody}"}}}}, []string{"parameters", "{nobody}"}},
		"a single brace":                {fields{"parameters": "a=x{"}, []string{"parameters", "{{"}},
		"an unknown filter":             {fields{"parameters": "a={client_id|rot13}"}, []string{"parameters", "rot13", "base64"}},
		"a placeholder as scheme":       {fields{"token_url": "{s}://example.com", "variables": fields{"s": fields{}}}, []string{"token_url"}},
		"a placeholder as port":         {fields{"token_url": "https://example.com:{p}/", "variables": fields{"p": fields{}}}, []string{"token_url"}},
		"a placeholder as query name":   {fields{"token_url": "https://example.com/?{p}=1", "variables": fields{"p": fields{}}}, []string{"token_url"}},
		"a secret in the path":          {fields{"token_url": "https://example.com/{p}", "variables": fields{"p": fields{"secret": true}}}, []string{"token_url", "secret {p}"}},
		"a secret in the path, hidden":  {fields{"token_url": "https://example.com/{p}", "variables": fields{"p": fields{"value": "{password}"}}}, []string{"token_url", "secret {p}"}},
		"a declaration that is no map":  {fields{"variables": fields{"p": "x"}}, []string{"variables", `"p"`, "object"}},
		"an unknown declaration member": {fields{"variables": fields{"p": fields{"defalt": "x"}}}, []string{"variables", `"p"`, "default"}},
		"a wrong pattern":               {fields{"variables": fields{"p": fields{"pattern": "["}}}, []string{"variables", `"p"`, "pattern"}},
		"a variable's wrong name":       {fields{"variables": fields{"P-1": fields{}}}, []string{"variables", `"P-1"`}},
		"a credential's name":           {fields{"variables": fields{"client_id": fields{}}}, []string{"variables", "client_id"}},
		"a default with an unknown one": {fields{"variables": fields{"p": fields{"default": "{q}"}}}, []string{"variables", `"p"`, "{q}"}},
		"a parameter of the engine":     {fields{"parameters": "scope=x"}, []string{"parameters", "scope"}},
		"a query of the engine":         {fields{"token_url": "https://example.com/?grant_type=x"}, []string{"token_url", "grant_type"}},
		"renaming what there is not":    {fields{"parameter_names": "clientid=c"}, []string{"parameter_names", "client_id"}},
		"two of one name, one unsent":   {fields{"parameter_names": fields{"client_id": "c", "username": "c"}, "token_endpoint_auth_method": "client_secret_post"}, nil},
		"two of one name":               {fields{"parameter_names": fields{"client_id": "c", "client_secret": "c"}, "token_endpoint_auth_method": "client_secret_post"}, []string{"parameter_names", "the same name"}},
		"a credential":                  {fields{"client_secret": "x"}, []string{"client_secret"}},
		"a config's field":              {fields{"request_timeout": 5}, []string{"request_timeout"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := mount(t)
			r := e.write(t, "provider/p", test.write)
			if test.says == nil {
				succeeded(t, r)
				return
			}
			refused(t, r, http.StatusBadRequest, test.says...)
			if got := e.storage.snapshot(t); len(got) != 0 {
				t.Errorf("stored: %v", got)
			}
		})
	}
}

func TestProviderThatVariablesNameEachOther(t *testing.T) {
	e := mount(t, secretOne)
	r := e.write(t, "provider/circle", fields{
		"token_url": "https://example.com/{a}", "variables": fields{"a": fields{"default": "{b}"}, "b": fields{"default": "{a}"}},
	})
	if r.status() == http.StatusNoContent { // a value for a or b would open the circle
		r = e.write(t, "config/c", fields{"provider": "circle", "client_id": "id", "client_secret": secretOne})
	}
	refused(t, r, http.StatusBadRequest, "circle")
}

func TestProviderChangeWarnsOfConfigsThatItBreaks(t *testing.T) {
	e := mount(t, secretOne)
	e.must(t, "provider/acme", dialectOfAcme())
	e.must(t, "config/one", fields{"provider": "acme", "client_id": "id", "client_secret": secretOne, "variables": "tenant=blue"})
	if r := e.write(t, "provider/acme", fields{"scopes": "x"}); r.status() != http.StatusNoContent {
		t.Errorf("a harmless change: %s", r.text())
	}
	r := e.write(t, "provider/acme", fields{"grant_type": "password"})
	if r.status() != http.StatusOK || len(r.resp.Warnings) != 1 || !strings.Contains(r.resp.Warnings[0], `"one"`) ||
		!strings.Contains(r.resp.Warnings[0], "username") {
		t.Errorf("status %d: %s", r.status(), r.text())
	}
	read := e.read(t, "config/one")
	if read.status() != http.StatusOK || len(read.resp.Warnings) != 1 || !strings.Contains(read.resp.Warnings[0], "username") {
		t.Errorf("reading the config: %s", read.text())
	}
	refused(t, e.read(t, "token/one"), http.StatusBadRequest, `"one"`, "username")
}

func TestProviderSaysWhatIsStillToSupply(t *testing.T) {
	e := mount(t)
	wantMembers(t, e.read(t, "provider/cognito").data(t), fields{
		"required": []any{"variables.domain", "variables.region", "client_id", "client_secret"},
		"example":  "vault write oauthcc/config/cognito provider=cognito variables=domain=DOMAIN variables=region=REGION client_id=CLIENT_ID client_secret=@client_secret.txt",
	})
}

func TestProviderListTellsWhatEachIs(t *testing.T) {
	e := mount(t)
	e.must(t, "provider/acme", fields{"token_url": "https://acme.example/token", "description": "Ours."})
	info, _ := e.request(t, logical.ListOperation, "provider/", nil).data(t)["key_info"].(map[string]any)
	for name, want := range map[string]fields{
		"acme":    {"description": "Ours.", "built_in": false},
		"cognito": {"description": catalogFile(t, "cognito")["description"], "built_in": true},
	} {
		got, _ := info[name].(map[string]any)
		wantMembers(t, got, want)
	}
}
