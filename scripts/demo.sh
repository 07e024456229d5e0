#!/usr/bin/env bash
# Copyright (c) The oauthcc authors
# SPDX-License-Identifier: MPL-2.0
#
# `make demo`: a Vault dev server with the plugin, and five sample providers on
# this machine, driven as a user would. On a terminal the server is left running
# until Ctrl-C, to be tried out; otherwise everything is stopped at the end.
# Expects PLUGIN_BIN, or builds the plugin.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
source "$root/scripts/lib.sh"
cd "$root"

interactive=
prompt='$ ' comment='' plain=''
if [[ -t 1 ]]; then
  interactive=yes
  if [[ -z ${NO_COLOR:-} ]]; then prompt=$'\e[32m$\e[0m \e[1m' comment=$'\e[36m' plain=$'\e[0m'; fi
fi

plugin=vault-plugin-oauthcc
vault_bin=$(scripts/vault-bin.sh)
if [[ -z ${PLUGIN_BIN:-} ]]; then
  make --no-print-directory build
  PLUGIN_BIN=$root/bin/$plugin
fi

# Nothing of the user's own Vault may leak in: neither its address nor a token
# in the environment, nor ~/.vault-token, which a dev server overwrites.
unset "${!VAULT_@}" "${!BAO_@}"
tmp=$(mktemp -d)
mkdir "$tmp/home" "$tmp/plugins" "$tmp/work"

