// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

const (
	// surveyLane is the background lane for surveys, which run one at a time.
	surveyLane = "survey"

	// surveyedAMinute is the largest number of configs that one survey reads.
	surveyedAMinute = 1000

	// calendarEvery is how often the log lists the secrets and certificates that
	// expire soon.
	calendarEvery = 24 * time.Hour

	// mostReminders is the largest number of log lines in such a list.
	mostReminders = 100
)

// calendar remembers when the log last listed what expires soon.
type calendar struct {
	surveying atomic.Bool
	told      atomic.Int64 // in nanoseconds since the epoch
}

// survey reads, in the background, the facts of configs that are not in memory yet,
// so that status and metrics can show them. Once a day it also logs what expires
// soon. It is called every minute.
func (b *backend) survey(ctx context.Context, s logical.Storage) {
	if !b.calendar.surveying.CompareAndSwap(false, true) {
		return
	}
	job := func(ctx context.Context) {
		defer b.calendar.surveying.Store(false)
		if err := b.surveyOnce(ctx, s); err != nil {
			b.log().Warn("what ends soon could not be looked up", "error", err)
		}
	}
	if !b.work.run(ctx, surveyLane, job) {
		b.calendar.surveying.Store(false)
	}
}

func (b *backend) surveyOnce(ctx context.Context, s logical.Storage) error {
	configs, err := listStorage(configPrefix)(ctx, s)
	if err != nil {
		return err
	}
	now := b.now()
	var unknown []string
	for _, config := range configs {
		if known, _ := b.observer.of(config).knownFacts(now); known == nil {
			unknown = append(unknown, config)
		}
	}
	rest := len(unknown) > surveyedAMinute
	if rest {
		unknown = unknown[:surveyedAMinute]
	}
	if _, err := b.allFacts(ctx, s, unknown); err != nil || rest {
		return err // the rest is looked up in the next minute
	}
	if told := b.calendar.told.Load(); told != 0 && now.UnixNano()-told < int64(calendarEvery) {
		return nil
	}
	known, err := b.allFacts(ctx, s, configs)
	if err != nil {
		return err
	}
	b.calendar.told.Store(now.UnixNano())
	b.remind(configs, known, now)
	return nil
}

// remind logs, for each config, what has expired or expires soon.
func (b *backend) remind(configs []string, known map[string]*facts, now time.Time) {
	reminders := 0
	for _, config := range configs {
		f := known[config]
		if f == nil {
			continue // it was deleted meanwhile
		}
		for _, e := range f.ends {
			if e.at.Sub(now) > endsSoon {
				continue
			}
			if reminders++; reminders <= mostReminders {
				b.observer.endsSoon(config, e)
			}
		}
	}
	if reminders > mostReminders {
		b.log().Warn("more ends soon, or has ended: a read of status tells all of it", "more", reminders-mostReminders)
	}
}
