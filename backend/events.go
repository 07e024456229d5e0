// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/time/rate"
)

// The types of the events that the engine sends to Vault's event system.
const (
	eventMinted   = "oauthcc/token-minted"
	eventFailed   = "oauthcc/mint-failed"
	eventFallback = "oauthcc/fallback-used"
	eventRevoked  = "oauthcc/token-revoked"
	eventEnds     = "oauthcc/secret-ends-soon"
)

const (
	// eventLane is the background's lane for sending them, one after the other.
	eventLane = "events"

	// eventTime is for how long the sending of one is waited for.
	eventTime = 5 * time.Second

	// eventsASecond bounds how many are sent in the long run, and eventsAtOnce how
	// many are in a burst. A stampede of mints is not to become one of events.
	eventsASecond = 20
	eventsAtOnce  = 100
)

// events sends what happens to Vault's event system, in the background and in its
// order. Nothing waits for it: what is too much, or fails, is dropped. Only Vault
// Enterprise has subscribers; other editions take events and drop them.
type events struct {
	sender logical.EventSender
	run    func(do func(context.Context)) bool // in the background; false when it will not
	limit  *rate.Limiter

	sent, failed, dropped atomic.Int64

	mu      sync.Mutex // guards what follows
	queue   []event
	sending bool
}

// event is a type with pairs of a name and a value.
type event struct {
	kind  string
	pairs []string
}

func newEvents(sender logical.EventSender, run func(do func(context.Context)) bool) *events {
	return &events{sender: sender, run: run, limit: rate.NewLimiter(eventsASecond, eventsAtOnce)}
}

// post has an event sent soon. Its path, below the mount, is what a subscriber
// must be allowed to subscribe to.
func (e *events) post(now time.Time, kind, path string, pairs ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.limit.AllowN(now, 1) || len(e.queue) >= eventsAtOnce {
		e.dropped.Add(1)
		return
	}
	e.queue = append(e.queue, event{kind, append([]string{logical.EventMetadataPath, path}, pairs...)})
	if !e.sending {
		e.sending = e.run(e.drain)
	}
}

// drain sends what there is, until there is nothing left.
func (e *events) drain(ctx context.Context) {
	for next, ok := e.next(); ok; next, ok = e.next() {
		e.send(ctx, next)
	}
}

func (e *events) next() (event, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) == 0 {
		e.sending = false
		return event{}, false
	}
	first := e.queue[0]
	e.queue = e.queue[1:]
	return first, true
}

func (e *events) send(ctx context.Context, what event) {
	ctx, cancel := context.WithTimeout(ctx, eventTime)
	defer cancel()
	if logical.SendEvent(ctx, e.sender, what.kind, what.pairs...) != nil { // there may be no event system at all
		e.failed.Add(1)
		return
	}
	e.sent.Add(1)
}