server='' providers=''
cleanup() {
  local status=$?
  trap '' INT TERM HUP
  if [[ $status != 0 && -s $tmp/vault.log ]]; then
    echo "demo: failed; the end of the server's log:" >&2
    tail -n 20 "$tmp/vault.log" >&2
  fi
  if [[ -n $server ]]; then stop_pid "$server"; fi
  if [[ -n $providers ]]; then stop_pid "$providers"; fi
  rm -rf "$tmp"
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

say() { printf '\n%s# %s%s\n' "$comment" "$*" "$plain"; }

# type_out WORD...: shows a command the way a user would type it.
type_out() {
  local word line=
  for word in "$@"; do
    if [[ ! $word =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]]; then word="'${word//\'/\'\\\'\'}'"; fi
    line+="$word "
  done
  printf '%s%s%s\n' "$prompt" "${line% }" "$plain"
}

# try WORD...: shows the command and runs it.
try() {
  type_out "$@"
  "$@"
}

vault() { "$vault_bin" "$@"; }

# wait_for WHAT PID COMMAND...: until the command succeeds, as long as the
# process that it is waiting for lives.
wait_for() {
  local what=$1 pid=$2 i
  shift 2
  for ((i = 0; i < 600; i++)); do
    if "$@" >/dev/null 2>&1; then return; fi
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  die "$what did not start"
}

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# get URL: the body of a plain HTTP answer; a fresh machine may have no curl.
get() {
  local host=${1#http://} path
  path=/${host#*/} host=${host%%/*}
  exec 3<>"/dev/tcp/${host%:*}/${host#*:}"
  printf 'GET %s HTTP/1.0\r\nHost: %s\r\n\r\n' "$path" "$host" >&3
  sed '1,/^\r*$/d' <&3
  exec 3>&-
}

# --- the sample providers and the server -------------------------------------

# A binary, because `go run` would stand between us and the process to stop.
go build -buildvcs=false -o "$tmp/sampleproviders" ./scripts/sampleproviders
"$tmp/sampleproviders" -dir "$tmp/work" >"$tmp/providers.log" 2>&1 </dev/null &
providers=$!
wait_for "the set of sample providers" "$providers" test -s "$tmp/work/providers.env"
# shellcheck disable=SC1091
source "$tmp/work/providers.env"

port=8200
while listening "$port"; do port=$((port + 10)); done
cp "$PLUGIN_BIN" "$tmp/plugins/$plugin"
HOME=$tmp/home "$vault_bin" server -dev -dev-root-token-id=root -dev-no-store-token \
  -dev-listen-address="127.0.0.1:$port" -dev-plugin-dir="$tmp/plugins" >"$tmp/vault.log" 2>&1 </dev/null &
server=$!

export HOME=$tmp/home VAULT_ADDR=http://127.0.0.1:$port VAULT_TOKEN=root
wait_for "the Vault server" "$server" vault status
cd "$tmp/work"

# --- what an operator does, once ----------------------------------------------

say "Register the plugin by its SHA-256, and enable it:"
try vault plugin register -sha256="$(sha256 "$tmp/plugins/$plugin")" -command="$plugin" secret "$plugin"
try vault secrets enable -path=oauthcc "$plugin"

say "Store five client registrations. Secrets come from files, so that no command line shows one:"
for name in ANTSOMI COGNITO FUUFFY SEMANSYS XCOVER; do
  secret=${name}_CLIENT_SECRET
  printf %s "${!secret}" >"$(tr '[:upper:]' '[:lower:]' <<<"$name").secret"
done
printf %s "$SEMANSYS_PASSWORD" >semansys.password

# store NAME CLIENT_ID TOKEN_URL FIELD...
store() {
  local name=$1 id=$2 url=$3
  shift 3
  try vault write "oauthcc/config/$name" provider="$name" client_id="$id" client_secret="@$name.secret" token_url="$url" "$@"
}
store antsomi "$ANTSOMI_CLIENT_ID" "$ANTSOMI_TOKEN_URL" scopes=item,event
store cognito "$COGNITO_CLIENT_ID" "$COGNITO_TOKEN_URL" scopes=api/write
store fuuffy "$FUUFFY_CLIENT_ID" "$FUUFFY_TOKEN_URL"
store semansys "$SEMANSYS_CLIENT_ID" "$SEMANSYS_TOKEN_URL" username="$SEMANSYS_USERNAME" password=@semansys.password
store xcover "$XCOVER_CLIENT_ID" "$XCOVER_TOKEN_URL"
try vault list oauthcc/config

# --- what an application does ---------------------------------------------------

say "Five dialects, one way to ask:"
for name in antsomi cognito fuuffy semansys xcover; do
  try vault read "oauthcc/token/$name" | tee "$name.answer"
  echo
done

say "The token comes with a lease, which can be looked up and revoked:"
lease=$(awk '$1 == "lease_id" { print $2 }' antsomi.answer)
[[ -n $lease ]] || die "the answer has no lease_id"
try vault lease lookup "$lease"
try vault lease revoke -sync "$lease"
if vault lease lookup "$lease" >/dev/null 2>&1; then die "the lease outlived its revocation"; fi

say "What the sample providers have seen:"
for name in ANTSOMI COGNITO FUUFFY SEMANSYS XCOVER; do
  stats=${name}_STATS_URL
  seen=$(get "${!stats}")
  printf '%-10s %s\n' "$(tr '[:upper:]' '[:lower:]' <<<"$name")" "$seen"
  [[ $seen =~ \"requests\":\ ?1[,}] ]] || die "$name should have seen one request"
done

# --- over to the user -------------------------------------------------------------

say "Your own provider${interactive:+, in another terminal}:"
if [[ $(PATH=$PATH type -P vault || true) != "$vault_bin" ]]; then
  printf 'alias vault=%s\n' "$vault_bin"
fi
cat <<EOF
export VAULT_ADDR=$VAULT_ADDR VAULT_TOKEN=$VAULT_TOKEN
vault write oauthcc/config/acme token_url=https://auth.example.com/oauth/token \\
    client_id=my-client client_secret=@secret.txt scopes=read
vault read oauthcc/token/acme
EOF

if [[ -n $interactive ]]; then
  printf '\nThe server keeps running (its log: %s). Ctrl-C stops it.\n' "$tmp/vault.log"
  trap 'echo; exit 0' INT TERM HUP
  wait "$server" || die "the server has ended by itself"
fi
