// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"os"
	"strings"
	"testing"
)

// TestDocsNameEverything compares docs/api.md and the README with the code.
func TestDocsNameEverything(t *testing.T) {
	read := func(file string) string {
		b, err := os.ReadFile("../" + file)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	api, readme := read("docs/api.md"), read("README.md")
	b := newBackend(Options{})
	for _, p := range b.Paths {
		for name := range p.Fields {
			if strings.Contains(p.Pattern, "(?P<"+name+">") {
				continue
			}
			if !strings.Contains(api, "`"+name+"`") && !strings.Contains(api, name+"=true") {
				t.Errorf("docs/api.md does not name %s, a field of %s", name, p.Pattern)
			}
		}
		for _, op := range p.Operations {
			for _, responses := range op.Properties().Responses {
				for _, r := range responses {
					for name := range r.Fields {
						if name != "keys" && name != "built_in" && !strings.Contains(api, "`"+name+"`") {
							t.Errorf("docs/api.md does not name %s, a member of what %s answers", name, p.Pattern)
						}
					}
				}
			}
		}
		root := strings.Trim(strings.SplitN(p.Pattern, "(", 2)[0], "^/?$")
		if !strings.Contains(readme, "`"+root) || !strings.Contains(api, "`"+root) {
			t.Errorf("the README or docs/api.md does not name the path %s", root)
		}
	}
}
