#!/usr/bin/env bash
# Copyright (c) The oauthcc authors
# SPDX-License-Identifier: MPL-2.0
#
# Usage: need.sh PACKAGE...
#
# Makes sure that what these Debian packages bring is there: looks for the
# thing itself, so that any system that has it passes, and installs only what
# is missing, only where apt-get and the right to use it exist. Says what to do
# otherwise.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
source "$root/scripts/lib.sh"

have() {
  case $1 in
    gcc) command -v "${CC:-gcc}" >/dev/null || command -v cc >/dev/null || command -v clang >/dev/null ;;
    libc6-dev)
      # A compiler without the C library's headers is what Debian's gcc package
      # alone gives, and cgo's errors about that are hard to read.
      local cc
      cc=$(command -v "${CC:-gcc}" || command -v cc || command -v clang) || return 1
      printf '#include <stdlib.h>\nint main(void) { return 0; }\n' | "$cc" -x c -o /dev/null - 2>/dev/null
      ;;
    python3-matplotlib) /usr/bin/python3 -c 'import matplotlib' 2>/dev/null ;; # the system's, for which apt-get installs it
    *) command -v "$1" >/dev/null ;;
  esac
}

missing=()
for package in "$@"; do
  have "$package" || missing+=("$package")
done
((${#missing[@]})) || exit 0

sudo=()
if ((EUID != 0)); then sudo=(sudo -n); fi

if ! command -v apt-get >/dev/null || { ((${#sudo[@]})) && ! sudo -n true 2>/dev/null; }; then
  die "missing: ${missing[*]} (Debian's package names; go test -race needs a C compiler and the C library's headers, the acceptance tests npm for a server to test against, the picture of the dashboard matplotlib). Install them, as root, with your system's package manager and run this again: apt-get install ${missing[*]}; dnf install gcc glibc-devel npm; apk add build-base npm; xcode-select --install"
fi

note "need: installing ${missing[*]} with apt-get"
export DEBIAN_FRONTEND=noninteractive
install() {
  "${sudo[@]}" apt-get -o DPkg::Lock::Timeout=300 -qq install -y --no-install-recommends "${missing[@]}" >&2
}
# The package lists of a fresh machine are empty, those of an old one stale.
if ! install 2>/dev/null; then
  "${sudo[@]}" apt-get -o DPkg::Lock::Timeout=300 -qq update >&2
  install
fi

for package in "${missing[@]}"; do
  have "$package" || die "$package was installed, yet what it brings is not found"
done
