// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import "time"

// Exchange is what one exchange with a provider was like, whatever came of it.
type Exchange struct {
	Status   int           // HTTP status of the last answer; 0 without one
	Attempts int           // requests sent, those that were sent again included
	Took     time.Duration // all of them, with the pauses between
	Quota    Quota
}

// exchange tells what s has come to.
func (s *sender) exchange(took time.Duration) Exchange {
	x := Exchange{Attempts: s.attempts, Took: took, Quota: unknownQuota()}
	if s.answer != nil {
		x.Status, x.Quota = s.answer.StatusCode, quotaOf(s.answer.Header, s.client.now())
	}
	return x
}
