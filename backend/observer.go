// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

// observer is told what happens to the tokens of a mount. It has one method for each
// kind of event, and each method is called from one place. All counters, log lines
// and events about tokens come from here.
type observer struct {
	now    func() time.Time
	log    func() hclog.Logger
	events *events

	mu       sync.Mutex
	byConfig map[string]*history
	named    int     // how many of these have metrics of their own
	rest     history // of everything that belongs to none of these
}

// of returns the history of a config that exists. If there is none yet, it begins
// one.
func (o *observer) of(config string) *history {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.byConfig == nil {
		o.byConfig = map[string]*history{}
	}
	h := o.byConfig[config]
	if h == nil {
		h = &history{named: o.named < maxNamed}
		if h.named {
			o.named++
		}
		o.byConfig[config] = h
	}
	return h
}

// about returns the history of a config that may have been deleted in the meantime.
// It begins no history, so that a deleted config does not get one again.
func (o *observer) about(config string) *history {
	o.mu.Lock()
	defer o.mu.Unlock()
	if h := o.byConfig[config]; h != nil {
		return h
	}
	return &o.rest
}

// deleted ends the history of a config. A new config with this name begins a new one.
// Counters that the metrics added to the rest stay there, because a counter must not
// decrease.
func (o *observer) deleted(config string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	h := o.byConfig[config]
	switch {
	case h == nil:
		return
	case h.named:
		o.named--
	default:
		o.rest.inherit(h)
	}
	delete(o.byConfig, config)
}

// handedOut is called with each token that a reader gets. It takes no lock.
func (o *observer) handedOut(h *history, got answer, fromMemory bool) {
	result := readWaited
	switch {
	case got.Failure != nil, got.Slow:
		result = readOld
	case fromMemory:
		result = readHit
	}
	h.reads[result].Add(1)
}

// notHandedOut is called with each read of a token that ends in an error.
func (o *observer) notHandedOut(h *history) { h.reads[readFailed].Add(1) }

// asked is called after each exchange with a provider about a token. err says why
// the exchange brought no token.
func (o *observer) asked(config string, x grant.Exchange, err error) {
	if x.Attempts == 0 {
		return // nothing was sent
	}
	now, cause, code := o.now(), "", ""
	var failed *grant.Error
	if errors.As(err, &failed) {
		cause, code = string(failed.Cause()), failed.Code
	}
	h := o.about(config)
	h.change(func(p *past) {
		p.asked(x, now)
		if cause != "" || p.seldom != nil {
			p.rare().cause, p.rare().code = cause, code
		}
		if x.Attempts > 1 {
			p.rare().retries += int64(x.Attempts - 1)
		}
		if x.Quota.Known() {
			p.rare().quota = &lastQuota{x.Quota, now}
		}
	})
	if !h.named {
		h = &o.rest
	}
	h.change(func(p *past) {
		if p.latency == nil {
			p.latency = &latency{}
		}
		p.latency.observe(x.Took)
	})
	if x.Attempts > 1 {
		o.log().Debug("a request for a token was sent again", "config", config, "attempts", x.Attempts, "status", x.Status)
	}
}

// minted is called with each token that was minted.
func (o *observer) minted(t target, m *minted) {
	o.log().Debug("minted a token", "token", t.path(), "expires_at", m.Token.ExpiresAt, "fallback", m.Fallback)
	o.about(t.config).change(func(p *past) {
		p.mints++
		p.current = true
		p.lastMint = m.Token.IssuedAt.UnixNano()
		if m.Fallback {
			p.rare().fallbacks++
		}
		p.hour.add(o.now())
	})
	about := []string{
		"config", t.config, "role", t.role, "expires_at", stamp(m.Token.ExpiresAt),
		logical.EventMetadataOperation, "mint", logical.EventMetadataModified, "true", logical.EventMetadataDataPath, tokenPrefix + t.path(),
	}
	o.events.post(o.now(), eventMinted, tokenPrefix+t.path(), about...)
	if m.Fallback {
		o.events.post(o.now(), eventFallback, tokenPrefix+t.path(), about[:6]...)
	}
}

// mintFailed is called with each mint that failed.
func (o *observer) mintFailed(t target, err error) {
	last := failure{at: o.now(), text: explained(err), brief: briefly(err)}
	o.log().Warn("no token", "token", t.path(), "error", last.text)
	o.about(t.config).change(func(p *past) {
		seldom := p.rare()
		seldom.failures++
		seldom.last = last
		if seldom.causes == nil {
			seldom.causes = map[string]int64{}
		}
		seldom.causes[causeOf(err)]++
	})
	o.events.post(last.at, eventFailed, tokenPrefix+t.path(), "config", t.config, "role", t.role, "cause", causeOf(err), "error", last.brief)
}

// outdated is called when a change of a config has changed its request, so that none
// of its tokens can be used any more.
func (o *observer) outdated(config string) {
	o.about(config).change(func(p *past) { p.current = false })
}

// endsSoon is called once a day for each secret or certificate that has expired, or
// will within 30 days.
func (o *observer) endsSoon(config string, e ending) {
	text := "a secret or certificate ends soon"
	if !o.now().Before(e.at) {
		text = "a secret or certificate has ended"
	}
	o.log().Warn(text, "config", config, "what", e.what, "ends_at", stamp(e.at), "days_left", e.daysLeft(o.now()), "remedy", e.remedy)
	o.events.post(o.now(), eventEnds, configPrefix+config, "config", config, "what", e.what, "ends_at", stamp(e.at), "days_left", strconv.FormatInt(e.daysLeft(o.now()), 10))
}

// checked is called after each check of a config that brought a token.
func (o *observer) checked(config string) {
	o.about(config).change(func(p *past) { p.rare().checks++ })
}

// revoked is called after each attempt to revoke a token at its provider. err says
// why the token was not revoked.
func (o *observer) revoked(config string, err error) {
	o.about(config).change(func(p *past) {
		if err != nil {
			p.rare().notRevoked++
		} else {
			p.rare().revoked++
		}
	})
	if err != nil {
		o.log().Debug("a token was not revoked at its provider", "config", config, "error", err)
		return
	}
	o.log().Debug("revoked a token at its provider", "config", config)
	o.events.post(o.now(), eventRevoked, tokenPrefix+config, "config", config)
}

// livesOn is called for each token whose lease has ended and that can no longer be
// revoked.
func (o *observer) livesOn(config string, reason error, until time.Time) {
	o.log().Warn("a token cannot be revoked at its provider, and lives on until it expires",
		"config", config, "reason", reason, "until", stamp(until))
}
