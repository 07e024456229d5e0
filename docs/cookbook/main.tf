# The mount, one client registration without its secret, a role and the policy
# of the team that reads its token.

terraform {
  required_providers {
    vault = {
      source = "hashicorp/vault"
    }
  }
}

variable "antsomi_client_id" {
  type = string
}

resource "vault_mount" "oauthcc" {
  path                     = "terraform/oauthcc"
  type                     = "vault-plugin-oauthcc"
  description              = "OAuth tokens"
  max_lease_ttl_seconds    = 86400
  allowed_response_headers = ["Retry-After"]
}

resource "vault_generic_endpoint" "antsomi" {
  path                 = "${vault_mount.oauthcc.path}/config/antsomi"
  ignore_absent_fields = true
  data_json = jsonencode({
    provider    = "antsomi"
    client_id   = var.antsomi_client_id
    scopes      = ["item", "event"]
    max_ttl     = 3600
    description = "The shop's registration, with a secret written by hand"
  })
}

resource "vault_generic_endpoint" "antsomi_readers" {
  depends_on           = [vault_generic_endpoint.antsomi]
  path                 = "${vault_mount.oauthcc.path}/role/antsomi/readers"
  ignore_absent_fields = true
  data_json = jsonencode({
    scopes = ["item"]
    ttl    = 1800
    leased = true
  })
}

resource "vault_policy" "antsomi_readers" {
  name   = "antsomi-readers"
  policy = <<-HCL
    path "terraform/oauthcc/token/antsomi/readers" {
      capabilities = ["read"]
    }
  HCL
}
