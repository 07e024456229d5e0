// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"bytes"
	"crypto/tls"
	"net/http"
	"testing"
)

func TestKeysAreMadeWhereAConfigNamesThem(t *testing.T) {
	t.Parallel()
	var k Keys
	fill := func(config map[string]any) map[string]any {
		t.Helper()
		out, err := k.Fill(config)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, algorithm := range []string{"RS256", "PS512", "ES256", "ES384", "ES512", "EdDSA"} {
		config := map[string]any{
			"client_id": "c", "private_key": "generated " + algorithm, "signing_certificate": "generated",
			"tls_client_key": "generated " + algorithm, "tls_client_certificate": "generated",
		}
		got := fill(config)
		for key, certificate := range map[string]string{"private_key": "signing_certificate", "tls_client_key": "tls_client_certificate"} {
			if _, err := tls.X509KeyPair([]byte(got[certificate].(string)), []byte(got[key].(string))); err != nil { //nolint:forcetypeassert // a test
				t.Errorf("%s, %s: %v", algorithm, key, err)
			}
		}
		again := fill(map[string]any{"private_key": "generated " + algorithm})
		if got["client_id"] != "c" || again["private_key"] != got["private_key"] || got["private_key"] == got["tls_client_key"] {
			t.Errorf("%s: the keys are not one for each field", algorithm)
		}
		if config["private_key"] != "generated "+algorithm {
			t.Error("the config itself was changed")
		}
	}
	if got := fill(map[string]any{"client_secret": "s", "private_key": "given"}); got["private_key"] != "given" || len(got) != 2 {
		t.Errorf("what is not to be generated was changed: %v", got)
	}
	if _, err := k.Fill(map[string]any{"private_key": "generated none"}); err == nil {
		t.Error("an algorithm that is none was taken")
	}
}

func TestAServerTellsWhichCertificateTheClientShowed(t *testing.T) {
	t.Parallel()
	s := Start(t, RFC6749, Options{TLS: true})
	if _, err := send(t, s, s.TokenURL(), good(RFC6749)); err != nil || s.Last().Certificate != nil {
		t.Errorf("%v: without one it says %v", err, s.Last().Certificate)
	}
	var k Keys
	config, err := k.Fill(map[string]any{"tls_client_key": "generated ES256", "tls_client_certificate": "generated"})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair([]byte(config["tls_client_certificate"].(string)), []byte(config["tls_client_key"].(string))) //nolint:forcetypeassert // a test
	if err != nil {
		t.Fatal(err)
	}
	transport := s.client.Transport.(*http.Transport) //nolint:forcetypeassert // its own
	transport.CloseIdleConnections()
	transport.TLSClientConfig.Certificates = []tls.Certificate{pair}
	if _, err := send(t, s, s.TokenURL(), good(RFC6749)); err != nil || !bytes.Equal(s.Last().Certificate, pair.Certificate[0]) {
		t.Errorf("%v: it says another than the client's", err)
	}
}
