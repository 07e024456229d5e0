// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"crypto"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

// These are the worked examples that the providers publish.
func TestSignaturesAsProvidersDocumentThem(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		variables, config object
		now               int64 // in milliseconds
		text, want        string
	}{
		"Tuya, https://developer.tuya.com/cn/docs/iot/singnature-archived?id=Kaphntrbrbaeb": {
			config: object{"client_id": "1KAD46OrT9HafiKdsXeg", "client_secret": "4OHBOnWOqaEC1mWXOpVL3yV50s0qGSRC"}, now: 1588925778000,
			variables: object{"to_sign": object{"value": "{client_id}{now|unix_ms}"}},
			text:      "{to_sign|hmac_sha256:client_secret|hex|upper}", want: "CEAAFB5CCDC2F723A9FD3E91D3D2238EE0DD9A6D7C3C365DEB50FC2AF277AA83",
		},
		"Lazada, https://open.alitrip.com/docs/doc.htm?articleId=108069&docType=1&treeId=499": {
			config: object{"client_id": "123456", "client_secret": "helloworld", "variables": object{"order": "1234"}}, now: 1517820392000,
			variables: object{"order": object{}, "to_sign": object{"value": "/order/getaccess_tokentestapp_key{client_id}order_id{order}sign_methodsha256timestamp{now|unix_ms}"}},
			text:      "{to_sign|hmac_sha256:client_secret|hex|upper}", want: "4190D32361CFB9581350222F345CB77F3B19F0E31D162316848A2C1FFD5FAB4A",
		},
		"Kingdee, https://blog.csdn.net/jiangfeng82/article/details/132852099": {
			config: object{"client_id": "abc", "client_secret": "abc123"}, now: 1655775240000,
			variables: object{"signature": object{"value": "{client_id|hmac_sha256:client_secret|hex|base64}"}},
			text:      "{signature}{now|unix_ms}", want: "ZDljMTI3NGIyNTE1MTRkYzlkNjc1MDNhYjUzMzgzNWMyY2M4YTdjMzdmNmM3YTVlNDkxMTkzNjdiOTFjNzUyZQ==1655775240000",
		},
		// The key is derived from other keys, each of which is bytes.
		"AWS, https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-signing-examples.html": {
			config: object{"client_secret": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}, now: 1440938160000, // 2015-08-30
			variables: object{
				"k0": object{"value": "AWS4{client_secret}"}, "date": object{"value": "{now|strftime:%Y%m%d}"}, "region": object{"value": "us-east-1"}, "service": object{"value": "iam"},
				"k1": object{"value": "{date|hmac_sha256:k0}"}, "k2": object{"value": "{region|hmac_sha256:k1}"}, "k3": object{"value": "{service|hmac_sha256:k2}"}, "last": object{"value": "aws4_request"},
			},
			text: "{last|hmac_sha256:k3|hex}", want: "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9",
		},
		// The CreateToken call is signed in the same way. The config itself sets the
		// key and the text to sign.
		"Alibaba Cloud, https://www.alibabacloud.com/help/en/sdk/product-overview/rpc-mechanism": {
			config: object{"client_id": "testid", "client_secret": "testsecret", "variables": object{
				"nonce":   "3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf",
				"query":   object{"value": "AccessKeyId={client_id}&Action=DescribeRegions&Format=XML&SignatureMethod=HMAC-SHA1&SignatureNonce={nonce}&SignatureVersion=1.0&Timestamp={now|rfc3339|urlencode}&Version=2014-05-26"},
				"to_sign": object{"value": "GET&%2F&{query|urlencode}"}, "key": object{"value": "{client_secret}&"},
			}}, now: 1456231584000,
			text: "{to_sign|hmac_sha1:key|base64}", want: "OLeaidS1JvxuMvnyHOwuJ+uX5qY=",
		},
	} {
		got, err := madeParameter(t, tc.text, time.UnixMilli(tc.now), object{"variables": tc.variables}, tc.config)
		if err != nil || got != tc.want {
			t.Errorf("%s\n got %v, %v\nwant %s", name, got, err, tc.want)
		}
	}
}

