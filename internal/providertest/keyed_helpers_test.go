// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package providertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // x5t is a SHA-1 thumbprint, which the server refuses
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

type members = map[string]any

// showing is a request by a client of a dialect with keys.
type showing struct {
	key    crypto.Signer
	alg    jose.SignatureAlgorithm
	header members // the assertion's header
	claims members
	form   url.Values
	proof  *proving
	host   string
	basic  [2]string
	tls    *tls.Certificate
}

// proving is a DPoP proof.
type proving struct {
	key            crypto.Signer
	alg            jose.SignatureAlgorithm
	header, claims members
}

func newRSA(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newEC(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// certify returns a self-signed certificate of a key.
func certify(t *testing.T, key crypto.Signer, ends time.Time) string {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "client"}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: ends}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf(der)
}

func sign(t *testing.T, key crypto.Signer, alg jose.SignatureAlgorithm, header, claims members) string {
	t.Helper()
	o := &jose.SignerOptions{}
	for name, v := range header {
		o.WithHeader(jose.HeaderKey(name), v)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// prover returns a valid proof for the token endpoint.
func prover(t *testing.T, s *Server) *proving {
	t.Helper()
	key := newEC(t)
	return &proving{
		key: key, alg: jose.ES256, header: members{"typ": "dpop+jwt", "jwk": jose.JSONWebKey{Key: key.Public()}},
		claims: members{"htm": "POST", "htu": s.known() + s.tokenPath, "iat": time.Now().Unix(), "jti": rand.Text(), "nonce": s.nonce},
	}
}

// shows returns a valid request of a dialect with keys. It also makes the server know
// the key.
func shows(t *testing.T, s *Server, d Dialect, key crypto.Signer) showing {
	t.Helper()
	c, now := s.Credentials(), time.Now()
	out := showing{
		key: key, alg: jose.RS256, header: members{}, host: strings.TrimPrefix(s.known(), "https://"), form: url.Values{},
		claims: members{"iss": c.ClientID, "aud": s.known() + s.tokenPath, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix()},
	}
	if d != ADP && d != Okta {
		id, err := s.Upload(certify(t, key, now.Add(time.Hour)))
		if err != nil {
			t.Fatal(err)
		}
		out.header["kid"] = id
	}
	client := func(scope string) {
		out.claims["sub"] = c.ClientID
		out.form = pairs("grant_type", "client_credentials", "client_id", c.ClientID, "scope", scope, "client_assertion_type", assertionType)
	}
	switch d {
	case ADP:
		out.form.Set("grant_type", "client_credentials")
		out.basic = [2]string{c.ClientID, c.ClientSecret}
		out.tls = signedByADP(t, s, ADPOrganization)
	case Entra:
		client("https://graph.microsoft.com/.default")
		out.alg, out.claims["nbf"] = jose.PS256, now.Unix()
		out.header = members{"typ": "JWT", "x5t#S256": thumbprint(s)}
	case Google:
		out.header["typ"] = "JWT"
		out.claims["scope"] = "https://www.googleapis.com/auth/pubsub"
		out.form.Set("grant_type", bearerGrant)
	case Okta:
		client("okta.users.read okta.groups.read")
		out.header["kid"] = "k-1"
		jwks := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k-1", Use: "sig"}}}) // a client that has gone away reports the failure itself
		}))
		t.Cleanup(jwks.Close)
		s.FetchKeys(jwks.URL, jwks.Client())
		out.proof = prover(t, s)
	case Salesforce:
		out.claims["sub"], out.claims["aud"] = c.Username, s.known()
		out.form.Set("grant_type", bearerGrant)
	}
	return out
}

// thumbprint returns the SHA-256 thumbprint of the certificate that was
// uploaded last.
func thumbprint(s *Server) string {
	sum := sha256.Sum256(s.keys.certificates[len(s.keys.certificates)-1].Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func signedByADP(t *testing.T, s *Server, organization string) *tls.Certificate {
	t.Helper()
	key := newRSA(t)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{Organization: []string{organization}}}, key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := s.SignCSR(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(text))
	return &tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}
}

// ask sends the request and returns the answer.
func (w showing) ask(t *testing.T, s *Server) answer {
	t.Helper()
	form := maps.Clone(w.form)
	if w.key != nil {
		assertion := sign(t, w.key, w.alg, w.header, w.claims)
		if form.Get("grant_type") == bearerGrant {
			form.Set("assertion", assertion)
		} else if form.Get("client_assertion_type") != "" {
			form.Set("client_assertion", assertion)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.TokenURL(), strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Host = w.host
	r.Header.Set("Content-Type", formType)
	if w.proof != nil {
		r.Header.Set("DPoP", sign(t, w.proof.key, w.proof.alg, w.proof.header, w.proof.claims))
	}
	if w.basic[0] != "" {
		r.SetBasicAuth(w.basic[0], w.basic[1])
	}
	trusting, _ := s.Client().Transport.(*http.Transport)
	transport := trusting.Clone()
	defer transport.CloseIdleConnections()
	if w.tls != nil {
		transport.TLSClientConfig.Certificates = []tls.Certificate{*w.tls}
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(raw)}
}

// set returns a change that sets a claim, or removes it if the value is nil.
func set(name string, value any) func(*testing.T, *Server, *showing) {
	return func(_ *testing.T, _ *Server, w *showing) { change(w.claims, name, value) }
}

// setTime returns a change that sets a claim to a time relative to now.
func setTime(name string, from time.Duration) func(*testing.T, *Server, *showing) {
	return func(_ *testing.T, _ *Server, w *showing) { w.claims[name] = time.Now().Add(from).Unix() }
}

func setProofTime(from time.Duration) func(*testing.T, *Server, *showing) {
	return func(_ *testing.T, _ *Server, w *showing) { w.proof.claims["iat"] = time.Now().Add(from).Unix() }
}

func setHeader(name string, value any) func(*testing.T, *Server, *showing) {
	return func(_ *testing.T, _ *Server, w *showing) { change(w.header, name, value) }
}

func setForm(name, value string) func(*testing.T, *Server, *showing) {
	return func(_ *testing.T, _ *Server, w *showing) { w.form.Set(name, value) }
}

func setProof(name string, value any) func(*testing.T, *Server, *showing) {
	return func(_ *testing.T, _ *Server, w *showing) { change(w.proof.claims, name, value) }
}

func otherKey(t *testing.T, _ *Server, w *showing) { w.key = newRSA(t) }

func otherAlg(alg jose.SignatureAlgorithm) func(*testing.T, *Server, *showing) {
	return func(_ *testing.T, _ *Server, w *showing) { w.alg = alg }
}

// twice sends the same assertion once before the actual request.
func twice(t *testing.T, s *Server, w *showing) {
	first := *w
	if w.proof != nil {
		first.proof = prover(t, s)
	}
	if got := first.ask(t, s); got.status != http.StatusOK {
		t.Fatalf("the first time: %d %s", got.status, got.body)
	}
}

func change(m members, name string, value any) {
	if value == nil {
		delete(m, name)
	} else {
		m[name] = value
	}
}

func sha1Thumbprint(_ *testing.T, s *Server, w *showing) {
	sum := sha1.Sum(s.keys.certificates[0].Raw) //nolint:gosec // as above
	w.header = members{"typ": "JWT", "x5t": base64.RawURLEncoding.EncodeToString(sum[:])}
}

func unsigned(t *testing.T) *tls.Certificate {
	t.Helper()
	key := newRSA(t)
	block, _ := pem.Decode([]byte(certify(t, key, time.Now().Add(time.Hour))))
	return &tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}
}
