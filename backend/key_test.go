// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
)

const day = 24 * time.Hour

// states returns the states and the kids of a key's versions, newest first.
func (e *engine) states(t *testing.T, key string) (states, kids []string) {
	t.Helper()
	for _, v := range e.versions(t, key) {
		states, kids = append(states, v["state"].(string)), append(kids, v["kid"].(string)) //nolint:forcetypeassert // else the test fails
	}
	return states, kids
}

func (e *engine) versions(t *testing.T, key string) []fields {
	t.Helper()
	list, _ := e.read(t, "key/"+key).data(t)["keys"].([]any)
	var out []fields
	for _, v := range list {
		m, _ := v.(map[string]any)
		out = append(out, m)
	}
	return out
}

// everyMinute runs what Vault runs every minute.
func (e *engine) everyMinute(t *testing.T) {
	t.Helper()
	if _, err := e.backend.HandleRequest(t.Context(), &logical.Request{Operation: logical.RollbackOperation, Storage: e.process}); err != nil {
		t.Fatal(err)
	}
}

func TestAKeyIsMadeAndShowsItsPublicHalfAlone(t *testing.T) {
	for _, algorithm := range []string{"RS256", "PS384", "ES256", "ES512", "EdDSA"} {
		t.Run(algorithm, func(t *testing.T) {
			e := mount(t)
			e.must(t, "key/k", fields{"algorithm": algorithm})
			r := e.read(t, "key/k")
			wantMembers(t, r.data(t), fields{"algorithm": algorithm, "rotation_period": float64(0), "publish_ahead": float64(86400), "retain": float64(86400), "used_by": []any{}})
			v := e.versions(t, "k")[0]
			block, _ := pem.Decode([]byte(v["certificate"].(string))) //nolint:forcetypeassert // else the test fails
			certificate, err := x509.ParseCertificate(block.Bytes)
			if err != nil || certificate.Subject.CommonName != "k" {
				t.Fatalf("certificate: %v", err)
			}
			public, _ := pem.Decode([]byte(v["public_key"].(string))) //nolint:forcetypeassert // likewise
			if string(public.Bytes) != string(certificate.RawSubjectPublicKeyInfo) {
				t.Error("the certificate is of another key")
			}
			var jwk map[string]any
			if err := json.Unmarshal([]byte(v["public_jwk"].(string)), &jwk); err != nil { //nolint:forcetypeassert // likewise
				t.Fatal(err)
			}
			wantMembers(t, jwk, fields{
				"alg": algorithm, "use": "sig", "kid": v["kid"],
				"x5c": []any{base64.StdEncoding.EncodeToString(certificate.Raw)}, // identifies a self-signed TLS client
			})
			everythingIsPublic(t, e, r, "key/k")
		})
	}
}

// everythingIsPublic checks that an answer does not contain a key's private half.
func everythingIsPublic(t *testing.T, e *engine, r result, path string) {
	t.Helper()
	var stored struct {
		Versions []struct {
			PEM string `json:"pem"`
		} `json:"versions"`
	}
	entry, err := e.storage.Get(t.Context(), path)
	if err != nil || entry.DecodeJSON(&stored) != nil || len(stored.Versions) == 0 {
		t.Fatalf("the stored key cannot be read: %v", err)
	}
	for _, v := range stored.Versions {
		block, _ := pem.Decode([]byte(v.PEM))
		withoutSecrets(t, "the answer", r.text(), string(block.Bytes))
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			t.Fatalf("the stored key cannot be read: %v", err)
		}
		// A certificate may hold the public numbers as they are in the stored key.
		private, err := providertest.PrivateNumbers(key)
		if err != nil {
			t.Fatal(err)
		}
		for _, number := range private {
			for i := 0; i+15 <= len(number); i += 5 { // at each alignment of base64
				withoutSecrets(t, "the answer", r.text(), string(number[i:i+15]))
			}
		}
	}
	for _, member := range []string{`\"d\":`, `\"p\":`, `\"q\":`, `\"k\":`, "PRIVATE KEY"} {
		if strings.Contains(r.text(), member) {
			t.Errorf("the answer holds %s", member)
		}
	}
}

func TestAKeyRotatesByItselfAndIsPublishedAhead(t *testing.T) {
	e := mount(t)
	e.must(t, "key/k", fields{"algorithm": "ES256", "rotation_period": "30d", "publish_ahead": "1d", "retain": "2d"})
	_, first := e.states(t, "k")
	for _, step := range []struct {
		after  time.Duration
		states []string
	}{
		{28 * day, []string{"current"}},
		{1 * day, []string{"next", "current"}}, // day 29
		{12 * time.Hour, []string{"next", "current"}},
		{12 * time.Hour, []string{"current", "previous"}}, // day 30
		{2 * day, []string{"current"}},
		{27 * day, []string{"next", "current"}}, // day 59
	} {
		e.clock.advance(step.after)
		e.everyMinute(t)
		states, _ := e.states(t, "k")
		if !slices.Equal(states, step.states) {
			t.Fatalf("after %s more: %q, want %q", step.after, states, step.states)
		}
	}
	if _, kids := e.states(t, "k"); slices.Contains(kids, first[0]) {
		t.Error("the first version is still there")
	}
}

