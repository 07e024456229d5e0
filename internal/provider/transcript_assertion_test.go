// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"crypto/sha1" //nolint:gosec // the thumbprint that RFC 7515 section 4.1.7 defines
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

// signedJWT describes the JWT that stands for {assertion} in a request: its whole
// header and all claims. {jti} stands for any text. In the header, {x5t}, {x5t#S256}
// and {x5c} stand for those of the signing certificate.
type signedJWT struct {
	Header map[string]any `json:"header"`
	Claims map[string]any `json:"claims"`
}

// assertionPlace is the place of the JWT in a transcript's request.
const assertionPlace = "{assertion}"

// assertionIn returns the JWT in a body that must otherwise equal the wanted body,
// byte for byte.
func assertionIn(body, wanted string) (string, error) {
	before, after, once := strings.Cut(wanted, assertionPlace)
	if !once {
		return "", errors.New("the request has no place for an assertion")
	}
	found := regexp.MustCompile("^" + regexp.QuoteMeta(before) + `([\w.-]+)` + regexp.QuoteMeta(after) + "$").FindStringSubmatch(body)
	if found == nil {
		return "", fmt.Errorf("body\n got %s\nwant %s", body, wanted)
	}
	return found[1], nil
}

// check returns how a JWT differs from w: in its signature, header or claims. The
// config holds the key, and the certificate that the header may name.
func (w signedJWT) check(text string, config map[string]any) error {
	secret, _ := config["client_secret"].(string)
	var verifier any = []byte(secret)
	if private, _ := config["private_key"].(string); private != "" {
		key, err := signing.Parse(private)
		if err != nil {
			return err
		}
		verifier = key.Signer().Public()
	}
	algorithm, _ := w.Header["alg"].(string)
	jws, err := jose.ParseSigned(text, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(algorithm)})
	if err != nil {
		return fmt.Errorf("no JWT of %s: %w", algorithm, err)
	}
	payload, err := jws.Verify(verifier)
	if err != nil {
		return err
	}
	head, _, _ := strings.Cut(text, ".")
	plain, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		return err
	}
	var header, claims map[string]any
	if err := errors.Join(json.Unmarshal(plain, &header), json.Unmarshal(payload, &claims)); err != nil {
		return err
	}
	wanted := signedJWT{Header: maps.Clone(w.Header), Claims: maps.Clone(w.Claims)}
	if jti, _ := claims["jti"].(string); jti != "" && wanted.Claims["jti"] == "{jti}" {
		wanted.Claims["jti"] = jti
	}
	if certificate, _ := config["signing_certificate"].(string); certificate != "" {
		der, err := derOf(certificate, config["private_key"])
		if err != nil {
			return err
		}
		first, second := sha1.Sum(der), sha256.Sum256(der) //nolint:gosec // see above
		for name, v := range map[string]any{
			"x5t": base64.RawURLEncoding.EncodeToString(first[:]), "x5t#S256": base64.RawURLEncoding.EncodeToString(second[:]),
			"x5c": []any{base64.StdEncoding.EncodeToString(der)},
		} {
			if wanted.Header[name] == "{"+name+"}" {
				wanted.Header[name] = v
			}
		}
	}
	if !reflect.DeepEqual(header, wanted.Header) || !reflect.DeepEqual(claims, wanted.Claims) {
		return fmt.Errorf("\n got %v %v\nwant %v %v", header, claims, wanted.Header, wanted.Claims)
	}
	return nil
}

// checkProof returns what is wrong with a DPoP proof for that request.
func checkProof(text, method, url string) error {
	jws, err := jose.ParseSigned(text, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return err
	}
	key := jws.Signatures[0].Header.JSONWebKey
	if key == nil || !key.IsPublic() {
		return errors.New("the proof does not show its key")
	}
	payload, err := jws.Verify(key)
	if err != nil {
		return err
	}
	var claims struct{ Htm, Htu string }
	if err := json.Unmarshal(payload, &claims); err != nil || claims.Htm != method || claims.Htu != url {
		return fmt.Errorf("the proof is for %s %s, not for %s %s (%w)", claims.Htm, claims.Htu, method, url, err)
	}
	return nil
}

