// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
)

const (
	// maxSources bounds the memory for servers' metadata, at about a kilobyte each.
	maxSources = 4096

	// metadataAgain is how soon a server is asked again that returned no metadata, or
	// whose endpoints fail.
	metadataAgain = time.Minute

	// metadataNow is how old metadata may be for operators, who may have just changed
	// it.
	metadataNow = 5 * time.Second
)

// discoveries keeps the metadata of servers by their SourceID, for all configs that
// ask one server in the same way.
type discoveries struct {
	mu   sync.Mutex // guards the elements of kept
	kept *lru.Cache[string, *discovery]
}

// discovery is what is known of one server.
type discovery struct {
	found  *provider.Discovered // as last read, nil before
	asked  time.Time            // when the server was last asked
	failed error                // why that failed, nil if it did not
	asking bool                 // whether a background job is asking
}

func newDiscoveries() *discoveries {
	kept, err := lru.New[string, *discovery](maxSources)
	if err != nil { // only a size below one is an error
		panic(err)
	}
	return &discoveries{kept: kept}
}

// of returns what is known of that server.
func (ds *discoveries) of(id string) discovery {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if d, ok := ds.kept.Get(id); ok {
		return *d
	}
	return discovery{}
}

// change changes what is known of that server.
func (ds *discoveries) change(id string, to func(*discovery)) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	d, ok := ds.kept.Get(id)
	if !ok {
		d = &discovery{}
		ds.kept.Add(id, d)
	}
	to(d)
}

// begin reports whether the server must be asked now, and marks it as being asked.
// Metadata is doubted if its endpoints fail, however fresh it is.
func (ds *discoveries) begin(id string, confirmed *provider.Discovered, doubted bool, now time.Time) (due bool) {
	ds.change(id, func(d *discovery) {
		switch {
		case d.asking:
		case d.failed != nil || doubted:
			due = !now.Before(d.asked.Add(metadataAgain))
		default:
			due = !now.Before(later(d.found, confirmed).FreshUntil)
		}
		d.asking = d.asking || due
	})
	return due
}

// discoverNow asks the server that names the endpoints of e, for an operator who
// wants to know, and returns the result.
func (b *backend) discoverNow(ctx context.Context, e *provider.Effective) (*provider.Discovered, error) {
	id, err := e.SourceID()
	if err != nil {
		return nil, err
	}
	if d := b.discovered.of(id); d.found != nil && d.failed == nil && b.now().Before(d.asked.Add(metadataNow)) {
		return d.found, nil
	}
	return b.discover(ctx, e, id)
}

// discoverBehind asks the server that names c's endpoints in the background, if that
// is due. Until it answers, the known endpoints are used.
func (b *backend) discoverBehind(ctx context.Context, c *config, doubted bool) {
	e := c.effective
	if e.Discovered() == nil {
		return
	}
	id, err := e.SourceID()
	if err != nil || !b.discovered.begin(id, e.Discovered(), doubted, b.now()) {
		return
	}
	end := func() { b.discovered.change(id, func(d *discovery) { d.asking = false }) }
	asked := b.work.run(ctx, "discovery of "+id, func(ctx context.Context) {
		defer end()
		if _, err := b.discover(ctx, e, id); err != nil {
			b.log().Warn("no metadata; what is known of the endpoints is used", "config", c.config, "error", err)
		}
	})
	if !asked {
		end()
	}
}

// doubt causes the metadata to be read again if an endpoint fails, because the
// endpoint may have moved.
func (b *backend) doubt(ctx context.Context, c *config, err error) {
	var failed *grant.Error
	if errors.As(err, &failed) && !failed.OfRequest() && !failed.Holds() && failed.Kind != grant.RateLimited {
		b.discoverBehind(ctx, c, true)
	}
}

// discover asks the server and keeps the answer.
func (b *backend) discover(ctx context.Context, e *provider.Effective, id string) (*provider.Discovered, error) {
	found, err := b.askForMetadata(ctx, e)
	if err != nil {
		err = fmt.Errorf("the endpoints that %s leads to cannot be found: %w", e.Source(), err)
	}
	b.discovered.change(id, func(d *discovery) {
		d.asked, d.failed = b.now(), err
		if err == nil {
			d.found = found
		}
	})
	if err == nil {
		b.views.dropConfigs() // they may have been made of older metadata
	}
	return found, err
}

