// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

// everyPath returns each path with the operations that it supports.
func everyPath() map[string][]logical.Operation {
	return map[string][]logical.Operation{
		"config/":    {logical.ListOperation},
		"config/c":   {logical.ReadOperation, logical.CreateOperation, logical.UpdateOperation, logical.PatchOperation, logical.DeleteOperation},
		"provider/":  {logical.ListOperation},
		"provider/p": {logical.ReadOperation, logical.CreateOperation, logical.UpdateOperation, logical.DeleteOperation},
		"role/c/":    {logical.ListOperation},
		"role/c/r":   {logical.ReadOperation, logical.CreateOperation, logical.UpdateOperation, logical.PatchOperation, logical.DeleteOperation},
		"token/c":    {logical.ReadOperation, logical.UpdateOperation},
		"token/c/r":  {logical.ReadOperation, logical.UpdateOperation},
		"proof/c":    {logical.UpdateOperation},
		"proof/c/r":  {logical.UpdateOperation},
		"check/c":    {logical.UpdateOperation},
		"check/c/r":  {logical.UpdateOperation},
		"metrics":    {logical.ReadOperation},
		"status":     {logical.ReadOperation},
		"status/c":   {logical.ReadOperation},
		"revoke/c":   {logical.UpdateOperation},
		"info":       {logical.ReadOperation},

		"key/":              {logical.ListOperation},
		"key/k":             {logical.ReadOperation, logical.CreateOperation, logical.UpdateOperation, logical.DeleteOperation},
		"key/k/rotate":      {logical.UpdateOperation},
		"key/k/csr":         {logical.UpdateOperation},
		"key/k/certificate": {logical.UpdateOperation},
		"jwks/k":            {logical.ReadOperation},
	}
}

// populated returns an engine with provider/p, config/c, role/c/r and key/k, and the
// server of config/c.
func populated(t *testing.T) (*engine, *providertest.Server) {
	t.Helper()
	e := mount(t, secretTwo)
	s := e.server(t, providertest.RFC6749, providertest.Options{})
	e.must(t, "provider/p", dialectOfAcme())
	e.must(t, "config/c", standard(s))
	e.must(t, "role/c/r", fields{"description": "x"})
	e.must(t, "key/k", fields{"algorithm": "ES256"})
	return e, s
}

func TestUnknownFieldsAreRefusedEverywhere(t *testing.T) {
	for path, ops := range everyPath() {
		for _, op := range ops {
			t.Run(string(op)+" "+path, func(t *testing.T) {
				e, s := populated(t)
				before := e.storage.snapshot(t)
				for _, v := range []any{secretTwo, fields{"k": secretTwo}, nil, 5, []any{}} {
					r := e.request(t, op, path, fields{"zzz_no_field": v})
					refused(t, r, http.StatusBadRequest, "unknown field", `"zzz_no_field"`)
					withoutSecrets(t, "the error", r.text(), secretTwo)
				}
				if s.Requests() != 0 || !same(before, e.storage.snapshot(t)) {
					t.Error("a refused request did something")
				}
			})
		}
	}
}

// A read, a list or a delete refuses the fields of a write, because they would have no
// effect.
func TestFieldsOfAWriteAreRefusedWhereNothingIsWritten(t *testing.T) {
	for path, ops := range everyPath() {
		for _, op := range ops {
			if op != logical.ReadOperation && op != logical.ListOperation && op != logical.DeleteOperation {
				continue
			}
			t.Run(string(op)+" "+path, func(t *testing.T) {
				e, _ := populated(t)
				before := e.storage.snapshot(t)
				for _, name := range []string{"client_secret", "token_url", "description"} {
					refused(t, e.request(t, op, path, fields{name: "x"}), http.StatusBadRequest, "unknown field", name)
				}
				if !same(before, e.storage.snapshot(t)) {
					t.Error("a refused request did something")
				}
			})
		}
	}
}

