// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

// many returns n different names.
func many(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("s%d", i)
	}
	return out
}

// entries returns a map with n names.
func entries(n int) object {
	out := object{}
	for _, name := range many(n) {
		out[name] = "v"
	}
	return out
}

// prompt fails if f takes much longer than the milliseconds that it should take.
// The limit leaves room for a busy machine: work without a limit on its input
// takes half a minute, or never ends.
func prompt(t *testing.T, what string, f func()) {
	t.Helper()
	start := time.Now()
	if f(); time.Since(start) > 10*time.Second {
		t.Errorf("%s took %s", what, time.Since(start))
	}
}

func TestWhatIsSentIsBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 300<<10)
	lists := []Field{{Name: "scopes", Type: Texts}, {Name: "pointers", Type: Pointers}, {Name: "map", Type: Values}, {Name: "pairs", Type: TextPairs}, {Name: "text", Type: Text}, {Name: "n", Type: Seconds}, {Name: "flag", Type: Flag}, {Name: "more", Type: Text}, {Name: "most", Type: Text}}
	for name, test := range map[string]struct {
		raw  object
		says string
	}{
		"a list as text":                  {object{"scopes": strings.Join(many(200_000), ",")}, "scopes is larger than 64 KiB"},
		"a list of few and long":          {object{"scopes": []any{long}}, "scopes is larger than 64 KiB"},
		"a list of many":                  {object{"scopes": slices.Repeat([]any{"x"}, 1001)}, "scopes has more than 1000 entries"},
		"a list of many as text":          {object{"scopes": strings.Join(many(1001), " ")}, "scopes has more than 1000 entries"},
		"a list of many as JSON text":     {object{"scopes": "[" + strings.Repeat(`"x",`, 1000) + `"y"]`}, ""}, // it has two different items
		"a long item":                     {object{"scopes": []any{long[:1025]}}, "scopes has an item longer than 1 KiB"},
		"a million empty items":           {object{"scopes": slices.Repeat([]any{""}, 1_000_000)}, "scopes has more than 1000 entries"},
		"many pointers":                   {object{"pointers": slices.Repeat([]any{"/x"}, 33)}, "pointers has more than 32 entries"},
		"a long pointer":                  {object{"pointers": []any{"/" + long[:1024]}}, "pointers has an item longer than 1 KiB"},
		"a map of many":                   {object{"map": entries(1001)}, "map has more than 1000 entries"},
		"a map of many as text":           {object{"map": asJSON(t, entries(1001))}, "map has more than 1000 entries"},
		"a map of many, nested":           {object{"map": object{"a": []any{entries(1000)}}}, "map has more than 1000 entries"},
		"a map of a long name":            {object{"map": object{long[:257]: "v"}}, "map has an entry whose name is longer than 256 bytes"},
		"a map of a long name as text":    {object{"map": long[:257] + "=v"}, "map has an entry whose name is longer than 256 bytes"},
		"a map of a long name, nested":    {object{"map": object{"a": object{long[:257]: "v"}}}, "map has an entry whose name is longer than 256 bytes"},
		"a map of long values":            {object{"pairs": object{"a": long}}, "pairs is larger than 256 KiB"},
		"a long text":                     {object{"text": long}, "text is larger than 256 KiB"},
		"a long number":                   {object{"n": strings.Repeat("0", 65)}, "n is larger than 64 bytes"},
		"a long truth":                    {object{"flag": long}, "flag is larger than 64 bytes"},
		"much in all":                     {object{"text": long[:200<<10], "more": long[:200<<10], "most": long[:200<<10]}, "text brings the request to more than 512 KiB"},
		"many fields":                     {entries(1001), "request has more than 1000 fields"},
		"a long name of a field":          {object{long: "v"}, "unknown field"},
		"as much as there may be":         {object{"scopes": many(1000), "map": entries(1000), "text": long[:256<<10], "n": "0000000000000001"}, ""},
		"a map with as many, nested":      {object{"map": object{"a": entries(999)}}, ""},
		"a list as text, and as many":     {object{"scopes": strings.Join(many(1000), ",")}, ""},
		"nothing but commas":              {object{"scopes": strings.Repeat(",", 64<<10)}, ""},
		"brackets beyond what JSON takes": {object{"scopes": strings.Repeat("[", 64<<10)}, "scopes has an item longer than 1 KiB"},
	} {
		prompt(t, name, func() {
			_, err := Canonical(lists, test.raw)
			if test.says == "" {
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				return
			}
			wantInvalid(t, err, test.says, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx")
			if err != nil && len(err.Error()) > 2000 {
				t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
			}
		})
	}
}

