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
	// eventLane is the background lane in which events are sent, one after another.
	eventLane = "events"

	// eventTime is how long sending one event may take.
	eventTime = 5 * time.Second

	// eventsASecond limits how many events are sent on average, eventsAtOnce how many
	// are sent in a burst. Otherwise very many mints would cause as many events.
	eventsASecond = 20
	eventsAtOnce  = 100
)

// events sends events to Vault's event system, in the background and in order.
// Nobody waits for them. An event that is over the limit, or that cannot be sent, is
// dropped. Only Vault Enterprise has subscribers; other editions accept events and
// drop them.
type events struct {
	sender logical.EventSender
	run    func(do func(context.Context)) bool // runs do in the background; false if it cannot
	limit  *rate.Limiter

	sent, failed, dropped atomic.Int64

	mu      sync.Mutex // guards what follows
	queue   []event
	sending bool
}

// event is an event of that type. Its pairs are names, each followed by its value.
type event struct {
	kind  string
	pairs []string
}

func newEvents(sender logical.EventSender, run func(do func(context.Context)) bool) *events {
	return &events{sender: sender, run: run, limit: rate.NewLimiter(eventsASecond, eventsAtOnce)}
}

// post queues an event, which is then sent in the background. The path is relative
// to the mount. A subscriber gets the event only if its policy allows that path.
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

// drain sends the queued events until the queue is empty.
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