func TestMisspeltFieldsAreRefusedWithTheNearestName(t *testing.T) {
	for path, names := range map[string]map[string]string{
		"config/c": {
			"client_secrt": "client_secret", "clientid": "client_id", "token_ulr": "token_url", "scope": "scopes", "Client_ID": "client_id",
			"parameterss": "parameters", "max-ttl": "max_ttl", "secret_parameter": "secret_parameters", "tls_ca_certificat": "tls_ca_certificate",
			"token_auth_method": "", "verify": "", "built_in": "", "secrets_set": "", "effective": "", "documentation_url": "",
		},
		"role/c/r":   {"scop": "scopes", "parametres": "parameters", "min_tl": "min_ttl", "client_id": "", "token_url": ""},
		"provider/p": {"token_ur": "token_url", "scop": "scopes", "documentationurl": "documentation_url", "built_in": "", "client_secret": ""},
	} {
		for name, near := range names {
			for _, op := range everyPath()[path] {
				if op == logical.ReadOperation || op == logical.DeleteOperation {
					continue
				}
				e, _ := populated(t)
				r := e.request(t, op, path, fields{name: secretTwo})
				refused(t, r, http.StatusBadRequest, "unknown field", `"`+name+`"`)
				if near != "" && !strings.Contains(r.err.Error(), `did you mean "`+near+`"`) {
					t.Errorf("%s %s %s: want the nearest, %s: %s", op, path, name, near, r.err)
				}
				withoutSecrets(t, "the error", r.text(), secretTwo)
			}
		}
	}
}

// declared returns the fields that a write to a path accepts, without those in the
// path's pattern.
func declared(t *testing.T, e *engine, path string) map[string]*framework.FieldSchema {
	t.Helper()
	route := e.route(t, path)
	out := maps.Clone(route.Fields)
	maps.DeleteFunc(out, func(name string, f *framework.FieldSchema) bool {
		return f.Query || strings.Contains(route.Pattern, "(?P<"+name+">")
	})
	return out
}

func TestNullsAreRefusedOutsideAPatch(t *testing.T) {
	for _, path := range []string{"config/c", "config/new", "role/c/r", "role/c/new", "provider/p", "provider/new"} {
		e, _ := populated(t)
		before := e.storage.snapshot(t)
		for name := range declared(t, e, path) {
			refused(t, e.write(t, path, fields{name: nil}), http.StatusBadRequest, name, "null")
		}
		if !same(before, e.storage.snapshot(t)) {
			t.Error("a refused write stored something")
		}
	}
}

// wrong returns values that a field of this type must refuse. Each value that can hold
// a secret holds one.
func wrong(kind framework.FieldType) map[string]any {
	const marker = secretTwo
	out := map[string]any{
		"an object": fields{marker: marker, "kty": fields{"d": marker}}, "a nested list": []any{[]any{marker}}, "a list of objects": []any{fields{"k": marker}},
		"a fraction": 1.5, "a huge number": 1e300, "a number beyond 2^53": float64(1 << 53), "a huge negative number": -1e18,
		"a list with a null": []any{nil}, "a list of numbers": []any{1, 2},
	}
	str := map[string]any{"a bool": true, "a list": []any{marker}, "an empty object": fields{}, "an empty list": []any{}}
	switch kind {
	case framework.TypeString:
		maps.Copy(out, str)
	case framework.TypeBool:
		maps.Copy(out, map[string]any{"a text": marker, "a list": []any{marker}, "an empty text": "", "a number": 2})
	case framework.TypeDurationSecond:
		maps.Copy(out, map[string]any{
			"a text": marker, "a bool": true, "a list": []any{60}, "NaN": "NaN", "infinity": "+Inf", "hexadecimal": "0x10",
			"a negative number": -5, "a negative text": "-5s", "milliseconds": "100ms", "an empty text": "", "beyond a century": "9999999999s",
		})
	case framework.TypeCommaStringSlice:
		maps.Copy(out, map[string]any{"a bool": true, "a number": 5})
	case framework.TypeStringSlice:
		maps.Copy(out, map[string]any{"a bool": true, "a number": 5, "no pointer": marker, "a list of no pointers": []any{marker}, "a bad escape": "/~" + marker})
	case framework.TypeMap:
		delete(out, "an object")
		maps.Copy(out, map[string]any{
			"a bool": true, "a number": 5, "a bare text": strings.ReplaceAll(marker, "=", ""), "broken JSON": `{"` + marker, "a JSON list": `["` + marker + `"]`,
			"a list of bare texts": []any{strings.ReplaceAll(marker, "=", "")}, "an empty name": fields{"": marker}, "a huge number in it": fields{"k": fields{"n": 1e300}},
			"the same name twice": []any{"k=" + marker, "k=" + marker},
		})
	}
	return out
}

