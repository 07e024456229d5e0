#!/usr/bin/env bash
# Copyright (c) The oauthcc authors
# SPDX-License-Identifier: MPL-2.0
#
# Usage: test.sh RUNNER
#
# `make test`: the unit tests with the race detector while a Vault server is
# found or built, then the acceptance tests against that server, all reported
# by one test runner (RUNNER, a gotestsum), whose summary of both comes last.
# Expects UNIT_PACKAGES and PLUGIN_BIN; extra arguments for go test in
# TESTFLAGS.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
source "$root/scripts/lib.sh"
cd "$root"

if [[ ${1:-} == --events ]]; then
  # Called back by the runner, which reads go test's JSON from our stdout and
  # counts every line on stderr as an error.
  path_file=$2 finder=$3 status=0
  read -ra extra <<<"${TESTFLAGS:-}"
  read -ra unit <<<"$UNIT_PACKAGES"
  CGO_ENABLED=1 go test -json -race "${extra[@]}" "${unit[@]}" || status=1
  # The path is the last thing that the finder does.
  while [[ ! -s $path_file ]] && kill -0 "$finder" 2>/dev/null; do sleep 0.2; done
  if [[ ! -s $path_file ]]; then
    echo "no Vault server: the acceptance tests (./tests/...) did not run; the reason is further up" >&2
    exit 1
  fi
  VAULT_BIN=$(<"$path_file")
  export VAULT_BIN
  # Never from Go's test cache: it knows nothing of the server.
  go test -json -count=1 -timeout=30m "${extra[@]}" ./tests/... || status=1
  exit "$status"
fi

runner=$1
tmp=$(mktemp -d)
finder=
cleanup() {
  if [[ -n $finder ]]; then kill -TERM "$finder" 2>/dev/null || true; fi
  rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

scripts/vault-bin.sh >"$tmp/path" &
finder=$!

"$runner" --format pkgname --raw-command -- "${BASH_SOURCE[0]}" --events "$tmp/path" "$finder"
