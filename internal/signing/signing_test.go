// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package signing

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// newKey returns a new key for the algorithm.
func newKey(t *testing.T, a Algorithm) Key {
	t.Helper()
	k, err := Generate(a)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func rsaOf(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestEveryAlgorithmSignsWhatItsPublicKeyVerifies(t *testing.T) {
	t.Parallel()
	for _, a := range Asymmetric() {
		t.Run(string(a), func(t *testing.T) {
			t.Parallel()
			k := newKey(t, a)
			text, err := k.Sign(a, map[string]any{"typ": "JWT", "kid": "k-1", "alg": "none", "x5t": nil}, map[string]any{"sub": "me", "exp": 12, "aud": nil})
			if err != nil {
				t.Fatal(err)
			}
			raw, err := PublicJWK(k.Signer().Public(), "k-1", a, nil)
			if err != nil {
				t.Fatal(err)
			}
			var public jose.JSONWebKey
			if err := json.Unmarshal(raw, &public); err != nil || !public.IsPublic() || public.Use != "sig" || public.KeyID != "k-1" {
				t.Fatalf("%v: %s", err, raw)
			}
			parsed, err := jose.ParseSigned(text, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(a)})
			if err != nil {
				t.Fatal(err)
			}
			payload, err := parsed.Verify(public)
			if err != nil || string(payload) != `{"exp":12,"sub":"me"}` {
				t.Errorf("%v: %s", err, payload)
			}
			header, _ := base64.RawURLEncoding.DecodeString(strings.Split(text, ".")[0])
			if want := `{"alg":"` + string(a) + `","kid":"k-1","typ":"JWT"}`; string(header) != want {
				t.Errorf("header %s, want %s", header, want)
			}

			stored, err := k.MarshalPEM()
			if err != nil {
				t.Fatal(err)
			}
			again, err := Restore(stored)
			if err != nil || again.Thumbprint() != k.Thumbprint() {
				t.Errorf("stored and restored it is another key: %v", err)
			}
		})
	}
}

func TestASharedSecretSignsWhenItIsLongEnough(t *testing.T) {
	t.Parallel()
	for _, a := range Symmetric() {
		secret := strings.Repeat("s", a.minSecret())
		text, err := SignWithSecret(secret, a, nil, map[string]any{"sub": "me"})
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := jose.ParseSigned(text, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(a)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parsed.Verify([]byte(secret)); err != nil {
			t.Error(err)
		}
		err = CheckSecret(secret[1:], a)
		if err == nil || !strings.Contains(err.Error(), "too short for "+string(a)) {
			t.Errorf("%s with a byte too few: %v", a, err)
		}
	}
	if err := CheckSecret(strings.Repeat("s", 64), RS256); err == nil {
		t.Error("a secret signs with RS256")
	}
}

func TestKeysAreReadInEveryUsualForm(t *testing.T) {
	t.Parallel()
	r := rsaOf(t, 2048)
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(e)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(e)
	if err != nil {
		t.Fatal(err)
	}
	parameters := pemOf("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}) // openssl ecparam writes this before the key
	jwk, err := json.Marshal(jose.JSONWebKey{Key: e, KeyID: "own", Algorithm: "ES256"})
	if err != nil {
		t.Fatal(err)
	}
	ed := newKey(t, EdDSA)
	edPEM, err := ed.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		text string
		id   string
		can  Algorithm
	}{
		"PKCS#1":                              {pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(r)), "", RS256},
		"PKCS#8":                              {pemOf("PRIVATE KEY", pkcs8), "", ES256},
		"SEC1":                                {pemOf("EC PRIVATE KEY", sec1), "", ES256},
		"SEC1 behind its parameters":          {parameters + pemOf("EC PRIVATE KEY", sec1), "", ES256},
		"Ed25519":                             {edPEM, "", EdDSA},
		"a JWK with its kid":                  {string(jwk), "own", ES256},
		"line breaks as a JSON file has them": {strings.ReplaceAll(pemOf("PRIVATE KEY", pkcs8), "\n", `\n`), "", ES256},
		"behind its certificate":              {"text before\n" + pemOf("CERTIFICATE", []byte("any")) + pemOf("PRIVATE KEY", pkcs8), "", ES256},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k, err := Parse(test.text)
			if err != nil {
				t.Fatal(err)
			}
			if a, err := k.Algorithm(""); a != test.can || err != nil || k.ID() != test.id {
				t.Errorf("signs with %q, %v; id %q", a, err, k.ID())
			}
		})
	}
}

func TestWhatIsWrongWithAKeyIsSaidWithoutTheKey(t *testing.T) {
	t.Parallel()
	small := pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaOf(t, 1024)))
	k := newKey(t, ES256)
	public, err := PublicPEM(k.Signer().Public())
	if err != nil {
		t.Fatal(err)
	}
	publicJWK, err := PublicJWK(k.Signer().Public(), k.Thumbprint(), ES256, nil)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := k.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	damaged := strings.Replace(whole, "M", "N", 1)
	for name, test := range map[string]struct{ text, says string }{
		"nothing":              {"", "neither PEM"},
		"a word":               {"hunter2-hunter2", "neither PEM"},
		"a certificate":        {pemOf("CERTIFICATE", []byte("x")), "holds a certificate"},
		"a public key":         {public, "public key"},
		"a public JWK":         {string(publicJWK), "without its private members"},
		"a set":                {`{"keys":[]}`, "set of keys"},
		"a symmetric JWK":      {`{"kty":"oct","k":"aHVudGVyMg"}`, "symmetric"},
		"an object":            {`{"client_secret":"hunter2-hunter2"}`, "no kty"},
		"broken JSON":          {`{"kty":"EC",`, "cannot be read"},
		"a JWK without a part": {`{"kty":"EC","crv":"P-256","d":"aHVudGVyMg"}`, "damaged"},
		"a wrong alg":          {strings.Replace(string(mustJWK(t, k)), "{", `{"alg":"RS256",`, 1), "alg does not fit"},
		"encrypted":            {pemOf("ENCRYPTED PRIVATE KEY", []byte("x")), "passphrase"},
		"encrypted, the old way": {string(pem.EncodeToMemory(&pem.Block{
			Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"}, Bytes: []byte("x"),
		})), "passphrase"},
		"OpenSSH":     {pemOf("OPENSSH PRIVATE KEY", []byte("x")), "ssh-keygen"},
		"a small RSA": {small, "1024 bits"},
		"damaged":     {damaged, "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse(test.text)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("got %v, want %q in it", err, test.says)
			}
			for line := range strings.Lines(test.text) {
				if line = strings.TrimSpace(line); len(line) > 12 && !strings.HasPrefix(line, "-----") && strings.Contains(err.Error(), line) {
					t.Errorf("the error quotes the key: %v", err)
				}
			}
		})
	}
}

