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
// A token's key is a keyed hash of the effective request that it was minted
// by. The hash's key, the config's epoch, is replaced by whatever makes the
// config another request, and by revoke: what was minted before is then found
// by nobody, also if it is stored a moment later.
//
// A ledger holds the tokens that leases of their own hold: an entry is written
// between the mint and the answer, is left to the lease soon after the answer,
// and goes with the lease. All entries of one token are below one keyed hash:
// the token is revoked when the last of them goes. What a process was given and
// gave to nobody is revoked, by the next process if need be. A ledger also holds,
// until they expire, shared tokens that nobody else gets, since there is a newer
// one or a change of the config made it forget them: those who have them go on to
// use them. revoke/ starts a new ledger,
// and moves the shared tokens to the one before: whatever a ledger other than the
// current one holds is to be revoked, until it is or expires.
// An entry names the mark of where its token came from; nothing is sent
// elsewhere.
//
// # Keys of tokens
//
// With dpop=true tokens are bound to a key (RFC 9449), which is stored nowhere:
// it is derived from the config's seed (dpop.go). So any node has it that has
// the config, a token that is found in storage is still bound to it, and nothing
// has to be written before a token can be minted. Each role has a key of its
// own, and each caller where tokens are a caller's own: proofs of one role are
// worth nothing with a token of another. Only where the grant is by refresh_token
// there is one for all of the config, since a provider may bind that, too.
//
// # Endpoints that are found
//
// A config may name an issuer or a resource in place of its endpoints
// (discovery.go). Their metadata is read before the config is stored, outside of
// the writer's turn, and kept in its entry: the origins that it leads to are what
// the operator confirmed, and part of the entry's Origin. Newer metadata is read
// behind the mints and kept in memory, for all configs that ask the same server.
// It counts while it leads to the same origins (endpoints.go). Nothing newer is
// stored before the next write: after a restart the endpoints are those of the
// entry until the metadata has been read again.
//
// # Configs that depend on others
//
// A config may take the current token of another, its source, into its requests
// (source.go), if that one allows it. The keys of the sources' tokens are hashed
// into the key of its own, so that it is forgotten when one of them changes or is
// revoked; its end is the first one's of theirs and its own. No circle can be
// stored: writers of such configs take one turn, and a source cannot be deleted.
//
// # How a request passes
//
// HandleRequest first prepares the data (input.go), since the framework would
// quote values in its errors; the framework routes; a handler returns a
// response or any error; respond (errors.go) gives the error its status. A
// plain read of a token skips all that but respond.
//
// A token's config is made in three steps, each in one place: resolve lays role
// over config over provider (target.go), endpoints settles where that sends
// requests (endpoints.go), and a mint makes the request of it (mint.go). What the
// first two come to is kept for a minute for the mints that follow, and what a
// read needs to know of it, the view, for as long as nothing is written that it
// was made of (view.go).
//
// What a request brings along beside its path, such as a choice of scopes, are
// its inputs (target.go). A token's key is made of both, in one place (config.key).
//
// # Nodes
//
// A standby may run the plugin (Vault Enterprise, OpenBao) and lag behind its
// leader. It hands out tokens that need no lease and that it finds; nothing
// negative that it comes to is final: the bare logical.ErrReadOnly has the
// leader answer instead (node.go). What operators read and list is always the
// leader's to answer, and so is all that writes or asks a provider.
//
// # Locks
//
// A write goes: storage, then the views (whatever came of it), then
// tokens.Forget, then the stored tokens. A mint goes: read the config, ask the
// provider, store, then enter the cache, which says whether the token was
// forgotten meanwhile.
//
// Whoever writes a config, a role of it, or a provider holds its turn; a write
// of a config that names an operator's provider takes the config's turn, then
// the provider's, and a config that depends on another last that of all of those,
// so that no two of them close a circle. No provider is asked in a writer's turn: verify_connection
// asks before it, and stores only what it asked for.
//
// No lock is held while anything waits for a provider, but for chains, where one
// request at a time may spend a refresh token, and for the entries of one token
// in a ledger, so that of two leases that end at once one revokes it. A chain belongs to the refresh
// token that the operator wrote and the origin it was written for; its key is a
// keyed hash of both. A new one is stored beside the old one, which is deleted
// once no stored config names it.
//
// What nobody waits for runs in the background (background.go), which is
// bounded, and may lose whatever it has not begun: that is found in storage.
package backend