func TestAKeyRotatesByHand(t *testing.T) {
	e := mount(t)
	e.must(t, "key/k", fields{"algorithm": "ES256", "publish_ahead": "1d", "retain": "1h"})
	_, old := e.states(t, "k")
	e.must(t, "key/k/rotate", nil)
	states, kids := e.states(t, "k")
	if !slices.Equal(states, []string{"next", "current"}) || kids[1] != old[0] {
		t.Fatalf("%q", states)
	}
	e.must(t, "key/k/rotate", nil) // again, while one version waits already
	if states, again := e.states(t, "k"); len(states) != 2 || again[0] != kids[0] {
		t.Errorf("%q", states)
	}
	e.must(t, "key/k/rotate", fields{"now": true})
	states, again := e.states(t, "k")
	if !slices.Equal(states, []string{"current", "previous"}) || again[0] != kids[0] {
		t.Errorf("%q", states)
	}
	e.clock.advance(time.Hour)
	if states, _ := e.states(t, "k"); !slices.Equal(states, []string{"current"}) {
		t.Errorf("%q", states)
	}
}

func TestAKeyIsRefusedForWhatCannotBe(t *testing.T) {
	e := mount(t)
	e.must(t, "key/k", fields{"algorithm": "ES256"})
	for name, test := range map[string]struct {
		path string
		data fields
		says string
	}{
		"another algorithm":                 {"key/k", fields{"algorithm": "RS256"}, "algorithm cannot be changed"},
		"an unknown algorithm":              {"key/new", fields{"algorithm": "HS256"}, "algorithm must be one of RS256"},
		"a period shorter than its warning": {"key/k", fields{"rotation_period": "1h"}, "rotation_period must be longer than publish_ahead"},
		"rotating what is not there":        {"key/none/rotate", nil, `no key "none"`},
		"a request of what is not there":    {"key/none/csr", nil, `no key "none"`},
		"no certificate":                    {"key/k/certificate", fields{"certificate": "x"}, "certificate must hold a PEM certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, e.write(t, test.path, test.data), http.StatusBadRequest, test.says)
		})
	}
}

func TestAnAuthoritysCertificateTakesThePlaceOfTheOwn(t *testing.T) {
	e := mount(t)
	e.must(t, "key/k", fields{"algorithm": "ES256"})
	asked := e.write(t, "key/k/csr", fields{"common_name": "client-1", "organization": "Acme", "country": "NL", "dns_names": "a.example,b.example"}).data(t)
	block, _ := pem.Decode([]byte(asked["csr"].(string))) //nolint:forcetypeassert // else the test fails
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil || csr.CheckSignature() != nil || csr.Subject.CommonName != "client-1" || !slices.Equal(csr.DNSNames, []string{"a.example", "b.example"}) {
		t.Fatalf("%v: %+v", err, csr)
	}
	authority, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	certify := func(public any, ends time.Time) string {
		parent := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true}
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: big.NewInt(2), Subject: csr.Subject, NotBefore: e.clock.Now(), NotAfter: ends,
		}, parent, public, authority)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	ends := e.clock.Now().Add(90 * day)
	refused(t, e.write(t, "key/k/certificate", fields{"certificate": certify(authority.Public(), ends)}), http.StatusBadRequest, "any version of key")
	refused(t, e.write(t, "key/k/certificate", fields{"certificate": certify(csr.PublicKey, e.clock.Now().Add(-day))}), http.StatusBadRequest, "expired on")
	signed := certify(csr.PublicKey, ends)
	e.must(t, "key/k/certificate", fields{"certificate": signed})
	wantMembers(t, e.versions(t, "k")[0], fields{"certificate": signed, "certificate_ends": ends.Format(time.RFC3339), "kid": asked["kid"]})
}