func mustJWK(t *testing.T, k Key) []byte {
	t.Helper()
	raw, err := json.Marshal(jose.JSONWebKey{Key: k.private})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestAnAlgorithmFitsItsKey(t *testing.T) {
	t.Parallel()
	named, err := Parse(strings.Replace(string(mustJWK(t, newKey(t, PS256))), "{", `{"alg":"PS256",`, 1))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		key    Key
		wanted Algorithm
		got    Algorithm
		says   string
	}{
		"RSA signs with RS256 unless told":     {newKey(t, RS256), "", RS256, ""},
		"RSA signs with PS512 when told":       {newKey(t, RS256), PS512, PS512, ""},
		"a key's own alg counts":               {named, "", PS256, ""},
		"and allows no other":                  {named, RS256, "", "the key itself states (PS256)"},
		"each curve has its algorithm":         {newKey(t, ES384), ES256, "", "P-384"},
		"RSA has no ES256":                     {newKey(t, RS256), ES256, "", "RSA, 3072 bits"},
		"an algorithm that there is none of":   {newKey(t, EdDSA), "none", "", "Ed25519"},
		"a shared secret's is none of a key's": {newKey(t, EdDSA), HS256, "", "sign with EdDSA"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := test.key.Algorithm(test.wanted)
			if got != test.got || (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	if _, err := Generate(HS256); err == nil {
		t.Error("made a private key for HS256")
	}
}

// This is the example of RFC 7638 section 3.1.
func TestThumbprintIsThatOfTheRFC(t *testing.T) {
	t.Parallel()
	n, err := base64.RawURLEncoding.DecodeString("0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw")
	if err != nil {
		t.Fatal(err)
	}
	public := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537}
	k := Key{private: &rsa.PrivateKey{PublicKey: *public}}
	if got := k.Thumbprint(); got != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" {
		t.Errorf("got %s", got)
	}
}

func TestCertificatesOfAKey(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, a := range []Algorithm{RS256, ES256, ES384, EdDSA} {
		k := newKey(t, a)
		own, err := k.SelfSigned("oauthcc key", from, from.AddDate(1, 0, 0))
		if err != nil {
			t.Fatal(err)
		}
		read, err := ParseCertificates("some text\n" + own.PEM())
		if err != nil || !bytes.Equal(read[0].Raw, own[0].Raw) {
			t.Fatalf("%s: %v", a, err)
		}
		if err := read.Match(k); err != nil {
			t.Errorf("%s: %v", a, err)
		}
		if err := read.Match(newKey(t, a)); err == nil {
			t.Errorf("%s: it is the certificate of another key", a)
		}
		if err := read[0].CheckSignature(read[0].SignatureAlgorithm, read[0].RawTBSCertificate, read[0].Signature); err != nil {
			t.Errorf("%s: %v", a, err)
		}
		if !read.Ends().Equal(from.AddDate(1, 0, 0)) {
			t.Errorf("%s ends %s", a, read.Ends())
		}
		sum := sha256.Sum256(own[0].Raw)
		if got := read.ThumbprintSHA256(); got != base64.RawURLEncoding.EncodeToString(sum[:]) || len(read.ThumbprintSHA1()) != 27 {
			t.Errorf("%s: thumbprints %s, %s", a, got, read.ThumbprintSHA1())
		}
		text, err := k.CSR(pkix.Name{CommonName: "client", Organization: []string{"Acme"}}, []string{"client.example"})
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode([]byte(text))
		request, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil || request.CheckSignature() != nil || request.Subject.CommonName != "client" || request.DNSNames[0] != "client.example" {
			t.Errorf("%s: %v", a, err)
		}
		if public, ok := k.private.Public().(interface{ Equal(x crypto.PublicKey) bool }); !ok || !public.Equal(request.PublicKey) {
			t.Errorf("%s: a request of another key", a)
		}
	}
	chain, err := newKey(t, ES256).SelfSigned("a", from, from.AddDate(2, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	above, err := newKey(t, ES256).SelfSigned("b", from, from.AddDate(1, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	if got := append(chain, above...).Ends(); !got.Equal(from.AddDate(1, 0, 0)) {
		t.Errorf("a chain ends with the first to do so, not %s", got)
	}
}

func TestWhatIsNoCertificateIsSaid(t *testing.T) {
	t.Parallel()
	key, err := newKey(t, ES256).MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	for text, says := range map[string]string{
		"":                                "a PEM certificate",
		key:                               "holds a private key",
		pemOf("CERTIFICATE", []byte("x")): "damaged",
	} {
		if _, err := ParseCertificates(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q in it", err, says)
		}
	}
}
