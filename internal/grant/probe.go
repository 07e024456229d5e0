// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package grant

import "context"

// Probe sends r, which holds an access token in its headers, and returns the
// HTTP status of the answer, whatever it is. The body is discarded. An error
// means that there was no answer. The errors are the same as those of Mint.
func (c *Client) Probe(ctx context.Context, r Request) (int, error) {
	got, err := c.exchange(ctx, r)
	if err != nil {
		return 0, err
	}
	return got.status, nil
}
