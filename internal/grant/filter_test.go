// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// read reads a JSON answer with these members. headers are pairs of a name and a value.
func read(t *testing.T, r Request, members map[string]any, headers ...string) (*Token, *Error) {
	t.Helper()
	b, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	got := reply{status: http.StatusOK, header: http.Header{"Content-Type": {asJSON}}, body: b}
	for pair := range slices.Chunk(headers, 2) {
		got.header.Add(pair[0], pair[1])
	}
	token, err := readAnswer(r, got, clock(), redactorFor(r))
	var e *Error
	if err != nil && !errors.As(err, &e) {
		t.Fatalf("got a %T", err)
	}
	return token, e
}

// wholeEncodings returns the encodings that keep all of a text.
func wholeEncodings() map[string]func(string) string {
	out := encodings()
	delete(out, "broken lines")
	out["base64 in lines"] = func(s string) string {
		var b strings.Builder
		for c := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString([]byte(s))), 12) {
			b.Write(append(c, '\n'))
		}
		return b.String()
	}
	out["hex of base64"] = func(s string) string { return hex.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte(s)))) }
	out["base64 of hex"] = func(s string) string { return base64.StdEncoding.EncodeToString([]byte(hex.EncodeToString([]byte(s)))) }
	return out
}

// A user who may write a config can point at any member of any answer from the
// same origin, including an endpoint that repeats the request.
func TestNoMemberHandsOutACredential(t *testing.T) {
	t.Parallel()
	for name, secret := range awkwardSecrets() {
		for how, encode := range wholeEncodings() {
			sent := encode(secret)
			for field, set := range map[string]func(*Request){
				"client_secret": func(r *Request) { r.ClientSecret = secret },
				"password":      func(r *Request) { r.Password = secret },
				"refresh_token": func(r *Request) { r.RefreshToken = secret },
				"another":       func(r *Request) { r.Secrets = []string{secret} },
			} {
				if field != "another" && how != "base64 twice" {
					continue // all fields are in one list of secrets, so one encoding is enough
				}
				r := standardRequest("")
				r.Scopes = []string{"asked"}
				set(&r)
				r.Answer.Extra = map[string]Pointer{
					"plain": "/sent", "list": "/in", "name": "/names", "text": "/text", "header": "header:X-Sent", "repeated": "header:x-again", "fine": "/fine",
				}
				text, _ := json.Marshal(map[string]any{"x": sent})
				members := map[string]any{
					"access_token": "tok", "expires_in": 60, "token_type": sent, "scope": sent, "sent": sent,
					"in": []any{map[string]any{"deep": "It is " + sent}}, "names": map[string]any{sent: 1}, "text": string(text), "fine": "fine",
				}
				headers := []string{"X-Sent", inHeaderOf(sent), "X-Again", "It is " + inHeaderOf(sent)}
				got, e := read(t, r, members, headers...)
				if e != nil {
					t.Fatalf("%s, %s, %s: %v", name, how, field, e)
				}
				if got.TokenType != "Bearer" || got.Scope != "asked" || !reflect.DeepEqual(got.Extra, map[string]any{"fine": "fine"}) {
					t.Errorf("%s, %s, %s: hands out %+v", name, how, field, got)
				}
				r.Answer.TokenType, r.Answer.Scope = []Pointer{"header:X-Sent"}, []Pointer{"header:X-Sent"}
				if got, e := read(t, r, members, headers...); e != nil || got.TokenType != "Bearer" || got.Scope != "asked" {
					t.Errorf("%s, %s, %s: hands out of a header %+v, %v", name, how, field, got, e)
				}
				if _, usable := tokenText(sent); !usable {
					continue
				}
				for _, at := range []Pointer{"/sent", "header:X-Sent"} {
					r.Answer.AccessToken = []Pointer{at}
					got, e = read(t, r, members, headers...)
					if got != nil || e.Kind != Misconfigured || !strings.Contains(e.Detail, strconv.Quote(string(at))) || !strings.Contains(e.Remedy, "set access_token_pointer") {
						t.Errorf("%s, %s, %s: as the token: %+v, %v", name, how, field, got, e)
					} else if givesAway(e.Error(), secret, encode) != "" {
						t.Errorf("%s, %s, %s: the error repeats it: %v", name, how, field, e)
					}
				}
			}
		}
	}
}

