// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"bytes"
	"encoding/json"
	"io"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The catalog consists of its files: to add a provider, add its file and its
// transcript.
func TestTheCatalogIsItsFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("catalog/*.json")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, f := range files {
		want = append(want, strings.TrimSuffix(filepath.Base(f), ".json"))
	}
	slices.Sort(want) // with the extension, the files are in another order if one name is the start of another
	if got := BuiltinNames(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, name := range want {
		if !catalogName.MatchString(name) {
			t.Errorf("%s: a name is lower-case letters, digits and single hyphens", name)
		}
	}
	for name := range strict() {
		if !slices.Contains(want, name) {
			t.Errorf("%s is missing", name)
		}
	}
	for _, name := range []string{"", "Generic", "generic.json", "../catalog/generic", "catalog/generic", "unknown"} {
		if l, there, err := Builtin(name); l != nil || there || err != nil {
			t.Errorf("%q: %v, %t, %v", name, l, there, err)
		}
	}
}

var catalogName = regexp.MustCompile(`^[a-z0-9]+(?:-[a-z0-9]+)*$`)

func TestEveryCatalogFileIsAProperWrite(t *testing.T) {
	t.Parallel()
	for _, name := range BuiltinNames() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, err := catalog.ReadFile("catalog/" + name + ".json")
			if err != nil {
				t.Fatal(err)
			}
			noRepeatedMembers(t, json.NewDecoder(bytes.NewReader(b)))
			l, there, err := Builtin(name)
			if err != nil || !there {
				t.Fatalf("%t, %v", there, err)
			}
			// The file is in canonical form, so no value needs to be converted.
			var raw map[string]any
			if err := json.Unmarshal(b, &raw); err != nil {
				t.Fatal(err)
			}
			if got, want := asJSON(t, l), asJSON(t, raw); got != want {
				t.Errorf("\n got %s\nfrom %s", got, want)
			}
			for field, v := range raw {
				if v == nil {
					t.Errorf("%s is null", field)
				}
			}
			text, _ := l["documentation_url"].(string)
			if u, err := url.Parse(text); err != nil || u.Scheme != "https" || u.Host == "" {
				t.Errorf("documentation_url: %q", text)
			}
			if text, _ := l["description"].(string); text == "" {
				t.Error("no description")
			}
			if err := Check(l); err != nil {
				t.Error(err)
			}
		})
	}
}

// noRepeatedMembers checks that no object in a JSON document has a member twice.
func noRepeatedMembers(t *testing.T, dec *json.Decoder) {
	t.Helper()
	var open []map[string]bool // for each open object its members; nil for a list
	name := false
	for {
		token, err := dec.Token()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case json.Delim:
			switch token {
			case '{':
				open = append(open, map[string]bool{})
				name = true
				continue
			case '[':
				open = append(open, nil)
			default:
				open = open[:len(open)-1]
			}
		case string:
			if members := open[len(open)-1]; name && members != nil {
				if members[token] {
					t.Errorf("%q stands twice", token)
				}
				members[token] = true
				name = false
				continue
			}
		}
		name = len(open) > 0 && open[len(open)-1] != nil
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A definition stays the same when it comes back from storage, or when an operator
// writes it.
func TestABuiltinEntryCanBeWrittenAgain(t *testing.T) {
	t.Parallel()
	for _, name := range BuiltinNames() {
		l, _, err := Builtin(name)
		if err != nil {
			t.Fatal(err)
		}
		var stored map[string]any
		if err := json.Unmarshal([]byte(asJSON(t, l)), &stored); err != nil {
			t.Fatal(err)
		}
		again, err := Canonical(DefinitionFields(), stored)
		if err != nil || asJSON(t, again) != asJSON(t, l) {
			t.Errorf("%s: %v\n got %v\nwant %v", name, err, again, l)
		}
	}
}

// With credentials alone, a built-in provider is complete, or its error says which
// field or variable is missing, and what to write there.
func TestWhatABuiltinProviderStillNeedsIsSaid(t *testing.T) {
	t.Parallel()
	credentials := map[string]any{"client_id": "c", "client_secret": "s", "username": "u", "password": "p", "refresh_token": "r"}
	for name, want := range map[string]string{
		"antsomi":  "",
		"cognito":  `token_url needs the variable "domain" (the prefix of the user pool's domain, such as auth-provider-dev; or set token_url), which is not set: write variables=domain=…`,
		"fuuffy":   `token_url needs the variable "host" (the host of the API_URL that Fuuffy gave you, without /v1; or set token_url), which is not set: write variables=host=…`,
		"generic":  "token_url is required: the provider publishes no host; write token_url=https://<host>/<path of its token endpoint>, or issuer to have it found",
		"semansys": "token_url is required: the provider publishes no host; write token_url=https://<host>/<path of its token endpoint>, or issuer to have it found",
		"xcover":   `token_url needs the variable "host" (the host of the API that XCover gave you; or set token_url), which is not set: write variables=host=…`,
	} {
		got := ""
		if _, err := resolveBuiltin(name, credentials); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
	}
	for _, name := range BuiltinNames() {
		_, err := resolveBuiltin(name, credentials)
		if err != nil && !stillNeeded.MatchString(err.Error()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, missing := range map[string]string{
		"antsomi": "client_secret", "cognito": "client_id", "semansys": "password", "generic": "client_secret",
	} {
		config := map[string]any{"client_id": "c", "client_secret": "s", "username": "u", "password": "p", "token_url": "https://x.example/t"}
		delete(config, missing)
		var invalid *InvalidError
		_, err := resolveBuiltin(name, config)
		if !asInvalid(err, &invalid) || invalid.Field != missing {
			t.Errorf("%s without %s: %v", name, missing, err)
		}
	}
}

var stillNeeded = regexp.MustCompile(`^(?:token_url is required: .+|[a-z_]+ is required by .+|[a-z_]+ (?:holds a (?:text|value) .+ that )?needs the variable "[a-z0-9_]+" \(.+\), which is not set: write (?:secret_)?variables=[a-z0-9_]+=…)$`)
