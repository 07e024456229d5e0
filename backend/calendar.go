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
	// surveyLane is the background's lane for looking configs up. The background
	// runs one survey at a time.
	surveyLane = "survey"

	// surveyedAMinute bounds the configs that are looked up at a time.
	surveyedAMinute = 1000

	// calendarEvery is how often the log tells what ends soon.
	calendarEvery = 24 * time.Hour

	// mostReminders bounds the lines of the log about that.
	mostReminders = 100
)

// calendar knows when the log was last told what ends soon.
type calendar struct {
	surveying atomic.Bool
	told      atomic.Int64 // in nanoseconds since the epoch
}

// survey looks up in the background what is not known of configs, so that status
// and metrics have it at hand, and tells once a day what ends soon. It is called
// every minute.
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

// remind tells of each config what has ended, or ends soon.
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