// inHeaderOf returns the text as Go's servers write it into a header and clients
// read it.
func inHeaderOf(text string) string {
	return strings.TrimSpace(strings.NewReplacer("\n", " ", "\r", " ").Replace(text))
}

// A request may send a secret as a part of a longer text.
func TestWhatIsMadeOfAShortSecretIsNotHandedOut(t *testing.T) {
	t.Parallel()
	r := standardRequest("")
	r.ClientSecret, r.Password, r.GrantType, r.Username = "hunter2", "pin", GrantPassword, "user"
	r.Names = map[string]string{"client_secret": "clientSecret"}
	r.Secrets, r.Composed = []string{"9351"}, []string{"version-1-9351"}
	for what, sent := range map[string]any{
		"itself":                     "hunter2",
		"itself in base64":           "aHVudGVyMg==",
		"itself in hex":              "68756e74657232",
		"itself, spaced":             " hunter2\n",
		"a number":                   9351,
		"a number in text":           "9351",
		"Basic":                      "Basic " + base64.StdEncoding.EncodeToString([]byte("the-client:hunter2")),
		"Basic, twice":               base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte("the-client:hunter2")))),
		"a text that holds it":       "version-1-9351",
		"the same in base64":         base64.StdEncoding.EncodeToString([]byte("it is version-1-9351")),
		"the request":                "grant_type=password&clientSecret=hunter2&x=y",
		"the request, encoded":       url.QueryEscape("grant_type=password&password=pin"),
		"the request as JSON":        `{"grant_type":"password","password":"pin"}`,
		"the request in base64":      base64.RawURLEncoding.EncodeToString([]byte("a=b&clientSecret=hunter2")),
		"one of a list":              []any{"x", "hunter2"},
		"the request by its members": map[string]any{"password": "pin"},
	} {
		r.Answer.Extra = map[string]Pointer{"x": "/sent"}
		got, e := read(t, r, map[string]any{"access_token": "tok", "expires_in": 60, "sent": sent})
		if e != nil || got.Extra != nil {
			t.Errorf("%s: %v, %v", what, got, e)
		}
	}
}

func TestGoodMembersSurvive(t *testing.T) {
	t.Parallel()
	claims := `{"iss":"https://id.example.com/realms/x","azp":"the-client","client_id":"the-client","gty":"password","sub":"user","amr":["pin"],"pwd":"hunter2",` +
		`"scope":"read:accounts write","note":"the-secret-of-the","exp":1767326645}`
	r := standardRequest("")
	r.ClientSecret, r.Password, r.GrantType, r.Username = "the-secret-of-the-client", "hunter2", GrantPassword, "user"
	r.Scopes = []string{"read:accounts", "write"}
	// These secrets are also texts that the request shows anyway.
	r.Secrets = []string{"", "the-client", "password", "pin", "read:accounts"}
	long := strings.Repeat(jwt(claims), 60)
	r.Answer.Extra = map[string]Pointer{"id": "/id_token", "long": "/long", "list": "/list"}
	members := map[string]any{
		"access_token": jwt(claims), "id_token": jwt(claims), "long": long, "scope": "read:accounts write", "token_type": "bearer",
		"refresh_token": "refreshing", "refresh_token_expires_in": 1209600,
		"list": []any{"a pin in the text", "hunter22", "https://x.example/the-client/hunter2", 60, nil, true, map[string]any{}},
	}
	got, e := read(t, r, members)
	if e != nil {
		t.Fatal(e)
	}
	if got.AccessToken != jwt(claims) || got.TokenType != "bearer" || got.Scope != "read:accounts write" || got.RefreshToken != "refreshing" ||
		got.Extra["id"] != jwt(claims) || got.Extra["long"] != long || got.Extra["list"] == nil {
		t.Errorf("got %+v", got)
	}
	// If the whole token is such a secret, it is refused nevertheless.
	for _, secret := range []string{"the-client", "hunter2"} {
		members["access_token"] = secret
		if got, e := read(t, r, members); e == nil {
			t.Errorf("hands out %s", got.AccessToken)
		}
	}
}

