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
	stateFailing  = "failing"      // it gives no token: the last attempt failed, or it cannot be used as it stands
	stateOldToken = "old token"    // the last attempt failed, and its readers have the token from before
	stateNever    = "never minted" // no token is known of the request that it is now
	stateOK       = "ok"
)

var states = []string{stateFailing, stateOldToken, stateNever, stateOK}

// standing is how a config stands, by what memory and storage know of it.
type standing struct {
	config   string
	state    string
	token    life      // of the token that was minted last; zero without a usable one
	next     time.Time // when the token is replaced, or the provider asked again; zero when that is not known
	failed   time.Time // when the last mint failed; zero when none has
	brief    string    // why it did, in a few words
	ends     []ending
	lastHour int64 // mints
	budget   int64 // mints_per_hour
}

// standings tell how each config stands, the worst first.
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

// tokensByConfig tells of all tokens that are in memory.
func (b *backend) tokensByConfig() map[string][]tokencache.Status[*minted] {
	out := map[string][]tokencache.Status[*minted]{}
	for _, t := range b.tokens.Status("") {
		config := configOf(t.Key)
		out[config] = append(out[config], t)
	}
	return out
}

// standing is how one config stands.
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

// compare orders standings: the worst state first, but that what ends soon comes
// before what has never been used, and within a state what ends first.
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

// firstEnd is when the first thing of it ends: far away when nothing does.
func (x standing) firstEnd() time.Time {
	if len(x.ends) == 0 {
		return time.Unix(1<<60, 0)
	}
	return x.ends[0].at
}

// endsSoon says whether something of it has ended, or does within 30 days.
func (x standing) endsSoon(now time.Time) bool { return x.firstEnd().Sub(now) <= endsSoon }

// tell is what status shows of it.
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
