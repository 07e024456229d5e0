// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

// attemptAt returns the request of an attempt that is made at this time.
func attemptAt(t *testing.T, r grant.Request, now time.Time) grant.Request {
	t.Helper()
	if r.Anew == nil {
		t.Fatal("each attempt is the same")
	}
	r, err := r.Anew(now)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// madeParameter returns the value of a parameter at that time.
func madeParameter(t *testing.T, text string, now time.Time, definition, config object) (any, error) {
	t.Helper()
	whole := object{"token_url": plainURL, "parameters": object{"p": text}}
	for name, v := range config {
		whole[name] = v
	}
	r, err := asked(t, definition, whole)
	if err != nil {
		return nil, err
	}
	return attemptAt(t, r, now).Parameters["p"], nil
}

func TestTheTimeOfAnAttempt(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 15, 6, 7, 89e6, time.FixedZone("", 2*3600)) // 13:06:07.089 UTC
	for text, want := range map[string]string{                               // a want that begins with ! is a part of the refusal
		"{now|rfc3339}": "2026-03-04T13:06:07Z", "{now|unix}": "1772629567", "{now|unix_ms}": "1772629567089", "t={now|unix}.": "t=1772629567.",
		"{now+168h|rfc3339}": "2026-03-11T13:06:07Z", "{now-1h30m|rfc3339}": "2026-03-04T11:36:07Z", "{now+90s|unix}": "1772629657",
		"{now|strftime:%Y-%m-%d %H:%M:%S}": "2026-03-04 13:06:07", "{now+8h|strftime:%Y%m%d%H%M%S}": "20260304210607",
		"{now|strftime:%a, %d %b %Y %H:%M:%S GMT}": "Wed, 04 Mar 2026 13:06:07 GMT", "{now|strftime:%A %e %B %y, %I %p, day %j, %z %T %F %s 100%%}": "Wednesday  4 March 26, 01 PM, day 063, +0000 13:06:07 2026-03-04 1772629567 100%",
		"{now|unix|hex}": "31373732363239353637", "{stamp}": "at 1772629567", "{stamp|upper}": "AT 1772629567",
		"{now}":              "!names {now} without saying how to write it: {now|unix}, {now|unix_ms}, {now|rfc3339} or {now|strftime:%Y-%m-%d}",
		"{now|base64}":       "!names {now} without saying how to write it",
		"{now+1h}":           "!names {now} without saying how to write it",
		"{client_id|unix}":   "!has the filter unix for something else than {now}",
		"{now|unix|rfc3339}": "!has the filter rfc3339 for something else than {now}",
		"{now|strftime}":     "!has the filter strftime without a format: write strftime:%Y-%m-%d",
		"{now|strftime:}":    "!has the filter strftime without a format",
		"{now|strftime:%Q}":  "!has the format of a date with %Q, which is not defined; there are %a %A",
		"{now|strftime:%Y%}": "!has a date format that ends in %: write %% for a literal one",
		"{now|unix:x}":       "!has something behind the filter unix, which takes nothing",
		"{now+1y|unix}":      "!has a placeholder with + after its name, which only {now} takes: {now+1h|unix}, of ten years at most",
		"{now+99999h|unix}":  "!of ten years at most",
		"{now+h|unix}":       "!which only {now} takes",
		"{client_id+1h}":     "!has a placeholder with + after its name, which only {now} takes",
	} {
		got, err := madeParameter(t, text, now, object{"variables": object{"stamp": object{"value": "at {now|unix}"}}}, nil)
		if refusal, refused := strings.CutPrefix(want, "!"); refused {
			wantInvalid(t, err, refusal)
			continue
		}
		if err != nil || got != want {
			t.Errorf("%s: got %v, %v, want %s", text, got, err, want)
		}
	}
}

