#!/usr/bin/env bash
# Copyright (c) The oauthcc authors
# SPDX-License-Identifier: MPL-2.0
#
# Prints the folder with the prometheus and the promtool that the tests run:
# the one on the PATH, else .cache/prometheus, where Debian's package is
# unpacked when it is missing (once; some seconds, 95 MB). The package is not
# installed: that would need root, and would start a server. Progress goes to
# stderr.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
source "$root/scripts/lib.sh"

if path=$(command -v prometheus) && [[ -x ${path%/*}/promtool ]]; then
  printf '%s\n' "${path%/*}"
  exit 0
fi

cache=$root/.cache/prometheus

if [[ ! -d $cache ]]; then
  remedy="install Prometheus 2.42 or newer (https://prometheus.io/download) so that prometheus and promtool are on the PATH, in one folder"
  for tool in apt-get dpkg-deb; do
    command -v "$tool" >/dev/null || die "there is no $tool here to get Prometheus with: $remedy"
  done
  mkdir -p "$root/.cache"
  new=$(mktemp -d "$cache.new.XXXXXX")
  trap 'rm -rf "$new"' EXIT
  trap 'exit 130' INT TERM HUP
  note "prometheus: unpacking Debian's package for the tests (once)"
  mkdir -p "$new/lists/partial" "$new/apt" "$new/bin"
  fetch() { (cd "$new" && apt-get "$@" -qq download prometheus >&2); }
  # The package lists of a fresh machine are empty, those of an old one stale.
  # Lists of our own need no root.
  own=(-o "Dir::State::lists=$new/lists" -o "Dir::Cache=$new/apt" -o APT::Sandbox::User=)
  if ! fetch -o APT::Sandbox::User= 2>/dev/null; then
    if ! { apt-get "${own[@]}" -qq update >&2 && fetch "${own[@]}"; }; then
      die "apt-get could not load the package prometheus: what it says is above; check the network and the package sources, or $remedy"
    fi
  fi
  dpkg-deb -x "$new"/prometheus_*.deb "$new/package"
  mv "$new"/package/usr/bin/{prometheus,promtool} "$new/bin"
  "$new/bin/prometheus" --version >/dev/null 2>&1 || die "the prometheus of Debian's package does not run here: $remedy"
  # The result is put in place by a rename, so that nobody finds half of it. Of
  # several that run at once the first one wins.
  mv -T "$new/bin" "$cache" 2>/dev/null || [[ -d $cache ]] || die "$cache cannot be made"
fi

printf '%s\n' "$cache"
