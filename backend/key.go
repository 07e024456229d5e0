// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

// keyEntry is a stored signing key: its versions, oldest first.
type keyEntry struct {
	header
	Algorithm      signing.Algorithm `json:"algorithm"`
	RotationPeriod int64             `json:"rotation_period,omitempty"` // seconds, as all durations here
	PublishAhead   int64             `json:"publish_ahead"`
	Retain         int64             `json:"retain"`
	// AllowedAudiences are audiences that assertions may be signed for, beside the
	// host that they are sent to.
	AllowedAudiences []string     `json:"allowed_audiences,omitempty"`
	Versions         []keyVersion `json:"versions"`
}

func (*keyEntry) schema() int { return 1 }

// keyVersion is one private key. It signs from a given time until the next
// version's time, so that its state follows from the time alone.
type keyVersion struct {
	ID          string    `json:"id"` // kid
	PEM         string    `json:"pem"`
	Created     time.Time `json:"created"`
	From        time.Time `json:"from"`
	SelfSigned  string    `json:"self_signed"`           // PEM
	Certificate string    `json:"certificate,omitempty"` // PEM, leaf first: what an authority made of its CSR
}

// keyState says what a version is used for.
type keyState string

const (
	keyNext     keyState = "next"     // published, and not signing yet
	keyCurrent  keyState = "current"  // signing
	keyPrevious keyState = "previous" // published, and not signing any more
)

const (
	defaultPublishAhead = 24 * 60 * 60
	defaultRetain       = 24 * 60 * 60

	// maxVersions bounds the versions of a key. Every published version costs
	// computing time when somebody fetches the JWK set, which needs no Vault token.
	maxVersions = 10

	// selfSignedYears is how long a version's self-signed certificate lasts.
	// Providers refuse an expired certificate, and one that lasts too long.
	selfSignedYears = 2
)

// statefulKey is a version with its state at a given time.
type statefulKey struct {
	keyVersion
	state keyState
	until time.Time // when its state ends; zero when nothing says so
}

// at returns the versions in use at a given time, in the order next, current,
// previous.
func (e *keyEntry) at(now time.Time) []statefulKey {
	var out []statefulKey
	current := e.current(now)
	for i := len(e.Versions) - 1; i >= 0; i-- {
		v := statefulKey{keyVersion: e.Versions[i], state: keyCurrent}
		switch {
		case i > current:
			v.state, v.until = keyNext, v.From
		case i < current:
			v.state, v.until = keyPrevious, e.Versions[i+1].From.Add(time.Duration(e.Retain)*time.Second)
			if !now.Before(v.until) {
				continue
			}
		case e.RotationPeriod > 0:
			v.until = v.From.Add(time.Duration(e.RotationPeriod) * time.Second)
		}
		out = append(out, v)
	}
	return out
}

// current returns the index of the version that signs.
func (e *keyEntry) current(now time.Time) int {
	for i := len(e.Versions) - 1; i > 0; i-- {
		if !e.Versions[i].From.After(now) {
			return i
		}
	}
	return 0
}

// changes returns when the next version begins to sign; zero without one.
func (e *keyEntry) changes(now time.Time) time.Time {
	if i := e.current(now) + 1; i < len(e.Versions) {
		return e.Versions[i].From
	}
	return time.Time{}
}

// hasNext reports whether a version waits to sign.
func (e *keyEntry) hasNext(now time.Time) bool { return e.current(now) < len(e.Versions)-1 }

// add makes a version that signs from the given time on.
func (e *keyEntry) add(name string, now, from time.Time) error {
	k, err := signing.Generate(e.Algorithm)
	if err != nil {
		return fmt.Errorf("algorithm %w", err)
	}
	text, err := k.MarshalPEM()
	if err != nil {
		return err
	}
	certificate, err := k.SelfSigned(name, now.Add(-clockSkew), now.AddDate(selfSignedYears, 0, 0))
	if err != nil {
		return err
	}
	e.Versions = append(e.Versions, keyVersion{ID: k.Thumbprint(), PEM: text, Created: now, From: from, SelfSigned: certificate.PEM()})
	return nil
}

// clockSkew is how far another node's clock may be behind this one.
const clockSkew = 5 * time.Minute

