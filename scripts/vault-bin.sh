#!/usr/bin/env bash
# Copyright (c) The oauthcc authors
# SPDX-License-Identifier: MPL-2.0
#
# Prints the path of a Vault server to test against: $VAULT_BIN, else a vault
# or bao on the PATH, else .cache/vault, which is built from scripts/vault when
# it is missing or out of date. Progress goes to stderr, so that
#
#   vault=$(scripts/vault-bin.sh)
#
# works. Any number may run at once: one builds, the others wait for it.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
source "$root/scripts/lib.sh"

module=$root/scripts/vault
cache=$root/.cache
binary=$cache/vault
stamp=$cache/vault.stamp
package=github.com/hashicorp/vault

# Without cgo, so that the result does not depend on whether this machine has a
# C compiler, or gets one while the build is under way.
export CGO_ENABLED=0 GOWORK=off
flags=(-mod=readonly -buildvcs=false -trimpath -tags minimal)

if [[ -n ${VAULT_BIN:-} ]]; then
  path=$(command -v -- "$VAULT_BIN") || die "VAULT_BIN=$VAULT_BIN cannot be run; unset it to have one found or built"
  printf '%s\n' "$path"
  exit 0
fi

for name in vault bao; do
  # Other programs have these names too.
  if path=$(command -v -- "$name") && [[ $("$path" version 2>/dev/null) =~ ^(Vault|OpenBao)\ v ]]; then
    printf '%s\n' "$path"
    exit 0
  fi
done

wanted=$({ cat "$module/go.mod" "$module/go.sum"; printf '%s\n' "${flags[@]}"; } | sha256 /dev/stdin)

up_to_date() { [[ -x $binary && -r $stamp && $(<"$stamp") == "$wanted" ]]; }

if up_to_date; then
  printf '%s\n' "$binary"
  exit 0
fi

command -v go >/dev/null || die "go is not on the PATH: install it from https://go.dev/dl, or set VAULT_BIN to a Vault server"
mkdir -p "$cache"

# Without flock (macOS) two builds at once are wasteful, not wrong: the result
# is put in place by a rename.
if command -v flock >/dev/null; then
  exec 9>"$cache/vault.lock"
  if ! flock -n 9; then
    note "vault: another build is under way, waiting for it"
    flock 9
  fi
  if up_to_date; then
    printf '%s\n' "$binary"
    exit 0
  fi
fi

log=$cache/vault-build.log
new=$binary.new.$$
building=
cleanup() {
  if [[ -n $building ]]; then kill -TERM "$building" 2>/dev/null || true; fi
  rm -f "$new"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

elapsed() { printf '%dm%02ds' $(((SECONDS - began) / 60)) $(((SECONDS - began) % 60)); }

# run WHAT PATTERN COMMAND...: runs it in the background and reports every 15 s
# how many lines of its log match, so that seven minutes do not look like a
# hang. COMMAND is one of the functions below, which replace themselves by the
# go command, so that $building is what there is to stop. The lock (descriptor
# 9) is not passed on: a build that outlived this script would hold it.
run() {
  local what=$1 pattern=$2 reported=$SECONDS
  shift 2
  "$@" >"$log" 2>&1 9>&- &
  building=$!
  while kill -0 "$building" 2>/dev/null; do
    sleep 0.5
    if ((SECONDS - reported >= 15)); then
      reported=$SECONDS
      note "vault: $(elapsed), $(grep -c "$pattern" "$log" || true) $what, now $(tail -n 1 "$log" | cut -c 1-60)"
    fi
  done
  local status=0
  wait "$building" || status=$?
  building=
  return "$status"
}

list() {
  cd "$module"
  exec go list -deps "${flags[@]}" "$package"
}
build() {
  cd "$module"
  exec go build -v "${flags[@]}" -ldflags "$ldflags" -o "$new" "$package"
}

began=$SECONDS
note "vault: building a server from $package for tests and the demo (once; about 7 minutes on two cores)"

# A fresh machine downloads some hundred modules; one that fails to arrive
# should not cost the whole run.
for attempt in 1 2 3; do
  if run "modules downloaded" '^go: downloading' list; then break; fi
  tail -n 5 "$log" >&2
  [[ $attempt == 3 ]] && die "the modules of Vault could not be loaded (the whole log: $log); check the network and GOPROXY, or set VAULT_BIN to a Vault server"
  note "vault: trying again"
done

# Vault makes a build date up at each start when it has none, and clients and
# plugins are told. Its version is embedded, and needs no help.
ldflags='-s -w'
date=$(cd "$module" && go list -m -f '{{with .Time}}{{.Format "2006-01-02T15:04:05Z07:00"}}{{end}}' "$package" 2>/dev/null) || date=
if [[ -n $date ]]; then ldflags+=" -X $package/version.BuildDate=$date"; fi

if ! run "packages compiled" '^[^#[:space:]]*$' build; then
  tail -n 30 "$log" >&2
  die "the build of Vault failed (the whole log: $log)"
fi

mv -f "$new" "$binary"
printf '%s\n' "$wanted" >"$stamp"
note "vault: built $("$binary" version) in $(elapsed)"
printf '%s\n' "$binary"
