// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
)

type object = map[string]any

func TestCanonicalForms(t *testing.T) {
	t.Parallel()
	for typ, rows := range map[Type][]struct{ in, want any }{
		Text: {
			{"a b", "a b"}, {"", ""}, {" a ", " a "}, {float64(42), "42"}, {float64(-1), "-1"}, {float64(0), "0"},
			{float64(9007199254740991), "9007199254740991"}, {json.Number("12345678901234567890"), "12345678901234567890"},
		},
		Word: {{" a b\n", "a b"}, {"", ""}, {float64(42), "42"}},
		Flag: {{true, true}, {false, false}, {"true", true}, {"false", false}, {"1", true}, {"0", false}},
		Seconds: {
			{float64(0), int64(0)}, {"0", int64(0)}, {float64(3600), int64(3600)}, {3600, int64(3600)}, {int64(3600), int64(3600)},
			{json.Number("3600"), int64(3600)}, {"3600", int64(3600)}, {"1h", int64(3600)}, {"90m", int64(5400)}, {"1h30m10s", int64(5410)},
			{"1d", int64(86400)}, {"0d", int64(0)}, {"1000ms", int64(1)}, {" 60 ", int64(60)}, {"0s", int64(0)},
		},
		Count: {
			{float64(0), int64(0)}, {"0", int64(0)}, {float64(42), int64(42)}, {42, int64(42)}, {int64(42), int64(42)}, {json.Number("42"), int64(42)}, {" 42 ", int64(42)},
		},
		Texts: {
			{"a,b", []string{"a", "b"}}, {" a , b ,", []string{"a", "b"}}, {"a b", []string{"a", "b"}}, {"a b,c\n\td  ", []string{"a", "b", "c", "d"}},
			{[]any{" a b "}, []string{"a b"}}, {`["a b"]`, []string{"a b"}}, {"", []string{}}, {"[]", []string{}}, {"a,a", []string{"a"}},
			{[]any{"a", "b"}, []string{"a", "b"}}, {[]string{"a"}, []string{"a"}}, {[]any{}, []string{}}, {[]any{"a,b"}, []string{"a,b"}},
			{`["a","b,c"]`, []string{"a", "b,c"}}, {`[a`, []string{"[a"}}, {" [] ", []string{}},
		},
		Pointers: {
			{"/a,/b", []string{"/a", "/b"}}, {"", []string{""}}, {"[]", []string{}}, {[]any{"/a,b"}, []string{"/a,b"}}, {[]any{}, []string{}},
			{[]any{""}, []string{""}}, {[]any{"/a", ""}, []string{"/a", ""}}, {"/a~1b", []string{"/a~1b"}}, {`["/a","/b,c"]`, []string{"/a", "/b,c"}},
			{"header:X-A,/a", []string{"header:X-A", "/a"}},
		},
		Values: {
			{"a=b", object{"a": "b"}}, {"a=b=c", object{"a": "b=c"}}, {"a=", object{"a": ""}}, {"", object{}}, {"{}", object{}}, {" a =b", object{"a": "b"}},
			{[]any{"a=1", "b=2"}, object{"a": "1", "b": "2"}}, {[]any{}, object{}},
			{`["a=b"]`, object{"a": "b"}}, {object{"a": json.Number("1.50")}, object{"a": 1.5}},
			{`{"a":1,"b":[true,null,{"c":"d"}]}`, object{"a": float64(1), "b": []any{true, nil, object{"c": "d"}}}},
			{object{"a": float64(1.5), "n": nil}, object{"a": float64(1.5), "n": nil}},
			{object{"a": float64(9007199254740991)}, object{"a": float64(9007199254740991)}},
		},
		TextPairs: {
			{"a=b", object{"a": "b"}}, {object{"a": "b", "n": nil}, object{"a": "b", "n": nil}}, {object{"a": float64(1)}, object{"a": "1"}},
			{[]any{"a=b"}, object{"a": "b"}}, {`{"a":"b"}`, object{"a": "b"}}, {object{}, object{}},
		},
	} {
		for _, row := range rows {
			got, err := typ.Canonical(row.in)
			if err != nil || !reflect.DeepEqual(got, row.want) {
				t.Errorf("type %d of %#v: got %#v, %v; want %#v", typ, row.in, got, err, row.want)
				continue
			}
			again, err := typ.Canonical(got) // the value as it comes back from storage
			if err != nil || !reflect.DeepEqual(again, row.want) {
				t.Errorf("type %d of %#v again: got %#v, %v", typ, row.in, again, err)
			}
		}
	}
}

