// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
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
	"github.com/oauthcc/vault-plugin-oauthcc/internal/signing"
)

const (
	defaultRequestTimeout = 10 * time.Second
	maxRequestTimeout     = 60 * time.Second
)

// config is a client registration as a target and inputs resolve it: its own
// fields, those of a role if there is one, and the effective request.
type config struct {
	target
	inputs
	entry *configEntry
	settings
	effective *provider.Effective
	origin    string      // where its credentials may go, and which authority vouches for that
	names     []string    // the parts of the caller's identity that its parameters name; none if the caller makes no difference
	proofKey  signing.Key // the key that its tokens are bound to; none without dpop
	until     time.Time   // when it must be read again, even if no write is known of

	// fixed is the request for a token, if it has been kept because each attempt makes
	// the same one. Nobody may change what is in it.
	fixed *grant.Request

	sources      []source          // whose tokens go into its request
	behind       []string          // all configs that it depends on
	sourceSpends bool              // a mint of one of those uses up a refresh token
	given        map[string]string // what a reader brings

	held         error // why its credentials are sent nowhere, nil where they are
	undiscovered error // why its endpoints were not found anew when somebody had them looked for
}

// fix keeps the request for a token, if each attempt makes the same one.
func (c *config) fix() error {
	if len(c.effective.ReaderInputs()) > 0 || len(c.sources) > 0 {
		return nil // it is another one for each subject
	}
	r, err := c.effective.Request()
	if err != nil || r.Anew != nil {
		return err
	}
	if r, err = r.Prepare(); err != nil {
		return err
	}
	c.fixed = &r
	return nil
}

// request returns the request by which the client of e asks for a token.
func (c *config) request(e *provider.Effective) (grant.Request, error) {
	if e == c.effective && c.fixed != nil {
		return *c.fixed, nil
	}
	return e.Request()
}

// perCaller reports whether each caller has a token of its own.
func (c *config) perCaller() bool { return len(c.names) > 0 }

// settings say how tokens are handed out: those of a config, overridden by a role's.
type settings struct {
	Provider              string   `json:"provider"`
	KeepAlive             int64    `json:"keep_alive"` // seconds, as all durations here
	MintsPerHour          int64    `json:"mints_per_hour"`
	ClientSecretExpiresAt string   `json:"client_secret_expires_at"`
	SourceFor             []string `json:"source_for"`
	VerifyConnection      bool     `json:"verify_connection"`

	terms
}

// terms are those of the settings that each read of a token depends on.
type terms struct {
	TTL            int64 `json:"ttl"`
	MaxTTL         int64 `json:"max_ttl"`
	MinTTL         int64 `json:"min_ttl"`
	RequestTimeout int64 `json:"request_timeout"`
	Reuse          bool  `json:"reuse"`
	Leased         bool  `json:"leased"`
	Renewable      bool  `json:"renewable"`

	// The shorter limit of the config's and the role's.
	leaseLimit, maxLeaseLimit limit
}

