// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

// Package signing holds the keys that a client proves itself with: it reads
// them from PEM or JWK, says what is wrong with one, makes new ones, describes
// their public halves, and signs JWTs (RFC 7515, RFC 7519).
//
// Nothing that it returns but [Key.MarshalPEM] holds private key material, and
// no error quotes any of its input.
package signing
