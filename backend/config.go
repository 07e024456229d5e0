// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
)

const (
	defaultRequestTimeout = 10 * time.Second
	maxRequestTimeout     = 60 * time.Second
)

// settings are the fields of a config that say how its tokens are handed out.
type settings struct {
	Provider         string `json:"provider"`
	TTL              int64  `json:"ttl"` // seconds, as all durations here
	MaxTTL           int64  `json:"max_ttl"`
	RequestTimeout   int64  `json:"request_timeout"`
	VerifyConnection bool   `json:"verify_connection"`
}

// config is a client registration with all that it comes to.
type config struct {
	name  string
	entry *configEntry
	settings
	effective *provider.Effective
}

// loadConfig reads the config of that name and resolves it. Without one the
// error names it, since Vault's clients throw a 404's text away.
func (b *backend) loadConfig(ctx context.Context, s logical.Storage, name string) (*config, error) {
	entry, err := load[configEntry](ctx, s, configPrefix+name)
	if err != nil {
		return nil, err
	}
	if entry == nil {
		return nil, refuse("no config %q: write config/%s first, or see the list of config/", name, name)
	}
	c, err := b.resolve(ctx, s, name, entry)
	if err != nil {
		return nil, fmt.Errorf("config %q: %w", name, err)
	}
	origin, err := c.effective.Origin()
	if err != nil {
		return nil, fmt.Errorf("config %q: %w", name, err)
	}
	if origin != entry.Origin {
		return nil, refuse("config %q: its provider %q now sends credentials elsewhere than when they were written; write the config's secrets again to confirm that", name, c.Provider)
	}
	return c, nil
}

// resolve lays entry over its provider.
func (b *backend) resolve(ctx context.Context, s logical.Storage, name string, entry *configEntry) (*config, error) {
	c := &config{name: name, entry: entry}
	var registration struct {
		settings
		provider.Registration
	}
	if err := remarshal(entry.Fields, &registration); err != nil {
		return nil, err
	}
	c.settings = registration.settings
	if c.Provider == "" {
		c.Provider = provider.Generic
	}
	definition, err := b.definition(ctx, s, c.Provider)
	if err != nil {
		return nil, err
	}
	if definition == nil {
		return nil, b.unknownProvider(ctx, s, c.Provider)
	}
	own := entry.Fields.Only(provider.Fields())
	delete(own, "variables") // on a config: values, which the registration has
	registration.Registration.RequestTimeout = c.timeout()
	c.effective, err = provider.Resolve(definition, own, registration.Registration)
	return c, err
}

func (s settings) timeout() time.Duration {
	if s.RequestTimeout == 0 {
		return defaultRequestTimeout
	}
	return time.Duration(s.RequestTimeout) * time.Second
}

// check refuses settings that contradict each other.
func (s settings) check() error {
	if s.timeout() > maxRequestTimeout {
		return refuse("request_timeout must be at most %s: a read that hangs holds up a step-down of the whole Vault", maxRequestTimeout)
	}
	if s.MaxTTL > 0 && s.TTL > s.MaxTTL {
		return refuse("ttl must not be longer than max_ttl")
	}
	return nil
}

// key names the token that c comes to. It changes with anything that changes
// the request, and says nothing about it.
func (c *config) key() (string, error) {
	identity, err := c.effective.Identity()
	if err != nil {
		return "", fmt.Errorf("hashing the request of config %q: %w", c.name, err)
	}
	mac := hmac.New(sha256.New, c.entry.Epoch)
	mac.Write(identity)
	return c.name + "/" + hex.EncodeToString(mac.Sum(nil)), nil
}

// mint runs c's grant.
func (b *backend) mint(ctx context.Context, c *config) (*grant.Token, error) {
	if d := c.effective.Dialect; d.ScopesRequired && len(d.Scopes) == 0 {
		return nil, refuse("config %q: provider %q grants nothing without a scope: write scopes to the config", c.name, c.Provider)
	}
	request, err := c.effective.Request()
	if err != nil {
		return nil, fmt.Errorf("config %q: %w", c.name, err)
	}
	token, err := b.client.Mint(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("config %q: no token from provider %q: %w", c.name, c.Provider, err)
	}
	return token, nil
}

func newEpoch() ([]byte, error) {
	epoch := make([]byte, 32)
	if _, err := rand.Read(epoch); err != nil {
		return nil, fmt.Errorf("drawing a random epoch: %w", err)
	}
	return epoch, nil
}

// remarshal reads a layer into its typed form.
func remarshal(l provider.Layer, into any) error {
	raw, err := json.Marshal(l)
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		return errors.New("the stored fields cannot be decoded: write the config again") // err may quote a secret
	}
	return nil
}
