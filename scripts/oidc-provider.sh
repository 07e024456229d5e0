#!/usr/bin/env bash
# Copyright (c) The oauthcc authors
# SPDX-License-Identifier: MPL-2.0
#
# Prints the node_modules that tests/oidcprovider/server.mjs needs: the certified
# oidc-provider and, as .bin/node, a Node that it supports, all by the lock file
# beside it. What is in .cache is used; otherwise it is installed there (once;
# some ten seconds, 45 MB). Progress goes to stderr.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
source "$root/scripts/lib.sh"

source=$root/tests/oidcprovider
cache=$root/.cache/oidcprovider
oldest=22 # the Node that this oidc-provider asks for

up_to_date() { cmp -s "$source/package-lock.json" "$cache/package-lock.json"; }

if ! up_to_date; then
  mkdir -p "$root/.cache"
  # Without flock (macOS) two installations at once are wasteful, not wrong: the
  # result is put in place by a rename.
  if command -v flock >/dev/null; then
    exec 9>"$root/.cache/oidcprovider.lock"
    flock 9
  fi
fi

if ! up_to_date; then
  "$root/scripts/need.sh" npm
  new=$(mktemp -d "$cache.new.XXXXXX")
  trap 'rm -rf "$new"' EXIT
  trap 'exit 130' INT TERM HUP
  note "oidc-provider: installing it for the tests (once)"
  cp "$source/package.json" "$source/package-lock.json" "$new"
  for attempt in 1 2 3; do
    if (cd "$new" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2 9>&-); then break; fi
    [[ $attempt == 3 ]] && die "npm could not install oidc-provider: what it says is above; check the network and npm's registry setting"
    note "oidc-provider: trying again"
  done
  # The lock has a Node for Linux. Elsewhere, the system's has to do.
  node=$new/node_modules/.bin/node
  if [[ ! -x $node ]]; then
    system=$(command -v node) || die "no Node for this kind of machine comes along: install Node $oldest or newer"
    ln -s "$system" "$node"
  fi
  version=$("$node" --version)
  version=${version#v}
  ((${version%%.*} >= oldest)) || die "oidc-provider wants Node $oldest or newer, and this is $version: upgrade it"
  rm -rf "$cache"
  mv "$new" "$cache"
fi

printf '%s\n' "$cache/node_modules"