// prune drops the versions that neither sign nor are published any more.
func (e *keyEntry) prune(now time.Time) {
	kept := e.at(now)
	e.Versions = slices.DeleteFunc(e.Versions, func(v keyVersion) bool {
		return !slices.ContainsFunc(kept, func(k statefulKey) bool { return k.ID == v.ID })
	})
}

// rotate makes the next version, which signs after it has been published for
// publish_ahead. With now it signs at once, and so does a version that waits.
func (e *keyEntry) rotate(name string, at time.Time, immediately bool) error {
	e.prune(at)
	if !e.hasNext(at) {
		if len(e.Versions) >= maxVersions {
			return refuse("key %q has %d published versions, which is the limit: write a shorter retain to key/%s, or wait", name, len(e.Versions), name)
		}
		from := at.Add(time.Duration(e.PublishAhead) * time.Second)
		if err := e.add(name, at, from); err != nil {
			return err
		}
	}
	if last := &e.Versions[len(e.Versions)-1]; immediately && last.From.After(at) {
		last.From = at
	}
	return nil
}

// due reports whether the next version must be made now, so that it has been
// published for long enough when the period of the current version ends.
func (e *keyEntry) due(now time.Time) bool {
	if e.RotationPeriod == 0 || e.hasNext(now) {
		return false
	}
	signsUntil := e.Versions[e.current(now)].From.Add(time.Duration(e.RotationPeriod) * time.Second)
	return !now.Before(signsUntil.Add(-time.Duration(e.PublishAhead) * time.Second))
}

// rotateKeys makes the next version of each key that is due, and drops versions
// that are no longer published. Vault calls it every minute.
func (b *backend) rotateKeys(ctx context.Context, s logical.Storage) error {
	if n := b.node(); n.standby() || n.secondary() {
		return nil // another node writes the keys
	}
	names, err := listStorage(keyPrefix)(ctx, s)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := b.rotateKey(ctx, s, name); err != nil {
			b.log().Error("a key could not be rotated; it goes on signing", "key", name, "error", err)
		}
	}
	return nil
}

func (b *backend) rotateKey(ctx context.Context, s logical.Storage, name string) error {
	entry, err := load[keyEntry](ctx, s, keyPrefix+name)
	if err != nil || entry == nil {
		return err
	}
	if now := b.now(); !entry.due(now) && len(entry.at(now)) == len(entry.Versions) {
		return nil
	}
	return b.updateKey(ctx, s, name, func(e *keyEntry) error {
		if now := b.now(); e.due(now) {
			return e.rotate(name, now, false)
		}
		e.prune(b.now())
		return nil
	})
}

// updateKey changes a stored key while it holds the key's turn to write.
func (b *backend) updateKey(ctx context.Context, s logical.Storage, name string, change func(*keyEntry) error) error {
	leave, err := b.writers.enter(ctx, keyPrefix+name)
	if err != nil {
		return err
	}
	defer leave()
	entry, err := load[keyEntry](ctx, s, keyPrefix+name)
	if err != nil {
		return err
	}
	if entry == nil {
		return noKey(name)
	}
	if err := change(entry); err != nil {
		return err
	}
	return b.write(ctx, s, keyPrefix+name, entry)
}

// material returns the version that signs now of the key with that name, which a field
// of c holds. It returns nothing for no name. When another version begins to sign, c
// has to be read again.
func (b *backend) material(ctx context.Context, s logical.Storage, c *config, field, name string) (provider.Material, error) {
	if name == "" {
		return provider.Material{}, nil
	}
	entry, err := load[keyEntry](ctx, s, keyPrefix+name)
	if err != nil {
		return provider.Material{}, err
	}
	if entry == nil {
		// The name is not quoted, because it may be a private key in the wrong field.
		return provider.Material{}, refuse("%s names a key that does not exist: write key/<name> first, or see the list of key/", field)
	}
	now := b.now()
	if next := entry.changes(now); !next.IsZero() && next.Before(c.until) {
		c.until = next
	}
	v := entry.Versions[entry.current(now)]
	k, err := signing.Restore(v.PEM)
	if err != nil {
		return provider.Material{}, err
	}
	certificates, err := v.certificates()
	if err != nil {
		return provider.Material{}, err
	}
	return provider.Material{Key: k.For(entry.Algorithm), ID: v.ID, Certificates: certificates, Audiences: entry.AllowedAudiences}, nil
}

func noKey(name string) error {
	return refuse("no key %q: write key/%s first, or see the list of key/", name, name)
}
