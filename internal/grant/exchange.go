// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import "time"

// Exchange describes one exchange with a provider, whether it succeeded or not.
type Exchange struct {
	Status   int           // HTTP status of the last answer; 0 without an answer
	Attempts int           // requests sent, including retries
	Took     time.Duration // time for all attempts and the pauses between them
	Quota    Quota
}

// exchange returns a description of what s has done.
func (s *sender) exchange(took time.Duration) Exchange {
	x := Exchange{Attempts: s.attempts, Took: took, Quota: unknownQuota()}
	if s.answer != nil {
		x.Status, x.Quota = s.answer.StatusCode, quotaOf(s.answer.Header, s.client.now())
	}
	return x
}
