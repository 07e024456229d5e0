// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

// asked returns the request that a config makes at a provider with that
// definition.
func asked(t *testing.T, definition, config object) (grant.Request, error) {
	t.Helper()
	l, err := Canonical(DefinitionFields(), definition)
	if err != nil {
		return grant.Request{}, err
	}
	whole := object{"client_id": "the-client", "client_secret": "the-secret-value"}
	maps.Copy(whole, config)
	e, err := resolveConfig(l, whole)
	if err != nil {
		return grant.Request{}, err
	}
	return e.Request()
}

const plainURL = "https://api.example.com/token"

// The value of a parameter can be any text, so most rules are tested there.
func TestPlaceholdersInAParameter(t *testing.T) {
	t.Parallel()
	declared := object{
		"plain": object{}, "opt": object{"optional": true}, "def": object{"default": "dflt"}, "from": object{"default": "{def}-{plain}"},
		"calc": object{"value": "{client_id}:{client_secret}"}, "calc2": object{"value": "<{calc|base64}>"},
		"pat": object{"pattern": "[a-z]+"}, "enum": object{"enum": []any{"x", "y"}, "optional": true}, "hush": object{"secret": true, "optional": true},
		"loop": object{"value": "{pool}", "description": "d"}, "pool": object{"value": "{loop}"}, "me": object{"default": "{me}"},
		"broken": object{"default": "{def}{opt}"}, "brace": object{"default": "{{def}}"},
	}
	given := object{"plain": "v {def} {{x}}", "pat": "abc"}
	for text, want := range map[string]string{ // a want that begins with ! is a part of the refusal
		"literal": "literal", "": "", "{plain}": "v {def} {{x}}", "a{plain}b": "av {def} {{x}}b",
		"{{plain}}": "{plain}", "{{{pat}}}": "{abc}", "{{": "{", "}}": "}", "}}{{": "}{", "{{}}": "{}", `{{"a":1}}`: `{"a":1}`,
		"{def}": "dflt", "{from}": "dflt-v {def} {{x}}", "{calc}": "the-client:the-secret-value", "{brace}": "{def}",
		"{calc2}":        "<dGhlLWNsaWVudDp0aGUtc2VjcmV0LXZhbHVl>",
		"{client_id}":    "the-client",
		"{pat|upper}":    "ABC",
		"{plain|base64}": "diB7ZGVmfSB7e3h9fQ==", "{plain|base64url}": "diB7ZGVmfSB7e3h9fQ", "{plain|hex}": "76207b6465667d207b7b787d7d",
		"{plain|urlencode}": "v+%7Bdef%7D+%7B%7Bx%7D%7D", "{plain|upper|lower}": "v {def} {{x}}", "{pat|hex|upper|base64}": "NjE2MjYz",
		"{opt}": "unset", "{pat}{opt}": "unset", "{enum}": "unset", "{hush}": "unset", "{opt|base64}": "unset", "{broken}": "unset",
		"{plian}":              "!names {plian}, which is not defined; did you mean {plain}?",
		"{completely_unknown}": "!which is not defined; declare it, or write {{ and }} for literal braces",
		"{clientid}":           "!did you mean {client_id}?",
		"{plain|bas64}":        `!names the unknown filter "bas64"; there are base64, base64_decode, base64url, hex, hmac_md5, hmac_sha1,`,
		"{plain|}":             "!braces without a placeholder",
		"{plain |upper}":       "!braces without a placeholder",
		"{Plain}":              "!braces without a placeholder",
		"{1a}":                 "!braces without a placeholder",
		"{}":                   "!braces without a placeholder",
		"{ plain }":            "!braces without a placeholder",
		"{plain":               "!single brace",
		"plain}":               "!single brace",
		"{":                    "!single brace",
		`{"a":1}`:              "!braces without a placeholder",
		"{plain{pat}}":         "!braces without a placeholder",
		"{username}":           "!needs username, which is not set",
		"{loop}":               "!circle: loop, pool, loop",
		"{me}":                 "!circle: me, me",
	} {
		r, err := asked(t, object{"token_url": plainURL, "variables": declared, "parameters": object{"p": text}}, object{"variables": given})
		if refusal, refused := strings.CutPrefix(want, "!"); refused {
			wantInvalid(t, err, refusal, "the-secret", "v {def}")
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		got, set := r.Parameters["p"]
		if set != (want != "unset") || set && got != want {
			t.Errorf("%q: got %#v, want %q", text, got, want)
		}
	}
}

func TestAnUnsetOptionalDropsItsWholeParameterHeaderOrPair(t *testing.T) {
	t.Parallel()
	r, err := asked(t, object{
		"token_url": plainURL + "?a={opt}&b=x{opt}&c={set}&d&e=", "variables": object{"opt": object{"optional": true}, "set": object{}},
		"parameters":      object{"deep": object{"list": []any{"x", object{"y": "{opt}"}}}, "list": []any{"{set}", float64(1), nil, object{"k": "{set}"}}, "n": float64(1)},
		"request_headers": object{"X-Opt": "a {opt}", "X-Set": "a {set}", "X-Empty": ""},
	}, object{"variables": object{"set": "v"}})
	if err != nil {
		t.Fatal(err)
	}
	if r.URL != plainURL+"?c=v&d&e=" {
		t.Errorf("URL %s", r.URL)
	}
	if want := (object{"list": []any{"v", float64(1), nil, object{"k": "v"}}, "n": float64(1)}); !reflect.DeepEqual(r.Parameters, want) {
		t.Errorf("parameters %v", r.Parameters)
	}
	if want := map[string]string{"X-Set": "a v", "X-Empty": ""}; !reflect.DeepEqual(r.Headers, want) {
		t.Errorf("headers %v", r.Headers)
	}
}

func TestAnEmptyStringIsSent(t *testing.T) {
	t.Parallel()
	r, err := asked(t, object{
		"token_url": plainURL + "?a={opt}", "variables": object{"opt": object{"optional": true}},
		"parameters": object{"p": "{opt}"}, "request_headers": object{"X-Opt": "{opt}"},
	}, object{"variables": object{"opt": ""}})
	if err != nil || r.URL != plainURL+"?a=" || r.Parameters["p"] != "" || len(r.Headers) != 1 {
		t.Errorf("got %s, %v, %v, %v", r.URL, r.Parameters, r.Headers, err)
	}
}

func TestNamesOfMembersAreNeverExpanded(t *testing.T) {
	t.Parallel()
	r, err := asked(t, object{"token_url": plainURL, "parameters": object{"{client_id}": object{"{client_secret}": "x"}}}, nil)
	if want := (object{"{client_id}": object{"{client_secret}": "x"}}); err != nil || !reflect.DeepEqual(r.Parameters, want) {
		t.Errorf("got %v, %v", r.Parameters, err)
	}
	_, err = asked(t, object{"token_url": plainURL, "request_headers": object{"X-{client_id}": "x"}}, nil)
	wantInvalid(t, err, "request_headers holds something that is not a header name")
}

func TestDeclarationsAndTheirValues(t *testing.T) {
	t.Parallel()
	const value = "hidden"
	for name, tc := range map[string]struct {
		declared, variables, secrets object
		refusal                      string
	}{
		"pattern":                        {declared: object{"v": object{"pattern": "[a-z]+"}}, variables: object{"v": "abc"}},
		"a pattern is for the whole":     {declared: object{"v": object{"pattern": "[a-z]"}}, variables: object{"v": value}, refusal: `variables holds a value for "v" that must match [a-z]`},
		"alternatives, too":              {declared: object{"v": object{"pattern": "a|b"}}, variables: object{"v": "bc" + value}, refusal: "must match a|b"},
		"and up to its end":              {declared: object{"v": object{"pattern": "[a-z]+"}}, variables: object{"v": "abc\n"}, refusal: "must match"},
		"even in several lines":          {declared: object{"v": object{"pattern": "(?m)[a-z]+"}}, variables: object{"v": "abc\n" + value}, refusal: "must match"},
		"a pattern that closes early":    {declared: object{"v": object{"pattern": "a)|(?:.*"}}, refusal: "no regular expression"},
		"a pattern that quotes the rest": {declared: object{"v": object{"pattern": `\Qabc`}}, variables: object{"v": "abc"}, refusal: "no regular expression"},
		"a pattern that is none":         {declared: object{"v": object{"pattern": "("}}, refusal: `declares "v", which has a pattern that is no regular expression`},
		"enum":                           {declared: object{"v": object{"enum": []any{"a", "b"}}}, variables: object{"v": "b"}},
		"not of the enum":                {declared: object{"v": object{"enum": []any{"a", "b"}}}, variables: object{"v": value}, refusal: "must be one of a, b"},
		"a default that does not match":  {declared: object{"v": object{"pattern": "[0-9]+", "default": "abc"}}, refusal: "must match"},
		"unset":                          {declared: object{"v": object{"description": "what it is"}}, refusal: `needs the variable "v" (what it is), which is not set: write variables=v=…`},
		"unset and secret":               {declared: object{"v": object{"secret": true}}, refusal: "write secret_variables=v=…"},
		"secret":                         {declared: object{"v": object{"secret": true}}, secrets: object{"v": value}},
		"secret among the others":        {declared: object{"v": object{"secret": true}}, variables: object{"v": value}, refusal: `variables holds "v", which is a secret: write it to secret_variables`},
		"not secret, and kept secret":    {declared: object{"v": object{}}, secrets: object{"v": value}},
		"a secret that does not match":   {declared: object{"v": object{"secret": true, "pattern": "[0-9]"}}, secrets: object{"v": value}, refusal: `secret_variables holds a value for "v"`},
		"both":                           {declared: object{"v": object{}}, variables: object{"v": value}, secrets: object{"v": value}, refusal: "already has a meaning"},
		"computed":                       {declared: object{"v": object{"value": "x"}}, variables: object{"v": value}, refusal: "computes itself"},
		"computed, as a secret":          {declared: object{"v": object{"value": "x"}}, secrets: object{"v": value}, refusal: "does not allow"},
		"computed and optional":          {declared: object{"v": object{"value": "x", "optional": true}}, refusal: "is computed (value), so it takes no"},
		"undeclared, but named":          {variables: object{"v": "x"}},
		"undeclared, and secret":         {secrets: object{"v": "x"}},
		"undeclared and not named":       {variables: object{"v": "x", "w": value}, refusal: `holds "w", which no placeholder uses: did you mean "v"?`},
		"not named, and unlike any":      {variables: object{"v": "x", "something": value}, refusal: `holds "something", which the provider does not declare and no placeholder uses`},
		"a credential's name":            {variables: object{"v": "x", "client_id": value}, refusal: `holds "client_id": write the field of that name`},
		"a credential's name, secret":    {variables: object{"v": "x"}, secrets: object{"password": value}, refusal: `secret_variables holds "password"`},
		"a credential's name, declared":  {declared: object{"client_id": object{}}, refusal: "is the name of a credential"},
		"no name":                        {variables: object{"v": "x", "A " + value: "y"}, refusal: "variables holds a name that cannot be a placeholder"},
		"no name, secret":                {variables: object{"v": "x"}, secrets: object{"A " + value: "y"}, refusal: "secret_variables holds a name that cannot be a placeholder"},
		"no name, declared":              {declared: object{"V": object{}}, refusal: `declares "V", which is no name for a placeholder`},
		"no object":                      {declared: object{"v": value}, refusal: "must be an object of description, example, default"},
		"an unknown member":              {declared: object{"v": object{"regex": value}}, refusal: "must be an object of description, example, default"},
		"a member of another type":       {declared: object{"v": object{"optional": value}}, refusal: "must be an object of description, example, default"},
		"a default that names nothing":   {declared: object{"v": object{"default": "{nix}"}}, refusal: `declares "v", whose text names {nix}, which is not defined`},
		"a default with a brace":         {declared: object{"v": object{"default": "{"}}, refusal: "single brace"},
	} {
		definition := object{"token_url": plainURL, "parameters": object{"p": "{v}"}}
		if tc.declared != nil {
			definition["variables"] = tc.declared
		}
		r, err := asked(t, definition, object{"variables": tc.variables, "secret_variables": tc.secrets})
		if tc.refusal != "" {
			if err == nil {
				t.Errorf("%s: accepted", name)
			}
			wantInvalid(t, err, tc.refusal, value)
			continue
		}
		if _, set := r.Parameters["p"]; err != nil || !set {
			t.Errorf("%s: %v, %v", name, r.Parameters, err)
		}
	}
}

// A config can describe a signed request even if its provider declares nothing.
func TestAConfigComputesVariablesOfItsOwn(t *testing.T) {
	t.Parallel()
	const secret = "the-secret-value"
	calc := func(value string) object { return object{"value": value} }
	declared := object{"tenant": object{"pattern": "[a-z]+"}, "hush": object{"secret": true, "optional": true}, "made": object{"value": "x"}, "opt": object{"optional": true}}
	for name, tc := range map[string]struct {
		variables object
		text      string
		want      string // if it begins with !, a part of the refusal
	}{
		"a template":                    {object{"v": calc("{client_id}:{client_secret}"), "tenant": "acme"}, "{v|base64}", "dGhlLWNsaWVudDp0aGUtc2VjcmV0LXZhbHVl"},
		"text with braces stays":        {object{"v": "{client_id}"}, "{v}", "{client_id}"},
		"of another":                    {object{"v": calc("{w}-{w}"), "w": calc("{tenant|upper}"), "tenant": "acme"}, "{v}", "ACME-ACME"},
		"of one that is unset":          {object{"v": calc("{opt}")}, "{v}", "unset"},
		"that its pattern refuses":      {object{"tenant": calc("{client_id}")}, "{tenant}", `!names the variable "tenant", which must match [a-z]+`},
		"that its pattern takes":        {object{"tenant": calc("acme")}, "{tenant}", "acme"},
		"instead of a secret":           {object{"hush": calc(secret)}, "{hush}", `!variables holds "hush", which is a secret: write it to secret_variables`},
		"instead of a computed one":     {object{"made": calc(secret)}, "{made}", `!variables holds "made", which the provider computes itself`},
		"instead of a credential":       {object{"client_id": calc(secret)}, "{client_id}", `!variables holds "client_id": write the field of that name`},
		"with no name":                  {object{"A " + secret: calc("x")}, "x", "!variables holds a name that cannot be a placeholder"},
		"that nothing names":            {object{"v": calc("x"), "other": calc("y")}, "{v}", `!variables holds "other", which the provider does not declare and no placeholder uses`},
		"that names nothing":            {object{"v": calc("{nothing}")}, "{v}", `!variables holds "v", whose value names {nothing}, which is not defined`},
		"with a brace":                  {object{"v": calc("{")}, "{v}", `!variables holds "v", whose value has a single brace`},
		"in a circle":                   {object{"v": calc("{v}")}, "{v}", "!in a circle: v, v"},
		"that grows":                    {object{"v": calc(strings.Repeat("{w}", 3)), "w": calc(strings.Repeat("x", 30<<10))}, "{v}", "!is longer than 64 KiB"},
		"no object of a value":          {object{"v": object{"default": secret}}, "{v}", `!variables has an entry "v" that must be a string, or an object whose only member is value`},
		"an object of more":             {object{"v": object{"value": "x", "secret": true}}, "{v}", `!must be a string, or an object whose only member is value`},
		"an object of no text":          {object{"v": object{"value": float64(1)}}, "{v}", `!must be a string, or an object whose only member is value`},
		"a list":                        {object{"v": []any{secret}}, "{v}", `!must be a string`},
		"named in secret_variables too": {object{"v": calc("x"), "+": nil}, "{v}", `!secret_variables holds "v", which already has a meaning`},
	} {
		config := object{"token_url": plainURL, "parameters": object{"p": tc.text}}
		if _, also := tc.variables["+"]; also {
			delete(tc.variables, "+")
			config["secret_variables"] = object{"v": secret}
		}
		l, err := Canonical([]Field{{Name: "variables", Type: Givens}}, object{"variables": tc.variables})
		var r grant.Request
		if err == nil {
			config["variables"] = l["variables"]
			r, err = asked(t, object{"variables": declared}, config)
		}
		if refusal, refused := strings.CutPrefix(tc.want, "!"); refused {
			if err == nil {
				t.Errorf("%s: was accepted", name)
			}
			wantInvalid(t, err, refusal, secret)
			continue
		}
		if got, set := r.Parameters["p"]; err != nil || set != (tc.want != "unset") || set && got != tc.want {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
	// If the URL is the config's own, a computed value in a host may hold dots, just
	// as a plain text may.
	r, err := asked(t, nil, object{"token_url": "https://{host}/token", "variables": object{"host": calc("login.{tenant}.example"), "tenant": "acme"}})
	if err != nil || r.URL != "https://login.acme.example/token" {
		t.Errorf("got %s, %v", r.URL, err)
	}
	_, err = asked(t, object{"token_url": "https://{host}/token", "variables": object{"host": object{}}}, object{"variables": object{"host": calc("evil.example")}})
	wantInvalid(t, err, "takes no dot in {host}", "evil")
	// Another value makes another request, and a value that is made from a secret is a
	// secret.
	identity := func(value any) string {
		e, err := resolveConfig(nil, object{"client_id": "c", "client_secret": secret, "token_url": plainURL, "parameters": "p={v}", "variables": object{"v": value}})
		if err != nil {
			t.Fatal(err)
		}
		b, err := e.Identity()
		if err != nil {
			t.Fatal(err)
		}
		shown, err := e.Describe()
		if err != nil || strings.Contains(asJSON(t, shown), secret) {
			t.Errorf("shows %v, %v", shown, err)
		}
		return string(b)
	}
	if identity("{client_secret}") == identity(calc("{client_secret}")) || identity(calc("x")) == identity(calc("y")) {
		t.Error("two requests are one")
	}
	_, err = asked(t, nil, object{"token_url": plainURL + "/{v}", "variables": object{"v": calc("{client_secret}")}})
	wantInvalid(t, err, "names the secret {v} in its host or path", secret)
}