func TestALifetimeIsNoCredential(t *testing.T) {
	t.Parallel()
	r := standardRequest("")
	r.ClientSecret, r.Secrets = "31415926535", []string{"3600"}
	got, e := read(t, r, map[string]any{"access_token": "tok", "expires_in": 3600})
	if e != nil || got.Lifetime != LifetimeExpiresIn {
		t.Errorf("a lifetime that a short secret equals: %+v, %v", got, e)
	}
	for _, sent := range []any{"31415926535", 31415926535} {
		for _, change := range []func(*Answer){
			func(a *Answer) { a.ExpiresIn = []Pointer{"/sent"} }, func(a *Answer) { a.ExpiresAt = []Pointer{"/sent"} },
		} {
			r := r
			change(&r.Answer)
			if got, e := read(t, r, map[string]any{"access_token": "tok", "sent": sent}); e == nil {
				t.Errorf("hands out a lifetime until %s", got.ExpiresAt)
			}
		}
	}
}

func TestAnAccessTokenIsInNoError(t *testing.T) {
	t.Parallel()
	for _, at := range []Pointer{"/error", "/description"} {
		for _, status := range []int{200, 400} {
			r := standardRequest("")
			r.Answer.ErrorDescription = []Pointer{"/description"}
			body := fmt.Sprintf(`{"access_token":"a live-token", %q:"a live-token"}`, at[1:])
			_, err := readAnswer(r, reply{status: status, body: []byte(body)}, clock(), redactorFor(r))
			if err == nil || strings.Contains(err.Error(), "live") {
				t.Errorf("%d, %s: %v", status, at, err)
			}
		}
	}
}

// Some answers write a word for "no token". Errors that contain this word must
// still be shown.
func TestAWordInPlaceOfATokenHidesNoWords(t *testing.T) {
	t.Parallel()
	const words = "none of the grants is null or an error"
	for _, none := range []string{"none", "null", "e", "error", ""} {
		r := standardRequest("")
		body := fmt.Sprintf(`{"access_token":%q,"refresh_token":%q,"error":"denied","error_description":%q}`, none, none, words)
		_, err := readAnswer(r, reply{status: http.StatusBadRequest, body: []byte(body)}, clock(), redactorFor(r))
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", none, err)
		}
	}
}

// A pointer leads into text that is JSON, and a form is split at "&". So a part
// of a credential can become a value.
func TestNoPartOfARepeatedCredentialIsHandedOut(t *testing.T) {
	t.Parallel()
	key := `{"type":"service_account","private_key":"-----BEGIN-KEY-----MIIEvQIBADANBgkq","client_email":"x@example.com"}`
	text, _ := json.Marshal(key) //nolint:errchkjson // a text
	for name, tc := range map[string]struct {
		secret, typ, body string
		at                Pointer
	}{
		"a member of JSON":            {key, asJSON, `{"access_token":"tok","expires_in":60,"sent":` + string(text) + `}`, "/sent/private_key"},
		"a member of JSON, unquoted":  {key, asJSON, `{"access_token":"tok","expires_in":60,"sent":` + key + `}`, "/sent/private_key"},
		"a pair of a form":            {"one-half-of-it&more=the-other-half", asForm, "access_token=tok&expires_in=60&sent=one-half-of-it&more=the-other-half", "/more"},
		"the first of a form's pairs": {"one-half-of-it&more=the-other-half", asForm, "access_token=tok&expires_in=60&sent=one-half-of-it&more=the-other-half", "/sent"},
	} {
		r := standardRequest("")
		r.Secrets = []string{tc.secret}
		r.Answer.Extra = map[string]Pointer{"x": tc.at, "type": "/token_type"}
		got := reply{status: http.StatusOK, header: http.Header{"Content-Type": {tc.typ}}, body: []byte(tc.body)}
		token, err := readAnswer(r, got, clock(), redactorFor(r))
		if err != nil || token.AccessToken != "tok" || token.Extra != nil {
			t.Errorf("%s: %+v, %v", name, token, err)
		}
		r.Answer.AccessToken = []Pointer{tc.at}
		if token, err := readAnswer(r, got, clock(), redactorFor(r)); err == nil {
			t.Errorf("%s: hands out the token %s", name, token.AccessToken)
		}
	}
}

