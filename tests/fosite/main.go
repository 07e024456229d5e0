// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

// Command fosite serves Ory's fosite, the OAuth library that Hydra uses, over
// TLS on a free loopback port, for the acceptance tests. It is a separate
// module, so that none of its code is linked into the plugin.
//
//	fosite options.json
//
// The options:
//
//   - certificate and key: of the server, in PEM.
//   - clients: metadata (RFC 7591) by client ID.
//   - users: passwords by name.
//   - bearers: public JWKs by name. A bearer gets tokens for a JWT that it
//     signs (RFC 7523).
//
// The first line of standard output is the issuer.
package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/go-jose/go-jose/v3"
	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"
	"github.com/ory/fosite/storage"
)

type options struct {
	Certificate, Key string
	Clients          map[string]client
	Users            map[string]string
	Bearers          map[string]*jose.JSONWebKey
}

// client is a registered client. Its secret is hashed before fosite gets it.
type client struct {
	fosite.DefaultOpenIDConnectClient
	PlainSecret string `json:"secret"`
}

func main() {
	if err := run(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var o options
	if err := json.Unmarshal(raw, &o); err != nil {
		return err
	}
	certificate, err := tls.X509KeyPair([]byte(o.Certificate), []byte(o.Key))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	issuer := "https://" + listener.Addr().String()
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return err
	}
	config := &fosite.Config{
		GlobalSecret: secret, TokenURL: issuer + "/token",
		AccessTokenLifespan: 30 * time.Minute,
		RefreshTokenScopes:  []string{"offline"},
		JWKSFetcherStrategy: fosite.NewDefaultJWKSFetcherStrategy(),
		HashCost:            4, // few rounds of bcrypt, because the secrets are samples
	}
	config.GrantTypeJWTBearerCanSkipClientAuth = true // the JWT identifies the client
	config.ClientSecretsHasher = &fosite.BCrypt{Config: config}
	store := storage.NewMemoryStore()
	for name, password := range o.Users {
		store.Users[name] = storage.MemoryUserRelation{Username: name, Password: password}
	}
	for name, key := range o.Bearers {
		keys := map[string]storage.PublicKeyScopes{key.KeyID: {Key: key, Scopes: []string{"read"}}}
		store.IssuerPublicKeys[name] = storage.IssuerPublicKeys{
			Issuer: name, KeysBySub: map[string]storage.SubjectPublicKeys{name: {Subject: name, Keys: keys}},
		}
	}
	for id, c := range o.Clients {
		if c.PlainSecret != "" {
			if c.Secret, err = config.ClientSecretsHasher.Hash(context.Background(), []byte(c.PlainSecret)); err != nil {
				return err
			}
		}
		c.ID = id
		store.Clients[id] = &c.DefaultOpenIDConnectClient
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           endpoints(issuer, compose.ComposeAllEnabled(config, store, key)),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
		ReadHeaderTimeout: 10 * time.Second,
	}
	fmt.Println(issuer)
	return server.ServeTLS(listener, "", "")
}

func endpoints(issuer string, p fosite.OAuth2Provider) http.Handler {
	mux := http.NewServeMux()
	// Hydra serves its metadata at this path.
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{ // the client may have gone away
			"issuer": issuer, "token_endpoint": issuer + "/token", "revocation_endpoint": issuer + "/revoke",
			"token_endpoint_auth_methods_supported": []string{"client_secret_post", "client_secret_basic", "private_key_jwt", "none"},
		})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		request, err := p.NewAccessRequest(r.Context(), r, new(fosite.DefaultSession))
		if err != nil {
			p.WriteAccessError(r.Context(), w, request, err)
			return
		}
		// NewAccessRequest has checked what the client may have, so grant all
		// that it requests.
		for _, scope := range request.GetRequestedScopes() {
			request.GrantScope(scope)
		}
		for _, audience := range request.GetRequestedAudience() {
			request.GrantAudience(audience)
		}
		response, err := p.NewAccessResponse(r.Context(), request)
		if err != nil {
			p.WriteAccessError(r.Context(), w, request, err)
			return
		}
		p.WriteAccessResponse(r.Context(), w, request, response)
	})
	mux.HandleFunc("POST /introspect", func(w http.ResponseWriter, r *http.Request) {
		response, err := p.NewIntrospectionRequest(r.Context(), r, new(fosite.DefaultSession))
		if err != nil { // also if the token is not active
			p.WriteIntrospectionError(r.Context(), w, err)
			return
		}
		p.WriteIntrospectionResponse(r.Context(), w, response)
	})
	mux.HandleFunc("POST /revoke", func(w http.ResponseWriter, r *http.Request) {
		p.WriteRevocationResponse(r.Context(), w, p.NewRevocationRequest(r.Context(), r))
	})
	return mux
}