func TestWrongTypesAreRefusedWithTheFieldAndWithoutTheValue(t *testing.T) {
	for _, path := range []string{"config/c", "config/new", "role/c/r", "role/c/new", "provider/p", "provider/new"} {
		t.Run(path, func(t *testing.T) {
			e, _ := populated(t)
			before := e.storage.snapshot(t)
			for _, name := range slices.Sorted(maps.Keys(declared(t, e, path))) {
				for what, v := range wrong(declared(t, e, path)[name].Type) {
					results := []result{e.write(t, path, fields{name: v})}
					if path == "config/c" || path == "role/c/r" {
						results = append(results, e.patch(t, path, fields{name: v}))
					}
					for _, r := range results {
						if r.status() != http.StatusBadRequest || !strings.Contains(r.err.Error(), name) {
							t.Errorf("%s as %s: status %d: %s", name, what, r.status(), r.text())
							continue
						}
						sane(t, r)
						withoutSecrets(t, "the error", r.text(), secretTwo)
					}
				}
			}
			if !same(before, e.storage.snapshot(t)) {
				t.Error("a refused write stored something")
			}
		})
	}
}

// A map of texts accepts no other type of value.
func TestWrongTypesInMapsOfTexts(t *testing.T) {
	e, _ := populated(t)
	for _, name := range []string{"variables", "secret_variables", "parameter_names", "request_headers", "extra_fields"} {
		for what, v := range map[string]any{
			"an object": fields{"d": secretTwo}, "a list": []any{secretTwo}, "a bool": true, "a fraction": 0.5, "a huge number": 1e300,
		} {
			for _, r := range []result{
				e.write(t, "config/c", fields{name: fields{"key": v}}), e.patch(t, "config/c", fields{name: fields{"key": v}}),
			} {
				if r.status() != http.StatusBadRequest || !strings.Contains(r.err.Error(), name) || !strings.Contains(r.err.Error(), `"key"`) {
					t.Errorf("%s with %s: status %d: %s", name, what, r.status(), r.text())
				}
				withoutSecrets(t, "the error", r.text(), secretTwo)
			}
		}
	}
}

// If someone forgets the name of a secret variable, its value stands in the place of
// the name. A base64 text with padding then looks like name=value.
func TestValuesInPlaceOfNamesAreNotQuoted(t *testing.T) {
	const marker = "c2VjcmV0LW1hcmtlci1pbi1iYXNlNjQ="
	for _, op := range []logical.Operation{logical.UpdateOperation, logical.PatchOperation} {
		e, _ := populated(t)
		r := e.request(t, op, "config/c", fields{"secret_variables": marker})
		refused(t, r, http.StatusBadRequest, "secret_variables")
		withoutSecrets(t, "the error", r.text(), strings.TrimSuffix(marker, "="))
	}
}

func TestRequestsOfOtherKindsAreNotServed(t *testing.T) {
	e, s := populated(t)
	for path, op := range map[string]logical.Operation{
		"info": logical.UpdateOperation, "token/c": logical.DeleteOperation, "provider/p": logical.PatchOperation, "config/": logical.ReadOperation,
	} {
		if r := e.request(t, op, path, nil); r.status() != http.StatusMethodNotAllowed {
			t.Errorf("%s %s: status %d: %s", op, path, r.status(), r.text())
		}
	}
	for _, path := range []string{"", "nothing", "config/c/d", "token/", "infos"} {
		if r := e.read(t, path); r.status() != http.StatusNotFound {
			t.Errorf("read %s: status %d: %s", path, r.status(), r.text())
		}
	}
	if s.Requests() != 0 {
		t.Error("the provider was asked")
	}
}