func TestTheRandomBytesOfAnAttempt(t *testing.T) {
	t.Parallel()
	for text, shape := range map[string]string{
		"{random|uuid}": `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`,
		"{random|hex}":  `^[0-9a-f]{32}$`, "{random|base64url}": `^[A-Za-z0-9_-]{22}$`, "{random|base64}": `^[A-Za-z0-9+/]{22}==$`,
		"{random|sha256|hex|upper}": `^[0-9A-F]{64}$`, "{random|uuid} {random|uuid}": `^(.{36}) .{36}$`,
	} {
		r, err := asked(t, nil, object{"token_url": plainURL + "?n={random|hex}", "parameters": object{"p": text, "again": text}, "request_headers": object{"X-P": text}})
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for range 20 {
			a := attemptAt(t, r, sampleTime())
			got, _ := a.Parameters["p"].(string)
			if !regexp.MustCompile(shape).MatchString(got) || seen[got] {
				t.Errorf("%s: got %q, seen before: %t", text, got, seen[got])
			}
			if a.Parameters["again"] != got || a.Headers["X-P"] != got {
				t.Errorf("%s: one attempt sends %q, %q and %q", text, got, a.Parameters["again"], a.Headers["X-P"])
			}
			if left, right, both := strings.Cut(got, " "); both && left != right {
				t.Errorf("%s: one text holds %q", text, got)
			}
			seen[got] = true
		}
	}
	for text, refusal := range map[string]string{
		"{random}":         "names {random} without saying how to write it: {random|uuid}, {random|hex} or {random|base64url}",
		"{random|upper}":   "has the filter upper for bytes that are no text: put hex, base64 or base64url before it",
		"{client_id|uuid}": "has the filter uuid for something else than {random}",
		"{random+1h|hex}":  "which only {now} takes",
	} {
		_, err := madeParameter(t, text, sampleTime(), nil, nil)
		wantInvalid(t, err, refusal)
	}
}

func TestANumberIsSentAsOne(t *testing.T) {
	t.Parallel()
	s := anyGrant(t)
	config := object{"request_format": "json", "token_endpoint_auth_method": "none", "client_id": "", "grant_type": "none", "variables": object{"shop": "123456789012345678"}}
	send := func(format, text string) string {
		t.Helper()
		config["request_format"], config["parameters"] = format, object{"a": []any{text}, "t": "{now|unix|number}"}
		got, err := sentTo(t, s, nil, config)
		if err != nil {
			t.Fatal(err)
		}
		return got.Body
	}
	if got, want := send("json", "{shop|number}"), `{"a":[123456789012345678],"t":1767323045}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := send("json", "n{shop|number}"), `{"a":["n123456789012345678"],"t":1767323045}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := send("form", "{shop|number}"), `a=123456789012345678&t=1767323045`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, v := range []string{"", "x", "1e5", "01", "1.", "+1", "0x1", "1 ", "NaN", "--1", strings.Repeat("9", 42)} {
		_, err := asked(t, nil, object{"token_url": plainURL, "parameters": "p={shop|number}", "variables": object{"shop": v}})
		wantInvalid(t, err, "takes only a number in {shop|number}")
	}
}