// settingsFields declares the fields of settings, and the description.
func settingsFields() []provider.Field {
	return []provider.Field{
		{Name: "provider", Type: provider.Word, In: provider.OnConfig, Description: "The provider: a name from the list of provider/ (generic)."},
		{Name: "client_secret_expires_at", Type: provider.Word, In: provider.OnConfig, Description: "When the client_secret expires, as the provider said (RFC 7591 section 3.2.1): RFC 3339, or epoch seconds; 0 is never. Status and a read of the config warn before that."},
		{Name: "keep_alive", Type: provider.Seconds, In: provider.OnConfig, Description: "For grant_type=refresh_token: the age before which a refresh token is replaced in the background, when nobody reads; 0 is never (0)."},
		{Name: "mints_per_hour", Type: provider.Count, In: provider.OnConfig, Description: "How many tokens may be minted within an hour, for providers that bill or cap them; 0 is no limit (0). When these are used up, readers get the current token for as long as it is usable, and then a 429 that says when to come back."},
		{Name: "source_for", Type: provider.Texts, In: provider.OnConfig, Description: "The configs of this mount that may take this one's token into their requests (subject_config, source_config). The token is then sent where those configs say, so whoever may write one of them can obtain it."},
		{Name: "ttl", Type: provider.Seconds, In: provider.OnConfig | provider.OnRole, Description: "The longest lease to give by default; 0 is as long as the token is usable (0)."},
		{Name: "max_ttl", Type: provider.Seconds, In: provider.OnConfig | provider.OnRole, Description: "The longest lease to give at all; 0 is no limit of its own (0)."},
		{Name: "min_ttl", Type: provider.Seconds, In: provider.OnConfig | provider.OnRole, Description: "The least usable life that a token is handed out with; one with less is replaced first (0)."},
		{Name: "reuse", Type: provider.Flag, In: provider.OnConfig | provider.OnRole, Description: "Whether all readers share one token (true), or each read mints its own (false)."},
		{Name: "leased", Type: provider.Flag, In: provider.OnConfig | provider.OnRole, Description: "Whether a token comes with a lease (true), or without, with the ttl and rotation_period of Vault's static roles (false)."},
		{Name: "renewable", Type: provider.Flag, In: provider.OnConfig | provider.OnRole, Description: "Whether a lease says that it can be renewed, never beyond its token. For Vault Proxy, whose cache keeps only renewable leases (false)."},
		{Name: "request_timeout", Type: provider.Seconds, In: provider.OnConfig, Description: "How long a reader waits for the provider at most (10s; at most 60s)."},
		{Name: "verify_connection", Type: provider.Flag, In: provider.OnConfig, Description: "Whether to run the grant once before storing, and to refuse the write when it fails (false)."},
		{Name: "description", Type: provider.Text, In: provider.OnConfig | provider.OnRole, Description: "What this registration is for.", RoleText: "Whom the role is for."},
	}
}

// limit is an upper bound of a lease.
type limit struct {
	length time.Duration // 0 is no limit
	by     string        // what the limit belongs to
}

// cap returns the shorter of l and d.
func (l limit) cap(d time.Duration) time.Duration {
	if l.length > 0 && l.length < d {
		return l.length
	}
	return d
}

func (l *limit) lower(seconds int64, by string) {
	if length := time.Duration(seconds) * time.Second; length > 0 && (l.length == 0 || length < l.length) {
		*l = limit{length: length, by: by}
	}
}

// minLeft returns the minimum usable life to hand out, at least one second, because
// lease durations are whole seconds.
func (t terms) minLeft() time.Duration {
	return max(time.Duration(t.MinTTL)*time.Second, time.Second)
}

func (t terms) timeout() time.Duration {
	if t.RequestTimeout == 0 {
		return defaultRequestTimeout
	}
	return time.Duration(t.RequestTimeout) * time.Second
}

// check refuses settings that contradict each other.
func (s settings) check() error {
	if err := checkSecretEnd(s.ClientSecretExpiresAt); err != nil {
		return err
	}
	if s.timeout() > maxRequestTimeout {
		return refuse("request_timeout must be at most %s, because a read that hangs delays a step-down of the whole Vault", grant.InWords(maxRequestTimeout))
	}
	if !s.Leased {
		switch {
		case s.Renewable:
			return refuse("renewable=true needs a lease, and leased=false gives none: choose one of them")
		case !s.Reuse:
			return refuse("reuse=false needs a lease, whose end revokes the token, and leased=false gives none: choose one of them")
		case s.TTL > 0 || s.MaxTTL > 0:
			return refuse("ttl and max_ttl limit leases, and leased=false gives none: leave them out (or write 0)")
		}
	}
	return nil
}