func TestHashesAreTheStandards(t *testing.T) {
	t.Parallel()
	const said = "what do ya want for nothing?" // the text that "Jefe" signs in RFC 2202 and RFC 4231
	for filter, want := range map[string]string{
		"md5": "900150983cd24fb0d6963f7d28e17f72", "sha1": "a9993e364706816aba3e25717850c26c9cd0d89d", "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
		"sha512":      "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
		"hmac_md5":    "750c783e6ab0b503eaa86e310a5db738",
		"hmac_sha1":   "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
		"hmac_sha256": "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
		"hmac_sha512": "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
	} {
		text, id := "{client_id|"+filter+"|hex}", "abc"
		if strings.HasPrefix(filter, "hmac_") {
			text, id = "{client_id|"+filter+":key|hex}", said
		}
		r, err := asked(t, object{"variables": object{"key": object{"secret": true}}}, object{
			"token_url": plainURL, "parameters": object{"p": text}, "client_id": id, "secret_variables": object{"key": "Jefe"},
		})
		if err != nil || r.Parameters["p"] != want {
			t.Errorf("%s: got %v, %v, want %s", filter, r.Parameters["p"], err, want)
		}
	}
}

// Azure Communication Services sign with a key that is written in base64, over
// the hash of the body
// (https://learn.microsoft.com/azure/communication-services/tutorials/hmac-header-tutorial).
func TestAKeyInBase64Signs(t *testing.T) {
	t.Parallel()
	key := []byte{0, 255, 1, 254, 2, 253, '=', '{'}
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		got, err := madeParameter(t, "{to_sign|hmac_sha256:key|base64}", sampleTime(), object{"variables": object{
			"to_sign": object{"value": "POST\n/identities\n{now|strftime:%a, %d %b %Y %T GMT};{content|sha256|base64}"}, "content": object{"value": "{{}}"},
			"key": object{"value": "{client_secret|base64_decode}"},
		}}, object{"client_secret": encoding.EncodeToString(key)})
		content := sha256.Sum256([]byte("{}"))
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte("POST\n/identities\nFri, 02 Jan 2026 03:04:05 GMT;" + base64.StdEncoding.EncodeToString(content[:])))
		if want := base64.StdEncoding.EncodeToString(mac.Sum(nil)); err != nil || got != want {
			t.Errorf("got %v, %v, want %s", got, err, want)
		}
	}
	_, err := madeParameter(t, "{key|hex}{now|unix}", sampleTime(), object{"variables": object{"key": object{"value": "{client_secret|base64_decode}"}}}, object{"client_secret": "no base64!"})
	wantInvalid(t, err, "takes only base64 in {client_secret|base64_decode}", "no base64!")
}

