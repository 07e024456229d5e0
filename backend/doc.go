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
//	role/<config>/       list
//	role/…/<role>        CRUD, patch     a narrowed view of a config
//	token/<config>       read, write     hands out a token, with a lease
//	token/…/<role>       read, write     hands out a narrower one
//	proof/<config>       write           signs a call that is made with the token
//	proof/…/<role>       write           likewise, with that token
//	check/<config>       write           runs the grant now
//	check/…/<role>       write           likewise
//	status               read            how each config stands, the worst first
//	status/<config>      read            what is held and known, without the tokens
//	metrics              read            Prometheus' text, raw
//	revoke/<config>      write           forgets every token
//	key/                 list
//	key/<key>            CRUD            a signing key that never leaves
//	key/…/rotate         write           makes its next version
//	key/…/csr            write           a certificate signing request
//	key/…/certificate    read, write     the newest version's; takes an authority's
//	jwks/<key>           read            its public keys; needs no Vault token
//	info                 read            version, commit, build date
//
// # Storage
//
//	config/<config>      configEntry     seal-wrapped
//	role/…/<role>        roleEntry       seal-wrapped
//	provider/<provider>  providerEntry   seal-wrapped
//	token/<config>/<key> tokenEntry      seal-wrapped, local to the cluster
//	grant/<config>/<key> grantEntry      seal-wrapped
//	source/<config>/<by> linkEntry       that a config depends on another
//	key/<key>            keyEntry        seal-wrapped
//	budget/<config>      budgetEntry     local: what was minted of late, where that is bounded
//	lease/<config>/<ledger>/<token>/<id>
//	                     ledgerEntry     seal-wrapped, local: tokens to be revoked at the provider
//
// A token's key is a keyed hash of the effective request that minted it. The
// hash's key is the config's epoch. A new epoch begins with any write that makes
// the config another request, and with revoke/. Nobody finds tokens of the old
// epoch any more, not even one that is stored a moment later.
//
// A ledger holds the tokens that must be revoked at the provider one day:
//
//   - Tokens with a lease of their own (reuse=false). Their entry is written
//     between the mint and the answer, belongs to the lease soon after the answer,
//     and ends with the lease. All entries of one token are below one keyed hash;
//     the token is revoked with its last entry. A token that no reader got is
//     revoked, by the next process if necessary.
//   - Shared tokens that no further reader gets, because a newer one replaced them
//     or a change of the config forgot them. Their readers keep them until they
//     expire.
//
// revoke/ starts a new ledger and moves the shared tokens to the old one. All
// tokens in old ledgers are revoked, until they are gone or expire. An entry names
// the mark of the origin that issued its token; the token is sent nowhere else.
//
// # Keys of tokens
//
// With dpop=true tokens are bound to a key (RFC 9449). The key is stored nowhere:
// it is derived from the config's seed (dpop.go). So every node that has the config
// has the key, a token from storage is still bound to it, and nothing must be
// written before a mint. Each role has its own key, and so has each caller whose
// tokens are its own; a proof of one role is useless with a token of another. With
// a refresh_token grant there is one key for the whole config, because a provider
// may bind the refresh token too.
//
// # Endpoints that are found
//
// A config may name an issuer or a resource instead of its endpoints
// (discovery.go). Their metadata is read before the config is stored, outside of
// the writer's turn, and kept in the config's entry. The origins that it leads to
// are what the operator confirmed, and part of the entry's Origin. Newer metadata is
// read in the background and kept in memory, for all configs that ask the same
// server. It counts as long as it leads to the same origins (endpoints.go), and is
// stored only with the next write. So after a restart the endpoints are those of the
// entry, until the metadata has been read again.
//
// # Configs that depend on others
//
// A config may take the current token of another config, its source, into its
// requests (source.go), if the source allows it; and other members of the source's
// answer, among them the host to ask, if source_hosts allows that. The keys of the
// sources' tokens are hashed into the key of its own token, which is therefore
// forgotten when a source changes or is revoked. Its token ends with the first of the sources' tokens to end.
// No circle can be stored: writers of such configs take one common turn. A source
// cannot be deleted.
//
// # How a request passes
//
// HandleRequest first prepares the data (input.go), because the framework would
// quote values in its errors. The framework routes the request. The handler returns
// a response or an error, and respond (errors.go) gives the error its status. A
// plain read of a token skips all of that except respond.
//
// A token's config is made in three steps, each in one place: resolve lays role over
// config over provider (target.go), endpoints decides where that sends requests
// (endpoints.go), and a mint makes the request (mint.go). The result of the first two
// is kept for a minute for the mints that follow. What a read needs to know of it,
// the view, is kept until something is written that it was made of (view.go).
//
// What a request brings beside its path, such as a choice of scopes, are its inputs
// (target.go). A token's key is made of both, in one place (config.key).
//
// # Nodes
//
// A standby may run the plugin (Vault Enterprise, OpenBao) and lag behind its
// leader. It hands out tokens that need no lease and that it finds. Its negative
// results are never final: the bare logical.ErrReadOnly makes the leader answer
// instead (node.go). The leader also answers all reads and lists of operators, all
// writes, and everything that asks a provider.
//
// # Locks
//
// The order of a write: storage, then the views (even after an error), then
// tokens.Forget, then the stored tokens. The order of a mint: read the config, ask
// the provider, store, then enter the cache, which reports whether the token was
// forgotten meanwhile.
//
// A write of a config, its roles, or a provider holds that object's turn. If a
// config names an operator's provider, its write takes the config's turn, then the
// provider's. A write of a config that depends on another takes, last, the common turn
// of all such configs, so that no two of them close a circle. No provider is asked in
// a writer's turn: verify_connection asks before
// the turn, and stores only the request that it verified.
//
// No lock is held during a request to a provider, with two exceptions: of a chain,
// one request at a time may spend the refresh token; and of two leases of one token
// that end at the same time, only one revokes it.
//
// A chain belongs to the refresh token that the operator wrote and the origin that it
// was written for; its storage key is a keyed hash of both. A new chain is stored
// beside the old one, which is deleted when no stored config names it.
//
// Jobs that no request waits for run in the background (background.go), in bounded
// numbers. A job that has not begun may be lost; the next process finds it in storage.
package backend