// setLimits sets the limits that apply to a config seen through a role.
func (s *settings) setLimits(config, role provider.Layer) error {
	for _, layer := range []struct {
		of     string
		fields provider.Layer
	}{{"config", config}, {"role", role}} {
		var own settings
		if err := remarshal(layer.fields, &own); err != nil {
			return err
		}
		if own.MaxTTL > 0 && own.TTL > own.MaxTTL {
			return refuse("ttl must not be longer than max_ttl")
		}
		s.leaseLimit.lower(own.TTL, layer.of+"'s ttl")
		s.maxLeaseLimit.lower(own.MaxTTL, layer.of+"'s max_ttl")
	}
	return nil
}

// warnings returns what a write may do but most likely does not mean, together with
// the other warnings; nil if there are none.
func (c *config) warnings(data provider.Layer, more ...string) *logical.Response {
	resp := &logical.Response{}
	if e := c.effective.Dialect; e.ScopesRequired && len(e.Scopes) == 0 {
		resp.AddWarning(fmt.Sprintf("provider %q grants nothing without a scope, and this config asks for none: write scopes", c.Provider))
	}
	if c.effective.LacksSubject() {
		resp.AddWarning("grant_type is token-exchange, and nothing says where the subject_token comes from: name it in reader_inputs, or write subject_config or secret_parameters")
	}
	if secret, written := data["client_secret"].(string); written && secret == "" {
		resp.AddWarning("client_secret is set, and empty: write it again if that was not meant (a patch with null unsets it)")
	}
	for _, field := range provider.Padded(ConfigFields(), data) {
		resp.AddWarning(field + " begins or ends with white space, which is kept: write it again if that was not meant")
	}
	for _, text := range more {
		if text != "" {
			resp.AddWarning(text)
		}
	}
	if len(resp.Warnings) == 0 {
		return nil
	}
	return resp
}

// key returns the key of c's token: the config's name and a hash of the effective
// request, inputs included, keyed by the epoch. It changes with anything that
// changes the request, and reveals nothing of it. An input that is not part of the
// effective request must be hashed after it, and must add nothing when it is absent,
// so that the keys of stored tokens stay the same.
func (c *config) key() (string, error) {
	if c.perCaller() && c.identity == nil {
		return "", fmt.Errorf("%s: each caller has a token of its own here, and this request names no caller", c.target)
	}
	identity, err := c.effective.Identity()
	if err != nil {
		return "", fmt.Errorf("hashing the request of %s: %w", c.target, err)
	}
	mac := hmac.New(sha256.New, c.entry.Epoch)
	mac.Write(identity)
	for _, src := range c.sources {
		mac.Write(fmt.Appendf(nil, "%q", []string{src.field, src.key}))
	}
	return c.config + "/" + hex.EncodeToString(mac.Sum(nil)), nil
}

// with returns a copy of c with the given inputs in its request.
func (c *config) with(given map[string]string) *config {
	out := *c
	out.given, out.effective, out.fixed = given, c.effective.WithInputs(given), nil
	return &out
}

// spends reports whether c's grant uses up a refresh token.
func (c *config) spends() bool { return c.effective.Dialect.GrantType == grant.GrantRefreshToken }

// revocable reports whether c's provider revokes tokens.
func (c *config) revocable() bool { return c.effective.Dialect.RevocationURL != "" }

// outlives reports whether a mint of c continues when its readers have left, because
// it may use up a refresh token. That includes the password grant after an answer
// with a refresh token.
func (c *config) outlives() bool {
	return c.spends() || c.effective.Dialect.GrantType == grant.GrantPassword
}

// late reports whether c's shared token is replaced as late as possible.
func (c *config) late() bool { return c.effective.Dialect.Refresh == provider.RefreshLate }

func newEpoch() ([]byte, error) {
	epoch := make([]byte, 32)
	if _, err := rand.Read(epoch); err != nil {
		return nil, fmt.Errorf("drawing a random epoch: %w", err)
	}
	return epoch, nil
}

// remarshal decodes a layer into its typed form.
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