func TestNearestIsForNamesOnly(t *testing.T) {
	t.Parallel()
	prompt(t, "a long name", func() {
		if got := Nearest(strings.Repeat("x", 1<<20), many(1000)); got != "" {
			t.Errorf("got %q", got)
		}
	})
	prompt(t, "long known names", func() {
		if got := Nearest("x", []string{strings.Repeat("x", 1<<20), "xy"}); got != "xy" {
			t.Errorf("got %q", got)
		}
	})
}

func TestListedIsShort(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		in   []string
		want string
	}{
		{nil, ""}, {[]string{"a"}, "a"}, {[]string{"a", "b"}, "a, b"}, {many(20), strings.Join(many(20), ", ")},
		{many(22), strings.Join(many(20), ", ") + " and 2 more"},
		{[]string{"a", strings.Repeat("x", 1024), "c"}, "a and 2 more"},
	} {
		if got := Listed(test.in); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// laughs returns variables that each name the previous one several times.
func laughs(n, times int, member, last string) object {
	out := object{"v0": object{member: last}}
	for i := range n {
		out[fmt.Sprintf("v%d", i+1)] = object{member: strings.Repeat(fmt.Sprintf("{v%d}", i), times)}
	}
	return out
}

func TestTextsThatGrowWithEachVariableAreRefused(t *testing.T) {
	t.Parallel()
	const says = "is longer than 64 KiB"
	filters := strings.Repeat("|hex", 8)
	for name, definition := range map[string]object{
		"defaults":           {"variables": laughs(60, 2, "default", "lol")},
		"computed":           {"variables": laughs(60, 2, "value", "lol")},
		"ten at a time":      {"variables": laughs(10, 10, "default", "lol")},
		"used":               {"variables": laughs(60, 2, "default", "lol"), "parameters": object{"p": "{v60}"}},
		"in the host":        {"variables": laughs(60, 2, "default", "lol"), "token_url": "https://{v60}.example.com/"},
		"by filters":         {"variables": object{"v": object{"default": strings.Repeat("x", 1000)}, "w": object{"value": "{v" + filters + "}"}}},
		"all together":       {"variables": laughs(100, 1, "default", strings.Repeat("x", 30<<10))},
		"already as written": {"variables": object{"v": object{"default": strings.Repeat("x", 65<<10)}}},
	} {
		l, err := Canonical(DefinitionFields(), definition)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		prompt(t, name, func() { wantInvalid(t, Check(l), says, "lol", "xxxx") })
		prompt(t, name+", by a config", func() {
			_, err := asked(t, definition, object{"token_url": plainURL})
			wantInvalid(t, err, says, "lol", "xxxx")
		})
	}
	// The config's own values can make a text too long as well.
	big := object{"v": strings.Repeat("y", 50<<10)}
	for name, definition := range map[string]object{
		"a variable twice":     {"token_url": plainURL, "parameters": object{"p": "{v}{v}"}},
		"a filter":             {"token_url": plainURL, "parameters": object{"p": "{v|hex}"}},
		"twenty-one of them":   {"token_url": plainURL, "parameters": object{"p": slices.Repeat([]any{"{v}"}, 21)}},
		"a query":              {"token_url": plainURL + "?a={v}&b={v}"},
		"a path":               {"token_url": plainURL + "/{v}/{v}"},
		"a query and its path": {"token_url": plainURL + "/{v}?a={v}"},
	} {
		definition["variables"] = object{"v": object{}}
		prompt(t, name, func() {
			_, err := asked(t, definition, object{"variables": big})
			wantInvalid(t, err, says, "yyyy")
		})
	}
	if _, err := asked(t, object{"token_url": plainURL, "variables": object{"v": object{}}, "parameters": object{"p": slices.Repeat([]any{"{v}"}, 20)}}, object{"variables": big}); err != nil {
		t.Errorf("a text of 50 KiB, twenty times: %v", err)
	}
}

// A short text can require that the engine hashes and signs much.
func TestFiltersThatTakeTooLongAreRefused(t *testing.T) {
	t.Parallel()
	pair := newKeyPair(t, signing.RS256)
	big := strings.Repeat("y", 60<<10)
	for name, config := range map[string]object{
		"hashes":             {"parameters": object{"p": strings.Repeat("{v|sha512|base64}", 500)}},
		"hashes, by HMAC":    {"parameters": object{"p": strings.Repeat("{v|hmac_sha256:client_secret|hex}", 500)}},
		"in many parameters": {"parameters": object{"p": slices.Repeat([]any{"{v|md5|hex}{v|md5|hex}"}, 300)}},
		"in headers":         {"request_headers": object{"X-A": strings.Repeat("{v|md5|base64url}", 300)}},
		"in a URL":           {"token_url": plainURL + "?a=" + strings.Repeat("{v|md5|hex}", 500)},
		"signatures":         {"parameters": object{"p": slices.Repeat([]any{"{client_id|rsa_sha256:private_key|hex}"}, 70)}},
		"of variables":       {"parameters": object{"p": strings.Repeat("{w|hex}", 10)}, "variables": object{"v": big, "w": object{"value": strings.Repeat("{v|sha512}", 300)}}},
	} {
		whole := object{"token_url": plainURL, "private_key": pair.pem, "variables": object{"v": big}}
		maps.Copy(whole, config)
		prompt(t, name, func() {
			_, err := asked(t, object{"variables": object{"v": object{}}}, whole)
			if err == nil {
				t.Errorf("%s: was accepted", name)
			}
			wantInvalid(t, err, "has filters that read more than 16384 KiB together, or sign more than 64 times", "yyyy", "the-secret")
		})
	}
	if _, err := asked(t, object{"variables": object{"v": object{}}}, object{
		"token_url": plainURL, "private_key": pair.pem, "variables": object{"v": big},
		"parameters": object{"p": slices.Repeat([]any{"{v|sha256|hex}"}, 50), "q": slices.Repeat([]any{"{client_id|rsa_sha256:private_key|hex}"}, 5)},
	}); err != nil {
		t.Errorf("fifty hashes and five signatures: %v", err)
	}
}

// Finding out whether a variable is made of a secret must be as quick as finding
// its value.
func TestManyPathsToASecretAreOneStepEach(t *testing.T) {
	t.Parallel()
	for last, secret := range map[string]bool{"{client_secret}": true, "{client_id}": false} {
		prompt(t, last, func() {
			e, err := newEnvironment(mustDeclare(t, laughs(60, 2, "default", last)), Registration{}, false)
			if err != nil {
				t.Fatal(err)
			}
			if got := e.isSecret("v60"); got != secret {
				t.Errorf("made of %s: secret: %t", last, got)
			}
		})
	}
}

func mustDeclare(t *testing.T, raw object) map[string]Variable {
	t.Helper()
	out, err := declarations(raw)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPatternsAreMatchedInLittleTime(t *testing.T) {
	t.Parallel()
	_, err := asked(t, object{"token_url": plainURL, "variables": object{"v": object{"pattern": strings.Repeat("(a?){900}", 20)}}}, nil)
	wantInvalid(t, err, "no regular expression (RE2 syntax), or one of more than 1000 steps")
	_, err = asked(t, object{"token_url": plainURL, "parameters": "p={v}", "variables": object{"v": object{"pattern": "a*"}}}, object{"variables": object{"v": strings.Repeat("a", 1025)}})
	wantInvalid(t, err, "must not be longer than 1 KiB")
	_, err = asked(t, object{"token_url": plainURL, "parameters": object{"p": "{client_id" + strings.Repeat("|lower", 9) + "}"}}, nil)
	wantInvalid(t, err, "more than 8 filters")
}

func BenchmarkRefusingALongList(b *testing.B) {
	fields, scopes := []Field{{Name: "scopes", Type: Texts}}, strings.Join(many(120_000), ",")
	b.Logf("%d KiB of scopes", len(scopes)>>10)
	for b.Loop() {
		if _, err := Canonical(fields, object{"scopes": scopes}); err == nil {
			b.Fatal("was accepted")
		}
	}
}

func BenchmarkTakingTheLongestList(b *testing.B) {
	fields, scopes := []Field{{Name: "scopes", Type: Texts}}, strings.Join(many(1000), ",")
	for b.Loop() {
		if _, err := Canonical(fields, object{"scopes": scopes}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRefusingABomb(b *testing.B) {
	l, err := Canonical(DefinitionFields(), object{"variables": laughs(60, 2, "default", "lol")})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if Check(l) == nil {
			b.Fatal("was accepted")
		}
	}
}
