//go:build tools

package vault

import _ "github.com/hashicorp/vault"