// ING requires that a request for a token is signed with the client's key
// (https://github.com/ing-bank/ing-open-banking-sdk).
func TestAPrivateKeySignsARequest(t *testing.T) {
	t.Parallel()
	pair := newKeyPair(t, signing.RS256)
	definition := object{"variables": object{
		"content": object{"value": "grant_type=client_credentials"}, "date": object{"value": "{now|strftime:%a, %d %b %Y %T GMT}"}, "digest": object{"value": "SHA-256={content|sha256|base64}"},
		"to_sign": object{"value": "(request-target): post /oauth2/token\ndate: {date}\ndigest: {digest}"},
	}}
	config := object{"token_url": plainURL, "private_key": pair.pem, "request_headers": object{
		"Date": "{date}", "Digest": "{digest}",
		"Authorization": `Signature keyId="{client_id}",algorithm="rsa-sha256",headers="(request-target) date digest",signature="{to_sign|rsa_sha256:private_key|base64}"`,
	}, "token_endpoint_auth_method": "none", "parameter_names": "client_id="}
	r, err := asked(t, definition, config)
	if err != nil {
		t.Fatal(err)
	}
	sent := attemptAt(t, r, sampleTime())
	signed := sha256.Sum256([]byte("(request-target): post /oauth2/token\ndate: Fri, 02 Jan 2026 03:04:05 GMT\ndigest: " + sent.Headers["Digest"]))
	_, text, _ := strings.Cut(sent.Headers["Authorization"], `signature="`)
	signature, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(text, `"`))
	key, _ := pair.key.Signer().Public().(*rsa.PublicKey)
	if err != nil || rsa.VerifyPKCS1v15(key, crypto.SHA256, signed[:], signature) != nil {
		t.Errorf("got %q, %v", sent.Headers, err)
	}
	if !slices.Contains(sent.Secrets, strings.TrimSuffix(text, `"`)) {
		t.Error("the signature is no secret")
	}
	if got, err := Required(Layer{"token_url": plainURL, "token_endpoint_auth_method": "none", "parameters": object{"s": "{username|rsa_sha256:private_key|hex}"}}); err != nil || !slices.Equal(got, []string{"private_key", "username"}) {
		t.Errorf("requires %q, %v", got, err)
	}

	// A key of the engine signs only JWTs, whose audience is checked.
	es := newKeyPair(t, signing.ES256)
	for name, tc := range map[string]struct {
		text   string
		change object
		says   string
	}{
		"none":                  {"{client_id|rsa_sha256:private_key|hex}", object{"private_key": nil}, "needs an RSA key in private_key (a signing_key only signs JWTs)"},
		"one of another kind":   {"{client_id|rsa_sha256:private_key|hex}", object{"private_key": es.pem}, "needs an RSA key in private_key"},
		"one of the engine's":   {"{client_id|rsa_sha256:private_key|hex}", object{"private_key": nil, "signing_key": "k"}, "needs an RSA key in private_key"},
		"by another name":       {"{client_id|rsa_sha256:client_secret|hex}", nil, "has the filter rsa_sha256 without the key that it signs with: write rsa_sha256:private_key"},
		"by no name":            {"{client_id|rsa_sha256|hex}", nil, "without the key that it signs with"},
		"itself":                {"{private_key}", nil, "names {private_key}, which is never sent"},
		"itself, in hex":        {"{private_key|hex}", nil, "names {private_key}, which is never sent"},
		"as the key of an HMAC": {"{client_id|hmac_sha256:private_key|hex}", nil, "signs with private_key (filter hmac_sha256), which only rsa_sha256 does"},
		"with no encoding":      {"{client_id|rsa_sha256:private_key}", nil, "gives bytes, not text"},
	} {
		config := object{"token_url": plainURL, "private_key": pair.pem, "parameters": object{"p": tc.text}}
		maps.Copy(config, tc.change)
		_, err := asked(t, nil, config)
		if err == nil {
			t.Errorf("%s: was accepted", name)
		}
		wantInvalid(t, err, tc.says, "the-secret-value")
	}
	_, err = Resolve(Layer{"token_url": plainURL}, nil, Registration{Credentials: Credentials{ClientID: "c", ClientSecret: "s", PrivateKey: pair.pem}}, Layer{"parameters": object{"p": "{client_id|rsa_sha256:private_key|hex}"}})
	wantInvalid(t, err, "names the secret {private_key}: a role cannot name a secret")
}

// Angel One's login requires the code that an authenticator app shows
// (https://smartapi.angelbroking.com/docs/User). The times are those of RFC 6238.
func TestAOneTimePasswordIsThatOfTheMoment(t *testing.T) {
	t.Parallel()
	for at, want := range map[int64]string{59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130"} {
		for _, key := range []string{"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", "gezd gnbv gy3t qojq gezd gnbv gy3t qojq"} {
			got, err := madeParameter(t, "{now|totp:seed}", time.Unix(at, 0), object{"variables": object{"seed": object{"secret": true}}}, object{"secret_variables": object{"seed": key}})
			if err != nil || got != want {
				t.Errorf("at %d: got %v, %v, want %s", at, got, err, want)
			}
		}
	}
	for text, says := range map[string]string{
		"{now|totp:client_secret}": "needs a secret in base32 in {now|totp:client_secret}", "{now|totp:client_id}": "which is no secret", "{client_id|totp:client_secret}": "for something else than {now}",
	} {
		_, err := asked(t, nil, object{"token_url": plainURL, "parameters": object{"p": text}})
		wantInvalid(t, err, says, "the-secret-value")
	}
}