// derOf returns the first certificate of a PEM text, which must be the key's
// certificate.
func derOf(certificate, key any) ([]byte, error) {
	public, _ := certificate.(string)
	private, _ := key.(string)
	pair, err := tls.X509KeyPair([]byte(public), []byte(private))
	if err != nil {
		return nil, err
	}
	return pair.Certificate[0], nil
}

// A check that finds no difference proves nothing unless it can find one. So it must
// find each of these.
func TestATranscriptsAssertionIsComparedWhole(t *testing.T) {
	t.Parallel()
	var keys, others providertest.Keys
	fill := func(k *providertest.Keys) map[string]any {
		config, err := k.Fill(map[string]any{"private_key": "generated RS256", "signing_certificate": "generated"})
		if err != nil {
			t.Fatal(err)
		}
		return config
	}
	config := fill(&keys)
	wanted := signedJWT{
		Header: map[string]any{"alg": "RS256", "typ": "JWT", "x5t": "{x5t}", "x5t#S256": "{x5t#S256}", "x5c": "{x5c}"},
		Claims: map[string]any{"iss": "c", "exp": 300.0, "jti": "{jti}"},
	}
	der, err := derOf(config["signing_certificate"], config["private_key"])
	if err != nil {
		t.Fatal(err)
	}
	certificates, err := signing.ParseCertificates(config["signing_certificate"].(string)) //nolint:forcetypeassert // filled in
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		config         map[string]any
		header, claims map[string]any // changes to the wanted ones; nil leaves a member out
		same           bool
	}{
		"none":                {same: true},
		"another jti":         {claims: map[string]any{"jti": "j-2"}, same: true},
		"another key":         {config: fill(&others)},
		"another algorithm":   {header: map[string]any{"alg": "RS384"}},
		"another kid":         {header: map[string]any{"kid": "k"}},
		"another certificate": {header: map[string]any{"x5t": "x"}},
		"another claim":       {claims: map[string]any{"nbf": 1}},
		"another time":        {claims: map[string]any{"exp": 301}},
		"a claim less":        {claims: map[string]any{"iss": nil}},
		"no jti":              {claims: map[string]any{"jti": nil}},
		"an empty jti":        {claims: map[string]any{"jti": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			by := config
			if test.config != nil {
				by = test.config
			}
			key, err := signing.Parse(by["private_key"].(string)) //nolint:forcetypeassert // filled in
			if err != nil {
				t.Fatal(err)
			}
			header := map[string]any{
				"alg": "RS256", "typ": "JWT", "x5t": certificates.ThumbprintSHA1(), "x5t#S256": certificates.ThumbprintSHA256(),
				"x5c": []string{base64.StdEncoding.EncodeToString(der)},
			}
			claims := map[string]any{"iss": "c", "exp": 300, "jti": "j"}
			maps.Copy(header, test.header)
			maps.Copy(claims, test.claims)
			text, err := key.Sign(signing.Algorithm(header["alg"].(string)), header, claims) //nolint:forcetypeassert // set above
			if err != nil {
				t.Fatal(err)
			}
			if err := wanted.check(text, config); (err == nil) != test.same {
				t.Errorf("got %v", err)
			}
		})
	}
	for body, same := range map[string]bool{"a=b&assertion=x.y-_9.z": true, "a=c&assertion=x.y.z": false, "a=b&assertion=": false, "a=b&assertion=x.y.z&more=1": false, "a=b&assertion=x%2Ey": false} {
		if _, err := assertionIn(body, "a=b&assertion={assertion}"); (err == nil) != same {
			t.Errorf("%s: %v", body, err)
		}
	}
}