// A server refuses a nonce that it has seen before, and a time that is too long ago. So
// every attempt makes its own.
func TestEachAttemptIsMadeAnew(t *testing.T) {
	t.Parallel()
	s := anyGrant(t)
	s.Behave(providertest.Behavior{Times: 1, Status: http.StatusServiceUnavailable})
	clock := sampleTime()
	r, err := asked(t, object{"variables": object{"sig": object{"value": "{client_id}{now|unix}{random|hex}"}}}, object{
		"token_url": s.TokenURL() + "?t={now|unix}", "parameters": object{"nonce": "{random|hex}", "sig": "{sig|hmac_sha256:client_secret|hex}"}, "request_headers": object{"X-T": "{now|unix_ms}"},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Timeout = 20 * time.Second
	client := grant.NewClient(grant.Options{Now: func() time.Time { clock = clock.Add(time.Second); return clock }})
	defer client.Close()
	if _, err := client.Mint(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	got := s.All()
	if len(got) != 2 || got[0].RawQuery == got[1].RawQuery || got[0].Body == got[1].Body || got[0].Header.Get("X-T") == got[1].Header.Get("X-T") {
		t.Errorf("got %+v", got)
	}
}

// An operator sees what will be sent as it is written, and never a hash of "REDACTED".
func TestWhatDiffersIsShownAsItIsWritten(t *testing.T) {
	t.Parallel()
	definition, err := Canonical(DefinitionFields(), object{"variables": object{"sig": object{"value": "{client_id}{now|unix}"}}})
	if err != nil {
		t.Fatal(err)
	}
	e, err := resolveConfig(definition, object{
		"client_id": "c", "client_secret": "the-secret-value", "token_url": plainURL + "/{now|unix}?n={random|hex}",
		"parameters": object{"sig": "v1 {sig|hmac_sha256:client_secret|hex}", "hash": "{client_secret|sha256|hex}", "plain": "{sig}", "id": "{client_id|sha256|base64url}", "n": "{now|unix|number}"},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := e.Describe()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"sig": "v1 {sig|hmac_sha256:client_secret|hex}", "hash": "{client_secret|sha256|hex}", "plain": "{sig}", "id": "Ln0sA6lQeuJl7PW1NWiFpTOTogKdJBOUmXJloaJa78Y", "n": "{now|unix|number}"}
	if p, _ := got["parameters"].(map[string]any); !reflect.DeepEqual(p, want) {
		t.Errorf("got %v", p)
	}
	if got["token_url"] != plainURL+"/%7Bnow%7Cunix%7D?n=%7Brandom%7Chex%7D" {
		t.Errorf("got %v", got["token_url"])
	}
}

func TestTheTimeChangesNoIdentity(t *testing.T) {
	t.Parallel()
	e, err := resolveConfig(nil, usualWith(object{"parameters": object{"t": "{now|unix}", "n": "{random|hex}"}}))
	if err != nil {
		t.Fatal(err)
	}
	first, err := e.Identity()
	if err != nil {
		t.Fatal(err)
	}
	r, err := e.Request()
	if err != nil || r.Anew == nil {
		t.Fatal(err)
	}
	attemptAt(t, r, sampleTime().Add(time.Hour))
	if again, err := e.Identity(); err != nil || !slices.Equal(first, again) {
		t.Errorf("%v: %s", err, again)
	}
}

func TestWhatCannotBeAVariableIsReserved(t *testing.T) {
	t.Parallel()
	for _, name := range madeNames() {
		_, err := asked(t, object{"variables": object{name: object{}}}, object{"token_url": plainURL})
		wantInvalid(t, err, `variables declares "`+name+`", which already has a meaning`)
		_, err = asked(t, nil, object{"token_url": plainURL, "variables": object{name: "x"}})
		wantInvalid(t, err, `variables holds "`+name+`", which already has a meaning`)
		_, err = asked(t, nil, object{"token_url": plainURL, "secret_variables": object{name: "x"}})
		wantInvalid(t, err, `secret_variables holds "`+name+`", which already has a meaning`)
	}
	_, err := asked(t, nil, object{"token_url": "https://x{now|unix}.example.com/token"})
	wantInvalid(t, err, "token_url names {now} in its host, which would be another one each time")
	_, err = asked(t, nil, object{"token_url": plainURL, "parameters": "p={client_assertion}"})
	wantInvalid(t, err, "needs {client_assertion}, which exists only with token_endpoint_auth_method=private_key_jwt or client_secret_jwt")
	_, err = asked(t, nil, object{"token_url": plainURL, "parameters": "p={assertion}"})
	wantInvalid(t, err, "needs {assertion}, which exists only if the field assertion is set")
}

// GitHub expects an app's JWT in the Authorization header, and no parameters
// (https://docs.github.com/en/rest/apps/apps#create-an-installation-access-token-for-an-app).
func TestAnAssertionStandsWhereItIsNamed(t *testing.T) {
	t.Parallel()
	pair := newKeyPair(t, signing.RS256)
	s := anyGrant(t)
	definition := object{"variables": object{"jwt": object{"value": "Bearer {client_assertion}"}}}
	github := object{
		"client_id": "12345", "private_key": pair.pem, "token_endpoint_auth_method": "private_key_jwt", "request_format": "template", "grant_type": "none",
		"request_headers": object{"Authorization": "{jwt}"}, "assertion_claims": object{"aud": nil, "sub": nil, "jti": "{random|uuid}"},
	}
	var seen []string
	for range 2 {
		got, err := sentTo(t, s, definition, github)
		if err != nil {
			t.Fatal(err)
		}
		token, isBearer := strings.CutPrefix(got.Header.Get("Authorization"), "Bearer ")
		claims, verified := verifiedClaims(t, pair, token)
		if !isBearer || !verified || claims["iss"] != "12345" || claims["aud"] != nil || got.Body != "" || slices.Contains(seen, token) {
			t.Errorf("got %v, %t, %q, %v", got.Header, verified, got.Body, claims)
		}
		seen = append(seen, token)
	}
	// An assertion that is sent in two places is the same in both, even if one of
	// them is a parameter.
	got, err := sentTo(t, s, nil, object{"private_key": pair.pem, "token_endpoint_auth_method": "private_key_jwt", "request_headers": object{"X-Proof": "{client_assertion}"}, "parameters": object{"again": "{client_assertion}"}})
	if err != nil {
		t.Fatal(err)
	}
	form, err := url.ParseQuery(got.Body)
	if text := form.Get("client_assertion"); err != nil || text == "" || text != got.Header.Get("X-Proof") || text != form.Get("again") {
		t.Errorf("got %v, %v", form, got.Header)
	}
	// This is the grant's own assertion, while the client authenticates with Basic.
	got, err = sentTo(t, s, nil, object{
		"private_key": pair.pem, "grant_type": grant.GrantJWTBearer, "request_format": "template", "request_body": `{{"jwt":{assertion|json}}}`, "request_headers": object{"Content-Type": "application/json"},
	})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.TrimSuffix(strings.TrimPrefix(got.Body, `{"jwt":"`), `"}`)
	if claims, verified := verifiedClaims(t, pair, text); !verified || claims["sub"] != "the-client" || !strings.HasPrefix(got.Header.Get("Authorization"), "Basic ") {
		t.Errorf("got %s, %v", got.Body, got.Header)
	}
	for field, text := range map[string]string{"token_url": plainURL + "?jwt={client_assertion}", "assertion_claims": "x={client_assertion}"} {
		config := object{"token_url": plainURL, "private_key": pair.pem, "token_endpoint_auth_method": "private_key_jwt"}
		config[field] = text
		_, err := asked(t, nil, config)
		wantInvalid(t, err, "needs {client_assertion}")
	}
}

// verifiedClaims returns the claims of a JWT, and whether the key signed it.
func verifiedClaims(t *testing.T, pair keyPair, text string) (map[string]any, bool) {
	t.Helper()
	parsed, err := jose.ParseSigned(text, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	payload, err := parsed.Verify(pair.certificates[0].PublicKey)
	if err != nil {
		return nil, false
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return claims, true
}

func mintOf(t *testing.T, definition, config object) (*grant.Token, error) {
	t.Helper()
	r, err := asked(t, definition, config)
	if err != nil {
		t.Fatal(err)
	}
	return mintIt(t, r)
}

func mintIt(t *testing.T, r grant.Request) (*grant.Token, error) {
	t.Helper()
	r.Timeout = 10 * time.Second
	client := grant.NewClient(grant.Options{})
	defer client.Close()
	return client.Mint(t.Context(), r)
}