// latin1 returns the text as a server that knows only Latin-1 writes it.
func latin1(text string) string {
	var out []byte
	for _, c := range text {
		out = append(out, byte(min(c, 0xff)))
	}
	return string(out)
}

func toASCII(c rune) rune {
	if c > '~' {
		return '?'
	}
	return c
}

// If an endpoint repeats the request, the author of the request's template
// chooses the text around a credential, and so how it is parsed: in a form, a +
// becomes a space; in JSON, a \n becomes a line break.
func TestWhatReadingMakesOfARawEchoIsNotHandedOut(t *testing.T) {
	t.Parallel()
	secrets := awkwardSecrets()
	secrets["base64 with +"] = "q+Zr7+pK/w9+xA=="
	secrets["percent"] = "50%25-of-it-%41nd"
	secrets["entities"] = "one&amp;two&lt;three&#65;four"
	secrets["the end of a string"] = `the-one-half","more":"the-other-half`
	secrets["the end of an attribute"] = `the-one-half" more="the-other-half`
	secrets["the end of an element"] = `the-one-half</sent><sent>the-other-half`
	secrets["half beyond ASCII"] = "plain-and-then-ü-and-plain-again"
	itself := func(s string) string { return s }
	read := map[string]func(string) string{
		"Latin-1": itself, "a question mark": itself,
		"a form": func(s string) string { s, _ = url.QueryUnescape(s); return s },
		"XML":    html.UnescapeString,
		"JSON": func(s string) string {
			var text string
			_ = json.Unmarshal([]byte(`"`+s+`"`), &text)
			return text
		},
	}
	for name, secret := range secrets {
		for format, body := range map[string]string{
			"a form":               "access_token=tok&expires_in=60&sent=" + secret,
			"JSON":                 `{"access_token":"tok","expires_in":60,"sent":"` + secret + `"}`,
			"XML":                  `<r><access_token>tok</access_token><expires_in>60</expires_in><sent>` + secret + `</sent></r>`,
			"XML, in an attribute": `<r><access_token>tok</access_token><expires_in>60</expires_in><sent more="` + secret + `"/></r>`,
			"Latin-1":              `{"access_token":"tok","expires_in":60,"sent":"` + latin1(secret) + `"}`,
			"a question mark":      `{"access_token":"tok","expires_in":60,"sent":"` + strings.Map(toASCII, secret) + `"}`,
		} {
			r := standardRequest("")
			r.ClientSecret = secret
			r.Answer.AccessToken, r.Answer.ExpiresIn = append(r.Answer.AccessToken, "/r/access_token"), append(r.Answer.ExpiresIn, "/r/expires_in")
			r.Answer.Extra = map[string]Pointer{}
			for i, p := range []Pointer{"/sent", "/more", "/r/sent", "/r/more", "/r/sent/@more", "/r/sent/more"} {
				r.Answer.Extra[strconv.Itoa(i)] = p
			}
			typ := map[string]string{"a form": asForm}[format]
			got, err := readAnswer(r, reply{status: http.StatusOK, header: http.Header{"Content-Type": {typ}}, body: []byte(body)}, clock(), redactorFor(r))
			if err != nil {
				continue // not an answer of this format
			}
			for _, v := range got.Extra {
				for how, what := range map[string]string{"as it is": secret, format: read[strings.TrimSuffix(format, ", in an attribute")](secret)} {
					for i := 0; i+window <= len(what); i++ {
						if text := fmt.Sprint(v); strings.Contains(text, what[i:i+window]) {
							t.Errorf("%s, in %s, %s: hands out %q", name, format, how, text)
							break
						}
					}
				}
			}
		}
	}
}