// The certificate to upload is always that of the newest version, because this version
// will sign the longest.
func TestTheNewestVersionsCertificateIsThatToUpload(t *testing.T) {
	e := mount(t)
	if r := e.read(t, "key/k/certificate"); r.status() != http.StatusNotFound {
		t.Errorf("without a key: status %d", r.status())
	}
	e.must(t, "key/k", fields{"algorithm": "RS256"})
	for _, state := range []string{"current", "next"} {
		r := e.read(t, "key/k/certificate")
		newest := e.versions(t, "k")[0]
		if newest["state"] != state {
			t.Fatalf("the newest version is %v", newest["state"])
		}
		want := fields{}
		for _, name := range []string{"kid", "certificate", "certificate_ends", "certificate_sha256", "certificate_sha1"} {
			want[name] = newest[name]
		}
		wantMembers(t, r.data(t), want)
		everythingIsPublic(t, e, r, "key/k")
		e.must(t, "key/k/rotate", nil)
	}
}

func TestJWKSetIsForAnybodyAndRaw(t *testing.T) {
	e := mount(t)
	e.must(t, "key/k", fields{"algorithm": "ES256"})
	e.must(t, "key/k/rotate", nil)
	r := e.read(t, "jwks/k")
	wantMembers(t, r.data(t), fields{
		logical.HTTPStatusCode: float64(200), logical.HTTPContentType: "application/jwk-set+json", logical.HTTPCacheControlHeader: "public, max-age=3600",
	})
	encoded, _ := r.data(t)[logical.HTTPRawBody].(string) // bytes are base64 in JSON
	body, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	everythingIsPublic(t, e, r, "key/k")
	set := struct {
		Keys []json.RawMessage `json:"keys"`
	}{}
	if err := json.Unmarshal(body, &set); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	versions := e.versions(t, "k")
	if len(set.Keys) != 2 || len(versions) != 2 {
		t.Fatalf("%d keys of %d versions: %s", len(set.Keys), len(versions), body)
	}
	for i, v := range versions {
		if string(set.Keys[i]) != v["public_jwk"] {
			t.Errorf("the key is %s, want %s", set.Keys[i], v["public_jwk"])
		}
	}
	if special := e.backend.SpecialPaths(); !slices.Contains(special.Unauthenticated, "jwks/*") || !slices.Contains(special.SealWrapStorage, "key/") {
		t.Errorf("%+v", special)
	}
	if r := e.read(t, "jwks/none"); r.status() != http.StatusNotFound {
		t.Errorf("status %d", r.status())
	}
}

// The engine computes the JWK set for each caller, so the number of a key's versions is
// bounded.
func TestAKeyHasNoMoreThanTenVersions(t *testing.T) {
	e := mount(t)
	e.must(t, "key/k", fields{"algorithm": "ES256", "retain": "1h"})
	for range 9 {
		e.must(t, "key/k/rotate", fields{"now": true})
	}
	refused(t, e.write(t, "key/k/rotate", fields{"now": true}), http.StatusBadRequest, "10 published versions", "write a shorter retain to key/k")
	if _, kids := e.states(t, "k"); len(kids) != 10 {
		t.Errorf("%d published versions", len(kids))
	}
	e.clock.advance(time.Hour)
	e.must(t, "key/k/rotate", fields{"now": true})
}

// Anyone can fetch a JWK set without a Vault token, perhaps a thousand times a second.
// So the engine does not read the private keys for it.
func TestPublicHalfIsShownWithoutThePrivateKey(t *testing.T) {
	e := mount(t)
	for _, algorithm := range []string{"RS256", "PS256", "ES256", "ES512", "EdDSA"} {
		e.must(t, "key/"+algorithm, fields{"algorithm": algorithm})
		set, key := e.read(t, "jwks/"+algorithm).text(), e.read(t, "key/"+algorithm).text()
		stored := e.below(t, "key/")["key/"+algorithm]
		e.storage.put(t, "key/"+algorithm, regexp.MustCompile(`"pem":"[^"]*"`).ReplaceAllString(stored, `"pem":"unreadable"`))
		if got := e.read(t, "jwks/"+algorithm).text(); got != set || !strings.Contains(key, "BEGIN PUBLIC KEY") {
			t.Errorf("%s: the set is %s, want %s", algorithm, got, set)
		}
		if got := e.read(t, "key/"+algorithm).text(); got != key {
			t.Errorf("%s: the key is %s, want %s", algorithm, got, key)
		}
	}
}

// BenchmarkJWKSet measures a read of a set with four RSA keys, none of which has a
// certificate of an authority.
func BenchmarkJWKSet(b *testing.B) {
	e := mount(b)
	for _, path := range []string{"key/k", "key/k/rotate", "key/k/rotate", "key/k/rotate"} {
		req := &logical.Request{Operation: logical.UpdateOperation, Path: path, Data: fields{}, Storage: e.process}
		if path != "key/k" {
			req.Data["now"] = true
		}
		if _, err := e.backend.HandleRequest(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
	req := &logical.Request{Operation: logical.ReadOperation, Path: "jwks/k", Storage: e.process}
	for b.Loop() {
		if _, err := e.backend.HandleRequest(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}
