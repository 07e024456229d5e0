// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/oauthcc/vault-plugin-oauthcc/internal/grant"
)

// budgetError is the error for a mint that would exceed mints_per_hour.
type budgetError struct {
	target target
	limit  int64
	wait   time.Duration // until one more is allowed
}

const budgetRemedy = "wait, or raise mints_per_hour"

func (e *budgetError) Error() string {
	return fmt.Sprintf("%s: no token is minted: its mints_per_hour of %d is used up; one more can be minted in %s: %s",
		e.target, e.limit, grant.InWords(e.wait), budgetRemedy)
}

// RetryHint returns how long no further mint is tried.
func (e *budgetError) RetryHint() time.Duration { return e.wait }

// budgetEntry stores how many tokens a config with mints_per_hour has minted
// recently, so that a restart gives it no new budget.
type budgetEntry struct {
	header
	Minutes map[int32]uint32 `json:"minutes"` // number of mints by minute, counted from the epoch
}

func (*budgetEntry) schema() int { return 1 }

// afford reserves one mint of c's budget, or returns an error if there is none left.
// The caller calls done when the mint has ended. A successful mint has been counted
// by then, so the reservation is no longer needed.
func (b *backend) afford(ctx context.Context, s logical.Storage, c *config) (done func(), err error) {
	if c.MintsPerHour == 0 {
		return func() {}, nil
	}
	if err := b.recallMints(ctx, s, c.config); err != nil {
		return nil, err
	}
	h, now := b.observer.about(c.config), b.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.hour.sum(now)+h.rare().minting >= c.MintsPerHour {
		return nil, &budgetError{target: c.target, limit: c.MintsPerHour, wait: max(h.hour.below(now, c.MintsPerHour).Sub(now), time.Second)}
	}
	h.rare().minting++
	return func() { h.change(func(p *past) { p.rare().minting-- }) }, nil
}

// recallMints reads from storage how many tokens an earlier process minted within
// the last hour. It does so once per config.
func (b *backend) recallMints(ctx context.Context, s logical.Storage, name string) error {
	h := b.observer.about(name)
	recalled := false
	h.change(func(p *past) { recalled = p.recalled })
	if recalled {
		return nil
	}
	entry, err := load[budgetEntry](ctx, s, budgetPrefix+name)
	if err != nil && !unreadable(err) {
		return err
	}
	h.change(func(p *past) {
		if p.recalled || entry == nil {
			p.recalled = true
			return
		}
		p.recalled = true
		p.hour.recall(entry.Minutes, b.now())
	})
	return nil
}

// noteMint stores c's recent mints, if c has a budget. If that fails, the token is
// handed out all the same: only a restart would then forget these mints.
func (b *backend) noteMint(ctx context.Context, s logical.Storage, c *config) {
	if c.MintsPerHour == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
	defer cancel()
	err := b.recallMints(ctx, s, c.config) // before the stored ones are overwritten
	if err == nil {
		p := b.observer.about(c.config).snapshot()
		err = store(ctx, s, budgetPrefix+c.config, &budgetEntry{Minutes: p.hour.stored(b.now())})
	}
	if err != nil {
		b.log().Warn("the mints of a config with mints_per_hour could not be noted down; a restart will forget them", "config", c.config, "error", err)
	}
}

// checkBudget refuses a mints_per_hour that leaves too little for keep_alive.
func (c *config) checkBudget() error {
	// A refresh token is replaced at 60 % of that age at the earliest.
	if c.MintsPerHour > 0 && c.KeepAlive > 0 && float64(c.MintsPerHour)*keepEarliest*float64(c.KeepAlive) < 3600 {
		return refuse("mints_per_hour allows fewer mints than keep_alive needs: raise one of them")
	}
	return nil
}

// below returns when the count of the last hour falls below limit if nothing more
// is counted.
func (m *minutes) below(now time.Time, limit int64) time.Time {
	sum, until := m.sum(now), now
	for _, one := range *m {
		if sum < limit {
			break
		}
		sum -= int64(one.n)
		until = time.Unix(int64(one.at+windowMinutes)*60, 0)
	}
	return until
}

// stored returns the counts of the last hour, by minute. Minutes without a count are
// left out.
func (m *minutes) stored(now time.Time) map[int32]uint32 {
	m.advance(now)
	out := make(map[int32]uint32, len(*m))
	for _, one := range *m {
		out[one.at] = one.n
	}
	return out
}

// recall adds the stored counts of the last hour.
func (m *minutes) recall(stored map[int32]uint32, now time.Time) {
	all := m.stored(now)
	for at, n := range stored {
		all[at] += n
	}
	*m = nil
	for _, at := range slices.Sorted(maps.Keys(all)) {
		*m = append(*m, minute{at, all[at]})
	}
	m.advance(now)
}
