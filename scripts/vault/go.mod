// Builds a Vault server for the tests and the demo, and is used for nothing
// else: Vault's core is BUSL, and its dependency versions must not mix with
// the plugin's. Do not `go mod tidy`: that would also resolve the imports of
// Vault's own tests, and raise the SDK above the version it builds with.
module github.com/oauthcc/vault-plugin-oauthcc/scripts/vault

go 1.25.7

require (
	github.com/hashicorp/vault v1.21.2
	github.com/hashicorp/vault/sdk v0.20.0
)

replace github.com/99designs/keyring => github.com/Jeffail/keyring v1.2.3
