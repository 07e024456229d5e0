// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import (
	"net/http"
	"strings"
	"time"
)

// Exchange is what one exchange with a provider was like, whatever came of it.
type Exchange struct {
	Status   int           // HTTP status of the last answer; 0 without one
	Attempts int           // requests sent, those that were sent again included
	Took     time.Duration // all of them, with the pauses between
	Quota    Quota
}

// exchange tells what s has come to.
func (s *sender) exchange(took time.Duration) Exchange {
	x := Exchange{Attempts: s.attempts, Took: took, Quota: quotaOf(nil)}
	if s.answer != nil {
		x.Status, x.Quota = s.answer.StatusCode, quotaOf(s.answer.Header)
	}
	return x
}

// Quota is what an answer's headers say of a limit on requests. A number that no
// header states is -1.
type Quota struct {
	Limit     int64 // requests in a window
	Remaining int64 // of them
	Reset     int64 // as sent: seconds until the window ends, or the time when it does
}

// Known says whether any header stated anything.
func (q Quota) Known() bool { return q != Quota{-1, -1, -1} }

// quotaPrefixes are the families of such headers: those of the IETF's draft
// (draft-ietf-httpapi-ratelimit-headers, up to version 6), and what servers sent
// before there was one.
var quotaPrefixes = []string{"RateLimit-", "X-RateLimit-", "X-Rate-Limit-"}

// quotaOf reads the headers that state a quota. Nothing but numbers is read: a
// header of an answer may hold anything, such as a part of the request.
func quotaOf(h http.Header) Quota {
	pairs := map[string]string{} // of the one header of later drafts: "default";r=50;t=30, or limit=100, remaining=50, reset=30
	for _, part := range strings.FieldsFunc(h.Get("RateLimit"), func(c rune) bool { return c == ',' || c == ';' }) {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		pairs[name] = value
	}
	read := func(name, letter string) int64 {
		texts := []string{pairs[name], pairs[letter]}
		for _, prefix := range quotaPrefixes {
			first, _, _ := strings.Cut(h.Get(prefix+name), ",") // some add their windows: 100, 100;w=60
			texts = append(texts, first)
		}
		for _, text := range texts {
			if n, ok := number(text); ok && n >= 0 && n <= maxQuota {
				return int64(n)
			}
		}
		return -1
	}
	return Quota{Limit: read("limit", "q"), Remaining: read("remaining", "r"), Reset: read("reset", "t")}
}

// maxQuota is far from what any quota is, and beyond the time in milliseconds.
const maxQuota = 1e13
