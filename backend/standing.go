// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/tokencache"
)

// The states of a config, the worst first.
const (
	stateFailing  = "failing"      // readers get errors: the last mint failed, or the config cannot be used as it is
	stateOldToken = "old token"    // the last mint failed, and readers get the token from before
	stateNever    = "never minted" // no token was minted since the config became what it is
	stateOK       = "ok"
)

var states = []string{stateFailing, stateOldToken, stateNever, stateOK}

// standing is the status of one config, according to memory and storage.
type standing struct {
	config   string
	state    string
	token    life      // of the usable token that was minted last; zero if there is none
	next     time.Time // when the token is replaced, or the provider is asked again; zero if unknown
	failed   time.Time // when a mint last failed; zero if none has
	brief    string    // why it failed, in a few words
	ends     []ending
	lastHour int64 // mints
	budget   int64 // mints_per_hour
}

// standings returns the status of each config, the worst first.
func (b *backend) standings(ctx context.Context, s logical.Storage) ([]standing, error) {
	configs, err := listStorage(configPrefix)(ctx, s)
	if err != nil {
		return nil, err
	}
	known, err := b.allFacts(ctx, s, configs)
	if err != nil {
		return nil, err
	}
	tokens := b.tokensByConfig()
	out := make([]standing, 0, len(known))
	for _, config := range configs {
		if f := known[config]; f != nil {
			out = append(out, b.standing(config, f, tokens[config]))
		}
	}
	now := b.now()
	slices.SortFunc(out, func(x, y standing) int { return x.compare(y, now) })
	return out, nil
}

// tokensByConfig returns the status of all tokens in memory, by config.
func (b *backend) tokensByConfig() map[string][]tokencache.Status[*minted] {
	out := map[string][]tokencache.Status[*minted]{}
	for _, t := range b.tokens.Status("") {
		config := configOf(t.Key)
		out[config] = append(out[config], t)
	}
	return out
}

// standing returns the status of one config.
func (b *backend) standing(config string, f *facts, tokens []tokencache.Status[*minted]) standing {
	out, now := standing{config: config, ends: f.ends, budget: f.budget}, b.now()
	current := false
	b.observer.about(config).change(func(p *past) {
		current, out.lastHour = p.current, p.hour.sum(now)
		if p.seldom != nil {
			out.failed, out.brief = p.seldom.last.at, p.seldom.last.brief
		}
	})
	if stored := f.stored.held(); now.Before(stored.UsableUntil()) {
		out.token, out.next = f.stored, stored.RefreshesAt()
	}
	failing, old := f.problem != nil, false
	for _, t := range tokens {
		usable := t.Held != nil && now.Before(t.Held.UsableUntil())
		if usable && t.Held.Born.UnixNano() >= out.token.born {
			out.token, out.next = lifeOf(t.Held), t.Held.RefreshesAt()
		}
		if t.Failure != nil && (t.Held == nil || t.Failure.At.After(t.Held.Born)) {
			failing, old = failing || !usable, old || usable
		}
	}
	switch {
	case failing:
		out.state = stateFailing
	case old:
		out.state = stateOldToken
	case out.token == life{} && !current:
		out.state = stateNever
	default:
		out.state = stateOK
	}
	for _, t := range tokens {
		if (failing || old) && t.Failure != nil && t.Failure.Next.After(out.next) {
			out.next = t.Failure.Next
		}
	}
	if f.problem != nil {
		out.brief, out.next = briefly(f.problem), time.Time{}
	}
	return out
}

// compare orders standings by state, the worst first. A config with something that
// expires soon comes before those that have never minted. Within a state, the config
// with the earliest expiry comes first.
func (x standing) compare(y standing, now time.Time) int {
	return cmp.Or(
		cmp.Compare(x.rank(now), y.rank(now)),
		x.firstEnd().Compare(y.firstEnd()),
		y.failed.Compare(x.failed),
		cmp.Compare(x.config, y.config),
	)
}

func (x standing) rank(now time.Time) int {
	rank := 2 * slices.Index(states, x.state)
	if x.endsSoon(now) {
		rank = min(rank, 2*slices.Index(states, stateNever)-1)
	}
	return rank
}

// firstEnd returns when the first secret or certificate of x expires; a time in the
// far future if none does.
func (x standing) firstEnd() time.Time {
	if len(x.ends) == 0 {
		return time.Unix(1<<60, 0)
	}
	return x.ends[0].at
}

// endsSoon reports whether something of x has expired, or will within 30 days.
func (x standing) endsSoon(now time.Time) bool { return x.firstEnd().Sub(now) <= endsSoon }

// tell returns what status shows of x.
func (x standing) tell(now time.Time) map[string]any {
	out := map[string]any{"config": x.config, "state": x.state, "mints_last_hour": x.lastHour, "ends": tellEnds(x.ends, now)}
	if x.token != (life{}) {
		out["token_expires_at"] = stamp(x.token.held().Expires)
	}
	if !x.failed.IsZero() {
		out["last_failure"] = stamp(x.failed)
	}
	switch {
	case x.next.IsZero():
	case x.state == stateFailing, x.state == stateOldToken:
		out["next_attempt"] = stamp(x.next)
	default:
		out["next_refresh"] = stamp(x.next)
	}
	if x.budget > 0 {
		out["mints_per_hour"] = x.budget
	}
	if x.brief != "" {
		out["last_error"] = x.brief
	}
	return out
}
