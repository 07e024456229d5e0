// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/framework" //nolint:depguard // it is a plugin
	"github.com/hashicorp/vault/sdk/logical"   //nolint:depguard // it is a plugin
)

// minter requests tokens. It keeps as many connections as the engine keeps for
// one provider.
type minter struct {
	client http.Client

	mu                   sync.RWMutex
	endpoint, id, secret string
}

// mintPath is as long as a token's path and uses Callbacks, for the reasons
// that the package comment and factory give.
func mintPath(lease *framework.Secret) *framework.Path {
	m := &minter{client: http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}}
	return &framework.Path{
		Pattern: "mint/token",
		Fields: map[string]*framework.FieldSchema{
			"token_url": {Type: framework.TypeString}, "client_id": {Type: framework.TypeString}, "client_secret": {Type: framework.TypeString},
		},
		Callbacks: map[logical.Operation]framework.OperationFunc{ //nolint:staticcheck // deprecated, and cheaper
			logical.UpdateOperation: func(_ context.Context, _ *logical.Request, d *framework.FieldData) (*logical.Response, error) {
				m.mu.Lock()
				defer m.mu.Unlock()
				m.endpoint, _ = d.Get("token_url").(string)
				m.id, _ = d.Get("client_id").(string)
				m.secret, _ = d.Get("client_secret").(string)
				return nil, nil
			},
			logical.ReadOperation: func(ctx context.Context, _ *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
				data, err := m.mint(ctx)
				if err != nil {
					return nil, err
				}
				resp := lease.Response(data, nil)
				resp.Secret.TTL, resp.Secret.MaxTTL = leaseTTL, leaseTTL
				return resp, nil
			},
		},
	}
}

func (m *minter) mint(ctx context.Context) (map[string]any, error) {
	m.mu.RLock()
	endpoint, id, secret := m.endpoint, m.id, m.secret
	m.mu.RUnlock()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader("grant_type=client_credentials"))
	if err != nil {
		return nil, errors.New("making the request")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	resp, err := m.client.Do(req)
	if err != nil {
		return nil, errors.New("asking the provider")
	}
	defer resp.Body.Close()
	var token struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int64  `json:"expires_in"`
		Scope       string `json:"scope"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&token); err != nil || token.AccessToken == "" {
		return nil, fmt.Errorf("the provider answered %d", resp.StatusCode)
	}
	return map[string]any{
		"access_token": token.AccessToken, "token_type": token.TokenType, "expires_in": token.ExpiresIn, "scope": token.Scope,
		"expires_at": time.Now().Add(time.Duration(token.ExpiresIn) * time.Second).UTC().Format(time.RFC3339),
	}, nil
}