// askForMetadata asks the source of e for its metadata. A resource is first asked
// for its authorization server.
func (b *backend) askForMetadata(ctx context.Context, e *provider.Effective) (*provider.Discovered, error) {
	request, found := e.MetadataRequest(), &provider.Discovered{Source: e.Source()}
	ctx, cancel := grant.WithTimeout(ctx, request.Timeout)
	defer cancel()
	issuer, until := found.Source.Issuer, time.Time{}
	if found.Source.Resource != "" {
		resource, err := b.client.ResourceMetadata(ctx, found.Source.Resource, request)
		if err != nil {
			return nil, err
		}
		if issuer, err = e.AuthorizationServer(resource); err != nil {
			return nil, err
		}
		until = resource.FreshUntil
	}
	metadata, err := b.client.ServerMetadata(ctx, issuer, request)
	if err != nil {
		return nil, err
	}
	found.ServerMetadata = *metadata
	if !until.IsZero() && until.Before(found.FreshUntil) {
		found.FreshUntil = until
	}
	if err := e.CheckDiscovered(found); err != nil {
		return nil, err
	}
	return found, nil
}

// latest returns the last metadata that names e's endpoints, read by this process or
// when the config was written, and the error of a later attempt. It returns nil if
// e's endpoints are written in fields.
func (b *backend) latest(e *provider.Effective) (*provider.Discovered, error) {
	confirmed := e.Discovered()
	if confirmed == nil {
		return nil, nil
	}
	id, err := e.SourceID()
	if err != nil {
		return nil, err
	}
	d := b.discovered.of(id)
	return later(d.found, confirmed), d.failed
}

// later returns the one that was read later. The first may be nil.
func later(found, confirmed *provider.Discovered) *provider.Discovered {
	if found == nil || found.ReadAt.Before(confirmed.ReadAt) {
		return confirmed
	}
	return found
}

// mustDiscover reports whether the server that names c's endpoints must be asked
// before c is stored: if the endpoints are not known, or if the change confirms them,
// because it brings all of the config's secrets.
func (c *config) mustDiscover(old *configEntry, brought []string, done answered) bool {
	source := c.effective.Source()
	if source == (provider.Source{}) || done.found != nil && done.found.Source == source {
		return false
	}
	return c.effective.Discovered() == nil || done.confirming && len(kept(old, c.entry, brought)) == 0
}

// findEndpoints asks for the metadata that names c's endpoints. The previous metadata
// is kept while the server returns none.
func (b *backend) findEndpoints(ctx context.Context, _ logical.Storage, c *config, done *answered) error {
	found, err := b.discoverNow(ctx, c.effective)
	if err != nil && c.effective.Discovered() == nil {
		return fmt.Errorf("%s: not written: %w", c.target, err)
	}
	done.found, done.undiscovered = found, err
	if err != nil {
		done.found = c.effective.Discovered()
	}
	return nil
}

// discoveryWarnings returns what keeps c from getting tokens according to the
// server's metadata, and why there is no newer metadata.
func (c *config) discoveryWarnings() []string {
	var out []string
	if c.undiscovered != nil {
		out = append(out, explained(c.undiscovered)+"; those that were found before are used")
	}
	if c.held != nil {
		return append(out, "this config gives no token as it stands: "+c.held.Error())
	}
	return append(out, c.effective.Mismatches()...)
}

// rediscover asks the server that names the endpoints of that config, for an
// operator who wants to know. The first error says why they could not be found; then
// the previous endpoints are used.
func (b *backend) rediscover(ctx context.Context, s logical.Storage, t target) (undiscovered, _ error) {
	c, err := b.load(ctx, s, target{config: t.config}, inputs{})
	if err != nil || c.effective.Discovered() == nil {
		return nil, err
	}
	_, err = b.discoverNow(ctx, c.effective)
	return err, nil
}

func discoveredField() *framework.FieldSchema {
	return &framework.FieldSchema{Type: framework.TypeMap, Description: "The endpoints that were found through issuer or resource_url, if no field names them: the issuer, token_url, revocation_url (if there is one), and when that was read (read_at) and is read again (fresh_until; RFC 3339, UTC)."}
}

// tellDiscovered describes the endpoints that were found rather than written.
func (b *backend) tellDiscovered(c *config, resp *logical.Response) {
	latest, _ := b.latest(c.effective)
	if latest == nil {
		return
	}
	d := c.effective.Dialect
	said := map[string]any{"issuer": d.Issuer, "token_url": d.TokenURL, "read_at": stamp(latest.ReadAt), "fresh_until": stamp(latest.FreshUntil)}
	if d.RevocationURL != "" {
		said["revocation_url"] = d.RevocationURL
	}
	resp.Data["discovered"] = said
	for _, text := range c.discoveryWarnings() {
		resp.AddWarning(text)
	}
}
