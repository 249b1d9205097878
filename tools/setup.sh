#!/usr/bin/env bash
# Installs what a step needs on Debian 12: packages with apt, pinned npm packages by their lock files.
#
#   tools/setup.sh [build] [test] [bench] [sanitize]      default: build
#
# Packages stand in tools/packages/PURPOSE.txt. Nothing happens when all is there. Root or sudo is
# needed only when a package is missing. Works from any folder and without a terminal.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
minimum_node=18

say() { printf 'setup: %s\n' "$*"; }
fail() {
  printf 'setup: error: %s\n' "$1" >&2
  shift
  for line in "$@"; do printf 'setup:   %s\n' "$line" >&2; done
  exit 1
}

# Runs a command up to four times with growing pauses: mirrors and registries hiccup.
try_hard() {
  local pause
  for pause in 3 10 30 0; do
    if "$@"; then return 0; fi
    [ "$pause" -eq 0 ] && break
    say "failed: $* (again in ${pause} s)"
    sleep "$pause"
  done
  return 1
}

installed() { [ "$(dpkg-query -W -f='${Status}' "$1" 2>/dev/null)" = "install ok installed" ]; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a "$@"
  elif [ -t 0 ]; then
    sudo env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a "$@"
  else
    sudo -n env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a "$@"
  fi
}

# Runs apt-get with its output in a log that is shown only when it fails.
apt_log="$(mktemp)"
trap 'rm -f "$apt_log"' EXIT
apt_get() {
  as_root apt-get -y -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 "$@" >"$apt_log" 2>&1 ||
    { tail -n 20 "$apt_log" >&2; return 1; }
}

# Whether apt's lists have a version of every package; not so on a machine that was never updated.
known_to_apt() {
  local package
  for package in "$@"; do
    LC_ALL=C apt-cache policy "$package" 2>/dev/null | grep -q 'Candidate: [0-9]' || return 1
  done
}

apt_install() {
  local missing=() package
  for package in "$@"; do
    installed "$package" || missing+=("$package")
  done
  [ "${#missing[@]}" -eq 0 ] && return 0
  if ! command -v apt-get >/dev/null; then
    fail "this machine has no apt-get; Headwater is built on Debian 12" \
      "install what corresponds to: ${missing[*]}"
  fi
  if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
    fail "packages are missing and this user is not root, nor is sudo installed" \
      "run as root: apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
  fi
  say "apt-get install ${missing[*]} (takes a minute or two)"
  if ! known_to_apt "${missing[@]}"; then
    say "apt-get update"
    try_hard apt_get update ||
      fail "apt-get update failed" "check the network, a proxy in /etc/apt/apt.conf.d and /etc/apt/sources.list"
  fi
  install_missing() {
    apt_get install --no-install-recommends "${missing[@]}" || { apt_get update && false; }
  }
  try_hard install_missing ||
    fail "could not install: ${missing[*]}" \
      "run by hand to see why: apt-get install --no-install-recommends ${missing[*]}" \
      "a package without candidate means that this is not Debian 12 (bookworm)"
}

node_major() { node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0; }

need_npm() {
  if command -v npm >/dev/null && [ "$(node_major)" -ge "$minimum_node" ]; then return 0; fi
  apt_install nodejs npm
  hash -r
  if ! command -v npm >/dev/null || [ "$(node_major)" -lt "$minimum_node" ]; then
    fail "npm with node >= $minimum_node is needed; found node $(node -v 2>/dev/null || echo none)" \
      "put a newer node and its npm first in PATH, or remove it so that Debian's is used"
  fi
}

# npm ci in a folder with a lock file; a stamp of the lock file makes the second run free.
npm_install() {
  local folder="$1" lock stamp
  [ -f "$root/$folder/package-lock.json" ] || return 0
  lock="$(sha256sum "$root/$folder/package-lock.json" | cut -d' ' -f1)"
  stamp="$root/$folder/node_modules/.installed-lock-sha256"
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$lock" ]; then return 0; fi
  need_npm
  say "npm ci in $folder"
  npm_ci() { (cd "$root/$folder" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error); }
  try_hard npm_ci ||
    fail "npm ci failed in $folder" \
      "check the network and \`npm config get registry\`, \`npm config get proxy\`" \
      "run by hand to see why: cd $folder && npm ci --ignore-scripts"
  echo "$lock" >"$stamp"
}

purposes=("$@")
[ "${#purposes[@]}" -eq 0 ] && purposes=(build)
packages=()
for purpose in "${purposes[@]}"; do
  list="$root/tools/packages/$purpose.txt"
  [ -f "$list" ] || fail "unknown purpose '$purpose'" \
    "known: $(cd "$root/tools/packages" && printf '%s ' *.txt | sed 's/\.txt//g')"
  while read -r package; do packages+=("$package"); done < <(sed 's/#.*//; /^[[:space:]]*$/d' "$list")
done
apt_install "${packages[@]}"
npm_install third_party
for purpose in "${purposes[@]}"; do
  if [ "$purpose" = test ]; then
    npm_install tests/e2e/node
    npm_install tests/conformance/cel
  fi
done
say "ready for: ${purposes[*]}"
