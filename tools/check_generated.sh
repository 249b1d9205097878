#!/usr/bin/env bash
# Fails when docs/reference differs from what the program writes:  tools/check_generated.sh PROGRAM [--fix]
# metrics.md there is written by hand; src/api/metrics_reference_test.cc holds it to the truth.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
program="${1:?path of the headwater program}"
if [ ! -x "$program" ]; then
  echo "check_generated: skipped, $program does not exist"
  exit 0
fi
fresh="$(mktemp -d)"
trap 'rm -rf "$fresh"' EXIT
"$program" reference --write "$fresh" >/dev/null
if [ "${2:-}" = "--fix" ]; then
  mkdir -p docs/reference
  find docs/reference -type f ! -name metrics.md -delete
  cp -r --no-preserve=mode "$fresh/." docs/reference/
  exit 0
fi
if diff -ru --exclude=metrics.md docs/reference "$fresh"; then
  echo "check_generated: ok"
else
  echo "check_generated: docs/reference is out of date; run: tools/check_generated.sh $program --fix" >&2
  exit 1
fi
