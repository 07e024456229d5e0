// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

// Package backend is the oauthcc secrets engine as Vault sees it: paths,
// storage, leases and errors. It is the only package that knows Vault; it asks
// internal/provider what a request is, internal/tokencache who waits for it,
// and internal/grant to send it.
//
// # Paths
//
//	provider/            list            the catalog and the operator's own
//	provider/<provider>  CRUD            a dialect
//	config/              list
//	config/<config>      CRUD, patch     a client registration
//	token/<config>       read, write     hands out a token, with a lease
//	info                 read            version, commit, build date
//
// # Storage
//
//	config/<config>      configEntry     seal-wrapped
//	provider/<provider>  providerEntry   seal-wrapped
//
// # How a request passes
//
// HandleRequest first prepares the data (input.go), since the framework would
// quote values in its errors; the framework routes; a handler returns a
// response or any error; respond (errors.go) gives the error its status.
package backend
