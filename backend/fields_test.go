// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestDeclaredSettingsAreThoseThatAreRead(t *testing.T) {
	var names, members []string
	for _, f := range settingsFields() {
		if f.Name != "description" { // a description has no effect, it is only shown again
			names = append(names, f.Name)
		}
	}
	for _, member := range reflect.VisibleFields(reflect.TypeFor[settings]()) {
		if name, _, _ := strings.Cut(member.Tag.Get("json"), ","); name != "" {
			members = append(members, name)
		}
	}
	slices.Sort(names)
	slices.Sort(members)
	if !slices.Equal(names, members) {
		t.Errorf("\ndeclared %v\nread     %v", names, members)
	}
}

func TestEveryLayerDeclaresAFieldOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range ConfigFields() {
		if seen[f.Name] {
			t.Errorf("%s is declared twice", f.Name)
		}
		seen[f.Name] = true
	}
	for _, f := range RoleFields() {
		if !seen[f.Name] {
			t.Errorf("%s is of a role and not of its config", f.Name)
		}
	}
}
