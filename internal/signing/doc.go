// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

// Package signing handles the keys that clients authenticate with. It reads them
// from PEM or JWK and explains what is wrong with one, makes new ones, describes
// their public halves, and signs JWTs (RFC 7515, RFC 7519).
//
// Only [Key.MarshalPEM] and [Key.Signer] give access to private key material. No
// error quotes its input.
package signing
