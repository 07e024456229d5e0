// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tests_test

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/providertest"
	"github.com/oauthcc/vault-plugin-oauthcc/tests/harness"
)

// knowKey makes the detective recognise any private part of a key. It covers
// DER, which contains the raw bytes; PEM and JWK, which contain them in base64;
// and hex.
func (d *detective) knowKey(t *testing.T, name string, key crypto.PrivateKey) {
	t.Helper()
	numbers, err := providertest.PrivateNumbers(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range numbers {
		d.know(name, string(n))
	}
}

// stored reads what a mount has stored at a path, as JSON, through sys/raw.
func stored(t *testing.T, v *harness.Vault, path string) fields {
	t.Helper()
	id := member(read(t, v, "sys/mounts").Data["oauthcc/"], "uuid")
	return rawObject(t, read(t, v, fmt.Sprintf("sys/raw/logical/%v/%s", id, path)).text(t, "value"))
}

// TestNoKeyMaterialComesOut searches every answer, the server's log and the
// audit log for private keys. It covers keys that operators write, in each
// format and also into each wrong field, and keys that the engine generates.
func TestNoKeyMaterialComesOut(t *testing.T) {
	t.Parallel()
	v := harness.Start(t, harness.Options{Config: "raw_storage_endpoint = true"})
	d := newDetective()
	// A provider that repeats everything it receives.
	s := providertest.Start(t, providertest.RFC6749, providertest.Options{})
	s.Behave(providertest.Behavior{Times: -1, Echo: true, Status: http.StatusUnauthorized})
	client := fields{"token_url": s.TokenURL(), "client_id": "me", "token_endpoint_auth_method": "none"}
	signing := with(client, fields{"token_endpoint_auth_method": "private_key_jwt"})

	for _, kind := range []string{"RSA", "P-256", "P-521", "Ed25519"} {
		t.Run("of "+kind+", that is written", func(t *testing.T) {
			v := v.For(t)
			key := newKey(t, kind)
			d.knowKey(t, "the key of "+kind, key)
			text, object := pkcs8(t, key), jwk(t, key, "k-1")
			asJSON, err := json.Marshal(object)
			if err != nil {
				t.Fatal(err)
			}
			block, _ := pem.Decode([]byte(text))
			der := base64.StdEncoding.EncodeToString(block.Bytes)
			config := "written-" + strings.ToLower(kind)
			write(t, v, "oauthcc/config/"+config, client)
			for name, value := range map[string]any{
				"PEM": text, "PEM in one line": strings.ReplaceAll(text, "\n", `\n`), "PEM that is damaged": strings.Replace(text, "MI", "IM", 1) + "x",
				"DER in base64": der, "a JWK": string(asJSON), "a JWK as an object": object, "a JWK set": fields{"keys": []any{object}},
				"a list": []any{text}, "an encrypted one": strings.Replace(text, "PRIVATE KEY-----\n", "PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n", 1),
				"a public one's name": strings.ReplaceAll(text, "PRIVATE", "PUBLIC"),
			} {
				for _, field := range []string{
					"private_key", "tls_client_key", "signing_certificate", "tls_client_certificate", "tls_ca_certificate", "signing_key", "tls_key", "private_kee",
					"client_secret", "secret_parameters", "secret_variables", "token_url", "signing_algorithm", "dpop",
				} {
					d.writes(t, v, config, field, name, value)
				}
				// The content of these fields is public. A value of the wrong
				// type must still not be shown.
				for _, field := range []string{"parameters", "assertion_claims", "assertion_headers", "request_headers", "variables", "dpop_resources"} {
					d.writes(t, v, config, field, "a list of "+name, []any{value, 1})
				}
			}
			write(t, v, "oauthcc/config/"+config, with(signing, fields{"private_key": text, "key_id": "k-1", "dpop": true}))
			d.rounds(t, v, config)
			d.command(t, v, "read", "oauthcc/config/"+config)
			d.command(t, v, "write", "oauthcc/config/"+config, "private_key=@"+harness.WriteFile(t, text))
			d.command(t, v, "write", "oauthcc/config/"+config, "privat_key=@"+harness.WriteFile(t, text))
		})
	}
	for _, algorithm := range []string{"RS256", "ES256", "ES512", "EdDSA"} {
		t.Run("of "+algorithm+", that is made here", func(t *testing.T) {
			v := v.For(t)
			key := "made-" + strings.ToLower(algorithm)
			d.ask(t, v, http.MethodPost, "oauthcc/key/"+key, fields{"algorithm": algorithm}).wants(t, http.StatusNoContent)
			d.ask(t, v, http.MethodPost, "oauthcc/key/"+key+"/rotate", nil).wants(t, http.StatusNoContent)
			versions, _ := stored(t, v, "key/"+key)["versions"].([]any)
			for _, version := range versions {
				text, _ := member(version, "pem").(string)
				block, _ := pem.Decode([]byte(text))
				private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
				if err != nil {
					t.Fatal(err)
				}
				d.knowKey(t, "a version of "+key, private)
			}
			if len(versions) != 2 {
				t.Fatalf("%d versions are stored", len(versions))
			}
			write(t, v, "oauthcc/config/"+key, with(signing, fields{"signing_key": key, "tls_key": key, "dpop": true, "dpop_resources": s.URL()}))
			seed, _ := stored(t, v, "config/"+key)["seed"].(string)
			raw, err := base64.StdEncoding.DecodeString(seed)
			if err != nil || len(raw) < 16 {
				t.Fatalf("the seed of the DPoP keys is %q (%v)", seed, err)
			}
			d.know("the seed of the DPoP keys", string(raw))
			for _, path := range []string{"key/" + key, "key/" + key + "/certificate", "jwks/" + key, "config/" + key, "provider/generic"} {
				d.ask(t, v, http.MethodGet, "oauthcc/"+path, nil).wants(t, http.StatusOK)
			}
			d.ask(t, v, http.MethodPost, "oauthcc/key/"+key+"/csr", nil).wants(t, http.StatusOK)
			d.ask(t, v, http.MethodPost, "oauthcc/key/"+key, fields{"algorithm": "HS256", "retain": "x"}).wants(t, http.StatusBadRequest)
			d.rounds(t, v, key)
			d.ask(t, v, http.MethodPost, "oauthcc/proof/"+key, fields{"htm": "GET", "htu": s.URL() + "/x"}).wants(t, http.StatusBadRequest)
			d.ask(t, v, http.MethodPost, "oauthcc/proof/"+key, fields{"htm": "GET", "htu": s.URL() + "/x", "ath": strings.Repeat("A", 43)}).wants(t, http.StatusOK)
			d.ask(t, v, http.MethodDelete, "oauthcc/key/"+key, nil).wants(t, http.StatusBadRequest, "is used by")
			d.command(t, v, "read", "oauthcc/key/"+key)
		})
	}
	d.searchLogs(t, v)
}

// writes sends a key in a field, to every path that accepts fields.
func (d *detective) writes(t *testing.T, v *harness.Vault, config, field, what string, value any) {
	t.Helper()
	for _, request := range []struct {
		method, path string
		data         fields
	}{
		{http.MethodPost, "config/" + config, fields{field: value}},
		{http.MethodPost, "config/" + config, fields{field: value, "token_endpoint_auth_method": "private_key_jwt"}},
		{http.MethodPatch, "config/" + config, fields{field: value}},
		{http.MethodPost, "role/" + config + "/r", fields{field: value}},
		{http.MethodPost, "provider/p", fields{field: value}},
		{http.MethodPost, "key/k", fields{field: value}},
		{http.MethodPost, "key/k/certificate", fields{"certificate": value}},
		{http.MethodPost, "check/" + config, fields{field: value}},
	} {
		r := ask(t, v, request.method, "oauthcc/"+request.path, request.data)
		d.search(t, fmt.Sprintf("%s %s with %s in %s", request.method, request.path, what, field), r.raw)
	}
}

// Tests that the search would find each of these keys.
func TestDetectiveKnowsKeys(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"RSA", "P-256", "P-521", "Ed25519"} {
		d, key := newDetective(), newKey(t, kind)
		d.knowKey(t, kind, key)
		text := pkcs8(t, key)
		block, _ := pem.Decode([]byte(text))
		private, err := json.Marshal(jwk(t, key, "k-1"))
		if err != nil {
			t.Fatal(err)
		}
		public, err := json.Marshal(jwk(t, key.Public(), "k-1"))
		if err != nil {
			t.Fatal(err)
		}
		for form, said := range map[string]string{
			"PEM": text, "DER": string(block.Bytes), "base64": base64.URLEncoding.EncodeToString(block.Bytes), "hex": fmt.Sprintf("%x", block.Bytes), "a JWK": string(private),
		} {
			if !d.finds(said) {
				t.Errorf("%s is not found as %s", kind, form)
			}
		}
		if d.finds(string(public)) {
			t.Errorf("%s is found in its public half", kind)
		}
	}
}
