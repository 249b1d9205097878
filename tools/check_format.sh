#!/usr/bin/env bash
# Fails when clang-format would change a tracked C++ file; `make format` mends it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if ! command -v clang-format >/dev/null; then
  echo "check_format: clang-format is missing; run tools/setup.sh test" >&2
  exit 1
fi
mapfile -d '' -t files < <(git ls-files -z -- 'src/*.h' 'src/*.cc' 'tests/*.h' 'tests/*.cc')
existing=()
for file in "${files[@]}"; do
  [ -f "$file" ] && existing+=("$file")
done
if [ "${#existing[@]}" -eq 0 ]; then
  echo "check_format: no C++ file found" >&2
  exit 1
fi
if [ "${1:-}" = "--fix" ]; then
  clang-format -i "${existing[@]}"
  exit 0
fi
differing="$(printf '%s\0' "${existing[@]}" | xargs -0 -n 16 -P "$(nproc)" clang-format --dry-run 2>&1 |
  sed -n 's/^\([^ :]*\):[0-9]*:[0-9]*: warning: code should be clang-formatted.*/\1/p' | sort -u)"
if [ -z "$differing" ]; then
  echo "check_format: ok (${#existing[@]} files)"
else
  printf '%s\n' "$differing" >&2
  echo "check_format: clang-format would change these; run \`make format\`" >&2
  exit 1
fi
