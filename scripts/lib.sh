# shellcheck shell=bash
# Copyright (c) The oauthcc authors
# SPDX-License-Identifier: MPL-2.0
#
# What the scripts share. Sourced, never run.

# Colours only where a person is looking, and not against their wish.
if [[ -t 2 && -z ${NO_COLOR:-} ]]; then
  bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' reset=$'\e[0m'
else
  bold='' dim='' red='' reset=''
fi

note() { printf '%s%s%s\n' "$dim" "$*" "$reset" >&2; }

die() {
  printf '%s%s: %s%s\n' "$red$bold" "${0##*/}" "$*" "$reset" >&2
  exit 1
}

# sha256 FILE: the digest alone. The tool's
# name differs between Linux and macOS.
sha256() {
  if command -v sha256sum >/dev/null; then
    sha256sum "$@"
  else
    shasum -a 256 "$@"
  fi | cut -d ' ' -f 1
}

# stop_pid PID: asks a process of ours to end, insists after ten seconds, and
# waits until it is gone.
stop_pid() {
  local pid=$1 i
  kill -TERM "$pid" 2>/dev/null || return 0
  for ((i = 0; i < 100; i++)); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
}
