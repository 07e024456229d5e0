// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
	"github.com/oauthcc/vault-plugin-oauthcc/internal/provider"
)

// brought holds, by name, the inputs that a reader sends and that its token is made
// of, such as a token to exchange. They are secret and are never stored: they exist
// only during the request, and during a mint that the request has started. The key
// of the resulting token contains a keyed hash of them. To renew the token, a reader
// has to send the same inputs again.
type brought map[string]string

// broughtBy reads the inputs that a request brings.
func broughtBy(d *framework.FieldData) (brought, error) {
	var out brought
	for _, f := range provider.ReaderInputs() {
		value, sent := d.Raw[f.Name].(string)
		if !sent {
			continue
		}
		if err := provider.CheckReaderInput(f.Name, value); err != nil {
			return nil, err
		}
		if out == nil {
			out = brought{}
		}
		out[f.Name] = value
	}
	for name := range out {
		if token, isType := strings.CutSuffix(name, "_type"); isType && out[token] == "" {
			return nil, refuse("%s was sent without the %s that it describes: send both", name, token)
		}
	}
	return out, nil
}

// taken is what readers may bring.
type taken struct {
	names, needed []string // may be brought, must be brought
	key           []byte   // of the hash of what is brought: the config's epoch
}

// check refuses an input that has expired. A token that was made of it may live
// longer, but only a reader who could have it minted now may get it.
func (g brought) check(b *backend) error {
	for _, name := range []string{grant.ParamSubjectToken, grant.ParamActorToken, grant.ParamAssertion} {
		if end, known := grant.JWTEnd(g[name]); known && !b.now().Before(end) {
			return refuse("%s expired at %s, by its own exp: get a new one", name, stamp(end))
		}
	}
	return nil
}

// key returns the key of the token that is made of g. The argument key is the key
// of the request without g.
func (g brought) key(epoch []byte, config, key string) (string, error) {
	if len(g) == 0 {
		return key, nil
	}
	text, err := json.Marshal(g)
	if err != nil {
		return "", fmt.Errorf("hashing what a reader of config %q brings: %w", config, err)
	}
	mac := hmac.New(sha256.New, epoch)
	mac.Write(fmt.Appendf(nil, "brought to %q: ", key))
	mac.Write(text)
	return config + "/" + hex.EncodeToString(mac.Sum(nil)), nil
}

// bring returns a copy of v for a reader who brings g. The copy is not kept.
func (b *backend) bring(v *view, g brought) (*view, error) {
	if len(g) == 0 {
		return v, nil
	}
	for name := range g {
		if v.takes == nil || !slices.Contains(v.takes.names, name) {
			return nil, refuse("%s: readers may not bring %s: whoever may write the config can allow it with reader_inputs", v.target, name)
		}
	}
	if err := g.check(b); err != nil {
		return nil, fmt.Errorf("%s: %w", v.target, err)
	}
	out := *v
	out.brought = g
	var err error
	out.key, err = g.key(v.takes.key, v.config, v.key)
	return &out, err
}

// needs returns what each reader must bring.
func (v *view) needs() []string {
	if v.takes == nil {
		return nil
	}
	return v.takes.needed
}

// lacks refuses a request that does not bring every input that the token is made
// of.
func (v *view) lacks() error {
	for _, name := range v.needs() {
		if v.brought[name] == "" {
			return refuse("%s: %s comes from each reader (reader_inputs): send it in a write, such as vault write oauthcc/token/%s %s=@file", v.target, name, v.path(), name)
		}
	}
	return nil
}

// checkBrought refuses verify_connection if the grant needs inputs that only
// readers bring: there are none when the config is written.
func (c *config) checkBrought() error {
	if needs := c.effective.RequiredInputs(); c.VerifyConnection && len(needs) > 0 {
		return refuse("verify_connection runs the grant when the config is written, but %s comes from each reader: leave it out, and write check/%s %s=… afterwards", needs[0], c.config, needs[0])
	}
	return nil
}