func TestCanonicalRefusals(t *testing.T) {
	t.Parallel()
	const value = "hidden"
	for typ, inputs := range map[Type][]any{
		Text: {
			true, []any{value}, object{value: value}, object{"kty": value}, float64(9007199254740992), float64(1e300), float64(1.5), nil,
		},
		Flag: {value, "yes", "", float64(1), []any{true}, nil},
		Seconds: {
			value, "0.5", float64(0.5), "500ms", "1.5s", "-1", float64(-1), "-1h", "-1d", "1.5d", "d", "1w", "NaN", "Inf", "1e999", "0x10",
			float64(1e18), "9999999999h", "99999999d", true, []any{"1h"}, object{}, nil, json.Number("0.5"), json.Number("-1"),
		},
		Count: {
			value, "", "0.5", float64(0.5), "-1", float64(-1), "1h", "NaN", float64(1 << 53), "9223372036854775807", "1e3", true, []any{"1"}, object{}, nil, json.Number("1.5"),
		},
		Texts:    {float64(1), true, object{}, []any{float64(1)}, []any{"a", nil}, []any{[]any{value}}, nil, `[1]`},
		Pointers: {value, []any{value}, "/a," + value, "/~", []any{"/a", "/~2"}, float64(1), object{}, nil, "#/" + value, "header:", "header:X " + value},
		Values: {
			value, "=" + value, " =" + value, []any{value}, []any{"a=" + value, "a=" + value}, []any{" a=1", "a=2"}, []any{"a=1", " a=2"}, []any{float64(1)}, `{"a":` + value,
			`{"a":1}` + value, `["` + value + `"]`, float64(1), true, object{"": value}, object{"a": float64(9007199254740992)}, nil,
			object{"a": []any{object{"b": float64(-9007199254740992)}}}, `{"a":12345678901234567890}`, `{"a":1e999}`,
			object{"a": json.Number("12345678901234567890")}, object{"a": []any{json.Number("1e400")}},
		},
		TextPairs: {object{"a": true}, object{"a": []any{value}}, object{"a": object{"b": value}}, object{"a": float64(1.5)}, value, `{"a":{}}`, nil},
	} {
		for _, in := range inputs {
			f := []Field{{Name: "field", Type: typ}}
			got, err := typ.Canonical(in)
			if err == nil {
				t.Errorf("type %d takes %#v as %#v", typ, in, got)
				continue
			}
			if in != nil {
				_, err = Canonical(f, object{"field": in})
				wantInvalid(t, err, "field ", value)
			}
		}
	}
}

func TestCanonicalFields(t *testing.T) {
	t.Parallel()
	refused := func(raw object, says string, values ...string) {
		t.Helper()
		_, err := Canonical(Fields(), raw)
		wantInvalid(t, err, says, values...)
	}
	refused(object{"token_ulr": "hidden"}, `unknown field "token_ulr": did you mean "token_url"?`, "hidden")
	refused(object{"Scope": "hidden"}, `did you mean "scopes"?`, "hidden")
	refused(object{"entirely_different": "hidden"}, "this path takes token_url, ", "hidden")
	refused(object{string(make([]byte, 1000)): "hidden"}, "…", "hidden")
	refused(object{"http_method": "hidden"}, "http_method must be one of POST, GET", "hidden")
	refused(object{"http_method": "get"}, "http_method must be one of POST, GET")
	refused(object{"token_endpoint_auth_method": "client_secret_other"}, "must be one of client_secret_basic, client_secret_post, client_secret_jwt, private_key_jwt, tls_client_auth, self_signed_tls_client_auth, none")
	refused(object{"request_headers": object{"X": object{"token": "hidden"}}}, `request_headers has an entry "X" that must be a string`, "hidden")
	got, err := Canonical(Fields(), object{"token_url": nil, "scopes": "a,b", "parameters": `{"x":null}`, "default_token_lifetime": "1h"})
	want := Layer{"token_url": nil, "scopes": []string{"a", "b"}, "parameters": object{"x": nil}, "default_token_lifetime": int64(3600)}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v, %v", got, err)
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"token_url", "scopes", "scope_pointer", "client_id", "client_secret"}
	for name, want := range map[string]string{
		"token_url": "token_url", "tokenurl": "token_url", "Token_URL": "token_url", "scope": "scopes", "clientid": "client_id",
		"client_secert": "client_secret", "zzz": "", "": "", "something_else_entirely": "",
	} {
		if got := Nearest(name, known); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

func TestEveryFieldIsDescribedAndItsDefaultCanonical(t *testing.T) {
	t.Parallel()
	for _, f := range DefinitionFields() {
		if f.Description == "" || f.Secret {
			t.Errorf("%+v", f)
		}
		if f.Default == nil {
			continue
		}
		l, err := Canonical([]Field{f}, object{f.Name: f.Default})
		if err != nil || !reflect.DeepEqual(l[f.Name], f.Default) {
			t.Errorf("%s: %v, %v", f.Name, l, err)
		}
		if fmt.Sprint(f.Default) == "" {
			t.Errorf("%s: an empty default is none", f.Name)
		}
	}
}
