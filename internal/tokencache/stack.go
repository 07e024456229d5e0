// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

package tokencache

// stackOfAMint is about how many bytes of stack a mint needs.
const stackOfAMint = 20 << 10

// stretch grows the stack of a goroutine that is going to mint, at once and while
// little is on it. Otherwise the stack would grow several times during the mint,
// and each time everything on it would be copied, which took a sixth of the mint's
// processor time.
//
// The place that is written to and read is a parameter, because the compiler would
// leave the space out otherwise. Any place will do.
//
//go:noinline
func stretch(place int) byte {
	var space [stackOfAMint]byte
	space[place] = 1
	return space[place/2]
}
