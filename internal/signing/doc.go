// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

// Package signing handles the keys with which a client proves its identity. It reads
// keys from PEM or JWK, explains what is wrong with them, makes new ones, describes
// their public halves, and signs JWTs (RFC 7515, RFC 7519).
//
// Only [Key.MarshalPEM] and [Key.Signer] return private key material. No error quotes
// the input.
package signing