func TestRulesOfSigning(t *testing.T) {
	t.Parallel()
	for text, refusal := range map[string]string{
		"{client_id|hmac_sha256}":                    "has the filter hmac_sha256 without the name of the secret that it signs with: write hmac_sha256:client_secret",
		"{client_id|hmac_sha256:Key|hex}":            "without the name of the secret",
		"{client_id|hmac_sha256:client_id|hex}":      `signs with "client_id" (filter hmac_sha256), which is no secret: anybody could sign so`,
		"{client_id|hmac_sha256:tenant|hex}":         `signs with "tenant" (filter hmac_sha256), which is no secret`,
		"{client_id|hmac_sha256:client_secre|hex}":   "did you mean {client_secret}?",
		"{client_id|hmac_sha256:now|hex}":            "which is no secret",
		"{client_id|hmac_sha256:client_secret}":      "has a placeholder that gives bytes, not text: end it with |hex, |base64 or |base64url",
		"{client_id|sha256}":                         "gives bytes, not text",
		"{client_id|sha256|upper|hex}":               "has the filter upper for bytes that are no text",
		"{hash}":                                     "gives bytes, not text",
		"{hash|json}":                                "has the filter json for bytes that are no text",
		"{client_id|base64_decode}":                  "gives bytes, not text",
		"{unset|hmac_sha256:client_secret|hex}":      `needs the variable "unset"`,
		"{client_id|hmac_sha256:missing|hex}":        `needs the variable "missing", which is not set: write secret_variables=missing=…`,
		"{loop|hex}":                                 "circle: loop, loop",
		"{client_id|sha256:x|hex}":                   "has something behind the filter sha256, which takes nothing",
		"{client_id|hmac_sha256:client_secret:|hex}": "without the name of the secret",
	} {
		_, err := asked(t, object{"variables": object{
			"tenant": object{"default": "acme"}, "hash": object{"value": "{client_id|sha256}"}, "unset": object{}, "missing": object{"secret": true},
			"loop": object{"value": "{client_secret|hmac_sha256:loop}"},
		}}, object{"token_url": plainURL, "parameters": object{"p": text}})
		wantInvalid(t, err, refusal, "the-secret-value")
	}
	// Bytes stay bytes, and a hash is set if what it is computed from is set.
	r, err := asked(t, object{"variables": object{"hash": object{"value": "{client_id|sha256}"}, "opt": object{"optional": true}, "optkey": object{"optional": true, "secret": true}}},
		object{"token_url": plainURL, "parameters": object{"p": "{hash|hex}", "q": "{opt|sha256|hex}", "r": "{client_id|hmac_sha256:optkey|hex}"}})
	sum := sha256.Sum256([]byte("the-client"))
	if want := (object{"p": hex.EncodeToString(sum[:])}); err != nil || !reflect.DeepEqual(r.Parameters, want) || r.Anew != nil {
		t.Errorf("got %v, %v, want %v, and the same each time", r.Parameters, err, want)
	}
}

// If a role could sign, its writer could have any text signed.
func TestARoleSignsNothing(t *testing.T) {
	t.Parallel()
	definition, err := Canonical(DefinitionFields(), object{"token_url": plainURL})
	if err != nil {
		t.Fatal(err)
	}
	r := Registration{Credentials: Credentials{ClientID: "c", ClientSecret: "the-secret-value"}}
	_, err = Resolve(definition, nil, r, Layer{"parameters": object{"sig": "{client_id|hmac_sha256:client_secret|hex}"}})
	wantInvalid(t, err, "names the secret {client_secret}: a role cannot name a secret")
	if _, err = Resolve(definition, nil, r, Layer{"parameters": object{"nonce": "{random|hex}"}}); err != nil {
		t.Error(err)
	}
}

// A value that an attempt makes is as secret as the values that it is made from.
func TestAnEchoOfASignatureIsNotHandedOut(t *testing.T) {
	t.Parallel()
	pair := newKeyPair(t, signing.ES256)
	s := providertest.StartFunc(t, "/", func(w http.ResponseWriter, r *http.Request, _ []byte) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"access_token":"granted","expires_in":60,"sent":"` + r.Header.Get("X-Sent") + `"}`))
	})
	for text, shown := range map[string]bool{
		"{sig|hmac_sha256:client_secret|hex}": false, "v1={sig|hmac_sha256:client_secret|base64}": false, "{client_secret|sha256|hex|upper}": false, "{client_assertion}": false,
		"{client_secret}.{random|hex}": false, "{sig}": true, "{now|rfc3339}": true, "{client_id|sha256|hex}": true,
	} {
		got, err := mintOf(t, object{"variables": object{"sig": object{"value": "{client_id}{now|unix}{random|hex}"}}}, object{
			"token_url": s.TokenURL(), "request_headers": object{"X-Sent": text}, "extra_fields": "x=/sent",
			"token_endpoint_auth_method": "private_key_jwt", "private_key": pair.pem,
		})
		if err != nil || (got.Extra != nil) != shown {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}
